"""Traces, taken apart: what is in an equation of a jaxpr is read here alone.

A trace is a list of equations, each from variables (or literals: numbers) to variables:

    a = random_bits key      b = mul a 2.0      return b
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit import _bits

_SEEDS = 256  # the most elements of what is worked out by single equations


def is_variable(atom: Any) -> bool:
    return not isinstance(atom, core.Literal)


def variables(atoms: Iterable[Any]) -> list[Any]:
    return list(filter(is_variable, atoms))


def values_of(atoms: Iterable[Any], values: dict[Any, Any]) -> list[Any]:
    """The arrays of variables, and the numbers of literals."""
    return [values[atom] if is_variable(atom) else _number(atom) for atom in atoms]


def _number(literal: Any) -> np.ndarray:
    return np.asarray(literal.val, kind(literal.aval).dtype)


def _as_written(literal: Any) -> Any:
    """A number as JAX traces it again with the same type, which may be a weak one."""
    number = _number(literal)
    return number.item() if literal.aval.weak_type and not number.shape else number


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

    0: s = sqrt 2.0    reads {}      a scalar, which each group works out again
    1: a = normal key  reads {}      of a key, which is made elsewhere
    2: w = mul a s     reads {0, 1}  a result; linked with 1, not with the scalar
    3: v = mul x s     reads {0}     a result, of an argument x
    4: z = zeros       reads {}      a result that needs nothing: a constant

    Linked are {1, 2}, {3} and {4}; with the scalars that they read, the groups are
    [0, 1, 2], [0, 3] and, of all constants, [4]. Equations with effects, and all that
    depends on them, are one group.
    """
    eqns = needed(eqns, {*variables(jaxpr.outvars)})
    made_by = {var: n for n, eqn in enumerate(eqns) for var in eqn.outvars}
    reads = [_makers(eqn.invars, made_by) for eqn in eqns]
    # 1. What may be worked out again, and what must not.
    scalar, tainted = set[int](), set[int]()
    for n, eqn in enumerate(eqns):
        if _is_scalar(eqn) and reads[n] <= scalar:
            scalar.add(n)
        if eqn.effects or reads[n] & tainted:
            tainted.add(n)
    # 2. Link each equation with those that it reads, and all that has effects.
    links = [(n, other) for n in range(len(eqns)) for other in reads[n] - scalar]
    links += [(n, min(tainted)) for n in tainted]
    group = _groups(len(eqns), links)
    # 3. Of each group the results, and all that these depend on.
    members: dict[int, set[int]] = {}
    for n in sorted(_makers(jaxpr.outvars, made_by) | tainted):
        members.setdefault(group[n], set()).add(n)
    # 4. Keep those that depend on something; the others are constants.
    found, constants = [], []
    for numbers in members.values():
        component = [eqns[n] for n in sorted(_closed(numbers, reads))]
        if free_variables(component):
            found.append(component)
        else:
            constants += component
    return [*found, constants] if constants else found


def draws(jaxpr: core.Jaxpr, eqns: Sequence[Any]) -> Iterator[tuple[Any, list[int]]]:
    """The components, and for each which of the results it makes."""
    results = {n: atom for n, atom in enumerate(jaxpr.outvars) if is_variable(atom)}
    left = set(range(len(jaxpr.outvars)))
    for component in components(jaxpr, eqns):
        made = {var for eqn in component for var in eqn.outvars}
        places = [n for n in sorted(left) if results.get(n) in made]
        yield component, places
        left.difference_update(places)
    if left:  # arguments, keys and numbers that are results themselves
        yield [], sorted(left)


def _makers(atoms: Iterable[Any], made_by: dict[Any, int]) -> set[int]:
    return {made_by[var] for var in variables(atoms) if var in made_by}


