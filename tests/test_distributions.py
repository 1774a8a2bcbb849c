"""Distributions: of any law, in the layer's own variable, mixed, scaled and clipped."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_distribution, check_mean, check_std
from scipy import special, stats

import jinit
from jinit._bits import tails
from jinit.distributions import (
    affine,
    beta,
    clip,
    exponential,
    gamma,
    inverse_transform,
    log_normal,
    log_uniform,
    mixture,
    student_t,
    through,
    weibull,
)
from jinit.laws import Clipped, Mixture, Normal, Point, Transformed, Triangular, Uniform

STEPS = log_uniform(0.001, 0.1)


def cube(x):
    return x**3 + x


def gumbel(u):
    return -jnp.log(-jnp.log(u))


# Through links.


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_inverse_of_softplus_is_right_to_the_last_rounding(dtype, x64):
    y = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    w = through("softplus", jinit.constant(y))(None, (4,), dtype)
    exact = np.log(np.expm1(y))
    np.testing.assert_allclose(exact, [-9.2103, -6.9073, -4.6002, -2.2522], atol=5e-5)
    np.testing.assert_array_equal(as_double(w), as_double(exact.astype(w.dtype)))


def test_it_is_so_of_what_is_drawn(key):
    shape = (10_000,)
    w = through("softplus", STEPS)(key, shape, "bfloat16")
    exact = np.log(np.expm1(as_double(STEPS(key, shape, "float32"))))
    # Half a unit of bfloat16, and what float32 leaves.
    np.testing.assert_allclose(as_double(w), exact, rtol=2**-8 + 1e-6)
    by_hand = jnp.log(jnp.exp(STEPS(key, shape, "bfloat16")) - 1)
    assert np.isinf(as_double(by_hand)).mean() > 0.2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_step_sizes_of_mamba_are_log_uniform(dtype, key):
    w = through("softplus", STEPS)(key, (200, 500), dtype)
    steps = np.logaddexp(0.0, as_double(w))
    spread = stats.loguniform(0.001, 0.1).std()
    check_mean(steps, 0.0214976, spread + 1e-3)
    assert np.median(steps) == pytest.approx(0.01, rel=0.03)
    # Rounding moves the bounds by half a unit of w.
    unit = 8 * float(jnp.finfo(dtype).eps)
    assert steps.min() > 0.001 * (1 - unit)
    assert steps.max() < 0.1 * (1 + unit)


@pytest.mark.parametrize(("p", "bias"), [(0.01, -4.59511985), (0.1, -2.19722458)])
def test_the_bias_of_a_rare_class_is_a_constant_through_the_sigmoid(p, bias):
    init = through("sigmoid", jinit.constant(p))
    assert init.law((3,)) == Point(pytest.approx(bias, abs=1e-8))
    assert float(init(None, ())) == np.float32(math.log(p / (1 - p)))


def test_constants_may_be_arrays_and_under_jit_cost_nothing():
    p = (0.2, 0.3, 0.5)
    init = through("exp", jinit.constant(p))
    np.testing.assert_array_equal(init(None, (2, 3))[1], np.log(p).astype("f"))
    assert init.law((3,)).mean == pytest.approx(np.log(p).mean())
    assert not init.law((3,)).dense


@pytest.mark.parametrize(
    ("link", "value", "y"),
    [
        ("softplus", lambda x: np.logaddexp(0, x), (1e-6, 1e-3, 0.69, 0.7, 30, 500)),
        ("sigmoid", special.expit, (1e-6, 0.3, 0.4999, 0.5001, 0.9, 0.999999)),
        ("exp", np.exp, (1e-30, 0.9999, 1.0001, 1e30)),
        ("tanh", np.tanh, (-0.99999, -1e-6, 1e-6, 0.5)),
        ("log", np.log, (-80.0, -1e-6, 0.0, 80.0)),
        (cube, cube, (-1e6, -1e-3, 0.5, 40.0)),
        (jax.nn.softplus, lambda x: np.logaddexp(0, x), (0.1, 3.0)),
        (lambda x: -jnp.exp(x), lambda x: -np.exp(x), (-3.0, -0.1)),
        (jax.scipy.special.logit, special.logit, (-3.0, 0.1, 4.0)),
    ],
    ids=["softplus", "sigmoid", "exp", "tanh", "log", *map(str, range(4))],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_link_of_the_weights_is_what_was_drawn(link, value, y, dtype, x64):
    # As a function draws it, the one within is known at the call only.
    given = np.array(y, dtype)
    init = through(link, lambda *_: jnp.asarray(given))
    w = init(jax.random.key(0), given.shape, dtype)
    eps = float(jnp.finfo(dtype).eps)
    x = as_double(w)
    # The rounding of w, and of y, as the slope of the link magnifies it.
    slope = (value(x * (1 + 1e-6) + 1e-9) - value(x)) / (x * 1e-6 + 1e-9)
    allowed = 16 * eps * (abs(as_double(given)) + abs(x * slope))
    assert (abs(value(x) - as_double(given)) <= allowed).all()


def test_a_link_by_its_function_has_its_name():
    assert through(jax.nn.softplus, STEPS) == through("softplus", STEPS)
    assert through(jnp.tanh, jinit.zeros()).link == "tanh"


# What SciPy has under another name, if it has.
SIGMA = 0.5
CLOSED = [
    (STEPS, stats.loguniform(0.001, 0.1)),
    (log_normal(mean=-1.0, std=SIGMA), stats.lognorm(SIGMA, scale=math.exp(-1))),
    (gamma(0.3, scale=2.0), stats.gamma(0.3, scale=2.0)),
    (beta(0.5, 2.0), stats.beta(0.5, 2.0)),
    (weibull(0.7, scale=3.0), stats.weibull_min(0.7, scale=3.0)),
    (exponential(scale=0.1), stats.expon(scale=0.1)),
    (student_t(6.0, scale=0.2), stats.t(6.0, scale=0.2)),
    (through("sigmoid", beta(1.0, 1.0)), stats.logistic()),
    (through("exp", weibull(1.0)), stats.gumbel_l()),
    (through("tanh", jinit.uniform(a=-0.9, b=0.9)), None),
    (through("log", jinit.normal(std=SIGMA)), stats.lognorm(SIGMA)),
    (through(cube, jinit.normal()), None),
    (through(lambda x: -jnp.exp(x), -weibull(1.0)), stats.gumbel_l()),
    (inverse_transform(stats.gumbel_r(scale=2.0).ppf), stats.gumbel_r(scale=2.0)),
    (inverse_transform(gumbel), stats.gumbel_r()),
    (inverse_transform(("genlogistic", 2)), stats.genlogistic(2.0)),
    (1.0 - 2.0 * gamma(2.0), None),
    (3.0 * exponential(), stats.expon(scale=3.0)),
    (2.0 * jinit.torch.triangular(0.5) + 1.0, stats.triang(0.5, 0.0, 2.0)),
    (clip(gamma(2.0), 0.0, 5.0) * 1.0, None),
]
IDS = [repr(init).split(" at ")[0] for init, _ in CLOSED]


@pytest.mark.parametrize(("init", "theirs"), CLOSED, ids=IDS)
def test_the_moments_and_the_distribution_are_those_of_scipy(init, theirs):
    law = init.law((3,))
    if theirs is None:
        return
    mean, variance, skewness, excess = map(float, theirs.stats("mvsk"))
    assert law.mean == pytest.approx(mean, rel=1e-6, abs=1e-9)
    assert law.std == pytest.approx(math.sqrt(variance), rel=1e-6)
    assert law.skewness == pytest.approx(skewness, rel=1e-4, abs=1e-6)
    assert law.kurtosis == pytest.approx(3 + excess, rel=1e-4)
    p = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(law.cdf(theirs.ppf(p)), p, rtol=1e-5)
    np.testing.assert_allclose(law.pdf(theirs.ppf(p)), theirs.pdf(theirs.ppf(p)), 2e-3)
    np.testing.assert_allclose(law.bounds, theirs.support(), rtol=1e-12)


@pytest.mark.parametrize(("init", "theirs"), CLOSED, ids=IDS)
def test_weights_have_the_moments_of_their_law(init, theirs, key):
    w, law = init(key, (200, 300)), init.law((200, 300))
    check_mean(w, law.mean, law.std)
    check_std(w, law.std, law.kurtosis, law.mean)
    low, high = law.bounds
    slack = 1e-6 * law.std
    assert low - slack <= as_double(w).min() <= as_double(w).max() <= high + slack


@pytest.mark.parametrize(("init", "theirs"), CLOSED, ids=IDS)
def test_the_density_integrates_to_the_distribution_function(init, theirs):
    law = init.law((3,))
    ends = max(law.bounds[0], law.mean - law.std), law.mean + law.std
    x = np.linspace(ends[0] + 0.01 * law.std, ends[1], 20_001)
    mass = np.trapezoid(law.pdf(x), x)
    assert mass == pytest.approx(law.cdf(x[-1]) - law.cdf(x[0]), abs=1e-5)


@pytest.mark.parametrize(
    "law",
    [
        STEPS.law(()),
        through("softplus", STEPS).law(()),
        (1.0 - gamma(2.0)).law(()),
        clip(jinit.normal(), -1.0, 2.0).law(()),
        mixture([(0.5, jinit.normal()), (0.5, jinit.uniform())]).law(()),
    ],
    ids=["log_uniform", "through", "affine", "clip", "mixture"],
)
def test_laws_print_as_the_call_that_makes_them_and_draw_themselves(law, key):
    assert eval(repr(law), vars(jinit.laws)) == law
    assert pickle.loads(pickle.dumps(law)) == law
    check_std(law.draw(key, (200, 200), np.dtype("float32")), law.std, 6.0, law.mean)


def test_the_tails_are_finer_than_the_grid_of_uniform_numbers(key):
    p, upper = map(np.asarray, tails(key, (1 << 22,), np.dtype("float32")))
    assert p.min() > 0
    assert p.max() <= 0.5
    small = p[p < 2.0**-17]  # of which the grid of 2^-23 has 64 values
    assert 0.5 < small.size / 64 < 1.5
    assert np.unique(small).size > 0.9 * small.size
    check_mean(upper, 0.5, 0.5)


def test_an_exponential_draw_reaches_both_tails(key):
    w = as_double(exponential()(key, (1 << 22,)))
    assert w.max() > 14.0
    assert w.min() < 1e-5
    check_distribution(np.log(w[:200_000]).astype("f"), lambda x: -np.expm1(-np.exp(x)))


def test_small_concentrations_are_drawn_without_zeros(key):
    w = gamma(0.02)(key, (100_000,))
    assert w.min() > 0
    # P(W < w) is about w^a / Γ(a + 1), and log W nearly exponential.
    law = stats.gamma(0.02)
    x = np.float32([1e-30, 1e-20, 1e-10, 1e-3])
    share = np.array([(w < each).mean() for each in x])
    np.testing.assert_allclose(share, law.cdf(x), atol=5 * 0.5 / 100_000**0.5)


def test_beta_draws_stay_within_their_bounds(key):
    w = beta(0.1, 0.05)(key, (100_000,))
    assert w.min() > 0
    assert w.max() < 1
    assert np.isfinite(through("sigmoid", beta(0.1, 0.05))(key, (100_000,))).all()


# Heavy tails.


@pytest.mark.parametrize(
    ("df", "std", "kurtosis"),
    [
        (1.0, math.inf, None),
        (2.0, math.inf, None),
        (3.0, math.sqrt(3.0), math.inf),
        (4.0, math.sqrt(2.0), math.inf),
        (5.0, math.sqrt(5 / 3), 9.0),
    ],
)
def test_moments_that_are_infinite_are_said_to_be(df, std, kurtosis):
    for law in (student_t(df).law(()), (1.0 - student_t(df)).law(())):
        assert law.std == pytest.approx(std)
        assert law.kurtosis == (kurtosis and pytest.approx(kurtosis))
    mixed = mixture([(0.5, student_t(df)), (0.5, jinit.normal())]).law(())
    assert math.isinf(mixed.std) == math.isinf(std)


@pytest.mark.parametrize("init", [student_t(1.0), student_t(3.5)])
def test_the_audit_accuses_no_heavy_tail_but_another_distribution(init):
    tree = {f"layer_{n}": jnp.zeros((256, 128)) for n in range(3)}
    plan = jinit.plan(tree, {"*": init})
    drawn = plan.init(jax.random.key(0))
    assert jinit.diagnostics.audit(drawn, plan).findings == ()
    scale = np.random.default_rng(0).normal(size=(256, 128)).astype("f")
    for spoilt in (1.2 * drawn["layer_0"], scale, drawn["layer_0"] + 0.2):
        findings = jinit.diagnostics.audit(drawn | {"layer_0": spoilt}, plan).findings
        assert {finding.path for finding in findings} == {"layer_0"}


def test_the_audit_divides_by_no_infinite_moment():
    init = mixture([(0.5, jinit.zeros()), (0.5, student_t(3.0))])
    plan = jinit.plan({"layer": jnp.zeros((64, 64))}, {"*": init})
    assert jinit.diagnostics.audit(plan.init(jax.random.key(1)), plan).findings == ()


def test_a_heavy_tail_is_pictured():
    plots = pytest.importorskip("jinit.diagnostics.plots")
    figure = pytest.importorskip("matplotlib.figure").Figure()
    init = student_t(1.0)
    w = init(jax.random.key(0), (100, 100))
    ax = plots.weights(w, init, ax=figure.subplots())
    assert all(np.isfinite(ax.get_xlim()))


# Terms.


@pytest.mark.parametrize(
    ("init", "law"),
    [
        (2.0 * jinit.normal(mean=1.0), Normal(2.0, 2.0)),
        (jinit.normal() * np.float32(-2.0), Normal(-0.0, 2.0)),
        (1 - jinit.uniform(a=-1.0, b=3.0) / 2, Uniform(-0.5, 1.5)),
        (-jinit.ones(), Point(-1.0)),
        (3.0 * jinit.constant((1, 2)) - 1, Mixture(((0.5, Point(2)), (0.5, Point(5))))),
        (0.0 * jinit.he_normal() + 2.0, Point(2.0)),
        (2.0 * jinit.torch.triangular(0.5), Triangular(1.0)),
        (
            2.0 * jinit.sparse(0.5) + 1.0,
            Mixture(((0.5, Point(1.0)), (0.5, Normal(1.0, 0.02)))),
        ),
    ],
    ids=repr,
)
def test_the_law_of_a_term_is_that_of_the_same_kind(init, law, key):
    assert init.law((4, 2)) == law
    if law.std == 0:
        np.testing.assert_array_equal(init(key, (4, 2)), law.mean)


def test_a_truncated_law_is_turned_round():
    law = (1.0 - 2.0 * jinit.trunc_normal(a=0.0, b=1.0)).law(())
    assert law.bounds == (-1.0, 1.0)
    theirs = stats.truncnorm(0, 1)
    assert law.mean == pytest.approx(1 - 2 * theirs.mean())
    assert law.cdf(0.0) == pytest.approx(1 - theirs.cdf(0.5))


def test_terms_of_terms_are_one():
    init = 2.0 * (3.0 * jinit.he_normal() + 1.0) - 5
    assert init == affine(jinit.he_normal(), scale=6.0, shift=-3.0)
    assert repr(init) == "affine(he_normal(), scale=6.0, shift=-3.0)"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_term_is_rounded_once(dtype, key):
    init, shape = jinit.normal(std=0.02), (64, 64)
    wide = "complex64" if dtype == "complex64" else "float32"
    exact = 0.3 * init(key, shape, wide).astype(complex) + 1.0
    w = (0.3 * init + 1.0)(key, shape, dtype)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        as_double(w), exact if dtype == "complex64" else exact.real, 0.51 * eps + 2e-7
    )


def test_a_complex_term_has_the_law_of_its_parts(key):
    for within in (jinit.uniform(), jinit.glorot_uniform(), jinit.normal()):
        init = -2.0 * within + 1.0
        law, w = init.law((200, 200), "complex64"), init(key, (200, 200), "complex64")
        check_std(w, law.std, 2.0, law.mean)
        assert law.std == pytest.approx(2 * within.law((200, 200), "complex64").std)


def test_numbers_that_are_traced_scale_too(key):
    init = jinit.normal()

    def draw(scale):
        return (scale * init + scale)(key, (3,)), (init * jnp.float32(2.0))(key, (3,))

    w, twice = jax.jit(draw)(3.0)
    np.testing.assert_allclose(w, 3 * init(key, (3,)) + 3, rtol=1e-6)
    np.testing.assert_allclose(twice, 2 * init(key, (3,)), rtol=1e-6)
    within = jax.jit(lambda a: through("softplus", log_uniform(a, 1.0))(key, (3,)))
    np.testing.assert_allclose(
        within(0.5), through("softplus", log_uniform(0.5, 1.0))(key, (3,)), rtol=1e-5
    )


def test_the_plan_shows_the_fans_and_the_deviation_within():
    plan = jinit.plan({"w": jnp.zeros((200, 50))}, {"*": 0.5 * jinit.he_normal()})
    (entry,) = plan
    assert "200, 50" in str(plan)
    assert "0.05" in str(plan)
    law = entry.init.law((200, 50))
    assert law.std == pytest.approx(0.05)
    wrong = {"w": jinit.he_normal()(jax.random.key(0), (200, 50))}
    (finding,) = jinit.diagnostics.audit(wrong, plan).findings
    assert finding.kind == "std"
    fans = 0.5 * jinit.he_normal(in_axis=1, out_axis=0)(jax.random.key(0), (200, 50))
    (finding,) = jinit.diagnostics.audit({"w": fans}, plan).findings
    assert "exchanged" in finding.cause


def test_an_orthogonal_term_is_held_to_its_pattern(key):
    init = 3.0 * jinit.orthogonal()
    w = np.asarray(init(key, (32, 16)))
    np.testing.assert_allclose(w.T @ w, 9 * np.eye(16), atol=1e-5)
    plan = jinit.plan({"w": w}, {"*": init})
    assert jinit.diagnostics.audit({"w": w}, plan).findings == ()
    spoilt = w + 0.1 * np.random.default_rng(0).normal(size=w.shape).astype("f")
    kinds = {f.kind for f in jinit.diagnostics.audit({"w": spoilt}, plan).findings}
    assert kinds & {"spectrum", "std"}


# Clipped, and mixed.


def test_a_clipped_law_has_an_atom_at_each_bound(key):
    init = clip(jinit.normal(), -1.0, 0.5)
    w, law = as_double(init(key, (300, 300))), init.law((300, 300))
    assert not law.dense
    assert (w == 0.5).mean() == pytest.approx(stats.norm.sf(0.5), abs=0.01)
    assert law.cdf(-1.0) == pytest.approx(stats.norm.cdf(-1.0))
    # E clip(z) and E clip(z)² by parts.
    p, cdf, a, b = stats.norm.pdf, stats.norm.cdf, -1.0, 0.5
    mean = a * cdf(a) + b * cdf(-b) + p(a) - p(b)
    square = a * a * cdf(a) + b * b * cdf(-b) + cdf(b) - cdf(a) + a * p(a) - b * p(b)
    assert law.mean == pytest.approx(mean, rel=1e-9)
    assert law.std == pytest.approx(math.sqrt(square - mean**2), rel=1e-9)


CLIPS = [
    clip(jinit.normal(), 1.0, math.inf),
    clip(jinit.normal(), -math.inf, -2.0),
    clip(jinit.normal(), 0.1, math.inf),
    clip(exponential(), 2.0, math.inf),
    clip(gamma(2.0), 0.5, 3.0),
    clip(clip(jinit.normal(), -1.0, 1.0), -2.0, 0.5),
    clip(clip(jinit.normal(), 0.0, 0.5), 0.2, 2.0),
    clip(2.0 * clip(jinit.normal(), 0.0, math.inf), -math.inf, 0.5),
    -clip(jinit.normal(), 0.0, math.inf),
    0.5 - 2.0 * clip(beta(2.0, 2.0), 0.25, 0.5),
    1.0 - through("log", clip(jinit.normal(), -1.0, 0.0)),
    -2.0 * through(lambda x: -x, clip(jinit.normal(), 0.0, 1.0)),
]


@pytest.mark.parametrize("init", CLIPS, ids=range(len(CLIPS)))
def test_a_law_with_atoms_is_that_of_what_is_drawn(init, key):
    w, law = as_double(init(key, (300, 300))), init.law((300, 300))
    check_mean(w, law.mean, law.std)
    check_std(w, law.std, law.kurtosis, law.mean)
    for x in (*np.quantile(w, [0.0, 0.2, 0.5, 0.8]), w.max(), 0.0):
        # At an atom, to either side of what it is rounded to.
        near, share = 1e-6 * max(abs(x), 1.0), (w <= x).mean()
        low, high = law.cdf(x - near) - 0.01, law.cdf(x + near) + 0.01
        assert low < share < high
    assert (w == 0).mean() == pytest.approx(law.zeros, abs=0.01)
    assert law.bounds[0] - 1e-6 <= w.min() <= w.max() <= law.bounds[1] + 1e-6


def test_nearly_all_zeros_are_no_finding_where_they_may_be_chance(key):
    rare = mixture([(0.99, jinit.zeros()), (0.01, jinit.normal())])
    zeros = {"w": np.zeros((16, 4), "float32")}
    plan = jinit.plan(zeros, {"w": rare})
    assert jinit.diagnostics.audit(zeros, plan).findings == ()
    large = {"w": np.zeros((160, 40), "float32")}
    (found,) = jinit.diagnostics.audit(large, jinit.plan(large, {"w": rare})).findings
    assert found.kind == "dead"


@pytest.mark.parametrize(
    ("init", "dtype"),
    [
        (jinit.looks_linear(exponential() - 1.0, mirror="outputs"), "float32"),
        (3.0 - jinit.torch.triangular(1.0), "complex64"),
        (-1.0 * (jinit.torch.triangular(0.5) + 2.0), "float32"),
    ],
)
def test_mirrored_and_shifted_weights_have_no_finding(init, dtype, key):
    w = {"w": init(key, (100, 200), dtype)}
    assert jinit.diagnostics.audit(w, jinit.plan(w, {"w": init})).findings == ()


@pytest.mark.parametrize(
    "init",
    [
        jinit.constant(3.4e38),
        log_normal(mean=200.0),
        student_t(0.05),
        weibull(0.01),
        through("log", jinit.normal(mean=100.0)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_is_too_large_is_the_largest_number(init, dtype, key):
    w = as_double(init(key, (1000,), dtype))
    assert np.isfinite(w).all()
    assert abs(w).max() == pytest.approx(float(jnp.finfo(dtype).max), rel=2e-3)


def test_moments_of_named_distributions_are_those_of_scipy():
    pareto = inverse_transform(("pareto", 2.0)).law(())
    assert (pareto.mean, pareto.std) == (2.0, math.inf)
    assert inverse_transform(("pareto", 3.5)).law(()).kurtosis == math.inf
    assert math.isnan(inverse_transform("cauchy").law(()).mean)


def test_the_zeros_of_a_clipped_law_are_counted():
    assert clip(jinit.normal(), 0.0, math.inf).law(()).zeros == pytest.approx(0.5)
    assert clip(jinit.sparse(0.5), -1.0, 1.0).law((8, 8)).zeros == 0.5


def test_bounds_that_nothing_passes_change_no_law():
    assert clip(jinit.uniform(), -1.0, 2.0).law(()) == Uniform(0.0, 1.0)
    assert clip(jinit.uniform(), 2.0, 3.0).law(()) == Point(2.0)
    assert isinstance(clip(jinit.normal(), -1.0, 1.0).law(()), Clipped)


def test_each_weight_of_a_mixture_has_its_own_law(key):
    init = mixture([(0.25, jinit.zeros()), (0.75, jinit.uniform(a=1.0, b=3.0))])
    w, law = as_double(init(key, (300, 300))), init.law((300, 300))
    zeros = (w == 0).mean()
    assert zeros == pytest.approx(0.25, abs=5 * 0.433 / 300)
    assert law.zeros == 0.25
    assert law.std == pytest.approx(math.sqrt(0.75 / 3 + 0.75 * 0.25 * 4))
    check_std(w, law.std, law.kurtosis, law.mean)
    assert abs(np.corrcoef(w[:, 0] == 0, w[:, 1] == 0)[0, 1]) < 5 / 300**0.5


def test_mixtures_have_the_fans_that_their_parts_have():
    wide, narrow = jinit.he_normal(), 0.1 * jinit.he_normal()
    init = mixture([(0.5, wide), (0.5, narrow)])
    assert init._fans((30, 20)) == wide._fans((30, 20))
    assert init.law((30, 20)).std == pytest.approx(
        wide.law((30, 20)).std * math.sqrt(1.01 / 2)
    )


# As values, and refused.


def test_functions_go_where_functions_go():
    for init in (through(cube, jinit.normal()), inverse_transform(gumbel)):
        assert pickle.loads(pickle.dumps(init)) == init
        with pytest.raises(ValueError, match="must be a number or a name"):
            jinit.serialize(init)


def test_initializers_of_others_are_terms_without_a_law(key):
    theirs = jax.nn.initializers.uniform(1.0)
    for init in (
        through("softplus", theirs),
        affine(theirs, scale=2.0),
        clip(theirs, 0.2, 0.8),
        mixture([(1.0, theirs)]),
    ):
        assert init.law((3, 3)) is None
        assert init(key, (3, 3), "bfloat16").dtype == jnp.bfloat16


def test_a_mixture_goes_through_a_link_part_by_part():
    within = mixture([(0.5, jinit.constant(0.1)), (0.5, jinit.uniform(a=0.2, b=0.5))])
    law = through("exp", within).law(())
    (_, point), (_, part) = law.parts
    assert point == Point(pytest.approx(math.log(0.1)))
    assert part == Transformed(Uniform(0.2, 0.5), "exp")


REFUSED = [
    (lambda: through("relu", STEPS), ValueError, "link must be one of softplus"),
    (lambda: through(jax.nn.relu, STEPS), ValueError, "is constant on an interval"),
    (lambda: through(jnp.sin, STEPS), ValueError, "both rises and falls"),
    (lambda: through(jnp.sum, STEPS), ValueError, "strictly monotone function"),
    (lambda: through(np.arcsinh, STEPS), ValueError, "JAX's operations"),
    (lambda: through(3.0, STEPS), TypeError, "link must be one of"),
    (lambda: through("exp", 3.0), TypeError, "init must be an initializer"),
    (lambda: through("exp", jinit.normal), TypeError, "call a factory, as in"),
    (
        lambda: through("softplus", jinit.normal()),
        ValueError,
        r"normal\(\) draws from -inf to inf; .*log_uniform\(0.001, 0.1\)",
    ),
    (lambda: through("softplus", jinit.zeros()), ValueError, "between 0 and inf"),
    (lambda: through("sigmoid", jinit.uniform()), ValueError, "between 0 and 1"),
    (lambda: through("sigmoid", jinit.ones()), ValueError, "between 0 and 1"),
    (lambda: through("sigmoid", gamma(1.0)), ValueError, "from 0 to inf"),
    (lambda: through("tanh", jinit.constant([0.5, -1])), ValueError, "-1 to 0.5"),
    (lambda: log_uniform(0.0, 1.0), ValueError, "a must be greater than 0"),
    (lambda: log_uniform(2.0, 1.0), ValueError, "swap them"),
    (lambda: log_normal(std=0.0), ValueError, "use jinit.constant"),
    (lambda: gamma(-1.0), ValueError, "concentration must be greater than 0"),
    (lambda: student_t("3"), TypeError, "df must be a real number"),
    (lambda: clip(jinit.normal(), 1.0, 0.0), ValueError, "swap them"),
    (lambda: jinit.normal() * jinit.normal(), TypeError, "draw both, and combine"),
    (lambda: jinit.normal() - [1.0], TypeError, r"a number .*, got \[1.0\]"),
    (lambda: np.ones(3) * jinit.normal(), TypeError, "a number is an init"),
    (lambda: jnp.ones(3) - jinit.normal(), TypeError, "a number is an init"),
    (lambda: jinit.normal() * True, TypeError, "a number is an init"),
    (lambda: jinit.normal() * math.inf, ValueError, "scale must be finite"),
    (lambda: jinit.normal() / 0.0, ValueError, "another number than 0"),
    (lambda: jinit.normal() / 1e-310, ValueError, "than 0, got 1e-310"),
    (lambda: jinit.normal() / math.inf, ValueError, "divisor must be finite"),
    (lambda: 1e300 * (1e300 * jinit.normal()), ValueError, "scale must be finite"),
    (lambda: mixture([]), TypeError, "pairs of a share and an initializer"),
    (lambda: mixture([jinit.zeros()]), TypeError, "pairs of a share"),
    (lambda: mixture([(0.5, jinit.ones())]), ValueError, "sum to 1"),
    (lambda: mixture([(1.0, jinit.normal(), 2)]), TypeError, "pairs of a share"),
    (lambda: mixture([(1.0, "zeros")]), TypeError, "must be an initializer"),
    (lambda: inverse_transform(3.0), TypeError, "of scipy.stats, such as"),
    (lambda: inverse_transform(stats.norm.sf), ValueError, "must rise from 0 to 1"),
    (lambda: inverse_transform(math.log), TypeError, "which raised TypeError"),
    (lambda: inverse_transform("gumble_r"), ValueError, "did you mean gumbel_r"),
    (lambda: inverse_transform(("gamma", "a")), TypeError, "a parameter of gamma"),
    (lambda: inverse_transform("gamma"), TypeError, r"as in \('gamma', 2.0\)"),
    (lambda: inverse_transform(("beta", 1.0)), TypeError, "parameters of beta, a, b"),
]


@pytest.mark.parametrize(
    ("make", "error", "message"), REFUSED, ids=map(str, range(len(REFUSED)))
)
def test_options_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("init", "dtype", "error", "message"),
    [
        (through("exp", jinit.he_normal()), None, ValueError, "draws from -"),
        (through("exp", STEPS), "complex64", TypeError, "makes real numbers"),
        (gamma(1.0), "complex64", TypeError, "makes real numbers"),
        (clip(jinit.normal(), 0, 1), "complex64", TypeError, "makes real numbers"),
        (2.0 * jinit.eye(), "int32", TypeError, "draws floating-point numbers"),
        (2.0 * jinit.normal(), "int32", TypeError, "draws floating-point"),
        (0.5 * jinit.ones(), "int32", ValueError, "exact in dtype int32"),
    ],
    ids=repr,
)
def test_what_a_call_cannot_have_is_refused(init, dtype, error, message, key):
    with pytest.raises(error, match=message):
        init(key, (3, 3), dtype)


def test_whole_numbers_scale_whole_numbers(key):
    w = (3 * jinit.ones() - 1)(key, (2,), "int32")
    assert w.tolist() == [2, 2]
