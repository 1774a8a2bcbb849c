"""The graph of a program: its steps, and what each meets of the parameters.

A model that is traced is a program. Calls, rematerialization and the branches of
conditions are written out in place, and the body of a loop once. Of every value it is
known whether it depends on the inputs; if not, of which parameters it is a *view*, and
which of their axes lie where:

    program                         value                   views, axis by axis
    p = reshape w (64, 4, 16)       of w, of shape (64, 64)  w: 0 | w: 1 (4) | w: 1 (16)
    q = transpose p (1, 0, 2)                                w: 1 (4) | w: 0 | w: 1 (16)
    y = dot_general x q             contracts the axis of w: 0, so that is its input

Where a view meets a value that depends on the inputs, the parameter is *used*. No name
is read. What is in an equation is taken apart here and in `_trace` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jinit._checks import Shape
from jinit.model._constants import computed, known
from jinit.model._kernels import behind, kernels, origin, picked, take_sums
from jinit.model._meeting import meeting, only_scales, seen, signals
from jinit.model._states import first_states
from jinit.model._views import (
    KEPT,
    PICKED,
    View,
    Views,
    is_zero,
    moved,
    whole,
    without_first_axis,
)

At = tuple[int, ...]


@dataclass(eq=False)
class Value:
    """A value of the program, and the step that makes it."""

    shape: Shape
    dtype: Any
    data: bool = False
    views: Views = ()
    picked: Views = ()  # of data: the parameters that it is a part or a multiple of
    number: Any = None  # of a constant: the number that it is everywhere, or the array
    step: Step | None = None


class Loop(NamedTuple):
    """The place of a loop, and how often it runs if it says so."""

    at: At
    turns: int | None


@dataclass(eq=False)
class Step:
    """An operation: an equation that is not written out further.

    Attributes:
      name: That of its primitive, or of what a loop does with a value.
      equation: The equation, if there is one.
      inputs: Its inputs.
      outputs: Its outputs.
      at: Its place: the number of its equation, within that of the number, and so on.
      loops: The loops around it, the outermost first.
    """

    name: str
    equation: Any
    inputs: list[Value]
    outputs: list[Value]
    at: At
    loops: tuple[Loop, ...]

    @property
    def turns(self) -> tuple[int | None, ...]:
        """How often each loop around it runs; None of one that does not say."""
        return tuple(loop.turns for loop in self.loops)

    @property
    def times(self) -> int | None:
        """How often it runs in all."""
        turns = [n for n in self.turns if n is not None]
        return math.prod(turns) if len(turns) == len(self.turns) else None


@dataclass(eq=False)
class Use:
    """A parameter that meets a value of the inputs.

    Attributes:
      view: The parameter, as it is there.
      kind: "contraction", "table", "scale", "shift", "state" or "other".
      axes: The role of each axis of the parameter that is there: "in", "out", "batch",
        "space", "index" or "free"; "stack" of those that a loop runs along.
      all_axes: The same in pairs, for digits of an axis may have roles of their own.
      fan_in: How many products are summed for an output.
      fan_out: How many outputs an input goes to.
      step: The step.
      operand: The value that it meets.
      signals: Of what is a product of parameters, those that are a signal in it.
      seen: The share of a convolution's taps that are not beyond the borders.
    """

    view: View
    kind: str
    axes: dict[int, str]
    fan_in: float
    fan_out: float
    step: Step
    operand: Value
    signals: tuple[str, ...] = ()
    seen: float = 1.0
    all_axes: frozenset[tuple[int, str]] = frozenset()

    @property
    def is_added(self) -> bool:
        """Whether it is added as it is, as a bias."""
        return self.kind == "shift" and not self.view.functions

    def sizes(self, role: str) -> list[int]:
        """Of the digits that the parameter has where it is used, in a role."""
        digits = (digit for digits in self.view.axes for digit in digits)
        return [
            d.size for d in digits if d.axis is not None and self.axes[d.axis] == role
        ]


@dataclass(eq=False)
class Graph:
    """A program, as far as it was asked for."""

    shapes: dict[str, Shape]
    signals: dict[str, Value] = field(default_factory=dict)  # parameters that are data
    states: set[str] = field(default_factory=set)  # those that start a recurrence
    steps: list[Step] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    carried: list[tuple[Value, Value]] = field(default_factory=list)  # in, and out
    apart: list[At] = field(default_factory=list)  # programs that each device runs

    def is_apart(self, step: Step) -> bool:
        """Whether each device runs it by itself, on its part of the arrays."""
        return any(step.at[: len(at)] == at for at in self.apart)

    def layers(self) -> dict[int, Use]:
        """The uses of kernels and of tables, by the id of their step."""
        uses = (use for use in self.uses if use.kind in ("contraction", "table"))
        return {id(use.step): use for use in uses}

    def readers(self) -> dict[int, list[Step]]:
        """The steps that read each value, by its id, in order."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            for value in step.inputs:
                found.setdefault(id(value), []).append(step)
        return found

    def _after(self, step: Step) -> list[Step]:
        return self.steps[self.steps.index(step) + 1 :]

    def factor_after(self, step: Step) -> float:
        """The number that a result is multiplied with before all else."""
        factor, value = 1.0, step.outputs[0]
        for other in self._after(step):
            if not any(each is value for each in other.inputs):
                continue
            numbers = [v.number for v in other.inputs if not v.data and not v.views]
            scaled = other.name in ("mul", "div") and other.inputs[0] is value
            if scaled and len(numbers) == 1 and np.ndim(numbers[0]) == 0 and numbers[0]:
                factor *= float(numbers[0]) ** (1 if other.name == "mul" else -1)
            elif other.name not in KEPT:
                break
            value = other.outputs[0]
        return factor

    def is_normalized(self, step: Step) -> bool:
        """Whether the result is normalized before it meets another value."""
        layers = {id(use.step) for use in self.uses if use.kind == "contraction"}
        plain, own = ({id(value) for value in step.outputs} for _ in range(2))
        normalized = False
        for other in self._after(step):
            data = [id(value) for value in other.inputs if value.data]
            apart = id(other) in layers or not own.issuperset(data)
            if apart and plain.intersection(data):
                return False
            if not apart and data:
                normalized |= other.name in ("rsqrt", "sqrt")
                own.update(id(value) for value in other.outputs)
                if other.name in (*KEPT, "add") and len(data) == 1:
                    plain.update(id(value) for value in other.outputs)
        return normalized

    def is_rate(self, step: Step) -> bool:
        """Whether the result decides how fast a state decays, and is no signal.

        As a time step does: softplus(x + b) meets A = -exp(a), before any contraction.
        """
        layers = {id(use.step): use for use in self.uses}
        own = {id(value) for value in step.outputs}
        for other in self._after(step):
            data = [id(value) for value in other.inputs if value.data]
            if not own.intersection(data):
                continue
            use = layers.get(id(other))
            if use is not None and use.kind == "contraction":
                return False
            if use is not None and use.kind == "scale" and "exp" in use.view.functions:
                return True
            if own.issuperset(data):
                own |= {id(value) for value in other.outputs}
        return False

    def heads(self) -> list[Use]:
        """The contractions with none after them, on the ways to what is returned."""
        by_step: dict[int, list[Use]] = {}
        for use in self.uses:
            if use.kind == "contraction":
                by_step.setdefault(id(use.step), []).append(use)
        found, seen, front = list[Use](), set[int](), list(self.outputs)
        while front:
            step = front.pop().step
            if step is not None and id(step) not in seen:
                seen.add(id(step))
                found += [] if step.loops else by_step.get(id(step), [])
                front += [] if id(step) in by_step else step.inputs
        return found

    def feeds_back(self, use: Use) -> bool:
        """Whether a square matrix multiplies what a loop carries, in every turn."""
        sizes = [digit.size for digits in use.view.axes for digit in digits]
        square = len(sizes) == 2 and sizes[0] == sizes[1]
        return square and self.state(use) == (0, sizes[0])

    def state(self, use: Use) -> tuple[int, int] | None:
        """Which of its inputs, from and to, meet what a loop carries, in every turn.

        That is all of them, or those of what the state is put beside.
        """
        if not use.step.loops or use.kind != "contraction":
            return None
        if any(depth >= 0 for depth, _ in use.view.stack):
            return None
        inputs = math.prod(use.sizes("in"))
        if self._is_carried(use.operand):
            return 0, inputs
        step = origin(use.operand)
        if step is None or step.name != "concatenate":
            return None
        axis = step.equation.params["dimension"]
        if step.outputs[0].shape[axis] != inputs:
            return None
        ends = [0, *np.cumsum([value.shape[axis] for value in step.inputs]).tolist()]
        found = [n for n, v in enumerate(step.inputs) if self._is_carried(v)]
        return (ends[found[0]], ends[found[-1] + 1]) if found else None

    def _is_carried(self, value: Value) -> bool:
        carried = {id(inner) for inner, _ in self.carried}
        while id(value) not in carried and value.step is not None:
            before = [v for v in value.step.inputs if v.data]
            if len(before) != 1:
                return False
            value = before[0]
        return id(value) in carried


