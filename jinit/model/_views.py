"""Views: arrays as images of parameters, and how operations move their axes.

    w                       (64, 64)        axes   0 | 1
    reshape (64, 4, 16)                            0 | 1, the slow part of 4 | 1, of 16
    transpose (1, 0, 2)                            1, of 4 | 0 | 1, of 16

An axis of the array has the digits that lie along it, as those of a number: what is
reshaped cuts them, or puts them side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jinit._checks import Shape


# What leaves elements as they are, and the axes that they lie along.
SAME = {
    *("convert_element_type", "copy", "copy_p", "stop_gradient", "reduce_precision"),
    *("sharding_constraint", "optimization_barrier", "pvary", "reshard", "mesh_cast"),
    *("layout_constraint", "rev", "pcast"),
}
# What leaves them as they are, and may move them.
KEPT = SAME | {
    *("reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "slice"),
    *("dynamic_slice", "split", "unstack", "pad", "tile", "all_gather"),
    *("along", "carry", "loop", "last", "cumlogsumexp"),
}


PICKED = -2  # the depth, in a stack, of digits along which data picks


@dataclass(frozen=True)
class Digit:
    """A part of an axis of a parameter: so many steps of a stride along it."""

    axis: int | None  # None of what is no part of the parameter, as it was broadcast
    stride: int
    size: int


Digits = tuple[Digit, ...]


@dataclass(frozen=True)
class View:
    """An array as an image of a parameter.

    Attributes:
      path: That of the parameter.
      axes: For each axis of the array the digits that lie along it, the slowest first.
      factor: What it is multiplied with on the way.
      functions: The names of those that it passes through, of which it is no image.
      stack: The digits that loops run along, each with the depth of its loop; those
        that one place was taken of have the depth -1, or -2 if data says which.
    """

    path: str
    axes: tuple[Digits, ...]
    factor: float = 1.0
    functions: tuple[str, ...] = ()
    stack: tuple[tuple[int, Digit], ...] = ()

    def along(self, axes: Iterable[Digits]) -> View:
        return replace(self, axes=tuple(axes))

    def through(self, function: str) -> View:
        return replace(self, functions=(*self.functions, function))


Views = tuple[View, ...]


def whole(path: str, shape: Shape) -> View:
    """The view that a parameter is of itself."""
    digits = ((Digit(axis, 1, size),) for axis, size in enumerate(shape))
    return View(path, tuple(digits))


def without_first_axis(view: View, depth: int) -> View:
    """What a loop that runs along the first axis sees of it at a time."""
    first = ((depth, digit) for digit in view.axes[0] if digit.axis is not None)
    return replace(view, axes=view.axes[1:], stack=(*view.stack, *first))


def covers(
    digits: Iterable[Digit], shape: Shape, axes: Iterable[int | None] | None = None
) -> bool:
    """Whether digits are all there is along axes of a parameter, or along all."""
    sizes = [1] * len(shape)
    for digit in digits:
        if digit.axis is None:
            return False
        sizes[digit.axis] *= digit.size
    chosen = range(len(shape)) if axes is None else axes
    return all(axis is not None and sizes[axis] == shape[axis] for axis in chosen)


def laid_along(values: Any, digits: Sequence[Digit], shape: Shape) -> Any:
    """An array with an axis for each of some digits, laid along those of a parameter.

    Its axes are as long as those of the parameter, or of length one.
    """
    order = sorted(range(len(digits)), key=lambda n: _place(digits[n]))
    sizes = [1] * len(shape)
    for digit in digits:
        if digit.axis is not None:
            sizes[digit.axis] *= digit.size
    return np.transpose(values, order).reshape(sizes)


def _place(digit: Digit) -> tuple[int, int]:
    """Where a digit is in the order of the elements: the slow ones come first."""
    return (-1 if digit.axis is None else digit.axis), -digit.stride


# Operations.


def moved(
    name: str, params: dict[str, Any], inputs: Sequence[Any], shapes: Sequence[Shape]
) -> list[Views]:
    """The views of the results of an operation on values that know theirs.

    Args:
      name: That of the primitive.
      params: Its parameters.
      inputs: Values, with `shape`, `views` and `number`.
      shapes: Of the results.
    """
    first = inputs[0]
    if name in SAME:
        views = [value.views for value in inputs] if len(inputs) == len(shapes) else ()
        return list(views) or [first.views for _ in shapes]
    if name in ("add", "sub") and any(map(is_zero, inputs)):
        value = next(value for value in inputs if not is_zero(value))
        return [_each(value, _aligned, value.shape, shapes[0])]
    if name == "split":
        axis = params["axis"]
        return [_part(first, _cut, axis, shape[axis]) for shape in shapes]
    if name == "unstack":
        axis = params["axis"]
        kept = [n for n in range(len(first.shape)) if n != axis]
        one = _part(first, _cut, axis, 1)
        return [tuple(v.along(_permuted(v.axes, kept)) for v in one) for _ in shapes]
    if name in ("slice", "dynamic_slice", "pad") and first.views:
        return [_part(first, _resized, first.shape, shapes[0])]
    if name == "transpose":
        return [_each(first, _permuted, params["permutation"])]
    if name == "squeeze":
        gone = {axis % len(first.shape) for axis in params["dimensions"]}
        kept = [axis for axis in range(len(first.shape)) if axis not in gone]
        return [_each(first, _permuted, kept)]
    if name == "broadcast_in_dim":
        at = params["broadcast_dimensions"], first.shape, shapes[0]
        return [_each(first, _broadcast, *at)]
    if name in ("reshape", "expand_dims"):
        return [_each(first, _reshaped, first.shape, shapes[0])]
    if name == "tile":
        pairs = first.shape, shapes[0][len(shapes[0]) - len(first.shape) :]
        return [_each(first, _tiled, *pairs, len(shapes[0]))]
    if name in ("concatenate", "stack"):
        return [tuple(view for value in inputs for view in value.views)]
    if name in ("mul", "div", "neg") and (factor := _factor(name, inputs)) is not None:
        return [
            tuple(replace(v, factor=v.factor * factor) for v in value.views)
            for value in inputs
            if value.views
        ]
    if name == "dot_general":
        return [_product(params["dimension_numbers"], inputs)]
    if name == "gather" and first.views and not inputs[1].views:
        return [_each(first, _gathered, params["dimension_numbers"], shapes[0])]
    return [_passed(name, inputs, shape) for shape in shapes]


def _each(value: Any, function: Any, *arguments: Any) -> Views:
    return tuple(view.along(function(view.axes, *arguments)) for view in value.views)


def _part(value: Any, function: Any, *arguments: Any) -> Views:
    """Of a part, which may have one place of an axis: a layer of a stack."""
    parts = []
    for view in value.views:
        axes = function(view.axes, *arguments)
        before = {d.axis for digits in view.axes for d in digits if d.size > 1}
        after = {d.axis for digits in axes for d in digits if d.size > 1}
        one = before - after - {None}
        stack = *view.stack, *((-1, Digit(axis, 1, 1)) for axis in sorted(one))
        left = (tuple(d for d in digits if d.axis not in one) for digits in axes)
        parts.append(replace(view.along(left), stack=stack))
    return tuple(parts)


def _permuted(axes: Sequence[Digits], order: Sequence[int]) -> list[Digits]:
    return [axes[axis] for axis in order]


def _broadcast(
    axes: Sequence[Digits], places: Sequence[int], old: Shape, new: Shape
) -> list[Digits]:
    moved: list[Digits] = [()] * len(new)
    for digits, size, place in zip(axes, old, places, strict=True):
        if size == new[place]:
            moved[place] = digits
    return moved


def _aligned(axes: Sequence[Digits], old: Shape, new: Shape) -> list[Digits]:
    """Of an operation on elements, in which axes of length one are repeated."""
    if len(old) != len(new):
        return [() for _ in new]
    return [d if a == b else () for d, a, b in zip(axes, old, new, strict=True)]


def _cut(axes: Sequence[Digits], axis: int, size: int) -> list[Digits]:
    return [_shorter(d, size) if n == axis else d for n, d in enumerate(axes)]


def _resized(axes: Sequence[Digits], old: Shape, new: Shape) -> list[Digits]:
    pairs = zip(axes, old, new, strict=True)
    return [digits if a == b else _shorter(digits, b) for digits, a, b in pairs]


def _shorter(digits: Digits, size: int) -> Digits:
    """Digits of which so many places are left, the fast ones whole where possible."""
    left = list[Digit]()
    for digit in reversed(digits):
        if size % digit.size == 0 and digit is not digits[0]:
            left.insert(0, digit)
            size //= digit.size
        else:
            return (replace(digit, size=size), *left)
    return tuple(left)


def _reshaped(axes: Sequence[Digits], old: Shape, new: Shape) -> list[Digits]:
    """Cuts the digits, or puts them side by side, as the sizes ask for."""
    digits = list[Digit]()
    for each, size in zip(axes, old, strict=True):
        known = math.prod(digit.size for digit in each)
        one = each[0] if len(each) == 1 else Digit(None, 1, size)
        digits += each if known == size else [replace(one, size=size)]
    digits = [digit for digit in digits if digit.size != 1]
    moved = []
    for size in new:
        taken = list[Digit]()
        while size > 1 and digits:
            digit = digits.pop(0)
            if size % digit.size and digit.size % size:
                return [() for _ in new]  # cut across
            if digit.size > size:
                rest = digit.size // size
                digits.insert(0, replace(digit, size=rest))
                digit = replace(digit, stride=digit.stride * rest, size=size)
            taken.append(digit)
            size //= digit.size
        moved.append(tuple(digit for digit in taken if digit.axis is not None))
    return moved


def _tiled(axes: Sequence[Digits], old: Shape, new: Shape, ndim: int) -> list[Digits]:
    pairs = zip(axes, old, new, strict=True)
    kept = [digits if before == after else () for digits, before, after in pairs]
    return [()] * (ndim - len(kept)) + kept


def _gathered(axes: Sequence[Digits], numbers: Any, shape: Shape) -> list[Digits]:
    """Rows at places that are known, which are as many as there are places."""
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [digits for axis, digits in enumerate(axes) if axis not in gone]
    moved: list[Digits] = [()] * len(shape)
    for place, digits in zip(numbers.offset_dims, kept, strict=False):
        moved[place] = digits
    others = [place for place in range(len(shape)) if place not in numbers.offset_dims]
    rows = [digits for axis in gone for digits in axes[axis]]
    if len(rows) == 1 and others and shape[others[-1]] <= rows[0].size:
        moved[others[-1]] = (replace(rows[0], size=shape[others[-1]]),)
    return moved


def is_zero(value: Any) -> bool:
    """Whether it is zero everywhere, as what most recurrences start from."""
    return np.ndim(value.number) == 0 and value.number == 0


def _factor(name: str, inputs: Sequence[Any]) -> float | None:
    """What a view is multiplied with, if that is one number."""
    if name == "neg":
        return -1.0
    left, right = inputs
    number = right.number if left.views else left.number
    if np.ndim(number) or number is None or (name == "div" and not left.views):
        return None
    if np.iscomplexobj(number):
        return None
    number = float(number)
    return None if not number else 1 / number if name == "div" else number


def _product(numbers: Any, inputs: Sequence[Any]) -> Views:
    """Of a product of parameters the axes that are left of each."""
    contracted, batch = numbers
    shared = len(batch[0])
    frees = [
        [a for a in range(len(v.shape)) if a not in contracted[n] + tuple(batch[n])]
        for n, v in enumerate(inputs)
    ]
    before, views = 0, []
    for n, value in enumerate(inputs):
        for view in value.views:
            axes: list[Digits] = [()] * (shared + sum(map(len, frees)))
            for place, axis in enumerate(batch[n]):
                axes[place] = view.axes[axis]
            for place, axis in enumerate(frees[n]):
                axes[shared + before + place] = view.axes[axis]
            views.append(view.along(axes).through("dot_general"))
        before += len(frees[n])
    return tuple(views)


def _passed(name: str, inputs: Sequence[Any], shape: Shape) -> Views:
    """Of each parameter one view, which keeps its axes where their sizes are kept."""
    found: dict[str, View] = {}
    for value in inputs:
        for view in value.views:
            kept = _aligned(view.axes, value.shape, shape)
            new = view.along(kept).through(name)
            if view.path not in found or any(kept):
                functions = found.get(view.path, new).functions
                found[view.path] = max(
                    new,
                    replace(new, functions=functions),
                    key=lambda v: len(v.functions),
                )
    return tuple(found.values())
