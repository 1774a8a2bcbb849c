"""From a key and a shape to random numbers: the only module that draws.

Everything is drawn in float32 (float64 where that is asked for), scaled, and rounded
once to the dtype wanted, in one compiled program for each shape and dtype. The scale is
an argument of that program, not a constant in it: `normal` of one shape compiles once
whatever its standard deviation, and gives the same bits within `jax.jit` and without.

A complex draw is `mean + (x + iy) / sqrt(2)`, where x and y are independent real draws
about zero: `E|w - mean|²` is the variance of the real distribution.

Float32, float64 and complex draws have the bits of `jax.random` and, scaled, those of
`jax.nn.initializers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import log_ndtr

from jinit._arguments import Shape
from jinit._options import Number, is_traced

Words = tuple[Any, Any]

# Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": the rotations of
# Threefry-2x32, and the parity word of its key schedule, which is Skein's.
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that draws are computed in: float32, or float64 for 64-bit parts."""
    wide = dtype in (np.float64, np.complex128)
    return np.dtype(np.float64 if wide else np.float32)


def round_to(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Rounds to `dtype`; what is too large for it becomes its largest finite number."""
    if jnp.issubdtype(dtype, np.floating):
        info = jnp.finfo(dtype)
        # Of the narrow dtypes bfloat16 alone has float32's range.
        if info.maxexp < jnp.finfo(jnp.bfloat16).maxexp:
            x = jnp.clip(x, float(info.min), float(info.max))
    return x.astype(dtype)


def cast(value: Any, dtype: np.dtype) -> jax.Array:
    """Rounds an option, such as the value of a constant, to the dtype asked for."""
    rounds = jnp.issubdtype(dtype, np.floating)
    return round_to(jnp.asarray(value, real_dtype(dtype) if rounds else dtype), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, low: Number, high: Number
) -> jax.Array:
    """Draws from the uniform distribution on [low, high]."""
    low, high = _scalars(dtype, low, high)
    if jnp.issubdtype(dtype, np.complexfloating):
        # E|w - middle|² = (high - low)² / 12, as of the real distribution.
        middle, radius = (low + high) / 2, (high - low) / 2
        draw = partial(_interval, low=-radius, high=radius)
        return round_to(_complex(draw, key, shape, dtype) + middle.astype(dtype), dtype)
    return round_to(_interval(key, shape, real_dtype(dtype), low, high), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def normal(
    key: jax.Array, shape: Shape, dtype: np.dtype, mean: Number, std: Number
) -> jax.Array:
    """Draws from the normal distribution."""
    mean, std = _scalars(dtype, mean, std)
    if jnp.issubdtype(dtype, np.complexfloating):
        z = _complex(partial(_normal, std=1), key, shape, dtype)
        return mean.astype(dtype) + std.astype(dtype) * z
    return round_to(mean + _normal(key, shape, real_dtype(dtype), std), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def symmetric_uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, bound: Number
) -> jax.Array:
    """Draws from the uniform distribution on [-bound, bound].

    As `uniform` does, in another order of rounding: that of `jax.nn.initializers`.
    """
    (bound,) = _scalars(dtype, bound)
    draw = partial(_interval, low=-1, high=1)
    if jnp.issubdtype(dtype, np.complexfloating):
        return _complex(draw, key, shape, dtype) * bound.astype(dtype)
    return round_to(draw(key, shape, real_dtype(dtype)) * bound, dtype)


@partial(jax.jit, static_argnums=(1, 2))
def disc_uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, std: Number
) -> jax.Array:
    """Draws complex numbers, uniform on the disc of radius sqrt(2) · std."""
    (std,) = _scalars(dtype, std)

    def modulus(u: jax.Array) -> jax.Array:
        return jnp.sqrt(2 * u)

    return _polar(key, shape, dtype, modulus) * std.astype(dtype)


@partial(jax.jit, static_argnums=(1, 2))
def disc_normal(
    key: jax.Array, shape: Shape, dtype: np.dtype, std: Number, radius: float
) -> jax.Array:
    """Draws complex normal numbers conditioned on `|w| <= radius · std`.

    `std` is that before truncation: `P(|w| > r · std) = exp(-r²)`.
    """
    std, edge = _scalars(dtype, std, radius)

    def modulus(u: jax.Array) -> jax.Array:
        return jnp.sqrt(-jnp.log1p(u * jnp.expm1(-edge * edge)))

    return _polar(key, shape, dtype, modulus) * std.astype(dtype)


def truncated_normal(
    key: jax.Array,
    shape: Shape,
    dtype: np.dtype,
    mean: Number,
    std: Number,
    low: Number,
    high: Number,
    bounds: tuple[Number, Number] | None = None,
) -> jax.Array:
    """Draws from the normal distribution between two bounds.

    They lie `low` and `high` standard deviations from the mean. Their absolute values,
    if given as `bounds`, are kept to where scaling would round beyond them.
    """
    ends = [_erf_end(bound, real_dtype(dtype)) for bound in (low, high)]
    args = (key, mean, std, (low, high), ends, bounds)
    central, tail = (
        partial(_truncated, shape=shape, dtype=dtype, standard=standard)
        for standard in (_central_normal, _tail_normal)
    )
    if is_traced(low) or is_traced(high):
        return lax.cond(jnp.maximum(low, -high) > _TAIL, tail, central, *args)
    return (tail if max(low, -high) > _TAIL else central)(*args)


# Bounds more than this many standard deviations to one side of the mean are a tail.
_TAIL = 2


@partial(jax.jit, static_argnames=("shape", "dtype", "standard"))
def _truncated(
    key: jax.Array,
    mean: Number,
    std: Number,
    limits: tuple[Number, Number],
    ends: list[Any],
    bounds: tuple[Number, Number] | None,
    *,
    shape: Shape,
    dtype: np.dtype,
    standard: Callable[..., jax.Array],
) -> jax.Array:
    """Draws from the standard normal in one of two ways, scales and adds the mean."""
    mean, std, low, high, *ends = _scalars(dtype, mean, std, *limits, *ends)
    # Farther out all bounds are alike, and squares still finite.
    low, high = (jnp.clip(bound, -1e18, 1e18) for bound in (low, high))

    def draw(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
        z = standard(key, shape, dtype, low, high, ends)
        limits = lax.stop_gradient((low, high))
        return jnp.clip(z, jnp.nextafter(*limits), jnp.nextafter(*limits[::-1]))

    if jnp.issubdtype(dtype, np.complexfloating):
        z = _complex(draw, key, shape, dtype)
        return mean.astype(dtype) + std.astype(dtype) * z
    w = mean + std * draw(key, shape, real_dtype(dtype))
    if bounds is not None:
        w = jnp.clip(w, *_scalars(dtype, *bounds))
    return round_to(w, dtype)


def bits(key: jax.Array, shape: Shape, dtype: Any = np.uint32) -> jax.Array:
    """Draws uniform 32- or 64-bit words, the same as `jax.random.bits`.

    On the CPU JAX computes threefry in a loop that XLA does not fuse with what uses the
    bits. Written out it fuses, and bits, floats, scale and rounding are one pass over
    the memory. On other backends, and for other generators, JAX's own way is taken.
    """

    def library(key: jax.Array) -> jax.Array:
        return jax.random.bits(key, shape, dtype)

    ours = (
        jax.random.key_impl(key) == "threefry2x32"
        and getattr(jax.config, "jax_threefry_partitionable")  # noqa: B009 (untyped)
        and max(shape, default=0) < 2**32
    )
    if not ours:
        return library(key)

    def written_out(key: jax.Array) -> jax.Array:
        coordinates = [
            lax.broadcasted_iota(np.uint32, shape, axis) for axis in range(len(shape))
        ]
        first, second = _threefry(_words(key), _index(coordinates, shape))
        if np.dtype(dtype) == np.uint64:
            return (first.astype(dtype) << np.uint64(32)) | second.astype(dtype)
        return jnp.broadcast_to(first ^ second, shape)

    return lax.platform_dependent(key, cpu=written_out, default=library)


def _words(key: jax.Array) -> Words:
    data = jax.random.key_data(key)
    return data[0], data[1]


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


def _threefry(key: Words, block: Words) -> Words:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011)."""
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(_PARITY))
    x, y = (lax.add(word, add) for word, add in zip(block, schedule[:2], strict=True))
    for group in range(5):
        first, second = schedule[(group + 1) % 3], schedule[(group + 2) % 3]
        rotations = [*map(np.uint32, _ROTATIONS[group % 2])]
        x, y = _four_rounds(x, y, rotations, (first, second + np.uint32(group + 1)))
    return x, y


