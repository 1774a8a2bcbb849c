"""The spectral condition."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class spectral(Recipe):
    """N(0, σ²), σ = √(1 / fan_in) · min(1, √(fan_out / fan_in)).

    So the norms of features, and of their updates by a rate in proportion to
    fan_out / fan_in, do not depend on the width.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.spectral())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0.354

    References:
      Yang, Simon and Bernstein (2023), arXiv:2310.17813, "Parametrization 1".
    """

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel:
            return None
        ratio = min(1.0, sqrt(role.fan_out / role.fan_in))
        return normal(std=ratio / sqrt(role.fan_in))
