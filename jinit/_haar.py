"""Haar matrices: uniformly random orthogonal and unitary ones, by matrix products.

No QR decomposition is computed. The Q of a matrix of independent normals is a product
of reflections whose vectors are themselves independent normals (Stewart 1980), so the
vectors are drawn directly and multiplied out, a block of columns at a time (Joffrain et
al. 2006). Matrix products are fast on every backend, and in batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _draws
from jinit._bits import wide_dtype
from jinit._checks import Shape


def haar(key: jax.Array, size: Shape, dtype: np.dtype) -> jax.Array:
    """Draws a batch of Haar (semi-)orthogonal matrices in the dtype of computation."""
    batch, rows, columns = size
    if rows < columns:
        return haar(key, (batch, columns, rows), dtype).mT
    x = _draws.normal(key, size, wide_dtype(dtype), 0.0, 1.0)
    return jax.vmap(_orthonormal_columns)(x)


def precision(dtype: np.dtype) -> float:
    """By how much products of columns may be off that were rounded to a dtype."""
    return max(0.01, 30 * float(jnp.finfo(dtype).eps))


def not_isometric(
    matrices: np.ndarray, gain: float, error: float | None = None
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with matrices whose singular values are to be `gain`."""
    error = precision(matrices.dtype) if error is None else error
    wide = np.complex128 if np.iscomplexobj(matrices) else np.float64
    off = 0.0  # of some columns of the first matrices, or rows of wide ones
    for matrix in matrices[:_MEMBERS].astype(wide):
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        columns = tall[:, :: -(-tall.shape[1] // _COLUMNS)]
        gram = columns.conj().T @ columns - gain**2 * np.eye(columns.shape[1])
        off = max(off, float(abs(gram).max()) / (gain**2 or 1.0))
    if not off <= error:
        message = f"columns are not orthogonal: their products are off by {off:.2g}"
        yield "spectrum", message, "drawn by an initializer of independent weights"


_MEMBERS, _COLUMNS = 4, 64  # whose products are taken


def _orthonormal_columns(x: jax.Array) -> jax.Array:
    """The product of the reflections that column k of `x`, from row k down, defines."""
    # With H_k = I - 2 v_k v_kᴴ such that H_k x_k = -sign(x_kk) |x_k| e_k, the Q of a QR
    # decomposition is H_1 H_2 ..., with the signs of R's diagonal made positive.
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
    """Applies the product of the reflections in the columns of `v` to diag(I, q)."""
    from jax.scipy.linalg import block_diag, solve_triangular  # slow to import

    # The product is I - V T Vᴴ, where the inverse of T is the upper triangle of VᴴV
    # with its diagonal halved (Joffrain et al. 2006, the UT transform).
    width = v.shape[1]
    identity = jnp.eye(width, dtype=v.dtype)
    inverse_of_t = jnp.triu(matmul(v.mT.conj(), v), 1) + identity / 2
    from_identity, from_q = v[:width].mT.conj(), matmul(v[width:].mT.conj(), q)
    projected = jnp.concatenate([from_identity, from_q], axis=1)
    update = matmul(v, solve_triangular(inverse_of_t, projected))
    return block_diag(identity, q) - update


# Accelerators multiply float32 matrices in fewer digits by default.
matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
