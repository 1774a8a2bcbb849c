"""Gaussian averages of an activation, in double precision on the host.

E g(z),    z ~ N(0, 1),    g made of f(sqrt(q) z) or of its derivative
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import Any

import jax
import numpy as np

from jinit import _elementwise
from jinit._activations import Activation, Function, resolve_activation
from jinit._elementwise import Curve
from jinit._quadrature import normal_average

Moment = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a function in double precision in a thread of its own, and keeps the result.

    A new thread knows nothing of the trace, the mesh or the device that the caller is
    under, so a gain is the same number inside `jax.jit` and out of it.
    """

    def in_double(*args: Any) -> Any:
        with jax.enable_x64(True), jax.default_device(_host()):
            return function(*args)

    @lru_cache(maxsize=4096)
    @wraps(function)
    def call(*args: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(in_double, *args).result()

    return call


def _host() -> jax.Device | None:
    """The CPU, or JAX's default device where JAX was told to leave the CPU out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


@_alone
def mean(activation: Activation, q: float = 1.0) -> float:
    """E f for inputs of variance q; 0 of a gated unit, whose factor has mean 0."""
    function, gated = resolve_activation(activation)
    if gated:
        return 0.0
    return _average("E f", function, _elementwise.value(function), q, lambda z, f: f)


@_alone
def square(activation: Activation, q: float = 1.0, about: float = 0.0) -> float:
    """E (f - about)² for inputs of variance q; q E g² of a gated unit."""
    function, gated = resolve_activation(activation)
    curve, factor = _elementwise.value(function), q if gated else 1.0
    return factor * _average("E f²", function, curve, q, lambda z, f: (f - about) ** 2)


@_alone
def gradient(activation: Activation, q: float = 1.0) -> float:
    """E f'² for inputs of variance q; E g² + q E g'² of a gated unit."""
    function, gated = resolve_activation(activation)
    curve, slope = _elementwise.value(function), _elementwise.derivative(function)
    slopes = _average("E f'²", function, slope, q, lambda z, df: df**2)
    if not gated:
        return slopes
    return q * slopes + _average("E g²", function, curve, q, lambda z, g: g**2)


@_alone
def growth(activation: Activation, q: float = 1.0) -> float:
    """The derivative of `square` by q.

    By parts d/dq E g(sqrt(q) z) = E g(sqrt(q) z) (z² - 1) / 2q, which takes no
    derivative of the activation, and so counts its jumps.
    """
    if q == 0:
        return gradient(activation, q)
    function, gated = resolve_activation(activation)
    sign, factor = (1, 1.0) if gated else (-1, 1 / q)
    curve = _elementwise.value(function)
    return factor * _average(
        "E f²", function, curve, q, lambda z, f: f**2 * (z**2 + sign) / 2
    )


def _average(
    what: str, function: Function, curve: Curve, q: float, moment: Moment
) -> float:
    """E moment(z, curve(sqrt(q) z)); where q is 0, its limit."""
    scale = math.sqrt(q)
    if scale == 0:  # the activation may bend at 0, or jump
        sides = np.array([-1e-30, 1e-30])
        limit = float(moment(sides, curve(sides)).mean())
        return limit if abs(limit) > 1e-20 else 0.0
    try:
        return normal_average(lambda z: moment(z, curve(scale * z)), 1 / scale)
    except OverflowError:
        raise ValueError(
            f"activation must have a finite {what} for inputs of variance {q:g}, got "
            f"{function!r}, for which it is infinite or too large to compute."
        ) from None
    except ArithmeticError:
        raise ValueError(
            f"activation must have an {what} that can be computed to ten digits, got "
            f"{function!r}; it is infinite, or not computed in the dtype of its input: "
            "give the gain as a number."
        ) from None
