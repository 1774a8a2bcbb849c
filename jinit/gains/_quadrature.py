"""Averages over a normal variable of functions that may bend and jump anywhere.

The line is cut into panels, and panels are halved until the rules of Gauss and Lobatto
agree: kinks and jumps are closed in on wherever they are, and a smooth function takes
one round. Wherever in a panel a jump is, one of the two notices: Lobatto's looks at the
ends, and Gauss's, of an odd number of points, at the middle. Only what is narrower than
the distance of two points, some hundredths of a deviation, can be overlooked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

Rule = tuple[np.ndarray, np.ndarray]
Function = Callable[[np.ndarray], np.ndarray]

_REACH = 37.0  # deviations; the normal density is 5e-298 there
_WANTED = 1e-13  # of the two rules' differences, relative to the whole
_ROUNDS = 64  # a panel is then as narrow as rounding
_MANY = 1 << 15  # panels; what has not come closer in halving by then, will not


def _lobatto(n: int) -> Rule:
    """Nodes and weights on [-1, 1]: the ends, and where P' is 0, P of degree n - 1."""
    # Abramowitz and Stegun (1964), 25.4.32; P' is a Jacobi polynomial, whose zeros are
    # the eigenvalues of its recurrence. The ends are moved in by four roundings,
    # to lie in the panel where the function jumps at its end, or is infinite.
    k = np.arange(1.0, n - 2)
    recurrence = np.diag(np.sqrt(k * (k + 2) / ((2 * k + 1) * (2 * k + 3))), -1)
    nodes = np.concatenate([[-1], np.linalg.eigvalsh(recurrence), [1]])
    weights = 2 / (n * (n - 1) * np.polynomial.Legendre.basis(n - 1)(nodes) ** 2)
    return np.clip(nodes, 2.0**-50 - 1, 1 - 2.0**-50), weights


@lru_cache
def _rules() -> tuple[Rule, Rule]:
    """Gauss's rule and Lobatto's; their difference on a panel counts as its error."""
    return np.polynomial.legendre.leggauss(15), _lobatto(16)


def normal_average(
    function: Function, unit: float = 1.0, accepted: float = 1e-10
) -> np.ndarray:
    """E function(z) for z ~ N(0, 1), to twelve digits or what is accepted."""
    # |z - 0.3|, for example: the first round settles 315 of the 316 panels, all but
    # [0.25, 0.3125], where the kink is. The second looks at its halves, settles
    # [0.25, 0.28125] and leaves the other. So it goes on, two panels a round, until
    # in the thirteenth both are 1.5e-5 wide, and the rules agree to 1e-13 of the whole.
    edges = _edges(unit)
    left, right = edges[:-1], edges[1:]
    # Of the panels that are done with: their integral, its size and its error.
    settled, settled_size, settled_error = 0.0, 0.0, 0.0
    total, gauss, before = math.inf, np.zeros((1, 0)), math.inf
    for rounds in range(_ROUNDS):
        gauss, lobatto = (_panels(function, left, right, rule) for rule in _rules())
        size = settled_size + abs(gauss).sum(axis=1, keepdims=True) + 1e-300
        tails = abs(gauss)[:, [0, -1]] * (rounds == 0)
        if not (size < math.inf).all() or (tails > 1e-12 * size + 1e-200).any():
            raise OverflowError
        if (abs(gauss) > 1e-8 * size)[:, right - left < 2.0**-36].any():  # a pole
            raise ArithmeticError
        error = (abs(gauss - lobatto) / size).max(axis=0)
        total = settled_error + error.sum()
        stuck = left.size > _MANY and total > before / 1.5
        done, before = error <= _WANTED / left.size, total
        if total <= _WANTED or stuck or done.all():
            break
        settled = settled + gauss[:, done].sum(axis=1, keepdims=True)
        settled_size = settled_size + abs(gauss)[:, done].sum(axis=1, keepdims=True)
        settled_error += error[done].sum()
        left, middle, right = left[~done], ((left + right) / 2)[~done], right[~done]
        left, right = np.concatenate([[left, middle], [middle, right]], axis=-1)
    if not total <= accepted:
        raise ArithmeticError
    return (settled + gauss.sum(axis=1, keepdims=True))[:, 0]


def _panels(
    function: Function, left: np.ndarray, right: np.ndarray, rule: Rule
) -> np.ndarray:
    """The integral of φ(z) function(z) over each panel, by one rule."""
    nodes, weights = rule
    z = ((left + right) + (right - left) * nodes[:, None]) / 2
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    with np.errstate(over="ignore", invalid="ignore"):
        return weights @ (function(z) * density) * (right - left) / 2


def _edges(unit: float) -> np.ndarray:
    """Panels of a sixteenth of a deviation and, about 0, of an eighth of the unit."""
    inner, outer = np.arange(-6, 6, 1 / 16), np.arange(6, _REACH + 0.25, 0.5)
    near = unit * 2.0 ** np.arange(-3, 6)
    near = near[near < _REACH - 1]
    return np.unique(np.concatenate([-outer, -near, inner, near, outer]))
