import numpy as np
import pytest
from helpers import (
    check_distribution,
    check_mean,
    check_probability,
    check_same_distribution,
    check_std,
    check_units,
)
from scipy import stats


@pytest.fixture
def sample():
    return np.random.default_rng(0).normal(size=100_000)


def test_checks_accept_the_distribution_claimed(sample):
    check_mean(sample, 0, 1)
    check_std(sample, 1)
    check_distribution(sample, stats.norm.cdf)
    check_distribution(sample.astype(np.float16), stats.norm.cdf)
    check_probability((sample > 1).sum(), sample.size, stats.norm.sf(1))
    check_same_distribution(sample, np.random.default_rng(1).normal(size=50_000))


def test_check_mean_notices_a_shift_of_two_percent(sample):
    with pytest.raises(AssertionError, match="mean"):
        check_mean(sample + 0.02, 0, 1)


def test_check_std_notices_two_percent(sample):
    with pytest.raises(AssertionError, match="std"):
        check_std(sample * 1.02, 1)


def test_check_distribution_notices_another_shape_of_equal_moments():
    laplace = np.random.default_rng(0).laplace(scale=0.5**0.5, size=100_000)
    with pytest.raises(AssertionError, match="Kolmogorov"):
        check_distribution(laplace, stats.norm.cdf)


def test_check_distribution_notices_truncation_instead_of_rounding(sample):
    down = np.floor(sample * 16) / 16
    with pytest.raises(AssertionError, match="Kolmogorov"):
        check_distribution(down.astype(np.float16), stats.norm.cdf)


def test_check_probability_notices_a_tenth_more(sample):
    count = (sample > 1).sum()
    with pytest.raises(AssertionError, match="expected"):
        check_probability(1.1 * count, sample.size, stats.norm.sf(1))


def test_check_same_distribution_notices_another_shape_of_equal_moments(sample):
    laplace = np.random.default_rng(1).laplace(scale=0.5**0.5, size=100_000)
    with pytest.raises(AssertionError, match="Kolmogorov"):
        check_same_distribution(sample, laplace)


def test_check_same_distribution_notices_three_percent_of_std(sample):
    wider = 1.03 * np.random.default_rng(1).normal(size=100_000)
    with pytest.raises(AssertionError, match="std"):
        check_same_distribution(sample, wider)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_check_units_counts_steps_between_floats(dtype):
    x = np.array([1.0, -3.0, 100.0, 0.0], dtype)
    next_to = np.nextafter(np.nextafter(x, np.inf, dtype=dtype), np.inf, dtype=dtype)
    check_units(x, x)
    check_units(next_to[:3], x[:3], 2)
    for wrong in (1, 0):
        with pytest.raises(AssertionError, match="units"):
            check_units(next_to[:3], x[:3], wrong)
    with pytest.raises(AssertionError, match="units"):
        check_units(next_to[3:], x[3:], 1)
