"""Images: tables of positions of another grid, and kernels for video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import Shape, weights
from jinit._types import ArrayLike

_METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
_KINDS = ("mean", "center")


def resize_positions(
    table: ArrayLike,
    grid: Sequence[int],
    *,
    old_grid: Sequence[int] | None = None,
    prefix: int = 0,
    method: str = "cubic",
) -> jax.Array:
    """Resizes a learned table of positions to another grid, as an image is resized.

    For images of another size, or patches of another: neighbours keep what they have in
    common. Where the grid shrinks, it is smoothed before (antialiased).

    Args:
      table: (..., positions, features), where positions go through the grid row by row.
      grid: The grid that is wanted: rows and columns, or of a video frames before.
      old_grid: The grid that it has; by default one of equal sides.
      prefix: How many positions before the grid are none of it, as that of a class
        token; they are kept as they are.
      method: "nearest", "linear", "cubic", "lanczos3" or "lanczos5", as
        `jax.image.resize` has them.

    Returns:
      The table (..., prefix + positions of the new grid, features), in its dtype.

    Raises:
      TypeError: The table is not floating-point, a grid is not integers, or prefix is
        no integer.
      ValueError: The table does not hold the old grid and the prefix, grids have other
        numbers of axes, or the method is not known.

    Example:
      >>> import jax, jinit
      >>> table = jinit.normal(std=0.02)(jax.random.key(0), (1, 1 + 14 * 14, 768))
      >>> jinit.transplant.resize_positions(table, (24, 24), prefix=1).shape
      (1, 577, 768)

    References:
      Dosovitskiy et al. (2021), arXiv:2010.11929, section 3.2. The numbers are those of
      torch's "bicubic" with `antialias=True`, timm's default; without it torch's cubic
      is another (a = -0.75). big_vision has `scipy.ndimage.zoom(order=1)`, which puts
      the corners of one grid onto those of the other.
    """
    w = weights("table", table)
    new, prefix = _grid("grid", grid), _checks.count("prefix", prefix, at_least=0)
    method = _checks.choice("method", method, _METHODS)
    if w.ndim < 2:
        raise ValueError(
            f"table must have an axis of positions and one of features, got shape "
            f"{w.shape}."
        )
    places = w.shape[-2] - prefix
    side = round(max(places, 0) ** (1 / max(len(new), 1)))
    old = (side,) * len(new) if old_grid is None else _grid("old_grid", old_grid)
    if len(old) != len(new) or math.prod(old) != places or 0 in old or 0 in new:
        raise ValueError(
            f"table of shape {w.shape} must hold {prefix} positions of the prefix and "
            f"those of a grid of {len(new)} axes, got old_grid={old_grid!r} for "
            f"{places} positions; give the grid that it has (old_grid=), and how many "
            "positions are before it (prefix=)."
        )
    rest, features = w.shape[:-2], w.shape[-1]
    image = w[..., prefix:, :].astype(wide_dtype(w.dtype))
    image = image.reshape(*rest, *old, features)
    image = jax.image.resize(image, (*rest, *new, features), method, antialias=True)
    resized = _draws.round_to(image.reshape(*rest, -1, features), w.dtype)
    return jnp.concatenate([w[..., :prefix, :], resized], -2)


def inflate(
    kernel: ArrayLike, size: int, *, axis: int = 0, kind: str = "mean"
) -> jax.Array:
    """A kernel for video of one for images: one more axis, that of time.

        mean      W'[t] = W / size, for every t
        center    W'[size // 2] = W, and 0 elsewhere

    On a video that does not change, away from its borders in time, either gives what
    the kernel gave for one image.

    Args:
      kernel: The kernel, such as (height, width, in, out).
      size: Its size in time.
      axis: Where the new axis is to be, of those of the new kernel.
      kind: "mean" or "center".

    Returns:
      The kernel with the axis, in its dtype.

    Raises:
      TypeError: The kernel is not floating-point or complex, or size no integer.
      ValueError: The size is less than 1, there is no such axis, or the kind is
        neither.

    Example:
      >>> import jax, jinit
      >>> kernel = jinit.he_normal()(jax.random.key(0), (7, 7, 3, 64))
      >>> jinit.transplant.inflate(kernel, 5).shape
      (5, 7, 7, 3, 64)

    References:
      Carreira and Zisserman (2017), arXiv:1705.07750 (I3D), section 2.4, for the mean;
      Arnab et al. (2021), arXiv:2103.15691 (ViViT), section 3.4, for the center.
    """
    w, size = weights("kernel", kernel), _checks.count("size", size)
    kind = _checks.choice("kind", kind, _KINDS)
    shape = (*w.shape, 1)  # of as many axes as the new one
    axis = _checks.resolve_axis(shape, axis, "name one of the new kernel")
    one = jnp.expand_dims(w, axis)
    if kind == "mean":
        share = one.astype(wide_dtype(w.dtype)) / size
        return jnp.repeat(_draws.round_to(share, w.dtype), size, axis)
    empty = partial(jnp.zeros, dtype=w.dtype)
    before, after = size // 2, size - 1 - size // 2
    sizes = ((*one.shape[:axis], n, *one.shape[axis + 1 :]) for n in (before, after))
    left, right = map(empty, sizes)
    return jnp.concatenate([left, one, right], axis)


def _grid(name: str, grid: Sequence[int]) -> Shape:
    if not np.ndim(grid):
        raise TypeError(
            f"{name} must have a size for each of its axes, such as (24, 24), got "
            f"{grid!r}."
        )
    return _checks.check_shape(grid)
