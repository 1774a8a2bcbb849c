"""DeepNorm's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth, is_small, xavier


@dataclass(frozen=True)
class deepnorm(Recipe):
    """Xavier's, and smaller in the branches but for queries and keys.

        value, out and feed-forward   Xavier's, gain (8 N)^(-1/4)
        query, key and others         Xavier's, gain 1

    N counts layers of two branches. The factor (2 N)^(1/4) of the skip is the model's.
    A packed kernel of queries, keys and values is drawn as query and key are.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: x + jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.deepnorm())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.25 0.25

    References:
      Wang et al. (2022), arXiv:2203.00555, for models of an encoder or a decoder.
    """

    needs = ("stream",)
    one_stream = True

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel:
            return None
        gain = (4 * depth(roles)) ** -0.25 if is_small(role) else 1.0
        return normal(std=gain * xavier(role))
