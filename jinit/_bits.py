"""Bits: from a key and a shape to words, and to uniform numbers in [0, 1).

The words are those of `jax.random.bits`, for every implementation of keys.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Shape = tuple[int, ...]
Words = tuple[Any, Any]

# Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": the rotations of
# Threefry-2x32, and the parity word of its key schedule, which is Skein's.
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that draws are computed in: float32, or float64 for 64-bit parts."""
    wide = dtype in (np.float64, np.complex128)
    return np.dtype(np.float64 if wide else np.float32)


def wide_dtype(dtype: np.dtype) -> np.dtype:
    """What an array is computed in before it is rounded to a dtype."""
    return real_dtype(dtype) if jnp.issubdtype(dtype, np.floating) else dtype


def units(key: jax.Array, shape: Shape, dtype: np.dtype) -> list[jax.Array]:
    """Uniform numbers in [0, 1): one array, or for complex dtypes one for each part.

    They lie on the grid of multiples of 2^-23 (float64: 2^-52), as JAX's do.
    """
    real = real_dtype(dtype)
    info = jnp.finfo(real)
    unsigned, signed = np.dtype(f"uint{info.bits}"), np.dtype(f"int{info.bits}")
    parts = []
    complex_ = jnp.issubdtype(dtype, np.complexfloating)
    for each in jax.random.split(key) if complex_ else [key]:
        words = bits(each, shape, unsigned) >> (info.bits - info.nmant)
        # Signed integers convert faster, and the sign bit is free.
        grid = lax.bitcast_convert_type(words, signed).astype(real)
        parts.append(grid * np.array(2.0**-info.nmant, real))
    return parts


def tails(key: jax.Array, shape: Shape, dtype: np.dtype) -> tuple[Any, Any]:
    """Probabilities in (0, 1/2] of a tail, and whether it is the upper one.

    The grid of `units` ends a tail at 2^-23; here it goes on to 2^-33 (float64: 2^-65),
    and a probability is as fine as a float of its size.
    """
    real = real_dtype(dtype)
    size = jnp.finfo(real).bits
    words = bits(key, shape, np.dtype(f"uint{size}"))
    rest = lax.bitcast_convert_type((words << 1) >> 1, np.dtype(f"int{size}"))
    p = (rest.astype(real) + np.array(0.5, real)) * np.array(2.0**-size, real)
    return p, (words >> (size - 1)).astype(bool)


def bits(key: jax.Array, shape: Shape, dtype: Any = np.uint32) -> jax.Array:
    """Draws uniform 32- or 64-bit words, the same as `jax.random.bits`.

    On the CPU JAX computes threefry in a loop that XLA does not fuse with what uses the
    bits. Written out it fuses, and bits, floats, scale and rounding are one pass over
    the memory. On other backends, and for other generators, JAX's own way is taken.
    """
    library = partial(jax.random.bits, shape=shape, dtype=dtype)
    ours = (
        jax.random.key_impl(key) == "threefry2x32"
        and getattr(jax.config, "jax_threefry_partitionable")  # noqa: B009 (untyped)
        and max(shape, default=0) < 2**32
    )
    if not ours:
        return library(key)
    written_out = partial(threefry_bits, shape=shape, dtype=np.dtype(dtype))
    return lax.platform_dependent(key, cpu=written_out, default=library)


@partial(jax.jit, static_argnames=("shape", "dtype"))
def threefry_bits(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """The words, of the place of each element in row-major order."""
    axes = range(len(shape))
    coordinates = [lax.broadcasted_iota(np.uint32, shape, axis) for axis in axes]
    return jnp.broadcast_to(_words(key, _index(coordinates, shape), dtype), shape)


def bits_from(start: Any, key: jax.Array, size: int, dtype: np.dtype) -> jax.Array:
    """As many words of the same, from a place below 2^32 on."""
    places = start + lax.iota(np.uint32, size)
    return _words(key, (np.uint32(0), places), dtype)


def _words(key: jax.Array, places: Words, dtype: np.dtype) -> jax.Array:
    words = jax.random.key_data(key)
    first, second = threefry((words[0], words[1]), places)
    if dtype == np.uint64:
        return (first.astype(dtype) << np.uint64(32)) | second.astype(dtype)
    return first ^ second


def _index(coordinates: list[Any], shape: Shape) -> Words:
    """The position of each element in row-major order, as a high and a low word."""
    low = np.uint32(0)
    if math.prod(shape) <= 2**32:
        for coordinate, size in zip(coordinates, shape, strict=True):
            low = low * np.uint32(size) + coordinate
        return np.uint32(0), low
    high = np.uint32(0)
    for coordinate, size in zip(coordinates, shape, strict=True):
        carry, product = _multiply(low, np.uint32(size))
        low = product + coordinate
        high = high * np.uint32(size) + carry + (low < product).astype(np.uint32)
    return high, low


def _multiply(a: Any, b: Any) -> Words:
    """The 64-bit product of two 32-bit words, in halves of 16 bits: (high, low)."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    low = (a & mask) * (b & mask)
    middle = (a >> half) * (b & mask) + (low >> half)
    cross = (a & mask) * (b >> half) + (middle & mask)
    return (a >> half) * (b >> half) + (middle >> half) + (cross >> half), a * b


def threefry(key: Words, block: Words, rounds: Any = None) -> Words:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011), of arrays of JAX or NumPy."""
    rounds = rounds or _jitted_rounds
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(_PARITY))
    x, y = (word + add for word, add in zip(block, schedule[:2], strict=True))
    for group in range(5):
        first, second = schedule[(group + 1) % 3], schedule[(group + 2) % 3]
        rotations = [*map(np.uint32, _ROTATIONS[group % 2])]
        x, y = rounds(x, y, rotations, (first, second + np.uint32(group + 1)))
    return x, y


def four_rounds(x: Any, y: Any, rotations: Any, add: Words) -> Words:
    for rotation in rotations:
        x = x + y
        y = (y << rotation | y >> (np.uint32(32) - rotation)) ^ x
    return x + add[0], y + add[1]


_jitted_rounds = jax.jit(four_rounds)  # traced and lowered once, and called five times
