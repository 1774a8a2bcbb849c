"""An initializer knows its law: that of what it draws, and of its definition."""

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_std
from scipy import integrate, stats

import jinit
from jinit.laws import (
    Complex,
    Disc,
    Mixture,
    Moments,
    Normal,
    Point,
    Triangular,
    Truncated,
    Uniform,
)

BATCHED = {"in_axis": 1, "out_axis": 2, "batch_axis": 0}

# Initializer, shape, kurtosis (3 bounds that of a truncated normal) and mean.
INDEPENDENT = [
    (jinit.uniform(a=-1.0, b=3.0), (300, 200), 1.8, 1.0),
    (jinit.normal(mean=0.5, std=0.02), (300, 200), 3.0, 0.5),
    (jinit.trunc_normal(std=0.5, a=-0.5, b=0.5), (300, 200), 3.0, 0.0),
    (
        jinit.trunc_normal(a=1.0, b=4.0),
        (300, 200),
        6.0,
        stats.truncnorm(1, 4).mean(),
    ),
    (jinit.truncated_normal(std=0.1), (300, 200), 3.0, 0.0),
    (jinit.truncated_normal(std=0.1, corrected=True), (300, 200), 3.0, 0.0),
    (jinit.xavier_uniform(gain="relu"), (3, 3, 40, 50), 1.8, 0.0),
    (jinit.xavier_normal(**BATCHED), (4, 100, 150), 3.0, 0.0),
    (jinit.kaiming_uniform(a=5**0.5), (3, 3, 40, 50), 1.8, 0.0),
    (jinit.kaiming_normal(mode="fan_out", groups=5), (3, 3, 40, 50), 3.0, 0.0),
    (jinit.kaiming_uniform(fan_in=784, nonlinearity="tanh"), (20000,), 1.8, 0.0),
    (jinit.lecun_uniform(in_axis=1, out_axis=0), (100, 300), 1.8, 0.0),
    (jinit.lecun_normal(**jinit.einsum_axes("btd,dhk->bthk")), (64, 8, 60), 3.0, 0.0),
    (jinit.glorot_normal(transposed=True, gain="gelu"), (3, 40, 200), 3.0, 0.0),
    (jinit.he_normal(), (300, 100), 3.0, 0.0),
    (jinit.variance_scaling(3.0, "fan_geo_avg", "uniform"), (300, 100), 1.8, 0.0),
    (jinit.stack(jinit.lecun_normal(), axis=1), (100, 4, 80), 3.0, 0.0),
    (jinit.blocks(jinit.glorot_uniform(), 3), (100, 300), 1.8, 0.0),
    (jinit.with_dtype(jinit.he_uniform(), "bfloat16"), (300, 100), 1.8, 0.0),
]


@pytest.mark.parametrize(
    ("init", "shape", "kurtosis", "mean"),
    INDEPENDENT,
    ids=[str(c[0]) for c in INDEPENDENT],
)
def test_weights_have_the_deviation_expected(init, shape, kurtosis, mean, key):
    check_std(init(key, shape), init.law(shape).std, kurtosis, mean)


# The squares of the weights of an isometry sum to the same for every key.
@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (jinit.orthogonal(gain=2.0), (8, 20)),
        (jinit.orthogonal(), (3, 3, 4, 8)),
        (jinit.orthogonal(**BATCHED), (5, 6, 4)),
        (jinit.scaled_orthogonal(gain="relu"), (8, 20)),
        (jinit.scaled_orthogonal(), (20, 8)),
        (jinit.spectral_orthogonal(), (20, 8)),
        (jinit.delta_orthogonal(gain=3.0), (3, 3, 4, 8)),
        (jinit.convolution_orthogonal(), (2, 4, 8)),
        (jinit.stack(jinit.orthogonal()), (5, 8, 4)),
        (jinit.blocks(jinit.orthogonal(), 4), (8, 32)),
    ],
    ids=str,
)
def test_isometries_have_exactly_the_deviation_expected(init, shape, key):
    w = as_double(init(key, shape))

    assert np.mean(w**2) ** 0.5 == pytest.approx(init.law(shape).std, rel=1e-5)


