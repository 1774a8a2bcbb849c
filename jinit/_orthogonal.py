"""Orthogonal initializers: kernels that keep the length of what passes through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import block_diag, solve_triangular

from jinit import _options, _sample
from jinit._arguments import Shape
from jinit._gains import Gain, check_gain, resolve_gain
from jinit._initializer import Initializer
from jinit._options import Axis, Number


@dataclass(frozen=True, kw_only=True, repr=False)
class orthogonal(Initializer):
    """A uniformly random (semi-)orthogonal matrix; unitary in a complex dtype.

        M of shape (inputs, outputs):    MᵀM = gain² I  if inputs >= outputs,
                                         MMᵀ = gain² I  if inputs <= outputs

    The kernel of a convolution is flattened as torch does it: its rows are the spatial
    axes with the inputs, its columns the outputs. Drawn from the Haar measure: all
    orthogonal matrices are equally likely. In bfloat16 and narrower it is computed in
    float32 and rounded.

    No QR decomposition is computed. The Q of a matrix of independent normals is a
    product of reflections whose vectors are themselves independent normals (Stewart
    1980), so the vectors are drawn directly and multiplied out, a block of columns at a
    time, with matrix products, which are fast on every backend.

    Args:
      gain: Factor of the singular values: a number, or the name of a nonlinearity (see
        `jinit.calculate_gain`).
      in_axis: Axis or axes of the inputs.
      out_axis: Axis or axes of the outputs.
      batch_axis: Axes along which independent kernels are stacked.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

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

    gain: Gain = 1.0
    in_axis: Axis = -2
    out_axis: Axis = -1
    batch_axis: Axis = ()

    def __post_init__(self) -> None:
        self._set(
            **_options.distinct_axes(
                in_axis=self.in_axis,
                out_axis=self.out_axis,
                batch_axis=self.batch_axis,
            )
        )
        self._set(gain=check_gain("gain", self.gain))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._axes(shape)

    def _axes(self, shape: Shape) -> tuple[tuple[int, ...], ...]:
        """The axes of the batch, of the rows and of the columns."""
        _, outs, batch = _options.resolve_axes(
            shape,
            "orthogonal needs an axis of inputs and one of outputs (in_axis=, "
            "out_axis=); for a vector use jinit.normal()",
            in_axis=self.in_axis,
            out_axis=self.out_axis,
            batch_axis=self.batch_axis,
        )
        rows = tuple(a for a in range(len(shape)) if a not in (*outs, *batch))
        return batch, rows, outs

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return _kernel(key, shape, dtype, self._axes(shape), resolve_gain(self.gain))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _kernel(
    key: jax.Array,
    shape: Shape,
    dtype: np.dtype,
    axes: tuple[tuple[int, ...], ...],
    gain: Number,
) -> jax.Array:
    """Draws one matrix for each batch index, and gives it the kernel's axes."""
    batch, rows, columns = (tuple(shape[axis] for axis in side) for side in axes)
    size = (math.prod(batch), math.prod(rows), math.prod(columns))
    matrices = haar(key, size, dtype)
    matrices *= jnp.asarray(gain, matrices.dtype)
    kernel = _sample.round_to(matrices, dtype).reshape(*batch, *rows, *columns)
    return kernel.transpose(np.argsort(sum(axes, ())))


def haar(key: jax.Array, size: Shape, dtype: np.dtype) -> jax.Array:
    """Draws a batch of Haar (semi-)orthogonal matrices in the dtype of computation.

    Args:
      key: One key.
      size: (batch, rows, columns).
      dtype: Real or complex, of any width.

    Returns:
      An array of that size: orthonormal columns if rows >= columns, else rows.
    """
    batch, rows, columns = size
    if rows < columns:
        return haar(key, (batch, columns, rows), dtype).mT
    complex_valued = jnp.issubdtype(dtype, np.complexfloating)
    wide = dtype if complex_valued else _sample.real_dtype(dtype)
    x = _sample.normal(key, size, wide, 0.0, 1.0)
    return jax.vmap(_orthonormal_columns)(x)


def _orthonormal_columns(x: jax.Array) -> jax.Array:
    """The product of the reflections that column k of `x`, from row k down, defines.

    With H_k = I - 2 v_k v_kᴴ such that H_k x_k = -sign(x_kk) |x_k| e_k, the Q of a QR
    decomposition is H_1 H_2 ..., with the signs of R's diagonal made positive.
    """
    rows, columns = x.shape
    x = jnp.tril(x)
    diagonal = jnp.diagonal(x)
    sign = jnp.where(diagonal == 0, jnp.ones_like(diagonal), jnp.sign(diagonal))[None]
    v = x + jnp.eye(rows, columns, dtype=x.dtype) * (sign * _lengths(x))
    v /= _lengths(v)
    # More blocks waste less work on zeros, but each takes time to compile: one block up
    # to 512 columns and four beyond cost least for a first draw, compilation included.
    width = max(512, -(-columns // 4))
    q = jnp.zeros((rows - columns, 0), x.dtype)
    for start in reversed(range(0, columns, width)):
        q = _reflect(v[start:, start : start + width], q)
    return -q * sign


def _lengths(columns: jax.Array) -> jax.Array:
    """The Euclidean length of each column, in the dtype of the columns."""
    squares = jnp.sum(abs(columns) ** 2, axis=0, keepdims=True)
    return jnp.sqrt(squares).astype(columns.dtype)


def _reflect(v: jax.Array, q: jax.Array) -> jax.Array:
    """Applies the product of the reflections in the columns of `v` to diag(I, q).

    The product is I - V T Vᴴ, where the inverse of T is the upper triangle of VᴴV with
    its diagonal halved (Joffrain et al. 2006, the UT transform).
    """
    width = v.shape[1]
    identity = jnp.eye(width, dtype=v.dtype)
    inverse_of_t = jnp.triu(_matmul(v.mT.conj(), v), 1) + identity / 2
    from_identity, from_q = v[:width].mT.conj(), _matmul(v[width:].mT.conj(), q)
    projected = jnp.concatenate([from_identity, from_q], axis=1)
    update = _matmul(v, solve_triangular(inverse_of_t, projected))
    return block_diag(identity, q) - update


# Accelerators multiply float32 matrices in fewer digits by default.
_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
