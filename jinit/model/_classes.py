"""Classes: how many values an integer among the inputs has, by what is done with it.

e = eq c iota       compared with 0 to 9, one of ten: a class
r = gather t c      looked up in an axis of 50: one of fifty
d = div c 255       nothing is known: any number of eight bits
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jinit.model._views import KEPT

if TYPE_CHECKING:
    from jinit.model._graph import Graph, Step, Value

_COMPARED = {"eq", "ne", "lt", "le", "gt", "ge"}
# What leaves an integer about what it was: a negative index counts from the end.
_LEFT = KEPT | {"add", "sub", "max", "min", "clamp", "select_n", "concatenate"}


def classes(graph: Graph) -> dict[int, int]:
    """How many values the inputs have of which that is known, by their identity."""
    found = dict[int, int]()
    for step in graph.steps:
        for value, size in _bounds(step):
            for source in sources(value):
                size = max(size, 1)  # of an array without elements
                found[id(source)] = min(size, found.get(id(source), size))
    return found


def _bounds(step: Step) -> Iterator[tuple[Value, int]]:
    """The integers that a step is one of so many of."""
    if step.name in _COMPARED:
        for value, other in (step.inputs, step.inputs[::-1]):
            if value.data and np.ndim(other.number) and math.prod(other.shape):
                yield from _compared(value, other.number)
    elif step.name in ("dynamic_slice", "dynamic_update_slice"):
        array = step.inputs[0]
        starts = step.inputs[len(step.inputs) - len(array.shape) :]
        taken = step.outputs[0] if step.name == "dynamic_slice" else step.inputs[1]
        sizes = zip(array.shape, taken.shape, strict=True)
        yield from zip(starts, (n - part + 1 for n, part in sizes), strict=True)
    elif step.name == "gather":
        array, index = step.inputs
        axes = step.equation.params["dimension_numbers"].start_index_map
        parts = [index]
        if len(axes) > 1 and index.step is not None:  # a coordinate for each axis
            parts = index.step.inputs if index.step.name == "concatenate" else []
        if len(parts) == len(axes):
            taken = step.equation.params["slice_sizes"]
            sizes = (array.shape[axis] - taken[axis] + 1 for axis in axes)
            yield from zip(parts, sizes, strict=True)


def _compared(value: Value, number: np.ndarray) -> Iterator[tuple[Value, int]]:
    """With 0 to n, along whichever axes: those along which it is repeated are left."""
    ones = tuple(slice(0, 1 if s == 0 else None) for s in number.strides)
    least, most = number[ones].min(), number[ones].max()
    if least == 0 and most > 0 and math.isfinite(most):
        yield value, int(most) + 1


def sources(value: Value) -> Iterator[Value]:
    """The integers that a value is one of, or a shifted one, and no longer a class."""
    seen, front = set[int](), [value]
    while front:
        value = front.pop()
        if id(value) in seen or not value.data:
            continue
        seen.add(id(value))
        if value.step is not None and value.step.name in _LEFT:
            front += value.step.inputs
        elif jnp.issubdtype(value.dtype, np.integer):
            yield value
