"""Sizes of torch's layers and tensors: what each may be, and the error that says so."""

from __future__ import annotations

import numbers
from typing import Any

from jinit import _checks


def counts(**sizes: Any) -> tuple[int, ...]:
    """Whole numbers of at least one, by the names of their arguments."""
    return tuple(_checks.count(name, size) for name, size in sizes.items())


def divided(name: str, size: Any, parts_name: str, parts: Any) -> int:
    """A size over the number of parts that share it, which must divide it."""
    size, parts = counts(**{name: size, parts_name: parts})
    if size % parts:
        raise ValueError(
            f"{name} must be a multiple of {parts_name}, got {name}={size} and "
            f"{parts_name}={parts}; give the size of all of them together."
        )
    return size // parts


def several(name: str, value: Any) -> tuple[int, ...]:
    """One size for each axis; an integer is one."""
    sizes = (value,) if isinstance(value, numbers.Number) else value
    if not _checks.is_sequence(sizes):
        raise TypeError(
            f"{name} must be an integer or a sequence of integers, got {value!r}; give "
            "one size for each axis."
        )
    if not len(sizes):
        raise ValueError(
            f"{name} must not be empty, got {value!r}; give one size for each axis."
        )
    return tuple(_checks.count(name, size) for size in sizes)


def row(name: str, value: Any, rows: int | None = None) -> int:
    """The index of a row, which is one of them where it is known how many there are."""
    index = _checks.integer(name, value)
    if rows is not None and not -rows <= index < rows:
        raise ValueError(
            f"{name} must be one of the {rows} rows, got {index}; count rows from "
            "0, or from the end with -1."
        )
    return index


def of_matrix(shape: Any) -> _checks.Shape:
    """The shape of a tensor that has a fan, in torch's layout."""
    shape = _checks.check_shape(shape)
    if len(shape) < 2:
        raise ValueError(
            f"shape must have two axes or more, (out, in, *spatial), got {shape}; "
            "torch refuses fewer too."
        )
    return shape
