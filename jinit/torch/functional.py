"""What torch's CPU generator draws, as functions of its state.

They can be jitted, mapped and scanned; shapes, dtypes and options are static. Called
with a state that is known they compile nothing for a shape, but for `sparse` and
`randperm`: NumPy makes the words, and programs of a few sizes the numbers.
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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _checks
from jinit._checks import check_dtype, check_range, check_shape
from jinit._types import ArrayLike, DType, Shape
from jinit.torch import _mt19937, _sizes
from jinit.torch._mt19937 import State, next_words
from jinit.torch._numbers import (
    compiled,
    elementwise,
    normals,
    real_of,
    uniforms,
)

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
    number = _checks.integer("seed", number)
    if not -(2**63) <= number < 2**64:
        raise ValueError(
            f"seed must be from -2^63 to 2^64 - 1, as torch's, got {number!r}."
        )
    return _mt19937.seeded(number)


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
    largest = float(jnp.finfo(dtype).max)
    if not a <= b or max(abs(a), abs(b), b - a) > largest:
        raise ValueError(
            f"b must be at least a, and both and b - a finite in {dtype.name}, got "
            f"a={a!r} and b={b!r}."
        )
    w, state = uniforms(state, math.prod(shape), a, b, dtype)
    return jax.device_put(w.reshape(shape)), state


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
    w, state = normals(state, math.prod(shape), mean, std, dtype)
    return jax.device_put(w.reshape(shape)), state


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
    size = math.prod(shape)
    if method == "inverse":
        u, state = uniforms(state, size, 2 * below - 1, 2 * above - 1, dtype)
        w = elementwise(_inverted, dtype, [u], mean, std, a, b)
    else:
        propose = _from_normal if above - below > 0.3 else _from_uniform
        options = {"mean": mean, "std": std, "a": a, "b": b, "dtype": dtype}
        w, state = _accepted(state, partial(propose, size=size, **options))
    return jax.device_put(w.reshape(shape)), state


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
    z, state = normals(state, rows * columns, 0.0, 1.0, dtype)
    z, xp = z.reshape(rows, columns), np if isinstance(z, np.ndarray) else jnp
    q, r = xp.linalg.qr(z.T if rows < columns else z)
    q = q * xp.sign(xp.diagonal(r))[None]
    q = (q.T if rows < columns else q).reshape(shape)
    return jax.device_put(q * np.asarray(gain, dtype)), state


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
    words, state = next_words(state, columns * (rows - 1))
    order = _permutations(words, count=columns, size=rows)
    return w.at[order[:, :zeros], np.arange(columns)[:, None]].set(0), state


def randperm(state: State, n: int) -> Drawn:
    """Draws what `torch.randperm` draws: the numbers below n in another order.

    Raises:
      ValueError: n < 1, or n >= 2^32 / 20, from where on torch draws otherwise.

    Example:
      >>> from jinit.torch import functional
      >>> print(functional.randperm(functional.seed(0), 4)[0])
      [0 1 3 2]
    """
    n = _checks.count("n", n)
    if n >= (2**32 - 1) // 20:
        raise ValueError(f"n must be less than 2^32 / 20, got {n!r}.")
    words, state = next_words(state, n - 1)
    return _permutations(words, count=1, size=n)[0], state


def randint(state: State, low: int, high: int, shape: Shape) -> Drawn:
    """Draws what `torch.randint` draws: whole numbers from low on, below high.

        w = low + k mod (high - low),    of a word k; of two, if high - low >= 2^28

    Raises:
      ValueError: low >= high, or numbers that int32 does not hold.

    Example:
      >>> from jinit.torch import functional
      >>> print(functional.randint(functional.seed(0), 0, 10, (5,))[0])
      [4 9 3 0 3]
    """
    low, high = _checks.integer("low", low), _checks.integer("high", high)
    shape = check_shape(shape)
    if not -(2**31) <= low < high <= 2**31:
        raise ValueError(
            "high must be greater than low, and all from low on below high be of "
            f"int32, got low={low} and high={high}."
        )
    wide = high - low >= 2**28
    words, state = next_words(state, math.prod(shape) * (2 if wide else 1))
    draw = _integers if isinstance(words, np.ndarray) else compiled(_integers)
    w = draw(words, np.int64(low), np.uint64(high - low), wide=wide)
    return jax.device_put(w.reshape(shape)), state


def bernoulli(state: State, p: ArrayLike, dtype: DType = None) -> Drawn:
    """Draws what `torch.bernoulli` draws: one with the probability p, else zero.

    It takes an array of probabilities, rounds them to the dtype, and draws its shape.
    `Tensor.bernoulli_` of one number draws otherwise, not alike on all processors.

    Raises:
      ValueError: A probability that is not in [0, 1].

    Example:
      >>> from jinit.torch import functional
      >>> w, state = functional.bernoulli(functional.seed(0), [0.0, 0.5, 1.0])
      >>> print(w)
      [0. 0. 1.]
    """
    dtype = _check_real(dtype)
    chance = np.asarray(_checks.known("p", p), dtype)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(f"p must be probabilities, from 0 to 1, got {p!r}.")
    kind = real_of(dtype)
    u, state = uniforms(state, chance.size, 0.0, 1.0, np.dtype(kind))
    w = u.reshape(chance.shape) < chance.astype(kind)
    return jax.device_put(w.astype(dtype)), state


def _check_real(dtype: Any) -> np.dtype:
    """The dtype of a draw, one of the four that torch's and ours have in common."""
    dtype = check_dtype(np.float32 if dtype is None else dtype)  # whatever x64 says
    if dtype.name not in _DTYPES:
        raise TypeError(f"dtype must be among {', '.join(_DTYPES)}, got {dtype.name}.")
    return dtype


