"""Roles of packed kernels: parts that a product is cut into, a state beside inputs.

A kernel that holds several has the fans that each has in a kernel of its own.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit

KEY = jax.random.key(0)
D, HEADS = 16, 4


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


X = struct(2, 6, D)


def linen(model, *inputs):
    params = jax.eval_shape(model.init, KEY, *inputs)
    return jinit.roles(model, params, *inputs)


def attend(q, k, v):
    shapes = (*q.shape[:2], -1, D // HEADS)
    q, k, v = (each.reshape(shapes) for each in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v)


def rotated(x):
    """Halves turned by a constant angle and put side by side, as in RoPE."""
    angle = jnp.arange(6.0)[None, :, None, None]
    a, b = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


# Packed queries, keys and values: each spelling of (d, 3 d) has the fans d and d.


def by_split(p, x):
    return attend(*jnp.split(x @ p["w"], 3, axis=-1))


def by_slices(p, x):
    y = x @ p["w"] + 1.0
    return attend(*(y[..., n * D : (n + 1) * D] for n in range(3)))


def by_index(p, x):
    y = (x @ p["w"]).reshape(2, 6, 3, HEADS, D // HEADS)
    return attend(*(y[:, :, n] for n in range(3)))


def by_unpacking(p, x):
    y = (x @ p["w"]).reshape(2, 6, 3, HEADS, D // HEADS)
    return attend(*jnp.moveaxis(y, 2, 0))


def by_heads_first(p, x):
    y = (x @ p["w"]).reshape(2, 6, HEADS, 3 * D // HEADS)
    return attend(*jnp.split(y, 3, axis=-1))


def by_einsum(p, x):
    y = jnp.einsum("btd,dnhk->nbthk", x, p["w"].reshape(D, 3, HEADS, D // HEADS))
    return attend(y[0], y[1], y[2])


def by_flat_places(p, x):
    y = (x.reshape(12, D) @ p["w"]).reshape(2, 6, 3 * D)
    return attend(*jnp.split(y, 3, axis=-1))


def by_turning(p, x):
    q, k, v = jnp.split(x @ p["w"], 3, axis=-1)
    heads = 2, 6, HEADS, D // HEADS
    return attend(rotated(q.reshape(heads)), rotated(k.reshape(heads)), v)


def by_joining_again(p, x):
    q, k, v = jnp.split(x @ p["w"], 3, axis=-1)
    packed = jnp.stack([q, 2.0 * k, v], axis=2)
    return attend(*(packed[:, :, n] for n in range(3)))


def by_results(p, x):
    return jnp.split(x @ p["w"], 3, axis=-1)


def by_taking(p, x):
    y = (x @ p["w"]).reshape(2, 6, 3, D)
    return attend(*(jnp.take(y, n, axis=2) for n in range(3)))


def by_places(p, x):
    y = x @ p["w"]
    return attend(*(y[..., np.arange(n, 3 * D, 3)] for n in range(3)))


def by_dynamic_slices(p, x):
    y = x @ p["w"]
    cut = jax.lax.dynamic_slice_in_dim
    return attend(*(cut(y, n * D, D, axis=-1) for n in range(3)))


def by_numbers_on_a_circle(p, x):
    """Pairs as complex numbers, turned, as Llama's code has it."""

    def turned(y):
        y = y.reshape(2, 6, HEADS, -1, 2)
        angle = jnp.arange(6.0)[None, :, None, None]
        turn = jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
        z = jax.lax.complex(y[..., 0], y[..., 1]) * turn
        return jnp.stack([z.real, z.imag], axis=-1)

    q, k, v = jnp.split(x @ p["w"], 3, axis=-1)
    return attend(turned(q), turned(k), v)


def by_slices_of_the_kernel(p, x):
    return attend(*(x @ p["w"][:, n * D : (n + 1) * D] for n in range(3)))


