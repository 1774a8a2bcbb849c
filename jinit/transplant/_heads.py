"""Heads: fewer keys and values than queries."""

from __future__ import annotations

import jax

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import weights
from jinit._types import ArrayLike


def group_heads(w: ArrayLike, heads: int, *, axis: int = -2) -> jax.Array:
    """Grouped-query attention from multi-head: keys or values as means over groups.

        W'[j] = mean of W[i] over the heads i = j g, ..., j g + g - 1

    Neighbours make a group, as the attention of JAX and of transformers shares them.
    Heads that have nothing in common shrink: by 0.71, 0.5 and 0.35 for groups of 2, 4
    and 8, as 1 / sqrt(g); equal heads stay. What is lost is for training to make up.

    Args:
      w: The kernel of the keys or the values, (inputs, heads, size of a head), or its
        bias, (heads, size). Reshape one that has heads and sizes in one axis.
      heads: How many there are to be, which divides how many there are. 1 for
        multi-query attention.
      axis: The axis of the heads.

    Returns:
      The kernel of fewer heads, in its dtype.

    Raises:
      TypeError: The kernel is not floating-point or complex, or `heads` no integer.
      ValueError: `heads` does not divide the heads, or the kernel lacks the axis.

    Example:
      >>> import jax, jinit
      >>> w = jinit.lecun_normal(in_axis=0)(jax.random.key(0), (64, 8, 16))
      >>> grouped = jinit.transplant.group_heads(w, 2)
      >>> print(grouped.shape, f"{grouped.std() / w.std():.2f}")
      (64, 2, 16) 0.50

    References:
      Ainslie et al. (2023), arXiv:2305.13245, section 2.1.
    """
    w = weights("w", w)
    remedy = "reshape it to (inputs, heads, size of a head), and name the axis"
    axis = _checks.resolve_axis(w.shape, axis, remedy)
    heads, old = _checks.count("heads", heads), w.shape[axis]
    if old % heads:
        raise ValueError(
            f"heads must divide the {old} heads along axis {axis} of shape {w.shape}, "
            f"got {heads}."
        )
    groups = w.reshape(*w.shape[:axis], heads, old // heads, *w.shape[axis + 1 :])
    mean = groups.astype(wide_dtype(w.dtype)).mean(axis + 1)
    return _draws.round_to(mean, w.dtype)
