"""Gains of activations: the numbers, where they are found, and what is refused.

The numbers come from mpmath, at 30 digits and split at each kink, from closed forms, or
from SciPy's quadrature of NumPy's functions between the kinks that the test knows.
"""

import functools
import itertools
import math
import os
import pickle

import flax.linen as nn
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_std
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec
from scipy import integrate, special, stats

import jinit
from jinit.gains._names import FUNCTIONS, GATES

EXACT = 1e-10


def labels(cases):
    """Of activations, whose printed form may hold an address."""
    firsts = [case[0] if isinstance(case, tuple) else case for case in cases]
    names = [getattr(first, "__name__", repr(first)[:20]) for first in firsts]
    return [f"{i}-{name}" for i, name in enumerate(names)]


INITIALIZERS = [
    *("xavier_uniform", "xavier_normal", "orthogonal", "scaled_orthogonal"),
    *("spectral_orthogonal", "lecun_uniform", "lecun_normal", "glorot_uniform"),
    *("glorot_normal", "he_uniform", "he_normal"),
]


# Activation, E f, and the forward, centered and backward gain.
TABLE = [
    ("identity", 0, 1, 1, 1),
    ("relu", 0.398942280, 1.414213562373, 1.712858550450, 1.414213562373),
    ("leaky_relu", 0.394952858, 1.414142856998, 1.704831627177, 1.414142856998),
    (
        ("leaky_relu", 0.2),
        0.319153824,
        1.386750490563,
        1.546460060361,
        1.386750490563,
    ),
    ("relu6", 0.398942280, 1.414213565095, 1.712858554972, 1.414213563768),
    (
        lambda x: jax.nn.relu(x) ** 2,
        0.500000000,
        0.816496580928,
        0.894427191000,
        0.707106781187,
    ),
    ("elu", 0.160520572, 1.245198300701, 1.270843417850, 1.223428557553),
    (("celu", 0.5), 0.232993281, 1.330908368227, 1.399915342816, 1.297049982464),
    ("selu", 0, 1.000000000000, 1.000000000000, 0.966025776974),
    ("gelu", 0.282094792, 1.533530441196, 1.700926243363, 1.481114412708),
    ("gelu_tanh", 0.282038588, 1.533580521666, 1.700916561695, 1.481168058093),
    ("silu", 0.206620964, 1.676532470331, 1.787187222100, 1.623320257952),
    ("mish", 0.240403888, 1.486847581273, 1.592025381099, 1.444755232547),
    ("tanh", 0, 1.592537419723, 1.592537419723, 1.467413591631),
    ("sigmoid", 0.5, 1.846228545339, 4.801313372040, 4.722646085938),
    ("hard_sigmoid", 0.5, 1.897840424730, 6.015034486637, 6.008115825197),
    ("hard_tanh", 0, 1.392036140448, 1.392036140448, 1.210287062433),
    ("softplus", 0.806059183, 1.041866835535, 1.919125980108, 1.846228545339),
    ("soft_sign", 0, 2.337533363109, 2.337533363109, 2.095780608943),
    ("log_sigmoid", -0.806059183, 1.041866835535, 1.919125980108, 1.846228545339),
    ("squareplus", 1.109305514, 0.816496580928, 1.926495220391, 1.859149162491),
    (jnp.sin, 0, 1.520866623179, 1.520866623179, 1.327250600285),
    (
        lambda x: jnp.exp(-(x**2)),
        0.577350269,
        1.495348781221,
        2.963301022403,
        1.671850762441,
    ),
    (
        lambda x: jnp.exp(-(x**2) / 2),
        0.707106781,
        1.316074012952,
        3.595581069907,
        2.279507056955,
    ),
    (jax.lax.erf, 0, 1.467166950489, 1.467166950489, 1.325218352861),
    (
        lambda x: jax.lax.erf(math.sqrt(math.pi) / 2 * x),
        0,
        1.545838093016,
        1.545838093016,
        1.426565922267,
    ),
]


@pytest.mark.parametrize(
    ("activation", "mean", "forward", "centered", "backward"),
    TABLE,
    ids=labels(TABLE),
)
def test_the_gains_are_those_of_the_table(
    activation, mean, forward, centered, backward
):
    assert jinit.gain(activation) == pytest.approx(forward, rel=EXACT)
    assert jinit.gain(activation, "centered") == pytest.approx(centered, rel=EXACT)
    assert jinit.gain(activation, "backward") == pytest.approx(backward, rel=EXACT)
    # Var f = E f² - (E f)² ties the mean to the two.
    of_mean = 1 / forward**2 - 1 / centered**2
    assert of_mean == pytest.approx(mean**2, abs=2e-9)


