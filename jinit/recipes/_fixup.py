"""Fixup's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal, zeros
from jinit.recipes._recipe import Recipe, Role, Roles, depth


@dataclass(frozen=True)
class fixup(Recipe):
    """He's, divided by L^(1 / (2 m - 2)) in branches of m layers; their last is zero.

        the first m - 1 of a branch   N(0, 2 / fan_in · L^(-1 / (m - 1)))
        its last, and the head        0
        others                        N(0, 2 / fan_in)

    For networks without normalization, of ReLU; L is the number of branches. The scales
    and shifts that the paper adds are the model's.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: (x + jax.nn.relu(x @ w[0]) @ w[1]) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.fixup())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.5 0 0

    References:
      Zhang, Dauphin and Ma (2019), arXiv:1901.09321, section 3; the code has fan_out.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel:
            return None
        if role.head or role.branches:
            return zeros()
        std = sqrt(2 / role.fan_in)
        if role.place is not None and role.place.layers > 1:
            std *= depth(roles) ** (-1 / (2 * role.place.layers - 2))
        return normal(std=std)
