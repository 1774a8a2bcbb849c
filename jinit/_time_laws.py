"""Laws of time constants: functions of a uniform variable.

    w = link(u),    u ~ U[low, high]

Gates and states remember for a time that is to be spread evenly, or by its logarithm;
what is stored is the bias, or the logarithm, from which the cell computes it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jinit import _draws
from jinit._checks import Shape
from jinit.laws import Law

_NEGLIGIBLE = math.exp(-40)  # the share of weights that moments leave out at an end


class OfUniform(Law):
    """The law of a function that grows, of a uniform variable."""

    low: Any
    high: Any

    mean = property(lambda self: _moments(self).mean)
    std = property(lambda self: _moments(self).std)
    skewness = property(lambda self: _moments(self).skewness)
    kurtosis = property(lambda self: _moments(self).kurtosis)

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        """The weight that u makes, in the functions of NumPy or of JAX."""
        raise NotImplementedError

    @staticmethod
    def _back(w: Any) -> Any:
        """The u that made a weight."""
        raise NotImplementedError

    @staticmethod
    def _slope(w: Any) -> Any:
        """The derivative of u by the weight."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest weight."""
        with np.errstate(divide="ignore"):  # the logarithm of zero
            return float(self._link(np, self.low)), float(self._link(np, self.high))

    def draw(self, key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        return _draws.linked(key, shape, dtype, self._link, self.low, self.high)

    def _pdf(self, x: np.ndarray) -> Any:
        low, high = self.bounds
        inside = (low <= x) & (x <= high)
        return inside * self._slope(x) / (self.high - self.low)

    def _cdf(self, x: np.ndarray) -> Any:
        # Within the bounds, beyond which the way back may overflow.
        u = self._back(np.clip(x, *np.clip(self.bounds, -700, 700)))
        return np.clip((u - self.low) / (self.high - self.low), 0, 1)


class Log(OfUniform):
    """The law of log u."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        return xp.log(u)

    @staticmethod
    def _back(w: Any) -> Any:
        return np.exp(w)

    _slope = _back


class Logit(OfUniform):
    """The law of log u / (1 - u): the sigmoid of the weight is uniform."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        return xp.log(u) - xp.log1p(-u)

    @staticmethod
    def _back(w: Any) -> Any:
        return 1 / (1 + np.exp(-w))

    @staticmethod
    def _slope(w: Any) -> Any:
        return 1 / (2 + np.exp(w) + np.exp(-w))


class SoftplusStep(OfUniform):
    """The law of log(exp(exp u) - 1): the logarithm of the softplus is uniform."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        # Of steps above 88 the exponential overflows, and of tiny ones the step.
        y = xp.exp(u)
        with np.errstate(all="ignore"):
            large = y + xp.log(-xp.expm1(-y))
            return xp.where(u > 0, large, xp.where(u < -40, u, xp.log(xp.expm1(y))))

    @staticmethod
    def _back(w: Any) -> Any:
        return np.log(np.logaddexp(0.0, w))

    @staticmethod
    def _slope(w: Any) -> Any:
        return np.exp(-np.logaddexp(0.0, -w)) / np.logaddexp(0.0, w)


class LogDecay(OfUniform):
    """The law of log(-log r) where 1 - r² is u: r = exp(-exp w) fills a ring."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        return xp.log(-0.5 * xp.log1p(-u))

    @staticmethod
    def _back(w: Any) -> Any:
        return -np.expm1(-2 * np.exp(w))

    @staticmethod
    def _slope(w: Any) -> Any:
        return 2 * np.exp(w - 2 * np.exp(w))


class SoftplusDecay(OfUniform):
    """The law of log(1/r - 1) where 1 - r² is u: r = exp(-softplus w) fills a ring."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        return xp.log(xp.expm1(-0.5 * xp.log1p(-u)))

    @staticmethod
    def _back(w: Any) -> Any:
        return -np.expm1(-2 * np.log1p(np.exp(w)))

    @staticmethod
    def _slope(w: Any) -> Any:
        return 2 / ((1 + np.exp(w)) ** 2 * (1 + np.exp(-w)))


class _Moments(NamedTuple):
    mean: float
    std: float
    skewness: float
    kurtosis: float | None


@lru_cache(maxsize=1024)
def _moments(law: OfUniform) -> _Moments:
    """By quadrature over the weight, whose density is smooth where the link is not."""
    if law.low == law.high:
        return _Moments(float(law._link(np, law.low)), 0.0, 0.0, None)
    least = law.low + (law.high - law.low) * _NEGLIGIBLE
    ends = law._link(np, np.array([least, np.nextafter(law.high, law.low)]))
    nodes, weights = np.polynomial.legendre.leggauss(100)
    w = ends.mean() + (ends[1] - ends[0]) / 2 * nodes
    weights = weights * law._slope(w)
    weights = weights / weights.sum()
    mean = (weights * w).sum()
    square, cube, fourth = ((weights * (w - mean) ** n).sum() for n in (2, 3, 4))
    std = math.sqrt(square)
    return _Moments(*map(float, (mean, std, cube / std**3, fourth / square**2)))
