"""Draws: from uniform numbers to rounded arrays of one distribution each.

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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit._bits import Shape, real_dtype, tails, units, wide_dtype
from jinit._checks import Number, is_traced


def round_to(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Rounds to `dtype`; what is too large for it becomes its largest finite number."""
    if jnp.issubdtype(dtype, np.floating):
        info = jnp.finfo(dtype)
        if info.bits < jnp.finfo(x.dtype).bits:
            # Selected, for a minimum of what is below the normal numbers would be zero.
            largest = np.array(info.max, x.dtype)
            x = jnp.where(x > largest, largest, jnp.where(x < -largest, -largest, x))
    return x.astype(dtype)


def finite(x: jax.Array) -> jax.Array:
    """Keeps what overflows at the largest finite number."""
    largest = np.array(jnp.finfo(x.dtype).max, x.dtype)
    return jnp.clip(x, -largest, largest)


def cast(value: Any, dtype: np.dtype) -> jax.Array:
    """Rounds an option, such as the value of a constant, to the dtype asked for."""
    return round_to(jnp.asarray(value, wide_dtype(dtype)), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, low: Number, high: Number
) -> jax.Array:
    """Draws from the uniform distribution on [low, high]."""
    low, high = _scalars(dtype, low, high)
    if jnp.issubdtype(dtype, np.complexfloating):
        # E|w - middle|² = (high - low)² / 12, as of the real distribution.
        middle, radius = (low + high) / 2, (high - low) / 2
        parts = [_between(-radius, radius, u) for u in units(key, shape, dtype)]
        return _complex(parts, dtype) + middle.astype(dtype)
    (u,) = units(key, shape, dtype)
    return round_to(_between(low, high, u), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def normal(
    key: jax.Array, shape: Shape, dtype: np.dtype, mean: Number, std: Number
) -> jax.Array:
    """Draws from the normal distribution."""
    mean, std = _scalars(dtype, mean, std)
    if jnp.issubdtype(dtype, np.complexfloating):
        z = _complex([_normal(u) for u in units(key, shape, dtype)], dtype)
        return mean.astype(dtype) + std.astype(dtype) * z
    (u,) = units(key, shape, dtype)
    return round_to(mean + _normal(u, std), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def symmetric_uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, bound: Number
) -> jax.Array:
    """Draws likewise on [-bound, bound], rounding as `jax.nn.initializers` does."""
    (bound,) = _scalars(dtype, bound)
    parts = [_between(-1, 1, u) for u in units(key, shape, dtype)]
    if jnp.issubdtype(dtype, np.complexfloating):
        return _complex(parts, dtype) * bound.astype(dtype)
    return round_to(parts[0] * bound, dtype)


@partial(jax.jit, static_argnums=(1, 2))
def disc_uniform(key: Any, shape: Shape, dtype: np.dtype, std: Number) -> jax.Array:
    """Draws complex numbers, uniform on the disc of radius sqrt(2) · std."""
    (std,) = _scalars(dtype, std)
    u, turn = units(key, shape, dtype)
    return _polar(jnp.sqrt(2 * u), turn) * std.astype(dtype)


@partial(jax.jit, static_argnums=(1, 2))
def disc_normal(
    key: jax.Array, shape: Shape, dtype: np.dtype, std: Number, radius: float
) -> jax.Array:
    """Draws complex normal numbers conditioned on `|w| <= radius · std`.

    `std` is that before truncation: `P(|w| > r · std) = exp(-r²)`.
    """
    std, edge = _scalars(dtype, std, radius)
    u, turn = units(key, shape, dtype)
    modulus = jnp.sqrt(-jnp.log1p(u * jnp.expm1(-edge * edge)))
    return _polar(modulus, turn) * std.astype(dtype)


@partial(jax.jit, static_argnums=(1, 2, 3))
def linked(
    key: jax.Array,
    shape: Shape,
    dtype: np.dtype,
    link: Callable[..., jax.Array],
    low: Number,
    high: Number,
) -> jax.Array:
    """Draws `link(jnp, u)` of u uniform between the bounds, and never on one of them.

    There the link may be infinite, as a logarithm is at zero.
    """
    low, high = _scalars(dtype, low, high)
    (u,) = units(key, shape, dtype)
    half = np.array(jnp.finfo(u.dtype).eps / 2, u.dtype)  # of a cell of the grid
    u = jnp.minimum(_between(low, high, u + half), jnp.nextafter(high, low))
    return round_to(link(jnp, u), dtype)


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
    args = (key, mean, std, (low, high), bounds)
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
    bounds: tuple[Number, Number] | None,
    *,
    shape: Shape,
    dtype: np.dtype,
    standard: Callable[..., jax.Array],
) -> jax.Array:
    """Draws from the standard normal in one of two ways, scales and adds the mean."""
    mean, std, low, high = _scalars(dtype, mean, std, *limits)
    # Farther out all bounds are alike, and squares still finite.
    low, high = (jnp.clip(bound, -1e18, 1e18) for bound in (low, high))
    # Of a constant XLA computes erf with another last bit: what depends on the key is
    # none, though it be a float times zero.
    zero = 0 * jax.random.key_data(key).ravel()[0].astype(low.dtype)
    ends = lax.optimization_barrier([_erf_end(bound + zero) for bound in (low, high)])
    inner, outer = lax.stop_gradient((low, high))
    inside = jnp.nextafter(inner, outer), jnp.nextafter(outer, inner)
    parts = [
        jnp.clip(standard(u, low, high, ends), *inside)
        for u in units(key, shape, dtype)
    ]
    if jnp.issubdtype(dtype, np.complexfloating):
        return mean.astype(dtype) + std.astype(dtype) * _complex(parts, dtype)
    w = mean + std * parts[0]
    if bounds is not None:
        w = jnp.clip(w, *_scalars(dtype, *bounds))
    return round_to(w, dtype)


