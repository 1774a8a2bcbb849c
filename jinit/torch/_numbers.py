"""Numbers of torch's words: uniform ones, and normal ones by Box and Muller's method.

They are flat arrays, NumPy's where the state of the generator is known. Then NumPy
makes the words, and programs of a few sizes the numbers, so that none is compiled for a
shape: a tensor comes in pieces of the largest size and a last one, which is padded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import wraps
from inspect import getfullargspec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit.torch._mt19937 import (
    State,
    Twister,
    is_known,
    next_words,
    skipped,
)

_PIECES = 2**13, 2**18
_PAIRS = 8  # which hold all of what is less than 16 numbers


def uniform_words(size: int, dtype: np.dtype) -> int:
    """How many words are drawn: in double precision two for a number."""
    return size * (2 if dtype == np.float64 else 1)


def normal_words(size: int, dtype: np.dtype) -> int:
    """How many words are drawn for 16 numbers and more.

    Where the last 16 are drawn anew, a tensor in full precision has drawn all before.
    """
    rest = size % 16
    first = size if dtype in (np.float32, np.float64) else size - rest
    return uniform_words(first + (16 if rest else 0), dtype)


def uniforms(
    state: State, size: int, a: float, b: float, dtype: np.dtype
) -> tuple[Any, State]:
    """Numbers of U[a, b)."""
    return _made(_uniform, state, size, dtype, a, b)


def normals(
    state: State, size: int, mean: float, std: float, dtype: np.dtype
) -> tuple[Any, State]:
    """Numbers of N(mean, std²): from 16 on in blocks of 16, of which the last is whole.

    Of 40 numbers 32 are made of the first 32 words, eight more words are passed over,
    and the last 16 numbers are made of the 16 words after these.
    """
    if size < 16:
        return _few_normals(state, size, mean, std, dtype)
    whole = size - size % 16
    w, state = _made(_normal, state, whole, dtype, mean, std)
    if whole == size:
        return w, state
    passed = normal_words(size, dtype) - uniform_words(whole + 16, dtype)
    last, state = _made(_normal, skipped(state, passed), 16, dtype, mean, std)
    xp = np if isinstance(w, np.ndarray) else jnp
    return xp.concatenate([w[: size - 16], last]), state


def elementwise(
    program: Callable[..., jax.Array], dtype: Any, arrays: list[Any], *options: Any
) -> Any:
    """What a program makes of flat arrays: an array of a dtype."""
    options = tuple(map(real_of(arrays[0].dtype), options))
    if not isinstance(arrays[0], np.ndarray):
        return program(*arrays, *options)

    def next_of(place: slice) -> list[np.ndarray]:
        return [array[place] for array in arrays]

    size = len(arrays[0])
    return _by_pieces(lambda *a: program(*a, *options), size, dtype, next_of)


def real_of(dtype: np.dtype) -> type[np.floating]:
    """What torch computes in, and rounds the options to."""
    return np.float64 if dtype == np.float64 else np.float32


def _made(
    program: Callable[..., jax.Array],
    state: State,
    size: int,
    dtype: np.dtype,
    *options: Any,
) -> tuple[Any, State]:
    """What a program makes of the next words."""
    options = tuple(map(real_of(dtype), options))
    if not is_known(state):
        words, state = next_words(state, uniform_words(size, dtype))
        return program(words, *options, dtype=dtype), state
    twister = Twister(state)

    def next_of(place: slice) -> list[np.ndarray]:
        return [twister.words(uniform_words(place.stop - place.start, dtype))]

    w = _by_pieces(
        lambda words: program(words, *options, dtype=dtype), size, dtype, next_of
    )
    return w, twister.state()


def _by_pieces(
    program: Callable[..., jax.Array],
    size: int,
    dtype: Any,
    arrays_of: Callable[[slice], list[np.ndarray]],
) -> np.ndarray:
    """Calls a program with the arrays of each place, padded: (n, or 2 n words)."""
    w, ahead = _aligned(size, np.dtype(dtype)), deque[tuple[slice, jax.Array]]()
    for start in range(0, size, _PIECES[-1]):
        place = slice(start, min(start + _PIECES[-1], size))
        n = place.stop - start
        room = next(piece for piece in _PIECES if piece >= n)
        arrays = arrays_of(place)
        if room > n:
            arrays = [np.pad(a, (0, len(a) // n * (room - n))) for a in arrays]
        ahead.append((place, program(*arrays)))
        if len(ahead) == 2:  # JAX computes one while the other is filled in
            _fill(w, *ahead.popleft())
    for place, piece in ahead:
        _fill(w, place, piece)
    return w


def _fill(w: np.ndarray, place: slice, piece: jax.Array) -> None:
    w[place] = np.asarray(piece)[: place.stop - place.start]


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """A new array, where JAX can take it over on the CPU and need not copy it."""
    n = size * dtype.itemsize
    memory = np.empty(n + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n].view(dtype)


def _few_normals(
    state: State, size: int, mean: float, std: float, dtype: np.dtype
) -> tuple[Any, State]:
    """Pairs in double precision, of which one may be left over for the next time."""
    if size == 0:
        return np.zeros(0, dtype), state
    options = np.float64(mean), np.float64(std)
    words, _ = next_words(state, 4 * _PAIRS)
    w, spares = _few(words, state.spare, state.has_spare, *options, dtype=dtype)
    w, spares, has_spare = map(
        np.asarray if is_known(state) else jnp.asarray, (w, spares, state.has_spare)
    )
    new = np.int32(size) - has_spare.astype(np.int32)
    pairs = (new + np.int32(1)) // np.int32(2)
    count = np.int32(4) * pairs
    after = skipped(state, count, at_most=4 * _PAIRS)._replace(
        spare=spares[size], has_spare=new % np.int32(2) == 1
    )
    return w[:size], after


# Programs, in double precision where torch has it.


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jits a function; what it takes by keyword alone is static."""
    jitted = jax.jit(function, static_argnames=getfullargspec(function).kwonlyargs)

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        with jax.enable_x64(True):
            # Put there, for what is not is refused under `jax.transfer_guard`.
            return jitted(*jax.device_put(args), **options)

    return call


