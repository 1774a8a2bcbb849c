"""Orthogonal initializers: kernels that keep the length of what passes through."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _draws
from jinit._checks import Axis, Number, Shape, axes, check_range, or_none
from jinit._haar import haar, not_isometric
from jinit._initializer import Breaks, Initializer, option
from jinit.gains._gain import Gain, check_gain, resolve_gain
from jinit.laws import Moments

Sides = tuple[tuple[int, ...], ...]
"""The axes of the batch, of the rows and of the columns."""


class _Orthogonal(Initializer):
    """A gain, times a factor for the shape, times an orthogonal matrix."""

    gain: Gain = option(check_gain, default=1.0)
    in_axis: Axis | None = option(or_none(axes), default=None)
    out_axis: Axis = option(axes, default=-1)
    batch_axis: Axis = option(axes, default=())

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._sides(shape)

    def _sides(self, shape: Shape) -> Sides:
        remedy = (
            f"{type(self).__name__} needs an axis of inputs and one of outputs "
            "(in_axis=, out_axis=); for a vector use jinit.normal()"
        )
        _, outs, batch = self._axes(shape, remedy)
        rows = tuple(a for a in range(len(shape)) if a not in (*outs, *batch))
        return batch, rows, outs

    def _factor(self, rows: int, columns: int) -> float:
        return 1.0

    def _size(self, shape: Shape) -> tuple[int, int]:
        """The numbers of rows and of columns."""
        _, rows, columns = self._sides(shape)
        return math.prod(shape[a] for a in rows), math.prod(shape[a] for a in columns)

    def _singular_value(self, shape: Shape) -> Any:
        return resolve_gain(self.gain) * self._factor(*self._size(shape))

    def _law(self, shape: Shape, dtype: np.dtype) -> Moments:
        # The squares of the min(rows, columns) singular values sum to the weights'.
        std = self._singular_value(shape) / math.sqrt(max(self._size(shape)))
        return Moments(0.0, std)

    def _breaks(self, array: np.ndarray) -> Breaks:
        batch, rows, outs = self._sides(array.shape)
        size = self._size(array.shape)
        matrices = array.transpose(*batch, *rows, *outs).reshape(-1, *size)
        yield from not_isometric(matrices, self._singular_value(array.shape))

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        gain = self._singular_value(shape)
        check_range("the largest singular value", gain, dtype)
        return _kernel(key, shape, dtype, self._sides(shape), gain)


class orthogonal(_Orthogonal):
    """A uniformly random (semi-)orthogonal matrix; unitary in a complex dtype.

        M of shape (inputs, outputs):    MᵀM = gain² I  if inputs >= outputs,
                                         MMᵀ = gain² I  if inputs <= outputs

    The kernel of a convolution is flattened as torch does it: its rows are the spatial
    axes with the inputs, its columns the outputs. Drawn from the Haar measure: all
    orthogonal matrices are equally likely. In bfloat16 and narrower it is computed in
    float32 and rounded. There are only matrix products in it, and no QR decomposition,
    which makes it fast on every backend.

    Args:
      gain: Factor of the singular values, or the activation: see `jinit.gain`.
      in_axis, out_axis, batch_axis: See `jinit.fans`. All that is not outputs or batch
        counts as inputs; the kernels of a batch are independent.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.orthogonal(gain=2.0)(jax.random.key(0), (3, 3, 8, 16))
      >>> m = w.reshape(72, 16)
      >>> bool(jnp.allclose(m.T @ m, 4 * jnp.eye(16), atol=1e-5))
      True

    References:
      Saxe, McClelland and Ganguli (2013), arXiv:1312.6120. Stewart (1980), "The
      efficient generation of random orthogonal matrices"; Joffrain et al. (2006),
      "Accumulating Householder transformations, revisited", for the block form;
      Mezzadri (2007), arXiv:math-ph/0609050, for the signs. `torch.nn.init.orthogonal_`
      and `jax.nn.initializers.orthogonal` refuse half precision.
    """


class scaled_orthogonal(_Orthogonal):
    """An orthogonal matrix that keeps the size of each output where a layer widens.

        M (inputs, outputs) has singular values gain · max(1, sqrt(outputs / inputs))

    An orthogonal matrix keeps the length of its input, which in a wider layer is spread
    over more outputs; the factor makes up for that. Where the layer narrows, part of
    the input is lost, and the rest is kept as it is.

    Args:
      gain, in_axis, out_axis, batch_axis: As in `jinit.orthogonal`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.scaled_orthogonal()(jax.random.key(0), (64, 256))
      >>> print(f"{jnp.linalg.norm(w, ord=2):.3f}")  # sqrt(256 / 64)
      2.000

    References:
      Martens et al. (2021), "Rapid training of deep neural networks without skip
      connections or normalization layers", arXiv:2110.01765, where it is called scaled
      uniform orthogonal (SUO) and, for convolutions, is the tap of a delta kernel.
    """

    def _factor(self, rows: int, columns: int) -> float:
        return max(1.0, math.sqrt(columns / rows))


class spectral_orthogonal(_Orthogonal):
    """An orthogonal matrix that meets the spectral condition for learning features.

        M (inputs, outputs) has singular values gain · sqrt(outputs / inputs)

    Inputs of root mean square 1 give outputs of at most 1, and of 1 where the layer
    does not narrow, whatever the widths.

    Args:
      gain, in_axis, out_axis, batch_axis: As in `jinit.orthogonal`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.spectral_orthogonal()(jax.random.key(0), (256, 64))
      >>> print(f"{jnp.linalg.norm(w, ord=2):.3f}")  # sqrt(64 / 256)
      0.500

    References:
      Yang, Simon and Bernstein (2023), "A spectral condition for feature learning",
      arXiv:2310.17813.
    """

    def _factor(self, rows: int, columns: int) -> float:
        return math.sqrt(columns / rows)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _kernel(
    key: jax.Array, shape: Shape, dtype: np.dtype, axes: Sides, gain: Number
) -> jax.Array:
    """Draws one matrix for each batch index, and gives it the kernel's axes."""
    batch, rows, columns = (tuple(shape[axis] for axis in side) for side in axes)
    size = (math.prod(batch), math.prod(rows), math.prod(columns))
    matrices = haar(key, size, dtype)
    matrices *= jnp.asarray(gain, matrices.dtype)
    kernel = _draws.round_to(matrices, dtype).reshape(*batch, *rows, *columns)
    return kernel.transpose(np.argsort(sum(axes, ())))
