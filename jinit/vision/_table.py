"""Tables: arrays that are known, computed in double precision and rounded once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _draws
from jinit._basic import constant
from jinit._checks import Shape
from jinit._initializer import Initializer
from jinit.laws import Law


class Table(Initializer):
    """An initializer whose array follows from the shape."""

    _random = False

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{self!r} fills with fractions, got dtype={dtype.name}; use a "
                "floating-point or complex dtype."
            )

    def _table(self, shape: Shape) -> np.ndarray:
        """The array in double precision."""
        raise NotImplementedError

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return constant(self._table(shape))._law(shape, dtype)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return _draws.cast(self._table(shape), dtype)