CLOSED_FORMS = [
    ("relu", "forward", 1 / 2),
    ("relu", "centered", (1 - 1 / math.pi) / 2),
    (("leaky_relu", 0.3), "forward", (1 + 0.3**2) / 2),
    (("leaky_relu", -1.5), "backward", (1 + 1.5**2) / 2),
    (("prelu", 0.7), "forward", (1 + 0.7**2) / 2),
    ("gelu", "forward", 1 / 3 + 1 / (2 * math.pi * math.sqrt(3))),
    ("gelu", "centered", 1 / 3 + 1 / (2 * math.pi * 3**0.5) - 1 / (4 * math.pi)),
    (jax.lax.erf, "forward", 2 / math.pi * math.asin(2 / 3)),
    (jnp.sin, "forward", (1 - math.exp(-2)) / 2),
    (jnp.sin, "backward", (1 + math.exp(-2)) / 2),
    (lambda x: jnp.exp(-(x**2) / 2), "forward", 1 / math.sqrt(3)),
    (lambda x: jnp.exp(-(x**2)), "forward", 1 / math.sqrt(5)),
    ("hard_tanh", "forward", 1 - 2 * stats.norm.pdf(1)),
    ("hard_tanh", "backward", 1 - 2 * stats.norm.cdf(-1)),
    (
        "elu",
        "forward",
        1 + math.exp(2) * special.ndtr(-2) - 2 * math.sqrt(math.e) * special.ndtr(-1),
    ),
    ("squareplus", "forward", (2 + 4) / 4),
    (("squareplus", 1.0), "forward", (2 + 1) / 4),
    (lambda x: jax.nn.relu(x) ** 2, "forward", 3 / 2),
    (lambda x: jax.nn.relu(x) ** 2, "backward", 2),
    (lambda x: x**5, "forward", 945),  # the tenth moment
    (lambda x: jnp.exp(3 * x), "forward", math.exp(18)),
    (lambda x: 1e6 + jnp.sin(x), "centered", (1 - math.exp(-2)) / 2),
    (lambda x: 1e-9 * x, "forward", 1e-18),
]


@pytest.mark.parametrize(
    ("activation", "mode", "moment"), CLOSED_FORMS, ids=labels(CLOSED_FORMS)
)
def test_the_gains_are_those_of_the_closed_forms(activation, mode, moment):
    exact = 1 / math.sqrt(moment)
    # Beside 1e6 the mean is known to 1e-10, and the function to 16 digits of 1e6.
    tolerance = 1e-9 if mode == "centered" else EXACT
    assert jinit.gain(activation, mode) == pytest.approx(exact, rel=tolerance)


def test_a_steep_sine_is_resolved():
    steep = lambda x: jnp.sin(30 * x)  # noqa: E731
    assert jinit.gain(steep) == pytest.approx(math.sqrt(2), rel=EXACT)
    exact = 1 / math.sqrt(450)
    assert jinit.gain(steep, "backward") == pytest.approx(exact, rel=EXACT)


def test_the_gradient_of_softplus_is_sigmoid():
    backward = jinit.gain("softplus", "backward")
    assert backward == pytest.approx(jinit.gain("sigmoid"), rel=1e-13)


def moment(function, *breaks):
    """E f(z)² by SciPy, split where the test knows that f breaks."""
    square = lambda z: function(z) ** 2 * stats.norm.pdf(z)  # noqa: E731
    pieces = itertools.pairwise([-12.0, *sorted(breaks), 12.0])
    return sum(integrate.quad(square, *piece, epsabs=1e-14)[0] for piece in pieces)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    kink=st.floats(-3, 3),
    jump=st.floats(-3, 3),
    low=st.floats(-2, 2),
    slope=st.floats(0.1, 5),
)
def test_kinks_and_jumps_are_found_wherever_they_are(kink, jump, low, slope):
    def ours(x):
        return jnp.where(x > jump, slope * jnp.abs(x - kink), low + jnp.tanh(x))

    def numpys(x):
        return np.where(x > jump, slope * np.abs(x - kink), low + np.tanh(x))

    exact = 1 / math.sqrt(moment(numpys, kink, jump))
    assert jinit.gain(ours) == pytest.approx(exact, rel=EXACT)


