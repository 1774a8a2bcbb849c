"""Initializers under the transformations of JAX: jit, vmap, grad, export."""

import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double
from scipy import stats

import jinit

SHAPE = (6, 10)
ELEMENTWISE = [
    jinit.constant(0.1),
    jinit.zeros(),
    jinit.ones(),
    jinit.uniform(a=-1.0, b=0.3),
    jinit.normal(mean=0.3, std=0.7),
    jinit.trunc_normal(mean=0.1, std=0.7, a=-1.0, b=0.9),
    jinit.trunc_normal(std=0.7, a=3.0, b=4.0),
    jinit.eye(gain=0.7),
    jinit.dirac(groups=2),
    jinit.xavier_uniform(gain="tanh"),
    jinit.xavier_normal(gain=0.7),
    jinit.kaiming_uniform(a=math.sqrt(5)),
    jinit.kaiming_normal(mode="fan_out"),
    jinit.sparse(0.7, std=0.3),
    jinit.truncated_normal(mean=0.1, std=0.7, lower=-1.3, upper=0.7, corrected=True),
    jinit.lecun_normal(),
    jinit.glorot_uniform(),
    jinit.variance_scaling(0.7, "fan_geo_avg", "normal"),
    jinit.stack(jinit.normal(std=0.7)),
    jinit.blocks(jinit.xavier_uniform(), 2),
    jinit.looks_linear(jinit.he_normal()),
    jinit.with_dtype(jinit.normal(), "float16"),
]
EVERY = [
    *ELEMENTWISE,
    jinit.orthogonal(gain=0.7),
    jinit.spectral_orthogonal(),
    jinit.delta_orthogonal(),
    jinit.convolution_orthogonal(),
]
CONVOLUTIONS = (jinit.dirac, jinit.delta_orthogonal, jinit.convolution_orthogonal)


def shape_for(init):
    return (3, *SHAPE) if isinstance(init, CONVOLUTIONS) else SHAPE


def draw(init, key, dtype=jnp.float32):
    return init(key, shape_for(init), dtype)


@pytest.fixture
def keys():
    return jax.random.split(jax.random.key(1), 3)


parametrize_every = pytest.mark.parametrize("init", EVERY, ids=repr)
parametrize_dtypes = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


# jit


@pytest.mark.bits
@parametrize_every
@parametrize_dtypes
def test_jit_equals_eager_bit_for_bit(init, dtype, key):
    jitted = jax.jit(lambda key: draw(init, key, dtype))(key)
    chex.assert_trees_all_equal(jitted, draw(init, key, dtype))


@parametrize_every
def test_an_initializer_is_a_static_argument(init, key):
    traces = []

    def traced(init, key):
        traces.append(init)
        return draw(init, key)

    jitted = jax.jit(traced, static_argnums=0)
    for rebuilt in (init, eval(repr(init), vars(jinit))):
        jitted(rebuilt, key)
    assert len(traces) == 1


# Of each kind of draw one, as every operation is compiled by itself.
KINDS = (
    *(jinit.uniform, jinit.normal, jinit.trunc_normal, jinit.truncated_normal),
    *(jinit.eye, jinit.dirac, jinit.sparse, jinit.blocks, jinit.orthogonal),
)


@pytest.mark.parametrize("init", [i for i in EVERY if isinstance(i, KINDS)], ids=repr)
def test_draws_without_any_compilation_are_the_same_up_to_rounding(init, key):
    with jax.disable_jit():
        op_by_op = draw(init, key)
    chex.assert_trees_all_close(op_by_op, draw(init, key), rtol=1e-5, atol=1e-6)


class TestVariants(chex.TestCase):
    """chex's variants are methods of a TestCase."""

    @chex.variants(
        with_jit=True, without_jit=True, with_device=True, without_device=True
    )
    def test_every_variant_has_the_bits_of_jax(self):
        key = jax.random.key(0)
        drawn = self.variant(lambda key: jinit.normal()(key, SHAPE))(key)
        np.testing.assert_array_equal(drawn, jax.random.normal(key, SHAPE))


# Batches of keys


@pytest.mark.bits
@pytest.mark.parametrize("init", ELEMENTWISE, ids=repr)
def test_vmap_over_keys_equals_a_loop_bit_for_bit(init, keys):
    mapped = jax.jit(jax.vmap(lambda key: draw(init, key)))(keys)
    loop = jnp.stack([draw(init, key) for key in keys])
    chex.assert_trees_all_equal(mapped, loop)