def by_two_slices_of_the_kernel(p, x):
    q = x @ p["w"][:, :D]
    return attend(q, *jnp.split(x @ p["w"][:, D:], 2, axis=-1))


def by_vmap(p, x):
    return jax.vmap(lambda x: jnp.split(p["w"].T @ x.T, 3))(x)


PACKED = [by_split, by_slices, by_index, by_unpacking, by_heads_first, by_einsum]
PACKED += [by_flat_places, by_turning, by_joining_again, by_results, by_vmap]
PACKED += [by_taking, by_places, by_dynamic_slices, by_numbers_on_a_circle]
PACKED += [by_slices_of_the_kernel, by_two_slices_of_the_kernel]


@pytest.mark.parametrize("model", PACKED, ids=lambda model: model.__name__)
def test_packed_queries_keys_and_values_have_the_fans_of_each(model):
    roles = jinit.roles(model, {"w": struct(D, 3 * D)}, X)
    role = roles["w"]
    assert (role.fan_in, role.fan_out, role.outputs) == (D, D, (D, D, D))
    assert "16, 3 x 16" in repr(roles)


@pytest.mark.parametrize("keep", ["forward", "backward", "both"])
@pytest.mark.parametrize("model", PACKED, ids=lambda model: model.__name__)
def test_a_packed_kernel_is_drawn_as_those_that_it_holds(model, keep):
    """Which are square, so that forward, backward and both have the same variance."""
    ((_, init),) = jinit.roles(model, {"w": struct(D, 3 * D)}, X).rules(keep=keep)
    assert init.law((D, 3 * D)).std == pytest.approx(1 / np.sqrt(D))


class Attention(nn.Module):
    """Packed in one layer of linen, with a bias, a norm, and axes of its own."""

    @nn.compact
    def __call__(self, x, _=None):
        shape = 3, HEADS, D // HEADS
        y = nn.DenseGeneral(shape, name="qkv")(nn.LayerNorm()(x))
        y = attend(*jnp.moveaxis(y, -3, 0))
        return x + nn.Dense(D, name="out")(y.reshape(x.shape)), None


def test_packed_kernels_of_scanned_layers_are_read():
    axes, split = {"params": 0}, {"params": True}
    model = nn.scan(Attention, variable_axes=axes, split_rngs=split, length=3)()
    role = linen(model, X, None)["params/qkv/kernel"]
    assert role.axes == ("stack", "in", "out", "out", "out")
    assert (role.fan_out, role.outputs) == (D, (D, D, D))
    rules = dict(linen(model, X, None).rules(keep="backward", residual=None))
    law = rules["params/qkv/kernel"].law(role.shape)
    assert law.std == pytest.approx(1 / np.sqrt(D))


def test_layers_taken_of_a_stack_are_cut_alike():
    def model(p, x):
        for n in range(3):
            x = x + by_split({"w": p["w"][n]}, x).reshape(x.shape)
        return x

    role = jinit.roles(model, {"w": struct(3, D, 3 * D)}, X)["w"]
    assert (role.fan_out, role.outputs, role.uses) == (D, (D, D, D), 3)


# Gated perceptrons.


def swiglu(h):
    gate, up = jnp.split(h, 2, axis=-1)
    return nn.silu(gate) * up


GATED = {
    "swiglu": swiglu,
    "glu": nn.glu,
    "one after the other": lambda h: h[..., ::2] * nn.gelu(h[..., 1::2]),
    "two axes": lambda h: jnp.prod(jnp.tanh(h.reshape(2, 6, 2, 32)), axis=2),
    "cut after the function": lambda h: swiglu(nn.gelu(h)),
    "added after the function": lambda h: nn.gelu(h[..., :32]) + h[..., 32:],
}


