"""Initializes a whole model: every distinct draw compiled once, at the same time.

`jax.jit(model.init)` compiles one large program, in which every parameter's draw, and
the folding of its key, is compiled anew. Here the trace is taken apart. Of a model

    k1 = fold_in key 1    a = normal k1    w1 = mul a 0.1      return w1, w2, b
    k2 = fold_in key 2    c = normal k2    w2 = mul c 0.1      b = zeros

the recipe is: work out fold_in(key, n) twice, as seeds; then three draws, [a, w1] of
k1, [c, w2] of k2, and [b]. If w1 and w2 have one shape their programs are alike, so
what is compiled is one draw and the zeros, however many layers there are. On a CPU
elementwise draws of many shapes share one program too, which draws a piece (`_pieces`).

The largest draw is first: it is compiled, and drawn, while others are still lowered.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jinit._checks import is_traced
from jinit.model import _keys, _pieces, _trace
from jinit.model._shardings import Shardings, everywhere, spread


class ModelInit(Protocol):
    """What `jinit.jit_init` returns."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Initializes, called like the function given."""

    def compile(self, *args: Any, **kwargs: Any) -> list[jax.stages.Compiled]:
        """Compiles for such arguments, or their shapes, and draws nothing."""
        ...


_MUCH = 2**24  # weights, for which a program of their own pays off
_RECIPES = 64  # that one function keeps, for arguments of different kinds


def jit_init(
    fn: Callable[..., Any],
    out_shardings: Shardings = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
) -> ModelInit:
    """Compiles a function that initializes a model, in a fraction of `jax.jit`'s time.

    The function is traced once. Only what its results depend on is compiled, each
    distinct draw once, as many at a time as there are cores.

    Args:
      fn: Any function that `jax.jit` takes: `model.init` of flax.linen, a function that
        builds an nnx module and returns its state, or another.
      out_shardings: As `jax.jit` takes it; or a function of the path of each result
        ("params/Dense_0/kernel") and its `jax.ShapeDtypeStruct`.
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
      TypeError: `fn` is not callable; at the call, `out_shardings` gives no shardings.
      ValueError: At the call, `out_shardings` does not fit the result or its shapes.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jinit
      >>> model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])
      >>> params = jinit.jit_init(model.init)(jax.random.key(0), jnp.ones((1, 784)))
      >>> params["params"]["layers_0"]["kernel"].shape
      (784, 64)
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function, such as model.init, got {fn!r}.")
    numbers = () if static_argnums is None else static_argnums
    names = () if static_argnames is None else static_argnames
    # jax.jit deduces the one from the other, if it is given the other alone.
    static: Any = {"static_argnums": numbers, "static_argnames": names}
    static = {option: value for option, value in static.items() if value != ()}
    jitted = jax.jit(fn, **static)
    fixed = _static(fn, numbers, names)
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
            arrays = _dynamic(args, kwargs, *fixed)
            # A traced array that the function has closed over is no argument.
            closed_over = len(arrays) != len(trace.jaxpr.jaxpr.invars)
            if closed_over or any(map(is_traced, trace.jaxpr.consts)):
                return plain(*args, **kwargs)
            return recipe_of(trace).run(arrays)

    def compiled(*args: Any, **kwargs: Any) -> list[jax.stages.Compiled]:
        with _no_collection():
            return recipe_of(jitted.trace(*args, **kwargs)).compiled_programs()

    returned: Any = init
    returned.compile = compiled
    return returned


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spares a large model's trace the search for garbage, a fifth of its time."""
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
    settings = [getattr(jax.config, option) for option in options]
    return any(settings) or any(map(is_traced, arguments))


