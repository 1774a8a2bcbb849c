"""Averages: the numbers of laws, by quadrature, by tables and by SciPy.

All is computed on the host in double precision, but where a bound is traced.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jinit._checks import Number, is_traced
from jinit._host import on_host

_NEGLIGIBLE = 40.0  # density left out at either end: exp(-40) of the largest


def ndtr(z: Any) -> Any:
    from scipy.special import ndtr  # JAX needs SciPy; its import is slow

    return ndtr(z)


def tail_cdf(z: Any, low: float, high: float) -> Any:
    """The distribution function of a normal variable between bounds 0 <= low < high."""
    # Of P(low < x < z) / P(low < x < high) both are taken over the mass beyond low,
    # which may be too small for a float: by its logarithm.
    from scipy.special import log_ndtr

    beyond = log_ndtr(-low)
    return np.expm1(log_ndtr(-z) - beyond) / np.expm1(log_ndtr(-high) - beyond)


class _Cut(NamedTuple):
    """A standard normal variable between two bounds."""

    mean: Any
    std: Any
    skewness: Any
    kurtosis: Any
    mode: Any
    mass: Any  # the integral of the density over the density at the mode


def truncation(low: Number, high: Number) -> _Cut:
    """What is left of a standard normal variable between two bounds.

    By quadrature about the mode, since the closed forms are differences of nearly equal
    numbers for bounds that are close together or in a tail. Between 8 and 9 the mode is
    8, and the density falls as exp(-8 d - d² / 2) with the distance d from it.
    """
    xp = jnp if is_traced(low) or is_traced(high) else np
    mode = xp.clip(0.0, low, high)
    # The density falls to exp(-40) of its largest where mode · d + d² / 2 = 40.
    reach = (2 * _NEGLIGIBLE) / (abs(mode) + xp.sqrt(mode**2 + 2 * _NEGLIGIBLE))
    left, right = xp.maximum(low - mode, -reach), xp.minimum(high - mode, reach)
    nodes, weights = gauss_legendre()
    d = (left + right) / 2 + (right - left) / 2 * nodes
    weights = weights * xp.exp(-d * (mode + d / 2))
    mass = weights.sum() * (right - left) / 2
    weights = weights / weights.sum()
    mean = 0.0 if xp is np and low == -high else (weights * d).sum()
    square, cube, fourth = ((weights * (d - mean) ** n).sum() for n in (2, 3, 4))
    with np.errstate(invalid="ignore", divide="ignore"):  # of bounds that are one
        std = xp.sqrt(square)
        cut = _Cut(mode + mean, std, cube / std**3, fourth / square**2, mode, mass)
    return _Cut(*map(float, cut)) if xp is np else cut


@lru_cache(maxsize=256)
def moments_of(law: Any) -> tuple[float, float, float, float | None]:
    """Mean, deviation, skewness and kurtosis, by the nodes of a law."""
    x, p = law._nodes()

    def average(y: np.ndarray) -> float:
        terms = np.where(p > 0, p * y, 0.0)
        size = abs(terms)
        # From panel to panel, of 100 nodes, what has a sum falls off to infinity.
        far = 1e15 * abs(x[p.argmax()])
        tails = (size, x), (size[::-1], x[::-1])
        rises = (
            t[:100].sum() > max(1e-9 * size.sum(), 0.999 * t[100:200].sum())
            for t, place in tails
            if abs(place[0]) > far
        )
        return math.inf if any(rises) or size.sum() == math.inf else float(terms.sum())

    with np.errstate(all="ignore"):
        mean = average(x)
        square = average((x - mean) ** 2) if math.isfinite(mean) else math.inf
        std = math.sqrt(square)
        if not 0 < std < math.inf:
            return mean, std, 0.0, None
        z = (x - mean) / std
        return mean, std, average(z**3), average(z**4)


def quadrature(
    pdf: Any, bounds: tuple[Any, Any], middle: tuple[float, float], mass: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of a density between bounds, and their probabilities.

    In panels that grow by twos from where most weights are, and shrink by twos towards
    a bound, where a density may be infinite: a power of x is smooth in each.
    """
    low, high = bounds
    center, spread = middle
    spread = spread if 0 < spread < math.inf else 1.0
    if not low < center < high:
        center = _inside(low, high, spread)
    edges = [np.array([center])]
    for end, side in ((low, -1), (high, 1)):
        far = spread * 2.0 ** np.arange(-2, 200)
        edges += [center + side * far[far < abs(end - center)]]
        if math.isfinite(end):
            halvings = 300 if end == 0 else 50
            near = abs(end - center) * 2.0 ** -np.arange(1.0, halvings)
            edges += [end - side * near, np.array([end])]
    ends = np.unique(np.concatenate(edges))
    left, right = ends[:-1, None], ends[1:, None]
    nodes, weights = gauss_legendre()
    x = ((left + right) / 2 + (right - left) / 2 * nodes).ravel()
    with np.errstate(all="ignore"):
        p = (weights * (right - left) / 2).ravel() * pdf(x)
    within = (low < x) & (x < high)  # what does not round to a bound
    p = np.where(np.isfinite(p), p, 0.0)[within]
    return x[within], p * (mass / p.sum())


def _inside(low: Any, high: Any, spread: float) -> Any:
    """A point between two bounds, near one that is finite."""
    if math.isfinite(low) and math.isfinite(high):
        return (low + high) / 2
    bounded = math.isfinite(low) or math.isfinite(high)
    return 0.0 if not bounded else low + spread if math.isfinite(low) else high - spread


@lru_cache(maxsize=64)
def quantile_table(ppf: Any) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores from -6 to 6 in equal steps, and a quantile function's values."""
    z = np.linspace(-6.0, 6.0, (1 << 14) + 1)
    return z, at_probabilities(ppf, ndtr(z))


def at_probabilities(ppf: Any, u: np.ndarray) -> np.ndarray:
    """A quantile function, or that of a distribution of SciPy by its name."""
    if not callable(ppf):
        name, *parameters = [ppf] if isinstance(ppf, str) else ppf
        ppf = of_scipy(name, tuple(parameters), 1.0).ppf
    return np.asarray(on_host(ppf)(u), float)


@lru_cache(maxsize=256)
def of_scipy(name: str, parameters: tuple[Any, ...], scale: Any) -> Any:
    from scipy import stats

    return getattr(stats, name)(*parameters, scale=scale)


@lru_cache(maxsize=256)
def moments_of_scipy(name: str, parameters: Any, scale: Any) -> tuple[float, ...]:
    """Mean, variance, skewness and excess; NaN where there is none, or none finite."""
    with np.errstate(all="ignore"):
        found = map(float, of_scipy(name, parameters, scale).stats("mvsk"))
        return tuple(x if math.isfinite(x) else math.nan for x in found)


@lru_cache
def gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(100)
