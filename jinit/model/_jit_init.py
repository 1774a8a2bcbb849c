"""Initializes a whole model: every distinct draw compiled once, at the same time.

`jax.jit(model.init)` compiles one large program, in which every parameter's draw, and
the folding of its key, is compiled anew. Here the trace is taken apart: for every
result the equations that it depends on, down to keys, make a program of their own, and
programs that are alike are compiled once.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit._options import is_traced
from jinit.model._shardings import spread

_SEEDS = 256  # the most elements of what is worked out by single equations


def jit_init(
    fn: Callable[..., Any],
    out_shardings: Any = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
) -> Callable[..., Any]:
    """Compiles a function that initializes a model, in a fraction of `jax.jit`'s time.

    The function is traced once. Of what it computes, only what its results depend on is
    compiled, each distinct draw once, as many at a time as there are cores.

    Args:
      fn: Any function that `jax.jit` takes: `model.init` of flax.linen, a function that
        builds an nnx module and returns its state, or another.
      out_shardings: As `jax.jit` takes it: a sharding, or a pytree of them that is a
        prefix of the result; or a function of the path ("params/Dense_0/kernel") and
        the `jax.ShapeDtypeStruct` of each result. None leaves the choice to JAX.
      static_argnums: As `jax.jit` takes it.
      static_argnames: As `jax.jit` takes it.

    Returns:
      A function that is called like `fn`, and returns what `jax.jit(fn)` returns: bit
      for bit where jinit's elementwise initializers draw, and up to rounding elsewhere.
      Called again with arguments of the same kinds it compiles nothing. Where an
      argument is traced, as under `jax.vmap`, it is `jax.jit(fn)`.
      Its method `compile`, called like it or with a `jax.ShapeDtypeStruct` for each
      array, draws nothing, and returns the compiled programs.

    Raises:
      TypeError: `fn` is not callable. At the call: a sharding is none.
      ValueError: At the call: `out_shardings` is not a prefix of the result, or does
        not fit its shapes.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jinit
      >>> model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])
      >>> params = jinit.jit_init(model.init)(jax.random.key(0), jnp.ones((1, 784)))
      >>> params["params"]["layers_0"]["kernel"].shape
      (784, 64)

    References:
      `jax.jit`, whose compilation of a large model's init takes minutes.
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function, such as model.init, got {fn!r}.")
    # Each of these two stands for the other, if that is not given.
    options = {"static_argnums": static_argnums, "static_argnames": static_argnames}
    given: Any = {name: value for name, value in options.items() if value != ()}
    jitted = jax.jit(fn, **given)
    # By trace, which JAX keeps by the kinds of the arguments; and by kind of program.
    recipes: dict[int, tuple[Any, _Recipe]] = {}
    compiled: dict[Hashable, Future[Any]] = {}

    @wraps(fn)
    def init(*args: Any, **kwargs: Any) -> Any:
        traced = any(map(is_traced, jax.tree.leaves((args, kwargs))))
        if traced or jax.config.jax_disable_jit:  # pyrefly: ignore[missing-attribute]
            shapes = jitted.eval_shape(*args, **kwargs)
            places = jax.tree.structure(shapes).unflatten(spread(out_shardings, shapes))
            return jax.jit(fn, out_shardings=places, **given)(*args, **kwargs)
        recipe = recipe_of(*args, **kwargs)
        return recipe.run(_dynamic(fn, args, kwargs, **options), compiled)

    def recipe_of(*args: Any, **kwargs: Any) -> _Recipe:
        trace = jitted.trace(*args, **kwargs)
        if id(trace.jaxpr) not in recipes:
            recipes[id(trace.jaxpr)] = trace.jaxpr, _Recipe(trace, out_shardings)
        return recipes[id(trace.jaxpr)][1]

    def compile(*args: Any, **kwargs: Any) -> list[jax.stages.Compiled]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            build = _Build(threads, compiled, None)
            programs = recipe_of(*args, **kwargs).compile(build)
        return [program.result() for program in programs]

    init.compile = compile  # pyrefly: ignore[missing-attribute]
    return init