def test_a_quantized_activation_is_resolved():
    levels = 8

    def quantized(x):
        return jnp.round(levels * jnp.tanh(x)) / levels

    jumps = np.arctanh((np.arange(-levels, levels) + 0.5) / levels)
    heights = np.arange(-levels, levels + 1) / levels
    probabilities = np.diff(special.ndtr([-np.inf, *jumps, np.inf]))
    exact = 1 / math.sqrt(np.sum(heights**2 * probabilities))
    assert jinit.gain(quantized) == pytest.approx(exact, rel=EXACT)


@pytest.mark.parametrize(
    "step", [jnp.sign, lambda x: jnp.where(x > 0, 1.0, -1.0)], ids=["sign", "where"]
)
def test_a_sign_has_a_forward_gain_of_one_and_no_backward_one(step):
    assert jinit.gain(step) == pytest.approx(1, rel=EXACT)
    with pytest.raises(ValueError, match=r"whose derivative is 0.*mode='forward'"):
        jinit.gain(step, "backward")


def test_a_step_keeps_half_of_its_inputs():
    step = lambda x: jnp.heaviside(x, 0.0)  # noqa: E731
    assert jinit.gain(step) == pytest.approx(math.sqrt(2), rel=EXACT)
    assert jinit.gain(step, "centered") == pytest.approx(2, rel=EXACT)


@pytest.mark.parametrize(
    ("unit", "gate"),
    [
        ("glu", "sigmoid"),
        ("geglu", "gelu"),
        ("swiglu", "silu"),
        ("reglu", "relu"),
        ("bilinear", "identity"),
        (jax.nn.glu, "sigmoid"),
        (nn.glu, "sigmoid"),
    ],
    ids=range(7),
)
def test_a_gated_unit_has_the_gain_of_its_gate(unit, gate):
    assert jinit.gain(unit) == jinit.gain(unit, "centered") == jinit.gain(gate)
    both = 1 / jinit.gain(gate) ** 2 + 1 / jinit.gain(gate, "backward") ** 2
    assert jinit.gain(unit, "backward") == pytest.approx(1 / math.sqrt(both))


@pytest.mark.parametrize("unit", GATES)
def test_a_layer_of_gated_units_has_outputs_of_second_moment_one(unit, key):
    x, y = jax.random.normal(key, (2, 500, 500))
    out = jinit.gain(unit) * x * FUNCTIONS[GATES[unit]](y)
    kurtosis = float(jnp.mean(out**4) / jnp.mean(out**2) ** 2)
    check_std(out, 1.0, kurtosis=kurtosis)


ELEMENTWISE = {
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("identity", "leaky_relu", "log_sigmoid", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "soft_sign", "softplus", "sparse_plus", "sparse_sigmoid"),
    *("squareplus", "swish", "tanh"),
}
OTHERS = {
    *("dot_product_attention", "get_scaled_dot_general_config", "glu", "initializers"),
    *("log1mexp", "log_softmax", "logmeanexp", "logsumexp", "one_hot", "softmax"),
    *("scaled_dot_general", "scaled_matmul", "standardize"),
}


@pytest.mark.skipif(
    "JINIT_REQUIRE_PEERS" not in os.environ,
    reason="a new activation of JAX is for us to add, not for users to see failing",
)
def test_no_activation_of_jax_is_missing():
    public = {name for name in dir(jax.nn) if not name.startswith("_")}
    assert public <= ELEMENTWISE | OTHERS


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_every_activation_of_jax_has_its_name_and_is_known_by_itself(name):
    function = getattr(jax.nn, name)
    expected = "gelu_tanh" if name == "gelu" else name
    assert jinit.gain(function) == jinit.gain(expected)
    assert jinit.gain(lambda x: function(x)) == pytest.approx(jinit.gain(expected))


@pytest.mark.parametrize("module", [nn, flax.nnx])
def test_every_activation_of_flax_is_known_by_itself(module):
    for name in ELEMENTWISE & set(dir(module)):
        assert jinit.gain(getattr(module, name)) == jinit.gain(getattr(jax.nn, name))


