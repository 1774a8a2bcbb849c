"""Averages over a normal variable of functions that may bend and jump anywhere.

The line is cut into panels, and a panel is halved until the rules of Gauss and Lobatto
agree on it: kinks and jumps are closed in on wherever they are, and a smooth function
takes one round. Wherever a jump is, one of the two notices: Lobatto's looks at the ends
of a panel, and Gauss's, of an odd number of points, at its middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Rule = tuple[np.ndarray, np.ndarray]

_REACH = 37.0  # deviations; the normal density is 5e-298 there
_TOLERANCE = 1e-13  # of one panel, relative to the whole
_ROUNDS, _PANELS = 64, 1 << 16  # a panel is as narrow as rounding then; 2 M points


def _lobatto(n: int) -> Rule:
    """Nodes and weights on [-1, 1]: the ends, and where P' is zero, P of degree n - 1.

    Abramowitz and Stegun (1964), 25.4.32; P' is a Jacobi polynomial, whose zeros are
    the eigenvalues of its recurrence. The ends are moved in by four roundings, so that
    they belong to the panel where the function jumps at its end, or is infinite.
    """
    k = np.arange(1.0, n - 2)
    recurrence = np.diag(np.sqrt(k * (k + 2) / ((2 * k + 1) * (2 * k + 3))), -1)
    nodes = np.concatenate([[-1], np.linalg.eigvalsh(recurrence), [1]])
    weights = 2 / (n * (n - 1) * np.polynomial.Legendre.basis(n - 1)(nodes) ** 2)
    return np.clip(nodes, 2.0**-50 - 1, 1 - 2.0**-50), weights


_GAUSS, _LOBATTO = np.polynomial.legendre.leggauss(15), _lobatto(16)


def normal_average(
    function: Callable[[np.ndarray], np.ndarray], unit: float = 1.0
) -> float:
    """E function(z) for z ~ N(0, 1), to twelve digits.

    Args:
      function: Takes and returns an array of doubles.
      unit: The distance from 0 within which it bends most; panels are narrower there.

    Raises:
      OverflowError: It is infinite, or too large to compute.
      ArithmeticError: Panels do not come to agree: it is infinite at a point, or not in
        double precision.
    """
    edges, settled = _edges(unit), 0.0
    left, right = edges[:-1], edges[1:]
    for rounds in range(_ROUNDS):
        gauss, lobatto = (
            _panels(function, left, right, rule) for rule in (_GAUSS, _LOBATTO)
        )
        size = abs(gauss).sum() + abs(settled)
        tails = abs(gauss)[[0, -1]].max() if rounds == 0 else 0.0
        if not tails <= max(1e-12 * size, 1e-200) < math.inf:
            raise OverflowError
        differ = ~(abs(gauss - lobatto) <= _TOLERANCE * size)
        settled += float(gauss[~differ].sum())
        left, right = left[differ], right[differ]
        if left.size == 0:
            return settled
        if left.size > _PANELS:
            break
        middle = (left + right) / 2
        left, right = np.concatenate([[left, middle], [middle, right]], axis=-1)
    raise ArithmeticError


def _panels(
    function: Callable[[np.ndarray], np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    rule: Rule,
) -> np.ndarray:
    """The integral of φ(z) function(z) over each panel, by one rule."""
    nodes, weights = rule
    z = ((left + right) + (right - left) * nodes[:, None]) / 2
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    with np.errstate(over="ignore", invalid="ignore"):
        height = function(z.ravel()).reshape(z.shape) * density
        return weights @ height * (right - left) / 2


def _edges(unit: float) -> np.ndarray:
    """Panels of half a deviation, and of an eighth of the unit and more about 0."""
    grid = np.arange(-_REACH, _REACH + 0.25, 0.5)
    near = unit * 2.0 ** np.arange(-3, 6)
    near = near[near < _REACH - 1]
    return np.unique(np.concatenate([-near, grid, near]))