def _number(name: str, value: Any, **rule: Any) -> float:
    return _checks.number(name, _checks.known(name, value), **rule)


def _normal_cdf(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


# Tensors of which all elements are redrawn until none of them is rejected.


def _accepted(
    state: State, propose: Callable[[State], tuple[Any, Any, State]]
) -> tuple[Any, State]:
    def again(carry: tuple[Any, Any, State]) -> tuple[Any, Any, State]:
        w, pending, state = carry
        new, rejected, state = propose(state)
        xp = np if isinstance(new, np.ndarray) else jnp
        return xp.where(pending, new, w), pending & rejected, state

    carry = propose(state)
    if isinstance(carry[0], np.ndarray):
        while carry[1].any():
            carry = again(carry)
    else:
        carry = lax.while_loop(lambda carry: carry[1].any(), again, carry)
    return carry[0], carry[2]


def _from_normal(
    state: State, size: int, mean: float, std: float, a: float, b: float, dtype: Any
) -> tuple[Any, Any, State]:
    """All of N(mean, std²): what is outside is rejected."""
    w, state = normals(state, size, mean, std, dtype)
    return w, (w < dtype.type(a)) | (w > dtype.type(b)), state


def _from_uniform(
    state: State, size: int, mean: float, std: float, a: float, b: float, dtype: Any
) -> tuple[Any, Any, State]:
    """Uniform within the bounds: accepted in proportion to the density."""
    w, state = uniforms(state, size, a, b, dtype)
    u, state = uniforms(state, size, 0.0, 1.0, dtype)
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    # torch rounds what it subtracts to the dtype of the tensor, not what it divides by.
    options = dtype.type(mean), std, dtype.type(peak)
    return w, elementwise(_rejected, bool, [w, u], *options), state


@compiled
def _inverted(u: jax.Array, mean: Any, std: Any, a: Any, b: Any) -> jax.Array:
    z = lax.erf_inv(u.astype(np.float64)).astype(u.dtype)
    root = (std * np.asarray(math.sqrt(2), std.dtype)).astype(u.dtype)
    low, high = a.astype(u.dtype), b.astype(u.dtype)
    return jnp.clip(z * root + mean.astype(u.dtype), low, high)


@compiled
def _rejected(w: jax.Array, u: jax.Array, mean: Any, std: Any, peak: Any) -> jax.Array:
    """In the dtype of the tensor, to which torch rounds after each step."""
    kind = jnp.finfo(w.dtype)

    def rounded(x: jax.Array) -> jax.Array:
        return lax.reduce_precision(x, kind.nexp, kind.nmant)

    x = rounded(rounded(w.astype(mean.dtype) - mean) / std)
    x = rounded(rounded(x * x) * np.asarray(-0.5, x.dtype))
    x = rounded(x - peak)
    return rounded(jnp.log(u.astype(mean.dtype))) > x


def _integers(words: Any, low: Any, span: Any, *, wide: bool) -> Any:
    """In 64 bits; NumPy's where the words are."""
    words = words.astype(np.uint64)
    if wide:
        words = (words[::2] << np.uint64(32)) | words[1::2]
    return ((words % span).astype(np.int64) + low).astype(np.int32)


@compiled
def _permutations(words: jax.Array, *, count: int, size: int) -> jax.Array:
    """Several `torch.randperm(size)`, one after another: (count, size)."""
    if size == 1:  # nothing is drawn
        return jnp.zeros((count, 1), np.int32)
    words = words.reshape(count, size - 1)
    rows = jnp.arange(count, dtype=np.int32)

    def swap(n: Any, order: jax.Array) -> jax.Array:
        n = jnp.asarray(n, np.int32)  # a number where nothing is compiled
        left = (np.int32(size) - n).astype(np.uint32)
        other = n + (words[:, n] % left).astype(np.int32)
        here, there = order[:, n], order[rows, other]
        return order.at[:, n].set(there).at[rows, other].set(here)

    order = jnp.broadcast_to(jnp.arange(size, dtype=np.int32), (count, size))
    return lax.fori_loop(0, size - 1, swap, order)