@dataclass(frozen=True, eq=False)
class _Program:
    """A function of some variables of a trace, and what its outputs are called."""

    function: Callable[..., Any]
    inputs: Sequence[Any]  # variables, and literals
    outputs: Sequence[Any]  # variables, or the places of results
    key: Hashable  # equal for programs that compute alike
    shardings: Any = None  # of the outputs
    placed: bool = False  # over a mesh of its own
    kind: Any = None  # of the only output,
    elementwise: _pieces.Draw | None = None  # if this may be drawn in pieces

    def start(self, inputs: Sequence[Any], build: _Build) -> Hashable:
        """Starts to compile it for arrays, or kinds of arrays; returns its key."""
        in_pieces = build.in_pieces and self.elementwise
        places = build.anchor, _default_device(), *map(_placement, inputs)
        key = in_pieces or self.key, *places
        if key not in build.compiled:
            if in_pieces:
                program = jax.jit(in_pieces.piece).lower(np.uint32(0), *inputs)
            else:
                program = self._jitted(inputs, build).lower(*inputs)
            build.compiled[key] = build.threads.submit(program.compile)
        return key

    def _jitted(self, inputs: Sequence[Any], build: _Build) -> Any:
        shardings = self.shardings
        if shardings and not self.placed and not any(map(_placement, inputs)):
            shardings = [at or build.anchor for at in shardings]
        return jax.jit(self.function, out_shardings=shardings)

    def run(self, inputs: Any, key: Hashable, build: _Build) -> dict[Any, Any]:
        """Waits for its program; returns its outputs by what they are called."""
        program = build.result(key)
        if build.in_pieces and self.elementwise:
            filling = _pieces.Filling(self.elementwise, self.kind, program, inputs)
            return {self.outputs[0]: filling.start(build.threads)}
        return dict(zip(self.outputs, program(*inputs), strict=True))


def _default_device() -> Any:
    """A device, the name of a platform, or None where JAX chooses."""
    return getattr(jax.config, "jax_default_device")  # noqa: B009 (untyped)


class _Build(NamedTuple):
    """Where programs are compiled, and kept, and what they are to run on."""

    threads: ThreadPoolExecutor
    compiled: dict[Hashable, Future[Any]]
    anchor: Any  # the devices of the arguments or results, if these say so

    @property
    def in_pieces(self) -> bool:
        """Whether arrays that may be are drawn in pieces, in memory of NumPy's."""
        device = _default_device()
        platform = getattr(device, "platform", device) or jax.default_backend()
        return platform == "cpu" and self.anchor is None

    def result(self, key: Hashable) -> Any:
        try:
            return self.compiled[key].result()
        except BaseException:  # such as too little memory: it may work another time
            self.compiled.clear()
            raise


class _Recipe:
    """A trace as programs: single equations that make keys, and then the draws."""

    def __init__(self, trace: Any, out_shardings: Any) -> None:
        closed = _trace.flatten(trace.jaxpr)
        self.jaxpr = jaxpr = closed.jaxpr
        self.compiled: dict[Hashable, Future[Any]] = {}
        # A NumPy array may be written to later; a copy is not.
        self.consts = [
            c if isinstance(c, jax.Array) else jnp.array(np.array(c), var.aval.dtype)
            for var, c in zip(jaxpr.constvars, closed.consts, strict=True)
        ]
        self.tree = jax.tree.structure(trace.out_info)
        self.given = [*jaxpr.constvars, *jaxpr.invars]
        shardings = spread(out_shardings, trace.out_info)
        # One mesh, of a result or within the function, is that of all results.
        placed = [
            *shardings,
            *(NamedSharding(m, jax.P()) for m in _trace.meshes(jaxpr)),
        ]
        self.anchor = next(filter(None, map(everywhere, placed)), None)
        seeds, others = _trace.split_seeds(jaxpr)
        self.draws = _light_in_pieces(
            [
                _draw(jaxpr, eqns, places, shardings)
                for eqns, places in _trace.draws(jaxpr, others)
            ]
        )
        sizes = [atom.aval.size for atom in jaxpr.outvars]
        self.draws.sort(key=lambda draw: -sum(sizes[n] for n in draw.outputs))
        self.wanted = {v for draw in self.draws for v in _trace.variables(draw.inputs)}
        self.steps = _trace.needed(seeds, self.wanted)

    @cached_property
    def seeds(self) -> list[_Program]:
        return [_equation(self.jaxpr, eqn) for eqn in self.steps]

    def start(self, build: _Build) -> list[Hashable]:
        """Starts to compile all, for inputs of their kinds on JAX's default device."""
        return [
            p.start([_trace.kind(atom.aval) for atom in p.inputs], build)
            for p in (*self.seeds, *self.draws)
        ]

    def compiled_programs(self) -> list[Any]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            build = _Build(threads, self.compiled, self.anchor)
            return [build.result(key) for key in dict.fromkeys(self.start(build))]

    def run(self, arguments: Sequence[Any]) -> Any:
        values = dict(zip(self.given, [*self.consts, *arguments], strict=True))
        committed = next(filter(None, map(_placement, values.values())), None)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            build = _Build(threads, self.compiled, everywhere(committed) or self.anchor)
            self._make_keys(values, build, committed)
            lowered = deque[Any]()
            for draw in self.draws:
                inputs = _trace.values_of(draw.inputs, values)
                lowered.append((draw, inputs, draw.start(inputs, build)))
                while lowered and self.compiled[lowered[0][-1]].done():
                    first, *given = lowered.popleft()
                    values |= first.run(*given, build)
            for draw, *given in lowered:
                values |= draw.run(*given, build)
            results = [values[n] for n in range(self.tree.num_leaves)]
            results = [_pieces.finished(result) for result in results]
        return self.tree.unflatten(results)

    def _make_keys(self, values: dict[Any, Any], build: _Build, committed: Any) -> None:
        """Adds what the draws need: in NumPy if it can be, and else by programs."""
        if committed is None and _keys.are_known(self.steps, self.wanted):
            return _keys.work_out(self.steps, self.wanted, values)
        if committed is None:  # then the kinds of the inputs are enough to start all
            self.start(build)
        for seed in self.seeds:
            inputs = _trace.values_of(seed.inputs, values)
            values |= seed.run(inputs, seed.start(inputs, build), build)


