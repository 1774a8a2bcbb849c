"""Checks: what an option and a call may be, and the error that says so.

Those of options return the one normal form (a Python float, a tuple), so that equal
calls make equal initializers. A traced array passes unchecked but for its shape.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]

Number = float | jax.Array
"""A real option: a Python number, or a traced scalar (as in a sweep under `vmap`)."""

Axis = int | Sequence[int]
"""One axis of a kernel or several, counted from either end."""


def is_traced(value: Any) -> bool:
    """Whether `value` is known only when the traced function runs."""
    return isinstance(value, jax.core.Tracer)


def known(name: str, value: Any) -> Any:
    """Returns an option, which must not be traced."""
    if is_traced(value):
        raise TypeError(
            f"{name} must be known when the program is traced, got {value!r}; give its "
            "value, or call this outside of jit."
        )
    return value


def is_mapping(value: Any) -> bool:
    """Whether it is a dict, or what a library of configurations has for one."""
    return hasattr(value, "keys") and hasattr(value, "__getitem__")


def is_sequence(value: Any) -> bool:
    """Whether it is a list or a tuple, or what such a library has for one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def sqrt(x: Number) -> Any:
    """Square root in double precision, or of a traced scalar in its own."""
    return jnp.sqrt(x) if isinstance(x, jax.Array) else math.sqrt(x)


def log(x: Number) -> Any:
    """Logarithm in double precision, or of a traced scalar in its own."""
    return jnp.log(x) if isinstance(x, jax.Array) else math.log(x)


def number(name: str, value: Any, *, at_least: float | None = None) -> Any:
    """Returns a real option as a float; a traced one as a traced float."""
    if is_traced(value):
        return _traced_number(name, value)
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray | jax.Array)
        and value.shape == ()
        and jnp.issubdtype(value.dtype, np.number)
    ):
        value = value.item()
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a real number, got {value!r}.")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        finite = False
    if not finite:
        raise ValueError(f"{name} must be finite, got {value!r}.")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name} must be at least {at_least:g}, got {value!r}.")
    return float(value)


at_least_zero = partial(number, at_least=0)


def _traced_number(name: str, value: jax.Array) -> jax.Array:
    """Returns a traced option in the precision that scalars are computed in."""
    if value.dtype == bool or not jnp.issubdtype(value.dtype, np.number):
        raise TypeError(f"{name} must be a real number, got {value!r}.")
    if jnp.issubdtype(value.dtype, np.complexfloating):
        raise TypeError(f"{name} must be real, got {value!r}; take its real part.")
    if value.shape != ():
        raise ValueError(
            f"{name} must be a scalar, got a traced array of shape {value.shape}; "
            "map over its elements with jax.vmap."
        )
    return value.astype(float)


def positive(name: str, value: Any, remedy: str = "") -> Any:
    """Returns a real option, which must be greater than zero, as a float."""
    value = number(name, value)
    if not is_traced(value) and value <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}.{remedy}")
    return value


def end(name: str, value: Any, side: float) -> Any:
    """Returns a bound: a number, or the infinity of its side, which is none."""
    return side if isinstance(value, float) and value == side else number(name, value)


lower_end, upper_end = (partial(end, side=side) for side in (-math.inf, math.inf))


def ordered(low_name: str, low: Number, high_name: str, high: Number) -> None:
    """Refuses an interval whose ends are the wrong way round."""
    if not (is_traced(low) or is_traced(high)) and low > high:
        raise ValueError(
            f"{low_name} must not be greater than {high_name}, got "
            f"{low_name}={low!r} and {high_name}={high!r}; swap them."
        )


