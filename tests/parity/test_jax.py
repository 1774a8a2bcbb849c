"""Beside JAX itself: its bits in float32 and float64, and its faults put right.

What JAX does today stands in comments; only jinit is asserted where the two differ, so
that the tests go on passing when JAX mends itself.
"""

import jax
import numpy as np
import pytest
from helpers import as_double, check_mean, check_same_distribution, check_std
from jax.nn import initializers

import jinit

SHAPES = [(), (1,), (7,), (1000,), (1, 1), (5, 3), (1, 4, 1), (3, 1, 5), (3, 3, 2, 5)]
BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (-0.3, 0.7), (5.0, 5.1), (-1e-3, 3e-3)]
IMPLEMENTATIONS = ["threefry2x32", "rbg", "unsafe_rbg"]


def standard(key, shape, dtype=None):
    return jax.random.normal(key, shape, dtype)


def unit(key, shape, dtype=None):
    return jax.random.uniform(key, shape, dtype)


PAIRS = [
    pytest.param(jinit.normal(), standard, id="normal"),
    pytest.param(jinit.uniform(), unit, id="uniform"),
]


@pytest.mark.bits
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_are_those_of_jax(ours, theirs, shape, key):
    np.testing.assert_array_equal(ours(key, shape), theirs(key, shape))


@pytest.mark.bits
@pytest.mark.parametrize("bounds", BOUNDS)
def test_bits_of_uniform_between_any_bounds_are_those_of_jax(bounds, key):
    low, high = bounds
    ours = jinit.uniform(a=low, b=high)(key, (1000,))
    theirs = jax.random.uniform(key, (1000,), minval=low, maxval=high)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.bits
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_from_a_raw_key_are_those_of_jax(ours, theirs):
    raw = jax.random.PRNGKey(7)
    np.testing.assert_array_equal(ours(raw, (5, 3)), theirs(raw, (5, 3)))


@pytest.mark.bits
@pytest.mark.parametrize("shape", [(), (7,), (5, 3)])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_in_a_compiled_function_are_those_of_jax(ours, theirs, shape, key):
    compiled = jax.jit(lambda key: ours(key, shape))
    np.testing.assert_array_equal(compiled(key), theirs(key, shape))


@pytest.mark.bits
@pytest.mark.parametrize("bounds", BOUNDS)
def test_bits_of_a_compiled_uniform_are_those_jax_draws_eagerly(bounds, key):
    low, high = bounds
    compiled = jax.jit(lambda key: jinit.uniform(a=low, b=high)(key, (1000,)))
    theirs = jax.random.uniform(key, (1000,), minval=low, maxval=high)
    np.testing.assert_array_equal(compiled(key), theirs)


