"""T-Fixup's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth, is_small, xavier


@dataclass(frozen=True)
class t_fixup(Recipe):
    """Xavier's, scaled by depth, for transformers without normalization.

        value, out and feed-forward   Xavier's · 0.67 N^(-1/4); decoder (9 N)^(-1/4)
        tables                        N(0, 1 / width) · the same
        query and key                 Xavier's

    N layers of two branches, of a decoder of three.

    Args:
      decoder: Whether the model is a decoder, whose layers look at an encoder's too.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.t_fixup())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.282 0.282

    References:
      Huang et al. (2020), "Improving transformer optimization through better
      initialization", section 3.2.
    """

    decoder: bool = False
    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        branches = depth(roles)
        scale = (
            (3 * branches) ** -0.25 if self.decoder else 0.67 * (branches / 2) ** -0.25
        )
        if role.kind == "table":
            return normal(std=scale / sqrt(role.fan_out))
        if not role.is_kernel:
            return None
        return normal(std=xavier(role) * (scale if is_small(role) else 1.0))
