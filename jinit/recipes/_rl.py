"""Orthogonal kernels, and a small head."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._orthogonal import orthogonal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class rl(Recipe):
    """Orthogonal of gain √2, and heads of a gain of their own, as agents have them.

        heads     orthogonal, gain head_gain
        others    orthogonal, gain `gain`

    Args:
      head_gain: That of the heads: 0.01 of a policy, 1 of a value.
      gain: That of the others.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
      >>> roles = jinit.roles(model, 2 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.rl())
      >>> print(*(f"{init.gain:.2f}" for _, init in rules))
      1.41 0.01

    References:
      Andrychowicz et al. (2021), arXiv:2006.05990; Huang et al. (2022), "The 37
      implementation details of PPO".
    """

    head_gain: float = 0.01
    gain: float = sqrt(2.0)
    needs = ("head",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if not role.is_kernel or "" in role.axes:
            return None
        axes = {
            "in_axis": role._axes("space", "in"),
            "out_axis": role._axes("out"),
            "batch_axis": role._axes("stack", "batch"),
        }
        return orthogonal(gain=self.head_gain if role.head else self.gain, **axes)
