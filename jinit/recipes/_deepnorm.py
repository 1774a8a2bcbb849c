"""DeepNorm's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, depth, is_small, xavier

if TYPE_CHECKING:
    from jinit.model._role import Role
    from jinit.model._roles import Roles


@dataclass(frozen=True)
class deepnorm(Recipe):
    """Xavier's, and smaller in the branches but for queries and keys.

        value, out and feed-forward   Xavier's, gain (8 N)^(-1/4)
        query, key and others         Xavier's, gain 1

    N counts layers of two branches. The factor (2 N)^(1/4) of the skip is the model's.
    A packed kernel of queries, keys and values is drawn as query and key are.

    References:
      Wang et al. (2022), arXiv:2203.00555, for models of an encoder or a decoder.
    """

    needs = ("stream",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.kind != "contraction" or role.functions:
            return None
        gain = (4 * depth(roles)) ** -0.25 if is_small(role) else 1.0
        return normal(std=gain * xavier(role))
