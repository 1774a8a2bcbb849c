"""Matrices of S5: input and output, in the eigenbasis of HiPPO."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _draws
from jinit._bits import real_dtype
from jinit._checks import Shape, count
from jinit._combine import Combinator, draw_one
from jinit._initializer import Breaks, Initializer, option
from jinit.laws import Law, Moments, Normal
from jinit.ssm._hippo import dplr


class _InEigenbasis(Combinator):
    """A matrix drawn for all states, and then turned to one of each pair."""

    blocks: int = option(count, default=1)
    _states: ClassVar[int]  # the axis of the states
    _layout: ClassVar[str]
    _part: ClassVar[float]  # the deviation of a part, by that of what is turned

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        complex_ = jnp.issubdtype(dtype, np.complexfloating)
        whole = len(shape) == 2 if complex_ else len(shape) == 3 and shape[-1] == 2
        if not whole or shape[self._states] % self.blocks:
            raise ValueError(
                f"{type(self).__name__} needs {self._layout} in a complex dtype, or "
                "with a last axis of two for real and imaginary parts in a real one, "
                f"and as many pairs as blocks={self.blocks} divides; got shape {shape} "
                f"and dtype {dtype.name}."
            )
        self._check_within(self._within(shape)[1], real_dtype(dtype))

    def _within(self, shape: Shape) -> tuple[Any, Shape]:
        """The shape of the matrix that is drawn: of two states for each pair."""
        sizes = [*shape[:2]]
        sizes[self._states] *= 2
        return None, tuple(sizes)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        law = super()._law(shape, np.dtype(np.float64))
        if law is None or abs(law.mean) > 1e-9 * law.std:
            return None
        complex_ = jnp.issubdtype(dtype, np.complexfloating)
        std = self._part * law.std * (math.sqrt(2) if complex_ else 1)
        # A turn of independent normal numbers makes others of the kind.
        return Normal(0.0, std) if isinstance(law, Normal) else Moments(0.0, std)

    def _breaks(self, array: np.ndarray) -> Breaks:
        yield from Initializer._breaks(self, array)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        _, within = self._within(shape)
        real = real_dtype(dtype)
        pairs = shape[self._states] // self.blocks
        v = dplr(2 * pairs).v[:, pairs:]
        turn = [jnp.asarray(part, real) for part in (v.real, v.imag)]
        parts = self._turned(key, within, real, turn)
        parts = [part.reshape(shape[:2]) for part in parts]
        if jnp.issubdtype(dtype, np.complexfloating):
            return lax.complex(*parts)
        return _draws.round_to(jnp.stack(parts, -1), dtype)

    def _turned(
        self, key: Any, shape: Shape, dtype: np.dtype, v: list[jax.Array]
    ) -> list[jax.Array]:
        """The real and the imaginary part in the eigenbasis v."""
        raise NotImplementedError


class s5_input(_InEigenbasis):
    """The input matrix of S5: a real matrix in the eigenbasis of HiPPO.

        B̃ = Vᴴ B,    B ~ init of shape (2 P, H)

    V holds the eigenvectors of `jinit.ssm.dplr`, one of each conjugate pair, in blocks.
    It is a turn: of a normal B, B̃ is normal, with half of the variance for each part,
    so that only the law of another `init` needs it.

    Args:
      init: The initializer of B, with a row for each state and a column for each input.
      blocks: How many systems of their own the states belong to.

    Raises:
      ValueError: At the call: the shape is neither (P, H) in a complex dtype nor
        (P, H, 2) in a real one, or `blocks` does not divide P.

    Example:
      >>> import jax, jinit
      >>> init = jinit.ssm.s5_input(jinit.lecun_normal(), blocks=4)
      >>> B = init(jax.random.key(0), (32, 400, 2))  # 64 states
      >>> print(f"{B.std() * 64**0.5:.1f}")  # sqrt(1/2)
      0.7

    References:
      Smith et al. (2023), arXiv:2208.04933, appendix B.1; `lindermanlab/S5`, whose
      `lecun_normal()` scales B by the number of states, as the example does: by that
      of the inputs it is `lecun_normal(in_axis=-1, out_axis=-2)`.
    """

    _states, _layout, _part = 0, "(pairs of states, inputs)", math.sqrt(1 / 2)

    def _turned(
        self, key: Any, shape: Shape, dtype: np.dtype, v: list[jax.Array]
    ) -> list[jax.Array]:
        b = draw_one(self.init, key, shape, dtype)
        b = b.reshape(self.blocks, -1, shape[1])
        real, imaginary = (_product("nk,jnh->jkh", part, b) for part in v)
        return [real, -imaginary]


class s5_output(_InEigenbasis):
    """The output matrix of S5: a complex matrix in the eigenbasis of HiPPO.

        C̃ = C V,    real and imaginary part of C ~ init of shape (H, 2 P)

    The output is twice the real part of C̃ x̃. As in `jinit.ssm.s5_input`, V is a turn,
    and the parts of C̃ have the variance of those of C.

    Args:
      init: The initializer of either part of C, with a row for each output and a column
        for each state.
      blocks: How many systems of their own the states belong to.

    Raises:
      ValueError: At the call: the shape is neither (H, P) in a complex dtype nor
        (H, P, 2) in a real one, or `blocks` does not divide P.

    Example:
      >>> import jax, jinit
      >>> by_states = jinit.lecun_normal(in_axis=-1, out_axis=-2)
      >>> init = jinit.ssm.s5_output(by_states, blocks=4)
      >>> C = init(jax.random.key(0), (400, 32), "complex64")  # 64 states
      >>> print(f"{C.std() * 64**0.5:.1f}")  # sqrt(2), of both parts
      1.4

    References:
      Smith et al. (2023), arXiv:2208.04933, appendix B.1; the "trunc_standard_normal"
      of `lindermanlab/S5` is the example's. Its "complex_normal" is not turned:
      `jinit.normal(std=0.5**0.5)` on (H, P, 2).
    """

    _states, _layout, _part = 1, "(outputs, pairs of states)", 1.0

    def _turned(
        self, key: Any, shape: Shape, dtype: np.dtype, v: list[jax.Array]
    ) -> list[jax.Array]:
        keys = jax.random.split(key) if self._random else (key, key)
        c = [draw_one(self.init, each, shape, dtype) for each in keys]
        c = [part.reshape(shape[0], self.blocks, -1) for part in c]
        (rr, ri), (ir, ii) = (
            [_product("hjn,nk->hjk", part, turn) for turn in v] for part in c
        )
        return [rr - ii, ri + ir]


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, precision=lax.Precision.HIGHEST)
