"""Features: which axes of a value the layers made, and which are places and examples.

    x (batch, time, 64)                       no features: an input
    q = dot_general x w, w of (64, 4, 16)     (batch, time, 4 features, 16 features)
    h = reshape q (batch, time, 64)           (batch, time, 64 features)
    s = dot_general q k over the 16           (batch, 4 features, time, time)

What is random in features are the weights, so that they are independent; places and
examples share the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jinit._checks import Shape
from jinit.model._views import KEPT, Digit, Digits, View, Views, moved

if TYPE_CHECKING:
    from jinit.model._graph import Graph, Step, Use, Value

_MADE_ANEW = {"sort", "argsort", "iota"}
_NEW = -1  # the number of a digit that is of no parameter that is known


class _Labelled(NamedTuple):
    """What `moved` asks of a value."""

    shape: Shape
    views: Views
    number: Any = None


class Features:
    """The features along each axis of the values of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._axes: dict[int, tuple[Digits, ...]] = {}
        self._paths: list[str] = []  # of the parameters that digits are of, by number
        layers = graph.layers()
        for step in graph.steps:
            for value in step.outputs:
                if value.data:
                    axes = self._of_step(step, value, layers.get(id(step)))
                    self._axes[id(value)] = tuple(axes)

    def count(self, value: Value, axes: Iterable[int]) -> int:
        """How many features there are along some axes of a value."""
        along = self.along(value)
        return math.prod(digit.size for axis in axes for digit in along[axis])

    def source(self, value: Value, axes: Iterable[int]) -> str | None:
        """The path of a parameter that made the features there, if there are any."""
        along = self.along(value)
        numbers = (digit.axis for axis in axes for digit in along[axis])
        known = (n for n in numbers if n is not None and n != _NEW)
        return next((self._paths[n] for n in known), None)

    def along(self, value: Value) -> Sequence[Digits]:
        return self._axes.get(id(value), ((),) * len(value.shape))

    def _of_step(self, step: Step, out: Value, use: Use | None) -> Sequence[Digits]:
        if use is not None:
            self._paths.append(use.view.path)
            axes = self._of_use(step, out, use)
            return [tuple(self._named(digit) for digit in digits) for digits in axes]
        if step.name == "dot_general":
            return self._of_product(step, out, None)
        if step.name == "conv_general_dilated":
            return _at(out, [step.equation.params["dimension_numbers"].out_spec[1]])
        if "axes" in _params(step) and len(out.shape) < len(step.inputs[0].shape):
            gone = _params(step)["axes"]
            along = enumerate(self.along(step.inputs[0]))
            return [digits for axis, digits in along if axis not in gone]
        if step.name in KEPT and step.equation is not None:
            return self._moved(step, out)
        return self._joined(step, out)

    def _of_use(self, step: Step, out: Value, use: Use) -> Sequence[Digits]:
        if step.name == "dot_general":
            place = next(n for n, value in enumerate(step.inputs) if not value.data)
            return self._of_product(step, out, place)
        if step.name == "conv_general_dilated":
            return _at(out, [step.equation.params["dimension_numbers"].out_spec[1]])
        if step.name == "gather":
            return _at(out, step.equation.params["dimension_numbers"].offset_dims)
        if step.name == "dynamic_slice":
            sizes = enumerate(zip(step.inputs[0].shape, out.shape, strict=True))
            return _at(out, [axis for axis, (a, b) in sizes if a == b])
        if step.name == "reduce_sum":
            gone = step.equation.params["axes"]
            sides = zip(self.along(step.inputs[0]), use.view.axes, strict=True)
            return [one or own for n, (one, own) in enumerate(sides) if n not in gone]
        return _at(out, [len(out.shape) - 1])

    def _named(self, digit: Digit) -> Digit:
        """A digit of the parameter that is used, unless it is of one before."""
        new = digit.axis == _NEW
        return replace(digit, axis=len(self._paths) - 1) if new else digit

    def _of_product(self, step: Step, out: Value, kernel: int | None) -> list[Digits]:
        """The batch axes, and those that are left of each side; of a kernel all."""
        contracted, batch = step.equation.params["dimension_numbers"]
        sides = [
            [
                (Digit(_NEW, 1, size),) if side == kernel else digits
                for size, digits in zip(value.shape, self.along(value), strict=True)
            ]
            for side, value in enumerate(step.inputs)
        ]
        shared = zip(*batch, strict=True)
        axes = [sides[0][one] or sides[1][other] for one, other in shared]
        for side, along in enumerate(sides):
            used = {*contracted[side], *batch[side]}
            axes += [digits for axis, digits in enumerate(along) if axis not in used]
        return axes

    def _moved(self, step: Step, out: Value) -> Sequence[Digits]:
        inputs = [
            _Labelled(v.shape, (View("", tuple(self.along(v))),) if v.data else ())
            for v in step.inputs
        ]
        shapes = [value.shape for value in step.outputs]
        at = next(n for n, value in enumerate(step.outputs) if value is out)
        views = moved(step.name, step.equation.params, inputs, shapes)[at]
        return views[0].axes if views else _at(out, [])

    def _joined(self, step: Step, out: Value) -> list[Digits]:
        """Of what is computed by elements: an axis has features if an input's has."""
        found: list[Digits] = [()] * len(out.shape)
        for value in step.inputs:
            first = len(out.shape) - len(value.shape)  # a loop puts its turns in front
            if value.data and 0 <= first <= 1 and step.name not in _MADE_ANEW:
                for axis, digits in enumerate(self.along(value), first):
                    if value.shape[axis - first] == out.shape[axis]:
                        found[axis] = found[axis] or digits
        return found


def _params(step: Step) -> Any:
    return step.equation.params if step.equation is not None else {}


def _at(value: Value, axes: Iterable[int]) -> list[Digits]:
    chosen = set(axes)
    sizes = enumerate(value.shape)
    return [(Digit(_NEW, 1, size),) if axis in chosen else () for axis, size in sizes]
