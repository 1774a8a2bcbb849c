"""Kernels that are not contracted as they are, or not by one operation.

Those that data picks, or multiplies, before they are contracted:

    w (8, 16, 64) at e (4, 2)             of experts, or of classes: a table, so far
    p = gather w e       (4, 2, 16, 64)   picked: - | - | w: 1 | w: 2
    y = dot_general x p                   sums over w: 1 and keeps w: 2: so a kernel

A row of a table has no axis that is kept where it is summed over: logits of a word that
is looked up, or of a pair of words. What is multiplied so are kernels with dropped
connections, and those that a style modulates.

Those whose products are summed by another operation, and not used before:

    m = mul x w          (4, 16, 64)      a scale, so far
    y = reduce_sum m     (4, 64)          sums over w: 0, so w is a kernel
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jinit.model._meeting import meeting
from jinit.model._views import KEPT, PICKED, Digits, View, Views, moved

if TYPE_CHECKING:
    from jinit._checks import Shape
    from jinit.model._graph import Graph, Step, Use, Value


def picked(step: Step, shapes: Sequence[Shape]) -> list[Views]:
    """Of results that depend on the inputs the parameters that they are parts of."""
    inputs = [replace(v, views=v.picked) if v.data else v for v in step.inputs]
    given = [value for value in inputs if value.views]
    if len(given) == 1:
        if step.name == "mul" and len(given[0].shape) == len(shapes[0]):
            return [given[0].views]
        if step.name in ("gather", "dynamic_slice") and step.inputs[0].views:
            return [tuple(_rows(step, v, len(shapes[0])) for v in given[0].views)]
        if step.name in KEPT and inputs[0].views:
            return moved(step.name, step.equation.params, inputs, shapes)
    return [() for _ in shapes]


def _rows(step: Step, view: View, ndim: int) -> View:
    """Rows at places that data says: the other axes, wherever these are put."""
    roles = meeting(step, 0)[1]
    kept = places = range(len(roles))
    if step.name == "gather":
        numbers = step.equation.params["dimension_numbers"]
        gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
        kept, places = [a for a in kept if a not in gone], numbers.offset_dims
    axes: list[Digits] = [()] * ndim
    for axis, place in zip(kept, places, strict=True):
        axes[place] = view.axes[axis] if roles[axis] == "out" else ()
    along = (view.axes[axis] for axis, role in enumerate(roles) if role == "index")
    index = ((PICKED, digit) for digits in along for digit in digits)
    return replace(view.along(axes), stack=(*view.stack, *index))


def kernels(step: Step) -> list[int]:
    """Which inputs are kernels that were picked, or the biases that go with these."""
    if not all(value.data for value in step.inputs):
        return []
    found = [n for n, v in enumerate(step.inputs) if v.picked and _is_kernel(step, n)]
    return found if len(found) == 1 else []


def _is_kernel(step: Step, position: int) -> bool:
    kind, roles, *_ = meeting(step, position)
    view, *_ = step.inputs[position].picked
    if kind == "contraction":
        along = zip(view.axes, roles, strict=True)
        return {"in", "out"} <= {role for digits, role in along if digits}
    if kind != "shift" or len(step.inputs) != 2:
        return False
    layer = origin(step.inputs[1 - position])
    return (
        _is_picked((view,))
        and layer is not None
        and any(_is_picked(value.views) for value in layer.inputs if not value.data)
    )


def _is_picked(views: Views) -> bool:
    return any(depth == PICKED for view in views for depth, _ in view.stack)


def behind(value: Value) -> set[int]:
    """The steps by which what was picked came to be what it is, by their ids."""
    found = set[int]()
    front = [value]
    while front:
        value = front.pop()
        if value.step is not None and value.picked:
            found.add(id(value.step))
            front += value.step.inputs
    return found


def take_sums(graph: Graph) -> None:
    """Takes products that are summed, and nothing else, for contractions."""
    read = Counter(id(value) for step in graph.steps for value in step.inputs)
    read.update(id(value) for value in graph.outputs)
    for step in graph.steps:
        if step.name != "reduce_sum":
            continue
        value = step.inputs[0]
        while value.step and value.step.name == "convert_element_type":
            value = value.step.inputs[0] if read[id(value)] == 1 else step.outputs[0]
        for n, use in enumerate(graph.uses):
            scales = use.kind == "scale" and use.step is value.step
            if scales and use.step.name == "mul" and read[id(value)] == 1:
                graph.uses[n] = _summed(use, step)


def _summed(use: Use, step: Step) -> Use:
    """A scale as what it is where its products are summed by a step."""
    gone, sizes = step.equation.params["axes"], step.inputs[0].shape
    roles = [
        "in" if axis in gone else "out" if _is_spread(use.operand, axis, n) else "batch"
        for axis, n in enumerate(sizes)
    ]
    pairs = {
        (digit.axis, role)
        for digits, role in zip(use.view.axes, roles, strict=True)
        for digit in digits
        if digit.axis is not None
    }
    if "in" not in (role for _, role in pairs):
        return use
    pairs |= {pair for pair in use.all_axes if pair[1] != "free"}
    operand = use.operand
    while operand.step is not None and operand.step.name == "broadcast_in_dim":
        operand = operand.step.inputs[0]
    summed = replace(use, kind="contraction", axes=dict(pairs), step=step)
    summed.operand = operand
    summed.all_axes = frozenset(pairs)
    summed.fan_in = float(math.prod(sizes[axis] for axis in gone))
    summed.fan_out = float(math.prod(summed.sizes("out")))
    return summed


def _is_spread(value: Value, axis: int, size: int) -> bool:
    """Whether a value is the same all along an axis."""
    step = value.step
    if step is None or step.name != "broadcast_in_dim":
        return value.shape[axis] < size
    places = step.equation.params["broadcast_dimensions"]
    before = dict(zip(places, step.inputs[0].shape, strict=True))
    return before.get(axis, 1) < size


def origin(value: Value) -> Step | None:
    """The step that makes a value, but for those that only move it."""
    step = value.step
    while step is not None and step.name in KEPT:
        step = next((v.step for v in step.inputs if v.data), None)
    return step
