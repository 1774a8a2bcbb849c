"""Checks of what an initializer is called with: key, shape, dtype and sharding."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


def check_shape(shape: Any) -> Shape:
    try:
        if isinstance(shape, str | bytes | Set | Mapping):
            raise TypeError
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(
            f"shape must be a sequence of integers, such as (784, 256), got {shape!r}."
        ) from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape must not have negative sizes, got {shape!r}.")
    if any(size > np.iinfo(np.int64).max for size in sizes):
        raise ValueError("shape must have sizes of at most 64 bits; use smaller ones.")
    return sizes


# Python's types, and their names, stand for JAX's default dtypes.
_SCALARS = {kind.__name__: kind for kind in (bool, int, float, complex)}


def check_dtype(dtype: Any) -> np.dtype:
    """Returns the dtype that JAX makes of the one asked for."""
    asked: Any = float if dtype is None else dtype
    try:
        asked = _SCALARS.get(getattr(asked, "__name__", asked), asked)
        resolved = np.dtype(jax.dtypes.canonicalize_dtype(asked))
    except (TypeError, ValueError, SyntaxError):  # NumPy parses what it is given
        resolved = np.dtype(object)
    if not (jnp.issubdtype(resolved, np.number) or resolved == np.bool_):
        raise TypeError(f"dtype must be a numeric dtype, got {dtype!r}.")
    if jnp.issubdtype(resolved, np.floating) and float(jnp.finfo(resolved).min) > 0:
        raise TypeError(f"dtype must have a zero and a sign, got {resolved.name}.")
    by_name = not any(asked is scalar for scalar in (bool, int, float, complex))
    if by_name and np.dtype(asked) != resolved:
        # 64 bits without jax_enable_x64: JAX warns, refuses or allows, as it is set.
        return jnp.zeros((), asked).dtype
    return resolved


def dtype_name(dtype: Any, inexact: bool) -> str:
    """The name of a dtype that is asked for, whether or not 64 bits are enabled."""
    try:
        if dtype is None:
            raise TypeError
        python = getattr(dtype, "__name__", dtype)
        name = python if python in _SCALARS else np.dtype(dtype).name
        kind = np.inexact if inexact else np.generic
        if not jnp.issubdtype(np.dtype(_SCALARS.get(name, name)), kind):
            raise TypeError
    except (TypeError, ValueError, SyntaxError):
        kinds = "a floating-point or complex" if inexact else "a numeric"
        raise TypeError(f"dtype must be {kinds} dtype, got {dtype!r}.") from None
    return name


def check_keys(key: Any) -> jax.Array:
    """Returns typed keys; raw ones are of JAX's default implementation."""
    try:
        if isinstance(key, np.ndarray):
            key = jnp.asarray(key)
        if not isinstance(key, jax.Array):
            raise TypeError
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)
    except (TypeError, ValueError):
        raise TypeError(
            f"key must be a JAX random key, got {key!r}; make one with "
            "jax.random.key(0)."
        ) from None
    return key


def check_key(key: Any) -> jax.Array:
    """Returns one typed key."""
    key = check_keys(key)
    if key.shape != ():
        raise ValueError(
            f"key must be one key, got an array of keys of shape {key.shape}; draw for "
            "each with jax.vmap, or pick one."
        )
    return key


def check_sharding(sharding: Any, shape: Shape) -> None:
    """Refuses what is not a sharding, or does not fit the shape."""
    mesh = jax.sharding.get_abstract_mesh()
    if isinstance(sharding, jax.sharding.PartitionSpec):
        if mesh.empty:
            raise ValueError(
                f"out_sharding={sharding!r} needs a mesh; enter one with "
                "jax.set_mesh(mesh), or pass a NamedSharding."
            )
        sharding = jax.sharding.NamedSharding(mesh, sharding)
    if not isinstance(sharding, jax.sharding.NamedSharding):
        raise TypeError(
            "out_sharding must be a jax.sharding.NamedSharding or PartitionSpec, got "
            f"{sharding!r}."
        )
    if len(sharding.spec) > len(shape):
        raise ValueError(
            f"out_sharding must not name more axes than shape {shape} has, got "
            f"{sharding.spec!r}."
        )
    sharding.shard_shape(shape)  # raises where a mesh axis does not divide the shape


def check_range(name: str, value: Any, dtype: np.dtype) -> None:
    """Refuses a Python number that would be infinite in the dtype of the draw."""
    wide = dtype in (np.float64, np.complex128)
    largest = float(jnp.finfo(np.float64 if wide else np.float32).max)
    if isinstance(value, float) and largest < abs(value) < math.inf:
        raise ValueError(
            f"{name} must be at most {largest:.3g} in size to be finite in dtype "
            f"{dtype.name}, got {value!r}; use a smaller value, or float64."
        )


def check_exact(name: str, value: Any, dtype: np.dtype) -> None:
    """Refuses a value that a dtype which does not round cannot hold."""
    if jnp.issubdtype(dtype, np.complexfloating):
        return
    if isinstance(value, jax.Array):  # traced, and known by its dtype alone
        exact = (
            not jnp.issubdtype(value.dtype, np.complexfloating)
            if jnp.issubdtype(dtype, np.floating)
            else np.can_cast(value.dtype, dtype)
        )
    elif jnp.issubdtype(dtype, np.floating):
        exact = not np.iscomplexobj(value)
    else:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            exact = np.array_equal(np.array(value).astype(dtype), value)
    if not exact:
        raise ValueError(
            f"{name} must be exact in dtype {dtype.name}, got {value!r}; use a "
            "floating-point or complex dtype, or a value that this dtype holds."
        )