@pytest.mark.parametrize(
    ("torchs", "ours"),
    [
        *(
            ("hardtanh", "hard_tanh"),
            ("hardswish", "hard_swish"),
            ("linear", "identity"),
        ),
        *(("hardsigmoid", "hard_sigmoid"), ("logsigmoid", "log_sigmoid")),
        *(("softsign", "soft_sign"), ("prelu", ("leaky_relu", 0.25))),
    ],
)
def test_names_of_torch_are_known(torchs, ours):
    assert jinit.gain(torchs) == jinit.gain(ours)


@pytest.mark.parametrize(
    ("named", "function"),
    [
        (("leaky_relu", 0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (("elu", 0.5), lambda x: jax.nn.elu(x, 0.5)),
        (("celu", 2.0), lambda x: jax.nn.celu(x, 2.0)),
        (("squareplus", 1), lambda x: jax.nn.squareplus(x, 1)),
        (["elu", 2.0], functools.partial(jax.nn.elu, alpha=2.0)),
        (("tanh",), jnp.tanh),
    ],
    ids=range(6),
)
def test_a_name_takes_its_parameter(named, function):
    assert jinit.gain(named) == pytest.approx(jinit.gain(function), rel=1e-13)


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize(
    "activation",
    ["gelu", jax.nn.silu, ("elu", 0.5), lambda x: jnp.sin(3 * x)],
    ids=["name", "known", "parameter", "own"],
)
def test_an_activation_as_a_gain_is_its_forward_gain(name, activation, key):
    factory, shape = getattr(jinit, name), (12, 20)
    weights = factory(gain=activation)(key, shape)
    number = factory(gain=jinit.gain(activation))(key, shape)
    np.testing.assert_array_equal(weights, number)


@pytest.mark.parametrize("name", ["kaiming_uniform", "kaiming_normal"])
def test_an_activation_as_a_nonlinearity_is_its_forward_gain(name, key):
    factory, shape = getattr(jinit, name), (12, 20)
    weights = factory(nonlinearity=jax.nn.gelu)(key, shape)
    number = factory(nonlinearity=jinit.gain(jax.nn.gelu))(key, shape)
    np.testing.assert_array_equal(weights, number)


@pytest.mark.parametrize("name", ["delta_orthogonal", "convolution_orthogonal"])
def test_convolutions_take_an_activation(name, key):
    factory, shape = getattr(jinit, name), (3, 4, 6)
    weights = factory(gain="mish")(key, shape)
    number = factory(gain=jinit.gain("mish"))(key, shape)
    np.testing.assert_array_equal(weights, number)


def test_a_gain_multiplies_the_deviation_of_the_jax_family(key):
    for init in (
        jinit.variance_scaling(0.5, "fan_in", "normal", gain="gelu"),
        jinit.he_normal(gain=math.sqrt(0.5) * jinit.gain("gelu")),
    ):
        std = math.sqrt(0.5) * 1.533530441196 / math.sqrt(400)
        kurtosis = 3.0 if init.distribution == "normal" else 2.37
        check_std(init(key, (400, 500)), std, kurtosis=kurtosis)


@pytest.mark.parametrize(
    ("name", "torchs"), [("tanh", 5 / 3), ("selu", 3 / 4), ("sigmoid", 1.0)]
)
def test_a_name_of_torch_means_the_number_of_torch_and_the_function_its_own(
    name, torchs, key
):
    function = getattr(jax.nn, name)

    def draw(gain):
        return jinit.xavier_normal(gain=gain)(key, (3, 5))

    np.testing.assert_array_equal(draw(name), draw(torchs))
    np.testing.assert_array_equal(draw(function), draw(jinit.gain(name)))
    np.testing.assert_array_equal(draw(function), draw((name,)))
    assert jinit.gain(name) != pytest.approx(torchs)


def test_the_slope_of_a_leaky_relu_given_by_itself_is_its_own():
    # nonlinearity="leaky_relu" has the slope a, by default 0.
    own = jinit.kaiming_normal(nonlinearity=jax.nn.leaky_relu)
    assert own != jinit.kaiming_normal(nonlinearity="leaky_relu")
    assert own._std((1, 1)) == pytest.approx(math.sqrt(2 / 1.0001))


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        (jax.nn.silu, "silu"),
        (jax.nn.gelu, "gelu_tanh"),
        (nn.relu, "relu"),
        (jnp.tanh, ("tanh",)),
        (("gelu",), "gelu"),
        (["elu", 1], ("elu", 1.0)),
    ],
    ids=range(6),
)
def test_what_has_a_name_is_kept_by_name(given, normal):
    init = jinit.xavier_normal(gain=given)
    assert init.gain == normal
    assert init == jinit.xavier_normal(gain=normal)
    assert pickle.loads(pickle.dumps(init)) == init
    assert jinit.deserialize(jinit.serialize(init)) == init
    assert eval(repr(init), vars(jinit)) == init


