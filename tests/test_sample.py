"""Distributions against SciPy, in every dtype; the arithmetic of the generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    as_double,
    check_distribution,
    check_mean,
    check_probability,
    check_std,
)
from scipy import stats

import jinit
from jinit import _bits, _draws

REAL = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]
COMPLEX = ["complex64", "complex128"]
SHAPE = (500, 400)

DISTRIBUTIONS = {
    "uniform": (jinit.uniform(a=-1.0, b=3.0), stats.uniform(-1, 4)),
    "normal": (jinit.normal(mean=0.5, std=2.0), stats.norm(0.5, 2)),
    "trunc_normal": (
        jinit.trunc_normal(mean=0.5, std=2.0, a=-2.0, b=1.0),
        stats.truncnorm(-1.25, 0.25, 0.5, 2),
    ),
    "trunc_normal wide": (jinit.trunc_normal(std=0.02), stats.norm(0, 0.02)),
    "trunc_normal upper tail": (
        jinit.trunc_normal(std=0.5, a=1.5, b=2.5),
        stats.truncnorm(3, 5, 0, 0.5),
    ),
    "trunc_normal lower tail": (
        jinit.trunc_normal(a=-9.0, b=-8.0),
        stats.truncnorm(-9, -8),
    ),
    "trunc_normal half": (jinit.trunc_normal(a=0.0, b=4.0), stats.truncnorm(0, 4)),
    "xavier_uniform": (
        jinit.xavier_uniform(gain=2.0),
        stats.uniform(-((24 / 900) ** 0.5), 2 * (24 / 900) ** 0.5),
    ),
    "xavier_normal": (
        jinit.xavier_normal(gain="tanh"),
        stats.norm(0, 5 / 3 * (2 / 900) ** 0.5),
    ),
    "kaiming_uniform": (
        jinit.kaiming_uniform(a=5**0.5),
        stats.uniform(-(500**-0.5), 2 * 500**-0.5),
    ),
    "kaiming_normal": (
        jinit.kaiming_normal(nonlinearity="relu", mode="fan_out"),
        stats.norm(0, (2 / 400) ** 0.5),
    ),
}
distributions = pytest.mark.parametrize(
    ("init", "truth"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys()
)


@pytest.mark.parametrize("dtype", REAL)
@distributions
def test_draws_have_their_distribution_in_every_real_dtype(init, truth, dtype, key):
    w = init(key, SHAPE, dtype)

    assert w.dtype == dtype
    check_distribution(w, truth.cdf)


# On [-9, -8] bfloat16 has 17 numbers, too coarse for the mean of a steep density.
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("init", "truth"), [v for k, v in DISTRIBUTIONS.items() if "lower tail" not in k]
)
def test_rounding_leaves_mean_and_variance_alone(init, truth, dtype, key):
    w = init(key, SHAPE, dtype)

    mean, std = truth.mean(), truth.std()
    kurtosis = truth.stats("k") + 3
    check_mean(w, mean, std)
    check_std(w, std, kurtosis, mean)


@distributions
def test_draws_have_their_distribution_in_float64(init, truth, x64):
    w = init(jax.random.key(1), SHAPE, "float64")

    assert w.dtype == "float64"
    check_distribution(w, truth.cdf)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize(
    ("init", "truth"), [v for k, v in DISTRIBUTIONS.items() if "trunc" not in k]
)
def test_complex_draws_have_the_variance_of_real_ones(init, truth, dtype, x64):
    w = init(jax.random.key(2), SHAPE, dtype)

    assert w.dtype == dtype
    # The kurtosis E|w|⁴ / (E|w|²)² of two independent parts of kurtosis k: (k + 1) / 2.
    kurtosis = (truth.stats("k") + 3 + 1) / 2
    check_std(w, truth.std(), kurtosis, truth.mean())
    # Each part is a real draw about the mean, over sqrt(2).
    mean = truth.mean()
    check_distribution((as_double(w).real - mean) * 2**0.5 + mean, truth.cdf)
    check_distribution(as_double(w).imag * 2**0.5 + mean, truth.cdf)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (1.5, 2.5)])
def test_each_part_of_a_complex_truncated_draw_is_a_real_one_scaled(a, b, dtype, x64):
    w = jinit.trunc_normal(mean=1.0, std=0.5, a=1 + a, b=1 + b)(
        jax.random.key(3), SHAPE, dtype
    )

    part = stats.truncnorm(2 * a, 2 * b, 0, 0.5 / 2**0.5)
    check_distribution(w.real - 1, part.cdf)
    check_distribution(w.imag, part.cdf)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_four_million_normals_reach_into_the_tails(dtype, key):
    w = as_double(jinit.normal()(key, (2000, 2000), dtype))

    check_mean(w, 0, 1)
    check_std(w, 1)
    for z in (3, 4):
        check_probability((w > z).sum(), w.size, stats.norm.sf(z))
        check_probability((w < -z).sum(), w.size, stats.norm.sf(z))
    assert w.max() > 4.5
    assert w.min() < -4.5


def test_bfloat16_normals_take_thousands_of_values(key):
    w = jinit.normal()(key, (2000, 2000), "bfloat16")

    assert len(np.unique(np.asarray(w))) > 3000


@pytest.mark.bits
@pytest.mark.parametrize("dtype", REAL[1:])
@distributions
def test_a_narrow_dtype_holds_the_float32_weights_rounded(init, truth, dtype, key):
    wide, narrow = init(key, (64, 32)), init(key, (64, 32), dtype)

    np.testing.assert_array_equal(np.asarray(narrow), np.asarray(wide).astype(dtype))


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("float8_e4m3fn", 448), ("float8_e5m2", 57344), ("float16", 65504)],
)
def test_what_is_too_large_for_a_dtype_becomes_its_largest_number(dtype, largest, key):
    w = as_double(jinit.normal(std=1e6)(key, (1000,), dtype))

    assert np.isfinite(w).all()
    assert w.max() == largest
    assert w.min() == -largest


@pytest.mark.parametrize(
    ("a", "b"), [(-2.0, 2.0), (3.0, 4.0), (-0.5, 0.1), (20.0, 21.0), (1.0, 1.0)]
)
def test_truncated_draws_stay_within_their_bounds(a, b, key):
    w = jinit.trunc_normal(a=a, b=b)(key, (100_000,))

    assert w.min() >= a
    assert w.max() <= b


@pytest.mark.parametrize(("a", "b"), [(4.0, 6.0), (8.0, 9.0), (30.0, 40.0)])
def test_a_tail_keeps_many_distinct_values(a, b, key):
    w = jinit.trunc_normal(a=a, b=b)(key, (200_000,))

    # JAX's inversion has 1,063 values on [4, 6] and one on [8, 9].
    assert len(np.unique(np.asarray(w))) > 20_000
    check_distribution(w, stats.truncnorm(a, b).cdf)


@pytest.mark.parametrize("near", [1e2, 1e3, 1e4, 1e6])
def test_beyond_a_far_bound_the_distance_is_exponential(near, x64):
    """S(a + d) / S(a) tends to exp(-a d), up to terms of 1 / a²."""
    w = jinit.trunc_normal(a=near, b=2 * near)(jax.random.key(4), SHAPE, "float64")

    check_distribution((as_double(w) - near) * near, stats.expon.cdf)


@pytest.mark.parametrize(
    ("std", "a", "b"),
    [(1.0, 1e4, 1e4 + 1), (1e-5, 1.0, 2.0), (1e-30, 1.0, 2.0), (1.0, -2e25, -1e25)],
)
def test_a_bound_beyond_all_precision_is_what_is_drawn(std, a, b, key):
    w = jinit.trunc_normal(std=std, a=a, b=b)(key, (1000,))

    np.testing.assert_allclose(w, min(a, b, key=abs), rtol=1e-6)


def test_uniform_bounds_far_from_zero_are_not_exceeded(key):
    w = jinit.uniform(a=100.0, b=101.0)(key, (10**6,))

    assert w.min() >= 100
    assert w.max() <= 101


@pytest.mark.parametrize(
    "shape",
    [(2**16, 2**16 + 1), (3, 2**31, 5), (2**20, 3, 2**20), (7, 2**32 - 1), (2**31, 8)],
)
def test_index_words_are_the_row_major_position_beyond_32_bits(shape):
    rng = np.random.default_rng(0)
    points = [rng.integers(0, size, 1000, np.uint32) for size in shape]
    corners = [np.array([0, size - 1], np.uint32) for size in shape]
    coordinates = [np.append(p, c) for p, c in zip(points, corners, strict=True)]

    with np.errstate(over="ignore"):
        high, low = _bits._index(coordinates, shape)

    exact = np.zeros(1002, object)
    for coordinate, size in zip(coordinates, shape, strict=True):
        exact = exact * size + coordinate.astype(object)
    np.testing.assert_array_equal(high.astype(object) * 2**32 + low, exact)


def test_threefry_gives_the_published_words():
    """Known answers of Threefry-2x32-20 in the authors' Random123 distribution."""
    ones = np.uint32(0xFFFFFFFF)
    pi = [np.uint32(w) for w in (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3)]

    with np.errstate(over="ignore"):
        zero = _bits.threefry((np.uint32(0),) * 2, (np.uint32(0),) * 2)
        full = _bits.threefry((ones, ones), (ones, ones))
        digits = _bits.threefry((pi[0], pi[1]), (pi[2], pi[3]))

    assert [hex(w) for w in zero] == ["0x6b200159", "0x99ba4efe"]
    assert [hex(w) for w in full] == ["0x1cb996fc", "0xbb002be7"]
    assert [hex(w) for w in digits] == ["0xc4923a9c", "0x483df7a0"]


