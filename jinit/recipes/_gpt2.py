"""GPT-2's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class gpt2(Recipe):
    """N(0, std²), divided where it is written to a residual stream.

        writers   N(0, std² / branches)
        others    N(0, std²), tables too

    Args:
      std: The standard deviation. Megatron's recipe is this one with its own.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.gpt2())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.02 0.02

    References:
      Radford et al. (2019), section 2.3; Shoeybi et al. (2019), arXiv:1909.08053. Of a
      block of two branches, 1 / sqrt(branches) is their 1 / sqrt(2 N).
    """

    std: float = 0.02
    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table":
            return normal(std=self.std)
        if not role.is_kernel:
            return None
        return normal(std=self.std / sqrt(max(role.branches, 1)))
