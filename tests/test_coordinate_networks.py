"""Networks of coordinates: sines keep the signal, and others' kernels are ours."""

import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_distribution
from scipy import stats

import jinit
from jinit.coordinate import siren
from jinit.laws import Uniform


@pytest.mark.parametrize(
    ("init", "shape", "bound"),
    [
        (siren(first=True), (3, 256), 1 / 3),  # no root, as the authors' code has it
        (siren(10.0, first=True), (3, 256), 1 / 3),
        (siren(), (256, 3), math.sqrt(6 / 256) / 30),  # the last layer, too
        (siren(10.0), (256, 256), math.sqrt(6 / 256) / 10),
        (siren(in_axis=1, out_axis=0), (8, 24), math.sqrt(6 / 24) / 30),
        (siren(first=True), (3, 3, 2, 64), 1 / 18),
        (siren(fan_in=50), (256,), math.sqrt(6 / 50) / 30),
    ],
)
def test_the_bounds_are_those_of_the_formula(init, shape, bound):
    law = init.law(shape)

    assert isinstance(law, Uniform)
    np.testing.assert_allclose(law.bounds, (-bound, bound), rtol=1e-14)


def test_the_factor_may_be_traced(key):
    def draw(w0):
        return siren(w0)(key, (16, 8))

    swept = jax.vmap(draw)(jnp.array([10.0, 30.0]))

    np.testing.assert_allclose(swept[1], draw(30.0), rtol=1e-6)


def signal(hidden, key, width=1024, layers=5):
    """What the last sines return, and the variances of what enters those of layers.

    The first layer takes coordinates, and is not among them.
    """
    first, *keys = jax.random.split(key, layers + 1)
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    x = np.sin(30 * x @ np.asarray(siren(first=True)(first, (2, width))))
    found = []
    for each in keys:
        z = 30 * x @ np.asarray(hidden(each, (width, width)))
        found.append(z.var())
        x = np.sin(z)
    return x, found


def test_the_variance_within_the_sines_goes_from_1_to_where_it_stays(key):
    # Of a normal z of variance v, E sin² z = (1 - exp(-2v)) / 2, and W has twice that.
    expected = [1.0]
    while len(expected) < 5:
        expected.append(-math.expm1(-2 * expected[-1]))
    np.testing.assert_allclose(expected, [1.0, 0.865, 0.823, 0.807, 0.801], atol=5e-4)

    _, found = signal(siren(), key)
    np.testing.assert_allclose(found, expected, rtol=0.04)


def test_with_the_bound_of_uniform_variance_1_over_n_the_signal_is_lost(key):
    bound = math.sqrt(1 / (3 * 1024)) / 30  # c = 1 in place of 18

    _, found = signal(jinit.uniform(a=-bound, b=bound), key, layers=3)

    np.testing.assert_allclose(found, [0.056, 0.0058, 0.00065], rtol=0.1)


def test_a_siren_returns_a_thirtieth_of_what_its_sines_take(key):
    x, _ = signal(siren(), key)

    y = x @ np.asarray(siren()(jax.random.key(1), (1024, 64)))

    assert y.var() == pytest.approx(0.8 / 900, rel=0.1)


def test_complex_torch_layers_of_wire_are_kaiming_uniform_of_slope_root_2(key):
    # torch draws both parts on ±1 / sqrt(fan_in), which is twice the real variance.
    w = jinit.kaiming_uniform(a=2**0.5)(key, (64, 512), "complex64")

    for part in (w.real, w.imag):
        check_distribution(np.array(part), stats.uniform(-1 / 8, 1 / 4).cdf)


def test_normal_frequencies_and_uniform_phases_are_features_of_a_gaussian_kernel(key):
    count, length = 20_000, 0.5
    keys = jax.random.split(key, 3)
    x = np.asarray(jax.random.uniform(keys[0], (10, 3)))
    w = np.asarray(jinit.normal(std=1 / length)(keys[1], (3, count)))
    b = np.asarray(jinit.uniform(a=0.0, b=2 * math.pi)(keys[2], (count,)))

    features = math.sqrt(2 / count) * np.cos(x @ w + b)

    squares = ((x[:, None] - x) ** 2).sum(-1)
    kernel = np.exp(-squares / (2 * length**2))
    # A product of features has a variance of at most 1 about the kernel.
    assert abs(features @ features.T - kernel).max() < 5 / math.sqrt(count)


def test_every_call_in_the_table_of_the_page_makes_an_initializer():
    page = Path(__file__).parents[1] / "docs" / "coordinate.md"
    values = {"k": 5.0, "sigma": 10.0, "length": 0.5, "n": 256, "f": jax.nn.silu}
    values |= {"pi": math.pi, "arange": np.arange, "coordinate": jinit.coordinate}

    rows = [line for line in page.read_text("utf-8").splitlines() if line[:1] == "|"]
    calls = [call for row in rows[2:] for call in re.findall("`(.+?)`", row)]

    assert len(calls) > 12
    for call in calls:
        assert isinstance(eval(call, {**vars(jinit), **values}), jinit.Initializer)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: siren(0), ValueError, "w0 must be greater than 0"),
        (lambda: siren("30"), TypeError, "w0 must be a real number"),
        (lambda: siren(first=1), TypeError, "first must be True or False"),
        (
            lambda: siren(30, 60),
            TypeError,
            r"call it: kernel_init=jinit.coordinate.siren\(",
        ),
        (
            lambda: jinit.stack(siren),
            TypeError,
            r"jinit.stack\(jinit.coordinate.siren\(\)\)",
        ),
        (lambda: siren().law((16,)), ValueError, "give the fans as numbers"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