def test_what_has_no_name_is_not_serialized():
    with pytest.raises(
        ValueError, match=r"gain must be .* to be serialized.*jinit.gain"
    ):
        jinit.serialize(jinit.xavier_normal(gain=lambda x: jnp.sin(x)))


CALLERS = {
    "jit": lambda f: jax.jit(f)(1.0),
    "vmap": lambda f: jax.vmap(f)(jnp.ones(1))[0],
    "grad": lambda f: jax.value_and_grad(f)(1.0)[0],
    "scan": lambda f: jax.lax.scan(lambda c, x: (f(x), c), 0.0, jnp.ones(1))[0],
    # Set for the whole process, which a thread does not escape.
    "x64": lambda f: _with("jax_enable_x64", f),
    "no jit": lambda f: _with("jax_disable_jit", f),
    "debugging of NaN": lambda f: _with("jax_debug_nans", f),
    "leak checks": lambda f: _with("jax_check_tracer_leaks", f),
    "mesh": lambda f: _on_mesh(f, AxisType.Auto),
    "explicit mesh": lambda f: _on_mesh(f, AxisType.Explicit),
}


def _with(option, f):
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        return jax.jit(f)(jnp.float32(1))
    finally:
        jax.config.update(option, before)


def _on_mesh(f, kind):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind, kind))
    with jax.set_mesh(mesh):
        spec = PartitionSpec("x", "y")
        mapped = jax.shard_map(f, in_specs=spec, out_specs=spec)
        ones = jax.device_put(
            np.ones((4, 2), np.float32), jax.NamedSharding(mesh, spec)
        )
        return np.asarray(jax.jit(mapped)(ones))[0, 0]


@pytest.mark.parametrize("how", CALLERS)
def test_a_gain_is_the_same_number_under_every_transformation(how):
    def fresh(x):  # not kept from another test
        return jnp.tanh(x) + jnp.where(x > 0.3, x, 0.0)

    expected = jinit.gain(lambda x: jnp.tanh(x) + jnp.where(x > 0.3, x, 0.0))

    result = CALLERS[how](lambda x: x * jinit.gain(fresh))

    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_gain_is_resolved_outside_of_the_trace(key):
    def fresh(x):
        return jnp.sin(x) * jax.nn.sigmoid(x)

    traced = jax.make_jaxpr(lambda k: jinit.he_normal(gain=fresh)(k, (4, 4)))(key)

    assert not {"sin", "logistic"} & {str(eqn.primitive) for eqn in traced.eqns}
    for outer in (jax.jit, lambda f: f):
        weights = outer(lambda k: jinit.he_normal(gain=fresh)(k, (4, 4)))(key)
        number = jinit.he_normal(gain=jinit.gain(fresh))(key, (4, 4))
        np.testing.assert_array_equal(weights, number)


def test_an_activation_is_evaluated_once(monkeypatch):
    calls = []

    def counted(x):
        calls.append(x)
        return jnp.tanh(2 * x)

    for _ in range(3):
        jinit.gain(counted)
        jinit.xavier_normal(gain=counted)
    traces = len(calls)
    jinit.gain(counted)

    assert len(calls) == traces <= 2  # the shape, then the program


def test_the_double_precision_of_the_gain_is_not_left_on():
    jinit.gain(lambda x: jnp.tanh(3 * x))

    assert jnp.ones(()).dtype == np.float32


def test_two_layers_with_the_same_activation_are_equal_modules():
    layer = nn.Dense(4, kernel_init=jinit.he_normal(gain=jax.nn.silu))
    assert layer == nn.Dense(4, kernel_init=jinit.he_normal(gain=nn.silu))


def raises(x):
    raise KeyError("a mistake of the user's")


class Unhashable:
    __hash__ = None

    def __call__(self, x):
        return x