@jax.jit  # traced and lowered once, and called five times
def _four_rounds(x: Any, y: Any, rotations: Any, add: Words) -> Words:
    for rotation in rotations:
        x = lax.add(x, y)
        left = lax.shift_left(y, rotation)
        right = lax.shift_right_logical(y, lax.sub(np.uint32(32), rotation))
        y = lax.bitwise_xor(lax.bitwise_or(left, right), x)
    return lax.add(x, add[0]), lax.add(y, add[1])


def _unit(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """Draws from the grid of multiples of 2^-23 (float64: 2^-52) in [0, 1)."""
    info = jnp.finfo(dtype)
    words = bits(key, shape, np.dtype(f"uint{info.bits}"))
    signed = np.dtype(f"int{info.bits}")  # converts faster, and the sign bit is free
    grid = lax.bitcast_convert_type(words >> (info.bits - info.nmant), signed)
    return grid.astype(dtype) * np.array(2.0**-info.nmant, dtype)


def _interval(key: Any, shape: Shape, dtype: np.dtype, low: Any, high: Any) -> Any:
    return _unit(key, shape, dtype) * (high - low) + low


def _normal(key: Any, shape: Shape, dtype: np.dtype, std: Any) -> jax.Array:
    """Inverts the error function, as `jax.random.normal` does."""
    u = _interval(key, shape, dtype, _above_minus_one(dtype), np.array(1, dtype))
    return (np.array(math.sqrt(2), dtype) * std) * lax.erf_inv(u)


def _erf_end(bound: Number, dtype: np.dtype) -> Any:
    """The error function of a bound in standard deviations, kept within ±1.

    Wide bounds round to erf = ±1, whose inverse is infinite: hence the ends are kept
    within the numbers next to ±1, as those of `_normal` are. Of a known bound it is
    computed ahead: of a constant XLA would compute it with another last bit.
    """
    return (_erf if is_traced(bound) else _known_erf)(bound, dtype)


@partial(jax.jit, static_argnums=1)
def _erf(bound: Number, dtype: np.dtype) -> jax.Array:
    outermost = -_above_minus_one(dtype)
    erf = lax.erf(jnp.asarray(bound, dtype) / np.array(math.sqrt(2), dtype))
    return jnp.clip(erf, -outermost, outermost)


@lru_cache
def _known_erf(bound: float, dtype: np.dtype) -> np.ndarray:
    with jax.ensure_compile_time_eval():
        return np.asarray(_erf(bound, dtype))[()]


def _central_normal(
    key: Any, shape: Shape, dtype: np.dtype, low: Any, high: Any, ends: list[Any]
) -> jax.Array:
    """Inverts the error function, as `jax.random.truncated_normal` does."""
    u = _interval(key, shape, dtype, *ends)
    return lax.erf_inv(u) * np.array(math.sqrt(2), dtype)


def _tail_normal(
    key: Any, shape: Shape, dtype: np.dtype, low: Any, high: Any, ends: list[Any]
) -> jax.Array:
    """Inverts the logarithm of the survival function S, in the distance from the bound.

    With `log S(near + d) / S(near)` drawn, Newton's method finds d. It starts from the
    distance in a Rayleigh distribution's tail, which is too large; log S is concave, so
    that each step comes down and none passes the root. Far out the start is the root to
    the last digit.
    """
    near = jnp.minimum(abs(low), abs(high))
    log_ratio = partial(_log_survival_ratio, near)
    mass = -jnp.expm1(log_ratio(high - low))
    depth = jnp.log1p(-_unit(key, shape, dtype) * mass)
    rayleigh = -depth / near
    start = 2 * rayleigh / (1 + jnp.sqrt(1 + 2 * rayleigh / near))

    def newton(_: int, d: jax.Array) -> jax.Array:
        return d + (log_ratio(d) - depth) * jnp.exp(_log_mills(near + d))

    root = lax.fori_loop(0, 4, newton, start)
    distance = jnp.where(near < 1 / jnp.sqrt(jnp.finfo(dtype).eps), root, start)
    return jnp.where(low > 0, low + distance, high - distance)


def _log_survival_ratio(near: jax.Array, d: jax.Array) -> jax.Array:
    """Logarithm of S(near + d) / S(near), not as a difference of large numbers."""
    return _log_mills(near + d) - _log_mills(near) - d * (near + d / 2)


def _log_mills(z: jax.Array) -> jax.Array:
    """Logarithm of Mills' ratio, (1 - Φ(z)) / φ(z), for positive z.

    Far out by the logarithm of its asymptotic series, 1/z - 1/z³ + 3/z⁵ - ..., whose
    first term left out is below rounding there.
    """
    far = np.array(10 if z.dtype == np.float32 else 60, z.dtype)
    x = jnp.minimum(z, far)
    direct = log_ndtr(-x) + x * x / 2 + np.array(math.log(2 * math.pi) / 2, z.dtype)
    y = 1 / jnp.maximum(z, far) ** 2
    series = -jnp.log(z) - y * (1 - y * (5 / 2 - y * (37 / 3 - y * (353 / 4))))
    return jnp.where(z < far, direct, series)


def _complex(draw: Callable, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
    real_key, imaginary_key = jax.random.split(key)
    real = draw(real_key, shape, real_dtype(dtype))
    imaginary = draw(imaginary_key, shape, real_dtype(dtype))
    return lax.complex(real, imaginary) / np.array(math.sqrt(2), dtype)


def _polar(key: Any, shape: Shape, dtype: np.dtype, modulus: Callable) -> jax.Array:
    """Complex numbers of any phase, the modulus a function of a uniform draw."""
    modulus_key, phase_key = jax.random.split(key)
    r = modulus(_unit(modulus_key, shape, real_dtype(dtype)))
    phase = 2 * np.pi * _unit(phase_key, shape, real_dtype(dtype))
    return lax.complex(r * jnp.cos(phase), r * jnp.sin(phase))


def _above_minus_one(dtype: np.dtype) -> Any:
    return np.nextafter(np.array(-1, dtype), np.array(0, dtype))


def _scalars(dtype: np.dtype, *options: Number) -> list[jax.Array]:
    """Options in the dtype of the draw, opaque to the compiler.

    Were they constants, as they are where the caller is compiled, XLA would fold them
    into others and the result would differ in the last bit from an eager call's.
    """
    cast = [jnp.asarray(option, real_dtype(dtype)) for option in options]
    return list(lax.optimization_barrier(tuple(cast)))
