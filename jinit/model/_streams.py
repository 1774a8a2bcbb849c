"""Streams: values that branches are added to, as the residual ones of a network.

    x1 = add x0 b    where b is computed of x0, by a contraction with a parameter

The branch b is written by the last contractions on its way. Additions that go on from
one another, or from one turn of a loop to the next, make one stream: after L of them
its variance has grown by that of L branches. The sum of what gates multiply, as in an
LSTM, is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinit.model._graph import KEPT, Graph, Step, Use, Value

_NORMS = ("rsqrt", "sqrt", "reduce_max")  # on the way of what is normalized


@dataclass(eq=False)
class Branch:
    """An addition to a stream.

    Attributes:
      stream: Its number.
      writers: The uses of parameters that the branch ends with.
      normalized: Whether it is normalized after them: their size has no effect.
    """

    stream: int
    writers: list[Use]
    normalized: bool


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
        if use.kind == "contraction":
            uses.setdefault(id(use.step), []).append(use)
    number: dict[int, int] = {}  # of the stream that a value is of
    before: dict[int, Value] = {}  # what it was before a branch was added
    branches, lengths = list[Branch](), dict[int, int]()
    for step in graph.steps:
        if step.name not in ("add", "add_any") or len(step.inputs) != 2:
            continue
        for skip, branch in (step.inputs, step.inputs[::-1]):
            line = _line(skip, before) if skip.data and branch.data else []
            way = _way(branch, line, uses) if line else None
            if way is None:
                continue
            known = (number[id(value)] for value in line if id(value) in number)
            at = next(known, len(lengths))
            number[id(step.outputs[0])], before[id(step.outputs[0])] = at, skip
            lengths[at] = lengths.get(at, 0) + (step.times or 1)
            branches.append(Branch(at, *way))
            break
    return Streams(branches, lengths)


def _line(value: Value, before: dict[int, Value]) -> list[Value]:
    """What a skip was before: moved, scaled, rectified, and added to as a stream."""
    line = [value]
    while True:
        step = value.step
        if id(value) in before:
            value = before[id(value)]
        elif step is not None and (step.name in KEPT or _is_plain(step)):
            inputs = [v for v in step.inputs if v.data]
            if not inputs:
                return line
            value = inputs[0]
        else:
            return line
        line.append(value)


def _is_plain(step: Step) -> bool:
    """Whether a value is multiplied with a number, a parameter or a mask; or is a ReLU.

    ResNet's first version rectifies its stream after each sum.
    """
    return step.name in ("mul", "div", "max") and sum(v.data for v in step.inputs) == 1


def _way(
    branch: Value, line: list[Value], uses: dict[int, list[Use]]
) -> tuple[list[Use], bool] | None:
    """The last contractions of a branch that comes from a line, if there are any."""
    roots = {id(value) for value in line}
    if not _depends(branch, roots):
        return None
    writers, normalized, seen, front = list[Use](), False, set[int](), [branch]
    while front:
        value = front.pop()
        step = value.step
        if step is None or id(step) in seen or id(value) in roots:
            continue
        seen.add(id(step))
        if id(step) in uses:
            writers += uses[id(step)]
            continue
        normalized |= step.name in _NORMS
        front += [v for v in step.inputs if v.data]
    return (writers, normalized) if writers else None


def _depends(value: Value, roots: set[int]) -> bool:
    seen, front = set[int](), [value]
    while front:
        value = front.pop()
        if id(value) in roots:
            return True
        if value.step is None or id(value.step) in seen:
            continue
        seen.add(id(value.step))
        front += [v for v in value.step.inputs if v.data]
    return False
