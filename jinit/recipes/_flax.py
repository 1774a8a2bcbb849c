"""Flax's defaults, by role."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal, truncated_normal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class flax(Recipe):
    """lecun_normal by the true fans; orthogonal where the result comes back.

    Where Flax takes other axes for the inputs, as its Einsum does, the true ones are
    taken here.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.flax())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0.354

    References:
      `flax.linen.Dense` and others.
    """

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table":
            return normal(std=1 / sqrt(role.fan_out)) if role.is_looked_up else None
        if not role.is_kernel or role.recurrent:
            return None
        return truncated_normal(std=1 / sqrt(role.fan_in), corrected=True)