@pytest.mark.parametrize("name", GATED)
def test_a_gate_that_is_packed_has_the_fans_of_its_own(name):
    def model(p, x):
        return GATED[name](x @ p["up"] + p["b"][None, None]) @ p["down"]

    params = {"up": struct(D, 64), "b": struct(64), "down": struct(32, D)}
    role = jinit.roles(model, params, X)["up"]
    whole = name == "two axes"  # all places of an axis meet: one product
    assert role.fan_out == (64 if whole else 32)
    assert role.outputs == (() if whole else (32, 32))


def test_shifts_and_scales_that_are_packed_are_parts():
    """As those of adaptive norms: of what they are added to and multiplied with."""

    def model(p, x, c):
        shift, scale, gate = jnp.split((c @ p["w"])[:, None], 3, axis=-1)
        return gate * jnp.tanh(x * (1 + scale) + shift)

    role = jinit.roles(model, {"w": struct(8, 48)}, X, struct(2, 8))["w"]
    assert (role.fan_out, role.outputs) == (16, (16, 16, 16))


def test_steps_that_are_written_out_are_cut_alike():
    def model(p, xs):
        h = c = jnp.zeros((2, 8))
        made = []
        for n in range(6):
            h, c = lstm(xs[:, n] @ p["in"] + h @ p["back"], c)
            made.append(h)
        return jnp.stack(made, axis=1)

    found = jinit.roles(model, {"in": struct(D, 32), "back": struct(8, 32)}, X)
    assert {role.outputs for role in found} == {(8, 8, 8, 8)}


def test_a_convolution_that_is_cut_has_the_fans_of_a_part():
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.glu(nn.Conv(8, (3, 3), strides=2)(x))

    role = linen(Gated(), struct(2, 8, 8, 4))["params/Conv_0/kernel"]
    # Of nine taps an input meets a quarter, for strides leave outputs out.
    assert (role.fan_out, role.outputs) == (4 * 9 / 4, (4, 4))


# Parts of several sizes.


def grouped(p, x):
    """Four heads of queries, two of keys and of values."""
    q, k, v = jnp.split(x @ p["w"], [16, 24], axis=-1)
    return attend(q, k, v)


def test_parts_of_several_sizes_are_said_and_give_the_gradient_of_separate_ones():
    roles = jinit.roles(grouped, {"w": struct(D, 32)}, X)
    role = roles["w"]
    assert role.outputs == (16, 8, 8)
    assert "16, 16 + 8 + 8" in repr(roles)
    std = dict(roles.rules(keep="backward"))["w"].law((D, 32)).std
    # Of kernels of their own each gives the gradient a variance of one: three in all.
    assert std**2 * (16 + 8 + 8) == pytest.approx(3)


def test_kernels_beside_each_other_have_fans_of_their_own():
    def model(p, x):
        w = jnp.concatenate([p["q"], p["k"], p["v"]], axis=1)
        return grouped({"w": w}, x)

    params = {"q": struct(D, 16), "k": struct(D, 8), "v": struct(D, 8)}
    found = jinit.roles(model, params, X)
    assert [(role.path, role.fan_out) for role in found] == [
        ("k", 8),
        ("q", 16),
        ("v", 8),
    ]
    assert not any(role.outputs for role in found)


# What is no part.