def integer(name: str, value: Any) -> int:
    """Returns a whole number as an int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    return int(value)


def count(name: str, value: Any, *, at_least: int = 1) -> int:
    """Returns a whole number, of at least one, as an int."""
    if (whole := integer(name, value)) < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value!r}.")
    return whole


def flag(name: str, value: Any) -> bool:
    """Returns a bool, refusing what is only like one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Returns `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
    return str(value)


def nearest(value: Any, known: Iterable[str]) -> str:
    """The end of an error about a name that is not known: those that are like it."""
    near = difflib.get_close_matches(str(value)[:50].lower(), known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "."


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


def axes(name: str, value: Any) -> int | tuple[int, ...]:
    """Returns an axis as an int, several as a tuple without repetition."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        if isinstance(value, Sequence) or np.ndim(value) == 1:
            if any(isinstance(axis, bool) for axis in value):
                raise TypeError
            several = tuple(operator.index(axis) for axis in value)
        else:
            return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer or a sequence of integers, got {value!r}."
        ) from None
    if len(set(several)) < len(several):
        raise ValueError(f"{name} must not repeat an axis, got {value!r}.")
    return several


def distinct_axes(**named: Axis | None) -> None:
    """Refuses axes that have two roles, `resolve_axes` those that a shape makes one."""
    owner = dict[int, str]()
    for name, value in named.items():
        group = _several(value)
        if name == "in_axis" and value is None:  # as `resolve_axes` has it
            group = (-1,) if -2 in _several(named["out_axis"]) else (-2,)
        for axis in group:
            if axis in owner:
                raise ValueError(
                    f"{owner[axis]} and {name} must not both name axis {axis}; every "
                    "axis has one role."
                )
            owner[axis] = name


def _several(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


def single_axis(name: str, value: Any) -> int:
    """Returns one axis as an int."""
    if isinstance(axis := axes(name, value), int):
        return axis
    raise TypeError(f"{name} must be one axis, got {value!r}.")


def or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The check of an option that may be None."""
    return lambda name, value: None if value is None else check(name, value)


def resolve_axes(
    shape: Sequence[int], remedy: str, **named: Axis | None
) -> list[tuple[int, ...]]:
    """Counts groups of axes from the front, one tuple for each, and checks them."""
    rank = len(shape)
    given = {name: value for name, value in named.items() if value is not None}
    groups = {name: _several(axes(name, value)) for name, value in given.items()}
    if "in_axis" not in groups and "in_axis" in named:  # as `jinit.fans` has it
        outs = [axis % rank for axis in groups["out_axis"] if -rank <= axis < rank]
        groups["in_axis"] = (-1,) if rank > 1 and rank - 2 in outs else (-2,)
    seen, resolved = dict[int, str](), []
    for name in named:
        for axis in groups[name]:
            if not -rank <= axis < rank:
                raise ValueError(
                    f"shape {tuple(shape)} has no axis {axis}, which {name} names; "
                    f"{remedy}."
                )
            if axis % rank in seen:
                raise ValueError(
                    f"axis {axis} of shape {tuple(shape)} is named twice, by "
                    f"{seen[axis % rank]} and by {name}; every axis has one role."
                )
            seen[axis % rank] = name
        resolved.append(tuple(axis % rank for axis in groups[name]))
    return resolved


def resolve_axis(shape: Sequence[int], axis: Any, remedy: str) -> int:
    """Counts one axis from the front, and checks it."""
    ((found,),) = resolve_axes(shape, remedy, axis=single_axis("axis", axis))
    return found


# What an initializer is called with: key, shape, dtype and sharding.


def check_shape(shape: Any) -> Shape:
    """Returns a shape as a tuple of ints."""
    try:
        if isinstance(shape, str | bytes | bool | Set | Mapping):
            raise TypeError
        each = (shape,) if hasattr(shape, "__index__") and not np.ndim(shape) else shape
        sizes = tuple(operator.index(size) for size in each)
    except TypeError:
        remedy, got = ".", repr(shape)
        if isinstance(shape, np.dtype | type):
            remedy = (
                ": called as Haiku calls it, with (shape, dtype); give it "
                "w_init=jinit.haiku(init)."
            )
        elif hasattr(shape, "shape"):
            remedy, got = "; give w.shape.", f"an array w of shape {shape.shape}"
        elif isinstance(shape, Mapping):
            remedy, got = "; give the shape of one leaf.", f"a {type(shape).__name__}"
        raise TypeError(
            "shape must be a sequence of integers, such as (784, 256), got "
            f"{got}{remedy}"
        ) from None
    if min(sizes, default=0) < 0:
        raise ValueError(f"shape must not have negative sizes, got {shape!r}.")
    if max(sizes, default=0) > np.iinfo(np.int64).max:
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
    # float6 has a name in JAX, but XLA may end the process that asks for it.
    named = hasattr(jnp, resolved.name) and not resolved.name.startswith("float6_")
    if not (named and np.dtype(asked).isnative):
        raise TypeError(
            f"dtype must be one that JAX has, such as 'float32', got {dtype!r}."
        )
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
        raise TypeError(_not_a_key(key)) from None
    return key


def _not_a_key(key: Any) -> str:
    """What is said of a key that is none, with what is likely meant."""
    kind = type(key)
    if kind.__module__.startswith("flax.nnx"):
        got, remedy = kind.__name__, "call the stream of keys: rngs.params()"
    elif getattr(key, "dtype", None) == np.uint32 and key.shape[-1:] == (4,):
        got = f"{key!r}, whose four words are a key of another generator"
        remedy = "say which: jax.random.wrap_key_data(key, impl='rbg')"
    else:
        got, remedy = repr(key), "make one with jax.random.key(0)"
    return f"key must be a JAX random key, got {got}; {remedy}."


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
    largest = float(np.finfo(np.float64 if wide else np.float32).max)
    if isinstance(value, float) and largest < abs(value) < math.inf:
        raise ValueError(
            f"{name} must be at most {largest:.3g} in size to be finite in dtype "
            f"{dtype.name}, got {value!r}; use a smaller value, or float64."
        )


def check_real(init: Any, dtype: np.dtype) -> None:
    """Refuses a dtype that is not a real floating-point one."""
    if not jnp.issubdtype(dtype, np.floating):
        raise TypeError(
            f"{init!r} makes real numbers, got dtype={dtype.name}; use a floating "
            "dtype, such as float32."
        )


def check_exact(name: str, value: Any, dtype: np.dtype) -> None:
    """Refuses a value that a dtype which does not round cannot hold."""
    if jnp.issubdtype(dtype, np.complexfloating):
        return
    if jnp.issubdtype(dtype, np.floating):
        exact = not np.iscomplexobj(value)
    elif isinstance(value, jax.Array):  # traced, and known by its dtype alone
        exact = np.can_cast(value.dtype, dtype)
    else:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            exact = np.array_equal(np.array(value).astype(dtype), value)
    if not exact:
        raise ValueError(
            f"{name} must be exact in dtype {dtype.name}, got {value!r}; use a "
            "floating-point or complex dtype, or a value that this dtype holds."
        )
