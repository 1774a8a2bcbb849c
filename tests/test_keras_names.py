"""By the formulas of Keras and TensorFlow, and the README's table of their names."""

import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import as_double, check_distribution, check_mean, check_std
from scipy import stats

import jinit

# scipy.stats.truncnorm.std(-2, 2), as Keras and TensorFlow write it.
TRUNCATED_STD = 0.87962566103423978

DENSE, CONV, HEADS, VECTOR = (300, 400), (3, 3, 96, 128), (40, 60, 50), (100_000,)
FANS = {DENSE: (300, 400), CONV: (864, 1152), VECTOR: (100_000, 100_000)}


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


def truncated(std, mean=0.0):
    return stats.truncnorm(-2, 2, loc=mean, scale=std)


def scaled(distribution, scale, fan):
    """What Keras draws whose variance is to be scale / fan."""
    std = math.sqrt(scale / fan)
    if distribution == "uniform":
        return uniform(math.sqrt(3) * std)
    if distribution == "untruncated_normal":
        return stats.norm(0, std)
    return truncated(std / TRUNCATED_STD)


PLAIN = {
    "RandomNormal": (jinit.normal(std=0.05), stats.norm(0, 0.05), DENSE),
    "RandomNormal with options": (
        jinit.normal(mean=0.3, std=2.0),
        stats.norm(0.3, 2.0),
        DENSE,
    ),
    "RandomUniform": (jinit.uniform(a=-0.05, b=0.05), uniform(0.05), DENSE),
    "RandomUniform with options": (
        jinit.uniform(a=-1.0, b=3.0),
        stats.uniform(-1.0, 4.0),
        DENSE,
    ),
    "TruncatedNormal": (jinit.truncated_normal(std=0.05), truncated(0.05), DENSE),
    "TruncatedNormal with options": (
        jinit.truncated_normal(mean=0.3, std=2.0),
        truncated(2.0, mean=0.3),
        DENSE,
    ),
}
NAMES = {
    f"{name} of shape {shape}": (getattr(jinit, call)(), drawn(*FANS[shape]), shape)
    for name, call, drawn in [
        (
            "GlorotUniform",
            "glorot_uniform",
            lambda fan_in, fan_out: uniform(math.sqrt(6 / (fan_in + fan_out))),
        ),
        (
            "GlorotNormal",
            "glorot_normal",
            lambda fan_in, fan_out: truncated(
                math.sqrt(2 / (fan_in + fan_out)) / TRUNCATED_STD
            ),
        ),
        (
            "LecunUniform",
            "lecun_uniform",
            lambda fan_in, _: uniform(math.sqrt(3 / fan_in)),
        ),
        (
            "LecunNormal",
            "lecun_normal",
            lambda fan_in, _: truncated(math.sqrt(1 / fan_in) / TRUNCATED_STD),
        ),
        (
            "HeUniform",
            "he_uniform",
            lambda fan_in, _: uniform(math.sqrt(6 / fan_in)),
        ),
        (
            "HeNormal",
            "he_normal",
            lambda fan_in, _: truncated(math.sqrt(2 / fan_in) / TRUNCATED_STD),
        ),
    ]
    for shape in (DENSE, CONV)
}
# Of each distribution in Keras, its name here.
DISTRIBUTIONS = {
    "truncated_normal": "truncated_normal",
    "untruncated_normal": "normal",
    "uniform": "uniform",
}
SCALED = {
    f"VarianceScaling by {mode}, {theirs}, of shape {shape}": (
        jinit.variance_scaling(0.3, mode, ours),
        scaled(theirs, 0.3, fan),
        shape,
    )
    for shape in (DENSE, CONV)
    for mode, fan in [
        ("fan_in", FANS[shape][0]),
        ("fan_out", FANS[shape][1]),
        ("fan_avg", sum(FANS[shape]) / 2),
    ]
    for theirs, ours in DISTRIBUTIONS.items()
}
# An attention kernel, from 40 x 60 inputs to 50 outputs and from 40 to 60 x 50.
AXES = {
    f"VarianceScaling by {mode}, input_axes={ins}": (
        jinit.variance_scaling(2.0, mode, "uniform", in_axis=ins, out_axis=outs),
        scaled("uniform", 2.0, fan),
        HEADS,
    )
    for ins, outs, fans in [
        ((0, 1), (2,), (2400, 50)),
        ((0,), (1, 2), (40, 3000)),
    ]
    for mode, fan in [
        ("fan_in", fans[0]),
        ("fan_out", fans[1]),
        ("fan_avg", sum(fans) / 2),
    ]
}
VECTORS = {
    f"VarianceScaling by {mode} of a vector": (
        jinit.variance_scaling(2.0, mode, "uniform", fan_in=100_000, fan_out=100_000),
        scaled("uniform", 2.0, 100_000),
        VECTOR,
    )
    for mode in ("fan_in", "fan_out", "fan_avg")
}
UNIT_SCALING = {
    f"uniform_unit_scaling of shape {shape}": (
        jinit.variance_scaling(1.43**2, "fan_in", "uniform"),
        uniform(math.sqrt(3 / math.prod(shape[:-1])) * 1.43),
        shape,
    )
    for shape in (DENSE, CONV)
}
RANDOM = PLAIN | NAMES | SCALED | AXES | VECTORS | UNIT_SCALING