@pytest.mark.parametrize(
    "init",
    [
        *(jinit.zeros(), jinit.ones(), jinit.constant(0.5), jinit.normal(std=0.0)),
        *(jinit.uniform(a=2.0, b=2.0), jinit.he_normal(gain=0.0, fan_in=1.0)),
        jinit.truncated_normal(mean=1.0, std=0.0),
    ],
    ids=repr,
)
def test_a_constant_is_a_point(init, key):
    law = init.law((3, 4))
    assert law == Point(float(init(key, (1, 1))[0, 0]))
    assert law.std == 0
    assert not law.dense


LAWS = {
    jinit.normal(mean=1.0, std=0.5): Normal(1.0, 0.5),
    jinit.xavier_normal(): Normal(0.0, 0.1),
    jinit.uniform(a=-1.0, b=3.0): Uniform(-1.0, 3.0),
    jinit.kaiming_uniform(fan_in=6.0): Uniform(-1.0, 1.0),
    jinit.trunc_normal(mean=1.0, std=0.5, a=0.0, b=3.0): Truncated(1.0, 0.5, -2.0, 4.0),
    jinit.truncated_normal(std=0.1): Truncated(0.0, 0.1, -2.0, 2.0),
    jinit.orthogonal(): Moments(0.0, 150**-0.5),
    jinit.constant((1, 0) * 25): Mixture(((0.5, Point(0)), (0.5, Point(1)))),
    jinit.eye(gain=2.0): Mixture(((149 / 150, Point(0.0)), (1 / 150, Point(2.0)))),
    jinit.sparse(0.5): Mixture(((0.5, Point(0.0)), (0.5, Normal(0.0, 0.01)))),
    jinit.stack(jinit.normal()): Normal(0.0, 1.0),
    jinit.looks_linear(jinit.normal()): Normal(0.0, 1.0),
    jinit.looks_linear(jinit.uniform()): Mixture(
        ((0.5, Uniform(0.0, 1.0)), (0.5, Uniform(-1.0, 0.0)))
    ),
    jinit.torch.triangular(0.5): Triangular(0.5),
    jinit.stack(jax.nn.initializers.zeros): None,
}


@pytest.mark.parametrize("init", LAWS, ids=lambda init: repr(init).split(" at ")[0])
def test_the_law_is_the_one_of_the_definition(init):
    law, meant = init.law((150, 50)), LAWS[init]
    assert type(law) is type(meant)
    if law is not None:
        assert law.mean == pytest.approx(meant.mean, rel=1e-12)
        assert law.std == pytest.approx(meant.std, rel=1e-12)
        assert law.bounds == pytest.approx(meant.bounds, rel=1e-12)


@pytest.mark.parametrize("edge", [0.1, 2.0, 8.0])
def test_a_law_cut_alike_on_both_sides_has_its_mean_in_the_middle(edge):
    law = Truncated(0.5, 0.02, -edge, edge)
    assert (law.mean, jinit.lecun_normal().law((64, 32)).mean) == (0.5, 0.0)


def test_laws_print_as_the_call_that_makes_them_and_compare():
    for law in [
        *filter(None, LAWS.values()),
        Disc(0.5),
        Complex(Point(1), Normal(0, 1)),
    ]:
        assert eval(repr(law), vars(jinit.laws)) == law
        assert hash(eval(repr(law), vars(jinit.laws))) == hash(law)
    assert Normal(0.0, 1.0) != Normal(0.0, 1.1)