@pytest.mark.bits
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1, 5), (129, 64)])
def test_bits_are_those_of_jax(shape, dtype, x64):
    key = jax.random.key(42)

    ours = jax.jit(lambda key: _bits.bits(key, shape, dtype))(key)

    np.testing.assert_array_equal(ours, jax.random.bits(key, shape, dtype))


def test_bits_are_those_of_the_mode_that_is_not_partitionable(key):
    with jax.threefry_partitionable(False):
        ours = jinit.uniform()(key, (33, 5))
        theirs = jax.random.uniform(key, (33, 5))
    partitionable = jinit.uniform()(key, (33, 5))

    np.testing.assert_array_equal(ours, theirs)
    assert (ours != partitionable).any()


def test_huge_arrays_trace_without_being_made(key):
    """Beyond 2^32 elements, and a single axis of more than 2^32."""
    for shape in [(2**17, 2**17), (2**33,)]:
        traced = jax.eval_shape(lambda k, s=shape: jinit.normal()(k, s), key)
        assert traced.shape == shape


def test_one_program_serves_every_scale(key):
    """A sweep over options compiles once for each shape and dtype, not each value."""
    jinit.normal(std=1.0)(key, (11, 13))
    before = _draws.normal._cache_size()
    for std in (0.1, 0.2, 0.3):
        jinit.normal(std=std)(key, (11, 13))
        jinit.xavier_normal(gain=std)(key, (11, 13))

    assert _draws.normal._cache_size() == before


