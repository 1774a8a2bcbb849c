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
      >>> import jax, jinit
      >>> params = {n: jax.ShapeDtypeStruct((8, 8), "float32") for n in ("a", "b")}
      >>> def model(params, x):
      ...     return jax.nn.relu(x @ params["a"]) @ params["b"]
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> rules = jinit.roles(model, params, x).rules(jinit.recipes.torch())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.204 0.204

    References:
      `torch.nn.Linear.reset_parameters` and others.
    """

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table" and "index" in role.axes:
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
