"""Samples: numbers that stand for the elements of a value, and how they are summed.

                 a feature, another, ...
    a place      0.3        -1.2             places are as like as what they are made of
    another      0.5        -0.9             features are independent
    ...

Sums over features add what is independent, and sums over places what is alike: so an
average over an image, or by attention, is as large as what its places share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import jax.numpy as jnp
import numpy as np

PLACES, FEATURES = 16, 1 << 9
SAMPLES = PLACES * FEATURES


class Sampler:
    """Makes samples, in the same order the same ones."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def fresh(self, second: float = 1.0, share: float = 0.0) -> np.ndarray:
        """Normal numbers; of a feature a share of the variance is common to places."""
        z = self.rng.permutation(normal_samples()).reshape(PLACES, FEATURES)
        if share > 0:
            common = math.sqrt(share) * self.rng.standard_normal(FEATURES)
            mixed = (common + math.sqrt(1 - share) * z).astype(np.float32)
            order = np.argsort(np.argsort(mixed, axis=None))
            z = normal_samples()[order].reshape(PLACES, FEATURES)
        return z * np.float32(math.sqrt(max(second, 0.0)))

    def normal(self, dtype: Any, second: float = 1.0, share: float = 0.0) -> np.ndarray:
        """Normal numbers, whose parts are alike where they are complex."""
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return self.fresh(second, share)
        real, imaginary = (self.fresh(second / 2, share) for _ in range(2))
        return real + 1j * imaginary

    def over_features(self, x: np.ndarray, n: int) -> np.ndarray:
        """The sum over n features: of few as such, of many by mean and variance."""
        if n <= 8:
            shifts = (self.rng.permutation(FEATURES) for _ in range(n - 1))
            return sum((x[:, order] for order in shifts), x)
        mean, variance = float(x.mean()), float(x.var())
        if n * mean * mean > 4 * variance:  # it does not scatter, as a norm does not
            return np.full_like(x, n * mean)
        center = x - np.float32(mean)  # each is one of those that are summed
        others = self.fresh((n - 1) * variance, share_of(center))
        return n * mean + center + others


@cache
def normal_samples() -> np.ndarray:
    """Standard normal numbers in equal shares, whose square has the mean one."""
    shares = ((n + 0.5) / SAMPLES for n in range(SAMPLES))
    q = np.array([*map(NormalDist().inv_cdf, shares)])
    return (q / np.sqrt(np.mean(np.square(q)))).astype(np.float32)


def mean_square(x: np.ndarray) -> float:
    """The mean of the squares, of complex numbers that of their moduli."""
    return float(np.mean(np.square(abs(in_double(x)))))


def shared(x: np.ndarray) -> float:
    """The mean of the products of two places: what places have in common."""
    x = in_double(x)
    squares, sums = (np.square(abs(each)).sum() for each in (x, x.sum(0)))
    return max(float(sums - squares) / (x.size * (PLACES - 1)), 0.0)


def share_of(x: np.ndarray) -> float:
    second = mean_square(x)
    return min(shared(x) / second, 1.0) if second > 0 else 0.0


def over_places(x: np.ndarray, n: int) -> np.ndarray:
    """The sum over n places, which are as like as they are."""
    if n <= PLACES // 2:
        return sum((np.roll(x, shift, 0) for shift in range(1, n)), x)
    mean, center = x.mean(0, keepdims=True), x.mean()
    if x.min() >= 0:  # as the weights of attention, whose small sums matter
        return np.broadcast_to(n * mean, x.shape)
    # The mean of as many places as there are samples scatters more than that of n.
    common, own = shared(x - center), float(x.var())
    scatter = float(mean.var())
    wanted = common + max(own - common, 0.0) / n
    shrunk = math.sqrt(wanted / scatter) if scatter > wanted else 1.0
    return np.broadcast_to(n * (center + shrunk * (mean - center)), x.shape)


def elsewhere(x: np.ndarray, at: Sequence[int]) -> np.ndarray:
    """The samples of other places, of those that are hardly alike any samples.

    For there are few places, so that in a long sum they would come again.
    """
    rng = np.random.default_rng([*at])
    if not any(at):
        return x
    if share_of(x - x.mean()) < 1 / PLACES:
        return rng.permuted(x.reshape(-1)).reshape(x.shape)
    return x[rng.permutation(PLACES)]


def in_double(x: np.ndarray) -> np.ndarray:
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