def read(closed: core.ClosedJaxpr, paths: Sequence[str]) -> Graph:
    """Reads a program whose first arguments are the parameters of these paths.

    A parameter may be a signal, as the latents of a Perceiver: what layers with other
    parameters make of it meets the inputs. Then the program is read again, with that
    parameter as one of the inputs. So it is with the first state of a recurrence.
    """
    signals, states = set[str](), set[str]()
    while True:
        graph = _read(closed, paths, signals)
        first = first_states(graph)
        found = {path for use in graph.uses for path in use.signals} | first
        if found <= signals:
            # A matrix may be latents, which must not be equal.
            vectors = (p for p in states if sum(n > 1 for n in graph.shapes[p]) < 2)
            graph.states = set(vectors)
            return graph
        signals, states = signals | found, states | first


def _read(closed: core.ClosedJaxpr, paths: Sequence[str], signals: set[str]) -> Graph:
    avals = [var.aval for var in closed.jaxpr.invars]
    shapes = {p: tuple(a.shape) for p, a in zip(paths, avals, strict=False)}
    graph = Graph(shapes)
    given = [
        _data(aval) if path in signals else _parameter(path, aval)
        for path, aval in zip(paths, avals, strict=False)
    ]
    graph.signals = {p: v for p, v in zip(paths, given, strict=False) if v.data}
    given += [_data(aval) for aval in avals[len(paths) :]]
    graph.inputs = [value for value in given if value.data]
    graph.outputs = _Reader(graph).run(closed, given)
    _drop_unneeded(graph)
    take_sums(graph)
    return graph


