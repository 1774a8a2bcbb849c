"""Runs: a program is run while some of its steps are looked at, or changed.

Only what such a step is in is written out; all else runs as it was traced. What is seen
within a loop is stacked, one entry a turn:

    looks   (3,): square mean           a step
            (5, 1): square mean         a step in the body of a scan of 12 turns
    found   (3,): ()    (5, 1): (12,)   the shapes of what is seen
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit.model._graph import At, program_within, scan_sizes
from jinit.model._trace import program, values_of, variables

Look = Callable[[list[Any], list[Any], Any], tuple[list[Any], Any]]
"""Inputs, outputs and what is given for a step, to its new outputs and what is seen."""

Found = dict[At, Any]


def run(
    closed: core.ClosedJaxpr,
    inputs: Sequence[Any],
    looks: Mapping[At, Look],
    given: Mapping[At, Any] | None = None,
) -> tuple[list[Any], Found]:
    """Runs a program.

    Args:
      closed: The program.
      inputs: Its arguments.
      looks: For steps, by their place, what is done with each.
      given: For steps what their looks are given; within loops an entry for each turn.

    Returns:
      The results, and what was seen by place; nothing of a step that did not run, such
      as in what JAX runs on each device.
    """
    return _Runner(looks).run(closed, inputs, (), dict(given or {}))


class _Runner:
    def __init__(self, looks: Mapping[At, Look]) -> None:
        self.looks = looks
        self.within = {at[:n] for at in looks for n in range(1, len(at))}

    def run(
        self, closed: Any, inputs: Sequence[Any], at: At, given: Mapping[At, Any]
    ) -> tuple[list[Any], Found]:
        jaxpr = getattr(closed, "jaxpr", closed)
        consts = getattr(closed, "consts", ())
        values = dict(zip(jaxpr.constvars, consts, strict=True))
        values |= zip(jaxpr.invars, inputs, strict=True)
        found: Found = {}
        for number, equation in enumerate(jaxpr.eqns):
            here = (*at, number)
            arguments = values_of(equation.invars, values)
            into = _into(equation) if here in self.within else None
            if into is None:
                outputs = _alone(jaxpr, equation, values)
            else:
                outputs, seen = into(self, equation, arguments, here, given)
                found |= seen
            if here in self.looks:
                look = self.looks[here]
                outputs, found[here] = look(arguments, outputs, given.get(here))
            values |= zip(equation.outvars, outputs, strict=True)
        return values_of(jaxpr.outvars, values), found

    def call(
        self, equation: Any, inputs: Any, at: At, given: Mapping[At, Any]
    ) -> tuple[list[Any], Found]:
        return self.run(program_within(equation), inputs, at, given)

    def scan(
        self, equation: Any, inputs: Any, at: At, given: Mapping[At, Any]
    ) -> tuple[list[Any], Found]:
        params, (consts, carries) = equation.params, scan_sizes(equation)
        fixed, start = inputs[:consts], inputs[consts : consts + carries]
        along = (inputs[consts + carries :], _below(given, at))

        def body(carry: Any, along: Any) -> Any:
            arguments = [*fixed, *carry, *along[0]]
            results, found = self.run(params["jaxpr"], arguments, at, along[1])
            carry = _as_before(results[:carries], carry)
            return carry, (results[carries:], found)

        carry, (results, found) = jax.lax.scan(
            body, start, along, params["length"], reverse=params["reverse"]
        )
        return [*carry, *results], found

    def loop(
        self, equation: Any, inputs: Any, at: At, given: Mapping[At, Any]
    ) -> tuple[list[Any], Found]:
        """Of what a loop of unknown length does that of its last turn is seen."""
        params = equation.params
        first, second = params["cond_nconsts"], params["body_nconsts"]
        test, fixed = inputs[:first], inputs[first : first + second]

        def body(state: Any) -> Any:
            results, found = self.run(
                params["body_jaxpr"], [*fixed, *state[0]], at, given
            )
            return _as_before(results, state[0]), found

        def goes_on(state: Any) -> Any:
            return core.jaxpr_as_fun(params["cond_jaxpr"])(*test, *state[0])[0]

        start = inputs[first + second :]
        _, shapes = jax.eval_shape(body, (start, {}))
        return jax.lax.while_loop(goes_on, body, (start, _unseen(shapes)))

    def branches(
        self, equation: Any, inputs: Any, at: At, given: Mapping[At, Any]
    ) -> tuple[list[Any], Found]:
        """Of the branches that did not run NaN is seen."""
        index, *arguments = inputs
        programs = equation.params["branches"]

        def branch(number: int, *arguments: Any) -> Any:
            return self.run(programs[number], arguments, (*at, number), given)

        functions = [
            lambda *arguments, number=n: branch(number, *arguments)
            for n in range(len(programs))
        ]
        shapes = [jax.eval_shape(f, *arguments)[1] for f in functions]
        unseen = _unseen({at: shape for each in shapes for at, shape in each.items()})

        def complete(function: Any) -> Any:
            def completed(*arguments: Any) -> Any:
                results, found = function(*arguments)
                return results, unseen | found

            return completed

        return jax.lax.switch(index, list(map(complete, functions)), *arguments)


def _into(equation: Any) -> Callable[..., tuple[list[Any], Found]] | None:
    """How an equation that holds others is run, where that can be looked into."""
    name = equation.primitive.name
    if name == "shard_map" or program_within(equation) is None:
        loops = {"scan": _Runner.scan, "while": _Runner.loop, "cond": _Runner.branches}
        return loops.get(name)
    return _Runner.call


def _alone(jaxpr: core.Jaxpr, equation: Any, values: Mapping[Any, Any]) -> list[Any]:
    """What an equation makes, run by itself."""
    read = list(dict.fromkeys(variables(equation.invars)))
    function = core.jaxpr_as_fun(program(jaxpr, [equation], read, equation.outvars))
    return list(function(*(values[var] for var in read)))


def _below(given: Mapping[At, Any], at: At) -> dict[At, Any]:
    return {place: value for place, value in given.items() if place[: len(at)] == at}


def _as_before(values: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What a loop carries in the dtype in which it does."""
    return [
        v if v.dtype == b.dtype else v.astype(b.dtype)
        for v, b in zip(map(jnp.asarray, values), map(jnp.asarray, before), strict=True)
    ]


def _unseen(shapes: Any) -> Any:
    return jax.tree.map(lambda s: np.full(s.shape, np.nan, s.dtype), shapes)
