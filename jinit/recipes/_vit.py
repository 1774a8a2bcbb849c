"""big_vision's initialization of a ViT."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal, uniform, zeros
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class vit(Recipe):
    """Xavier's, a zero head, and positions of N(0, 1 / width).

    kernels     U(±√(6 / (fan_in + fan_out)))
    positions   N(0, 1 / width)
    head        0

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.vit())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0

    References:
      Beyer et al. (2022), arXiv:2205.01580, and big_vision, `models/vit.py`.
    """

    needs = ("head",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table" and not role.is_looked_up:
            return normal(std=1 / sqrt(role.shape[-1]))
        if not role.is_kernel:
            return None
        if role.head:
            return zeros()
        bound = sqrt(6 / (role.fan_in + role.fan_out))
        return uniform(a=-bound, b=bound)