@pytest.mark.parametrize(
    ("init", "expected", "shape"),
    [pytest.param(*case, id=name) for name, case in RANDOM.items()],
)
def test_distribution_is_that_of_the_formula(init, expected, shape, key):
    weights = init(key, shape)
    check_distribution(weights, expected.cdf)
    kurtosis = 3 + float(expected.stats("k"))
    check_std(weights, expected.std(), kurtosis, mean=expected.mean())
    # Rounding may step over a bound, of an untruncated normal infinity.
    low, high = expected.support()
    margin = 1e-6 * expected.std()
    assert low - margin <= weights.min()
    assert weights.max() <= high + margin


IDENTITY = np.array([[0.3, 0, 0, 0], [0, 0.3, 0, 0], [0, 0, 0.3, 0]])
DETERMINISTIC = {
    "Zeros": (jinit.zeros(), np.zeros((3, 4))),
    "Ones": (jinit.ones(), np.ones((3, 4))),
    "Constant": (jinit.constant(0.3), np.full((3, 4), 0.3)),
    "Identity": (jinit.eye(gain=0.3), IDENTITY),
    "Identity of a tall matrix": (jinit.eye(gain=0.3), IDENTITY.T),
}


@pytest.mark.parametrize(
    ("init", "expected"),
    [pytest.param(*case, id=name) for name, case in DETERMINISTIC.items()],
)
def test_deterministic_values_are_those_of_the_formula(init, expected, key):
    values = init(key, expected.shape)
    np.testing.assert_array_equal(values, expected.astype("float32"))


@pytest.mark.parametrize(
    "shape", [(5, 3), (3, 5), (3, 3, 4, 5), (2, 2, 2, 30)], ids=str
)
def test_orthogonal_keeps_the_last_axis_and_flattens_the_others(shape, key):
    kernel = as_double(jinit.orthogonal(gain=1.5)(key, shape))
    singular_values = np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False)
    np.testing.assert_allclose(singular_values, 1.5, rtol=1e-5)


def singular_values(kernel):
    """Of the convolution with a kernel under circular padding, at every frequency."""
    spatial = range(kernel.ndim - 2)
    operator = np.fft.fftn(kernel, s=(8,) * len(spatial), axes=spatial)
    return np.linalg.svd(operator, compute_uv=False)


ISOMETRIES = {
    "ConvolutionDeltaOrthogonal": jinit.delta_orthogonal(gain=1.5),
    "ConvolutionOrthogonal": jinit.convolution_orthogonal(gain=1.5),
}
KERNELS = [(4, 5, 5), (1, 2, 3), (3, 3, 4, 6), (3, 3, 3, 2, 4)]


