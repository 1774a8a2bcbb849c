"""Merging: units that are summed, or contracted with one another, without a kernel.

    e = reduce_sum h      the energy of 64 units: of copies, twice as large
    s = dot_general h g   the logits of two towers of 64 units

A mean, a norm and what is normalized stay what they were if each has as many copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jinit.model._kernels import origin
from jinit.model._views import KEPT

if TYPE_CHECKING:
    from jinit.model._features import Features
    from jinit.model._graph import Graph, Step, Value

_NORMS = {"sqrt", "rsqrt", "exp", "log", "pow", "reduce_max", "argmax", "top_k", "sort"}


def merged(graph: Graph, features: Features) -> dict[str, list[tuple[str, int]]]:
    """For each parameter how its results are merged, and of how many units."""
    layers = {id(use.step) for use in graph.uses if use.kind == "contraction"}
    readers = graph.readers()
    found: dict[str, list[tuple[str, int]]] = {}
    for step in graph.steps:
        if id(step) in layers:
            continue
        for value, axes in _summed(step):
            path, size = features.source(value, axes), features.count(value, axes)
            if path and size > 1:
                how = _how(step, readers, layers, size)
                found.setdefault(path, []).append((how, size))
    return found


def _how(
    step: Step, readers: dict[int, list[Step]], layers: set[int], size: int
) -> str:
    if _is_norm(step, readers, layers):
        return "norm"
    if step.name == "dot_general":
        return "product"
    return "mean" if _is_mean(step, readers, size) else "sum"


def _summed(step: Step) -> Iterator[tuple[Value, tuple[int, ...]]]:
    if step.name == "reduce_sum":
        yield step.inputs[0], tuple(step.equation.params["axes"])
    if step.name == "dot_general" and all(value.data for value in step.inputs):
        sides = step.equation.params["dimension_numbers"][0]
        yield from zip(step.inputs, map(tuple, sides), strict=True)


def _is_norm(step: Step, readers: dict[int, list[Step]], layers: set[int]) -> bool:
    """Whether it is for a norm, or of what was normalized, before the next kernel."""
    if any(_is_share(value) for value in step.inputs):
        return True
    seen, front = set[int](), list(step.outputs)
    while front:
        for reader in readers.get(id(front.pop()), ()):
            divides = reader.name == "div" and reader.inputs[1].data
            if reader.name in _NORMS or divides:
                return True
            if id(reader) not in seen | layers:
                seen.add(id(reader))
                front += reader.outputs
    return False


def _is_share(value: Value) -> bool:
    """Whether it was divided by what is computed of the inputs."""
    step = origin(value)
    if step is None or step.name not in ("div", "mul"):
        return False
    if step.name == "div":
        return step.inputs[1].data
    makers = [origin(each) for each in step.inputs]
    return any(m is not None and m.name in ("rsqrt", "div", "exp") for m in makers)


def _is_mean(step: Step, readers: dict[int, list[Step]], size: int) -> bool:
    """Whether it is divided by as many as are summed, or by a multiple."""
    value = step.outputs[0]
    while len(found := readers.get(id(value), ())) == 1 and found[0].name in KEPT:
        value = found[0].outputs[0]
    for reader in found:
        numbers = [v.number for v in reader.inputs if not v.data]
        known = len(numbers) == 1 and np.ndim(numbers[0]) == 0 and numbers[0]
        if known and reader.name in ("div", "mul"):
            by = float(numbers[0]) ** (1 if reader.name == "div" else -1)
            return math.isclose(by % size, 0, abs_tol=1e-3 * size)
    return False
