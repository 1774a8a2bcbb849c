"""Pointwise: initializers that draw by another, and change each weight by itself.

The one within is drawn in float32 (float64), changed, and rounded once. A constant is
changed on the host, in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit._basic import constant, ones, zeros
from jinit._bits import wide_dtype
from jinit._checks import Shape
from jinit._combine import Combinator, draw_one
from jinit._initializer import Breaks, Initializer
from jinit.laws import Law, Mixture, Moments


class Pointwise(Combinator):
    """An initializer whose weights are each a function of one of the one within."""

    _constant: ClassVar[constant | None] = None  # that it is, if the one within is one

    def _check_options(self) -> None:
        super()._check_options()
        values = constant_within(self.init)
        if values is not None and not self._is_traced():
            self._set(_constant=constant(self._of_values(values)))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if self._constant is not None:
            self._constant._check_all(shape, dtype)
            return
        if not jnp.issubdtype(dtype, np.inexact):
            raise TypeError(
                f"{self!r} draws floating-point numbers, got dtype={dtype.name}; draw "
                "in float32 and round."
            )
        super()._check(shape, dtype)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        if self._constant is not None:
            return self._constant._law(shape, dtype)
        law = super()._law(shape, dtype)
        return None if law is None else self._of_law(law)

    def _breaks(self, array: np.ndarray) -> Breaks:
        if not self._random:
            yield from Initializer._breaks(self, array)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        if self._constant is not None:
            return self._constant._draw(key, shape, dtype)
        # Or XLA would make y of log(exp(y)), and the bits depend on what is around.
        w = lax.optimization_barrier(draw_one(self.init, key, shape, wide_dtype(dtype)))
        return self._of_draw(w, dtype)

    def _of_values(self, values: np.ndarray) -> np.ndarray:
        """What becomes of numbers that are known."""
        raise NotImplementedError

    def _of_draw(self, w: jax.Array, dtype: np.dtype) -> jax.Array:
        """What becomes of a draw, rounded to a dtype."""
        raise NotImplementedError

    def _of_law(self, law: Law) -> Law | None:
        """What becomes of a law; None where it is not known."""
        raise NotImplementedError


def constant_within(init: Any) -> np.ndarray | None:
    """The values of an initializer that is a constant."""
    if isinstance(init, Pointwise):
        init = init._constant
    if isinstance(init, zeros | ones):
        return np.array(float(isinstance(init, ones)))
    known = isinstance(init, constant) and not init._is_traced()
    return np.asarray(init.value) if known else None


def part_by_part(law: Law, change: Callable[[Law], Law | None]) -> Law | None:
    """Changes a law, each part of a mixture by itself; None of what is not known."""
    law = law.simplified()
    if isinstance(law, Mixture):
        parts = [(share, part_by_part(part, change)) for share, part in law.parts]
        known = tuple((share, part) for share, part in parts if part is not None)
        return Mixture(known) if len(known) == len(parts) else None
    return None if isinstance(law, Moments) else change(law)
