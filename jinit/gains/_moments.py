"""Gaussian averages of an activation, in double precision on the host.

E g(z),    z ~ N(0, 1),    g made of f(sqrt(q) z) or of its derivative
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from jinit._host import on_host
from jinit.gains import _curve
from jinit.gains._curve import (
    GATES,
    Activation,
    Curve,
    Refused,
    in_single,
    resolve_activation,
)
from jinit.gains._quadrature import normal_average


class Infinite(ValueError):
    """The error of an average that is infinite, or too large to compute."""


def _alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a function in double precision on the host, and keeps its result."""
    return lru_cache(maxsize=1024)(on_host(function))


@_alone
def mean_and_square(activation: Activation, q: float = 1.0) -> tuple[float, float]:
    """E f and E f² for inputs of variance q."""
    if activation in GATES:  # x · g(y)
        return 0.0, q * square(GATES[activation], q)
    f = _curve.value(resolve_activation(activation))
    mean, second = _averages("E f²", q, lambda z, x: _powers(f(x)), f)
    return mean, second


def square(activation: Activation, q: float = 1.0) -> float:
    """E f² for inputs of variance q."""
    return mean_and_square(activation, q)[1]


@_alone
def variance(activation: Activation) -> float:
    """E (f - E f)²: E f² less the square of E f loses digits where that is large."""
    mean, second = mean_and_square(activation)
    if mean == 0:
        return second
    f = _curve.value(resolve_activation(activation))
    return _averages("E f²", 1.0, lambda z, x: _powers(f(x) - mean), f)[1]


@_alone
def gradient(activation: Activation, q: float = 1.0) -> float:
    """E f'² for inputs of variance q; of a gated unit that of both its maps."""
    if activation in GATES:
        gate = GATES[activation]
        return square(gate, q) + q * gradient(gate, q)
    function = resolve_activation(activation)
    f, slope = _curve.value(function), _curve.derivative(function)
    # f shows where it is steep, which points beside the step do not see in f'.
    return _averages("E f'²", q, lambda z, x: (slope(x) ** 2, f(x)), f)[0]


@_alone
def growth(activation: Activation, q: float = 1.0) -> float:
    """The derivative of `square` by q."""
    # By parts d/dq E g(sqrt(q) z) = E g(sqrt(q) z) (z² - 1) / 2q, which takes no
    # derivative of the activation, and so counts its jumps.
    if activation in GATES:
        gate = GATES[activation]
        return square(gate, q) + q * growth(gate, q)
    if q == 0:  # of an activation that is 0 there
        return gradient(activation, q)
    f = _curve.value(resolve_activation(activation))
    start = square(activation, 0.0)  # subtracted, for its average is 0: E z² is 1

    def functions(z: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (f(x) ** 2 - start) * (z**2 - 1) / (2 * q), f(x)

    return _averages("E f²", q, functions, f)[0]


def _powers(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return f, f**2


Functions = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


def _averages(what: str, q: float, functions: Functions, f: Curve) -> tuple[float, ...]:
    """E of each of functions(z, sqrt(q) z) of f; where q is 0, its limit."""
    scale = math.sqrt(q)
    if scale == 0:  # from both sides, for the activation may bend at 0, or jump
        sides = np.array([-1e-30, 1e-30])
        limits = [float(values.mean()) for values in functions(sides, sides)]
        sizes = _averages(what, 1.0, functions, f)
        pairs = zip(limits, sizes, strict=True)
        return tuple(at if abs(at) > 1e-20 * abs(size) else 0.0 for at, size in pairs)

    def function(z: np.ndarray) -> np.ndarray:
        return np.stack(functions(z, scale * z))

    try:
        try:
            averages = normal_average(function, 1 / scale)
        except ArithmeticError:  # its rounding is all that could not be settled
            if not in_single(f):
                raise
            averages = normal_average(function, 1 / scale, accepted=1e-6)
    except OverflowError:
        rule = f"must have a finite {what} for inputs of variance {q:g}"
        why = ", for which it is infinite, or too large to compute"
        raise Refused(Infinite, rule, why) from None
    except ArithmeticError:
        rule = f"must have an {what} that can be computed to ten digits"
        why = ", which is unbounded at a point, or does not compute in float64"
        raise Refused(ValueError, rule, f"{why}; give the gain as a number") from None
    return tuple(map(float, averages))