def _groups(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """One member of its group for each number, where links join groups."""
    group = list(range(count))

    def root(n: int) -> int:
        while group[n] != n:
            group[n] = n = group[group[n]]
        return n

    for one, other in links:
        group[root(one)] = root(other)
    return list(map(root, range(count)))


def _closed(numbers: set[int], reads: Sequence[set[int]]) -> set[int]:
    """The numbers, and all that they read, and those read."""
    found, new = set(numbers), set(numbers)
    while new:
        new = set().union(*(reads[n] for n in new)) - found
        found |= new
    return found


def _is_scalar(eqn: Any) -> bool:
    """Whether it is next to nothing to work it out again: a number of numbers."""
    atoms = (*eqn.invars, *eqn.outvars)
    calls = holds_functions(eqn) or "callback" in eqn.primitive.name
    return all(atom.aval.size <= 1 for atom in atoms) and not calls and not eqn.effects


def free_variables(eqns: Sequence[Any], wanted: Sequence[Any] = ()) -> list[Any]:
    """The variables that equations, or their results, have from elsewhere."""
    made = {var for eqn in eqns for var in eqn.outvars}
    read = variables((*(atom for eqn in eqns for atom in eqn.invars), *wanted))
    return [var for var in dict.fromkeys(read) if var not in made]


def meshes(part: Any) -> tuple[jax.sharding.Mesh, ...]:
    """The meshes that equations, or the functions within them, lay arrays out over."""
    if isinstance(part, core.ClosedJaxpr):
        part = part.jaxpr
    if isinstance(part, core.Jaxpr):
        if part not in _MESHES:  # looked through once, however often it is called
            params = [tuple(eqn.params.values()) for eqn in part.eqns]
            _MESHES[part] = meshes(params)
        return _MESHES[part]
    if isinstance(part, tuple | list):
        return tuple(dict.fromkeys(mesh for each in part for mesh in meshes(each)))
    mesh = part.mesh if isinstance(part, jax.sharding.NamedSharding) else part
    return (mesh,) if isinstance(mesh, jax.sharding.Mesh) and not mesh.empty else ()


_MESHES: Any = weakref.WeakKeyDictionary()


# Equations as programs of their own.


def program(
    jaxpr: core.Jaxpr, eqns: Sequence[Any], inputs: Sequence[Any], outs: Sequence[Any]
) -> core.ClosedJaxpr:
    """Some equations of a trace, as a trace of their own."""
    effects = set().union(*(eqn.effects for eqn in eqns))
    parts: Any = {"invars": list(inputs), "outvars": list(outs), "eqns": list(eqns)}
    return core.ClosedJaxpr(jaxpr.replace(constvars=[], effects=effects, **parts), ())


def single(jaxpr: core.Jaxpr, eqn: Any) -> tuple[core.ClosedJaxpr, Hashable]:
    """An equation as a program of all its inputs, literals included, and its key."""
    key = _operation(eqn), *(str(atom.aval) for atom in eqn.invars)
    if is_call(eqn):
        return eqn.params["jaxpr"], key
    inputs = [core.Var(atom.aval) for atom in eqn.invars]
    return program(jaxpr, [eqn.replace(invars=inputs)], inputs, eqn.outvars), key


def function_of(program: core.ClosedJaxpr) -> Callable[..., Any]:
    """What it computes, with random bits that are the same but quicker on the CPU."""
    if any(map(_draws_bits, program.jaxpr.eqns)):
        return lambda *inputs: _run(program, inputs, _draws_bits)
    return core.jaxpr_as_fun(program)


def identity(program: core.ClosedJaxpr) -> Hashable:
    """Equal for programs of the same equations, whatever their variables are called."""
    jaxpr = program.jaxpr
    names: dict[Any, int] = {var: n for n, var in enumerate(jaxpr.invars)}

    def named(atoms: Sequence[Any]) -> Hashable:
        known = [names[a] if is_variable(a) else _number(a).tobytes() for a in atoms]
        return *known, *(str(atom.aval) for atom in atoms)

    steps = []
    for eqn in jaxpr.eqns:
        inputs = named(eqn.invars)
        for var in eqn.outvars:
            names[var] = len(names)
        steps.append((_operation(eqn), inputs, named(eqn.outvars)))
    return tuple(steps), named(jaxpr.invars), named(jaxpr.outvars)


def _operation(eqn: Any) -> Hashable:
    """What an equation does: the primitive, its parameters and its context."""
    params = []
    for name, value in sorted(eqn.params.items()):
        try:
            hash(value)
        except TypeError:  # without a hash it is known by its identity
            value = id(value)
        params.append((name, value))
    return eqn.primitive, tuple(params), repr(eqn.ctx)


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


def draws_words(eqn: Any) -> bool:
    """Whether it draws threefry's words of each place, by JAX or by jinit."""
    key = eqn.invars[-1].aval if eqn.invars else None
    if str(key) != "key<fry>[]" or not eqn.ctx.threefry_partitionable:
        return False
    # Ours are of one branch for each platform, which all make the same words.
    branches = [
        [each.params.get("name", each.primitive.name) for each in branch.jaxpr.eqns]
        for branch in eqn.params.get("branches", ())
    ]
    return _draws_bits(eqn) or branches == [["threefry_bits"], ["random_bits"]]


def holds_functions(eqn: Any) -> bool:
    """Whether functions are among its parameters, alone or in a tuple."""
    values = eqn.params.values()
    each = [v for value in values for v in (value if type(value) is tuple else [value])]
    return any(isinstance(v, core.Jaxpr | core.ClosedJaxpr) for v in each)


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

    def read_all(atoms: Iterable[Any]) -> list[Any]:
        return [values[a] if is_variable(a) else _as_written(a) for a in atoms]

    for eqn in jaxpr.eqns:
        if opens(eqn) and is_call(eqn):
            outputs = _run(eqn.params["jaxpr"], read_all(eqn.invars), opens)
        elif opens(eqn):
            (key,), dtype = read_all(eqn.invars), eqn.outvars[0].aval.dtype
            with eqn.ctx.manager:  # it has the settings of the generator
                outputs = [_bits.bits(key, eqn.params["shape"], dtype)]
        else:
            read = list(dict.fromkeys(variables(eqn.invars)))
            alone = core.jaxpr_as_fun(program(jaxpr, [eqn], read, eqn.outvars))
            outputs = alone(*(values[var] for var in read))
        values.update(zip(eqn.outvars, outputs, strict=True))
    return read_all(jaxpr.outvars)
