"""Options of an initializer: what each may be, and the error that says so.

Every check returns the option in its one normal form (a Python float, a tuple), so that
equal calls make equal initializers. A traced array passes unchecked but for its shape:
its value is not known yet.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Number = float | jax.Array
"""A real option: a Python number, or a traced scalar (as in a sweep under `vmap`)."""

Axis = int | Sequence[int]
"""One axis of a kernel or several, counted from either end."""


def is_traced(value: Any) -> bool:
    """Whether `value` is known only when the traced function runs."""
    return isinstance(value, jax.core.Tracer)


def sqrt(x: Number) -> Any:
    """Square root in double precision, or of a traced scalar in its own."""
    return jnp.sqrt(x) if isinstance(x, jax.Array) else math.sqrt(x)


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


def ordered(low_name: str, low: Number, high_name: str, high: Number) -> None:
    """Refuses an interval whose ends are the wrong way round."""
    if not (is_traced(low) or is_traced(high)) and low > high:
        raise ValueError(
            f"{low_name} must not be greater than {high_name}, got "
            f"{low_name}={low!r} and {high_name}={high!r}; swap them."
        )


def count(name: str, value: Any) -> int:
    """Returns a whole number of at least one as an int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}.")
    return int(value)


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


def distinct_axes(**named: Axis) -> dict[str, int | tuple[int, ...]]:
    """Returns options that name axes in their normal form, and refuses overlaps.

    Two axes counted from different ends may still turn out to be one; that is seen
    when there is a shape, by `resolve_axes`.
    """
    normal = {name: axes(name, value) for name, value in named.items()}
    owner = dict[int, str]()
    for name, value in _default_gives_way(normal).items():
        for axis in (value,) if isinstance(value, int) else value:
            if axis in owner:
                raise ValueError(
                    f"{owner[axis]} and {name} must not both name axis {axis}; every "
                    "axis has one role."
                )
            owner[axis] = name
    return normal


def single_axis(name: str, value: Any) -> int:
    """Returns one axis as an int."""
    axis = axes(name, value)
    if not isinstance(axis, int):
        raise TypeError(f"{name} must be one axis, got {value!r}.")
    return axis


def resolve_axes(
    shape: Sequence[int], remedy: str, **named: Axis
) -> list[tuple[int, ...]]:
    """Counts each group of axes from the front, and checks that they are distinct.

    Args:
      shape: The shape of the array that the axes belong to.
      remedy: What to do about an axis that `shape` does not have.
      **named: Groups of axes by the name of their option, such as `in_axis=-2`.

    Returns:
      One tuple of non-negative axes for each group, in the order given.

    Raises:
      ValueError: An axis that `shape` does not have, or that two options name.
    """
    rank, seen, resolved = len(shape), dict[int, str](), []
    normal = {name: axes(name, value) for name, value in named.items()}
    for name, group in _default_gives_way(normal, rank).items():
        group = (group,) if isinstance(group, int) else group
        for axis in group:
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
        resolved.append(tuple(axis % rank for axis in group))
    return resolved


def _default_gives_way(
    named: dict[str, int | tuple[int, ...]], rank: int = 0
) -> dict[str, int | tuple[int, ...]]:
    """Moves the default `in_axis=-2` to -1 where `out_axis` names the same axis.

    So the inputs of a matrix with `out_axis=0` are its other axis.
    """
    if named.get("in_axis") != -2:
        return named
    outs = named["out_axis"]
    outs = (outs,) if isinstance(outs, int) else outs
    taken = -2 in outs or (rank > 1 and rank - 2 in outs)
    return {**named, "in_axis": -1} if taken else named
