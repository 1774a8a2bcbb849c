"""Initializes a whole model: every distinct draw compiled once, at the same time.

`jax.jit(model.init)` compiles one large program, in which every parameter's draw, and
the folding of its key, is compiled anew. Here the trace is taken apart: for every
result the equations that it depends on, down to keys, make a program of their own, and
programs that are alike are compiled once.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit import _sample
from jinit._options import is_traced
from jinit.model._shardings import spread

_SEEDS = 256  # the most elements of what is worked out by single equations
_RECIPES = 64  # that one function keeps, for arguments of different kinds


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
    numbers = () if static_argnums is None else static_argnums
    names = () if static_argnames is None else static_argnames
    # jax.jit deduces the one from the other, if it is given the other alone.
    static: Any = {"static_argnums": numbers, "static_argnames": names}
    static = {option: value for option, value in static.items() if value != ()}
    jitted = jax.jit(fn, **static)
    recipes: dict[int, tuple[Any, _Recipe]] = {}  # by trace, which JAX keeps

    def plain(*args: Any, **kwargs: Any) -> Any:
        shapes = jitted.eval_shape(*args, **kwargs)
        places = jax.tree.structure(shapes).unflatten(spread(out_shardings, shapes))
        return jax.jit(fn, out_shardings=places, **static)(*args, **kwargs)

    def recipe_of(trace: Any) -> _Recipe:
        if id(trace.jaxpr) not in recipes:
            if len(recipes) >= _RECIPES:
                recipes.pop(next(iter(recipes)))
            recipes[id(trace.jaxpr)] = trace.jaxpr, _Recipe(trace, out_shardings)
        return recipes[id(trace.jaxpr)][1]

    @wraps(fn)
    def init(*args: Any, **kwargs: Any) -> Any:
        if _is_plain(jax.tree.leaves((args, kwargs))):
            return plain(*args, **kwargs)
        with _no_collection():
            trace = jitted.trace(*args, **kwargs)
            arrays = _dynamic(fn, args, kwargs, numbers, names)
            # A traced array that the function has closed over is no argument.
            closed_over = len(arrays) != len(trace.jaxpr.jaxpr.invars)
            if closed_over or any(map(is_traced, trace.jaxpr.consts)):
                return plain(*args, **kwargs)
            return recipe_of(trace).run(arrays)

    def compiled(*args: Any, **kwargs: Any) -> list[jax.stages.Compiled]:
        with _no_collection():
            return recipe_of(jitted.trace(*args, **kwargs)).compiled_programs()

    init.compile = compiled  # pyrefly: ignore[missing-attribute]
    return init


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leaves garbage for later: a trace is many objects, and none of it is garbage.

    To look for it among them takes a fifth of a large model's trace.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_plain(arguments: Iterable[Any]) -> bool:
    """Whether `jax.jit` has to do it: under a trace, and to find a NaN."""
    options = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs")
    return any(map(is_traced, arguments)) or any(
        getattr(jax.config, option) for option in options
    )


@dataclass(frozen=True, eq=False)
class _Program:
    """A function of some variables of a trace, and what its outputs are called."""

    function: Callable[..., Any]
    inputs: Sequence[Any]  # variables, and literals
    outputs: Sequence[Any]  # variables, or the places of results
    key: Hashable  # equal for programs that compute alike
    shardings: Any = None  # of the outputs

    def start(self, inputs: Sequence[Any], build: _Build) -> Hashable:
        """Starts to compile it for arrays, or kinds of arrays; returns its key."""
        device = getattr(jax.config, "jax_default_device")  # noqa: B009
        key = self.key, build.anchor, device, *map(_placement, inputs)
        if key not in build.compiled:
            shardings = self.shardings
            if shardings and not any(map(_placement, inputs)):
                shardings = [at or build.anchor for at in shardings]
            program = jax.jit(self.function, out_shardings=shardings).lower(*inputs)
            build.compiled[key] = build.threads.submit(program.compile)
        return key

    def run(self, values: dict[Any, Any], build: _Build) -> None:
        """Reads its inputs from the values, and adds its outputs."""
        inputs = _read(self.inputs, values)
        outputs = build.result(self.start(inputs, build))(*inputs)
        values.update(zip(self.outputs, outputs, strict=True))


class _Build(NamedTuple):
    """Where programs are compiled, and kept, and what they are to run on."""

    threads: ThreadPoolExecutor
    compiled: dict[Hashable, Future[Any]]
    anchor: Any  # the devices of the arguments or results, if these say so

    def result(self, key: Hashable) -> Any:
        try:
            return self.compiled[key].result()
        except BaseException:  # such as too little memory: it may work another time
            self.compiled.clear()
            raise


class _Recipe:
    """A trace as programs: single equations that make keys, and then the draws."""

    def __init__(self, trace: Any, out_shardings: Any) -> None:
        closed = _flat(trace.jaxpr)
        jaxpr, self.compiled = closed.jaxpr, dict[Hashable, Future[Any]]()
        consts = zip(jaxpr.constvars, closed.consts, strict=True)
        # A NumPy array may be written to later; a copy is not.
        self.consts = [
            value
            if isinstance(value, jax.Array)
            else jnp.array(np.array(value), _kind(var.aval).dtype)
            for var, value in consts
        ]
        self.tree = jax.tree.structure(trace.out_info)
        self.given = [*jaxpr.constvars, *jaxpr.invars]
        shardings = spread(out_shardings, trace.out_info)
        self.anchor = next(filter(None, map(_everywhere, shardings)), None)
        seeds, others = _seeds(jaxpr)
        atoms, self.size = jaxpr.outvars, len(jaxpr.outvars)
        results = {n: a for n, a in enumerate(atoms) if not isinstance(a, core.Literal)}
        self.draws, left = [], set(range(self.size))
        for eqns in _components(jaxpr, others):
            made = {var for eqn in eqns for var in eqn.outvars}
            places = [n for n in sorted(left) if results.get(n) in made]
            self.draws.append(_draw(jaxpr, eqns, places, shardings))
            left.difference_update(places)
        if left:  # arguments, keys and numbers that are results themselves
            self.draws.append(_draw(jaxpr, [], sorted(left), shardings))
        sizes = [atom.aval.size for atom in jaxpr.outvars]
        self.draws.sort(key=lambda draw: -sum(sizes[n] for n in draw.outputs))
        wanted = {v for draw in self.draws for v in _variables(draw.inputs)}
        self.seeds = [_equation(jaxpr, eqn) for eqn in _needed(seeds, wanted)]

    def start(self, build: _Build) -> list[Hashable]:
        """Starts to compile all, for inputs of their kinds on JAX's default device."""
        programs = *self.seeds, *self.draws
        return [
            p.start([_kind(atom.aval) for atom in p.inputs], build) for p in programs
        ]

    def compiled_programs(self) -> list[Any]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            build = _Build(threads, self.compiled, self.anchor)
            return [build.result(key) for key in dict.fromkeys(self.start(build))]

    def run(self, arguments: Sequence[Any]) -> Any:
        values = dict(zip(self.given, [*self.consts, *arguments], strict=True))
        committed = next(filter(None, map(_placement, values.values())), None)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            anchor = _everywhere(committed) or self.anchor
            build = _Build(threads, self.compiled, anchor)
            if committed is None:  # then the kinds of the inputs are enough
                self.start(build)
            for seed in self.seeds:
                seed.run(values, build)
            for draw in self.draws:
                draw.start(_read(draw.inputs, values), build)
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


