"""Traces, taken apart: the only module that knows how JAX writes a program down."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit import _bits

_SEEDS = 256  # the most elements of what is worked out by single equations


def variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def values_of(atoms: Iterable[Any], values: dict[Any, Any]) -> list[Any]:
    """The arrays of variables, and the numbers of literals."""
    return [
        np.asarray(atom.val, kind(atom.aval).dtype)
        if isinstance(atom, core.Literal)
        else values[atom]
        for atom in atoms
    ]


def kind(aval: Any) -> jax.ShapeDtypeStruct:
    weak = getattr(aval, "weak_type", False)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=weak)


# Equations that belong together.


def split_seeds(jaxpr: core.Jaxpr) -> tuple[list[Any], list[Any]]:
    """Separates the equations that make keys, or integers, of keys and integers.

    These do not round, so it makes no difference where they are worked out.
    """
    known = {*jaxpr.constvars, *jaxpr.invars}
    seeds, others = [], []
    for eqn in jaxpr.eqns:
        inputs = variables(eqn.invars)
        small = all(_is_seed(v.aval) for v in (*inputs, *eqn.outvars))
        if small and known.issuperset(inputs) and not eqn.effects:
            seeds.append(eqn)
            known.update(eqn.outvars)
        else:
            others.append(eqn)
    return seeds, others


def _is_seed(aval: Any) -> bool:
    kinds = np.integer, jax.dtypes.prng_key
    return aval.size <= _SEEDS and any(jnp.issubdtype(aval.dtype, k) for k in kinds)


def needed(eqns: Sequence[Any], wanted: set[Any]) -> list[Any]:
    """The equations that some variables depend on, and those with effects, in order."""
    found, wanted = [], set(wanted)
    for eqn in reversed(eqns):
        if eqn.effects or wanted.intersection(eqn.outvars):
            found.append(eqn)
            wanted.update(variables(eqn.invars))
    return found[::-1]


def components(jaxpr: core.Jaxpr, eqns: Sequence[Any]) -> list[list[Any]]:
    """The needed equations in groups that share nothing but a few scalars.

    Those that have effects, and all that depends on them, go together; so do those
    that need nothing, as zeros and ones do.
    """
    eqns = needed(eqns, {*variables(jaxpr.outvars)})
    made_by = {var: n for n, eqn in enumerate(eqns) for var in eqn.outvars}
    before = [
        {made_by[v] for v in variables(eqn.invars) if v in made_by} for eqn in eqns
    ]
    scalar, tainted = set[int](), set[int]()
    for n, eqn in enumerate(eqns):
        if _is_scalar(eqn) and before[n] <= scalar:
            scalar.add(n)
        if eqn.effects or before[n] & tainted:
            tainted.add(n)
    group = list(range(len(eqns)))

    def root(n: int) -> int:
        while group[n] != n:
            group[n] = n = group[group[n]]
        return n

    for n in range(len(eqns)):
        for other in before[n] - scalar:
            group[root(n)] = root(other)
    for n in tainted:
        group[root(n)] = root(min(tainted))
    members: dict[int, set[int]] = {}
    ends = {made_by[v] for v in variables(jaxpr.outvars) if v in made_by} | tainted
    for n in sorted(ends):
        members.setdefault(root(n), set()).add(n)
    found, constants = [], []
    for numbers in members.values():
        open_ = set(numbers)
        while open_:
            open_ = set().union(*(before[n] for n in open_)) - numbers
            numbers |= open_
        component = [eqns[n] for n in sorted(numbers)]
        if free_variables(component):
            found.append(component)
        else:
            constants += component
    return [*found, constants] if constants else found


def _is_scalar(eqn: Any) -> bool:
    """Whether it is next to nothing to work it out again: a number of numbers."""
    atoms = (*eqn.invars, *eqn.outvars)
    functions = (core.Jaxpr, core.ClosedJaxpr, tuple)
    calls = any(isinstance(value, functions) and value for value in eqn.params.values())
    calls = calls or "callback" in eqn.primitive.name
    return all(atom.aval.size <= 1 for atom in atoms) and not calls and not eqn.effects


def free_variables(eqns: Sequence[Any], wanted: Sequence[Any] = ()) -> list[Any]:
    """The variables that equations, or their results, have from elsewhere."""
    made = {var for eqn in eqns for var in eqn.outvars}
    read = variables((*(atom for eqn in eqns for atom in eqn.invars), *wanted))
    return [var for var in dict.fromkeys(read) if var not in made]


def program(
    jaxpr: core.Jaxpr,
    eqns: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> core.ClosedJaxpr:
    """Some equations of a trace, as a trace of their own."""
    alone = jaxpr.replace(
        constvars=[],
        invars=list(inputs),
        outvars=list(outputs),
        eqns=list(eqns),
        effects=set().union(*(eqn.effects for eqn in eqns)),
    )
    return core.ClosedJaxpr(alone, ())


def function_of(program: core.ClosedJaxpr) -> Callable[..., Any]:
    """What it computes, with random bits that are the same but quicker on the CPU."""
    if any(map(_draws_bits, program.jaxpr.eqns)):
        return lambda *inputs: _run(program, inputs, _draws_bits)
    return core.jaxpr_as_fun(program)


def identity(program: core.ClosedJaxpr) -> Hashable:
    """Equal for programs of the same equations, whatever their variables are called."""
    jaxpr = program.jaxpr
    names: dict[Any, int] = {var: n for n, var in enumerate(jaxpr.invars)}
    steps = []
    for eqn in jaxpr.eqns:
        inputs = tuple(
            _bytes(atom) if isinstance(atom, core.Literal) else names[atom]
            for atom in eqn.invars
        )
        for var in eqn.outvars:
            names[var] = len(names)
        kinds = tuple(str(atom.aval) for atom in (*eqn.invars, *eqn.outvars))
        steps.append((operation(eqn), inputs, kinds))
    kinds = tuple(str(var.aval) for var in jaxpr.invars)
    outputs = tuple(
        (_bytes(atom), str(atom.aval))
        if isinstance(atom, core.Literal)
        else names[atom]
        for atom in jaxpr.outvars
    )
    return tuple(steps), kinds, outputs


def operation(eqn: Any) -> Hashable:
    """What an equation does: the primitive, its parameters and its context.

    A parameter that has no hash is known by its identity.
    """
    params = []
    for name, value in sorted(eqn.params.items()):
        try:
            hash(value)
        except TypeError:
            value = id(value)
        params.append((name, value))
    return eqn.primitive, tuple(params), repr(eqn.ctx)


def _bytes(literal: Any) -> bytes:
    return np.asarray(literal.val, kind(literal.aval).dtype).tobytes()


# Functions within the function.


def flatten(closed: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """The trace with what jitted functions of several results do, instead of them."""
    if not any(map(_has_parts, closed.jaxpr.eqns)):
        return closed
    kinds = [kind(var.aval) for var in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *inputs: _run(closed, inputs, _has_parts))(*kinds)


def _has_parts(eqn: Any) -> bool:
    return is_call(eqn) and len(eqn.outvars) > 1


def _draws_bits(eqn: Any) -> bool:
    """Whether it draws JAX's random bits, or calls a jitted function that does."""
    if is_call(eqn):
        return any(map(_draws_bits, eqn.params["jaxpr"].jaxpr.eqns))
    is_ours = eqn.primitive.name == "random_bits" and eqn.params["bit_width"] >= 32
    return is_ours and not eqn.invars[0].aval.shape


