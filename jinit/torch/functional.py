"""What torch's CPU generator draws, as functions of its state.

They can be jitted, mapped and scanned; shapes, dtypes and options are static.
`jinit.torch.manual_seed` returns a stream that keeps the state.

Args:
  state: The `State` of the generator: of `seed`, or of the draw before.
  shape: In torch's layout, (out, in, *spatial).
  dtype: Of the array: float32, float64 (with `jax_enable_x64`), bfloat16 or float16.

Returns:
  The array and the state after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps
from inspect import getfullargspec
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _checks
from jinit._checks import check_dtype, check_range, check_shape
from jinit.torch import _mt19937, _sizes
from jinit.torch._mt19937 import State, advanced, blocks_after, check_state, words_at

if TYPE_CHECKING:
    from chex import ArrayDType, Shape

    DType = ArrayDType | None

Drawn = tuple[jax.Array, State]
"""What was drawn, and the state after it."""

_DTYPES = ("float32", "float64", "bfloat16", "float16")


def seed(number: int) -> State:
    """Returns the state of torch's generator after `torch.manual_seed(number)`.

    Args:
      number: From -2^63 to 2^64 - 1. Of its bits torch uses the low 32.

    Returns:
      A state, to give to the functions here.

    Raises:
      ValueError: `number` is out of that range.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.uniform(functional.seed(42), (3,))
      >>> print(w)  # torch.manual_seed(42); torch.rand(3)
      [0.88226926 0.91500396 0.38286376]
    """
    if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
        raise TypeError(f"seed must be an integer, got {number!r}.")
    if not -(2**63) <= number < 2**64:
        raise ValueError(
            f"seed must be from -2^63 to 2^64 - 1, as torch's, got {number!r}."
        )
    return _mt19937.seeded(int(number))


def uniform(
    state: State, shape: Shape, a: float = 0.0, b: float = 1.0, dtype: DType = None
) -> Drawn:
    """Draws what `torch.Tensor.uniform_` draws, bit for bit.

        w = a + (b - a) · k / 2^24,    of the low 24 bits k of a word

    In double precision, rounded to float32 and then to the dtype; what rounds to the
    upper bound b becomes a. In float64 of 53 bits out of two words.

    Raises:
      ValueError: b < a, or a span that is not finite in the dtype.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.uniform(functional.seed(0), (2, 3), -1.0, 1.0)
      >>> w.shape, int(state.used)
      ((2, 3), 6)
    """
    shape, dtype = check_shape(shape), _check_real(dtype)
    a, b = _number("a", a), _number("b", b)
    real, largest = _real(dtype), float(jnp.finfo(dtype).max)
    if not a <= b or max(abs(a), abs(b), b - a) > largest:
        raise ValueError(
            f"b must be at least a, and both and b - a finite in {dtype.name}, got "
            f"a={a!r} and b={b!r}."
        )
    count = math.prod(shape) * _words(dtype)
    blocks = blocks_after(state, count)
    w = _uniform(blocks, state.used, real(a), real(b), shape=shape, dtype=dtype)
    return w, advanced(state, blocks, count)


def normal(
    state: State, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DType = None
) -> Drawn:
    """Draws what `torch.Tensor.normal_` draws, to a few units in the last place.

        w = mean + std · z,    z ~ N(0, 1)

    By Box and Muller's method: from 16 elements on in blocks of 16, of which the last
    is drawn anew where it is not whole; fewer in double precision, where a number that
    is left over is kept for the next time.

    Raises:
      ValueError: std < 0, or an option that is not finite in the dtype.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.normal(functional.seed(0), (64, 64), std=0.02)
      >>> print(f"{w.std():.3f}")
      0.020
    """
    shape, dtype = check_shape(shape), _check_real(dtype)
    mean, std = _number("mean", mean), _number("std", std, at_least=0)
    for name, value in (("mean", mean), ("std", std)):
        check_range(name, value, dtype)
    size, real = math.prod(shape), _real(dtype)
    if size < 16:
        blocks = blocks_after(state, 4 * -(-size // 2))
        options = np.float64(mean), np.float64(std)
        return _few_normals(state, blocks, *options, shape=shape, dtype=dtype)
    count = _tail_start(size, dtype) + (16 * _words(dtype) if size % 16 else 0)
    blocks = blocks_after(state, count)
    w = _normal(blocks, state.used, real(mean), real(std), shape=shape, dtype=dtype)
    return w, advanced(state, blocks, count)


def trunc_normal(
    state: State,
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    dtype: DType = None,
    method: str = "rejection",
) -> Drawn:
    """Draws what `torch.nn.init.trunc_normal_` draws.

    Since torch 2.13 it does so by "rejection". Before, and in timm, which has a copy,
    by the "inverse" of the error function: erfinv(U[2 Φ(a) - 1, 2 Φ(b) - 1]), to the
    last bits.

    Where more than 0.3 of N(mean, std²) lies within the absolute bounds a and b, whole
    tensors are drawn from it until none of the elements is outside. Else uniform
    proposals are accepted in proportion to the density. A number that lies as near to a
    bound as the last bit of `normal` may be accepted here and not there; what follows
    then differs.

    Raises:
      ValueError: std <= 0, or a > b, or another method.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.trunc_normal(functional.seed(0), (100, 100))
      >>> print(f"{w.std():.2f} {abs(w).max():.2f}")
      0.87 2.00
    """
    shape, dtype = check_shape(shape), _check_real(dtype)
    mean, std = _number("mean", mean), _checks.positive("std", _number("std", std))
    a, b = _number("a", a), _number("b", b)
    _checks.ordered("a", a, "b", b)
    method = _checks.choice("method", method, ("rejection", "inverse"))
    below, above = (_normal_cdf((end - mean) / std) for end in (a, b))
    if method == "inverse":
        u, state = uniform(state, shape, 2 * below - 1, 2 * above - 1, dtype)
        return _inverted(u, *map(_real(dtype), (mean, std, a, b))), state
    draw = _redrawn if above - below > 0.3 else _accepted
    return draw(check_state(state), shape, mean, std, a, b, dtype)


def orthogonal(
    state: State, shape: Shape, gain: float = 1.0, dtype: DType = None
) -> Drawn:
    """Draws what `torch.nn.init.orthogonal_` draws, up to the rounding of a QR.

    All singular values are `gain`.

    Raises:
      TypeError: A dtype of 16 bits, of which there is no QR.
      ValueError: A shape of fewer than two axes.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.orthogonal(functional.seed(0), (2, 5))
      >>> print(abs(w @ w.T).round(3))
      [[1. 0.]
       [0. 1.]]
    """
    shape, dtype = _sizes.of_matrix(shape), _check_real(dtype)
    gain = _number("gain", gain)
    if dtype not in (np.float32, np.float64):
        raise TypeError(
            f"dtype must be float32 or float64, got {dtype.name}: torch has no QR of "
            "narrower ones either; draw in float32 and round."
        )
    if 0 in shape:
        return jnp.zeros(shape, dtype), state
    rows, columns = shape[0], math.prod(shape[1:])
    z, state = normal(state, (rows, columns), dtype=dtype)
    q, r = jnp.linalg.qr(z.T if rows < columns else z)
    q = q * jnp.sign(jnp.diagonal(r))[None]
    q = (q.T if rows < columns else q).reshape(shape)
    return q * np.asarray(gain, dtype), state


def sparse(
    state: State, shape: Shape, sparsity: float, std: float = 0.01, dtype: DType = None
) -> Drawn:
    """Draws what `torch.nn.init.sparse_` draws from the default generator.

    Of each column the fraction `sparsity`, rounded up, is zero; the others are drawn
    from N(0, std²).

    Raises:
      ValueError: A shape of other than two axes, `sparsity` not in [0, 1], or std < 0.

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.sparse(functional.seed(0), (10, 3), sparsity=0.25)
      >>> print((w == 0).sum(0))
      [3 3 3]
    """
    shape = check_shape(shape)
    sparsity = _number("sparsity", sparsity, at_least=0)
    if len(shape) != 2 or sparsity > 1:
        raise ValueError(
            "shape must have two axes, and sparsity be at most 1, got "
            f"shape={shape} and sparsity={sparsity!r}."
        )
    (rows, columns), zeros = shape, math.ceil(sparsity * shape[0])
    w, state = normal(state, shape, std=std, dtype=dtype)
    if 0 in shape:
        return w, state
    count = columns * (rows - 1)
    blocks = blocks_after(state, count)
    order = _permutations(blocks, state.used, count=columns, size=rows)
    w = w.at[order[:, :zeros], np.arange(columns)[:, None]].set(0)
    return w, advanced(state, blocks, count)


def _check_real(dtype: Any) -> np.dtype:
    """The dtype of a draw, one of the four that torch's and ours have in common."""
    dtype = check_dtype(np.float32 if dtype is None else dtype)  # whatever x64 says
    if dtype.name not in _DTYPES:
        raise TypeError(f"dtype must be among {', '.join(_DTYPES)}, got {dtype.name}.")
    return dtype


