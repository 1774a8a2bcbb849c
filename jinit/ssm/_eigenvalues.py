"""Diagonal state matrices: the eigenvalues that S4D, S5 and Mamba start from."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._checks import Shape, choice, count, or_none
from jinit._initializer import Initializer, option
from jinit.laws import Complex, Law, Moments
from jinit.ssm._hippo import dplr

METHODS = ("lin", "inv", "real", "legs")
PARTS = ("real", "imag", "log")


class eigenvalues(Initializer):
    """The eigenvalues of a diagonal state matrix, along the last axis.

        lin     -1/2 + i π k
        inv     -1/2 + i (N / π) (N / (2k + 1) - 1)
        legs    -1/2 + i those of HiPPO-LegS, by `jinit.ssm.dplr`
        real    -(k + 1)

    Of a complex one the leaf has n = 0, ..., N/2 - 1: one of each conjugate pair, that
    of positive imaginary part. Nothing is random, and all rows are alike.

    Args:
      method: "lin", "inv", "real" or "legs".
      blocks: How many systems of their own lie side by side on the last axis.
      part: None for complex numbers; "real" or "imag" for a leaf of one part; "log" for
        one of the logarithm of minus the real part, which keeps the state stable.
        Mamba's A_log is `eigenvalues("real", part="log")`, the logarithms of 1 to N.

    Raises:
      TypeError: At the call: the dtype is real and the numbers are not, or the other
        way round.
      ValueError: An option has none of its values. At the call: the shape is a
        scalar's, or `blocks` does not divide the last axis.

    Example:
      >>> import jax, jinit
      >>> key = jax.random.key(0)
      >>> print(jinit.ssm.eigenvalues("lin")(key, (3,)).round(2))
      [-0.5+0.j   -0.5+3.14j -0.5+6.28j]
      >>> a_log = jinit.ssm.eigenvalues("real", part="log")(key, (64, 16))
      >>> print(-jax.numpy.exp(a_log)[0, :4].round(4))
      [-1. -2. -3. -4.]

    References:
      Gu et al. (2022), arXiv:2206.11893, section 4, S4D-Lin, -Inv, -Real and -LegS;
      Smith et al. (2023), arXiv:2208.04933, for blocks. `state-spaces/s4` and
      `lindermanlab/S5` keep the conjugates, which is the same model.
    """

    method: str = option(partial(choice, choices=METHODS), default="lin", kw_only=False)
    blocks: int = option(count, default=1)
    part: str | None = option(or_none(partial(choice, choices=PARTS)), default=None)
    _random = False

    def _check_options(self) -> None:
        if self._is_complex():
            self._set(_dtype="complex")

    def _is_complex(self) -> bool:
        return self.part is None and self.method != "real"

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if self.part is not None:
            _checks.check_real(self, dtype)
        elif not jnp.issubdtype(
            dtype, np.complexfloating if self._is_complex() else np.inexact
        ):
            raise TypeError(
                f"{self!r} makes complex numbers, got dtype={dtype.name}; use "
                "complex64, or part='log' and part='imag' for two real leaves."
            )
        if not shape or shape[-1] % self.blocks:
            raise ValueError(
                f"blocks must divide the last axis, got blocks={self.blocks} and shape "
                f"{shape}."
            )

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        values = self._values_of(shape)
        parts = [values.real, values.imag] if np.iscomplexobj(values) else [values]
        laws = [Moments(float(part.mean()), float(part.std())) for part in parts]
        return Complex(*laws) if len(laws) == 2 else laws[0]

    def _values_of(self, shape: Shape) -> np.ndarray:
        values = np.tile(_spectrum(self.method, shape[-1] // self.blocks), self.blocks)
        if self.part is None:
            return values if self._is_complex() else values.real
        if self.part == "log":
            return np.log(-values.real)
        return np.real(values) if self.part == "real" else np.imag(values)

    def _draw(self, key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
        return jnp.broadcast_to(_draws.cast(self._values_of(shape), dtype), shape)


def _spectrum(method: str, n: int) -> np.ndarray:
    """The n eigenvalues of a system, which has 2n states where they are complex."""
    k, states = np.arange(n), 2 * n
    if method == "real":
        return -(k + 1.0) + 0j
    if method == "lin":
        return -0.5 + 1j * np.pi * k
    if method == "inv":
        return -0.5 + 1j * states / np.pi * (states / (2 * k + 1) - 1)
    return dplr(states).eigenvalues[n:]
