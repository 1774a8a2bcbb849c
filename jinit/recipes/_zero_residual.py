"""Branches that start from zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinit._basic import constant, zeros
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class zero_residual(Recipe):
    """What is written to a residual stream is zero at the start, and so is a gate.

        writers, or the scale that ends the branch   0, or `scale` of such scales
        gates of branches, as those of adaLN-Zero    0, and not the writers
        others                                       as `Roles.rules` has them

    So each block is the identity at first, or nearly, and all depths train alike. A
    branch ends with a scale where that is a norm's, SkipInit's or LayerScale's.

    Args:
      scale: What scales that end a branch start from: 0 for those of norms and of
        SkipInit; of LayerScale 0.1 up to 18 layers, 1e-5 up to 24, and 1e-6.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.zero_residual())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0

    References:
      Goyal et al. (2017), arXiv:1706.02677, section 5.1, for norms; De and Smith
      (2020), arXiv:2002.10444, for SkipInit; Touvron et al. (2021), arXiv:2103.17239,
      for LayerScale; Peebles and Xie (2023), arXiv:2212.09748, for gates; nanochat for
      kernels.
    """

    scale: float = 0.0
    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.gate:
            return zeros()
        if _ends(role):
            return constant(self.scale) if self.scale else zeros()
        # Two zeros in one branch would leave both without a gradient.
        starts = any(r.gate or (_ends(r) and _same(r, role)) for r in roles)
        return zeros() if role.branches and not starts else None


def _ends(role: Role) -> bool:
    """Whether it is the scale that ends a branch."""
    return role.place is not None and role.place.layer == role.place.layers


def _same(one: Role, other: Role) -> bool:
    a, b = one.place, other.place
    return bool(a and b and (a.stream, a.branch) == (b.stream, b.branch))