WHOLE = {
    "halves that are turned": lambda y: nn.softmax(rotated(y.reshape(2, 6, 3, 16))),
    "put together again": lambda y: (
        jnp.concatenate(jnp.split(y, 3, axis=-1)[::-1], -1) ** 2
    ),
    "places": lambda y: (y[:, 0] ** 2, y[:, 1:] ** 2),
    "examples": lambda y: [each**2 for each in y],
    "normalized": lambda y: jnp.split(
        y / jnp.sqrt((y**2).mean(-1, keepdims=True)), 3, -1
    ),
    "used whole, too": lambda y: (
        by_slices({"w": jnp.eye(48)}, y),
        y @ jnp.ones((48, 2)),
    ),
    "one by one in a loop": lambda y: jax.lax.map(jnp.tanh, y.T.reshape(3, 16, 6, 2)),
    "side by side": lambda y: (
        jnp.concatenate([jnp.sin(y[..., :9]), y[..., 9:]], -1) ** 2
    ),
    "overlapping": lambda y: y[..., 1:] * y[..., :-1],
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_joined_again_or_used_as_one_is_no_part(name):
    def model(p, x):
        return WHOLE[name](x @ p["w"])

    role = jinit.roles(model, {"w": struct(D, 48)}, X)["w"]
    assert (role.fan_out, role.outputs) == (48, ())


def test_positions_that_are_given_turn_halves_of_one_part():
    def model(p, x, angle):
        a, b = jnp.split(x @ p["w"], 2, axis=-1)
        cos, sin = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
        return jnp.tanh(jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1))

    role = jinit.roles(model, {"w": struct(D, D)}, X, struct(2, 6))["w"]
    assert (role.fan_out, role.outputs) == (D, ())


def test_outputs_at_places_that_an_input_names_are_of_one_part():
    def model(p, x, at):
        y = x @ p["w"]
        return jax.lax.dynamic_slice_in_dim(y, at, D, axis=-1), y[..., at]

    at = jax.ShapeDtypeStruct((), "int32")
    role = jinit.roles(model, {"w": struct(D, 48)}, X, at)["w"]
    assert (role.fan_out, role.outputs) == (48, ())


# Packed recurrent kernels.


def lstm(gates, c):
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def run(turn, xs, state=1):
    start = jnp.zeros((xs.shape[1], 8))
    return jax.lax.scan(turn, (start,) * state, xs)[1]


def of_plain_functions(p, xs):
    def turn(carry, x):
        h, c = lstm(x @ p["in"] + carry[0] @ p["back"], carry[1])
        return (h, c), h

    return run(turn, xs, 2)


def with_inputs_before_the_loop(p, xs):
    def turn(carry, x):
        h, c = lstm(x + carry[0] @ p["back"], carry[1])
        return (h, c), h

    return run(turn, xs @ p["in"], 2)


def by_gates_in_an_axis(p, xs):
    def turn(carry, x):
        gates = x @ p["in"] + carry[0] @ p["back"]
        gates = gates.reshape(-1, 4, 8)
        h, c = lstm(jnp.concatenate([gates[:, n] for n in range(4)], -1), carry[1])
        return (h, c), h

    return run(turn, xs, 2)


RECURRENT = [of_plain_functions, with_inputs_before_the_loop, by_gates_in_an_axis]


@pytest.mark.parametrize("model", RECURRENT, ids=lambda model: model.__name__)
def test_packed_recurrent_kernels_are_orthogonal_gate_by_gate(model):
    params = {"in": struct(D, 32), "back": struct(8, 32)}
    found = jinit.roles(model, params, struct(6, 2, D))
    assert [role.recurrent for role in found] == [True, False]
    assert [role.outputs for role in found] == [(8, 8, 8, 8)] * 2
    assert "contraction, recurrent, 6 times" in repr(found)
    assert dict(found.rules())["back"] == jinit.blocks(jinit.orthogonal(), 4)
    drawn = jinit.plan(params, found.rules()).init(KEY)["back"]
    for gate in np.split(np.asarray(drawn), 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(8), atol=1e-5)
    assert "lecun_normal" in repr(dict(found.rules(recurrent=None))["back"])


OF_NNX = {
    "OptimizedLSTMCell": (nnx.OptimizedLSTMCell, 4),
    "GRUCell": (nnx.GRUCell, 3),
}


@pytest.mark.parametrize("name", OF_NNX)
def test_packed_cells_of_nnx_are_recurrent(name):
    cell, gates = OF_NNX[name]
    model = nnx.RNN(cell(D, 8, rngs=nnx.Rngs(0)))
    found = jinit.roles(model, nnx.state(model, nnx.Param), X)
    assert found["cell/dense_h/kernel"].recurrent
    assert not found["cell/dense_i/kernel"].recurrent
    assert found["cell/dense_i/kernel"].fan_out == 8
    rules = {str(path): init for path, init in found.rules()}
    assert rules["cell/dense_h/kernel"] == jinit.blocks(jinit.orthogonal(), gates)


