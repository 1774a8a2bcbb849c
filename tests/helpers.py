"""Checks of a sample whose tolerances are computed from its size.

Each raises a false alarm with a probability under 1e-6 for a sample of the distribution
claimed, and `test_helpers.py` shows that each notices one that is slightly wrong.
"""

import math

import jax.numpy as jnp
import numpy as np

# P(|z| > 5) = 5.7e-7 for a standard normal z.
STANDARD_ERRORS = 5.0
# P(sqrt(n) D > 2.7) = 9.3e-7 for the Kolmogorov-Smirnov statistic D.
KOLMOGOROV = 2.7


def as_double(x):
    """Any float or complex array as NumPy float64 or complex128, without rounding."""
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def check_mean(x, mean, std):
    """Asserts the mean of independent draws of a distribution with this std."""
    x = as_double(x).ravel()
    error = abs(x.mean() - mean) / (std / math.sqrt(x.size))
    assert error < STANDARD_ERRORS, f"mean {x.mean()} is {error:.1f} errors off {mean}"


def check_std(x, std, kurtosis=3.0, mean=0.0):
    """Asserts the standard deviation about a known mean; `E|x|²` of complex draws.

    The standard error of a second moment is `std² · sqrt((kurtosis - 1) / n)`, with the
    kurtosis of the distribution: 3 for a normal, 1.8 for a uniform, 2 for a complex
    normal.
    """
    x = as_double(x).ravel()
    second_moment = np.mean(abs(x - mean) ** 2)
    standard_error = std**2 * math.sqrt((kurtosis - 1) / x.size)
    error = abs(second_moment - std**2) / standard_error
    assert error < STANDARD_ERRORS, (
        f"std {math.sqrt(second_moment)} is {error:.1f} standard errors off {std}"
    )


def check_distribution(x, cdf):
    """Asserts the distribution by Kolmogorov and Smirnov, in any floating dtype.

    A rounded draw is at most v where the exact one was at most the midpoint of v and
    its upper neighbour; the statistic is taken there, which rounding does not bias.
    """
    x = np.asarray(x).ravel()
    # Sorted as doubles: NumPy 2.4 sorts negative float16 wrongly on some processors.
    values, counts = np.unique(as_double(x), return_counts=True)
    largest = np.array(jnp.finfo(x.dtype).max, x.dtype)
    above = np.nextafter(values.astype(x.dtype), largest)
    midpoints = (values + as_double(above)) / 2
    statistic = abs(np.cumsum(counts) / x.size - cdf(midpoints)).max()
    scaled = statistic * math.sqrt(x.size)
    assert scaled < KOLMOGOROV, f"Kolmogorov-Smirnov statistic: sqrt(n) D = {scaled}"


def check_same_distribution(x, y):
    """Asserts that two samples are of one distribution, whatever it is.

    By Kolmogorov and Smirnov, for which the samples must have been rounded alike, and
    by the standard deviations, whose ratio the other statistic hardly sees. The
    standard error of the logarithm of a variance is `sqrt((kurtosis - 1) / n)`, with
    the kurtosis of the two samples together.
    """
    x, y = (np.sort(as_double(sample).ravel()) for sample in (x, y))
    both = np.concatenate([x, y])
    at_most = [np.searchsorted(each, both, "right") / each.size for each in (x, y)]
    effective_size = x.size * y.size / both.size
    scaled = abs(at_most[0] - at_most[1]).max() * math.sqrt(effective_size)
    assert scaled < KOLMOGOROV, f"Kolmogorov-Smirnov statistic: sqrt(n) D = {scaled}"
    kurtosis = np.mean((both - both.mean()) ** 4) / both.var() ** 2
    standard_error = math.sqrt((kurtosis - 1) / effective_size)
    error = abs(math.log(x.var() / y.var())) / standard_error
    assert error < STANDARD_ERRORS, (
        f"std {x.std()} is {error:.1f} standard errors off {y.std()}"
    )


def check_probability(count, n, probability):
    """Asserts how often something happened, by the standard error of a binomial."""
    standard_error = math.sqrt(n * probability * (1 - probability))
    error = abs(count - n * probability) / standard_error
    assert n * probability > 100, "too rare for the normal approximation"
    assert error < STANDARD_ERRORS, f"{count} of {n}, expected {n * probability}"


def check_units(x, y, units=0, added=0.0):
    """Asserts that floats are equal, to so many units in the last place.

    Of the element of y, or of the largest number that was added up to it.
    """
    x, y = np.asarray(x), np.asarray(y)
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
    largest = np.maximum(abs(as_double(y)), abs(added))
    largest = np.maximum(largest, float(jnp.finfo(y.dtype).tiny))
    units_of = 2.0 ** (np.floor(np.log2(largest)) - jnp.finfo(y.dtype).nmant)
    error = (abs(as_double(x) - as_double(y)) / units_of).max(initial=0)
    assert error <= units, f"{error} units in the last place, of {units}"
