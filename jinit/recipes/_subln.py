"""The initialization of Magneto's SubLN."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, depth, is_small, xavier

if TYPE_CHECKING:
    from jinit.model._role import Role
    from jinit.model._roles import Roles


@dataclass(frozen=True)
class subln(Recipe):
    """Xavier's, with a gain by depth in the branches but for queries and keys.

    value, out and feed-forward   Xavier's, gain √(log 2 N)
    query, key and others         Xavier's, gain 1

    N counts layers of two branches.

    References:
      Wang et al. (2022), arXiv:2210.06423, for models of an encoder or a decoder.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind != "contraction" or role.functions:
            return None
        gain = sqrt(log(depth(roles))) if is_small(role) else 1.0
        return normal(std=gain * xavier(role))