@dataclass(frozen=True, eq=False)
class _Program:
    """A function of some variables of a trace, and what its outputs are called."""

    function: Callable[..., Any]
    inputs: Sequence[Any]  # variables, and literals
    outputs: Sequence[Any]  # variables, or the places of results
    key: Hashable  # equal for programs that compute alike
    shardings: Any = None  # of the outputs

    def compile(self, inputs: Sequence[Any], build: _Build) -> Future[Any]:
        """Starts to compile it for arrays, or kinds of arrays."""
        key = self.key, build.anchor, *map(_placement, inputs)
        if key not in build.compiled:
            shardings = self.shardings
            if shardings and not any(map(_placement, inputs)):
                shardings = [at or build.anchor for at in shardings]
            program = jax.jit(self.function, out_shardings=shardings).lower(*inputs)
            build.compiled[key] = build.threads.submit(program.compile)
        return build.compiled[key]

    def run(self, values: dict[Any, Any], build: _Build) -> None:
        """Reads its inputs from the values, and adds its outputs."""
        inputs = _read(self.inputs, values)
        key = self.key, build.anchor, *map(_placement, inputs)
        outputs = build.compiled[key].result()(*inputs)
        values.update(zip(self.outputs, outputs, strict=True))


class _Build(NamedTuple):
    """Where programs are compiled, and kept, and what they are to run on."""

    threads: ThreadPoolExecutor
    compiled: dict[Hashable, Future[Any]]
    anchor: Any  # the devices of the arguments, if these say so


class _Recipe:
    """A trace as programs: single equations that make keys, and then the draws."""

    def __init__(self, trace: Any, out_shardings: Any) -> None:
        closed = _flat(trace.jaxpr)
        jaxpr, self.consts = closed.jaxpr, closed.consts
        self.tree = jax.tree.structure(trace.out_info)
        self.given = [*jaxpr.constvars, *jaxpr.invars]
        shardings = spread(out_shardings, trace.out_info)
        seeds, others = _seeds(jaxpr)
        atoms, self.size = jaxpr.outvars, len(jaxpr.outvars)
        results = {n: a for n, a in enumerate(atoms) if not isinstance(a, core.Literal)}
        self.draws, left = [], set(range(self.size))
        for eqns in _components(jaxpr, others):
            made = {var for eqn in eqns for var in eqn.outvars}
            places = [n for n in sorted(left) if results.get(n) in made]
            self.draws.append(_draw(jaxpr, eqns, places, shardings))
            left.difference_update(places)
        # Arguments, keys and numbers that are results themselves.
        self.draws.append(_draw(jaxpr, [], sorted(left), shardings))
        sizes = [atom.aval.size for atom in jaxpr.outvars]
        self.draws.sort(key=lambda draw: -sum(sizes[n] for n in draw.outputs))
        wanted = {v for draw in self.draws for v in _variables(draw.inputs)}
        self.seeds = [_equation(jaxpr, eqn) for eqn in _needed(seeds, wanted)]

    def compile(self, build: _Build) -> list[Future[Any]]:
        """Starts to compile all, for inputs of their kinds on JAX's default device."""
        programs = [
            program.compile([_kind(atom.aval) for atom in program.inputs], build)
            for program in (*self.seeds, *self.draws)
        ]
        return list(dict.fromkeys(programs))

    def run(self, arguments: Sequence[Any], compiled: dict[Hashable, Any]) -> Any:
        values = dict(zip(self.given, [*self.consts, *arguments], strict=True))
        anchor = next(filter(None, map(_placement, values.values())), None)
        if isinstance(anchor, jax.sharding.NamedSharding):
            anchor = jax.sharding.NamedSharding(anchor.mesh, jax.P())
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            build = _Build(threads, compiled, anchor)
            if anchor is None:  # then the kinds of the inputs are enough
                self.compile(build)
            for seed in self.seeds:
                seed.compile(_read(seed.inputs, values), build)
                seed.run(values, build)
            for draw in self.draws:
                draw.compile(_read(draw.inputs, values), build)
            for draw in self.draws:
                draw.run(values, build)
        return jax.tree.unflatten(self.tree, [values[n] for n in range(self.size)])


