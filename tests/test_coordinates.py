"""What the coordinate check says of models whose dependence on the width is known."""

import functools
import json
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from jinit.signal._coordinates import CoordinateCheck, coordinate_check

X = np.random.default_rng(0).standard_normal((8, 16), np.float32)
Y = jnp.asarray(np.sign(X[:, :1]))
KEYS = jax.random.split(jax.random.key(0), 3)
WIDTHS = (32, 64, 128)


@pytest.fixture
def optax_promotion():
    """What optax computes with is promoted as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def trained():
    with jax.numpy_dtype_promotion("standard"):
        return coordinate_check(standard, WIDTHS, X, loss, keys=KEYS, steps=1)


def loss(outputs):
    return ((outputs - Y) ** 2).mean()


class Perceptron(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(nn.Dense(self.width, name="first")(x))
        x = jnp.tanh(nn.Dense(self.width, name="hidden")(x))
        return nn.Dense(1, name="out", use_bias=False)(x)


def drawn(width, key):
    """Parameters with kernels of variance 1 / fan_in; NumPy's need no compiling."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def kernel(*shape):
        return rng.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5)

    bias = np.zeros(width, "float32")
    return {
        "params": {
            "first": {"kernel": kernel(16, width), "bias": bias},
            "hidden": {"kernel": kernel(width, width), "bias": bias},
            "out": {"kernel": kernel(width, 1)},
        }
    }


def standard(width, key):
    return Perceptron(width), drawn(width, key), optax.adam(0.02)


def maximal_update(width, key):
    """muP: hidden and output kernels move by less the wider they are."""
    params = drawn(width, key)
    params["params"]["out"]["kernel"] *= 0
    wide = optax.adam(0.02 * WIDTHS[0] / width)
    rates = {"first": optax.adam(0.02), "hidden": wide, "out": wide}
    labels = {"params": {name: name for name in rates}}
    return Perceptron(width), params, optax.multi_transform(rates, labels)


class Power(nn.Module):
    """A layer whose output is as large as a power of its width."""

    width: int
    power: float

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (1, 1))
        return x[:, :1] * 0 + self.width**self.power * scale


class Constant(NamedTuple):
    """An optimizer that adds the same to every parameter."""

    step: float

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        return jax.tree.map(lambda g: jnp.full_like(g, self.step), grads), state


def power(width, key, power=1.0, step=0.0):
    params = {"params": {"scale": jnp.ones((1, 1))}}
    return Power(width, power), params, Constant(step)


def power_law(exponent, step=0.0):
    make = functools.partial(power, power=exponent, step=step)
    return coordinate_check(make, WIDTHS, X, jnp.mean, keys=KEYS, steps=2)


# What it finds


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(1.0, "grows"), (0.5, "grows"), (0.0, "level"), (-0.1, "level"), (-1, "shrinks")],
)
def test_the_slope_of_a_power_law_is_its_power(power, verdict):
    check = power_law(power)

    np.testing.assert_allclose(check.slopes, power, atol=1e-6)
    np.testing.assert_allclose(check.errors, 0, atol=1e-6)
    assert check.verdicts == (verdict,)


@pytest.mark.slow
def test_standard_parametrization_grows_with_width_under_adam(trained):
    # Adam moves every weight by the rate, and all of a unit's along its inputs.
    assert trained.layers == ("first", "hidden", "out", "")
    assert trained.verdicts == ("level", "grows", "grows", "grows")
    assert abs(trained.slopes[0, 1]) < 0.1
    assert trained.slopes[1, 2] > 0.5


@pytest.mark.slow
def test_maximal_update_parametrization_is_level_under_adam(optax_promotion):
    check = coordinate_check(maximal_update, WIDTHS, X, loss, keys=KEYS, steps=4)

    assert check.verdicts == ("level",) * 4
    assert np.isnan(check.slopes[0, 2])  # the output is zero before training


def test_slopes_and_errors_are_those_of_a_regression(trained):
    x = np.repeat(np.log2(WIDTHS), len(KEYS))
    line = stats.linregress(x, np.log2(trained.sizes[:, :, 1, 1]).ravel())

    np.testing.assert_allclose(trained.slopes[1, 1], line.slope, rtol=1e-9)
    np.testing.assert_allclose(trained.errors[1, 1], line.stderr, rtol=1e-9)


@pytest.mark.slow
def test_sizes_are_those_of_training_by_hand(trained, optax_promotion):
    model, params, optimizer = standard(WIDTHS[0], KEYS[1])
    outputs, pull_back = jax.vjp(lambda params: model.apply(params, X), params)
    grads = pull_back(jax.grad(loss)(outputs))[0]
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = model.apply(optax.apply_updates(params, updates), X)

    assert trained.sizes.shape == (3, 3, 2, 4)
    sizes = [abs(outputs).mean(), abs(after).mean()]
    np.testing.assert_allclose(trained.sizes[0, 1, :, 3], sizes, rtol=1e-4)


