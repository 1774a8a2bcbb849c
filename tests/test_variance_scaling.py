"""The JAX family: its distributions in every dtype, and what truncation takes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_distribution, check_mean, check_std
from scipy import integrate, stats

import jinit
from jinit.laws import Truncated

SHAPE = (500, 400)
REAL = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]
TWO = stats.truncnorm(-2, 2)
VARIANCES = {"lecun": 1 / 500, "glorot": 2 / 900, "he": 2 / 500}
MODES = {"fan_in": 500, "fan_out": 400, "fan_avg": 450, "fan_geo_avg": 500 * 2 / 5**0.5}


def law(distribution, variance):
    """The distribution that has this variance, from SciPy."""
    std = math.sqrt(variance)
    if distribution == "uniform":
        return stats.uniform(-(3**0.5) * std, 2 * 3**0.5 * std)
    if distribution == "normal":
        return stats.norm(0, std)
    return stats.truncnorm(-2, 2, 0, std / TWO.std())


CASES = {
    **{
        f"{family}_{distribution}": (
            getattr(jinit, f"{family}_{distribution}")(),
            law("uniform" if distribution == "uniform" else "truncated", variance),
        )
        for family, variance in VARIANCES.items()
        for distribution in ("uniform", "normal")
    },
    **{
        f"{mode} {distribution}": (
            jinit.variance_scaling(1.7, mode, distribution),
            law(distribution, 1.7 / fan),
        )
        for mode, fan in MODES.items()
        for distribution in ("truncated_normal", "normal", "uniform")
    },
    "truncated_normal": (
        jinit.truncated_normal(mean=0.5, std=0.1, lower=-1.0, upper=3.0),
        stats.truncnorm(-1, 3, 0.5, 0.1),
    ),
    "truncated_normal corrected": (
        jinit.truncated_normal(std=0.1, corrected=True),
        stats.truncnorm(-2, 2, 0, 0.1 / TWO.std()),
    ),
    "truncated_normal in a tail": (
        jinit.truncated_normal(std=0.1, lower=4.0, upper=6.0),
        stats.truncnorm(4, 6, 0, 0.1),
    ),
}
cases = pytest.mark.parametrize(("init", "truth"), CASES.values(), ids=CASES)


@pytest.mark.parametrize("dtype", REAL)
@cases
def test_draws_have_their_distribution_in_every_real_dtype(init, truth, dtype, key):
    w = init(key, SHAPE, dtype)

    assert w.dtype == dtype
    check_distribution(w, truth.cdf)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@cases
def test_rounding_leaves_mean_and_variance_alone(init, truth, dtype, key):
    if "lower=4.0" in repr(init) and dtype == "bfloat16":
        return  # numbers there are too far apart for the mean of a steep density
    w = init(key, SHAPE, dtype)

    check_mean(w, truth.mean(), truth.std())
    check_std(w, truth.std(), truth.stats("k") + 3, truth.mean())


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("family", VARIANCES)
def test_complex_uniform_draws_are_uniform_on_a_disc(family, dtype, x64):
    w = as_double(
        getattr(jinit, f"{family}_uniform")()(jax.random.key(1), SHAPE, dtype)
    )

    radius = math.sqrt(2 * VARIANCES[family])
    check_distribution((abs(w) / radius) ** 2, stats.uniform().cdf)
    check_distribution(np.angle(w), stats.uniform(-np.pi, 2 * np.pi).cdf)
    # |w|² is uniform: E|w|⁴ / (E|w|²)² = 4/3.
    check_std(w, VARIANCES[family] ** 0.5, kurtosis=4 / 3)
    check_mean(w.real, 0, (VARIANCES[family] / 2) ** 0.5)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("family", VARIANCES)
def test_complex_truncated_draws_are_conditioned_on_a_disc(family, dtype, x64):
    w = as_double(getattr(jinit, f"{family}_normal")()(jax.random.key(2), SHAPE, dtype))

    square = stats.truncexpon(4)  # of |w| over its deviation before truncation
    check_std(w, VARIANCES[family] ** 0.5, square.moment(2) / square.mean() ** 2)
    scale = VARIANCES[family] / square.mean()
    check_distribution(abs(w) ** 2 / scale, square.cdf)
    check_distribution(np.angle(w), stats.uniform(-np.pi, 2 * np.pi).cdf)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_normal_draws_have_independent_normal_parts(dtype, x64):
    init = jinit.variance_scaling(3.0, "fan_out", "normal")
    w = as_double(init(jax.random.key(3), SHAPE, dtype))
    for part in (w.real, w.imag):
        check_distribution(part, stats.norm(0, (3 / 400 / 2) ** 0.5).cdf)


BOUNDS = [
    *[(-2.0, 2.0), (-3.0, 3.0), (-1.0, 1.0), (-2.5, 2.5), (-1.0, 4.0), (0.0, 1e9)],
    *[(-1e300, 1e300), (3.0, 5.0), (-9.0, -8.0), (30.0, 40.0), (5.0, 5.0001)],
    *[(-1e-3, 1e-3), (100.0, 1e6), (-7.0, -6.5)],
]


def quadrature(lower, upper):
    """The standard deviation by adaptive integration about the likeliest value."""
    mode = np.clip(0.0, lower, upper)
    low, high = max(lower - mode, -12.0), min(upper - mode, 12.0)
    if abs(mode) > 12:
        low, high = max(low, -50 / abs(mode)), min(high, 50 / abs(mode))

    def moment(power, about=0.0):
        def integrand(d):
            return (d - about) ** power * math.exp(-d * (mode + d / 2))

        return integrate.quad(integrand, low, high, epsabs=0, epsrel=1e-11)[0]

    mean = 0.0 if lower == -upper else moment(1) / moment(0)
    return math.sqrt(moment(2, mean) / moment(0))


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_the_deviation_between_any_bounds_is_that_of_an_adaptive_quadrature(
    lower, upper
):
    np.testing.assert_allclose(
        Truncated(0.0, 1.0, lower, upper).std, quadrature(lower, upper), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("bound", "std"),
    [(2, 0.87962566103423978), (3, 0.986578392558), (1, 0.539560093755)],
)
def test_the_deviation_between_symmetric_bounds_is_the_closed_form(bound, std):
    np.testing.assert_allclose(Truncated(0.0, 1.0, -bound, bound).std, std, rtol=1e-12)


@pytest.mark.parametrize(("lower", "upper"), BOUNDS[:6])
def test_traced_bounds_have_the_deviation_of_known_ones(lower, upper):
    traced = jax.jit(lambda *cut: Truncated(0.0, 1.0, *cut).std)(lower, upper)
    np.testing.assert_allclose(traced, Truncated(0.0, 1.0, lower, upper).std, rtol=2e-6)


@pytest.mark.parametrize(("lower", "upper"), [(-2.0, 2.0), (-1.0, 4.0), (3.0, 5.0)])
def test_a_corrected_draw_has_the_deviation_asked_for(lower, upper, key):
    init = jinit.truncated_normal(std=0.02, lower=lower, upper=upper, corrected=True)
    w = as_double(init(key, (500_000,)))
    truth = stats.truncnorm(lower, upper)
    mean = 0.02 * truth.mean() / truth.std()
    check_std(w, 0.02, truth.stats("k") + 3, mean)


def test_an_uncorrected_draw_has_less(key):
    w = jinit.truncated_normal(std=0.02)(key, (500_000,))
    check_std(w, 0.02 * 0.87962566103423978, TWO.stats("k") + 3)
    with pytest.raises(AssertionError, match="std"):
        check_std(w, 0.02, TWO.stats("k") + 3)


def test_no_draw_leaves_its_bounds(key):
    for lower, upper in [(-2.0, 2.0), (0.1, 0.3), (5.0, 5.5), (-8.0, -7.9)]:
        w = jinit.truncated_normal(std=0.7, lower=lower, upper=upper)(key, (10**5,))
        assert float(w.min()) >= 0.7 * lower - 1e-6
        assert float(w.max()) <= 0.7 * upper + 1e-6


def test_the_drawn_dtype_does_not_limit_the_scale(key):
    """A variance of 1e-8 is 0 in float16, its root is not."""
    init = jinit.variance_scaling(1e-6, "fan_in", "normal")
    check_std(init(key, (100, 1000), "float16"), 1e-4)


def test_a_scale_of_zero_gives_zeros(key):
    for distribution in ("normal", "uniform", "truncated_normal"):
        w = jinit.variance_scaling(0.0, "fan_in", distribution)(key, (3, 4))
        np.testing.assert_array_equal(w, np.zeros((3, 4)))


def test_a_transposed_kernel_swaps_the_fans(key):
    init = jinit.lecun_normal(transposed=True)
    swapped = jinit.variance_scaling(1.0, "fan_out", "truncated_normal")
    np.testing.assert_array_equal(init(key, (3, 3, 16, 8)), swapped(key, (3, 3, 16, 8)))


def test_the_family_is_that_of_variance_scaling(key):
    for name, call in {
        "lecun_uniform": (1.0, "fan_in", "uniform"),
        "lecun_normal": (1.0, "fan_in", "truncated_normal"),
        "glorot_uniform": (1.0, "fan_avg", "uniform"),
        "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
        "he_uniform": (2.0, "fan_in", "uniform"),
        "he_normal": (2.0, "fan_in", "truncated_normal"),
    }.items():
        ours = getattr(jinit, name)(groups=2)(key, (3, 4, 6))
        general = jinit.variance_scaling(*call, groups=2)(key, (3, 4, 6))
        np.testing.assert_array_equal(ours, general)
    assert jnp.issubdtype(ours.dtype, jnp.floating)