@pytest.mark.bits
@pytest.mark.parametrize("shape", [(), (7,), (5, 3)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_under_vmap_are_those_of_jax(ours, theirs, implementation, shape):
    keys = jax.random.split(jax.random.key(0, impl=implementation), 4)
    mapped = [jax.vmap(lambda key, f=f: f(key, shape))(keys) for f in (ours, theirs)]
    np.testing.assert_array_equal(*mapped)


@pytest.mark.bits
@pytest.mark.parametrize("shape", [(), (7,), (5, 3)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_of_every_generator_are_those_of_jax(ours, theirs, implementation, shape):
    key = jax.random.key(3, impl=implementation)
    np.testing.assert_array_equal(ours(key, shape), theirs(key, shape))


@pytest.mark.bits
@pytest.mark.parametrize("shape", [(), (7,), (5, 3)])
@pytest.mark.parametrize("partitionable", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_of_either_threefry_are_those_of_jax(
    ours, theirs, partitionable, shape, key
):
    with jax.threefry_partitionable(partitionable):
        np.testing.assert_array_equal(ours(key, shape), theirs(key, shape))


@pytest.mark.bits
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_bits_in_float64_are_those_of_jax(ours, theirs, implementation):
    key = jax.random.key(3, impl=implementation)
    drawn = ours(key, (1000,), "float64"), theirs(key, (1000,), "float64")
    assert [x.dtype for x in drawn] == [np.float64] * 2
    np.testing.assert_array_equal(*drawn)


@pytest.mark.bits
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_of_a_complex_normal_are_those_of_jax(shape, key):
    ours = jinit.normal()(key, shape, "complex64")
    with jax.numpy_dtype_promotion("standard"):  # JAX's own draw needs it
        theirs = standard(key, shape, "complex64")
    np.testing.assert_array_equal(ours, theirs)


def truncated(std):
    """The initializer that is JAX's truncated_normal with its default bounds."""
    return jinit.trunc_normal(std=std, a=-2 * std, b=2 * std)


VARIANCE_SCALING = initializers.variance_scaling
BATCHED = {"in_axis": 1, "out_axis": 2, "batch_axis": 0}
# Each with a peer of the same distribution.
PEERS = {
    "xavier_uniform": (jinit.xavier_uniform(), initializers.glorot_uniform()),
    "xavier_uniform of a batch": (
        jinit.xavier_uniform(**BATCHED),
        initializers.glorot_uniform(**BATCHED),
    ),
    "kaiming_uniform": (jinit.kaiming_uniform(), initializers.he_uniform()),
    "kaiming_uniform of a linear layer": (
        jinit.kaiming_uniform(nonlinearity="linear"),
        initializers.lecun_uniform(),
    ),
    "kaiming_normal by the outputs": (
        jinit.kaiming_normal(mode="fan_out"),
        VARIANCE_SCALING(2.0, "fan_out", "normal"),
    ),
    "kaiming_normal by both": (
        jinit.kaiming_normal(mode="fan_avg"),
        VARIANCE_SCALING(2.0, "fan_avg", "normal"),
    ),
    "kaiming_normal by their geometric mean": (
        jinit.kaiming_normal(mode="fan_geo_avg"),
        VARIANCE_SCALING(2.0, "fan_geo_avg", "normal"),
    ),
    "xavier_normal": (
        jinit.xavier_normal(),
        VARIANCE_SCALING(1.0, "fan_avg", "normal"),
    ),
    "normal": (jinit.normal(std=0.02), initializers.normal(0.02)),
    "trunc_normal": (truncated(0.02), initializers.truncated_normal(0.02)),
}


@pytest.mark.parametrize("peer", PEERS)
def test_same_key_gives_the_weights_of_the_peer_up_to_rounding(peer, key):
    ours, theirs = (as_double(init(key, (3, 50, 80))) for init in PEERS[peer])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * theirs.std())


@pytest.mark.parametrize("peer", PEERS)
def test_another_key_gives_weights_of_the_distribution_of_the_peer(peer):
    ours, theirs = PEERS[peer]
    shape = (3, 200, 150)
    check_same_distribution(
        ours(jax.random.key(1), shape), theirs(jax.random.key(2), shape)
    )


@pytest.mark.slow
def test_trace_of_an_orthogonal_matrix_is_distributed_as_in_jax():
    ours = jinit.orthogonal(batch_axis=0)(jax.random.key(1), (10_000, 6, 6))
    one = initializers.orthogonal()
    keys = jax.random.split(jax.random.key(2), 10_000)
    theirs = jax.vmap(lambda key: one(key, (6, 6)))(keys)
    check_same_distribution(*(np.trace(q, axis1=1, axis2=2) for q in (ours, theirs)))


@pytest.fixture(scope="module")
def bfloat16_normal():
    return as_double(jinit.normal()(jax.random.key(0), (4_000_000,), "bfloat16"))


def test_bfloat16_normal_takes_thousands_of_values(bfloat16_normal):
    # jax.random.normal of this dtype takes 128.
    assert np.unique(bfloat16_normal).size > 3000


def test_bfloat16_normal_has_mean_zero(bfloat16_normal):
    # That of jax.random.normal is -0.011, at 22 standard errors.
    check_mean(bfloat16_normal, 0, 1)


@pytest.mark.parametrize("sign", [-1, 1])
def test_bfloat16_normal_has_both_tails(bfloat16_normal, sign):
    # 14 draws are expected past 4.5. jax.random.normal ends at -2.9 and 2.5.
    assert (sign * bfloat16_normal).max() > 4.5


def test_bfloat16_truncation_at_wide_bounds_cuts_nothing_off(key):
    # jax.nn.initializers.truncated_normal(0.02, lower=-100, upper=100) has a std of
    # 0.175: it puts 1 in 128 draws on the lower bound.
    init = jinit.trunc_normal(std=0.02, a=-2.0, b=2.0)
    check_std(init(key, (1_000_000,), "bfloat16"), 0.02)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_weights_have_their_std(dtype, key):
    # jax.nn.initializers.lecun_normal gives NaN in float8_e4m3fn.
    init = jinit.kaiming_normal(nonlinearity="linear")
    check_std(init(key, (400, 500), dtype), 400**-0.5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_orthogonal_is_orthogonal_in_half_precision(dtype, key):
    # jax.nn.initializers.orthogonal raises.
    q = as_double(jinit.orthogonal()(key, (64, 32), dtype))
    rounding = float(jax.numpy.finfo(dtype).eps)
    np.testing.assert_allclose(q.T @ q, np.eye(32), atol=rounding)


def test_empty_kernel_is_drawn(key):
    # jax.nn.initializers.he_normal divides by zero in JAX 0.10.
    assert jinit.kaiming_normal()(key, (0, 4)).shape == (0, 4)
