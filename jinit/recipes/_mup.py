"""muP's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles, width


@dataclass(frozen=True)
class mup(Recipe):
    """GPT-2's of a base model, narrowed where a model is wider: m times its width.

        writers             N(0, std² / (m · branches))
        others in a branch  N(0, std² / m)
        head                N(0, std² / m²), its logits' factor 1 / m folded in
        tables, inputs      N(0, std²)

    The learning rates that go with it are those of `Roles.mup`, which also scales what
    any other recipe draws, and needs two traces to know which axes are wider.

    Args:
      std: The standard deviation of the base.
      base: The width of the base: how many features its head sums.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: (x + jax.nn.relu(x @ w[0]) @ w[1]) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.mup(base=4))
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.0141 0.0141 0.01

    References:
      Yang et al. (2022), arXiv:2203.03466, table 3; nanoGPT-mup, which keeps GPT-2's
      factor of the writers.
    """

    std: float = 0.02
    base: int = 256
    needs = ("stream", "head")

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel:
            return normal(std=self.std) if role.kind == "table" else None
        m = width(roles) / self.base
        if role.head:
            return normal(std=self.std / m)
        if role.place is None:
            return normal(std=self.std)
        return normal(std=self.std / sqrt(m * self._branches(role)))

    def _branches(self, role: Role) -> int:
        return max(role.branches, 1)
