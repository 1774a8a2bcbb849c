"""An activation as a function of doubles: evaluated, differentiated and checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]

_BATCH = 1 << 13  # points at once: one size, so that each function is compiled once


@lru_cache(maxsize=256)
def value(function: Callable[[Any], Any]) -> Curve:
    """Makes f a function of any number of points.

    Raises:
      TypeError: f cannot be called with one array, or returns another dtype.
      ValueError: It changes the shape or is not elementwise. At the call: it is NaN.
    """
    _check_result(function)
    curve = _batched(jax.jit(function), function)
    _check_elementwise(curve, function)
    return curve


@lru_cache(maxsize=256)
def derivative(function: Callable[[Any], Any]) -> Curve:
    """Likewise f', as JAX differentiates it: jumps count for nothing.

    Raises:
      TypeError: f cannot be differentiated, or as for `value`.
      ValueError: As for `value`. At the call: f' is NaN.
    """
    value(function)

    def slopes(x: jax.Array) -> jax.Array:
        _, pullback = jax.vjp(function, x)
        return pullback(jnp.ones_like(x))[0]

    return _batched(jax.jit(slopes), function, "derivative")


def _batched(
    program: Callable[[Any], Any], function: Any, what: str = "value"
) -> Curve:
    def curve(x: np.ndarray) -> np.ndarray:
        batches = np.pad(x, (0, -x.size % _BATCH)).reshape(-1, _BATCH)
        results = [_call(program, batch, function) for batch in batches]
        y = np.concatenate([np.asarray(result) for result in results])[: x.size]
        if np.isnan(y).any():
            raise ValueError(
                f"activation must not have a NaN as its {what}, got {function!r}, "
                f"which has one at {x[np.isnan(y)][0]:.6g}."
            )
        return y

    return curve


def _call(program: Callable[[Any], Any], x: Any, function: Any) -> Any:
    """Calls what a user wrote, which may raise anything."""
    try:
        return program(x)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise TypeError(
            "activation must be a function of one array, made of JAX's operations, "
            f"that depends on no traced value, got {function!r}, which raised "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check_result(function: Any) -> None:
    """Refuses a function that changes the shape or the dtype."""
    asked = jax.ShapeDtypeStruct((_BATCH,), np.float64)
    result = _call(lambda x: jax.eval_shape(function, x), asked, function)
    dtype, shape = getattr(result, "dtype", None), getattr(result, "shape", None)
    if shape is None:
        raise TypeError(
            f"activation must return an array, got {function!r}, which returns "
            f"{result!r}."
        )
    if shape != asked.shape:
        raise ValueError(
            f"activation must keep the shape, got {function!r}, which returns {shape} "
            f"for {asked.shape}; of a gated unit give the name, such as 'swiglu'."
        )
    if dtype != asked.dtype:
        raise TypeError(
            f"activation must return the real dtype that it is given, got "
            f"{function!r}, which returns {dtype} for float64; convert with "
            ".astype(x.dtype)."
        )


def _check_elementwise(curve: Curve, function: Any) -> None:
    """Refuses a function whose value depends on its place, or on the other elements."""
    near, far = np.linspace(-3.0, 3.0, _BATCH // 2), np.linspace(-7.0, 9.0, _BATCH // 2)
    first, second = np.split(curve(np.concatenate([near, near + 0.1])), 2)
    second_moved, _ = np.split(curve(np.concatenate([near + 0.1, far])), 2)
    _, first_moved = np.split(curve(np.concatenate([far, near])), 2)
    same = np.allclose(first, first_moved, rtol=1e-9, atol=1e-12)
    if not (same and np.allclose(second, second_moved, rtol=1e-9, atol=1e-12)):
        raise ValueError(
            f"activation must be elementwise, got {function!r}, in which the elements "
            "of an array depend on each other or on their place."
        )
