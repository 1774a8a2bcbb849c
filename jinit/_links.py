"""Links: strictly monotone functions that a layer puts its parameter through.

A link is a name or an elementwise function. Its inverse is computed without
cancellation, on doubles by NumPy and in a draw by JAX; that of a function by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit._host import on_host

Function = Callable[[Any], Any]

Link = str | Function
"""A name of `LINKS`, or a strictly monotone function of an array."""


class Curve(NamedTuple):
    """A link on doubles, and its inverse."""

    value: Function
    slope: Function
    inverse: Callable[[Any, Any], Any]  # of what the link gives, by NumPy or jax.numpy
    low: float  # the link gives what lies strictly between these
    high: float
    start: float = -math.inf  # and is defined between these
    stop: float = math.inf
    rises: bool = True

    def weight(self, y: Any) -> Any:
        """What the link takes to one number, or to the limit that it tends to."""
        if isinstance(y, jax.core.Tracer):
            return self.inverse(y, jnp)
        if self.low < y < self.high:
            return float(self.inverse(np.float64(y), np))
        return self.start if (y <= self.low) == self.rises else self.stop


def _inverse_softplus(y: Any, xp: Any) -> Any:
    # log(exp(y) - 1) overflows for large y, and is -inf for small ones.
    return y + xp.log(-xp.expm1(-y))


def _inverse_sigmoid(p: Any, xp: Any) -> Any:
    # 2p - 1 is exact near 1/2, where the difference of the logarithms cancels.
    middle = xp.abs(p - 0.5) < 0.25
    near_half = 2 * xp.arctanh(xp.where(middle, 2 * p - 1, 0 * p))
    return xp.where(middle, near_half, xp.log(p) - xp.log1p(-p))


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -x))


LINKS = {
    "softplus": Curve(
        lambda x: np.logaddexp(0.0, x), _sigmoid, _inverse_softplus, 0.0, math.inf
    ),
    "sigmoid": Curve(
        _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x), _inverse_sigmoid, 0.0, 1.0
    ),
    "exp": Curve(np.exp, np.exp, lambda y, xp: xp.log(y), 0.0, math.inf),
    "tanh": Curve(
        np.tanh,
        lambda x: np.cosh(np.clip(x, -350, 350)) ** -2.0,
        lambda y, xp: xp.arctanh(y),
        -1.0,
        1.0,
    ),
    "log": Curve(
        np.log, lambda x: 1 / x, lambda y, xp: xp.exp(y), -math.inf, math.inf, 0.0
    ),
}

OF_JAX = (
    *((jax.nn.softplus, "softplus"), (jax.nn.sigmoid, "sigmoid"), (jnp.exp, "exp")),
    *((jnp.tanh, "tanh"), (jax.nn.tanh, "tanh"), (jnp.log, "log")),
)


def curve(link: Link) -> Curve:
    """A link on doubles."""
    return LINKS[link] if isinstance(link, str) else _curve(link)


# Doubles of all sizes that float32 has, and evenly spaced ones where most weights are.
_SIZES = np.concatenate([10.0 ** np.arange(-30, 39), 3.4e38 * np.ones(1)])
_GRID = np.unique(np.concatenate([-_SIZES, [0.0], _SIZES, np.linspace(-16, 16, 4097)]))
_STRICT = 4.0  # most links are flat in rounding farther out, as the sigmoid is


def reason_against(function: Function) -> str:
    """Why a function is no link; empty where it is one."""
    try:
        hash(function)
        y = doubles(function, _GRID)
    except Exception as error:  # what a user wrote may raise anything
        return (
            f"raised {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        )
    if not is_of_jax(function):
        return "is not made of JAX's operations"
    if y.shape != _GRID.shape:
        return f"returns shape {y.shape} for {_GRID.shape}"
    known = np.flatnonzero(~np.isnan(y))
    if known.size < 3 or np.ptp(known) + 1 > known.size:
        return "is NaN between numbers where it is not"
    x, y = _GRID[known], y[known]
    with np.errstate(invalid="ignore"):  # inf - inf
        steps = np.nan_to_num(np.diff(y) * (1 if y[-1] > y[0] else -1))
    strict = (abs(x[:-1]) <= _STRICT) & (abs(x[1:]) <= _STRICT) & (np.diff(x) > 1e-3)
    if (steps < -1e-12 * np.minimum(abs(y[1:]), abs(y[:-1]))).any():
        return "both rises and falls"
    return "is constant on an interval" if (steps[strict] <= 0).any() else ""


@lru_cache(maxsize=64)
def _curve(function: Function) -> Curve:
    value = partial(doubles, function)
    low, high = _domain(value)
    first, last = (_limit(value, end) for end in (low, high))
    rises = last > first

    def slope(x: np.ndarray) -> np.ndarray:
        h = 1e-6 * np.maximum(1.0, abs(x))
        left, right = np.maximum(x - h, low), np.minimum(x + h, high)
        return (value(right) - value(left)) / (right - left)

    def inverse(y: Any, xp: Any) -> Any:
        if xp is np:
            return _bisect(value, np.asarray(y, float), low, high, rises)
        return _bisect(function, y, low, high, rises)

    least, greatest = sorted((first, last))
    start = -math.inf if low == _GRID[0] else low
    stop = math.inf if high == _GRID[-1] else high
    return Curve(value, slope, inverse, least, greatest, start, stop, rises)


def _domain(value: Function) -> tuple[float, float]:
    """The least and the greatest double where a function is a number."""
    known = np.flatnonzero(~np.isnan(value(_GRID)))
    ends = []
    for inner, outer in ((known[0], known[0] - 1), (known[-1], known[-1] + 1)):
        inside = float(_GRID[inner])
        if 0 <= outer < _GRID.size:
            outside = float(_GRID[outer])
            for _ in range(64):
                middle = np.array([(inside + outside) / 2])
                if np.isnan(value(middle)[0]):
                    outside = float(middle[0])
                else:
                    inside = float(middle[0])
        ends.append(inside)
    return ends[0], ends[1]


def _limit(value: Function, end: float) -> float:
    """What a function tends to at an end of its domain."""
    here, before = (float(y) for y in value(np.array([end, 1e-10 * end])))
    if abs(end) == _GRID[-1] and abs(here - before) > 1e-3 * abs(here):
        return math.copysign(math.inf, here)  # it has not come to an end yet
    return here + 0.0  # no -0


def _bisect(function: Function, y: Any, low: float, high: float, rises: bool) -> Any:
    """The least number that a function takes to y or beyond, to the last bit.

    Bisects over the bits of floats, which as integers are in the order of the floats.
    """
    host = isinstance(y, np.ndarray)
    xp: Any = np if host else jnp
    real = np.dtype(y.dtype)
    integer = np.dtype(f"int{8 * real.itemsize}")
    mirror = np.array(np.iinfo(integer).max, integer)
    one, none = np.array(1, integer), np.array(0, integer)

    def to_float(i: Any) -> Any:
        i = xp.where(i < none, i ^ mirror, i)
        return i.view(real) if host else lax.bitcast_convert_type(i, real)

    def order(x: float) -> Any:
        i = np.array(x, real).view(integer)
        return np.where(i < 0, i ^ mirror, i)

    def halve(_: int, ends: Any) -> Any:
        below, above = ends
        middle = (below & above) + ((below ^ above) >> one)
        reached = function(to_float(middle)) >= y
        reached = reached if rises else ~reached
        return xp.where(reached, below, middle), xp.where(reached, middle, above)

    ends = tuple(
        xp.broadcast_to(xp.asarray(order(end)), y.shape) for end in (low, high)
    )
    if host:
        for step in range(integer.itemsize * 8):
            ends = halve(step, ends)
    else:
        ends = lax.fori_loop(0, integer.itemsize * 8, halve, ends)
    return to_float(ends[1])


@lru_cache(maxsize=256)
def is_of_jax(function: Function) -> bool:
    """Whether JAX can trace a function of an array, and so draws by it."""
    try:
        jax.eval_shape(function, jax.ShapeDtypeStruct((3,), np.float32))
    except Exception:  # of NumPy's or SciPy's, which may raise anything
        return False
    return True


def doubles(function: Function, x: np.ndarray) -> np.ndarray:
    """What a function, NumPy's or JAX's, makes of doubles on the host."""
    return np.asarray(on_host(function)(x), float)