BAD = [
    ("geluu", ValueError, "'geluu'; did you mean gelu or"),
    ("conv1d", ValueError, "activation must be the name of an activation"),
    (3.0, TypeError, "activation must be the name of an activation.*got 3.0"),
    (None, TypeError, "got None"),
    ((), TypeError, r"got \(\)"),
    (("relu", 0.1), ValueError, "relu has no parameter"),
    (("elu", 1.0, 2.0), ValueError, "elu has one parameter, alpha"),
    (("elu", "a"), TypeError, "alpha must be a real number"),
    (("elu", math.nan), ValueError, "alpha must be finite"),
    (jax.nn.softmax, ValueError, "must be elementwise"),
    (lambda x: x - x.mean(), ValueError, "must be elementwise"),
    (lambda x: x / jnp.abs(x).max(), ValueError, "must be elementwise"),
    (jnp.cumsum, ValueError, "must be elementwise"),
    (jnp.sort, ValueError, "must be elementwise"),
    (lambda x: x[::-1], ValueError, "must be elementwise"),
    (lambda x: x * jnp.arange(x.size, dtype=x.dtype), ValueError, "on their place"),
    (jnp.sum, ValueError, r"must keep the shape.*returns \(\)"),
    (lambda x: x[::2], ValueError, "must keep the shape"),
    (lambda x: (x, x), TypeError, "must return an array"),
    (lambda x: None, TypeError, "must return an array.*None"),
    (lambda x: jax.lax.complex(x, x), TypeError, "complex128"),
    (lambda x: x > 0, TypeError, "returns bool"),
    (lambda x: x.astype("float32"), TypeError, r"float32.*\.astype\(x\.dtype\)"),
    (lambda x: jnp.sqrt(x), ValueError, "NaN as its value.*at -"),
    (lambda x: x * jnp.nan, ValueError, "NaN as its value"),
    (lambda x: jnp.zeros_like(x), ValueError, "must not be zero"),
    (lambda x: jnp.full_like(x, 3.0), ValueError, "must not be constant"),
    (lambda x: jnp.exp(x**2), ValueError, "must have a finite E f²"),
    (lambda x: jnp.exp(x**2 / 4), ValueError, "must have a finite E f²"),
    (lambda x: jnp.exp(jnp.exp(x)), ValueError, "must have a finite E f²"),
    (lambda x: 1 / x, ValueError, "unbounded at a point"),
    (jnp.tan, ValueError, "unbounded at a point"),
    (lambda x: 1e-160 * x, ValueError, "must not be zero"),
    (lambda x: jnp.where(jnp.any(x > 20), x, 0.1 * x), ValueError, "elementwise"),
    (
        lambda x: jax.lax.cond(jnp.all(x > 0), jnp.sin, jnp.cos, x),
        ValueError,
        "must be elementwise",
    ),
    ("Relu", ValueError, "did you mean relu"),
    (("celu", 0.0), ValueError, r"NaN as its value, got \('celu', 0.0\)"),
    (jnp.maximum, TypeError, "of one array"),
    (lambda: 0, TypeError, "of one array"),
    (np.tanh, TypeError, "made of JAX's operations"),
    (lambda x: x if x > 0 else 0 * x, TypeError, "truth value|Boolean"),
    (raises, TypeError, "which raised KeyError: .a mistake of the user's"),
    (nn.PReLU(), TypeError, "of one array"),
    (nn.PReLU, TypeError, "must return an array|of one array"),
    (jinit.he_normal(), TypeError, "of one array"),
    (Unhashable(), TypeError, "activation must be hashable"),
]


@pytest.mark.parametrize(("activation", "error", "message"), BAD, ids=range(len(BAD)))
def test_what_is_not_an_activation_is_refused(activation, error, message):
    with pytest.raises(error, match=message):
        jinit.gain(activation)


@pytest.mark.parametrize("mode", ["fan_in", "Forward", None, 1])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(ValueError, match="mode must be one of forward, centered"):
        jinit.gain("relu", mode)


def test_an_activation_that_depends_on_a_traced_value_is_refused():
    def under_trace(slope):
        return jinit.gain(lambda x: jnp.where(x > 0, x, slope * x))

    with pytest.raises(TypeError, match="no traced value"):
        jax.jit(under_trace)(0.1)
    with pytest.raises(TypeError, match="negative_slope of activation must be known"):
        jax.jit(lambda slope: jinit.gain(("leaky_relu", slope)))(0.1)


