"""Sparse initialization: most connections are absent at first."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _bits, _checks, _draws
from jinit._checks import Number, Shape, at_least_zero, or_none, single_axis
from jinit._initializer import Breaks, Initializer, option
from jinit.laws import Law, Mixture, Normal, Point


def _share(name: str, value: Any) -> float:
    share = at_least_zero(name, _checks.known(name, value))
    if share > 1:
        raise ValueError(
            f"{name} must be between 0 and 1, got {share!r}; for a percentage, divide "
            "by 100."
        )
    return share


class sparse(Initializer):
    """A matrix of normal weights, of which a set share is zero for every input unit.

        W[i, o] = 0 for exactly ceil(sparsity · out) outputs o of every input i,
        W[i, o] ~ N(0, std²) for the others

    The zeros of each input are a uniformly random subset, independent of the others'.
    Of the other weights, those too small for a narrow dtype round to zero as well.

    Args:
      sparsity: Share of the outputs, between 0 and 1, that an input does not feed.
      std: Standard deviation of the other weights.
      in_axis, out_axis: Axes of the inputs and of the outputs.

    Raises:
      TypeError: `sparsity` is traced: it fixes the number of zeros.
      ValueError: At the call: the shape is not a matrix.

    Example:
      >>> import jax, jinit
      >>> w = jinit.sparse(0.9)(jax.random.key(0), (3, 50))
      >>> print((w == 0).sum(axis=1))
      [45 45 45]

    References:
      Martens (2010), "Deep learning via Hessian-free optimization", section 5.
      `torch.nn.init.sparse_` does not take its zeros from the generator passed to it;
      its columns are the rows of Flax's layout. The product is rounded up as a float,
      as torch's is: of 100 outputs a sparsity of 0.07 leaves 8 at zero.
    """

    sparsity: float = option(_share, kw_only=False)
    std: Number = option(at_least_zero, default=0.01)
    in_axis: int | None = option(or_none(single_axis), default=None)
    out_axis: int = option(single_axis, default=-1)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"sparse needs a matrix, (in, out), got shape {shape}; draw a kernel "
                "of more axes as a matrix and reshape it."
            )
        self._zeros(shape)

    def _zeros(self, shape: Shape) -> tuple[int, int]:
        """The axis of the outputs, and how many are zero, as torch rounds it."""
        _, (out_axis,) = self._axes(shape, "a matrix has axes 0 and 1")
        return out_axis, math.ceil(self.sparsity * shape[out_axis])

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        out_axis, zeros = self._zeros(shape)
        share = zeros / shape[out_axis]
        return Mixture(((share, Point(0.0)), (1 - share, Normal(0.0, self.std))))

    def _breaks(self, array: np.ndarray) -> Breaks:
        out_axis, planned = self._zeros(array.shape)
        found = (array == 0).sum(out_axis)
        if found.min() < planned:
            few = f"{planned} zeros for each input, found as few as {found.min()}"
            yield "pattern", f"planned are {few}", ""

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        out_axis, zeros = self._zeros(shape)
        sizes = shape[1 - out_axis], shape[out_axis]
        weights = _sparse_matrix(key, *sizes, zeros, dtype, self.std)
        return weights if out_axis == 1 else weights.T


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _sparse_matrix(
    key: jax.Array, inputs: int, outputs: int, zeros: int, dtype: np.dtype, std: Number
) -> jax.Array:
    weights_key, words_key, tie_key = jax.random.split(key, 3)
    weights = _draws.normal(weights_key, (inputs, outputs), dtype, 0.0, std)
    if zeros == 0:
        return weights
    # The zeros of a row are where its random words are smallest. Their low bits are the
    # column, so that no two are equal, under a random mask, so that no column is
    # favoured where the high bits are equal.
    column_bits = np.uint32(2 ** (outputs - 1).bit_length() - 1)
    words = _bits.bits(words_key, (inputs, outputs)) & ~column_bits
    column = lax.broadcasted_iota(np.uint32, (inputs, outputs), 1)
    words |= (column ^ _bits.bits(tie_key, (inputs, 1))) & column_bits
    threshold = _kth_smallest(words, zeros)
    return jnp.where(words <= threshold, jnp.zeros((), dtype), weights)


def _kth_smallest(words: jax.Array, k: int) -> jax.Array:
    """The k-th smallest 32-bit word of each row."""

    # It is the largest number with fewer than k words below it: highest bit first.
    def set_bit(step: Any, found: jax.Array) -> jax.Array:
        trial = found | (np.uint32(1) << jnp.asarray(31 - step, np.uint32))
        below = jnp.sum(words < trial, axis=1, keepdims=True, dtype=np.int32)
        return jnp.where(below < k, trial, found)

    return lax.fori_loop(0, 32, set_bit, jnp.zeros_like(words[:, :1]))
