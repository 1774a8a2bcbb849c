"""Writers by their own depth."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, position


@dataclass(frozen=True)
class by_depth(Recipe):
    """N(0, std²), divided by √(2 (l + 1)) where layer l writes to a stream.

        writers   N(0, std² / (2 (l + 1))),   l the layer, from 0, of two branches
        others    N(0, std²), tables too

    The stream grows with the logarithm of the depth; by `gpt2` it stays bounded. Layers
    of a loop are drawn alike, so for those use `gpt2`.

    Args:
      std: The standard deviation.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.by_depth())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.02 0.0141

    References:
      torchtitan, `param_init.py`; BEiT (Bao et al. 2022, arXiv:2106.08254), which
      divides what was drawn.
    """

    std: float = 0.02
    needs = ("stream",)
    by_branch = True

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table":
            return normal(std=self.std)
        if not role.is_kernel:
            return None
        if not role.branches:
            return normal(std=self.std)
        layer = position(role, roles) // 2
        return normal(std=self.std / sqrt(2 * (layer + 1)))