def test_an_activation_with_an_infinite_gradient_has_no_backward_gain():
    root = lambda x: jnp.sqrt(jnp.abs(x))  # noqa: E731
    exact = (2 / math.pi) ** -0.25  # E |z| to the power of -1/2
    assert jinit.gain(root) == pytest.approx(exact, rel=EXACT)
    with pytest.raises(ValueError, match="E f'²"):
        jinit.gain(root, "backward")


def test_an_error_names_the_option_and_what_was_given_for_it():
    with pytest.raises(ValueError, match=r"^nonlinearity must keep the shape"):
        jinit.kaiming_normal(nonlinearity=jnp.sum)
    with pytest.raises(ValueError, match=r"^gain must not have .*got \('celu', 0\.0\)"):
        jinit.xavier_normal(gain=("celu", 0))
    with pytest.raises(ValueError, match=r"^gain must not be constant"):
        jinit.orthogonal(gain=lambda x: jnp.full_like(x, 2.0))


def test_a_steep_step_is_found_in_the_gradient():
    steep = lambda x: jnp.tanh(1e4 * (x - 0.3))  # noqa: E731
    slopes, _ = integrate.quad(
        lambda u: 1e4 * np.cosh(u) ** -4.0 * stats.norm.pdf(0.3 + u / 1e4), -30, 30
    )
    backward = jinit.gain(steep, "backward")
    assert backward == pytest.approx(1 / math.sqrt(slopes), rel=EXACT)
    dip, _ = integrate.quad(
        lambda u: np.cosh(u) ** -2.0 * stats.norm.pdf(0.3 + u / 1e4) / 1e4, -30, 30
    )
    assert jinit.gain(steep) == pytest.approx(1 / math.sqrt(1 - dip), rel=EXACT)


def test_a_narrow_bump_is_found():
    bump = lambda x: jnp.where(jnp.abs(x - 0.8) < 0.01, 10.0, 1.0)  # noqa: E731
    inside = np.diff(special.ndtr([0.79, 0.81]))[0]
    exact = 1 / math.sqrt(100 * inside + (1 - inside))
    assert jinit.gain(bump) == pytest.approx(exact, rel=EXACT)


def test_an_activation_in_twelve_bits_is_resolved():
    levels = 4096
    jumps = np.arctanh((np.arange(-levels, levels) + 0.5) / levels)
    heights = np.arange(-levels, levels + 1) / levels
    shares = np.diff(special.ndtr([-np.inf, *jumps, np.inf]))
    ours = jinit.gain(lambda x: jnp.round(levels * jnp.tanh(x)) / levels)
    assert ours == pytest.approx(1 / math.sqrt(heights**2 @ shares), rel=EXACT)


def test_a_logarithm_is_no_obstacle():
    # E log² |z| = (γ + log 2)² / 4 + π² / 8
    exact = (np.euler_gamma + math.log(2)) ** 2 / 4 + math.pi**2 / 8
    ours = jinit.gain(lambda x: jnp.log(jnp.abs(x)))
    assert ours == pytest.approx(1 / math.sqrt(exact), rel=EXACT)


def test_an_activation_with_a_gradient_of_its_own_is_taken_at_its_word():
    @jax.custom_vjp
    def straight_through(x):
        return jnp.sign(x)

    straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, g: (g,))

    assert jinit.gain(straight_through) == pytest.approx(1, rel=EXACT)
    assert jinit.gain(straight_through, "backward") == pytest.approx(1, rel=EXACT)


@pytest.mark.parametrize(
    ("function", "dtype", "within"),
    [
        *((function, "float32", 1e-7) for function in (jnp.tanh, jax.nn.silu)),
        (jax.nn.relu, "bfloat16", 1e-3),
        (jnp.tanh, "bfloat16", 1e-3),
        (jax.nn.silu, "float16", 1e-4),
    ],
)
def test_an_activation_may_compute_in_a_narrower_dtype(function, dtype, within):
    def narrow(x):
        return function(x.astype(dtype)).astype(x.dtype)

    assert jinit.gain(narrow) == pytest.approx(jinit.gain(function), rel=within)
    wanted = jinit.gain(function, mode="backward")
    assert jinit.gain(narrow, mode="backward") == pytest.approx(wanted, rel=within)