@pytest.mark.parametrize("shape", KERNELS, ids=str)
@pytest.mark.parametrize("name", ISOMETRIES)
def test_convolution_has_one_singular_value(name, shape, key):
    kernel = as_double(ISOMETRIES[name](key, shape))
    np.testing.assert_allclose(singular_values(kernel), 1.5, rtol=1e-5)


@pytest.mark.parametrize("shape", KERNELS, ids=str)
def test_delta_is_at_the_tap_of_tensorflow(shape, key):
    kernel = as_double(jinit.delta_orthogonal(gain=1.5)(key, shape))
    taps = np.argwhere(abs(kernel).max(axis=(-2, -1)) > 0)
    assert taps.tolist() == [[(size - 1) // 2 for size in shape[:-2]]]


def energies(init, shape, draws=1000):
    """The squared norm of each tap, over the number of inputs, of many kernels."""
    keys = jax.random.split(jax.random.key(0), draws)
    kernels = as_double(jax.vmap(lambda key: init(key, shape))(keys))
    return (kernels**2).sum(axis=(-2, -1)) / shape[-2]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 3, 3, 4)], ids=str)
def test_taps_of_an_orthogonal_convolution_share_its_energy(shape):
    # Each of the k - 1 projections P along an axis sends half of the energy, on
    # average, on to P and half to I - P: the taps share it as coin tosses do.
    drawn = energies(jinit.convolution_orthogonal(gain=1.5), shape)
    expected = np.array(1.5**2)
    for size in shape[:-2]:
        tosses = stats.binom(size - 1, 0.5).pmf(np.arange(size))
        expected = np.multiply.outer(expected, tosses)
    for tap in np.ndindex(expected.shape):
        each = drawn[:, *tap]
        check_mean(each, expected[tap], each.std())


# What stands in the calls of the README's table.
VALUES = {
    "value": 0.5,
    "gain": 2.0,
    "mean": 0.1,
    "stddev": 0.02,
    "minval": -0.1,
    "maxval": 0.2,
    "lower": -1.0,
    "upper": 3.0,
    "scale": 1.43,
    "mode": "fan_avg",
    "distribution": "uniform",
    "n": 7,
    "axis": 0,
    "side": "imag",
    "window": "hamming",
    "scaling": "spectrum",
    "periodic": True,
}


def code_spans(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def table():
    """The rows of the documentation's table, as cells."""
    page = Path(__file__).parents[1] / "docs" / "coming-from-jax.md"
    page = page.read_text(encoding="utf-8")
    _, found, section = page.partition("\n## Keras, TensorFlow and Haiku\n")
    assert found, "the page has no section of that name"
    section, _, _ = section.partition("\n## ")
    rows = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_every_call_in_the_table_makes_an_initializer(table):
    calls = [call for _, _, cell, *_ in table for call in code_spans(cell)]
    assert len(calls) > 20
    for call in calls:
        assert isinstance(eval(call, {**vars(jinit), **VALUES}), jinit.Initializer)


KERAS = (
    "Zeros Ones Constant Identity RandomNormal RandomUniform TruncatedNormal "
    "VarianceScaling GlorotNormal GlorotUniform LecunNormal LecunUniform HeNormal "
    "HeUniform Orthogonal STFT uniform_unit_scaling_initializer "
    "ConvolutionDeltaOrthogonal ConvolutionOrthogonal1D"
)
HAIKU = (
    "Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling "
    "UniformScaling Orthogonal Identity"
)


@pytest.mark.parametrize(
    ("column", "names"),
    [pytest.param(0, KERAS, id="Keras"), pytest.param(1, HAIKU, id="Haiku")],
)
def test_every_initializer_of_the_peer_is_in_the_table(table, column, names):
    spans = [span for row in table for span in code_spans(row[column])]
    assert set(names.split()) <= {span.partition("(")[0] for span in spans}