# Bounds in the middle, on one side, in the tails, far out, and close together.
CUTS = [
    *((-2.0, 2.0), (-1.0, 3.0), (0.0, 2.0), (-math.inf, 1.0), (-9.0, 9.0)),
    *((8.0, 9.0), (-9.0, -8.0), (2.0, math.inf), (0.3, 0.30001), (4.0, 4.5)),
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_truncated_law_is_that_of_scipy(cut):
    law, theirs = Truncated(0.5, 2.0, *cut), stats.truncnorm(*cut, 0.5, 2.0)
    mean, std, skewness, kurtosis = moments(*cut)

    assert law.mean == pytest.approx(0.5 + 2 * mean, rel=1e-12)
    assert law.std == pytest.approx(2 * std, rel=1e-12)
    assert law.skewness == pytest.approx(skewness, rel=1e-11, abs=1e-12)
    assert law.kurtosis == pytest.approx(kurtosis, rel=1e-12)
    x = theirs.ppf(np.linspace(0.01, 0.99, 9))
    np.testing.assert_allclose(law.cdf(x), np.linspace(0.01, 0.99, 9), rtol=1e-8)
    np.testing.assert_allclose(law.pdf(x), theirs.pdf(x), rtol=1e-9)


def moments(low, high):
    """Those of a truncated standard normal variable, by SciPy's adaptive quadrature.

    About the mode, where truncnorm's own are differences of nearly equal numbers: its
    standard deviation between 8 and 9 has ten digits.
    """
    mode = min(max(0.0, low), high)
    inner = [
        p for p in (mode - 3, mode - 1, mode, mode + 1, mode + 3) if low < p < high
    ]
    edges = [max(low, mode - 13), *inner, min(high, mode + 13)]

    def average(f):
        parts = [
            integrate.quad(
                lambda d: f(d) * math.exp(-d * (mode + d / 2)),
                *(a - mode, b - mode),
                epsabs=0,
                epsrel=1e-13,
            )[0]
            for a, b in itertools.pairwise(edges)
        ]
        return math.fsum(parts)

    with warnings.catch_warnings(action="ignore"):  # of odd integrals that are zero
        mass = average(lambda d: 1)
        mean = average(lambda d: d) / mass
        square, cube, fourth = (
            average(lambda d, n=n: (d - mean) ** n) / mass for n in (2, 3, 4)
        )
    return mode + mean, square**0.5, cube / square**1.5, fourth / square**2


REAL = {repr(law): law for law in LAWS.values() if law and law.dense}.values()


@pytest.mark.parametrize("law", [*REAL, Disc(0.5), Disc(0.5, 2.0)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_law_draws_itself(law, dtype, key):
    if isinstance(law, Moments) or (isinstance(law, Disc) and dtype == "float32"):
        return
    w = np.asarray(law.draw(key, (200, 200), np.dtype(dtype)))
    if dtype == "complex64":
        law = law.over_complex()
        w, part = w.astype(np.complex128), getattr(law, "real", law)
        check_mean(w.real, part.mean, part.std)
        # E |w - m|⁴ / std⁴ is what the error of a mean of squares follows from.
        squares = abs(w - law.mean) ** 2
        error = law.std**2 * ((law.kurtosis - 1) / w.size) ** 0.5
        assert abs(squares.mean() - law.std**2) < 5.5 * error
        fourth = (abs(w - law.mean) ** 4).mean() / law.std**4
        assert fourth == pytest.approx(law.kurtosis, rel=0.1)
    else:
        check_std(w, law.std, law.kurtosis, law.mean)
        check_distribution(w, law.cdf)


def check_mean(sample, mean, std):
    assert abs(sample.mean() - mean) < 5.5 * std / sample.size**0.5


def test_a_mean_that_is_slightly_wrong_is_rejected():
    sample = np.random.default_rng(0).normal(0.1, 1.0, 10_000)
    with pytest.raises(AssertionError):
        check_mean(sample, 0.0, 1.0)


def check_distribution(sample, cdf):
    """Kolmogorov's distance, whose limit is exceeded once in 10^6 samples."""
    assert stats.kstest(sample.ravel().astype(float), cdf).pvalue > 1e-6


def test_a_distribution_that_is_slightly_wrong_is_rejected():
    sample = np.random.default_rng(0).uniform(0, 1.05, 40_000)
    with pytest.raises(AssertionError):
        check_distribution(sample, Uniform(0.0, 1.0).cdf)


@pytest.mark.parametrize("law", [*REAL, *CUTS], ids=repr)
def test_the_density_integrates_to_the_distribution_function(law):
    law = Truncated(0.0, 1.0, *law) if isinstance(law, tuple) else law
    if isinstance(law, Moments):
        with pytest.raises(ValueError, match="too little to know its density"):
            law.pdf(0.0)
        return
    x = np.linspace(law.mean - 1.5 * law.std, law.mean + 1.5 * law.std, 4001)
    mass = np.trapezoid(law.pdf(x), x)
    assert mass == pytest.approx(law.cdf(x[-1]) - law.cdf(x[0]), abs=2e-3)


@pytest.mark.parametrize("law", [Disc(0.5), Disc(0.5, 2.0)], ids=repr)
def test_a_disc_has_the_moments_and_the_distribution_of_its_density(law):
    side = np.linspace(-law.radius, law.radius, 1501)
    cell = (side[1] - side[0]) ** 2
    w = side + 1j * side[:, None]
    mass = law.pdf(w) * cell

    assert mass.sum() == pytest.approx(1, abs=2e-3)
    assert (mass * abs(w) ** 2).sum() == pytest.approx(law.std**2, rel=5e-3)
    assert (mass * w.real**2).sum() == pytest.approx(law.real.std**2, rel=5e-3)
    kurtosis = (mass * w.real**4).sum() / law.real.std**4
    assert kurtosis == pytest.approx(law.real.kurtosis, rel=1e-2)
    for at in (0, 0.2 - 0.1j, -0.3 + 0.4j, 2 + 2j):
        below = mass[(w.real <= np.real(at)) & (w.imag <= np.imag(at))].sum()
        assert law.cdf(at) == pytest.approx(below, abs=3e-3)


def test_the_moments_of_a_mixture_are_those_of_its_weights():
    law = Mixture(((0.3, Truncated(1.0, 2.0, 0.0, 1.0)), (0.7, Uniform(-4.0, -1.0))))
    grid = np.linspace(-4, 3.5, 300_001)
    p = law.pdf(grid) / law.pdf(grid).sum()
    mean = (p * grid).sum()
    std = ((p * (grid - mean) ** 2).sum()) ** 0.5

    assert law.mean == pytest.approx(mean, abs=1e-3)
    assert law.std == pytest.approx(std, rel=1e-3)
    assert law.kurtosis == pytest.approx(
        (p * (grid - mean) ** 4).sum() / std**4, rel=1e-3
    )
    assert law.bounds == (-4.0, 3.0)


def test_a_complex_law_has_the_parts_that_are_drawn(key):
    init = jinit.trunc_normal(mean=1.0, std=0.5, a=0.9, b=3.0)
    law = init.law((300, 300), "complex64")
    w = np.asarray(init(key, (300, 300), "complex64"))

    assert type(law) is Complex
    for part, its in ((w.real, law.real), (w.imag, law.imaginary)):
        check_std(part, its.std, its.kurtosis, its.mean)
    assert law.mean.imag > 0


def test_an_empty_kernel_and_traced_options_have_no_law():
    def draw(std):
        assert jinit.stack(jinit.normal(std=std)).law((2, 3)) is None
        return jnp.zeros(())

    assert jinit.lecun_normal().law((0, 4)) is None
    jax.eval_shape(draw, 1.0)


def test_numbers_of_laws_print_without_a_type():
    for init, shape, *_ in INDEPENDENT:
        assert "np." not in repr(init.law(shape))
        assert "np." not in repr(init.law(shape, "complex64"))


def test_a_class_that_says_neither_law_nor_draw_is_refused_at_its_first_use():
    class nothing(jinit.Initializer):
        pass

    with pytest.raises(TypeError, match=r"nothing says neither .* give the class"):
        nothing()


@pytest.mark.parametrize(
    ("init", "shape", "error", "message"),
    [
        (jinit.lecun_normal(), (3,), ValueError, "has no axis -2"),
        (jinit.orthogonal(), (3,), ValueError, "needs an axis of inputs"),
        (jinit.blocks(jinit.normal(), 3), (4, 4), ValueError, "n must divide"),
        (jinit.normal(), 3.0, TypeError, "shape must be a sequence"),
    ],
    ids=str,
)
def test_a_shape_that_does_not_fit_is_refused(init, shape, error, message):
    with pytest.raises(error, match=message):
        init.law(shape)


def test_the_moments_of_a_mixture_of_mixtures_are_those_of_all_its_parts():
    skewed = Mixture(((0.75, Normal(0.0, 1.0)), (0.25, Normal(3.0, 0.5))))
    nested = Mixture(((0.5, skewed), (0.5, Uniform(-1.0, 0.0))))
    x, p = nested._nodes()
    mean = (p * x).sum()
    std = ((p * (x - mean) ** 2).sum()) ** 0.5
    for found, power in ((nested.skewness, 3), (nested.kurtosis, 4)):
        wanted = (p * ((x - mean) / std) ** power).sum()
        assert found == pytest.approx(wanted, rel=1e-9)


def test_the_kurtosis_of_a_complex_mixture_is_that_of_its_weights(key):
    real = Mixture(((0.3, Uniform(0.0, 1.0)), (0.7, Normal(0.0, 0.2))))
    law = real.over_complex()
    w = np.asarray(law.draw(key, (400, 400), np.dtype("complex64")))
    fourths = abs((w - law.mean) / law.std) ** 4
    error = fourths.std() / fourths.size**0.5
    assert abs(fourths.mean() - law.kurtosis) < 5.5 * error