def _everywhere(sharding: Any) -> Any:
    """All that an array of this sharding may lie on, for one that has none."""
    if isinstance(sharding, jax.sharding.NamedSharding):
        return jax.sharding.NamedSharding(sharding.mesh, jax.P())
    return sharding if isinstance(sharding, jax.sharding.Sharding) else None


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
    """The needed equations in groups that share nothing but a few scalars.

    Those that have effects, and all that depends on them, go together; so do those
    that need nothing, as zeros and ones do.
    """
    eqns = _needed(eqns, {*_variables(jaxpr.outvars)})
    made_by = {var: n for n, eqn in enumerate(eqns) for var in eqn.outvars}
    before = [
        {made_by[v] for v in _variables(eqn.invars) if v in made_by} for eqn in eqns
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
    ends = {made_by[v] for v in _variables(jaxpr.outvars) if v in made_by} | tainted
    for n in sorted(ends):
        members.setdefault(root(n), set()).add(n)
    components, constants = [], []
    for needed in members.values():
        open_ = set(needed)
        while open_:
            open_ = set().union(*(before[n] for n in open_)) - needed
            needed |= open_
        component = [eqns[n] for n in sorted(needed)]
        if _read_by(component):
            components.append(component)
        else:
            constants += component
    return [*components, constants] if constants else components


def _is_scalar(eqn: Any) -> bool:
    """Whether it is next to nothing to work it out again: a number of numbers."""
    atoms = (*eqn.invars, *eqn.outvars)
    functions = (core.Jaxpr, core.ClosedJaxpr, tuple)
    calls = any(isinstance(value, functions) and value for value in eqn.params.values())
    calls = calls or "callback" in eqn.primitive.name
    return all(atom.aval.size <= 1 for atom in atoms) and not calls and not eqn.effects


def _draw(
    jaxpr: core.Jaxpr, eqns: Sequence[Any], places: Sequence[int], shardings: Any
) -> _Program:
    """The equations as a program of what they read and do not make."""
    wanted = [jaxpr.outvars[n] for n in places]
    at = [shardings[n] for n in places]
    if len(eqns) == 1 and _is_call(eqns[0]) and len(wanted) == 1:
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
    key = _kind_of(eqn), *(str(atom.aval) for atom in eqn.invars)
    if _is_call(eqn):
        function = _function(eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts)
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


def _function(jaxpr: core.Jaxpr, consts: Sequence[Any] = ()) -> Callable[..., Any]:
    """What it computes, with random bits that are the same but quicker on the CPU."""
    closed = core.ClosedJaxpr(jaxpr, consts)
    if any(map(_draws_bits, jaxpr.eqns)):
        return lambda *inputs: _run(closed, inputs, _draws_bits)
    return core.jaxpr_as_fun(closed)


def _key(program: core.Jaxpr) -> Hashable:
    """Equal for programs of the same equations, whatever their variables are called."""
    names: dict[Any, int] = {var: n for n, var in enumerate(program.invars)}
    steps = []
    for eqn in program.eqns:
        inputs = tuple(
            _bytes(atom) if isinstance(atom, core.Literal) else names[atom]
            for atom in eqn.invars
        )
        for var in eqn.outvars:
            names[var] = len(names)
        kinds = tuple(str(atom.aval) for atom in (*eqn.invars, *eqn.outvars))
        steps.append((_kind_of(eqn), inputs, kinds))
    kinds = tuple(str(var.aval) for var in program.invars)
    outputs = tuple(
        (_bytes(atom), str(atom.aval))
        if isinstance(atom, core.Literal)
        else names[atom]
        for atom in program.outvars
    )
    return tuple(steps), kinds, outputs


def _kind_of(eqn: Any) -> Hashable:
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
    return np.asarray(literal.val, _kind(literal.aval).dtype).tobytes()


# Functions within the function.


def _flat(closed: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """The trace with what jitted functions of several results do, instead of them."""
    if not any(map(_has_parts, closed.jaxpr.eqns)):
        return closed
    kinds = [_kind(var.aval) for var in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *inputs: _run(closed, inputs, _has_parts))(*kinds)


def _has_parts(eqn: Any) -> bool:
    return _is_call(eqn) and len(eqn.outvars) > 1


def _draws_bits(eqn: Any) -> bool:
    """Whether it draws JAX's random bits, or calls a jitted function that does."""
    if _is_call(eqn):
        return any(map(_draws_bits, eqn.params["jaxpr"].jaxpr.eqns))
    is_ours = eqn.primitive.name == "random_bits" and eqn.params["bit_width"] >= 32
    return is_ours and not eqn.invars[0].aval.shape


def _is_call(eqn: Any) -> bool:
    """Whether it calls a jitted function that may as well be called by itself."""
    if eqn.primitive.name != "jit":
        return False
    places = (*eqn.params["in_shardings"], *eqn.params["out_shardings"])
    return not any(isinstance(place, jax.sharding.Sharding) for place in places)


def _random_bits(eqn: Any, key: Any) -> jax.Array:
    return _sample.bits(key, eqn.params["shape"], eqn.outvars[0].aval.dtype)


def _run(
    closed: core.ClosedJaxpr, inputs: Sequence[Any], opens: Callable[[Any], bool]
) -> list[Any]:
    """Runs a trace, and what is in its jitted functions that are to be opened."""
    jaxpr = closed.jaxpr
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*closed.consts, *inputs], strict=True))
    for eqn in jaxpr.eqns:
        if opens(eqn) and _is_call(eqn):
            outputs = _run(eqn.params["jaxpr"], _read(eqn.invars, values), opens)
        elif opens(eqn):
            with eqn.ctx.manager:  # it has the settings of the generator
                outputs = [_random_bits(eqn, values[eqn.invars[0]])]
        else:
            read = list(dict.fromkeys(_variables(eqn.invars)))
            alone = core.ClosedJaxpr(_jaxpr(jaxpr, [eqn], read, eqn.outvars), ())
            outputs = core.jaxpr_as_fun(alone)(*(values[var] for var in read))
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
    known: list[str] = []
    if numbers or names:
        with suppress(TypeError, ValueError):  # there are functions without one
            known = list(inspect.signature(fn).parameters)
    if not numbers:
        numbers = {known.index(name) for name in names if name in known}
    elif not names:
        names = {known[n] for n in numbers if -len(known) <= n < len(known)}
    numbers = {n + len(args) if n < 0 else n for n in numbers}
    positional = tuple(arg for n, arg in enumerate(args) if n not in numbers)
    by_name = {name: arg for name, arg in kwargs.items() if name not in names}
    return jax.tree.leaves((positional, by_name))