@pytest.mark.slow
@pytest.mark.parametrize("init", EVERY[len(ELEMENTWISE) :], ids=repr)
def test_vmap_over_keys_equals_a_loop_up_to_rounding_for_orthogonal(init, keys):
    mapped = jax.jit(jax.vmap(lambda key: draw(init, key)))(keys)
    loop = jnp.stack([draw(init, key) for key in keys])
    chex.assert_trees_all_close(mapped, loop, rtol=0, atol=1e-5)


@pytest.mark.bits
@pytest.mark.parametrize("init", ELEMENTWISE, ids=repr)
def test_lax_map_over_keys_equals_a_loop_bit_for_bit(init, keys):
    mapped = jax.lax.map(lambda key: draw(init, key), keys)
    loop = jnp.stack([draw(init, key) for key in keys])
    chex.assert_trees_all_equal(mapped, loop)


def test_vmap_takes_raw_keys_too(keys):
    init = jinit.kaiming_normal()
    mapped = jax.vmap(lambda raw: init(raw, SHAPE))(jax.random.key_data(keys))
    loop = jnp.stack([init(key, SHAPE) for key in keys])
    chex.assert_trees_all_equal(mapped, loop)


# Traced options

SWEEPS = {
    "constant-value": (lambda value: jinit.constant(value), [-0.1, 0.7, 1e-30]),
    "uniform-a": (lambda a: jinit.uniform(a=a), [-3.1, -0.1, 0.9]),
    "uniform-b": (lambda b: jinit.uniform(b=b), [0.0, 0.7, 31.0]),
    "normal-mean": (lambda mean: jinit.normal(mean=mean), [-0.1, 0.7, 30.0]),
    "normal-std": (lambda std: jinit.normal(std=std), [0.0, 0.7, 30.0]),
    # Of the bounds at ±2, the mean leaves both in a tail, or neither.
    "trunc_normal-mean": (lambda mean: jinit.trunc_normal(mean=mean), [-7.1, 0.1, 5.3]),
    "trunc_normal-std": (
        lambda std: jinit.trunc_normal(std=std, a=1.0, b=1.7),
        [0.1, 0.7, 30.0],
    ),
    "trunc_normal-a": (lambda a: jinit.trunc_normal(a=a, b=6.0), [-30.0, 0.3, 5.3]),
    "trunc_normal-b": (lambda b: jinit.trunc_normal(a=-6.0, b=b), [-5.3, 0.3, 30.0]),
    "eye-gain": (lambda gain: jinit.eye(gain=gain), [-0.7, 0.0, 1.3]),
    "xavier_uniform-gain": (lambda g: jinit.xavier_uniform(gain=g), [0.1, 0.7, 5 / 3]),
    "xavier_normal-gain": (lambda g: jinit.xavier_normal(gain=g), [0.1, 0.7, 5 / 3]),
    "xavier_normal-fan_out": (
        lambda fan_out: jinit.xavier_normal(fan_out=fan_out),
        [1.0, 7.3, 1e6],
    ),
    "kaiming_uniform-a": (lambda a: jinit.kaiming_uniform(a=a), [-0.1, 0.0, 5**0.5]),
    "kaiming_normal-a": (lambda a: jinit.kaiming_normal(a=a), [-0.1, 0.0, 5**0.5]),
    "kaiming_normal-fan_in": (
        lambda fan_in: jinit.kaiming_normal(fan_in=fan_in),
        [1.0, 7.3, 1e6],
    ),
    "kaiming_normal-fan_out": (
        lambda fan_out: jinit.kaiming_normal(fan_out=fan_out, mode="fan_geo_avg"),
        [1.0, 7.3, 1e6],
    ),
    "kaiming_uniform-nonlinearity": (
        lambda gain: jinit.kaiming_uniform(nonlinearity=gain),
        [0.1, 0.7, 5 / 3],
    ),
    "truncated_normal-std": (
        lambda std: jinit.truncated_normal(std=std, lower=1.0, upper=1.7),
        [0.1, 0.7, 30.0],
    ),
    "truncated_normal-lower": (
        lambda lower: jinit.truncated_normal(lower=lower, upper=6.0, corrected=True),
        [-30.0, 0.3, 5.3],
    ),
    "variance_scaling-scale": (
        lambda scale: jinit.variance_scaling(scale, "fan_in", "truncated_normal"),
        [0.0, 0.7, 30.0],
    ),
    "glorot_uniform-fan_out": (
        lambda fan_out: jinit.glorot_uniform(fan_out=fan_out),
        [1.0, 7.3, 1e6],
    ),
    "spectral_orthogonal-gain": (
        lambda gain: jinit.spectral_orthogonal(gain=gain),
        [0.0, 0.7, 5 / 3],
    ),
    "orthogonal-gain": (lambda gain: jinit.orthogonal(gain=gain), [0.0, 0.7, 5 / 3]),
    "sparse-std": (lambda std: jinit.sparse(0.5, std=std), [0.0, 0.7, 30.0]),
}
SCALARS = {name: sweep for name, sweep in SWEEPS.items() if name != "constant-value"}
parametrize_sweeps = pytest.mark.parametrize(
    ("make", "values"), SWEEPS.values(), ids=SWEEPS
)


