"""Draws in pieces: one program for one kind of draw, whatever the shapes.

Each weight of an elementwise draw depends on its place in row-major order alone:

    a = random_bits key, shape=(64, 32)     the word of each place, from 0 to 2047
    b = mul a 0.1                           of each word
    c = reshape b, shape=(8, 8, 32)         the places stay as they are

So a program of the same steps that makes some weights from a place on,

    a = the words of the places start, start + 1, ...      b = mul a 0.1

draws any shape, piece by piece and bit for bit. To compile a program takes as long as
to draw fifty million weights, so that a model of many shapes is initialized in a third
of the time; a piece costs a copy, so that large shapes have programs of their own.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jinit import _bits
from jinit.model import _trace
from jinit.model._constants import ELEMENTWISE

_SIZES = 2**12, 2**17  # of a piece, which stays in the cache until it is copied

# What makes each element of its outputs of the elements of its inputs at that place.
_ELEMENTWISE = ELEMENTWISE | {
    *("lgamma", "digamma", "shift_right_arithmetic", "convert_element_type", "copy"),
    *("reduce_precision", "optimization_barrier", "stop_gradient"),
}
_KEEPS_PLACES = ("broadcast_in_dim", "expand_dims", "reshape", "squeeze")


class _Number(NamedTuple):
    """A literal."""

    dtype: str
    bytes: bytes

    def value(self) -> np.ndarray:
        return np.frombuffer(self.bytes, self.dtype).reshape(())


class _Value(NamedTuple):
    """What a step reads: by its number, or as it is written."""

    source: int | _Number
    size: int
    is_wide: bool = False  # has an element for each place
    is_key: bool = False


class _Step(NamedTuple):
    """An operation on values; a function makes a piece of what has no operation."""

    operation: Any
    params: tuple[tuple[str, Any], ...]
    inputs: tuple[tuple[int | _Number, bool], ...]  # and whether to read it as a scalar


class Draw(NamedTuple):
    """An elementwise draw. Those that are equal have one program."""

    size: int  # of a piece
    kinds: tuple[str, ...]  # of the inputs
    steps: tuple[_Step, ...]
    result: int

    def piece(self, start: Any, *inputs: Any) -> jax.Array:
        """The weights from a place on."""
        values = list(inputs)
        for operation, params, sources in self.steps:
            given = []
            for source, is_scalar in sources:
                read = values[source] if isinstance(source, int) else source.value()
                given.append(jnp.reshape(read, ()) if is_scalar else read)
            if isinstance(operation, core.Primitive):
                made = operation.bind(*given, **dict(params))
                values += made if operation.multiple_results else [made]
            else:
                values.append(operation(start, *given, **dict(params)))
        return values[self.result]


def elementwise(program: core.ClosedJaxpr) -> Draw | None:
    """What the only result of a trace is, if it is an elementwise draw."""
    if program.jaxpr not in _READ:
        try:
            _READ[program.jaxpr] = _read(program)
        except _UnfitError:
            _READ[program.jaxpr] = None
    return _READ[program.jaxpr]


_READ: Any = weakref.WeakKeyDictionary()


class _UnfitError(Exception):
    """A trace does more than to draw elementwise."""


def _read(program: core.ClosedJaxpr) -> Draw:
    inputs, result = program.jaxpr.invars, program.jaxpr.outvars[0].aval
    is_float = jnp.issubdtype(result.dtype, np.inexact) and not result.weak_type
    _require(is_float and jnp.finfo(result.dtype).bits >= 8)
    _require(1 < result.size <= 2**32)
    size = next((size for size in _SIZES if result.size <= size), _SIZES[-1])
    reader = _Reader(result.size, size, len(inputs))
    given = [
        _Value(n, var.aval.size, is_key=_is_key(var)) for n, var in enumerate(inputs)
    ]
    (made,) = reader.read(program, given)
    if not made.is_wide or isinstance(made.source, _Number):
        raise _UnfitError
    kinds = tuple(str(var.aval) for var in inputs)
    return Draw(size, kinds, tuple(reader.steps), made.source)


def _require(fits: bool) -> None:
    if not fits:
        raise _UnfitError


class _Reader:
    """Equations as steps that do not say how many places there are."""

    def __init__(self, places: int, size: int, inputs: int) -> None:
        self.places, self.size, self.values = places, size, inputs
        self.steps = list[_Step]()
        self.scalars = set[Any]()  # values that were made ones

    def read(self, closed: core.ClosedJaxpr, inputs: Sequence[_Value]) -> list[_Value]:
        """Adds the steps of a function; returns its results."""
        _require(not closed.consts)
        known = dict(zip(closed.jaxpr.invars, inputs, strict=True))

        def value_of(atom: Any) -> _Value:
            return known[atom] if _trace.is_variable(atom) else _literal(atom)

        for eqn in closed.jaxpr.eqns:
            _require(not eqn.effects)
            made = self._results(eqn, [value_of(atom) for atom in eqn.invars])
            known |= zip(eqn.outvars, made, strict=True)
        return [value_of(atom) for atom in closed.jaxpr.outvars]

    def _results(self, eqn: Any, given: list[_Value]) -> list[_Value]:
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if _trace.is_call(eqn):
            return self.read(eqn.params["jaxpr"], given)
        if _trace.draws_words(eqn):
            _require(out.size == self.places)
            params = {"size": self.size, "dtype": np.dtype(out.dtype)}
            return self._add(eqn, given[-1:], _bits.bits_from, params, wide=True)
        if not any(value.is_wide for value in given):
            return self._narrow(eqn, given)
        _require(all(var.aval.size == self.places for var in eqn.outvars))
        if name in _KEEPS_PLACES and not eqn.params.get("dimensions"):
            return given[:1]
        _require(name in _ELEMENTWISE)
        _require(all(value.is_wide or value.size == 1 for value in given))
        return self._add(eqn, given, eqn.primitive, eqn.params, wide=True)

    def _narrow(self, eqn: Any, given: list[_Value]) -> list[_Value]:
        """The results of what is the same for all places."""
        name, size = eqn.primitive.name, eqn.outvars[0].aval.size
        are_numbers = all(value.size == 1 for value in given)
        _require(not _trace.holds_functions(eqn))
        if name == "broadcast_in_dim" and are_numbers and size == self.places:
            return self._add(eqn, given, _filled, {"size": self.size}, wide=True)
        # How many axes a number has may depend on the shape, and makes no difference.
        if name == "broadcast_in_dim" and are_numbers and size == 1:
            return self._add(eqn, given, _number, {}, scalar=True)
        scalar = name in _ELEMENTWISE and are_numbers
        _require(scalar or self.scalars.isdisjoint(value.source for value in given))
        return self._add(eqn, given, eqn.primitive, eqn.params, scalar=scalar)

    def _add(
        self,
        eqn: Any,
        given: list[_Value],
        operation: Any,
        params: Any,
        *,
        wide: bool = False,
        scalar: bool = False,
    ) -> list[_Value]:
        """Adds a step that reads what is not wide as scalars, if it is wide or one."""
        parameters = tuple(sorted(params.items()))
        try:
            hash(parameters)
        except TypeError:
            raise _UnfitError from None
        inputs = tuple(
            (v.source, (wide or scalar) and not v.is_wide and not v.is_key)
            for v in given
        )
        self.steps.append(_Step(operation, parameters, inputs))
        numbers = range(self.values, self.values + len(eqn.outvars))
        self.values += len(eqn.outvars)
        self.scalars.update(numbers if scalar else ())
        return [
            _Value(n, var.aval.size, wide, _is_key(var))
            for n, var in zip(numbers, eqn.outvars, strict=True)
        ]


def _is_key(var: Any) -> bool:
    return jnp.issubdtype(var.aval.dtype, jax.dtypes.prng_key)


def _literal(atom: Any) -> _Value:
    (number,) = _trace.values_of([atom], {})
    _require(number.size == 1)
    return _Value(_Number(str(number.dtype), number.tobytes()), 1)


def _number(start: Any, value: jax.Array) -> jax.Array:
    return jnp.reshape(value, ())


def _filled(start: Any, value: jax.Array, size: int) -> jax.Array:
    return jnp.broadcast_to(value, (size,))


class Filling:
    """An array in memory of NumPy's, filled piece by piece: many of them by threads."""

    def __init__(
        self, draw: Draw, kind: Any, program: Callable[..., Any], inputs: Sequence[Any]
    ) -> None:
        self.kind, self.size = kind, draw.size
        self.program, self.inputs = program, inputs
        # JAX takes memory over, and does not copy it, if it starts at a multiple of 64.
        size, width = math.prod(kind.shape), np.dtype(kind.dtype).itemsize
        memory = np.empty(size * width + 64, np.uint8)
        first = -memory.ctypes.data % 64
        self.weights = memory[first : first + size * width].view(kind.dtype)
        self.pieces = list[Future[None]]()

    def start(self, threads: Executor) -> Filling:
        starts = range(0, self.weights.size, self.size)
        if len(starts) == 1:
            self._fill(0)
        else:
            # Threads do not know if 64 bits are enabled, and would round numbers.
            self.inputs = jax.device_put(list(self.inputs))
            self.pieces = [threads.submit(self._fill, start) for start in starts]
        return self

    def _fill(self, start: int) -> None:
        place = self.weights[start : start + self.size]
        drawn = np.asarray(self.program(np.uint32(start), *self.inputs))
        place[:] = drawn[: place.size]

    def result(self) -> jax.Array:
        for piece in self.pieces:
            piece.result()
        return jax.device_put(self.weights.reshape(self.kind.shape))


def finished(result: Any) -> Any:
    """An array that is filled, when it is; what is none, as it is."""
    return result.result() if isinstance(result, Filling) else result
