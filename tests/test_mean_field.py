"""Variance in depth: the map, the critical points, and networks that follow them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import STANDARD_ERRORS, check_mean
from scipy import optimize, special

import jinit

# A normal density on a grid: the trapezoidal rule is exact to rounding where the
# function is smooth, and to 1e-8 where it has a kink.
Z = np.linspace(-12, 12, 400_001)
DENSITY = np.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])

NUMPYS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: (
        1.0507009873554805
        * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
}


# The slope at q = 1 and chi_1 under the forward gain, by mpmath.
SLOPES = [
    ("identity", 1.00000, 1.00000),
    ("relu", 1.00000, 1.00000),
    (("leaky_relu", 0.2), 1.00000, 1.00000),
    ("relu6", 1.00000, 1.00000),
    (lambda x: jax.nn.relu(x) ** 2, 2.00000, 1.33333),
    ("elu", 0.89097, 1.03590),
    (("celu", 0.5), 0.92236, 1.05289),
    ("selu", 0.78265, 1.07157),
    ("gelu", 1.14406, 1.07203),
    ("gelu_tanh", 1.14430, 1.07202),
    ("silu", 1.17259, 1.06663),
    ("mish", 1.07634, 1.05912),
    ("tanh", 0.46107, 1.17781),
    ("sigmoid", 0.10634, 0.15283),
    ("hard_sigmoid", 0.09712, 0.09978),
    ("hard_tanh", 0.38513, 1.32289),
    ("softplus", 0.49205, 0.31846),
    ("softsign", 0.47671, 1.24401),
    ("squareplus", 0.33333, 0.19288),
    (jnp.sin, 0.31304, 1.31304),
    (lambda x: jnp.exp(-(x**2)), -0.40000, 0.80000),
    (lambda x: jnp.exp(-(x**2) / 2), -0.33333, 0.33333),
    (jax.lax.erf, 0.40857, 1.22570),
]


@pytest.mark.parametrize(
    ("activation", "slope", "chi_1"), SLOPES, ids=range(len(SLOPES))
)
def test_slope_and_chi_1_are_those_of_the_table(activation, slope, chi_1):
    step = jinit.variance_map(activation)
    assert step.fixed_point == 1
    assert step.slope() == pytest.approx(slope, abs=6e-6)
    assert step.chi_1() == pytest.approx(chi_1, abs=6e-6)


@pytest.mark.parametrize("name", NUMPYS)
@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 7.0, 1e5])
def test_the_map_is_the_gaussian_average(name, q):
    expected = 1.3**2 * DENSITY @ NUMPYS[name](math.sqrt(q) * Z) ** 2 + 0.2
    step = jinit.variance_map(name, gain=1.3, bias_var=0.2)
    assert step(q) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    "activation",
    ["tanh", "gelu", "selu", "swiglu", "bilinear", "hard_tanh", jnp.sign],
    ids=range(7),
)
@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
def test_the_slope_is_the_derivative_of_the_map(activation, q):
    step, dq = jinit.variance_map(activation, gain=1.5), 1e-4 * q
    by_difference = (step(q + dq) - step(q - dq)) / (2 * dq)
    assert step.slope(q) == pytest.approx(by_difference, rel=1e-6, abs=1e-9)


def test_chi_1_of_a_smooth_odd_activation_is_the_average_of_its_squared_slope():
    expected = 1.5**2 * DENSITY @ (1 - np.tanh(math.sqrt(2.0) * Z) ** 2) ** 2
    assert jinit.variance_map("tanh", gain=1.5).chi_1(2.0) == pytest.approx(expected)


def test_a_gated_unit_multiplies_the_variances_of_its_two_maps():
    q = 1.7
    gate = DENSITY @ NUMPYS["silu"](math.sqrt(q) * Z) ** 2
    step = jinit.variance_map("swiglu", gain=1.0)
    assert step(q) == pytest.approx(q * gate, rel=1e-9)
    assert jinit.variance_map("bilinear", gain=1.0)(3.0) == pytest.approx(9.0)


FIXED_POINTS = [
    (("tanh", 5 / 3), 1.178480490),
    (("selu", 3 / 4), 0.0230337846),
    (("tanh", "tanh"), 1.178480490),  # a name of torch means torch's number
    (("selu", "selu"), 0.0230337846),
    (("tanh", 1.0), 0.0),
    (("tanh", 0.5), 0.0),
    (("elu", 1.0), 0.0),
    (("relu", 1.0), 0.0),
    (("relu", 1.5), math.inf),
    (("bilinear", 2.0), math.inf),
    (("relu", math.sqrt(2)), 1.0),
    (("tanh", 1e8), 1e16),  # 1e16 · E tanh², which is 1 but for 8e-9
    (("sigmoid", 1e-8), 0.25e-16),
]


@pytest.mark.parametrize(("options", "expected"), FIXED_POINTS)
def test_the_fixed_point_is_where_the_map_leads_to(options, expected):
    activation, gain = options
    step = jinit.variance_map(activation, gain=gain)
    assert step.fixed_point == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("activation", "gain", "bias_var"),
    [
        ("tanh", 2.0, 0.0),
        ("tanh", 1.0, 0.3),
        ("relu", 1.0, 0.5),
        ("sigmoid", 1.0, 0.0),
        ("selu", 1.2, 0.0),
    ],
)
def test_iteration_of_the_map_arrives_at_the_fixed_point(activation, gain, bias_var):
    step = jinit.variance_map(activation, gain=gain, bias_var=bias_var)
    q = 1.0
    for _ in range(400):
        q = step(q)
    assert q == pytest.approx(step.fixed_point, rel=1e-9)


def test_the_activations_of_torchs_gains_have_the_variance_that_was_measured():
    # Of tanh with 5/3: activations of variance 0.424, chi_1 1.210: gradients grow. Of
    # selu with 3/4: 0.2 in torch's pull request 50664, where 0.1944 to 0.2085 is
    # printed for the deviation at layers 60 to 90.
    tanh, selu = (jinit.variance_map(name, gain=name) for name in ("tanh", "selu"))
    assert tanh.fixed_point / (5 / 3) ** 2 == pytest.approx(0.424252977, rel=1e-8)
    assert tanh.chi_1() == pytest.approx(1.20983, abs=6e-6)
    deviation = math.sqrt(selu.fixed_point) / (3 / 4)
    assert 0.1944 < deviation < 0.2085
    assert deviation**2 * (3 / 4) ** 2 == pytest.approx(selu.fixed_point)
    assert selu.chi_1() == pytest.approx(1.003670, abs=6e-7)


@pytest.mark.parametrize("bias_var", [1e-3, 1e-5, 1e-9])
def test_biases_add_up_without_end_where_the_map_is_marginal(bias_var):
    assert jinit.variance_map("relu", bias_var=bias_var).fixed_point == math.inf


@pytest.mark.parametrize("bias_var", [1e-14, 1e-3, 1e6])
def test_biases_are_all_that_is_left_where_weights_shrink(bias_var):
    step = jinit.variance_map("relu", gain=1.0, bias_var=bias_var)
    assert step.fixed_point == pytest.approx(2 * bias_var, rel=1e-9)


def test_a_trajectory_repeats_the_map():
    step = jinit.variance_map("gelu", bias_var=0.1)
    assert step.trajectory(3, 0.5) == [0.5, step(0.5), step(step(0.5))]
    assert step.trajectory(1) == [1.0]


def test_a_map_that_overflows_has_no_finite_fixed_point():
    assert jinit.variance_map(jnp.exp, gain=1.0).fixed_point == math.inf


def test_maps_made_alike_are_equal():
    assert jinit.variance_map("silu") == jinit.variance_map(jax.nn.silu)
    assert len({jinit.variance_map("silu"), jinit.variance_map("silu")}) == 1
    assert jinit.variance_map("silu") != jinit.variance_map("silu", gain=1.0)


# Activation, variance of the biases, and the published point to its printed digits, or
# where that has fewer, to those of a second solver.
POINTS = [
    ("tanh", None, 1.0, 0.0),
    ("tanh", 0.0, 1.0, 0.0),
    ("tanh", 0.05, 1.76095463961, 0.05),
    ("tanh", 2.01e-5, 1.0499956285, 2.01e-5),
    ("tanh", 0.001, 1.18918958523, 0.001),
    ("tanh", 0.01, 1.42420529049, 0.01),
    ("tanh", 0.1, 1.98607264114, 0.1),
    ("tanh", 0.3, 2.50512718968, 0.3),
    ("tanh", 0.5, 2.84316745972, 0.5),
    ("tanh", 0.150964629379, 2.1533026489, 0.150964629379),
    ("gelu", 0.0671916747056, 2.19369990353, 0.0671916747056),
    ("silu", 0.0624715002252, 2.63516865988, 0.0624715002252),
    ("elu", 0.0346602520092, 1.49677743544, 0.0346602520092),
    (jax.lax.erf, 0.184139677807, 1.75620368276, 0.184139677807),
    ("relu", None, 2.0, 0.0),
    (("leaky_relu", 0.2), None, 2 / 1.04, 0.0),
    ("identity", None, 1.0, 0.0),
    (jnp.sin, None, 1.0, 0.0),
    ("gelu", None, 1.98305825744, 0.172922390756),
    ("silu", None, 1.98800467827, 0.555143170722),
    (lambda x: 1e-11 * jnp.tanh(x), None, 1e22, 0.0),
    ("gelu", 0.0, 4.0, 0.0),
]


@pytest.mark.parametrize(
    ("activation", "given", "weight_var", "bias_var"), POINTS, ids=range(len(POINTS))
)
def test_critical_points_are_those_that_were_published(
    activation, given, weight_var, bias_var
):
    point = jinit.critical_point(activation, given)
    assert point.weight_var == pytest.approx(weight_var, rel=1e-9)
    assert point.bias_var == pytest.approx(bias_var, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("activation", "q"), [("gelu", 3.56155281281), ("silu", 14.320173618)]
)
def test_gelu_and_silu_are_half_stable_at_the_published_variance(activation, q):
    weight_var, bias_var = jinit.critical_point(activation)
    step = jinit.variance_map(activation, gain=weight_var**0.5, bias_var=bias_var)
    assert step(q) == pytest.approx(q, rel=1e-10)
    assert step.slope(q) == pytest.approx(1, abs=1e-10)
    assert step.chi_1(q) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("bias_var", [1e-9, 1e-4, 0.05, 1.0, 1e5])
@pytest.mark.parametrize("activation", ["tanh", "hard_tanh", "elu", "softsign"])
def test_the_critical_line_keeps_variance_and_gradients(activation, bias_var):
    weight_var, same = jinit.critical_point(activation, bias_var)
    step = jinit.variance_map(activation, gain=weight_var**0.5, bias_var=same)
    assert step.fixed_point == pytest.approx(step(step.fixed_point), rel=1e-10)
    assert step.chi_1() == pytest.approx(1, rel=1e-7)


def test_a_map_that_touches_its_fixed_point_stops_there():
    weight_var, bias_var = jinit.critical_point("mish")
    step = jinit.variance_map("mish", gain=weight_var**0.5, bias_var=bias_var)
    assert step.slope() == pytest.approx(1, abs=1e-7)
    assert step.chi_1() == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(
    "activation",
    ["sigmoid", "softplus", "squareplus", "bilinear", jnp.sign, jnp.exp, jnp.cos],
    ids=range(7),
)
def test_where_there_is_no_critical_point_it_is_said(activation):
    with pytest.raises(ValueError, match=r"has no critical point: .*normalization"):
        jinit.critical_point(activation)


@pytest.mark.parametrize("bias_var", [0.1, 1e-13])
def test_relu_has_no_critical_point_with_biases(bias_var):
    with pytest.raises(ValueError, match=f"no critical point with bias_var={bias_var}"):
        jinit.critical_point("relu", bias_var=bias_var)


@pytest.mark.parametrize(
    ("bias_var", "stable"), [(0.05, False), (0.15, False), (0.2, True), (1.0, True)]
)
def test_the_critical_line_of_gelu_is_stable_beyond_its_critical_point(
    bias_var, stable
):
    weight_var, _ = jinit.critical_point("gelu", bias_var)
    step = jinit.variance_map("gelu", gain=weight_var**0.5, bias_var=bias_var)
    # chi_1 rises to above 1 and falls again: it is 1 twice, and one is a fixed point.
    ends = itertools.pairwise(2.0 ** np.arange(-6, 9))
    roots = [
        optimize.brentq(lambda q: step.chi_1(q) - 1, low, high)
        for low, high in ends
        if (step.chi_1(low) - 1) * (step.chi_1(high) - 1) < 0
    ]
    (critical,) = (q for q in roots if abs(step(q) / q - 1) < 1e-9)
    assert (step.slope(critical) < 1) == stable


@pytest.mark.parametrize("function", [jinit.variance_map, jinit.critical_point])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"activation": "swich"}, ValueError, "'swich'; did you mean swish"),
        ({"activation": jax.nn.softmax}, ValueError, "must be elementwise"),
        ({"activation": lambda x: 0 * x}, ValueError, "must not be zero"),
        ({"activation": "tanh", "bias_var": -1}, ValueError, "bias_var must be at"),
        ({"activation": "tanh", "bias_var": "1"}, TypeError, "bias_var must be a real"),
        ({"activation": "tanh", "bias_var": math.inf}, ValueError, "must be finite"),
    ],
    ids=range(6),
)
def test_a_mistake_in_the_options_is_refused(function, options, error, message):
    with pytest.raises(error, match=message):
        function(**options)


def test_what_a_map_cannot_take_is_refused():
    with pytest.raises(ValueError, match="gain must be at least 0, got -1"):
        jinit.variance_map("tanh", gain=-1)
    with pytest.raises(ValueError, match="q must be at least 0, got -1"):
        jinit.variance_map("tanh")(-1)
    with pytest.raises(TypeError, match="depth must be an integer"):
        jinit.variance_map("tanh").trajectory(2.0)
    with pytest.raises(TypeError, match="q must be a real number"):
        jinit.variance_map("tanh").slope("1")
    with pytest.raises(ValueError, match="q must be given where the variance grows"):
        jinit.variance_map("relu", gain=2.0).slope()
    with pytest.raises(ValueError, match="finite E f² for inputs of variance 100"):
        jinit.variance_map(lambda x: jnp.exp(x**2 / 50))(100)
    with pytest.raises(ValueError, match=r"gain must be small enough.*1e\+200"):
        jinit.variance_map("tanh", gain=1e200)(1.0)
    with pytest.raises(ValueError, match=r"q must be greater than 0 for .*'softplus'"):
        jinit.variance_map("softplus").slope(0)
    with pytest.raises(ValueError, match="E f'²"):
        jinit.critical_point(lambda x: jnp.sqrt(jnp.abs(x)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: jinit.variance_map("tanh")(x),
        lambda x: jinit.variance_map("tanh", gain=x),
        lambda x: jinit.variance_map("tanh", bias_var=x),
        lambda x: jinit.critical_point("tanh", bias_var=x),
    ],
    ids=range(4),
)
def test_a_traced_option_is_refused(call):
    with pytest.raises(TypeError, match=r"must be known.*outside of jit"):
        jax.jit(call)(1.0)


WIDTH, DEPTH, SEEDS = 256, 60, 8


def variances(name, scale=1.0):
    """Variances of the pre-activations given the layer before, (SEEDS, DEPTH + 1).

    Of plain networks drawn by `jinit.kaiming_normal`: each layer's pre-activations are
    independent normal numbers of exactly this variance.
    """
    init = jinit.kaiming_normal(nonlinearity=scale * jinit.gain(name))
    factor, f = (scale * jinit.gain(name)) ** 2, getattr(jax.nn, name)
    if name == "gelu":
        f = lambda x: jax.nn.gelu(x, approximate=False)  # noqa: E731

    def layer(h, key):
        x = f(h)
        return x @ init(key, (WIDTH, WIDTH)), factor * jnp.mean(x**2)

    def network(key):
        inputs, *keys = jax.random.split(key, DEPTH + 1)
        h = jax.random.normal(inputs, (WIDTH,))
        return jax.lax.scan(layer, h, jnp.stack(keys))[1]

    measured = jax.jit(jax.vmap(network))(jax.random.split(jax.random.key(1), SEEDS))
    return np.concatenate([np.ones((SEEDS, 1)), np.asarray(measured, float)], axis=1)


def deviations(name, measured):
    """Each layer's variance, less what the map makes of the layer before, in errors."""
    step, z = jinit.variance_map(name), Z[::100]
    density = DENSITY[::100] * 100
    scores = []
    for before, after in zip(
        measured[:, :-1:2].ravel(), measured[:, 1::2].ravel(), strict=True
    ):
        squares = step.gain**2 * NUMPYS[name](math.sqrt(before) * z) ** 2
        variance = density @ squares**2 - (density @ squares) ** 2
        scores.append((after - step(float(before))) / math.sqrt(variance / WIDTH))
    return np.array(scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMPYS)
def test_deep_networks_follow_the_map_and_drift_where_its_slope_says_so(name):
    measured = variances(name)

    scores = deviations(name, measured)
    check_mean(scores, 0.0, 1.0)
    # Standard normal, but for the skewness of a mean of 256 squares.
    assert abs(scores.std() - 1) < STANDARD_ERRORS / math.sqrt(2 * scores.size) + 0.02
    assert abs(scores).max() < 7

    slope, spread = jinit.variance_map(name).slope(), np.log(measured[:, -1]).std()
    if slope < 1 - 1e-6:
        assert spread < 0.4
    if slope > 1 + 1e-6:
        assert spread > 1.5


@pytest.mark.slow
def test_a_gain_that_is_two_percent_off_is_noticed():
    scores = deviations("tanh", variances("tanh", scale=1.02))
    with pytest.raises(AssertionError, match="errors off"):
        check_mean(scores, 0.0, 1.0)
