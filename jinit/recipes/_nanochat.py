"""nanochat's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal, uniform, zeros
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class nanochat(Recipe):
    """Uniform of variance 1 / fan_in, zero writers, a small head.

    writers   0
    head      N(0, 0.001²)
    tables    N(0, 0.8²)
    others    U(±√(3 / fan_in)); before the last of a feed-forward branch 0.4 of it

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: (x + jax.nn.relu(x @ w[0]) @ w[1]) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.nanochat())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.141 0 0.001

    References:
      Karpathy (2025), nanochat, `gpt.py`.
    """

    needs = ("stream", "head")

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.is_looked_up:
            return normal(std=0.8)
        if not role.is_kernel:
            return None
        if role.branches:
            return zeros()
        if role.head:
            return normal(std=0.001)
        bound = sqrt(3 / role.fan_in) * (0.4 if role.place and not role.parts else 1.0)
        return uniform(a=-bound, b=bound)
