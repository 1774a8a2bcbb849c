"""PyTorch's defaults, by role."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal, uniform
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class torch(Recipe):
    """U(±1 / √fan_in), biases too; tables N(0, 1), scales one.

    What a recurrent layer of torch draws by its hidden size is here drawn by the fans.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.torch())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.204 0.204

    References:
      `torch.nn.Linear.reset_parameters` and others.
    """

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.is_looked_up:
            return normal(std=1.0)
        if role.kind == "shift" and role.layer is not None:
            (kernel,) = (other for other in roles if other.path == role.layer)
            return _bounded(kernel)
        if not role.is_kernel:
            return None
        return _bounded(role)


def _bounded(kernel: Role) -> Any:
    bound = 1 / sqrt(kernel.fan_in)
    return uniform(a=-bound, b=bound)
