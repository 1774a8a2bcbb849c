"""A recipe: a whole model's initialization, as a function of what each parameter is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from jinit._text import VERSION

if TYPE_CHECKING:
    from jinit.model._role import Role
    from jinit.model._roles import Roles
else:  # a recipe is a value, and needs no program to be one
    Role = Roles = Any


class Recipe(ABC):
    """From a role to an initializer; what it does not decide `Roles.rules` does.

    A subclass is a frozen dataclass that is called with a role and the roles of the
    model. It is a value: it prints as the call that makes it, compares, and goes
    through JSON.

    Example:
      >>> import jinit
      >>> recipe = jinit.recipes.gpt2(std=0.01)
      >>> recipe, jinit.recipes.Recipe.from_dict(recipe.to_dict()) == recipe
      (gpt2(std=0.01), True)
    """

    needs: ClassVar[tuple[str, ...]] = ()  # "stream", "head" or "attention"
    by_branch: ClassVar[bool] = False  # draws each branch by its own depth
    one_stream: ClassVar[bool] = False  # has no constants for an encoder and a decoder
    known: ClassVar[dict[str, type[Recipe]]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        Recipe.known[cls.__name__] = cls

    @abstractmethod
    def __call__(self, role: Role, roles: Roles) -> Any:
        """The initializer of a parameter, or None where it does not decide."""

    def check(self, roles: Roles) -> None:
        """Refuses a model that it does not fit.

        Raises:
          ValueError: The model has no residual stream, head or attention, and the
            recipe is for these; or it has branches in a loop, which are drawn alike,
            and the recipe draws each by its depth; or it has an encoder and a decoder,
            and the recipe is for one of them.
        """
        kernels = [role for role in roles if role.kind == "contraction"]
        found = {
            "stream": any(role.branches for role in roles),
            "head": any(role.head for role in kernels),
            "attention": any(role.parts for role in kernels),
        }
        missing = [name for name in self.needs if not found[name]]
        if missing:
            has = [name for name, there in found.items() if there]
            raise ValueError(
                f"{self!r} is for a model with {' and '.join(self.needs)}, but in this "
                f"one no {missing[0]} was found, only {len(kernels)} kernels"
                + (f" and {', '.join(has)}" if has else "")
                + "; print the roles, and give rules of your own where they are wrong."
            )
        looped = [r for r in roles if r.branches and "stack" in r.axes]
        if self.by_branch and looped:
            raise ValueError(
                f"{self!r} draws each branch by its depth, but of those in a loop, as "
                f"{looped[0].path!r}, all are drawn alike; write the loop out, or use "
                "jinit.recipes.gpt2()."
            )
        others = [r.path for r in roles if r.parts == ("value",) and r.place is None]
        if self.one_stream and others:
            raise ValueError(
                f"{self!r} is for a model of one stream, an encoder or a decoder, but "
                f"{others[0]!r} makes values of another one; give rules of your own "
                "for the two, by the constants of the paper."
            )

    def to_dict(self) -> dict[str, Any]:
        """Describes it as a dict that JSON can hold."""
        declared: Any = self
        options = {each.name: getattr(self, each.name) for each in fields(declared)}
        return {"jinit": VERSION, "recipe": type(self).__name__, "options": options}

    @staticmethod
    def from_dict(config: Mapping[str, Any]) -> Recipe:
        """Makes the recipe that `to_dict` described.

        Raises:
          ValueError: There is no recipe of that name.
        """
        return named(config["recipe"])(**config["options"])


def named(name: str) -> type[Recipe]:
    """The recipe of a name, as the command line takes it.

    Args:
      name: The name, such as "gpt2".

    Returns:
      The class, to be called with options.

    Raises:
      ValueError: There is none.

    Example:
      >>> import jinit
      >>> jinit.recipes.named("gpt2")(std=0.01)
      gpt2(std=0.01)
    """
    if name not in Recipe.known:
        known = ", ".join(sorted(Recipe.known))
        raise ValueError(f"recipe must be one of {known}, got {name!r}.")
    return Recipe.known[name]


def depth(roles: Roles) -> int:
    """How many branches all residual streams have, one after another."""
    return sum(_branches(roles).values())


def position(role: Role, roles: Roles) -> int:
    """The number of the branch that a parameter is in, among all, from 0."""
    assert role.place is not None
    stream, branch = role.place.stream, role.place.branch
    return branch + sum(n for other, n in _branches(roles).items() if other < stream)


def _branches(roles: Roles) -> dict[int, int]:
    """The branches of each stream: one, where each sum is normalized."""
    return {r.place.stream: r.place.branches for r in roles if r.place is not None}


def width(roles: Roles) -> float:
    """How many features the heads sum, of several the most."""
    return max(role.fan_in for role in roles if role.head)


def xavier(role: Role) -> float:
    """Xavier's standard deviation, by the true fans."""
    return sqrt(2 / (role.fan_in + role.fan_out))


def is_small(role: Role) -> bool:
    """Whether it is in a branch, and no query or key: what is scaled by the depth.

    A value of another stream, as a decoder has of an encoder's, is in a branch too.
    """
    in_branch = role.place is not None or role.parts == ("value",)
    return in_branch and not {"query", "key"} & set(role.parts)
