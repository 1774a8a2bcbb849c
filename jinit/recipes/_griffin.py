"""Griffin's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth


@dataclass(frozen=True)
class griffin(Recipe):
    """N(0, 1 / fan_in), and writers N(0, 2 / (layers fan_in)).

    writers   N(0, 2 / (layers fan_in)),   layers of two branches
    others    N(0, 1 / fan_in)

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: (x + jax.nn.relu(x @ w[0]) @ w[1]) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.griffin())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0.707 0.354

    References:
      De et al. (2024), arXiv:2402.19427; recurrentgemma, `jax/griffin.py`, which has
      `scale = 2 / num_layers` with two branches a layer.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel or role.recurrent:
            return None
        share = 2 / (depth(roles) / 2) if role.branches else 1.0
        return normal(std=sqrt(share / role.fan_in))
