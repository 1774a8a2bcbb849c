"""Reading: of the uses of each parameter the role that it has.

uses                        role
contraction, and gather     contraction: a tied table is drawn for the head
add, of (time, 64)          table, for a bias has no places
add, of (64,)               shift
add, before exp(A · it)     rate, whose bias is a time
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from jinit._checks import Shape
from jinit.model._attention import Part, attention
from jinit.model._graph import Graph, Use
from jinit.model._kernels import mixing, origin
from jinit.model._merging import merged
from jinit.model._moments import Moments
from jinit.model._outputs import Outputs
from jinit.model._role import Place, Role
from jinit.model._streams import Branch, Streams, streams


def roles_of(graph: Graph) -> tuple[Role, ...]:
    """The roles of all parameters of a program."""
    found = streams(graph)
    moments = Moments(graph, found.targets(), _tied(graph))
    return tuple(map(_Reader(graph, found, moments).role, graph.shapes))


def _tied(graph: Graph) -> dict[str, float]:
    """The second moments of what is looked up in tables that are drawn as heads."""
    uses = [use for use in reversed(graph.uses) if use.kind == "contraction"]
    heads = {use.view.path: use.fan_in * use.view.factor**2 for use in uses}
    tables = [use for use in graph.uses if use.kind == "table"]
    factors = [use.view.factor * graph.factor_after(use.step) for use in tables]
    pairs = zip((use.view.path for use in tables), factors, strict=True)
    return {path: f**2 / heads[path] for path, f in pairs if path in heads}


_MUCH = 0.75  # of a convolution's taps, of a small image
_KINDS = ("contraction", "table", "scale", "shift", "state", "other")


class _Reader:
    """Says of each parameter of a graph what it is."""

    def __init__(self, graph: Graph, found: Streams, moments: Moments) -> None:
        self.graph, self.moments = graph, moments
        self.uses: dict[str, list[Use]] = {path: [] for path in graph.shapes}
        for use in graph.uses:
            self.uses[use.view.path].append(use)
        self.met = {id(use.step) for use in graph.uses}
        self.heads = {id(use) for use in graph.heads()}
        self.attention = attention(graph)
        self.outputs = Outputs(graph)
        self.merged = merged(graph, moments.features)
        self.gates = {id(use) for branch in found.branches for use in branch.gates}
        self.places: dict[int, Place] = {}
        self.written: dict[int, int] = {}
        for branch in found.branches:
            length = found.lengths[branch.stream]
            for use, place in _places(branch, length):
                self.places.setdefault(id(use), place)
            for use in branch.last:
                self.written[id(use)] = max(length, self.written.get(id(use), 0))

    def role(self, path: str) -> Role:
        """Of a parameter's uses the one that decides: what it is contracted with."""
        graph, uses, shape = self.graph, self.uses[path], self.graph.shapes[path]
        if path in graph.states:
            return Role(path, shape, "state", ("free",) * len(shape))
        if path in graph.signals:
            axes = *("index" for _ in shape[1:]), "out"
            return Role(path, shape, "table", axes, fan_out=float(shape[-1]))
        if not uses:
            return Role(path, shape, "unused", uses=0)
        added = any(use.is_added for use in uses)
        use = min(uses, key=lambda use: (*_order(use, added), self._is_idle(use)))
        made = self.attention.get(id(use.step), Part())
        times = [1 if each.kind == "state" else each.step.times for each in uses]
        parts = self._parts(use, uses) if use.kind == "contraction" else []
        recurrent, state = self._recurrent(use, parts)
        role = Role(
            path,
            shape,
            _kind(use, graph),
            axes=tuple(use.axes.get(axis, "") for axis in range(len(shape))),
            other_axes=_other_axes(use, uses, len(shape)),
            fan_in=use.fan_in,
            fan_out=use.fan_out,
            branches=self.written.get(id(use), 0),
            place=self.places.get(id(use)),
            head=id(use) in self.heads and id(use) not in self.places,
            parts=tuple(sorted(made.names)),
            head_size=made.size,
            gate=id(use) in self.gates,
            uses=None if None in times else sum(filter(None, times)),
            functions=use.view.functions,
            recurrent=recurrent,
            state=state,
            factor=use.view.factor,
            merged=tuple(self.merged.get(path, ())),
        )
        if use.kind == "contraction":
            tied = any(other.kind == "table" for other in uses)
            return replace(role, tied=tied, **self._contracted(use, parts))
        if use.kind == "table":
            return replace(role, factor=role.factor * graph.factor_after(use.step))
        if role.kind == "shift":
            role = replace(role, layer=_layer_before(use, graph))
        if role.kind in ("scale", "shift"):
            role = replace(role, normalized=self._normalized(use))
        return role

    def _is_idle(self, use: Use) -> bool:
        """Whether a kernel meets zeros there, as the first state of a recurrence."""
        return use.kind == "contraction" and not self.moments.second(use.operand)

    def _contracted(self, use: Use, parts: list[np.ndarray]) -> dict[str, Any]:
        """What a kernel gives, and what it meets."""
        outputs = [int(each.sum()) for each in parts]
        # One variance for all parts gives what they are computed of a gradient of the
        # size that kernels of their own give it if the fan_out is the mean of theirs.
        share = fmean(outputs) / parts[0].size if parts else 1.0
        # Zeros beyond the borders count where they are much of what is met.
        seen = use.seen if use.seen < _MUCH else 1.0
        shared = self._shares(use)
        moment = self.moments.second(use.operand) * seen * shared
        return {
            "fan_out": use.fan_out * share,
            "outputs": tuple(outputs) if len(outputs) > 1 else (),
            "moment": moment if moment > 1e-12 else 1.0,
            "assumed": self.moments.assumed(use.operand),
            "activation": self.moments.activation(use.operand)
            if seen == shared == 1
            else None,
        }

    def _shares(self, use: Use) -> float:
        """Of kernels that are mixed the sum of the squares of their shares, or one."""
        own = (v for v in use.step.inputs if use.view in v.views and not v.data)
        step = next((origin(value) for value in own if value.step), None)
        gates = mixing(step) if step is not None else None
        if step is None or gates is None:
            return 1.0
        mixed = step.equation.params["dimension_numbers"][0][step.inputs.index(gates)]
        count = math.prod(gates.shape[axis] for axis in mixed)
        return count * self.moments.second(gates)

    def _parts(self, use: Use, uses: list[Use]) -> list[np.ndarray]:
        """The parts that the outputs of a parameter are cut into, before or after."""
        sizes = enumerate(self.graph.shapes[use.view.path])
        whole = math.prod(n for axis, n in sizes if use.axes.get(axis) == "out")
        own = math.prod(use.sizes("out"))
        slices = [u for u in uses if u.kind == "contraction"] if own < whole else [use]
        parts = [part for each in slices for part in self.outputs.parts(each)]
        if parts and parts[0].size > own:  # of several parameters side by side
            parts = [part for part in parts if part.sum() == own][:1] or parts
        times = max(1, sum(int(part.sum()) for part in parts) // max(whole, 1))
        return parts[: len(parts) // times]

    def _recurrent(
        self, use: Use, parts: list[np.ndarray]
    ) -> tuple[bool, tuple[int, int] | None]:
        """Whether a part each is a square matrix, and else which inputs come back."""
        if self.graph.feeds_back(use):
            return True, None
        state, size = self.graph.state(use), math.prod(use.sizes("in"))
        if state != (0, size):
            return False, state
        squares = all(part.sum() == size for part in parts) and bool(parts)
        matrix = len(self.graph.shapes[use.view.path]) == 2
        if squares and matrix and all(_is_run(part) for part in parts):
            return True, None
        return False, state if squares else None

    def _normalized(self, use: Use) -> tuple[int, ...]:
        """The axes of a scale that what it meets was normalized over, if it was.

        Then it comes, with no other parameter between, of a root of a sum along them.
        """
        summed, seen = set[tuple[Shape, int]](), set[tuple[int, bool]]()
        front = [(use.operand, False)]
        while front:
            value, root = front.pop()
            step = value.step
            if step is None or id(step) in self.met or step.name in _APART:
                continue
            root |= step.name in ("rsqrt", "sqrt", "pow")
            if (id(step), root) in seen:
                continue
            seen.add((id(step), root))
            if root and step.name == "reduce_sum":
                axes = step.equation.params["axes"]
                summed.update((step.inputs[0].shape, axis) for axis in axes)
            front += [(other, root) for other in step.inputs if other.data]
        lengths = {(len(shape), axis, shape[axis]) for shape, axis in summed}
        rank, shape = len(use.view.axes), self.graph.shapes[use.view.path]
        return tuple(
            digits[0].axis
            for axis, digits in enumerate(use.view.axes)
            if len(digits) == 1
            and digits[0].axis is not None
            and (rank, axis, shape[digits[0].axis]) in lengths
        )


_APART = {"transpose", "dot_general", "conv_general_dilated", "gather"}


def _places(branch: Branch, length: int) -> Iterator[tuple[Use, Place]]:
    for number, layer in enumerate(branch.layers):
        at = branch.stream, length, branch.number, len(branch.layers), number
        for use in layer:
            yield use, Place(*at)
    for use in branch.scales[:1]:
        count = len(branch.layers)
        yield use, Place(branch.stream, length, branch.number, count, count)


def _order(use: Use, added: bool) -> tuple[int, bool]:
    """The order in which uses decide; of m and 1 - m, which mix, the function does.

    A bias that a gate multiplies where the state is zero is one.
    """
    kind = "shift" if added and use.kind == "scale" else use.kind
    return _KINDS.index(kind), use.kind == "scale" and not use.view.functions


def _other_axes(use: Use, uses: list[Use], rank: int) -> tuple[str, ...]:
    """What else each axis is; none where each is one thing in all uses."""
    pairs = {pair for each in uses for pair in each.all_axes if pair[0] in use.axes}
    others = pairs - set(use.axes.items())
    named = ("/".join(sorted(r for a, r in others if a == n)) for n in range(rank))
    return tuple(named) if others else ()


def _is_run(part: np.ndarray) -> bool:
    """Whether the outputs of a part lie one beside the other."""
    places = np.flatnonzero(part)
    return bool(places[-1] - places[0] + 1 == places.size)


def _kind(use: Use, graph: Graph) -> str:
    if use.kind == "shift" and _is_table(use, graph):
        return "table"
    return "rate" if use.kind == "shift" and graph.is_rate(use.step) else use.kind


def _is_table(use: Use, graph: Graph) -> bool:
    """Whether what is added has places as well, which are no outputs of a layer.

    A bias is as large as the outputs of the contraction whose result it is added to.
    """
    if use.step.name == "concatenate":
        return True
    sizes = [size for size in use.sizes("free") if size > 1]
    if len(sizes) < 2:
        return False
    step = origin(use.operand)
    outputs = [
        math.prod((*u.sizes("out"), *u.sizes("batch")))
        for u in graph.uses
        if u.step is step and u.kind == "contraction"
    ]
    return math.prod(sizes) not in outputs


def _layer_before(use: Use, graph: Graph) -> str | None:
    step = origin(use.operand)
    layers = (u for u in graph.uses if u.step is step and u.kind == "contraction")
    return next((layer.view.path for layer in layers), None)