def _drop_unneeded(graph: Graph) -> None:
    """Leaves the steps that the results depend on, such as no running averages."""
    ends = {id(inner): end for inner, end in graph.carried}
    needed, front = set[int](), list(graph.outputs)
    while front:
        value = front.pop()
        if id(value) in ends:  # what a loop carries comes from its end, too
            front.append(ends.pop(id(value)))
        if value.step is not None and id(value.step) not in needed:
            needed.add(id(value.step))
            front += value.step.inputs
    graph.steps = [step for step in graph.steps if id(step) in needed]
    graph.uses = [use for use in graph.uses if id(use.step) in needed]


def _parameter(path: str, aval: Any) -> Value:
    shape = tuple(aval.shape)
    return Value(shape, aval.dtype, views=(whole(path, shape),))


def _data(aval: Any, step: Step | None = None) -> Value:
    return Value(tuple(aval.shape), aval.dtype, data=True, step=step)


def _constant(aval: Any, value: Any) -> Value:
    return Value(tuple(aval.shape), aval.dtype, number=known(value, aval.dtype))


class _Reader:
    """Walks through the equations, and into those that hold others."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.loops: tuple[Loop, ...] = ()
        self.at: At = ()

    def run(self, closed: Any, arguments: Iterable[Value]) -> list[Value]:
        """The results of a program of these arguments."""
        jaxpr = getattr(closed, "jaxpr", closed)
        values: dict[Any, Value] = {}
        for var, const in zip(
            jaxpr.constvars, getattr(closed, "consts", ()), strict=True
        ):
            values[var] = _constant(var.aval, const)
        values |= zip(jaxpr.invars, arguments, strict=True)

        def value(atom: Any) -> Value:
            if isinstance(atom, core.Literal):
                return _constant(atom.aval, atom.val)
            return values[atom]

        around = self.at
        for number, equation in enumerate(jaxpr.eqns):
            self.at = (*around, number)
            inputs = [value(atom) for atom in equation.invars]
            values |= zip(equation.outvars, self.step(equation, inputs), strict=True)
        self.at = around
        return [value(atom) for atom in jaxpr.outvars]

    def step(self, equation: Any, inputs: list[Value]) -> list[Value]:
        name = equation.primitive.name
        if (inner := program_within(equation)) is not None:
            if name == "shard_map":
                self.graph.apart.append(self.at)
            return self.run(inner, inputs)
        if name == "scan":
            return self.scan(equation, inputs)
        if name == "while":
            return self.loop(equation, inputs)
        if name == "cond":
            return self.branches(equation, inputs)
        if name == "reshape" and equation.params["dimensions"] is not None:
            return self.run(_apart(equation), inputs)
        step = Step(name, equation, inputs, [], self.at, self.loops)
        step.outputs = self.outputs(step)
        self.graph.steps.append(step)
        return step.outputs

    def outputs(self, step: Step) -> list[Value]:
        avals = [var.aval for var in step.equation.outvars]
        if step.name == "random_bits":  # of dropout: they vary as inputs do
            return [_data(aval, step) for aval in avals]
        if any(value.data for value in step.inputs):
            self.take_kernels(step)
            self.use(step)
            views = picked(step, [tuple(aval.shape) for aval in avals])
            pairs = zip(avals, views, strict=True)
            return [replace(_data(aval, step), picked=v) for aval, v in pairs]
        if any(value.views for value in step.inputs):
            if step.name in ("mul", "dot_general") and any(map(is_zero, step.inputs)):
                return [Value(tuple(a.shape), a.dtype, number=0.0) for a in avals]
            views = moved(
                step.name,
                step.equation.params,
                step.inputs,
                [tuple(a.shape) for a in avals],
            )
            return [
                Value(tuple(aval.shape), aval.dtype, views=v, step=step)
                for aval, v in zip(avals, views, strict=True)
            ]
        given = [value.number for value in step.inputs]
        return [
            Value(
                tuple(aval.shape),
                aval.dtype,
                number=computed(step, given, aval),
                step=step,
            )
            for aval in avals
        ]

    def take_kernels(self, step: Step) -> None:
        """Takes kernels that data picks for what they are, and no longer for tables."""
        for n in kernels(step):
            value = step.inputs[n]
            before, paths = behind(value), {view.path for view in value.picked}
            self.graph.uses = [
                use
                for use in self.graph.uses
                if id(use.step) not in before or use.view.path not in paths
            ]
            step.inputs[n] = replace(value, data=False, views=value.picked, picked=())

    def use(self, step: Step) -> None:
        """Notes the parameters that meet a value of the inputs."""
        for position, value in enumerate(step.inputs):
            operand = next(v for v in step.inputs if v.data)
            for view in value.views:
                kind, roles, fan_in, fan_out = meeting(step, position)
                pairs = [
                    (digit.axis, "batch" if depth == PICKED else "stack")
                    for depth, digit in view.stack
                    if digit.axis is not None
                ]
                if kind == "contraction" and only_scales(view, roles):
                    kind, roles = "scale", ["free"] * len(roles)
                for digits, role in zip(view.axes, roles, strict=True):
                    pairs += [(d.axis, role) for d in digits if d.axis is not None]
                found = signals(step, position) if kind == "contraction" else ()
                at = dict(pairs), fan_in, fan_out, step, operand, found
                use = Use(view, kind, *at, all_axes=frozenset(pairs))
                picks = any(depth == PICKED for depth, _ in view.stack)
                if picks and step.name == "dot_general":
                    use.fan_out = float(math.prod(use.sizes("out")))
                use.seen = seen(step) if step.name == "conv_general_dilated" else 1.0
                self.graph.uses.append(use)

    def scan(self, equation: Any, inputs: list[Value]) -> list[Value]:
        """The body once: what runs along the loop, without its first axis."""
        consts, carries = scan_sizes(equation)
        start = inputs[consts : consts + carries]
        loop = Loop(self.at, equation.params["length"])
        along = [_sliced(value, self, loop) for value in inputs[consts + carries :]]
        return self.body(
            loop, equation.params["jaxpr"], inputs[:consts], start, along, equation
        )

    def loop(self, equation: Any, inputs: list[Value]) -> list[Value]:
        """The body of a loop that does not say how often it runs."""
        first, second = equation.params["cond_nconsts"], equation.params["body_nconsts"]
        consts, start = inputs[first : first + second], inputs[first + second :]
        body = equation.params["body_jaxpr"]
        return self.body(Loop(self.at, None), body, consts, start, [], equation)

    def body(
        self,
        loop: Loop,
        body: Any,
        consts: list[Value],
        start: list[Value],
        along: list[Value],
        equation: Any,
    ) -> list[Value]:
        around, self.loops = self.loops, (*self.loops, loop)
        inside = body.jaxpr.invars[len(consts) : len(consts) + len(start)]
        ends = zip(inside, start, body.jaxpr.outvars, strict=False)
        carry = [self.carry(body.jaxpr, *each) for each in ends]
        results = self.run(body, [*consts, *carry, *along])
        self.loops = around
        pairs = zip(carry, results, strict=False)
        self.graph.carried += [pair for pair in pairs if pair[0] is not pair[1]]
        names = ["last"] * len(carry) + ["loop"] * (len(results) - len(carry))
        made = zip(names, equation.outvars, results, strict=True)
        return [self.result(name, var.aval, [value]) for name, var, value in made]

    def carry(self, jaxpr: Any, var: Any, outer: Value, end: Any) -> Value:
        """What a loop sees of a value that it carries on."""
        if not outer.data and _counts(jaxpr, var, end):
            # What counts the turns is no data: what is picked by it is a stack.
            return self.result("carry", var.aval, [outer], data=False)
        if not outer.data and end is var:  # it stays what it is
            return outer
        value = self.result("carry", var.aval, [outer])
        for view in outer.views:
            digits = (digit for digits in view.axes for digit in digits)
            axes = {d.axis: "free" for d in digits if d.axis is not None}
            use = Use(view, "state", axes, 1.0, 1.0, self.graph.steps[-1], value)
            self.graph.uses.append(use)
        return value

    def branches(self, equation: Any, inputs: list[Value]) -> list[Value]:
        index, *arguments = inputs
        branches = equation.params["branches"]
        if np.ndim(index.number) == 0 and index.number is not None:
            chosen = int(np.clip(int(index.number), 0, len(branches) - 1))
            return self.branch(branches, chosen, arguments)
        numbers = range(len(branches))
        results = [self.branch(branches, number, arguments) for number in numbers]
        return [
            self.result("cond", var.aval, list(alternatives))
            for var, *alternatives in zip(equation.outvars, *results, strict=True)
        ]

    def branch(self, branches: Any, number: int, arguments: Any) -> list[Value]:
        around, self.at = self.at, (*self.at, number)
        results = self.run(branches[number], arguments)
        self.at = around
        return results

    def result(
        self, name: str, aval: Any, inputs: list[Value], data: bool = True
    ) -> Value:
        """A value that comes out of a loop, or of a branch."""
        value = Value(tuple(aval.shape), aval.dtype, data=data)
        value.step = Step(name, None, inputs, [value], self.at, self.loops)
        self.graph.steps.append(value.step)
        return value


def _counts(jaxpr: Any, var: Any, end: Any) -> bool:
    """Whether what a loop carries counts its turns: i, which ends one as i + 1."""
    made = next((eqn for eqn in jaxpr.eqns if end in eqn.outvars), None)
    if made is None or not jnp.issubdtype(var.aval.dtype, np.integer):
        return False
    read = [atom for atom in made.invars if not isinstance(atom, core.Literal)]
    counts = made.primitive.name in ("add", "sub") and read == [var]
    return counts and not var.aval.shape


# Equations that hold others.

_CALLS = {
    **{"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"},
    **{"core_call": "call_jaxpr", "remat2": "jaxpr", "remat": "jaxpr"},
    **{"checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr"},
    **{"custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr"},
    **{"custom_lin": "jaxpr", "shard_map": "jaxpr"},
}


def program_within(equation: Any) -> Any:
    """The program that an equation calls, if it does no more than that."""
    return equation.params.get(_CALLS.get(equation.primitive.name))


def _apart(equation: Any) -> Any:
    """A reshape that transposes before, as `vmap` of a convolution has it, as both."""
    order, sizes = equation.params["dimensions"], equation.params["new_sizes"]
    aval = equation.invars[0].aval
    return jax.make_jaxpr(lambda x: lax.reshape(lax.transpose(x, order), sizes))(
        jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    )


def scan_sizes(equation: Any) -> tuple[int, int]:
    """How many values a loop has that stay, and how many it carries on.

    By their shapes, for what the parameters are called changes with JAX: what stays and
    what is carried has inside the shape that it has outside.
    """
    body = equation.params["jaxpr"].jaxpr

    def same(outer: Any, inner: Any) -> int:
        pairs = zip(outer, inner, strict=True)
        return sum(a.aval.shape == b.aval.shape for a, b in pairs)

    carries = same(equation.outvars, body.outvars)
    return same(equation.invars, body.invars) - carries, carries


def _sliced(value: Value, reader: _Reader, loop: Loop) -> Value:
    """What a loop sees of a value that it runs along."""
    depth = len(reader.loops)
    views = tuple(without_first_axis(view, depth) for view in value.views)
    number = value.number if np.ndim(value.number) == 0 else None
    new = Value(value.shape[1:], value.dtype, value.data, views, number=number)
    loops = *reader.loops, loop
    new.step = Step("along", None, [value], [new], reader.at, loops)
    reader.graph.steps.append(new.step)
    return new
