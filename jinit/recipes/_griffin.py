"""Griffin's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth


@dataclass(frozen=True)
class griffin(Recipe):
    """N(0, 1 / fan_in), and writers N(0, 2 / (layers fan_in)).

    writers   N(0, 2 / (layers fan_in)),   layers of two branches
    others    N(0, 1 / fan_in)

    Example:
      >>> import jax, jinit
      >>> params = {n: jax.ShapeDtypeStruct((8, 8), "float32") for n in "abc"}
      >>> def model(params, x):
      ...     return (x + jax.nn.relu(x @ params["a"]) @ params["b"]) @ params["c"]
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> rules = jinit.roles(model, params, x).rules(jinit.recipes.griffin())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.354 0.707 0.354

    References:
      De et al. (2024), arXiv:2402.19427; recurrentgemma, `jax/griffin.py`, which has
      `scale = 2 / num_layers` with two branches a layer.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel or role.recurrent:
            return None
        share = 2 / (depth(roles) / 2) if role.branches else 1.0
        return normal(std=sqrt(share / role.fan_in))