# Variables of a trace.


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def _read(atoms: Iterable[Any], values: dict[Any, Any]) -> list[Any]:
    """The arrays of variables, and the numbers of literals."""
    return [
        np.asarray(atom.val, _kind(atom.aval).dtype)
        if isinstance(atom, core.Literal)
        else values[atom]
        for atom in atoms
    ]


def _kind(aval: Any) -> jax.ShapeDtypeStruct:
    weak = getattr(aval, "weak_type", False)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=weak)


def _placement(value: Any) -> Any:
    """The devices that a program must be compiled for, if an input says so."""
    return value.sharding if isinstance(value, jax.Array) and value.committed else None


# The trace, taken apart.


def _seeds(jaxpr: core.Jaxpr) -> tuple[list[Any], list[Any]]:
    """Separates the equations that make keys, or integers, of keys and integers.

    These do not round, so it makes no difference where they are worked out.
    """
    known = {*jaxpr.constvars, *jaxpr.invars}
    seeds, others = [], []
    for eqn in jaxpr.eqns:
        inputs = _variables(eqn.invars)
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


def _needed(eqns: Sequence[Any], wanted: set[Any]) -> list[Any]:
    """The equations that some variables depend on, and those with effects, in order."""
    found, wanted = [], set(wanted)
    for eqn in reversed(eqns):
        if eqn.effects or wanted.intersection(eqn.outvars):
            found.append(eqn)
            wanted.update(_variables(eqn.invars))
    return found[::-1]


def _components(jaxpr: core.Jaxpr, eqns: Sequence[Any]) -> list[list[Any]]:
    """The needed equations in groups that share no array.

    A scalar may be worked out in several; equations with effects all go together.
    """
    eqns = _needed(eqns, {*_variables(jaxpr.outvars)})
    made_by = {var: n for n, eqn in enumerate(eqns) for var in eqn.outvars}
    group = list(range(len(eqns)))

    def root(n: int) -> int:
        while group[n] != n:
            n = group[n]
        return n

    effects = [n for n, eqn in enumerate(eqns) if eqn.effects]
    for n, eqn in enumerate(eqns):
        for var in _variables(eqn.invars):
            if var in made_by and var.aval.size > 1:
                group[root(n)] = root(made_by[var])
    for n in effects:
        group[root(n)] = root(effects[0])
    ends = {made_by[v] for v in _variables(jaxpr.outvars) if v in made_by}
    components, constants = [], []
    for first in dict.fromkeys(root(n) for n in sorted(ends.union(effects))):
        mine = [n for n in range(len(eqns)) if root(n) == first]
        others = [eqn for n, eqn in enumerate(eqns) if n in mine or not eqn.effects]
        outputs = {var for n in mine for var in eqns[n].outvars}
        component = _needed(others, outputs)
        if _read_by(component):
            components.append(component)
        else:  # zeros and ones, which are compiled together in no time
            constants += component
    return [*components, constants] if constants else components


def _draw(
    jaxpr: core.Jaxpr, eqns: Sequence[Any], places: Sequence[int], shardings: Any
) -> _Program:
    """The equations as a program of what they read and do not make."""
    wanted = [jaxpr.outvars[n] for n in places]
    at = [shardings[n] for n in places]
    if len(eqns) == 1 and eqns[0].primitive.name == "jit" and len(wanted) == 1:
        alone = _equation(jaxpr, eqns[0])
        return replace(alone, outputs=places, key=(alone.key, *at), shardings=at)
    inputs = _read_by(eqns, wanted)
    program = _jaxpr(jaxpr, eqns, inputs, wanted)
    return _Program(_function(program), inputs, places, (_key(program), *at), at)


def _read_by(eqns: Sequence[Any], wanted: Sequence[Any] = ()) -> list[Any]:
    """The variables that equations, or their results, have from elsewhere."""
    made = {var for eqn in eqns for var in eqn.outvars}
    read = _variables((*(atom for eqn in eqns for atom in eqn.invars), *wanted))
    return [var for var in dict.fromkeys(read) if var not in made]