def _unit(words: jax.Array, dtype: Any) -> jax.Array:
    """Numbers in [0, 1), of 24 bits in float32, and of 53 in float64."""
    if dtype == np.float64:
        high, low = words[::2].astype(np.uint64), words[1::2].astype(np.uint64)
        bits = ((high << np.uint64(32)) | low) & np.uint64(2**53 - 1)
        return bits.astype(np.float64) * np.float64(2.0**-53)
    bits = (words & np.uint32(2**24 - 1)).astype(np.int32)  # which converts faster
    return bits.astype(np.float32) * np.float32(2.0**-24)


@compiled
def _uniform(words: jax.Array, a: Any, b: Any, *, dtype: np.dtype) -> jax.Array:
    span, low = (b - a).astype(np.float64), a.astype(np.float64)
    # In float32 the product is exact. In float64 it is rounded, or not, with the sum at
    # once where the machine can: torch's compiler and ours do the same.
    x = _unit(words, dtype).astype(np.float64) * span + low
    w = x.astype(a.dtype).astype(dtype)
    return jnp.where(w >= b.astype(dtype), a.astype(dtype), w)


@compiled
def _normal(words: jax.Array, mean: Any, std: Any, *, dtype: np.dtype) -> jax.Array:
    return (_box_muller(words, dtype) * std + mean).astype(dtype)


def _box_muller(words: jax.Array, dtype: np.dtype) -> jax.Array:
    """Blocks of 16: eight radii and eight angles give eight cosines and eight sines."""
    u = _unit(words, dtype).reshape(-1, 2, 8)
    radius = jnp.sqrt(-2 * jnp.log(1 - u[:, :1]))
    sines, cosines = _sin_cos(_angle(u[:, 1:]))
    is_cosine = lax.broadcasted_iota(np.int32, u.shape, 1) == 0
    cosines, sines = (jnp.broadcast_to(wave, u.shape) for wave in (cosines, sines))
    return (radius * jnp.where(is_cosine, cosines, sines)).reshape(-1)


def _angle(u: jax.Array) -> jax.Array:
    """Of a full turn; what it rounds to decides on the last bits of a small sine.

    It is below 2π: the minimum keeps the compiler from computing the product and what
    is made of it at once, with one rounding.
    """
    turn = np.asarray(2 * np.pi, u.dtype)
    return jnp.minimum(turn * u, turn)


def _log_of_rest(u: jax.Array) -> jax.Array:
    """Logarithm of 1 - u, to the last bits, which XLA's log1p does not have.

    By Kahan's method: what 1 - u rounds away is made good by the slope of a chord.
    """
    rest = 1 - u
    return jnp.where(rest == 1, -u, jnp.log(rest) * (u / (1 - rest)))


def _sin_cos(angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine of [0, 2π], in float32 both at once, to the last bit or two.

    As in Moshier's Cephes library, which torch's are of too: what is left of the next
    multiple of π/2, subtracted in three parts of which two are exact, goes into two
    polynomials.
    """
    if angle.dtype == np.float64:
        return jnp.sin(angle), jnp.cos(angle)
    f = np.float32
    quarter = jnp.round(angle * f(2 / np.pi))
    x = angle - quarter * f(1.5703125) - quarter * f(4.837512969970703e-4)
    x = x - quarter * f(7.549789948768648e-8)
    y = x * x
    sine = ((f(-1.9515295891e-4) * y + f(8.3321608736e-3)) * y - f(1.6666654611e-1)) * y
    sine = sine * x + x
    cosine = (f(2.443315711809948e-5) * y - f(1.388731625493765e-3)) * y
    cosine = (cosine + f(4.166664568298827e-2)) * y * y - f(0.5) * y + f(1)
    n = quarter.astype(np.int32)
    odd = (n & 1) == 1
    sines, cosines = jnp.where(odd, cosine, sine), jnp.where(odd, sine, cosine)
    return (
        jnp.where((n & 2) == 2, -sines, sines),
        jnp.where(((n + 1) & 2) == 2, -cosines, cosines),
    )


@compiled
def _few(
    words: jax.Array,
    spare: jax.Array,
    has_spare: jax.Array,
    mean: Any,
    std: Any,
    *,
    dtype: np.dtype,
) -> tuple[jax.Array, jax.Array]:
    """The next 16 numbers, and the bits of what each would leave over."""
    u = _unit(words, np.float64)
    radius, angle = jnp.sqrt(-2 * _log_of_rest(u[1::2])), _angle(u[::2])
    pairs = jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], 1)
    bits = spare.astype(np.uint64)
    left = lax.bitcast_convert_type((bits[0] << np.uint64(32)) | bits[1], np.float64)
    # With a number to spare the rest of them move on by one.
    z = jnp.concatenate([left[None], pairs.reshape(-1)])
    z = lax.dynamic_slice(z, (1 - has_spare.astype(np.int32),), (2 * _PAIRS,))
    bits = lax.bitcast_convert_type(z, np.uint64)
    spares = jnp.stack([bits >> np.uint64(32), bits], 1).astype(np.uint32)
    return (z * std + mean).astype(dtype), spares
