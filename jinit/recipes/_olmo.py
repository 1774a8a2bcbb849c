"""OLMo's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import trunc_normal
from jinit.recipes._recipe import Recipe, Role, Roles, position


@dataclass(frozen=True)
class olmo(Recipe):
    """N(0, 1 / fan_in), cut at three deviations, and writers by their own depth.

        writers   N(0, 1 / (2 fan_in (l + 1))),   l the layer, from 0, of two branches
        others    N(0, 1 / fan_in); tables N(0, 1 / width)

    All are cut at 3 standard deviations. It is what OLMo calls "mitchell".

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.olmo())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.349 0.247

    References:
      Groeneveld et al. (2024), arXiv:2402.00838; `olmo/model.py`.
    """

    needs = ("stream",)
    by_branch = True

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind == "table":
            return _cut(sqrt(1 / role.fan_out))
        if not role.is_kernel:
            return None
        layer = position(role, roles) // 2 if role.branches else 0
        share = 2 * (layer + 1) if role.branches else 1
        return _cut(sqrt(1 / (role.fan_in * share)))


def _cut(std: float) -> Any:
    return trunc_normal(std=std, a=-3 * std, b=3 * std)
