"""Kernels that are not contracted as they are, or not by one operation.

Those that data picks, or multiplies, before they are contracted:

    w (8, 16, 64) at e (4, 2)             of experts, or of classes: a table, so far
    p = gather w e       (4, 2, 16, 64)   picked: - | - | w: 1 | w: 2
    y = dot_general x p                   sums over w: 1 and keeps w: 2: so a kernel

A row of a table has no axis that is kept where it is summed over: logits of a word that
is looked up, or of a pair of words. What is multiplied so are kernels with dropped
connections, and those that a style modulates; mixed so, by a product with gates, are
those of CondConv.

Those whose products are summed by another operation, and not used before:

    m = mul x w          (4, 16, 64)      a scale, so far; likewise of p in place of w
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
    if (gates := mixing(step)) is not None:
        return [_mixed(step, step.inputs.index(gates))]
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


def mixing(step: Step) -> Value | None:
    """The gates by which a step mixes kernels, as those of a softmax, if it does."""
    if step.name != "dot_general" or not any(v.views for v in step.inputs):
        return None
    gates = next((value for value in step.inputs if value.data), None)
    made = origin(gates) if gates is not None else None
    if made is not None and made.name == "div":
        made = origin(made.inputs[0])
        return gates if made is not None and made.name == "exp" else None
    return gates if made is not None and made.name == "logistic" else None


def _mixed(step: Step, gates: int) -> Views:
    """The kernels as views of what they are mixed to, of which gates pick each."""
    numbers = step.equation.params["dimension_numbers"]
    kernels = step.inputs[1 - gates].views
    inputs = [replace(v, views=() if v.data else v.views) for v in step.inputs]
    views = moved(step.name, {"dimension_numbers": numbers}, inputs, [()])[0]
    found = list[View]()
    for old, new in zip(kernels, views, strict=True):
        along = (old.axes[axis] for axis in numbers[0][1 - gates])
        index = tuple((PICKED, digit) for digits in along for digit in digits)
        stack = *old.stack, *index
        found.append(replace(new, functions=old.functions, stack=stack))
    return tuple(found)


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
        products = _products(step, read) if step.name == "reduce_sum" else []
        made = {id(product) for product in products}
        own = [v for product in products for v in product.inputs]
        factors = [v for v in own if v.data and (not v.step or id(v.step) not in made)]
        uses = [u for u in graph.uses if u.kind == "scale" and id(u.step) in made]
        rows = [value for value in factors if value.picked]
        if len(uses) == 1 and not rows:
            summed = _summed(uses[0], step, factors)
            graph.uses[graph.uses.index(uses[0])] = summed
        elif len(rows) == 1 and not uses:
            _take_rows(graph, step, rows[0], [v for v in factors if v is not rows[0]])


def _products(step: Step, read: Counter[int]) -> list[Step]:
    """The multiplications, one of the other, that a sum is of."""
    found, front = [], list(step.inputs)
    while front:
        value = front.pop()
        if value.step is None or read[id(value)] != 1:
            continue
        if value.step.name == "mul":
            found.append(value.step)
            front += value.step.inputs
        elif value.step.name == "convert_element_type":
            front += value.step.inputs
    return found


def _take_rows(graph: Graph, step: Step, value: Value, others: list[Value]) -> None:
    """A kernel that data picks as what it is where its products are summed."""
    (view, *_), before = value.picked, behind(value)
    picks = ((digit.axis, "batch") for depth, digit in view.stack if depth == PICKED)
    pairs = frozenset((axis, role) for axis, role in picks if axis is not None)
    use = next(
        (u for u in graph.uses if id(u.step) in before and u.view.path == view.path),
        None,
    )
    if use is None:
        return
    use = replace(use, view=view, operand=others[0], all_axes=pairs)
    summed = _summed(use, step, others)
    if {"in", "out"} <= set(summed.axes.values()):
        graph.uses = [
            u
            for u in graph.uses
            if id(u.step) not in before or u.view.path != view.path
        ]
        graph.uses.append(summed)


def _summed(use: Use, step: Step, factors: list[Value]) -> Use:
    """A scale as what it is where its products with others are summed by a step."""
    gone, sizes = step.equation.params["axes"], step.inputs[0].shape
    spread = [
        [_is_spread(value, axis, n) for value in factors]
        for axis, n in enumerate(sizes)
    ]
    roles = [
        "in" if axis in gone else "out" if all(each) else "batch"
        for axis, each in enumerate(spread)
    ]
    pairs = {
        (digit.axis, role)
        for digits, role in zip(use.view.axes, roles, strict=True)
        for digit in digits
        if digit.axis is not None
    }
    inside = [n for n in gone if use.view.axes[n]]
    # Of several that are not spread, as normalized queries and keys, it is a scale.
    alone = all(spread[axis].count(False) <= 1 for axis in inside)
    if not inside or not alone:
        return use
    pairs |= {pair for pair in use.all_axes if pair[1] != "free"}
    operand = step.inputs[0] if len(factors) > 1 else use.operand
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
