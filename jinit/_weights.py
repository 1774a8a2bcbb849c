"""Weights that are given: checked, and the dtype in which they are computed with."""

from __future__ import annotations

import reprlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit._bits import real_dtype


def weights(name: str, w: Any) -> jax.Array:
    """An array of weights, refusing what has no fractions."""
    try:
        array = jnp.asarray(w)
    except (TypeError, ValueError, OverflowError) as error:
        kind = getattr(w, "dtype", None)
        got = f"a {type(w).__name__} of dtype {kind}" if kind else reprlib.repr(w)
        raise TypeError(
            f"{name} must be a floating-point or complex array, got {got}; give the "
            "weights as one array that JAX takes, as of float32."
        ) from error
    if not jnp.issubdtype(array.dtype, np.inexact):
        raise TypeError(
            f"{name} must be a floating-point or complex array, got one of dtype "
            f"{array.dtype.name}; convert it to float32."
        )
    return array


def wide_dtype(dtype: np.dtype) -> np.dtype:
    """What is computed in: float32, or float64 for 64-bit parts."""
    complex_ = jnp.issubdtype(dtype, np.complexfloating)
    return dtype if complex_ else real_dtype(dtype)