def _number(name: str, value: Any, **rule: Any) -> float:
    if _checks.is_traced(value):
        raise TypeError(
            f"{name} must be known when the function is traced, got {value!r}; give a "
            "Python number."
        )
    return _checks.number(name, value, **rule)


def _real(dtype: np.dtype) -> type[np.floating]:
    """What the options are rounded to."""
    return np.float64 if dtype == np.float64 else np.float32


def _words(dtype: np.dtype) -> int:
    """How many words are drawn for one number."""
    return 2 if dtype == np.float64 else 1


def _tail_start(size: int, dtype: np.dtype) -> int:
    """How many words are drawn before those of the last 16 elements, if anew."""
    whole = size if dtype in (np.float32, np.float64) else size - size % 16
    return whole * _words(dtype)


def _normal_cdf(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


# Compiled, in double precision where torch has it.


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jits a function; what it takes by keyword alone is static."""
    jitted = jax.jit(function, static_argnames=getfullargspec(function).kwonlyargs)

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        with jax.enable_x64(True):
            return jitted(*args, **options)

    return call


def _unit(words: jax.Array, dtype: Any) -> jax.Array:
    """Numbers in [0, 1), of 24 bits in float32, and of 53 in float64."""
    if dtype == np.float64:
        high, low = words[::2].astype(np.uint64), words[1::2].astype(np.uint64)
        bits = ((high << np.uint64(32)) | low) & np.uint64(2**53 - 1)
        return bits.astype(np.float64) * np.float64(2.0**-53)
    bits = (words & np.uint32(2**24 - 1)).astype(np.int32)  # which converts faster
    return bits.astype(np.float32) * np.float32(2.0**-24)


@_compiled
def _uniform(
    blocks: jax.Array, start: Any, a: Any, b: Any, *, shape: Shape, dtype: np.dtype
) -> jax.Array:
    words = words_at(blocks, start, math.prod(shape) * _words(dtype))
    span, low = (b - a).astype(np.float64), a.astype(np.float64)
    # In float32 the product is exact. In float64 it is rounded, or not, with the sum at
    # once where the machine can: torch's compiler and ours do the same.
    x = _unit(words, dtype).astype(np.float64) * span + low
    w = x.astype(a.dtype).astype(dtype)
    return jnp.where(w >= b.astype(dtype), a.astype(dtype), w).reshape(shape)


@_compiled
def _normal(
    blocks: jax.Array, start: Any, mean: Any, std: Any, *, shape: Shape, dtype: np.dtype
) -> jax.Array:
    size, words = math.prod(shape), _words(dtype)
    z = _box_muller(words_at(blocks, start, (size - size % 16) * words), dtype)
    if size % 16:
        tail = start + np.int32(_tail_start(size, dtype))
        tail = _box_muller(words_at(blocks, tail, 16 * words), dtype)
        z = jnp.concatenate([z[: size - 16], tail])
    return (z * std + mean).astype(dtype).reshape(shape)


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


@_compiled
def _few_normals(
    state: State, blocks: jax.Array, mean: Any, std: Any, *, shape: Shape, dtype: Any
) -> Drawn:
    """Pairs in double precision; of the last, one may be left over."""
    size = math.prod(shape)
    if size == 0:
        return jnp.zeros(shape, dtype), state
    u = _unit(words_at(blocks, state.used, 4 * -(-size // 2)), np.float64)
    radius, angle = jnp.sqrt(-2 * _log_of_rest(u[1::2])), _angle(u[::2])
    pairs = jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], 1)
    bits = state.spare.astype(np.uint64)
    spare = lax.bitcast_convert_type((bits[0] << np.uint64(32)) | bits[1], np.float64)
    # With a number to spare the rest of them move on by one.
    z = jnp.concatenate([jnp.where(state.has_spare, spare, 0)[None], pairs.reshape(-1)])
    first = 1 - state.has_spare.astype(np.int32)
    w = lax.dynamic_slice(z, (first,), (size,)) * std + mean
    used = (np.int32(size) + first) // 2  # pairs
    left = lax.bitcast_convert_type(z[2 * used], np.uint64)
    state = advanced(state, blocks, 4 * used)._replace(
        spare=jnp.stack([left >> np.uint64(32), left]).astype(np.uint32),
        has_spare=(np.int32(size) + first) % 2 == 0,
    )
    return w.astype(dtype).reshape(shape), state


@_compiled
def _inverted(u: jax.Array, mean: Any, std: Any, a: Any, b: Any) -> jax.Array:
    z = lax.erf_inv(u.astype(np.float64)).astype(u.dtype)
    w = z * (std * np.asarray(math.sqrt(2), std.dtype)).astype(u.dtype) + mean.astype(
        u.dtype
    )
    return jnp.clip(w, a.astype(u.dtype), b.astype(u.dtype))


# A loop is compiled anew for each call, unless a compiled function holds it.
_once = partial(jax.jit, static_argnames=("shape", "mean", "std", "a", "b", "dtype"))


@_once
def _redrawn(
    state: State, shape: Shape, mean: Any, std: Any, a: Any, b: Any, dtype: np.dtype
) -> Drawn:
    """Whole tensors, until none of the elements is outside."""
    low, high = np.asarray(a, dtype), np.asarray(b, dtype)

    def outside(w: jax.Array) -> jax.Array:
        return (w < low) | (w > high)

    def again(drawn: Drawn) -> Drawn:
        w, state = drawn
        new, state = normal(state, shape, mean, std, dtype)
        return jnp.where(outside(w), new, w), state

    first = normal(state, shape, mean, std, dtype)
    return lax.while_loop(lambda drawn: outside(drawn[0]).any(), again, first)


@_once
def _accepted(
    state: State, shape: Shape, mean: Any, std: Any, a: Any, b: Any, dtype: np.dtype
) -> Drawn:
    """Uniform proposals, accepted in proportion to the density."""
    real, peak = _real(dtype), -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    # torch rounds what it subtracts to the dtype of the tensor, not what it divides by.
    options = real(dtype.type(mean)), real(std), real(dtype.type(peak))

    def propose(state: State) -> tuple[jax.Array, jax.Array, State]:
        w, state = uniform(state, shape, a, b, dtype)
        u, state = uniform(state, shape, dtype=dtype)
        return w, _rejected(w, u, *options), state

    def again(carry: tuple[jax.Array, jax.Array, State]) -> Any:
        w, pending, state = carry
        new, rejected, state = propose(state)
        return jnp.where(pending, new, w), pending & rejected, state

    w, _, state = lax.while_loop(lambda c: c[1].any(), again, propose(state))
    return w, state


@_compiled
def _rejected(w: jax.Array, u: jax.Array, mean: Any, std: Any, peak: Any) -> jax.Array:
    """In the dtype of the tensor, to which torch rounds after each step."""
    kind = jnp.finfo(w.dtype)

    def rounded(x: jax.Array) -> jax.Array:
        return lax.reduce_precision(x, kind.nexp, kind.nmant)

    x = rounded(rounded(w.astype(mean.dtype) - mean) / std)
    x = rounded(rounded(x * x) * np.asarray(-0.5, x.dtype))
    x = rounded(x - peak)
    return rounded(jnp.log(u.astype(mean.dtype))) > x


@_compiled
def _permutations(blocks: jax.Array, start: Any, *, count: int, size: int) -> jax.Array:
    """Several `torch.randperm(size)`, one after another: (count, size)."""
    if size == 1:  # nothing is drawn
        return jnp.zeros((count, 1), np.int32)
    words = words_at(blocks, start, count * (size - 1)).reshape(count, size - 1)
    rows = jnp.arange(count, dtype=np.int32)

    def swap(n: Any, order: jax.Array) -> jax.Array:
        n = n.astype(np.int32)
        left = (np.int32(size) - n).astype(np.uint32)
        other = n + (words[:, n] % left).astype(np.int32)
        here, there = order[:, n], order[rows, other]
        return order.at[:, n].set(there).at[rows, other].set(here)

    order = jnp.broadcast_to(jnp.arange(size, dtype=np.int32), (count, size))
    return lax.fori_loop(0, size - 1, swap, order)