@partial(jax.jit, static_argnums=(1, 2))
def weibull(
    key: jax.Array, shape: Shape, dtype: np.dtype, concentration: Number, scale: Number
) -> jax.Array:
    """Draws scale · E^(1 / concentration), of a standard exponential E."""
    concentration, scale = _scalars(dtype, concentration, scale)
    log_e = jnp.log(_exponential(key, shape, dtype))
    return round_to(_positive(scale * jnp.exp(log_e / concentration)), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def gamma(
    key: jax.Array, shape: Shape, dtype: np.dtype, concentration: Number, scale: Number
) -> jax.Array:
    """Draws from the gamma distribution."""
    concentration, scale = _scalars(dtype, concentration, scale)
    log_w = _log_gamma(key, shape, dtype, concentration)
    return round_to(_positive(scale * jnp.exp(log_w)), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def beta(
    key: jax.Array, shape: Shape, dtype: np.dtype, a: Number, b: Number
) -> jax.Array:
    """Draws x / (x + y), of gamma variables x and y."""
    both = jnp.stack(_scalars(dtype, a, b)).reshape(2, *[1] * len(shape))
    x, y = _log_gamma(key, (2, *shape), dtype, both)
    below_one = np.nextafter(np.array(1, x.dtype), np.array(0, x.dtype))
    return round_to(jnp.minimum(_positive(jax.nn.sigmoid(x - y)), below_one), dtype)


@partial(jax.jit, static_argnums=(1, 2))
def student_t(
    key: jax.Array, shape: Shape, dtype: np.dtype, df: Number, scale: Number
) -> jax.Array:
    """Draws scale · z / sqrt(g / (df / 2)), of a normal z and a gamma variable g."""
    df, scale = _scalars(dtype, df, scale)
    first, second = jax.random.split(key)
    (u,) = units(first, shape, dtype)
    log_g = _log_gamma(second, shape, dtype, df / 2)
    w = _normal(u, scale) * jnp.exp((jnp.log(df / 2) - log_g) / 2)
    return round_to(finite(w), dtype)


def affine(w: jax.Array, dtype: np.dtype, scale: Number, shift: Number) -> jax.Array:
    """Scales what was drawn, shifts it and rounds once."""
    # The rounding by itself: fused with it, the sum may have another last bit.
    return round_to(_affine(w, scale, shift), dtype)


@jax.jit
def _affine(w: jax.Array, scale: Number, shift: Number) -> jax.Array:
    scale, shift = (x.astype(w.dtype) for x in _scalars(w.dtype, scale, shift))
    return scale * w + shift


@partial(jax.jit, static_argnums=1)
def clipped(w: jax.Array, dtype: np.dtype, low: Number, high: Number) -> jax.Array:
    """Moves what was drawn beyond two bounds to them, and rounds once."""
    return round_to(jnp.clip(w, *_scalars(w.dtype, low, high)), dtype)


def interpolated(x: jax.Array, nodes: np.ndarray, values: np.ndarray) -> jax.Array:
    """Interpolates a function between nodes in equal steps."""
    table, last = values.astype(x.dtype), len(nodes) - 2
    place = (x - float(nodes[0])) * (last + 1) / float(nodes[-1] - nodes[0])
    left = jnp.clip(jnp.floor(place), 0, last)
    share = jnp.clip(place - left, 0, 1)
    i = left.astype(np.int32)
    steps = np.diff(table)
    return jnp.asarray(table)[i] + share * jnp.asarray(steps)[i]


def _exponential(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """Inverts the distribution function, from the nearer end."""
    p, upper = tails(key, shape, dtype)
    return jnp.where(upper, -jnp.log(p), -jnp.log1p(-p))


def _log_gamma(key: Any, shape: Shape, dtype: np.dtype, a: jax.Array) -> jax.Array:
    """Draws the logarithm of a gamma variable, which for small a has no float.

    Marsaglia and Tsang (2000), "A simple method for generating gamma variables": the
    cube of a normal variable, of which one in twenty or fewer is rejected; each weight
    has the first of its proposals that is not. Of a below 1 it is G(a + 1) · U^(1 / a).
    `jax.random.loggamma` does so one weight at a time on a CPU.
    """
    key, boost = jax.random.split(key)
    d = jnp.where(a < 1, a + 1, a) - 1 / 3
    c = 1 / jnp.sqrt(9 * d)

    def propose(state: Any) -> Any:
        n, is_drawn, log_v = state
        ((u, v),) = units(jax.random.fold_in(key, n), (2, *shape), dtype)
        z, log_u = _normal(u), jnp.log1p(-v)
        root = c * z
        proposal = 3 * jnp.log1p(jnp.maximum(root, -1))
        accepted = log_u < z * z / 2 - d * jnp.expm1(proposal) + d * proposal
        fits = (root > -1) & accepted & ~is_drawn
        return n + 1, is_drawn | fits, jnp.where(fits, proposal, log_v)

    zeros = jnp.zeros(shape, d.dtype)
    start = jnp.uint32(0), jnp.zeros(shape, bool), zeros
    _, _, log_v = lax.while_loop(lambda state: ~state[1].all(), propose, start)
    lowered = jnp.where(a < 1, _exponential(boost, shape, dtype) / a, zeros)
    return jnp.log(d) + log_v - lowered


def _positive(x: jax.Array) -> jax.Array:
    """Keeps a positive number from rounding to zero or to infinity."""
    info = jnp.finfo(x.dtype)
    return jnp.clip(x, np.array(info.tiny, x.dtype), np.array(info.max, x.dtype))


def _between(low: Any, high: Any, u: jax.Array) -> jax.Array:
    return u * (high - low) + low


def _normal(u: jax.Array, std: Any = 1) -> jax.Array:
    """Inverts the error function, as `jax.random.normal` does."""
    root = np.array(math.sqrt(2), u.dtype)
    u = _between(_above_minus_one(u.dtype), np.array(1, u.dtype), u)
    return (root * std) * lax.erf_inv(u)


def _erf_end(bound: jax.Array) -> jax.Array:
    """The error function of a bound in standard deviations, kept within ±1.

    Wide bounds round to erf = ±1, whose inverse is infinite: hence the ends are kept
    within the numbers next to ±1, as those of `_normal` are.
    """
    outermost = -_above_minus_one(bound.dtype)
    erf = lax.erf(bound / np.array(math.sqrt(2), bound.dtype))
    return jnp.clip(erf, -outermost, outermost)


def _central_normal(u: jax.Array, low: Any, high: Any, ends: list[Any]) -> jax.Array:
    """Inverts the error function, as `jax.random.truncated_normal` does."""
    start, end = ends
    return lax.erf_inv(_between(start, end, u)) * np.array(math.sqrt(2), u.dtype)


def _tail_normal(u: jax.Array, low: Any, high: Any, ends: list[Any]) -> jax.Array:
    """Inverts the logarithm of the survival function S, in the distance from the bound.

    With `log S(near + d) / S(near)` drawn, Newton's method finds d. It starts from the
    distance in a Rayleigh distribution's tail, which is too large; log S is concave, so
    that each step comes down and none passes the root. Far out the start is the root to
    the last digit.
    """
    near = jnp.minimum(abs(low), abs(high))
    log_ratio = partial(_log_survival_ratio, near)
    mass = -jnp.expm1(log_ratio(high - low))
    depth = jnp.log1p(-u * mass)
    rayleigh = -depth / near
    start = 2 * rayleigh / (1 + jnp.sqrt(1 + 2 * rayleigh / near))

    def newton(_: int, d: jax.Array) -> jax.Array:
        return d + (log_ratio(d) - depth) * jnp.exp(_log_mills(near + d))

    root = lax.fori_loop(0, 4, newton, start)
    distance = jnp.where(near < 1 / jnp.sqrt(jnp.finfo(u.dtype).eps), root, start)
    return jnp.where(low > 0, low + distance, high - distance)


def _log_survival_ratio(near: jax.Array, d: jax.Array) -> jax.Array:
    """Logarithm of S(near + d) / S(near), not as a difference of large numbers."""
    return _log_mills(near + d) - _log_mills(near) - d * (near + d / 2)


def _log_mills(z: jax.Array) -> jax.Array:
    """Logarithm of Mills' ratio, (1 - Φ(z)) / φ(z), for positive z.

    Far out by the logarithm of its asymptotic series, 1/z - 1/z³ + 3/z⁵ - ..., whose
    first term left out is below rounding there.
    """
    from jax.scipy.special import log_ndtr  # slow to import

    far = np.array(10 if z.dtype == np.float32 else 60, z.dtype)
    x = jnp.minimum(z, far)
    direct = log_ndtr(-x) + x * x / 2 + np.array(math.log(2 * math.pi) / 2, z.dtype)
    y = 1 / jnp.maximum(z, far) ** 2
    series = -jnp.log(z) - y * (1 - y * (5 / 2 - y * (37 / 3 - y * (353 / 4))))
    return jnp.where(z < far, direct, series)


def _complex(parts: list[jax.Array], dtype: np.dtype) -> jax.Array:
    return lax.complex(*parts) / np.array(math.sqrt(2), dtype)


def _polar(modulus: jax.Array, turn: jax.Array) -> jax.Array:
    """Complex numbers from their moduli and their phases in turns."""
    phase = 2 * np.pi * turn
    return lax.complex(modulus * jnp.cos(phase), modulus * jnp.sin(phase))


def _above_minus_one(dtype: np.dtype) -> Any:
    return np.nextafter(np.array(-1, dtype), np.array(0, dtype))


def _scalars(dtype: np.dtype, *options: Number) -> list[jax.Array]:
    """Options in the dtype of the draw, opaque to the compiler.

    Were they constants, as they are where the caller is compiled, XLA would fold them
    into others and the result would differ in the last bit from an eager call's.
    """
    cast = [jnp.asarray(option, real_dtype(dtype)) for option in options]
    return list(lax.optimization_barrier(tuple(cast)))
