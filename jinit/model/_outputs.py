"""Outputs: the parts that what a kernel makes is cut into, as packed q, k and v.

    y = dot_general x w      outputs 0 to 47
    q, k, v = split y        0 to 15 | 16 to 31 | 32 to 47
    z = add q b              0 to 15
    s = dot_general z k      here 0 to 15 meet something else, and so do 16 to 31

The outputs have numbers, which are moved as the program moves the outputs, to where
they meet something else. What is cut and joined again, as halves that a rotary position
turns, has the numbers of both, and is one.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from jinit._checks import Shape
from jinit.model._constants import BY_ELEMENT
from jinit.model._graph import Graph, Step, Use
from jinit.model._views import SAME

_JOINING = {"add", "add_any", "sub", "complex"}
_BY_ELEMENT = BY_ELEMENT.keys() | SAME - {"rev"} | {"div", "integer_pow", "erf", "name"}
_NONE = -1  # in the place of what is no output

# The numbers of a value lie along its axes; where its axis is one of places, of which
# each has all of them, that has length 1. A last axis is for the terms of a sum.


class Outputs:
    """Tells of the uses of a graph into which parts their outputs are cut."""

    def __init__(self, graph: Graph) -> None:
        self._steps = graph.steps
        self._readers: dict[int, list[int]] = {}
        for number, step in enumerate(graph.steps):
            for value in step.inputs:
                self._readers.setdefault(id(value), []).append(number)
        ends = *graph.outputs, *(end for _, end in graph.carried)
        self._ends = {id(value) for value in ends}

    def parts(self, use: Use) -> list[np.ndarray]:
        """For each part whether it has each output; none where that is not known."""
        start, first = _numbered(use), use.step.outputs[0]
        if start is None:
            return []
        found, known = list[np.ndarray](), {id(first): start}
        if id(first) in self._ends:
            found = [np.ones(start.size, bool)]
        front = list(self._readers.get(id(first), ()))
        while front and not any(part.all() for part in found):
            number = heapq.heappop(front)  # in the order of the program
            if number in front:  # it reads two of them
                continue
            step = self._steps[number]
            made = _made(step, [known.get(id(value)) for value in step.inputs])
            met = [known[id(v)] for v in step.inputs if made is None and id(v) in known]
            for value, numbers in zip(step.outputs, made or (), strict=False):
                known[id(value)] = numbers
                met += [numbers] if id(value) in self._ends else []
                for reader in self._readers.get(id(value), ()):
                    heapq.heappush(front, reader)
            for numbers in met:
                for part in _held(numbers, start.size):
                    found = _with(found, part)
        return sorted(found, key=lambda part: int(part.argmax()))


def _numbered(use: Use) -> np.ndarray | None:
    """The numbers of the outputs, along the axes of what the step makes."""
    step, params = use.step, use.step.equation.params
    shape = step.outputs[0].shape
    if step.name == "dot_general":
        kernel = next(n for n, value in enumerate(step.inputs) if not value.data)
        contracted, batch = params["dimension_numbers"]
        used = [len(c) + len(b) for c, b in zip(contracted, batch, strict=True)]
        free = len(step.inputs[kernel].shape) - used[kernel]
        first = len(shape) - free if kernel else len(batch[0])
        axes = range(first, first + free)
    elif step.name == "conv_general_dilated" and params["feature_group_count"] == 1:
        axes = [params["dimension_numbers"].out_spec[1]]
    else:
        return None
    sizes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    return np.arange(math.prod(sizes)).reshape(*sizes, 1) if math.prod(shape) else None


def _held(numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """For what a value holds whether that has each output.

    Of a sum those are its terms, as a shift and what a scale makes, unless it is as
    large as all of them: then they were turned, and put together again.
    """
    outputs = np.arange(count)
    whole = np.isin(outputs, numbers)
    if whole.sum() <= math.prod(numbers.shape[:-1]):
        return [whole]
    return [np.isin(outputs, term) for term in np.moveaxis(numbers, -1, 0)]


def _with(parts: list[np.ndarray], more: np.ndarray) -> list[np.ndarray]:
    """The parts with one more; those that it shares outputs with are one with it."""
    apart = [part for part in parts if not (part & more).any()]
    meet = [part for part in parts if (part & more).any()]
    return [*apart, np.any([more, *meet], axis=0)] if more.any() else parts


def _made(step: Step, given: list[np.ndarray | None]) -> list[np.ndarray] | None:
    """The numbers of what a step makes; None where they meet something else."""
    met = [numbers for numbers in given if numbers is not None]
    if not all(numbers.size for numbers in met):
        return None
    if step.name in _BY_ELEMENT and len(step.outputs) == 1:
        if all(np.array_equal(met[0], other) for other in met):
            return [met[0]]
        return _terms(met) if step.name in _JOINING else None
    if step.name in ("concatenate", "stack"):
        return _terms(_beside(step, given))
    return None if given[0] is None else _moved(step, given[0])


def _terms(arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """Those of a sum of values, if the numbers lie along the same axes."""
    alike = len({array.shape[:-1] for array in arrays}) == 1
    return [np.concatenate(arrays, -1)] if alike else None


def _beside(step: Step, given: list[np.ndarray | None]) -> list[np.ndarray]:
    """The numbers of values that are put side by side, each in its place."""
    params, padded = step.equation.params, list[np.ndarray]()
    axis = params["axis" if step.name == "stack" else "dimension"]
    if step.name == "stack":
        given = [None if each is None else np.expand_dims(each, axis) for each in given]
        sizes = [1] * len(given)
    else:
        sizes = [value.shape[axis] for value in step.inputs]
    for n, array in enumerate(given):
        if array is not None and array.shape[axis] == sizes[n]:
            pads = [(0, 0)] * array.ndim
            pads[axis] = sum(sizes[:n]), sum(sizes[n + 1 :])
            padded.append(np.pad(array, pads, constant_values=_NONE))
        elif array is not None:  # an axis of places stays one
            padded.append(array)
    return padded


def _moved(step: Step, array: np.ndarray) -> list[np.ndarray] | None:
    """The numbers in other places, by a step that only moves."""
    if step.name == "along":  # a loop that runs along the outputs meets all of them
        return [array[0]] if len(array) == 1 else None
    params = step.equation.params if step.equation is not None else {}
    old, new = step.inputs[0].shape, step.outputs[0].shape
    if step.name == "transpose":
        return [array.transpose(*params["permutation"], -1)]
    if step.name == "squeeze":
        return [array.squeeze(tuple(params["dimensions"]))]
    if step.name == "broadcast_in_dim":
        sizes = dict(zip(params["broadcast_dimensions"], array.shape, strict=False))
        places = (sizes.get(axis, 1) for axis in range(len(new)))
        return [array.reshape(*places, array.shape[-1])]
    if step.name in ("reshape", "expand_dims"):
        return _reshaped(array, old, new)
    if step.name == "slice":
        strides = params["strides"] or (1,) * len(old)
        cuts = map(slice, params["start_indices"], params["limit_indices"], strides)
        sizes = zip(cuts, array.shape, strict=False)
        return [array[tuple(cut if n > 1 else slice(None) for cut, n in sizes)]]
    if step.name == "dynamic_slice":
        return _sliced(step, array)
    if step.name == "gather":
        return _gathered(step, array)
    if step.name == "split":
        axis = params["axis"]
        ends = np.cumsum(params["sizes"])[:-1]
        whole = array.shape[axis] == 1
        return [array] * len(step.outputs) if whole else np.split(array, ends, axis)
    if step.name == "unstack":
        rows = [*np.moveaxis(array, params["axis"], 0)]
        return rows if len(rows) > 1 else rows * len(step.outputs)
    return None


def _reshaped(array: np.ndarray, old: Shape, new: Shape) -> list[np.ndarray] | None:
    """Outputs that come to lie along one axis with places are left."""
    ones = array.shape[:-1]
    if not math.prod(old):
        return None
    at = np.unravel_index(np.ravel_multi_index(tuple(np.indices(ones)), old), new)
    sizes = [int(places.max()) + 1 for places in at]
    mixed = any(1 < n < size for n, size in zip(sizes, new, strict=True))
    if mixed or math.prod(sizes) != math.prod(ones):
        return None
    moved = np.empty((*sizes, array.shape[-1]), array.dtype)
    moved[at] = array
    return [moved]


def _sliced(step: Step, array: np.ndarray) -> list[np.ndarray] | None:
    """A slice from where the program says, if that is a number."""
    starts = [value.number for value in step.inputs[1:]]
    sizes = step.equation.params["slice_sizes"]
    for axis, (start, n) in enumerate(zip(starts, sizes, strict=True)):
        if array.shape[axis] > n:
            if start is None:
                return None
            first = min(max(int(start), 0), array.shape[axis] - n)
            array = array.take(range(first, first + n), axis)
    return [array]


def _gathered(step: Step, array: np.ndarray) -> list[np.ndarray] | None:
    """Places of one axis, if they are numbers, as `jnp.take` has it."""
    numbers, index = step.equation.params["dimension_numbers"], step.inputs[1]
    gone = numbers.collapsed_slice_dims
    one = (
        len(gone) == 1 and gone == numbers.start_index_map and index.shape[-1:] == (1,)
    )
    if not one or numbers.operand_batching_dims or index.number is None:
        return None
    (axis,) = gone
    sizes = *step.inputs[0].shape[:axis], 1, *step.inputs[0].shape[axis + 1 :]
    if tuple(step.equation.params["slice_sizes"]) != sizes or len(index.shape) > 2:
        return None
    places = np.broadcast_to(index.number, index.shape).reshape(-1).astype(int)
    taken = array.take(places, axis, mode="clip") if array.shape[axis] > 1 else array
    rank = range(len(step.outputs[0].shape))
    new = [n for n in rank if n not in numbers.offset_dims]
    return [np.moveaxis(taken, axis, new[0]) if new else taken.squeeze(axis)]