def _draw(
    jaxpr: Any, eqns: Sequence[Any], places: Sequence[int], shardings: Sequence[Any]
) -> _Program:
    """The equations as a program of what they read and do not make."""
    wanted = [jaxpr.outvars[n] for n in places]
    at = [shardings[n] for n in places]
    if len(eqns) == 1 and _trace.is_call(eqns[0]) and len(wanted) == 1:
        made = _equation(jaxpr, eqns[0])
        made = replace(made, outputs=places, key=(made.key, *at), shardings=at)
        program = eqns[0].params["jaxpr"]
    else:
        inputs = _trace.free_variables(eqns, wanted)
        program = _trace.program(jaxpr, eqns, inputs, wanted)
        key, placed = (_trace.identity(program), *at), bool(_trace.meshes(program))
        made = _Program(_trace.function_of(program), inputs, places, key, at, placed)
    if made.placed or at != [None]:
        return made
    kind, elementwise = _trace.kind(wanted[0].aval), _pieces.elementwise(program)
    return replace(made, kind=kind, elementwise=elementwise)


def _light_in_pieces(draws: Sequence[_Program]) -> list[_Program]:
    """Leaves in pieces what is not much, and shares its program with other shapes."""
    weights = Counter[Hashable]()
    for draw in draws:
        weights[draw.key] += draw.kind.size if draw.elementwise else _MUCH
    light = {d.key: d.elementwise for d in draws if weights[d.key] < _MUCH}
    shapes = Counter(light.values())

    def in_pieces(draw: _Program) -> bool:
        return draw.key in light and shapes[draw.elementwise] > 1

    return [d if in_pieces(d) else replace(d, elementwise=None) for d in draws]


def _equation(jaxpr: Any, eqn: Any) -> _Program:
    """One equation, of which the numbers are read like variables."""
    program, key = _trace.single(jaxpr, eqn)
    function, placed = _trace.function_of(program), bool(_trace.meshes(program))
    return _Program(function, eqn.invars, eqn.outvars, key, placed=placed)


def _placement(value: Any) -> Any:
    """The devices that a program must be compiled for, if an input says so."""
    return value.sharding if isinstance(value, jax.Array) and value.committed else None


def _static(
    fn: Callable[..., Any], argnums: int | Sequence[int], argnames: str | Iterable[str]
) -> tuple[set[int], set[str]]:
    """The numbers and the names of static arguments, each from the other if missing."""
    numbers = {*np.atleast_1d(np.asarray(argnums, int)).tolist()}
    names = {argnames} if isinstance(argnames, str) else {*argnames}
    known: list[str] = []
    if numbers or names:
        with suppress(TypeError, ValueError):  # there are functions without one
            known = list(inspect.signature(fn).parameters)
    if not numbers:
        numbers = {known.index(name) for name in names if name in known}
    elif not names:
        names = {known[n] for n in numbers if -len(known) <= n < len(known)}
    return numbers, names


def _dynamic(
    args: Sequence[Any], kwargs: dict[str, Any], numbers: set[int], names: set[str]
) -> list[Any]:
    """The arrays among the arguments, in order."""
    numbers = {n + len(args) if n < 0 else n for n in numbers}
    positional = tuple(arg for n, arg in enumerate(args) if n not in numbers)
    by_name = {name: arg for name, arg in kwargs.items() if name not in names}
    return jax.tree.leaves((positional, by_name))