@pytest.mark.slow
def test_an_nnx_model_can_be_checked():
    def make(width, key):
        rngs = nnx.Rngs(params=key)
        model = nnx.Sequential(
            nnx.Linear(16, width, rngs=rngs), jnp.tanh, nnx.Linear(width, 1, rngs=rngs)
        )
        return model, nnx.state(model, nnx.Param), optax.sgd(0.1)

    check = coordinate_check(make, (8, 16), X, loss, keys=KEYS[:2], steps=1)

    _, state, _ = make(16, KEYS[1])
    first = X @ np.asarray(state["layers"][0]["kernel"][...])
    np.testing.assert_allclose(check.sizes[1, 1, 0, 0], abs(first).mean(), rtol=1e-5)
    assert (check.sizes[:, :, 1] != check.sizes[:, :, 0]).all()


def test_a_model_is_compiled_once_for_each_width():
    traces = []

    def counted(outputs):
        traces.append(outputs.shape)
        return outputs.mean()

    coordinate_check(power, (4, 8), X, counted, keys=KEYS, steps=3)
    assert len(traces) == 2


@pytest.mark.parametrize(("step", "verdict"), [(-0.5, "zero"), (3e38, "not finite")])
def test_a_layer_without_a_slope_has_a_verdict(step, verdict):
    check = power_law(0.5, step)  # after two steps the scale is 0, or infinite

    assert check.verdicts == (verdict,)
    assert np.isnan(check.slopes[-1]).all()
    assert not np.isnan(check.slopes[0]).any()


# Tables and JSON


def test_it_prints_as_a_table():
    check = power_law(0.5)

    assert str(check).splitlines() == [
        "layer    slope at step 0  at step 2    with width it",
        "(model)  0.50 ± 0.00      0.50 ± 0.00  grows",
    ]


def test_json_has_everything():
    check = power_law(0.5)
    config = json.loads(check.to_json())

    assert config.pop("jinit_coordinate_check") == 1
    assert config.pop("layers") == [""]
    assert config.pop("widths") == list(WIDTHS)
    assert config.pop("verdicts") == ["grows"]
    assert config == {name: getattr(check, name).tolist() for name in config}
    assert set(config) == {"sizes", "slopes", "errors"}


def test_layers_can_be_selected():
    sizes = np.arange(24.0).reshape(2, 2, 2, 3)
    check = CoordinateCheck(
        ("a", "b", "c"),
        (1, 2),
        sizes,
        sizes[0, 0],
        sizes[0, 1],
        ("level", "grows", "zero"),
    )
    some = check.select("[bc]")

    assert (some.layers, some.verdicts) == (("b", "c"), ("grows", "zero"))
    np.testing.assert_array_equal(some.sizes, sizes[..., 1:])
    np.testing.assert_array_equal(some.slopes, sizes[0, 0, :, 1:])
    np.testing.assert_array_equal(some.errors, sizes[0, 1, :, 1:])


# What is refused


def of(model=None, params=None, optimizer=None):
    """A `make` of which one part is other than it should be."""

    def make(width, key):
        made = power(width, key)
        given = (model, params, optimizer)
        return tuple(m if g is None else g for m, g in zip(made, given, strict=True))

    return make


def depth(width, key):
    model = nn.Sequential([nn.Dense(1) for _ in range(width // 4)])
    return model, model.init(key, X), optax.sgd(0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"widths": 64}, TypeError, "widths must be a sequence of integers, got 64"),
        ({"widths": (4, 8.5)}, TypeError, r"widths must be .*got \(4, 8.5\)"),
        ({"widths": (4, 0)}, ValueError, "each of widths must be at least 1, got 0"),
        ({"widths": (4,)}, ValueError, r"two different widths or more, got \(4,\)"),
        ({"widths": (4, 4)}, ValueError, "two different widths"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 1.5}, TypeError, "steps must be an integer"),
        ({"keys": 3}, TypeError, "key must be a JAX random key"),
        ({"keys": KEYS[0]}, ValueError, "keys must be an array of one axis"),
        ({"keys": KEYS[:1]}, ValueError, "keys must be at least two for two widths"),
        (
            {"batch": X[:, 0] * np.nan},
            ValueError,
            "batch must be finite, but has 8 NaN",
        ),
        ({"loss": lambda y: y @ X}, ValueError, r"loss .*fails .*shape \(8, 16\)"),
        ({"make": lambda width, key: 3}, TypeError, "make must return a model, its"),
        ({"make": of(optimizer=optax.adam)}, TypeError, "the optimizer that make"),
        ({"make": of(params={"w": 1.0})}, TypeError, "params at 'w' must be an array"),
        ({"make": of(params={"w": X})}, ValueError, "model fails with these params"),
        ({"make": depth}, ValueError, "same layers at all widths.*4 and 8 differ in"),
        ({"loss": lambda y: y}, ValueError, "optimizer fails .*scalar"),
    ],
)
def test_a_mistake_is_refused(options, error, message):
    given = {"make": power, "widths": (4, 8), "batch": X, "loss": loss, "keys": KEYS}
    with pytest.raises(error, match=f"(?s){message}"):
        coordinate_check(**{**given, **options})
