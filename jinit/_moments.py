"""Gaussian averages of an activation, in double precision on the host.

    E g(z),    z ~ N(0, 1),    g made of f(sqrt(q) z) or of its derivative

The line is cut into panels, and a panel is halved until the rules of Gauss and Lobatto
agree on it: kinks and jumps are closed in on wherever they are, and a smooth function
takes one round. Wherever a jump is, one of the two notices: Lobatto's looks at the ends
of a panel, and Gauss's, of an odd number of points, at its middle.
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
from jinit._activations import Activation, resolve_activation


def _lobatto(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-1, 1]: the ends, and where P' is zero, P of degree n - 1.

    Abramowitz and Stegun (1964), 25.4.32. The ends are moved in by four roundings, so
    that they belong to the panel where the function jumps at its end, or is infinite.
    """
    legendre = np.polynomial.Legendre.basis(n - 1)
    nodes = np.concatenate([[-1], legendre.deriv().roots(), [1]])
    weights = 2 / (n * (n - 1) * legendre(nodes) ** 2)
    return np.clip(nodes, 2.0**-50 - 1, 1 - 2.0**-50), weights


_GAUSS, _LOBATTO = np.polynomial.legendre.leggauss(15), _lobatto(16)
_REACH = 37.0  # deviations; the normal density is 5e-298 there
_TOLERANCE = 1e-13  # of the error of one panel, relative to the whole
_ROUNDS, _PANELS = 64, 1 << 16  # a panel is as narrow as rounding then; 1 M points


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
    what: str,
    function: Any,
    curve: _elementwise.Curve,
    q: float,
    moment: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> float:
    """The integral of φ(z) moment(z, curve(sqrt(q) z)); where q is 0, its limit."""
    scale = math.sqrt(q)
    if scale == 0:  # the activation may bend at 0, or jump
        sides = np.array([-1e-30, 1e-30])
        limit = float(moment(sides, curve(sides)).mean())
        return limit if abs(limit) > 1e-20 else 0.0

    def integrate(left: np.ndarray, right: np.ndarray, rule: Any) -> np.ndarray:
        nodes, weights = rule
        z = ((left + right) + (right - left) * nodes[:, None]) / 2
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        with np.errstate(over="ignore", invalid="ignore"):
            height = moment(z, curve((scale * z).ravel()).reshape(z.shape)) * density
            return weights @ height * (right - left) / 2

    edges, settled = _edges(scale), 0.0
    left, right = edges[:-1], edges[1:]
    for rounds in range(_ROUNDS):
        gauss, lobatto = (integrate(left, right, rule) for rule in (_GAUSS, _LOBATTO))
        size = abs(gauss).sum() + abs(settled)
        ends = abs(gauss)[[0, -1]].max() if rounds == 0 else 0.0
        if not ends <= 1e-12 * size < math.inf:
            raise ValueError(
                f"activation must have a finite {what} for inputs of variance {q:g}, "
                f"got {function!r}, for which it is infinite or too large to compute."
            )
        differ = ~(abs(gauss - lobatto) <= _TOLERANCE * size)
        settled += float(gauss[~differ].sum())
        left, right = left[differ], right[differ]
        if left.size == 0:
            return settled
        if left.size > _PANELS:
            break
        middle = (left + right) / 2
        left, right = np.concatenate([[left, middle], [middle, right]], axis=-1)
    raise ValueError(
        f"activation must have an {what} that can be computed to ten digits, got "
        f"{function!r}; it is infinite, or not computed in the dtype of its input: "
        "give the gain as a number."
    )


def _edges(scale: float) -> np.ndarray:
    """Panels of half a deviation, and narrower ones about 0.

    There, in the activation's own units of 1 / `scale` deviations, is where it bends.
    """
    grid = np.arange(-_REACH, _REACH + 0.25, 0.5)
    bends = 2.0 ** np.arange(-3, 6) / scale
    bends = bends[bends < _REACH - 1]
    return np.unique(np.concatenate([-bends, grid, bends]))
