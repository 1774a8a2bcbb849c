"""Layers are shown in order, once, as the model computes them, and can be replaced."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinit.signal._watch import apply_watched, check_arrays, layer_shapes

X = np.random.default_rng(0).standard_normal((2, 4), np.float32)


def seen(model, params, batch=X):
    """The outputs by path, and what the model returns."""
    outputs = {}

    def visit(path, output):
        outputs[path] = output
        return output

    return outputs, apply_watched(model, params, batch, visit)


class Tied(nn.Module):
    """A module with a child that is called twice."""

    def setup(self):
        self.dense = nn.Dense(4)

    def __call__(self, x):
        return self.dense(jnp.tanh(self.dense(x)))


class Lifted(nn.Module):
    """Modules within transformations, and one beside them."""

    @nn.compact
    def __call__(self, x):
        x = nn.remat(nn.Dense)(4, name="rematted")(x)
        scanned = nn.scan(
            Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        x, _ = scanned(name="scanned")(x, None)
        return nn.Dense(3, name="last")(x)


class Body(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(4)(x), None


class Other(nn.Module):
    """A module that returns a tuple, and one that returns integers."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="dense")(x)
        return x, Whole(name="whole")(x)


class Whole(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x.astype(int)


class Mixed(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.norm(x)


def variables(model):
    return model.init(jax.random.key(0), X)


@pytest.mark.slow
def test_layers_of_linen_are_shown_in_the_order_of_their_calls():
    model = nn.Sequential([nn.Dense(3), nn.Sequential([nn.Dense(2), nn.LayerNorm()])])
    params = variables(model)
    outputs, returned = seen(model, params)

    assert list(outputs) == [
        *("layers_0", "layers_1/layers_0", "layers_1/layers_1", "layers_1", ""),
    ]
    _, state = model.apply(params, X, capture_intermediates=True)
    captured = state["intermediates"]
    np.testing.assert_array_equal(
        outputs["layers_0"], captured["layers_0"]["__call__"][0]
    )
    np.testing.assert_array_equal(outputs[""], returned)
    np.testing.assert_array_equal(returned, model.apply(params, X))


def test_layers_of_nnx_are_shown_in_the_order_of_their_calls():
    model = Mixed(nnx.Rngs(0))
    outputs, returned = seen(model, nnx.state(model))

    assert list(outputs) == ["layers/0", "layers/1", "norm", ""]
    np.testing.assert_allclose(outputs["layers/0"], model.layers[0](X), rtol=1e-6)
    np.testing.assert_array_equal(returned, outputs["norm"])


def test_an_nnx_model_is_not_changed():
    model = Mixed(nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.state(model))
    params = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    outputs, _ = seen(model, params)

    np.testing.assert_allclose(outputs["layers/0"][:, 0], X.sum(1) + 1, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)
    assert type(model) is Mixed
    assert type(model.norm) is nnx.BatchNorm


def test_a_function_can_apply_linen_modules():
    model = nn.Dense(3)
    params = variables(model)
    outputs, returned = seen(
        lambda p, x: 2 * model.apply({"params": p}, x), params["params"]
    )

    np.testing.assert_array_equal(2 * outputs[""], returned)


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_what_takes_the_place_of_an_output_is_what_the_model_goes_on_with(kind):
    if kind == "linen":
        model = nn.Sequential([nn.Dense(4), nn.Dense(3, use_bias=False)])
        params, first = variables(model), "layers_0"
    else:
        model = nnx.Sequential(
            nnx.Linear(4, 4, rngs=nnx.Rngs(0)),
            nnx.Linear(4, 3, use_bias=False, rngs=nnx.Rngs(1)),
        )
        params, first = nnx.state(model), "layers/0"

    def visit(path, output):
        return output * 0 if path == first else output

    np.testing.assert_array_equal(
        apply_watched(model, params, X, visit), jnp.zeros((2, 3))
    )


def test_a_layer_that_is_called_twice_is_shown_the_first_time():
    params = variables(Tied())
    outputs, _ = seen(Tied(), params)

    first = nn.Dense(4).apply({"params": params["params"]["dense"]}, X)
    assert list(outputs) == ["dense", ""]
    np.testing.assert_array_equal(outputs["dense"], first)


@pytest.mark.slow
def test_layers_within_transformations_are_not_shown():
    params = variables(Lifted())
    outputs, returned = seen(Lifted(), params)

    assert "last" in outputs
    assert not any(path.startswith("scanned/") for path in outputs)
    jax.block_until_ready(outputs)  # nothing of it is traced
    np.testing.assert_array_equal(returned, Lifted().apply(params, X))


def test_what_is_not_an_array_of_floats_is_not_shown():
    outputs, _ = seen(Other(), variables(Other()))

    assert list(outputs) == ["dense"]


def test_layers_are_shown_under_transformations_of_the_whole():
    model = Tied()
    params = variables(model)

    def size(params):
        outputs, returned = seen(model, params)
        return returned.sum(), outputs["dense"]

    (_, dense), grads = jax.jit(jax.value_and_grad(size, has_aux=True))(params)
    np.testing.assert_allclose(dense, seen(model, params)[0]["dense"], rtol=1e-6)
    expected = jax.grad(lambda params: model.apply(params, X).sum())(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), grads, expected
    )


def test_the_shapes_of_layers_are_known_without_computing():
    shapes, returned = layer_shapes(Tied(), variables(Tied()), X)

    assert shapes == {
        "dense": jax.ShapeDtypeStruct((2, 4), "float32"),
        "": jax.ShapeDtypeStruct((2, 4), "float32"),
    }
    assert returned == shapes[""]


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({}, ValueError, "params must hold arrays, got {}, which holds none"),
        ({"a": "b"}, TypeError, "params at 'a' must be an array, got 'b'"),
        ({"a": jnp.zeros((0, 2))}, ValueError, r"params at 'a' .*got shape \(0, 2\)"),
        (
            {"a": {"b": jnp.array([1.0, jnp.nan, jnp.inf, -jnp.inf], "bfloat16")}},
            *(ValueError, "params at 'a/b' must be finite, but has 1 NaN and 2 inf"),
        ),
        (jnp.full(2, jnp.nan), ValueError, "params must be finite, but has 2 NaN"),
    ],
)
def test_a_tree_that_is_not_of_finite_arrays_is_refused(tree, error, message):
    with pytest.raises(error, match=message):
        check_arrays("params", tree)


def test_integers_and_keys_are_arrays_too():
    check_arrays("params", {"n": np.int32(3), "key": jax.random.key(0), "x": X})
