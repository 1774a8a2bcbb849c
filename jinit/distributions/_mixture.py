"""Mixtures: weights of several distributions in one array."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _bits, _checks, _draws
from jinit._checks import Shape
from jinit._combine import Init, check_init, draw_one
from jinit._initializer import Initializer, option
from jinit.laws import Law, Mixture

Parts = Sequence[tuple[float, Init]]
"""Pairs of a share and an initializer."""


def _check_parts(name: str, value: Any) -> tuple[tuple[float, Init], ...]:
    pairs = _checks.is_sequence(value) and len(value) > 0
    if not pairs or not all(_checks.is_sequence(p) and len(p) == 2 for p in value):
        raise TypeError(
            f"{name} must be pairs of a share and an initializer, such as "
            f"[(0.9, jinit.zeros()), (0.1, jinit.normal())], got {value!r}."
        )
    each = f"a share of {name}"
    shares = [_checks.positive(each, _checks.known(each, share)) for share, _ in value]
    if abs(math.fsum(shares) - 1) > 1e-6:
        raise ValueError(
            f"{name} must have shares that sum to 1, got {shares} with the sum "
            f"{math.fsum(shares):.6g}; divide each by it."
        )
    usage = "jinit.distributions.mixture([(1.0, {})])"
    inits = [check_init(f"an initializer of {name}", init, usage) for _, init in value]
    return tuple(zip(shares, inits, strict=True))


class mixture(Initializer):
    """Draws each weight by one of several initializers, by shares.

        W = init_i(key_i, shape)   with probability share_i, each weight by itself

    Of zeros and a normal distribution it is a kernel of independent connections, of
    which `jinit.sparse` has an exact number; of a narrow and a wide one, heavy tails.

    Args:
      parts: Pairs of a share and an initializer; the shares sum to 1. Each initializer
        sees the whole shape, and its fans are those of the whole kernel.

    Raises:
      ValueError: The shares do not sum to 1; at the call, an initializer refuses the
        shape.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.mixture(
      ...     [(0.9, jinit.normal(std=0.01)), (0.1, jinit.normal(std=0.1))]
      ... )
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.3f} {init.law(w.shape).kurtosis:.1f}")
      0.033 25.3

    References:
      `torch.distributions.MixtureSameFamily` and TFP's `Mixture`.
    """

    parts: Parts = option(_check_parts, kw_only=False)

    @property
    def _inits(self) -> list[Any]:
        return [init for _, init in self.parts]

    def _is_traced(self) -> bool:
        known = [init for init in self._inits if isinstance(init, Initializer)]
        return any(init._is_traced() for init in known)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        for init in self._inits:
            if isinstance(init, Initializer):
                init._check_all(shape, dtype)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        parts = list[tuple[float, Law]]()
        for share, init in self.parts:
            law = init._law(shape, dtype) if isinstance(init, Initializer) else None
            if law is None:
                return None
            parts.append((share, law))
        return Mixture(tuple(parts))

    def _fans(self, shape: Shape) -> tuple[Any, Any] | None:
        """Those that all parts agree on that have any."""
        fans = {getattr(i, "_fans", lambda _: None)(shape) for i in self._inits}
        (found, *others) = [each for each in fans if each is not None] or [None]
        return None if others else found

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        # A traced option cannot be hashed, nor does it need to: jax.jit is under way.
        known = all(isinstance(init, Hashable) for init in self._inits)
        program = _compiled if known and not self._is_traced() else _by_shares
        return program(key, self.parts, shape, dtype)


def _by_shares(key: Any, parts: Parts, shape: Shape, dtype: np.dtype) -> jax.Array:
    which, *keys = jax.random.split(key, 1 + len(parts))
    (u,) = _bits.units(which, shape, _bits.real_dtype(dtype))
    wide = _bits.wide_dtype(dtype)
    w, below = jnp.zeros(shape, wide), 0.0
    for each, (share, init) in zip(keys, parts, strict=True):
        w = jnp.where(u < below, w, draw_one(init, each, shape, wide))
        below += share
    return _draws.round_to(w, dtype)


_compiled = jax.jit(_by_shares, static_argnums=(1, 2, 3))