@parametrize_sweeps
def test_a_traced_option_equals_a_python_float_up_to_rounding(make, values, key):
    swept = jax.vmap(lambda value: make(value)(key, SHAPE))(jnp.array(values))
    for got, value in zip(swept, values, strict=True):
        want = as_double(make(value)(key, SHAPE))
        # A few roundings of the largest intermediate result.
        atol = 4 * np.finfo(np.float32).eps * abs(want).max()
        np.testing.assert_allclose(as_double(got), want, rtol=1e-6, atol=atol)


@pytest.mark.slow
def test_bounds_in_both_tails_and_central_ones_are_swept_in_one_call(key):
    bounds = [(-2.0, 2.0), (3.0, 4.0), (-9.0, -7.0), (-0.5, 30.0), (12.0, 12.5)]
    swept = jax.vmap(lambda a, b: jinit.trunc_normal(a=a, b=b)(key, SHAPE))(
        *jnp.array(bounds).T
    )
    loop = [jinit.trunc_normal(a=a, b=b)(key, SHAPE) for a, b in bounds]
    chex.assert_trees_all_close(swept, jnp.stack(loop), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_swept_bounds_hold_every_draw(key):
    a, b = jnp.array([-2.0, 3.0, -9.0, 12.0]), jnp.array([2.0, 4.0, -7.0, 12.5])
    swept = jax.vmap(lambda a, b: jinit.trunc_normal(a=a, b=b)(key, (500,)))(a, b)
    assert (swept >= a[:, None]).all()
    assert (swept <= b[:, None]).all()


def test_keys_and_gains_are_swept_together(keys):
    def kernel(key, gain):
        return jinit.xavier_normal(gain=gain)(key, SHAPE)

    gains = [0.5, 2.0]
    over_gains = jax.vmap(kernel, in_axes=(None, 0))
    grid = jax.vmap(over_gains, in_axes=(0, None))(keys, jnp.array(gains))
    loop = jnp.stack([jnp.stack([kernel(k, gain) for gain in gains]) for k in keys])
    chex.assert_trees_all_close(grid, loop, rtol=1e-6)


@parametrize_dtypes
def test_a_constant_may_be_a_traced_array_that_broadcasts(dtype, key):
    row = jnp.linspace(0, 1, SHAPE[1])
    filled = jax.jit(lambda row: jinit.constant(row)(key, SHAPE, dtype))(row)
    expected = np.broadcast_to(row.astype(dtype), SHAPE)
    np.testing.assert_array_equal(filled, expected, strict=True)


@pytest.mark.parametrize("make", [make for make, _ in SCALARS.values()], ids=SCALARS)
def test_a_traced_option_that_is_not_a_scalar_is_refused(make):
    with pytest.raises(ValueError, match=r"must be a scalar, .* shape \(3,\)"):
        jax.eval_shape(make, jnp.ones(3))


def test_a_traced_constant_that_does_not_broadcast_is_refused(key):
    with pytest.raises(ValueError, match=r"shape \(3,\) does not broadcast"):
        jax.eval_shape(lambda value: jinit.constant(value)(key, SHAPE), jnp.ones(3))


def test_a_traced_sparsity_is_refused():
    with pytest.raises(
        TypeError, match="sparsity must be known when the program is traced"
    ):
        jax.eval_shape(jinit.sparse, 0.5)


@pytest.mark.parametrize("name", SWEEPS)
def test_an_initializer_prints_the_option_that_is_traced(name):
    make, _ = SWEEPS[name]
    factory, option = name.split("-")
    shown = []

    def trace(value):
        shown.append(repr(make(value)))
        return value

    jax.eval_shape(trace, 0.5)
    named = "" if option in ("value", "scale") else f"{option}="
    assert re.match(rf"{factory}\(.*{named}\w*Tracer", shown[0])


# Gradients


def gradient(make, value, key):
    return jax.jit(jax.grad(lambda value: make(value)(key, SHAPE).sum()))(value)


SCALES = {
    "std of normal": lambda std: jinit.normal(std=std),
    "std of sparse": lambda std: jinit.sparse(0.5, std=std),
    "gain of xavier_normal": lambda gain: jinit.xavier_normal(gain=gain),
    "gain of xavier_uniform": lambda gain: jinit.xavier_uniform(gain=gain),
    "gain of orthogonal": lambda gain: jinit.orthogonal(gain=gain),
    "gain of eye": lambda gain: jinit.eye(gain=gain),
}


@pytest.mark.parametrize("make", SCALES.values(), ids=SCALES)
def test_the_gradient_by_a_scale_is_the_draw_over_it(make, key):
    weights = as_double(make(0.7)(key, SHAPE))
    error = 1e-6 * abs(weights).sum()
    assert gradient(make, 0.7, key) == pytest.approx(weights.sum() / 0.7, abs=error)


LOCATIONS = {
    "mean of normal": lambda mean: jinit.normal(mean=mean),
    "value of constant": lambda value: jinit.constant(value),
}


@pytest.mark.parametrize("make", LOCATIONS.values(), ids=LOCATIONS)
def test_the_gradient_by_a_location_is_one_for_each_weight(make, key):
    assert gradient(make, 0.7, key) == math.prod(SHAPE)


def test_the_gradient_by_a_bound_of_a_uniform_is_the_distance_to_the_other(key):
    # W = a + (b - a) u:    dW / da = 1 - u = (b - W) / (b - a)
    weights = as_double(jinit.uniform(a=-1.0, b=2.0)(key, SHAPE))
    slope = gradient(lambda a: jinit.uniform(a=a, b=2.0), -1.0, key)
    assert slope == pytest.approx(((2 - weights) / 3).sum(), rel=1e-5)


def test_the_gradient_by_the_slope_of_kaiming_is_that_of_its_gain(key):
    # gain = sqrt(2 / (1 + a²)):    d gain / da = -a / (1 + a²) · gain
    weights = as_double(jinit.kaiming_normal(a=0.5)(key, SHAPE))
    slope = gradient(lambda a: jinit.kaiming_normal(a=a), 0.5, key)
    error = 1e-6 * abs(weights).sum()
    assert slope == pytest.approx(-0.5 / 1.25 * weights.sum(), abs=error)


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(-1.0, 2.0), (5.0, 8.0)])
def test_the_gradient_by_a_bound_of_a_truncated_normal_follows_its_quantiles(a, b, key):
    # S(W) = S(a) - u (S(a) - S(b)), with the survival function S and density φ:
    # dW / da = φ(a) / φ(W) · (1 - u),    1 - u = (S(W) - S(b)) / (S(a) - S(b))
    weights = as_double(jinit.trunc_normal(a=a, b=b)(key, SHAPE))
    survival, density = stats.norm.sf, stats.norm.pdf
    share = (survival(weights) - survival(b)) / (survival(a) - survival(b))
    slopes = density(a) / density(weights) * share
    slope = gradient(lambda a: jinit.trunc_normal(a=a, b=b), a, key)
    assert slope == pytest.approx(slopes.sum(), rel=1e-4)


# Export

PLATFORMS = ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("init", [jinit.normal(std=0.7), jinit.orthogonal()], ids=repr)
def test_an_exported_draw_equals_an_eager_one(init, key):
    program = jax.jit(lambda key: draw(init, key))
    exported = jax.export.export(program, platforms=PLATFORMS)(key)
    chex.assert_trees_all_close(exported.call(key), draw(init, key), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_a_traced_option_of_any_real_dtype_is_computed_with_in_full(dtype, key):
    fans = jnp.array([40_000, 2], dtype)

    def draw(fan):
        return jinit.xavier_normal(fan_in=fan, fan_out=fan, gain=fan)(key, (2, 2))

    exact = jnp.stack([draw(float(fan)) for fan in fans])
    np.testing.assert_allclose(jax.vmap(draw)(fans), exact, rtol=1e-6)


@pytest.mark.parametrize("values", [[True, False], [1j, 2j]])
def test_a_traced_option_that_is_not_real_is_refused(values, key):
    with pytest.raises(TypeError, match="std must be"):
        jax.vmap(lambda std: jinit.normal(std=std)(key, (2,)))(jnp.array(values))
