"""Position tables: sines and cosines of where a token or a patch is."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from jinit._checks import (
    Shape,
    choice,
    count,
    flag,
    is_sequence,
    known,
    or_none,
    positive,
)
from jinit._initializer import option
from jinit.vision._table import Table

LAYOUTS = ("interleaved", "halves")


def _base(name: str, value: Any) -> float:
    return positive(name, known(name, value))


def _grid(name: str, value: Any) -> tuple[int, int]:
    """Rows and columns."""
    if not is_sequence(value) or len(value) != 2:
        raise TypeError(f"{name} must be two integers, (rows, columns), got {value!r}.")
    rows, columns = (count(name, each) for each in value)
    return rows, columns


class sinusoidal(Table):
    """Sines and cosines of positions, at frequencies from 1 to nearly 1 / base.

        angle[n, i] = n · base^(-2i / d)            i = 0 .. d / 2 - 1
        interleaved    W[n, 2i], W[n, 2i + 1] = sin, cos of angle[n, i]
        halves         W[n, i], W[n, d / 2 + i] = likewise

    Any shift of the position is a rotation of each pair. Angles are computed in double
    precision: of float32 angles the sines are off by 0.001 at position 32 000, and by
    0.005 at 130 000.

    Args:
      base: The largest wavelength in turns of 2π, also called theta or temperature.
      layout: Where sine and cosine of a frequency are: "interleaved" or "halves".
      endpoint: Whether the last frequency is 1 / base itself: the exponent 2i / d is
        then 2i / (d - 2).
      grid: The (rows, columns) of patches, row after row: the first half of the columns
        then has the table of the patch's column, and the second that of its row.

    Returns:
      An initializer for shapes (..., n, d), where the leading axes are of size 1.

    Raises:
      ValueError: At the call: d is odd (with a grid: not a multiple of 4), n is not
        rows times columns, or a leading axis is not of size 1.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> table = jinit.vision.sinusoidal()(jax.random.key(0), (512, 64))
      >>> print(f"{table[100] @ table[107]:.2f} {table[300] @ table[307]:.2f}")
      23.26 23.26

    References:
      Vaswani et al. (2017), arXiv:1706.03762, section 3.5. Flax's examples (lm1b, wmt)
      and Tensor2Tensor: `layout="halves", endpoint=True`; with a grid that is
      big_vision's `posemb_sincos_2d`, and without the endpoint MAE's. The halves are
      the sines and cosines of rotary embeddings, RoPE.
    """

    base: float = option(_base, default=10000.0)
    layout: str = option(partial(choice, choices=LAYOUTS), default="interleaved")
    endpoint: bool = option(flag, default=False)
    grid: tuple[int, int] | None = option(or_none(_grid), default=None)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        parts = 2 if self.grid is None else 4
        if len(shape) < 2 or shape[-1] % parts or math.prod(shape[:-2]) > 1:
            raise ValueError(
                f"sinusoidal needs a shape (n, d), or (1, n, d), with d a multiple of "
                f"{parts}, got {shape}."
            )
        if self.grid is not None and shape[-2] not in (0, math.prod(self.grid)):
            raise ValueError(
                f"grid must have as many patches as shape {shape} has positions, got "
                f"grid={self.grid}; a class token needs a parameter of its own."
            )

    def _table(self, shape: Shape) -> np.ndarray:
        positions, width = np.arange(shape[-2]), shape[-1]
        if self.grid is None:
            table = self._of(positions, width)
        else:
            places = np.divmod(positions, self.grid[1])
            table = np.hstack([self._of(place, width // 2) for place in places[::-1]])
        return table.reshape(shape)

    def _of(self, positions: np.ndarray, width: int) -> np.ndarray:
        """The table of positions along one axis."""
        exponents = np.linspace(0, 1, width // 2, endpoint=self.endpoint)
        angles = np.outer(positions, self.base**-exponents)
        waves = np.stack([np.sin(angles), np.cos(angles)], 1)
        if self.layout == "interleaved":
            waves = waves.swapaxes(1, 2)
        return waves.reshape(len(positions), width)
