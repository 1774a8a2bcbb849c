"""CompleteP's initialization."""

from __future__ import annotations

from dataclasses import dataclass

from jinit.recipes._mup import mup
from jinit.recipes._recipe import Role


@dataclass(frozen=True)
class completep(mup):
    """muP's, without a factor of what is written to a stream.

        in a branch      N(0, std² / m),   m times the width of a base
        head             N(0, std² / m²), its logits' factor 1 / m folded in
        tables, inputs   N(0, std²)

    The factor of the branches is the model's, and the learning rates that go with it
    are those of `Roles.completep`.

    Args:
      std: The standard deviation of the base.
      base: The width of the base: how many features its head sums.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> model = lambda w, x: (x + jax.nn.relu(x @ w[0]) @ w[1]) @ w[2]
      >>> roles = jinit.roles(model, 3 * [jnp.ones((8, 8))], jnp.ones((1, 8)))
      >>> rules = roles.rules(jinit.recipes.completep(base=4))
      >>> print(*(f"{init.law((8, 8)).std:.3g}" for _, init in rules))
      0.0141 0.0141 0.01

    References:
      Dey et al. (2025), arXiv:2505.01618, table 1.
    """

    def _branches(self, role: Role) -> int:
        return 1
