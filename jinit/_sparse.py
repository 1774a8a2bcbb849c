"""Sparse initialization: most connections are absent at first."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _options, _sample
from jinit._arguments import Shape
from jinit._initializer import Initializer
from jinit._options import Number


@dataclass(frozen=True, kw_only=True, repr=False)
class sparse(Initializer):
    """A matrix of normal weights, of which a set share is zero for every input unit.

        W[i, o] = 0 for exactly ceil(sparsity · out) outputs o of every input i,
        W[i, o] ~ N(0, std²) for the others

    The zeros of each input are a uniformly random subset, independent of the others'.
    Of the other weights, those too small for a narrow dtype round to zero as well.

    Args:
      sparsity: Share of the outputs, between 0 and 1, that an input does not feed.
      std: Standard deviation of the other weights.
      in_axis: Axis of the inputs.
      out_axis: Axis of the outputs.

    Raises:
      TypeError: An option is not of its type, or `sparsity` is traced: it fixes the
        number of zeros.
      ValueError: A sparsity outside [0, 1], a negative std. At the call: the shape is
        not a matrix.

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

    sparsity: float = field(kw_only=False)
    std: Number = 0.01
    in_axis: int = -2
    out_axis: int = -1

    def __post_init__(self) -> None:
        if _options.is_traced(self.sparsity):
            raise TypeError(
                "sparsity fixes the number of zeros and must be known when tracing, "
                f"got {self.sparsity!r}; pass a Python number."
            )
        self._set(sparsity=_options.number("sparsity", self.sparsity, at_least=0))
        if self.sparsity > 1:
            raise ValueError(
                f"sparsity must be between 0 and 1, got {self.sparsity!r}; for a "
                "percentage, divide by 100."
            )
        self._set(std=_options.number("std", self.std, at_least=0))
        for name in ("in_axis", "out_axis"):
            self._set(**{name: _options.single_axis(name, getattr(self, name))})
        _options.distinct_axes(in_axis=self.in_axis, out_axis=self.out_axis)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"sparse needs a matrix, (in, out), got shape {shape}; draw a kernel "
                "of more axes as a matrix and reshape it."
            )
        self._axes(shape)

    def _axes(self, shape: Shape) -> list[tuple[int, ...]]:
        remedy = "a matrix has axes 0 and 1"
        return _options.resolve_axes(
            shape, remedy, in_axis=self.in_axis, out_axis=self.out_axis
        )

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        (in_axis,), (out_axis,) = self._axes(shape)
        inputs, outputs = shape[in_axis], shape[out_axis]
        zeros = math.ceil(self.sparsity * outputs)
        weights = _sparse_matrix(key, inputs, outputs, zeros, dtype, self.std)
        return weights if in_axis == 0 else weights.T


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _sparse_matrix(
    key: jax.Array, inputs: int, outputs: int, zeros: int, dtype: np.dtype, std: Number
) -> jax.Array:
    weights_key, words_key, tie_key = jax.random.split(key, 3)
    weights = _sample.normal(weights_key, (inputs, outputs), dtype, 0.0, std)
    if zeros == 0:
        return weights
    # The zeros of a row are where its random words are smallest. Their low bits are the
    # column, so that no two are equal, under a random mask, so that no column is
    # favoured where the high bits are equal.
    column_bits = np.uint32(2 ** (outputs - 1).bit_length() - 1)
    words = _sample.bits(words_key, (inputs, outputs)) & ~column_bits
    column = lax.broadcasted_iota(np.uint32, (inputs, outputs), 1)
    words |= (column ^ _sample.bits(tie_key, (inputs, 1))) & column_bits
    threshold = _kth_smallest(words, zeros)
    return jnp.where(words <= threshold, jnp.zeros((), dtype), weights)


def _kth_smallest(words: jax.Array, k: int) -> jax.Array:
    """Finds the k-th smallest 32-bit word of each row.

    It is the largest number that has fewer than k words below it, found from its
    highest bit down.
    """

    def set_bit(step: Any, found: jax.Array) -> jax.Array:
        trial = found | (np.uint32(1) << jnp.asarray(31 - step, np.uint32))
        below = jnp.sum(words < trial, axis=1, keepdims=True, dtype=np.int32)
        return jnp.where(below < k, trial, found)

    return lax.fori_loop(0, 32, set_bit, jnp.zeros_like(words[:, :1]))
