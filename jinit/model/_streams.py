"""Streams: values that branches are added to, as the residual ones of a network.

    x1 = add x0 b    where b is computed of x0, by a contraction with a parameter

The branch b is written by the last contractions on its way. Additions that go on from
one another, or from one turn of a loop to the next, make one stream: after L of them
its variance has grown by that of L branches. The sum of what gates multiply, as in an
LSTM, is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from jinit.model._graph import Graph, Step, Use, Value
from jinit.model._kernels import origin
from jinit.model._views import KEPT

_NORMS = ("rsqrt", "sqrt", "reduce_max")  # on the way of what is normalized


@dataclass(eq=False)
class Branch:
    """An addition to a stream.

    Attributes:
      stream: Its number.
      number: Which of the branches of the stream it is, in order.
      layers: The uses of parameters that it is a contraction with: those that meet the
        stream, those that meet their results, and so on to the writers.
      normalized: Whether it is normalized after them: their size has no effect.
      scales: The uses of what it is multiplied with after them, the last first.
      gates: The uses of parameters that make what else it is multiplied with.
    """

    stream: int
    number: int
    layers: list[list[Use]]
    normalized: bool
    scales: list[Use]
    gates: list[Use]

    @property
    def last(self) -> list[Use]:
        """What decides how large it is: the writers, or the scale of a norm after."""
        return self.scales[:1] if self.normalized else self.writers

    @property
    def writers(self) -> list[Use]:
        return self.layers[-1]


@dataclass(eq=False)
class Streams:
    """The branches of a program, and how many each stream has."""

    branches: list[Branch]
    lengths: dict[int, int]

    def targets(self) -> dict[int, float]:
        """The variance that writers are meant to have, by the id of their step."""
        return {
            id(use.step): 1 / self.lengths[branch.stream]
            for branch in self.branches
            for use in branch.writers
            if not branch.normalized
        }


def streams(graph: Graph) -> Streams:
    """Finds the streams of a program."""
    uses: dict[int, list[Use]] = {}
    for use in graph.uses:
        if use.kind in ("contraction", "scale"):
            uses.setdefault(id(use.step), []).append(use)
    known, branches = _Known(), list[Branch]()
    for step in graph.steps:
        if step.name in ("cond", "select_n"):
            known.choose(step, branches)
        if step.name not in ("add", "add_any") or len(step.inputs) != 2:
            continue
        for skip, end in (step.inputs, step.inputs[::-1]):
            line = known.line(skip) if skip.data and end.data else []
            way = _Way(line, uses) if line else None
            if way is None or not way.follow(end):
                continue
            last = known.last(line)
            at, order = known.place[id(last)] if last else (len(known.lengths), 0)
            known.put(step.outputs[0], skip, at, order + _times(step, line))
            found = way.layers(), way.normalized, way.scales, way.gates()
            branches.append(Branch(at, order, *found))
            break
    return Streams(branches, known.lengths)


class _Known:
    """The values of streams so far.

    Attributes:
      place: For each of them, by id, its stream, and how many branches it has by then.
      before: What it was before the last was added.
      lengths: How many branches each stream has.
    """

    def __init__(self) -> None:
        self.place: dict[int, tuple[int, int]] = {}
        self.before: dict[int, Value] = {}
        self.lengths: dict[int, int] = {}

    def put(self, value: Value, before: Value, at: int, order: int) -> None:
        self.place[id(value)], self.before[id(value)] = (at, order), before
        self.lengths[at] = max(order, self.lengths.get(at, 0))

    def line(self, value: Value) -> list[Value]:
        """What a skip was before: moved, scaled, rectified, chosen, and added to."""
        line = [value]
        while True:
            step = value.step
            if id(value) in self.before:
                value = self.before[id(value)]
            elif step is not None and (step.name in KEPT or _is_plain(step)):
                inputs = [v for v in step.inputs if v.data]
                if not inputs:
                    return line
                value = inputs[0]
            else:
                return line
            line.append(value)

    def last(self, line: list[Value]) -> Value | None:
        """The last value of a line that a branch was added to."""
        return next((value for value in line if id(value) in self.place), None)

    def choose(self, step: Step, branches: list[Branch]) -> None:
        """Goes on with the longest of the values of which one is chosen.

        So a branch that is left out at times is one, as in stochastic depth.
        """
        (out,) = step.outputs
        ends = [v for v in step.inputs if v.data and v.dtype == out.dtype]
        lasts = [(end, self.last(self.line(end))) for end in ends]
        found = [(*self.place[id(v)], end) for end, v in lasts if v is not None]
        if not found:
            return
        at, order, end = max(found, key=lambda each: each[1])
        self.put(out, end, at, order)
        for other in {stream for stream, *_ in found} - {at}:  # they are one stream
            self.lengths[at] = max(self.lengths[at], self.lengths[other])
            for branch in branches:
                branch.stream = at if branch.stream == other else branch.stream
            for value, (stream, n) in self.place.items():
                self.place[value] = (at if stream == other else stream), n


def _times(step: Step, line: list[Value]) -> int:
    """How often a branch is added: in all turns of the loops that carry the line."""
    carries = (v.step for v in line if v.step is not None and v.step.name == "carry")
    carried = {carry.loops[-1] for carry in carries}
    return math.prod(loop.turns or 1 for loop in step.loops if loop in carried)


def _is_plain(step: Step) -> bool:
    """Whether a value meets a number, a parameter or a mask; or is a ReLU.

    A bias may be added after the sum, and ResNet's first version rectifies it.
    """
    names = ("mul", "div", "max", "add", "sub")
    return step.name in names and sum(v.data for v in step.inputs) == 1


class _Way:
    """The way from a branch back to the line that it comes from."""

    def __init__(self, line: list[Value], uses: dict[int, list[Use]]) -> None:
        self.roots = {id(value) for value in line}
        self.uses = uses
        self.normalized = False
        self.bare = False  # whether the line itself is in the branch, as a factor
        self.scales = list[Use]()
        self.writers = list[Step]()
        self.other = list[Value]()  # what it is multiplied with
        self._comes: dict[int, bool] = {}

    def follow(self, end: Value) -> bool:
        """Whether it comes from the line, by contractions that write it."""
        if not self.comes(end):
            return False
        for step in self._until_contractions([end], self.writers, weights=False):
            self.normalized |= step.name in _NORMS
            self.scales += [u for u in self.uses.get(id(step), ()) if u.kind == "scale"]
            if step.name == "mul":
                signals = self._signals(step, weights=False)
                self.other += [v for v in step.inputs if v.data and v not in signals]
        return bool(self.writers) and not self.bare

    def gates(self) -> list[Use]:
        """The contractions that make what the branch is multiplied with."""
        found = list[Step]()
        for _ in self._until_contractions(self.other, found, only_from_line=False):
            pass
        return [use for step in found for use in self._kernels(step)]

    def layers(self) -> list[list[Use]]:
        """The contractions on the way, those that meet the line first."""
        found, steps = list[list[Step]](), self.writers
        place: dict[int, int] = {}
        while steps:
            for step in steps:
                place[id(step)] = len(found)
            found.append(steps)
            ends = [
                v for step in steps for v in step.inputs if v.data and self.comes(v)
            ]
            steps = list[Step]()
            for _ in self._until_contractions(ends, steps):
                pass
        levels = [
            [u for s in level if place[id(s)] == n for u in self._kernels(s)]
            for n, level in enumerate(found)
        ]
        return levels[::-1]

    def _kernels(self, step: Step) -> list[Use]:
        return [u for u in self.uses.get(id(step), ()) if u.kind == "contraction"]

    def _signals(self, step: Step, weights: bool) -> list[Value]:
        from_line = [v for v in step.inputs if v.data and self.comes(v)]
        if weights and step.name == "dot_general":
            return from_line
        return _without_gates(from_line, step)

    def _until_contractions(
        self,
        ends: list[Value],
        found: list[Step],
        only_from_line: bool = True,
        weights: bool = True,
    ) -> Iterator[Step]:
        """The steps back to the contractions, which are found, or to the line.

        With those of the weights that a sum has, as queries and keys, unless they are
        not asked for.
        """
        seen, front = set[int](), list(ends)
        while front:
            value = front.pop()
            step = value.step
            if id(value) in self.roots:
                self.bare = True
            if step is None or id(step) in seen or id(value) in self.roots:
                continue
            seen.add(id(step))
            if self._kernels(step):
                found.append(step)
                continue
            yield step
            inputs = [value for value in step.inputs if value.data]
            front += self._signals(step, weights) if only_from_line else inputs

    # Whether it comes from the line.

    def comes(self, value: Value) -> bool:
        """Whether a value is computed of the line."""
        front = [value]
        while front:
            last = front[-1]
            if id(last) in self._comes:
                front.pop()
                continue
            before = [v for v in last.step.inputs if v.data] if last.step else []
            if id(last) in self.roots:
                self._comes[id(last)] = True
            elif new := [v for v in before if id(v) not in self._comes]:
                front += new
                continue
            else:
                self._comes[id(last)] = any(self._comes[id(v)] for v in before)
            front.pop()
        return self._comes[id(value)]


def _without_gates(inputs: list[Value], step: Step) -> list[Value]:
    """Of what is multiplied the signal, and not the gate that it passes.

    A gate is the same in many places, or what a function makes of its contraction; so
    are the weights of a sum, as of attention and of experts, which may be masked.
    """
    if step.name not in ("mul", "dot_general") or len(inputs) < 2:
        return inputs
    tests = [_is_weights] if step.name == "dot_general" else [_is_spread, _is_function]
    for is_gate in tests:
        left = [value for value in inputs if not is_gate(value, step)]
        if len(left) == 1:
            return left
    return inputs


def _is_spread(value: Value, by: Step) -> bool:
    if math.prod(value.shape) < math.prod(by.outputs[0].shape):  # by the product itself
        return True
    step = value.step
    while step is not None and step.name in KEPT:
        before = [v for v in step.inputs if v.data]
        if not before or math.prod(before[0].shape) < math.prod(value.shape):
            return bool(before)
        step = before[0].step
    return False


def _is_function(value: Value, _: Step) -> bool:
    step = origin(value)
    return step is not None and step.name in ("logistic", "tanh", "div", "exp")


def _is_weights(value: Value, by: Step) -> bool:
    step = origin(value)
    if step is not None and step.name == "mul":
        return any(_is_function(v, by) for v in step.inputs if v.data)
    return _is_function(value, by)