def test_kernels_of_linen_that_are_put_side_by_side_have_fans_of_their_own():
    found = linen(nn.RNN(nn.OptimizedLSTMCell(8)), X)
    for gate in "ifgo":
        assert found[f"params/cell/h{gate}/kernel"].recurrent
        assert found[f"params/cell/h{gate}/kernel"].fan_out == 8
        assert found[f"params/cell/i{gate}/kernel"].fan_out == 8


def with_the_state_last(p, xs):
    def turn(carry, x):
        h, c = lstm(jnp.concatenate([x, carry[0]], -1) @ p["w"], carry[1])
        return (h, c), h

    return run(turn, xs, 2)


def with_the_state_first(p, xs):
    def turn(carry, x):
        h = jnp.tanh(jnp.concatenate([carry[0], x], -1) @ p["w"])
        return (h,), h

    return run(turn, xs)


@pytest.mark.parametrize(
    ("model", "size", "state"),
    [(with_the_state_last, 32, (D, D + 8)), (with_the_state_first, 8, (0, 8))],
)
def test_a_state_beside_inputs_is_said_and_the_choice_left(model, size, state):
    found = jinit.roles(model, {"w": struct(D + 8, size)}, struct(6, 2, D))
    assert (found["w"].state, found["w"].recurrent) == (state, False)
    assert f"inputs {state[0]}:{state[1]} recurrent" in repr(found)
    assert "lecun_normal" in repr(dict(found.rules())["w"])


def test_gates_that_are_packed_one_after_the_other_are_said_and_left():
    def model(p, xs):
        def turn(carry, x):
            gates = (carry[0] @ p["w"]).reshape(-1, 8, 2)
            h = nn.sigmoid(gates[..., 0]) * jnp.tanh(gates[..., 1] + x)
            return (h,), h

        return run(turn, xs)

    found = jinit.roles(model, {"w": struct(8, 16)}, struct(6, 2, 8))
    assert (found["w"].outputs, found["w"].state) == ((8, 8), (0, 8))
    assert not found["w"].recurrent


# Axes of two roles.


def tied(p, words):
    return jnp.tanh(p["w"][words]) @ p["w"].T


def transposed(p, x):
    return jnp.tanh(x @ p["w"]) @ p["w"].T


def folded(p, x):
    x = x.reshape(2, 6, HEADS, D // HEADS)
    return jnp.einsum("bthi,hio->btho", x, p["w"].reshape(HEADS, D // HEADS, -1))


TWO_ROLES = {
    "tied": (tied, (16, 8), struct(2, 6), "out/index in/out", ("out", "in")),
    "transposed": (transposed, (16, 8), X, "in/out out/in", ("in", "out")),
    "folded": (folded, (16, 8), X, "in/batch out", ("in", "out")),
}


@pytest.mark.parametrize("name", TWO_ROLES)
def test_an_axis_of_two_roles_is_marked(name):
    model, shape, x, text, axes = TWO_ROLES[name]
    x = jax.ShapeDtypeStruct(x.shape, "int32") if name == "tied" else x
    roles = jinit.roles(model, {"w": struct(*shape)}, x)
    assert text in repr(roles)
    assert roles["w"].axes == axes
    assert "lecun_normal" in repr(dict(roles.rules())["w"])


def test_axes_of_one_role_are_not_marked():
    def shared(p, x):
        return jnp.tanh(x @ p["w"]) @ p["w"]

    role = jinit.roles(shared, {"w": struct(D, D)}, X)["w"]
    assert (role.axes, role.other_axes) == (("in", "out"), ())
