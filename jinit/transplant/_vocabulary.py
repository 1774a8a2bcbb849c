"""Vocabulary: rows for new tokens, like those of the old ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import weights
from jinit._haar import matmul
from jinit._types import ArrayLike, PRNGKey


def extend_vocabulary(
    key: PRNGKey,
    table: ArrayLike,
    size: int,
    *,
    axis: int = 0,
    rows: int | None = None,
    eps: float = 1e-5,
) -> jax.Array:
    """Extends a table, a head or a head's bias by new tokens, each near the mean.

        new row ~ N(mean, eps · cov),    mean and cov those of the old rows

    With the mean alone a new token takes the geometric mean of the old ones' share: of
    n new tokens to V old ones, old predictions are kept up to KL <= log(1 + n / V).
    Rows of N(0, 1) or zero may take all of the probability. A head's bias gets the mean
    of the old ones, too: the bound is that of the mean of whole logits, and the
    logarithm of a mean of exponentials would break it.

    The rows are mean + sqrt(eps / V) Zᵀ (E - mean) for normal numbers Z of shape (V, n)
    and the old rows E, so that no covariance is formed or factored, and rows that span
    no full space, or are in bfloat16, need no other way.

    Args:
      key: A JAX key.
      table: (tokens, features), (features, tokens) with `axis=1`, or (tokens,): the
        table of tokens, the kernel of a head, its bias. A tied table is extended once;
        give two that belong together keys of their own.
      size: How many tokens there are to be.
      axis: The axis of the tokens.
      rows: How many of the old ones are tokens, where a table is padded; by default
        all. Those after them are drawn like new ones, and count for nothing.
      eps: The variance about the mean, as a share of the old rows'. 0 for the mean.

    Returns:
      The table of the new size, in its dtype, with the old rows as they were.

    Raises:
      TypeError: `key` is not a key, or the table is not floating-point or complex.
      ValueError: `size` is less than there are tokens, `rows` is more than there are,
        the table lacks the axis, or eps is negative.

    Example:
      >>> import jax, jinit
      >>> table = jinit.normal(mean=0.1)(jax.random.key(0), (1000, 64))
      >>> new = jinit.transplant.extend_vocabulary(jax.random.key(1), table, 3000)
      >>> print(new.shape, f"{new[1000:].std(0).mean():.4f}")  # sqrt(1e-5)
      (3000, 64) 0.0032

    References:
      Hewitt (2021), "Initializing new word embeddings for pretrained language models".
      `resize_token_embeddings` of transformers 5 has eps = 1e-9, which bfloat16 rounds
      away, and the mean alone where the covariance is not positive definite.
    """
    w, key = weights("table", table), _checks.check_key(key)
    eps = _checks.at_least_zero("eps", eps)
    axis = _checks.resolve_axis(w.shape, axis, "name that of the tokens")
    size, old = _checks.count("size", size), w.shape[axis]
    rows = old if rows is None else _checks.count("rows", rows)
    if rows > old:
        raise ValueError(
            f"rows must be at most the {old} that the table has along axis {axis}, got "
            f"{rows}; leave it out where all are tokens."
        )
    if not rows:
        raise ValueError(
            f"table must have a token to start from, got shape {w.shape}; draw a first "
            "table by jinit.normal()."
        )
    if size < rows:
        raise ValueError(
            f"size must be at least the {rows} tokens that there are, got {size}; to "
            "make a table smaller, slice it."
        )
    kept = jax.lax.slice_in_dim(w, 0, rows, axis=axis)
    drawn = _near_the_mean(key, jnp.moveaxis(kept, axis, 0), size - rows, eps)
    return jnp.concatenate([kept, jnp.moveaxis(drawn, 0, axis)], axis)


@partial(jax.jit, static_argnums=2)
def _near_the_mean(key: jax.Array, rows: jax.Array, n: int, eps: Any) -> jax.Array:
    wide = rows.astype(wide_dtype(rows.dtype)).reshape(rows.shape[0], -1)
    mean = wide.mean(0, keepdims=True)
    real = jnp.finfo(wide.dtype).dtype
    z = _draws.normal(key, (len(wide), n), real, 0.0, 1.0).astype(wide.dtype)
    spread = matmul(z.mT, wide - mean) * jnp.sqrt(jnp.asarray(eps / len(wide), real))
    return _draws.round_to(mean + spread, rows.dtype).reshape(n, *rows.shape[1:])