def _equation(jaxpr: core.Jaxpr, eqn: Any) -> _Program:
    """One equation, of which the numbers are read like variables."""
    key = eqn.primitive, _params(eqn), *(str(atom.aval) for atom in eqn.invars)
    if eqn.primitive.name == "jit":
        function = core.jaxpr_as_fun(eqn.params["jaxpr"])
    else:
        inputs = [core.Var(atom.aval) for atom in eqn.invars]
        eqn_of_inputs = eqn.replace(invars=inputs)
        function = _function(_jaxpr(jaxpr, [eqn_of_inputs], inputs, eqn.outvars))
    return _Program(function, eqn.invars, eqn.outvars, key)


def _jaxpr(
    jaxpr: core.Jaxpr,
    eqns: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> core.Jaxpr:
    effects = set().union(*(eqn.effects for eqn in eqns))
    return jaxpr.replace(
        constvars=[],
        invars=list(inputs),
        outvars=list(outputs),
        eqns=list(eqns),
        effects=effects,
    )


def _function(jaxpr: core.Jaxpr) -> Callable[..., Any]:
    return core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, ()))


def _key(program: core.Jaxpr) -> Hashable:
    """Equal for programs of the same equations, whatever their variables are called."""
    names: dict[Any, int] = {var: n for n, var in enumerate(program.invars)}
    steps = []
    for eqn in program.eqns:
        inputs = tuple(
            repr(atom.val) if isinstance(atom, core.Literal) else names[atom]
            for atom in eqn.invars
        )
        for var in eqn.outvars:
            names[var] = len(names)
        kinds = tuple(str(atom.aval) for atom in (*eqn.invars, *eqn.outvars))
        steps.append((eqn.primitive, _params(eqn), inputs, kinds))
    kinds = tuple(str(var.aval) for var in program.invars)
    outputs = tuple(
        repr(atom) if isinstance(atom, core.Literal) else names[atom]
        for atom in program.outvars
    )
    return tuple(steps), kinds, outputs


def _params(eqn: Any) -> Hashable:
    """The parameters of an equation; one that has no hash by its identity."""
    params = []
    for name, value in sorted(eqn.params.items()):
        try:
            hash(value)
        except TypeError:
            value = id(value)
        params.append((name, value))
    return tuple(params)


# Functions within the function.


def _flat(closed: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """The trace with what jitted functions of several results do, instead of them."""
    if not any(map(_has_parts, closed.jaxpr.eqns)):
        return closed
    kinds = [_kind(var.aval) for var in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *inputs: _run(closed, inputs))(*kinds)


def _has_parts(eqn: Any) -> bool:
    return eqn.primitive.name == "jit" and len(eqn.outvars) > 1


def _run(closed: core.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    """Runs a trace, and what is in its jitted functions that have several results."""
    jaxpr = closed.jaxpr
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*closed.consts, *inputs], strict=True))
    for eqn in jaxpr.eqns:
        if _has_parts(eqn):
            outputs = _run(eqn.params["jaxpr"], _read(eqn.invars, values))
        else:
            read = list(dict.fromkeys(_variables(eqn.invars)))
            function = _function(_jaxpr(jaxpr, [eqn], read, eqn.outvars))
            outputs = function(*(values[var] for var in read))
        values.update(zip(eqn.outvars, outputs, strict=True))
    return _read(jaxpr.outvars, values)


def _dynamic(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    static_argnums: int | Sequence[int],
    static_argnames: str | Iterable[str],
) -> list[Any]:
    """The arrays among the arguments, in order."""
    numbers = {*np.atleast_1d(np.asarray(static_argnums, int)).tolist()}
    names = (
        {static_argnames} if isinstance(static_argnames, str) else {*static_argnames}
    )
    known = list(inspect.signature(fn).parameters) if numbers or names else []
    if not numbers:
        numbers = {known.index(name) for name in names if name in known}
    elif not names:
        names = {known[n] for n in numbers if -len(known) <= n < len(known)}
    numbers = {n + len(args) if n < 0 else n for n in numbers}
    positional = tuple(arg for n, arg in enumerate(args) if n not in numbers)
    by_name = {name: arg for name, arg in kwargs.items() if name not in names}
    return jax.tree.leaves((positional, by_name))
