"""Laws of time constants: functions of a uniform variable.

    w = link(u),    u ~ U[low, high]

Gates and states remember for a time that is to be spread evenly, or by its logarithm;
what is stored is the bias, or the logarithm, from which the cell computes it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jinit import _draws
from jinit._averages import gauss_legendre, moments_of
from jinit._checks import Shape
from jinit.laws import Law

_NEGLIGIBLE = math.exp(-40)  # the share of weights that moments leave out at an end


class OfUniform(Law):
    """The law of a function that grows, of a uniform variable."""

    low: Any
    high: Any

    mean = property(lambda self: moments_of(self)[0])
    std = property(lambda self: moments_of(self)[1])
    skewness = property(lambda self: moments_of(self)[2])
    kurtosis = property(lambda self: moments_of(self)[3])

    # The weight of u, by NumPy or JAX; the u of a weight; and how u changes with it.
    _link = staticmethod(lambda xp, u: u)
    _back = staticmethod(lambda w: w)
    _slope = staticmethod(lambda w: np.ones_like(w))

    @property
    def bounds(self) -> tuple[float, float]:
        with np.errstate(divide="ignore"):  # the logarithm of zero
            return float(self._link(np, self.low)), float(self._link(np, self.high))

    def draw(self, key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
        return _draws.linked(key, shape, dtype, self._link, self.low, self.high)

    def _pdf(self, x: np.ndarray) -> Any:
        low, high = self.bounds
        inside = (low <= x) & (x <= high)
        return inside * self._slope(x) / (self.high - self.low)

    def _cdf(self, x: np.ndarray) -> Any:
        # Within the bounds, beyond which the way back may overflow.
        u = self._back(np.clip(x, *np.clip(self.bounds, -700, 700)))
        return np.clip((u - self.low) / (self.high - self.low), 0, 1)

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Over the weight, whose density is smooth where the link is not."""
        if self.low == self.high:
            return np.array([self._link(np, self.low)]), np.ones(1)
        least = self.low + (self.high - self.low) * _NEGLIGIBLE
        ends = self._link(np, np.array([least, np.nextafter(self.high, self.low)]))
        nodes, weights = gauss_legendre()
        w = ends.mean() + (ends[1] - ends[0]) / 2 * nodes
        p = weights * self._slope(w)
        return w, p / p.sum()


class Log(OfUniform):
    """The law of log u."""

    _link = staticmethod(lambda xp, u: xp.log(u))
    _back = _slope = staticmethod(lambda w: np.exp(w))


class Logit(OfUniform):
    """The law of log u / (1 - u): the sigmoid of the weight is uniform."""

    _link = staticmethod(lambda xp, u: xp.log(u) - xp.log1p(-u))
    _back = staticmethod(lambda w: 1 / (1 + np.exp(-w)))
    _slope = staticmethod(lambda w: 1 / (2 + np.exp(w) + np.exp(-w)))


class SoftplusStep(OfUniform):
    """The law of log(exp(exp u) - 1): the logarithm of the softplus is uniform."""

    @staticmethod
    def _link(xp: Any, u: Any) -> Any:
        # Of steps above 88 the exponential overflows, and of tiny ones the step.
        y = xp.exp(u)
        with np.errstate(all="ignore"):
            large = y + xp.log(-xp.expm1(-y))
            return xp.where(u > 0, large, xp.where(u < -40, u, xp.log(xp.expm1(y))))

    _back = staticmethod(lambda w: np.log(np.logaddexp(0.0, w)))
    _slope = staticmethod(
        lambda w: np.exp(-np.logaddexp(0.0, -w)) / np.logaddexp(0.0, w)
    )


class LogDecay(OfUniform):
    """The law of log(-log r) where 1 - r² is u: r = exp(-exp w) fills a ring."""

    _link = staticmethod(lambda xp, u: xp.log(-0.5 * xp.log1p(-u)))
    _back = staticmethod(lambda w: -np.expm1(-2 * np.exp(w)))
    _slope = staticmethod(lambda w: 2 * np.exp(w - 2 * np.exp(w)))


class SoftplusDecay(OfUniform):
    """The law of log(1/r - 1) where 1 - r² is u: r = exp(-softplus w) fills a ring."""

    _link = staticmethod(lambda xp, u: xp.log(xp.expm1(-0.5 * xp.log1p(-u))))
    _back = staticmethod(lambda w: -np.expm1(-2 * np.log1p(np.exp(w))))
    _slope = staticmethod(lambda w: 2 / ((1 + np.exp(w)) ** 2 * (1 + np.exp(-w))))
