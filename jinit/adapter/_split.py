"""Splits: a pair that is a part of its kernel, and the residual."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import Axis, Number, weights
from jinit._types import ArrayLike
from jinit.adapter._axes import Axes, axes_of


class Split(NamedTuple):
    """A kernel as a pair and what is left of it: what `jinit.adapter.pissa` returns.

        W = scale · A B + residual

    Attributes:
      a: A, of the shape that `jinit.adapter.lora` gives it.
      b: B, likewise.
      residual: The kernel that stays as it is, of the shape of W.
    """

    a: jax.Array
    b: jax.Array
    residual: jax.Array


def pissa(
    w: ArrayLike,
    rank: int,
    *,
    scale: Number = 1.0,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Split:
    """PiSSA: the pair is the principal part of the kernel, which is trained first.

        W = U S Vᵀ,    A = U_r sqrt(S_r / scale),    B = sqrt(S_r / scale) V_rᵀ

    U_r, S_r and V_r hold the `rank` largest singular values, and the residual the
    others. The residual is computed of A and B as they are rounded, so that the model
    starts as it was in half precision, too.

    Without the residual it is spectral initialization: the two factors of a layer of
    low rank that come closest to a kernel drawn for the layer of full rank.

    Args:
      w: The kernel, floating-point or complex.
      rank: The rank of the pair.
      scale: What the product of the pair is multiplied with in the model: alpha / rank,
        or alpha / sqrt(rank) (rsLoRA).
      in_axis, out_axis, batch_axis: As in `jinit.adapter.lora`.

    Returns:
      A `Split`: A, B and the residual, in the dtype of w.

    Raises:
      TypeError: The kernel is not floating-point or complex, the rank not an integer.
      ValueError: The rank is larger than that of the kernel, the scale is not greater
        than 0, or the axes do not fit the shape.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.lecun_normal()(jax.random.key(0), (64, 4, 8))
      >>> a, b, residual = jinit.adapter.pissa(w, 4, in_axis=0, out_axis=(1, 2))
      >>> a.shape, b.shape, int(jnp.linalg.matrix_rank(residual.reshape(64, 32)))
      ((64, 4), (4, 4, 8), 28)

    References:
      Meng, Wang and Zhang (2024), arXiv:2404.02948; "pissa" in peft, which has matrices
      only. Khodak et al. (2021), arXiv:2105.01029, for spectral initialization.
    """
    return _split(w, rank, scale, (in_axis, out_axis, batch_axis), _principal)


def milora(
    w: ArrayLike,
    rank: int,
    *,
    scale: Number = 1.0,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Split:
    """MiLoRA: the pair is the minor part of the kernel; the principal part stays.

    As `jinit.adapter.pissa`, with the `rank` smallest singular values: what was learnt
    is disturbed least.

    Args:
      w, rank, scale, in_axis, out_axis, batch_axis: As in `jinit.adapter.pissa`.

    Returns:
      A `Split`: A, B and the residual, in the dtype of w.

    Raises:
      TypeError, ValueError: As in `jinit.adapter.pissa`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.orthogonal(gain=2.0)(jax.random.key(0), (64, 32)).at[:, 0].mul(0.1)
      >>> a, b, residual = jinit.adapter.milora(w, 1)
      >>> print(f"{jnp.linalg.norm(a @ b, ord=2):.3f}")  # the smallest singular value
      0.200

    References:
      Wang et al. (2024), arXiv:2406.09044.
    """
    return _split(w, rank, scale, (in_axis, out_axis, batch_axis), _minor)


def olora(
    w: ArrayLike,
    rank: int,
    *,
    scale: Number = 1.0,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Split:
    """OLoRA: the pair is a QR decomposition's first part, B with orthonormal rows.

        Wᵀ = Q R,    A = R_rᵀ,    B = Q_rᵀ,    residual = W - scale · A B

    Q_r has the first `rank` columns of Q, and R_r the first rows of R. For a scale of
    1 the pair holds the first `rank` inputs of the kernel exactly.

    Args:
      w, rank, scale, in_axis, out_axis, batch_axis: As in `jinit.adapter.pissa`.

    Returns:
      A `Split`: A, B and the residual, in the dtype of w.

    Raises:
      TypeError, ValueError: As in `jinit.adapter.pissa`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.lecun_normal()(jax.random.key(0), (64, 32))
      >>> a, b, residual = jinit.adapter.olora(w, 4)
      >>> bool(jnp.allclose(b @ b.T, jnp.eye(4), atol=1e-5))
      True

    References:
      Büyükakyüz (2024), arXiv:2406.01775; "olora" in peft, which does not divide the
      pair by the scale either.
    """
    return _split(w, rank, scale, (in_axis, out_axis, batch_axis), _first)


_Factor = Callable[[jax.Array, int, Any], tuple[jax.Array, jax.Array]]


def _split(w: Any, rank: Any, scale: Any, named: Any, factor: _Factor) -> Split:
    w = weights("w", w)
    axes = axes_of(w.shape, *named)
    rank, scale = axes.check_rank(rank), _checks.positive("scale", scale)
    return _parts(w, scale, rank, axes, factor)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _parts(w: jax.Array, scale: Any, rank: int, axes: Axes, factor: _Factor) -> Split:
    wide = w.astype(wide_dtype(w.dtype))
    factors = factor(axes.matrices(wide, axes.outputs), rank, scale)
    shapes = zip(axes.full(rank), axes.shapes(rank), strict=True)
    a, b = (
        _draws.round_to(axes.kernel(matrices, full).reshape(shape), w.dtype)
        for matrices, (full, shape) in zip(factors, shapes, strict=True)
    )
    # The residual is that of the pair as rounded, which the compiler might leave out.
    a, b = lax.optimization_barrier((a, b))
    residual = wide - scale * axes.product(a, b, rank, wide.dtype)
    return Split(a, b, _draws.round_to(residual, w.dtype))


def _singular(
    matrices: jax.Array, scale: Any, part: slice
) -> tuple[jax.Array, jax.Array]:
    u, s, vh = jnp.linalg.svd(matrices, full_matrices=False)
    root = jnp.sqrt(s[:, part] / scale).astype(u.dtype)
    return u[:, :, part] * root[:, None, :], root[:, :, None] * vh[:, part]


def _principal(m: jax.Array, rank: int, scale: Any) -> tuple[jax.Array, jax.Array]:
    return _singular(m, scale, slice(rank))


def _minor(m: jax.Array, rank: int, scale: Any) -> tuple[jax.Array, jax.Array]:
    return _singular(m, scale, slice(min(m.shape[1:]) - rank, None))


def _first(m: jax.Array, rank: int, scale: Any) -> tuple[jax.Array, jax.Array]:
    q, r = jnp.linalg.qr(m.mT)
    return r[:, :rank].mT, q[:, :, :rank].mT
