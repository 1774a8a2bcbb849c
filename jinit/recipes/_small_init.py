"""Small initialization, and Wang's of the writers."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth


@dataclass(frozen=True)
class small_init(Recipe):
    """N(0, 2 / (5 d)), and writers N(0, (2 / (layers √d))²), d the width.

    writers   N(0, (2 / (layers √d))²),   layers of two branches
    others    N(0, 2 / (5 d)), tables too

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.small_init())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.224 1.41

    References:
      Nguyen and Salazar (2019), arXiv:1910.05895, for the first; Wang and Komatsuzaki
      (2021), mesh-transformer-jax, for the second. GPT-NeoX-20B and xLSTM have both.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table":
            return normal(std=sqrt(2 / (5 * role.fan_out)))
        if not role.is_kernel:
            return None
        if role.branches:
            return normal(std=2 / (depth(roles) / 2 * sqrt(role.fan_out)))
        return normal(std=sqrt(2 / (5 * role.fan_in)))
