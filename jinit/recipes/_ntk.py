"""The initialization of the neural tangent kernel's parametrization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class ntk(Recipe):
    """N(0, w_std² / fan_in), and biases N(0, b_std²).

        kernels   N(0, w_std² / fan_in)
        biases    N(0, b_std²)
        tables    N(0, 1)

    The parametrization has kernels of N(0, 1), divided by √fan_in where they are used:
    by SGD they learn at a rate that is divided by fan_in.

    Args:
      w_std: The standard deviation of kernels, times √fan_in.
      b_std: That of biases.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.ntk())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0.354

    References:
      Jacot, Gabriel and Hongler (2018), arXiv:1806.07572; Neural Tangents, whose layers
      have `W_std` and `b_std`.
    """

    w_std: float = 1.0
    b_std: float = 0.0

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "shift":
            return normal(std=self.b_std)
        if role.is_looked_up:
            return normal(std=1.0)
        if not role.is_kernel:
            return None
        return normal(std=self.w_std / sqrt(role.fan_in))
