"""Selection: a smaller model's weights out of a larger one's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks
from jinit._types import ArrayLike, Shape


def select(w: ArrayLike, shape: Shape) -> jax.Array:
    """Weight selection: evenly spaced elements of each axis of a larger kernel.

        i of m out of n:   i · n / m if m divides n, else round(i (n - 1) / (m - 1))

    Axes of one size are selected alike, so units of one layer and of the next belong
    together. For a whole model: `jax.tree.map(lambda w, s: select(w, s.shape), params,
    smaller)`; of layers in a stack the paper takes the first: slice these before.

    Args:
      w: An array, of any dtype.
      shape: The shape that is wanted, of as many axes and no larger.

    Returns:
      The array of that shape.

    Raises:
      TypeError: The shape is not integers, or a tree is given for the array.
      ValueError: It has other axes than the array, or a larger one.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> print(jinit.transplant.select(jnp.arange(12), (4,)))
      [0 3 6 9]
      >>> print(jinit.transplant.select(jnp.arange(12), (5,)))
      [ 0  3  6  8 11]

    References:
      Xu et al. (2024), arXiv:2311.18823. The code of the authors spaces by
      linspace(0, n, m) where m does not divide n, whose end is beyond the array.
    """
    try:
        w = jnp.asarray(w)
    except (TypeError, ValueError):  # NumPy reads a mapping as a dtype
        raise TypeError(
            f"w must be an array, got a {type(w).__name__}; map over a tree: "
            "jax.tree.map(lambda w, s: jinit.transplant.select(w, s.shape), params, "
            "smaller), with arrays or shapes of the smaller model."
        ) from None
    size = _checks.check_shape(shape)
    pairs = [*zip(w.shape, size, strict=False)]
    if len(size) != w.ndim or any(new > old for old, new in pairs):
        raise ValueError(
            f"shape must have the axes of the array, of shape {w.shape}, and be no "
            f"larger, got {size}; of a larger model's array take one of as many axes."
        )
    for axis, (old, new) in enumerate(pairs):
        if new != old:
            w = jnp.take(w, _evenly(old, new), axis)
    return w


def _evenly(old: int, new: int) -> np.ndarray:
    if new and old % new == 0:
        return np.arange(new) * (old // new)
    return np.round(np.linspace(0, old - 1, new)).astype(int)