def test_zero_std_gives_the_mean(key):
    np.testing.assert_array_equal(jinit.normal(mean=3.0, std=0.0)(key, (4,)), 3.0)


def test_float64_without_x64_warns_as_jax_does(key):
    with pytest.warns(UserWarning, match="float64"):
        w = jinit.normal()(key, (3,), "float64")

    assert w.dtype == jnp.float32


@pytest.mark.parametrize(
    ("scalar", "dtype"), [(float, "float32"), (complex, "complex64"), (None, "float32")]
)
def test_python_scalar_types_mean_the_default_precision(scalar, dtype, key):
    assert jinit.normal()(key, (2,), scalar).dtype == dtype


@pytest.mark.parametrize(
    "init", [jinit.normal(std=0.1), jinit.glorot_uniform(), jinit.orthogonal()], ids=str
)
def test_float64_is_float64_where_jax_allows_it_alone(init, key):
    with jax.enable_x64(True):
        wanted = np.asarray(init(key, (4, 8), "float64"))
    before = jax.config.jax_explicit_x64_dtypes
    jax.config.update("jax_explicit_x64_dtypes", "allow")
    try:
        drawn = init(key, (4, 8), "float64")
        in_jit = jax.jit(lambda key: init(key, (4, 8), "float64"))(key)
    finally:
        jax.config.update("jax_explicit_x64_dtypes", before)
    np.testing.assert_allclose(drawn, wanted, rtol=1e-14)
    np.testing.assert_allclose(in_jit, wanted, rtol=1e-14)
