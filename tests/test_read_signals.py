"""Signals that are read of a program are as large as they are where it runs.

Each model returns what a kernel meets. It is drawn by its rules and run, and what is
read of the program alone is held to that within a factor of two.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jinit

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (32, 16, 64))


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


def read_and_run(model, params, *inputs):
    """The roles, the second moment that is read of the result, and the true one."""
    shapes = {name: struct(*shape) for name, shape in params.items()}
    out = jax.eval_shape(model, shapes, *inputs)
    shapes["head"] = struct(out.shape[-1], 3)
    roles = jinit.roles(lambda p, *x: model(p, *x) @ p["head"], shapes, *inputs)
    kept = {name: jnp.zeros(each.shape) for name, each in shapes.items()}
    made = []
    for seed in range(2):
        drawn = jinit.plan(kept, roles.rules()).init(jax.random.key(seed))
        made.append(float(jnp.square(jnp.abs(model(drawn, *inputs))).mean()))
    return roles, roles["head"].moment, np.mean(made)


def integers(most, *shape):
    return jax.random.randint(jax.random.key(1), shape, 0, most)


# Integers: how many classes there are, by what they are compared with or look up.

CLASSES = {
    "one-hot": (lambda p, c: jax.nn.one_hot(c, 10), 10),
    "one-hot, along the first axis": (lambda p, c: jax.nn.one_hot(c, 10, axis=0).T, 10),
    "compared with counted rows": (
        lambda p, c: (c[:, None] == jnp.arange(10)[None]).astype("float32"),
        10,
    ),
    "one of a few, counted from one": (lambda p, c: jax.nn.one_hot(c - 1, 10), 11),
    "lengths": (
        lambda p, c: jnp.where(jnp.arange(64)[None] < c[:, None], X[0, 0][None], 0.0),
        64,
    ),
    "rows of a constant": (lambda p, c: jnp.asarray(np.eye(10, dtype="f4"))[c], 10),
    "a few numbers": (lambda p, c: c[:, None].astype("float32") * p["table"][c], 10),
}


@pytest.mark.parametrize("name", CLASSES)
def test_an_integer_is_one_of_as_many_as_the_program_tells_apart(name):
    model, most = CLASSES[name]
    _, moment, true = read_and_run(model, {"table": (10, 64)}, integers(most, 512))
    assert 0.5 < moment / true < 2


# Edges: what is looked up at two of their ends is of two places.

LOOKED_UP = {
    "differences": lambda h, s, t: h[t] - h[s],
    "products": lambda h, s, t: h[s] * h[t],
    "products of what is looked up alike": lambda h, s, t: h[s] * jnp.tanh(h[s]),
    "sums within a nonlinearity": lambda h, s, t: jax.nn.relu(h[s] + h[t]),
    "both": lambda h, s, t: jnp.concatenate([h[s], h[t] - h[s]], -1),
    "taken": lambda h, s, t: jnp.take(h, s, 0) - jnp.take(h, t, 0, mode="clip"),
    "distances among features": lambda h, s, t: jnp.concatenate(
        [h[s], jnp.square(h[s] - h[t]).sum(-1, keepdims=True)], -1
    ),
}


@pytest.mark.parametrize("name", LOOKED_UP)
def test_what_is_looked_up_elsewhere_is_of_other_places(name):
    def model(params, x, source, target):
        return LOOKED_UP[name](x @ params["w"], source, target)

    x, s, t = X.reshape(-1, 64), *integers(512, 2, 1000)
    _, moment, true = read_and_run(model, {"w": (64, 32)}, x, s, t)
    assert 0.5 < moment / true < 2


def test_many_values_are_put_together():
    def model(params, x):
        return jnp.concatenate([n * x[:, :1] for n in range(100)], -1)

    _, moment, true = read_and_run(model, {}, X[:, 0])
    assert moment == pytest.approx(true, rel=0.5)


def test_an_integer_of_which_nothing_is_known_is_any():
    def scaled(p, x):
        return x.astype("float32") / 64

    _, moment, _ = read_and_run(scaled, {}, integers(127, 8, 16))
    assert moment == pytest.approx(4 / 3, rel=0.05)


def test_classes_of_which_there_are_none_are_read():
    params, classes = {"w": struct(0, 3)}, jax.ShapeDtypeStruct((4,), "int32")
    found = jinit.roles(lambda p, c: jax.nn.one_hot(c, 0) @ p["w"], params, classes)
    assert found["w"].fan_in == 0


# Tables that are cut where data says.


def cut(table, at, x):
    return lax.dynamic_slice_in_dim(table, at, x.shape[1])[None]


def cut_in_a_scan(p, x, at):
    def turn(at, x):
        return at + 1, x + lax.dynamic_slice_in_dim(p["t"], at, 1)

    return lax.scan(turn, at, jnp.moveaxis(x, 1, 0))[1]


TABLES = {
    "added": lambda p, x, at: x + cut(p["t"], at, x),
    "multiplied": lambda p, x, at: x * cut(p["t"], at, x),
    "looked up": lambda p, x, at: x + p["t"][at + jnp.arange(16)][None],
    "three axes": lambda p, x, at: (
        x + lax.dynamic_slice(p["t"][None], jnp.array((0, at, 0)), (1, 16, 64))
    ),
    "each its own": lambda p, x, at: jax.vmap(
        lambda x, n: x + cut(p["t"], n, x[None])[0]
    )(x, at + jnp.arange(32)),
    "scan": cut_in_a_scan,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_cut_where_data_says_is_one(name):
    roles, moment, true = read_and_run(TABLES[name], {"t": (100, 64)}, X, jnp.int32(3))
    assert (roles["t"].kind, roles["t"].axes) == ("table", ("index", "out"))
    assert 0.5 < moment / true < 2


SINES = np.sin(np.outer(np.arange(100), 0.9 ** np.arange(64))).astype("f4") * 9


def cached(p, x, at):
    """Keys that are put into a cache, most of which is zero."""
    keys = jnp.zeros((32, 64, 64))
    return lax.dynamic_update_slice(keys, x @ p["k"], (0, at, 0))


CONSTANTS = {
    "cut": lambda p, x, at: x * cut(jnp.asarray(SINES), at, x),
    "looked up": lambda p, x, at: x * jnp.asarray(SINES)[at + jnp.arange(16)][None],
    "filled": cached,
    "set": lambda p, x, at: (0.1 * x).at[:, at].set(x[:, 0] @ p["k"] * 4),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_what_is_cut_out_or_put_in_where_data_says_is_as_large_as_it_is(name):
    model = CONSTANTS[name]
    roles, moment, true = read_and_run(model, {"k": (64, 64)}, X, jnp.int32(3))
    assert 0.5 < moment / true < 2
    assert not roles["head"].assumed


# Loops: what they carry is as large as it is on average, and in the end.


def by_scan(a, v):
    def turn(h, av):
        h = av[0] * h + av[1]
        return h, h

    along = jnp.moveaxis(a, 1, 0), jnp.moveaxis(v, 1, 0)
    return jnp.moveaxis(lax.scan(turn, jnp.zeros_like(v[:, 0]), along)[1], 0, 1)


def by_halves(a, v):
    def combined(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    return lax.associative_scan(combined, (a, v), axis=1)[1]


def averaged(p, x):
    """From the first place, of which little is left in the end."""

    def turn(h, x):
        h = 0.98 * h + 0.02 * x
        return h, h

    return lax.scan(turn, x[:, 0], jnp.moveaxis(x, 1, 0))[1]


def layers(p, x):
    def turn(x, w):
        return x + jnp.tanh(x @ w[0]) @ w[1], None

    return lax.scan(turn, x, (p["up"], p["down"]))[0]


def inside(p, x):
    """A loop along places, for each of four layers."""

    def layer(x, w):
        return x, by_scan(jnp.full(x.shape, 0.9), x @ w)

    return lax.scan(layer, x, p["w"])[1]


LONG = jax.random.normal(KEY, (4, 256, 64))
DECAYS = {
    "half": lambda p, _: jax.nn.sigmoid(p["a"]),
    "a tenth": lambda p, _: jnp.exp(-jnp.exp(p["a"] - 2.3)),
    "hardly": lambda p, _: jax.nn.sigmoid(p["a"] + 5),
    "nothing in between": lambda p, _: jnp.exp(-jnp.exp(p["a"] + 1)),
    "by the inputs": lambda p, x: jax.nn.sigmoid(x @ p["v"] + 3),
}


@pytest.mark.parametrize("by", [by_scan, by_halves])
@pytest.mark.parametrize("name", DECAYS)
def test_what_decays_is_as_large_as_what_is_left_of_it(name, by):
    def model(p, x):
        v = x @ p["v"]
        return by(jnp.broadcast_to(DECAYS[name](p, x), v.shape), v)

    _, moment, true = read_and_run(model, {"v": (64, 64), "a": (1, 1, 64)}, LONG)
    assert 0.6 < moment / true < 1.6


@pytest.mark.parametrize(
    ("model", "params", "x"),
    [
        (averaged, {}, LONG),
        (layers, {"up": (24, 64, 64), "down": (24, 64, 64)}, X),
        (layers, {"up": (4, 64, 64), "down": (4, 64, 64)}, X),
        (inside, {"w": (4, 64, 64)}, LONG),
    ],
)
def test_a_loop_that_is_long_or_within_another_is_run_for_its_size(model, params, x):
    _, moment, true = read_and_run(model, params, x)
    assert 0.6 < moment / true < 1.6


# Kernels that gates mix: each has its own fans, and what they make the size one.


def mixed_by_softmax(p, x, z):
    shares = jax.nn.softmax(z @ p["g"])
    return jnp.einsum("bti,bio->bto", x, jnp.einsum("be,eio->bio", shares, p["w"]))


def mixed_by_sigmoid(p, x, z):
    shares = jax.nn.sigmoid(z @ p["g"])
    return jnp.einsum("bti,bio->bto", x, jnp.einsum("be,eio->bio", shares, p["w"]))


def mixed_once(p, x, z):
    return x @ jnp.tensordot(jax.nn.softmax(z[0] @ p["g"]), p["w"], 1)


def mixed_flat(p, x, z):
    kernels = jax.nn.softmax(z @ p["g"]) @ p["w"].reshape(4, -1)
    return jnp.einsum("bti,bio->bto", x, kernels.reshape(-1, 64, 24))


MIXED = [mixed_by_softmax, mixed_by_sigmoid, mixed_once, mixed_flat]


@pytest.mark.parametrize("model", MIXED)
def test_kernels_that_are_mixed_have_fans_of_their_own(model):
    params, z = {"g": (8, 4), "w": (4, 64, 24)}, jax.random.normal(KEY, (32, 8))
    roles, moment, true = read_and_run(model, params, X, z)
    assert roles["w"].axes == ("batch", "in", "out")
    assert (roles["w"].fan_in, roles["w"].fan_out) == (64, 24)
    assert moment == pytest.approx(1)
    assert 0.5 < moment / true < 2


def test_what_gates_average_is_no_kernel():
    """The values of a memory, and experts that are averaged after they ran."""

    def memory(p, x):
        return jax.nn.softmax(x @ p["k"]) @ p["v"]

    roles, _, _ = read_and_run(memory, {"k": (64, 50), "v": (50, 24)}, X)
    assert (roles["v"].axes, roles["v"].fan_in) == (("in", "out"), 50)
