"""What truncation does to a normal distribution."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit._options import Number, is_traced

# Density left out at either end: exp(-40) of the largest.
_NEGLIGIBLE = 40.0


def truncated_std(lower: Number, upper: Number) -> Any:
    """The standard deviation of a standard normal variable between two bounds.

    By quadrature about the likeliest value, since the closed form is a difference of
    nearly equal numbers for bounds that are close together or in a tail.

    Args:
      lower: Lower bound, in standard deviations.
      upper: Upper bound, greater than `lower`.

    Returns:
      The standard deviation, to 12 digits; of traced bounds to those of their dtype.
    """
    xp = jnp if is_traced(lower) or is_traced(upper) else np
    likeliest = xp.clip(0.0, lower, upper)
    # The density falls to exp(-40) of its largest at a distance d, where
    # likeliest · d + d² / 2 = 40.
    reach = (2 * _NEGLIGIBLE) / (
        abs(likeliest) + xp.sqrt(likeliest**2 + 2 * _NEGLIGIBLE)
    )
    left = xp.maximum(lower - likeliest, -reach)
    right = xp.minimum(upper - likeliest, reach)
    nodes, weights = _gauss_legendre()
    d = (left + right) / 2 + (right - left) / 2 * nodes
    weights = weights * xp.exp(-d * (likeliest + d / 2))
    weights = weights / weights.sum()
    return xp.sqrt((weights * (d - (weights * d).sum()) ** 2).sum())


@lru_cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(100)