def is_call(eqn: Any) -> bool:
    """Whether it calls a jitted function that may as well be called by itself."""
    if eqn.primitive.name != "jit":
        return False
    places = (*eqn.params["in_shardings"], *eqn.params["out_shardings"])
    return not any(isinstance(place, jax.sharding.Sharding) for place in places)


def _run(
    closed: core.ClosedJaxpr, inputs: Sequence[Any], opens: Callable[[Any], bool]
) -> list[Any]:
    """Runs a trace, and what is in its jitted functions that are to be opened."""
    jaxpr = closed.jaxpr
    given = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(given, [*closed.consts, *inputs], strict=True))
    for eqn in jaxpr.eqns:
        if opens(eqn) and is_call(eqn):
            outputs = _run(eqn.params["jaxpr"], values_of(eqn.invars, values), opens)
        elif opens(eqn):
            (key,), dtype = values_of(eqn.invars, values), eqn.outvars[0].aval.dtype
            with eqn.ctx.manager:  # it has the settings of the generator
                outputs = [_bits.bits(key, eqn.params["shape"], dtype)]
        else:
            read = list(dict.fromkeys(variables(eqn.invars)))
            alone = core.jaxpr_as_fun(program(jaxpr, [eqn], read, eqn.outvars))
            outputs = alone(*(values[var] for var in read))
        values.update(zip(eqn.outvars, outputs, strict=True))
    return values_of(jaxpr.outvars, values)
