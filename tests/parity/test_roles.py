"""Roles of models of Haiku and Equinox, whose layouts and names are their own."""

import os

import jax
import jax.numpy as jnp
import pytest

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import equinox as eqx
    import haiku as hk
else:
    eqx = pytest.importorskip("equinox")
    hk = pytest.importorskip("haiku")

KEY = jax.random.key(0)
X = jnp.ones((16,))


def kernels(model, params, *inputs):
    found = jinit.roles(model, params, *inputs)
    return found, [role for role in found if role.kind == "contraction"]


def test_a_transformed_function_of_haiku_is_read():
    def function(x):
        x = jax.nn.gelu(hk.Linear(32)(x))
        x = x + hk.MultiHeadAttention(2, 16, w_init=hk.initializers.Constant(0))(
            x, x, x
        )
        return hk.Conv1D(8, 3)(x)

    model, x = hk.transform(function), jnp.ones((2, 6, 16))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params = jax.eval_shape(model.init, KEY, x)
        found, roles = kernels(model, params, x)
    assert {role.path: (role.axes, role.fan_in, role.branches) for role in roles} == {
        "linear/w": (("in", "out"), 16, 0),
        "multi_head_attention/query/w": (("in", "out"), 32, 0),
        "multi_head_attention/key/w": (("in", "out"), 32, 0),
        "multi_head_attention/value/w": (("in", "out"), 32, 0),
        "multi_head_attention/linear/w": (("in", "out"), 32, 1),
        "conv1_d/w": (("space", "in", "out"), 96, 0),
    }
    assert all(role.kind == "shift" for role in found if role.path.endswith("b"))


def test_a_module_of_equinox_is_read():
    model = eqx.nn.MLP(16, 4, 32, 2, activation=jax.nn.silu, key=KEY)
    params = eqx.filter(model, eqx.is_array)
    found, roles = kernels(model, params, X)
    assert [role.axes for role in roles] == [("out", "in")] * 3
    assert [role.fan_in for role in roles] == [16, 32, 32]
    assert [role.activation for role in roles] == [None, "silu", "silu"]
    drawn = jinit.plan(params, found.rules()).init(KEY)
    assert jax.tree.structure(drawn) == jax.tree.structure(params)
    out = jax.vmap(eqx.combine(drawn, model))(jax.random.normal(KEY, (512, 16)))
    assert jnp.square(out).mean() == pytest.approx(1.0, rel=0.5)


def test_a_convolution_of_equinox_is_read():
    model = eqx.nn.Conv2d(4, 8, 3, groups=2, key=KEY)
    params = eqx.filter(model, eqx.is_array)
    _, (role,) = kernels(model, params, jnp.ones((4, 8, 8)))
    assert role.axes == ("out", "in", "space", "space")
    assert (role.fan_in, role.fan_out) == (18, 36)


# Axes and fans of each layer, as its equation has them.

IMAGES = (2, 8, 8, 4)
SERIES = (2, 6, 16)


def haiku(layer, shape):
    model, x = hk.transform(lambda x: layer()(x)), jnp.ones(shape)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params = jax.eval_shape(model.init, KEY, x)
        return kernels(model, params, x)[1]


def equinox(layer, shape):
    return kernels(layer, eqx.filter(layer, eqx.is_array), jnp.ones(shape))[1]


HAIKU = {
    "Linear": (lambda: hk.Linear(8), SERIES, "in out", 16, 8),
    "Conv1D": (lambda: hk.Conv1D(8, 3), SERIES, "space in out", 48, 24),
    "Conv2D": (lambda: hk.Conv2D(8, 3, 2), IMAGES, "space space in out", 36, 18),
    "Conv2DTranspose": (
        *(lambda: hk.Conv2DTranspose(8, 4, 2), IMAGES),
        *("space space out in", 16, 128),
    ),
    "DepthwiseConv2D": (
        *(lambda: hk.DepthwiseConv2D(2, 3), IMAGES),
        *("space space in out", 9, 18),
    ),
}


