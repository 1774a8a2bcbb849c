"""The initialization of Magneto's SubLN."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, depth, is_small, xavier


@dataclass(frozen=True)
class subln(Recipe):
    """Xavier's, with a gain by depth in the branches but for queries and keys.

    value, out and feed-forward   Xavier's, gain √(log 2 N)
    query, key and others         Xavier's, gain 1

    N counts layers of two branches.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> def model(w, x):
      ...     x = x + jnp.tanh(x @ w[0])
      ...     return (x + jnp.tanh(x @ w[1])) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.subln())
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.294 0.294 0.354

    References:
      Wang et al. (2022), arXiv:2210.06423, for models of an encoder or a decoder.
    """

    needs = ("stream",)
    one_stream = True

    def check(self, roles: Roles) -> None:
        """Refuses a model of one branch, whose gain is zero."""
        super().check(roles)
        if depth(roles) < 2:
            raise ValueError(
                f"{self!r} is for a stream of several branches, but in this model it "
                "has 1, for which √(log 2 N) is zero; use jinit.recipes.deepnorm()."
            )

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel:
            return None
        gain = sqrt(log(depth(roles))) if is_small(role) else 1.0
        return normal(std=gain * xavier(role))
