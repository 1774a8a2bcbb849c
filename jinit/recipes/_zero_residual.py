"""Branches that start from zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinit._basic import zeros
from jinit.recipes._recipe import Recipe

if TYPE_CHECKING:
    from jinit.model._role import Role
    from jinit.model._roles import Roles


@dataclass(frozen=True)
class zero_residual(Recipe):
    """What is written to a residual stream is zero at the start, and so is a gate.

        writers, or the scale of the norm after them   0
        gates of branches, as those of adaLN-Zero      0, and not the writers
        others                                         as `Roles.rules` has them

    So each block is the identity at first, and all depths train alike.

    References:
      Goyal et al. (2017), arXiv:1706.02677, section 5.1, for the scale; Peebles and Xie
      (2023), arXiv:2212.09748, for the gates; nanochat for the kernels.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.gate:
            return zeros()
        gated = any(other.gate for other in roles)
        # Two zeros in one branch would leave both without a gradient.
        return zeros() if role.branches and not gated else None
