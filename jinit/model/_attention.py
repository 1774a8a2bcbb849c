"""Attention: which contractions make queries, keys and values.

s = dot_general q k      over the features of both
a = div exp(s) sum       along an axis that comes from the keys
y = dot_general a v      over that axis
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jinit.model._graph import Graph, Step, Use, Value
from jinit.model._views import KEPT

_KEPT = KEPT | {"mul", "select_n", "add", "sub", "exp", "max", "convert_element_type"}


@dataclass(eq=False)
class Part:
    """What a contraction makes for attention.

    Attributes:
      names: "query", "key", "value", or several of a packed one.
      size: The size of a head: how many products a logit sums.
    """

    names: set[str] = field(default_factory=set)
    size: int = 0


def attention(graph: Graph) -> dict[int, Part]:
    """The parts of attention that uses make, by the id of their step."""
    layers: dict[int, list[Use]] = {}
    for use in graph.uses:
        if use.kind == "contraction":
            layers.setdefault(id(use.step), []).append(use)
    parts: dict[int, Part] = {}
    for step in graph.steps:
        for weights, value in _sides(step):
            logits, along = _logits(weights)
            if logits is None:
                continue
            left, right = logits.inputs
            first_of_right = len(logits.outputs[0].shape) - _free(logits, 1)
            query, key = (right, left) if along < first_of_right else (left, right)
            (axes, _), _ = logits.equation.params["dimension_numbers"]
            size = math.prod(left.shape[axis] for axis in axes)
            for name, of in (("query", query), ("key", key), ("value", value)):
                for layer in _layers_behind(of, layers):
                    part = parts.setdefault(id(layer), Part())
                    part.names.add(name)
                    part.size = size
    return parts


def _sides(step: Step) -> list[tuple[Value, Value]]:
    """Of a product of two values of the inputs, both ways round."""
    if step.name != "dot_general" or not all(v.data for v in step.inputs):
        return []
    left, right = step.inputs
    return [(left, right), (right, left)]


def _free(step: Step, side: int) -> int:
    contracted, batch = step.equation.params["dimension_numbers"]
    used = len(contracted[side]) + len(batch[side])
    return len(step.inputs[side].shape) - used


def _logits(weights: Value) -> tuple[Step | None, int]:
    """The product that weights are the softmax of, and the axis that it sums along."""
    step = _back(weights, {"div"}, KEPT | {"mul", "select_n"})
    if step is None or not all(value.data for value in step.inputs):
        return None, 0
    total = _back(step.inputs[1], {"reduce_sum"}, KEPT | {"add", "max"})
    if total is None:
        return None, 0
    logits = _back(step.inputs[0], {"dot_general"}, _KEPT | {"div", "tanh"})
    if logits is None or not all(value.data for value in logits.inputs):
        return None, 0
    return logits, total.equation.params["axes"][0]


def _back(value: Value, names: set[str], through: set[str]) -> Step | None:
    """The step of one of these names that a value comes from, the nearest."""
    front, seen = [value], set[int]()
    while front:
        step = front.pop(0).step
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        if step.name in names:
            return step
        if step.name in through:
            front += [v for v in step.inputs if v.data]
    return None


def _layers_behind(value: Value, layers: dict[int, list[Use]]) -> list[Step]:
    """The contractions with parameters that a value comes from, the nearest."""
    front, seen, found = [value], set[int](), list[Step]()
    while front:
        step = front.pop().step
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        if id(step) in layers:
            found.append(step)
        else:
            front += [v for v in step.inputs if v.data]
    return found