@pytest.mark.parametrize("name", HAIKU)
def test_layers_of_haiku_are_read(name):
    layer, shape, axes, fan_in, fan_out = HAIKU[name]
    (role,) = haiku(layer, shape)
    assert " ".join(role.axes) == axes
    assert (role.fan_in, role.fan_out) == (fan_in, fan_out)


EQUINOX = {
    "Linear": (lambda: eqx.nn.Linear(16, 8, key=KEY), (16,), "out in", 16, 8),
    "Conv1d": (
        *(lambda: eqx.nn.Conv1d(4, 8, 3, key=KEY), (4, 8)),
        *("out in space", 12, 24),
    ),
    "ConvTranspose2d": (
        *(lambda: eqx.nn.ConvTranspose2d(4, 8, 4, 2, key=KEY), (4, 8, 8)),
        *("out in space space", 16, 128),
    ),
    "GRUCell": (
        *(lambda: Cell(eqx.nn.GRUCell(16, 8, key=KEY)), (16,)),
        *("out in", 16, 8),
    ),
    "LSTMCell": (
        *(lambda: Cell(eqx.nn.LSTMCell(16, 8, key=KEY)), (16,)),
        *("out in", 16, 8),
    ),
    "MultiheadAttention": (
        *(lambda: Attention(eqx.nn.MultiheadAttention(4, 16, key=KEY)), (6, 16)),
        *("out in", 16, 16),
    ),
}


class Cell(eqx.Module):
    cell: eqx.Module

    def __call__(self, x):
        h = jnp.ones(8)
        lstm = isinstance(self.cell, eqx.nn.LSTMCell)
        return self.cell(x, (h, h) if lstm else h)


class Attention(eqx.Module):
    attention: eqx.Module

    def __call__(self, x):
        return self.attention(x, x, x)


@pytest.mark.parametrize("name", EQUINOX)
def test_layers_of_equinox_are_read(name):
    layer, shape, axes, fan_in, fan_out = EQUINOX[name]
    role = equinox(layer(), shape)[0]
    assert " ".join(role.axes) == axes
    assert (role.fan_in, role.fan_out) == (fan_in, fan_out)


def test_the_running_averages_of_haiku_are_no_parameters():
    def function(x):
        x = hk.BatchNorm(True, True, 0.9)(hk.Linear(8)(x), is_training=True)
        return hk.Linear(4)(jax.nn.relu(x))

    model, x = hk.transform_with_state(function), jnp.ones((64, 16))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params, _ = jax.eval_shape(model.init, KEY, x)
        found, roles = kernels(model, params, x)
    assert [role.path for role in roles] == ["linear/w", "linear_1/w"]
    assert roles[1].moment == pytest.approx(0.5, rel=0.1)
    (offset,) = (role for role in found if role.path == "batch_norm/offset")
    assert offset.kind == "shift"


@pytest.mark.parametrize(
    ("core", "path", "gates", "state"),
    [(hk.LSTM, "lstm/linear/w", 4, (16, 24)), (hk.GRU, "gru/w_h", 3, None)],
    ids=["LSTM", "GRU"],
)
def test_gates_of_haiku_have_fans_of_their_own(core, path, gates, state):
    """Its LSTM has one kernel for the inputs and the state, its GRU one for each."""

    def function(x):
        cell = core(8)
        return hk.dynamic_unroll(cell, x, cell.initial_state(2))[0]

    model, x = hk.transform(function), jnp.ones((6, 2, 16))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params = jax.eval_shape(model.init, KEY, x)
        found, roles = kernels(model, params, x)
    assert {role.outputs for role in roles} == {(8,) * gates}
    assert {role.fan_out for role in roles} == {8}
    assert (found[path].state, found[path].recurrent) == (state, state is None)
    name = repr(dict(found.rules())[path]).partition("(")[0]
    assert name == ("lecun_normal" if state else "blocks")


def test_equinox_models_take_as_many_arrays_as_they_have():
    model = eqx.nn.Linear(6, 2, key=jax.random.key(0))
    with pytest.raises(ValueError, match="the 2 arrays of the model, got 1; give eqx"):
        jinit.roles(model, [model.weight], jnp.ones(6))
