"""muP: what changes with the width and the depth of a model, from two of its traces.

A layer is known by which of its fans the wider model has more of:

              fan_in    fan_out    std of the base    rate of Adam    of SGD    decay
    input     as was    m times    as was             as was          m         as was
    hidden    m times   m times    / √m               / m             as was    m
    output    m times   as was     / m                / m             / m       m

It is table 3 of the paper. The rate of SGD is as many times higher as there are more
units, and as many times lower as there are more inputs: so kernels by channel or block,
which have the same inputs, get m. In table 8 the output keeps its std and its rate, and
the logits are divided by m, which is the same function and the same steps. Gradients of
what has m times the outputs are m times smaller, and in k times the depth k times, so
CompleteP divides epsilon by m k. Weight decay is that which a rate multiplies.

No name is read, no layer is special, and no shapes of a base are kept in files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jinit._basic import normal, truncated_normal, uniform
from jinit._text import aligned, some
from jinit.laws import Normal, Truncated, Uniform
from jinit.model._role import Role


@dataclass(frozen=True)
class Scaling:
    """How a parameter is scaled from a base model to a wider or deeper one.

    Attributes:
      path: Its path.
      layer: "input", "hidden", "output" or "vector".
      width: By how much wider its inputs are.
      std: What the standard deviation of the base is multiplied with.
      adam: What the learning rate of Adam is multiplied with.
      sgd: What the learning rate of SGD is multiplied with.
      eps: What the epsilon of Adam is multiplied with.
      decay: What the weight decay is multiplied with, beside the learning rate.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> def roles(width):
      ...     params = {"w": jnp.ones((width, 4))}
      ...     return jinit.roles(lambda p, x: x @ p["w"], params, jnp.ones((1, width)))
      >>> (scaling,) = roles(256).mup(roles(64)).entries
      >>> scaling.layer, scaling.std, scaling.adam
      ('output', 0.25, 0.25)
    """

    path: str
    layer: str
    width: float
    std: float
    adam: float
    sgd: float
    eps: float = 1.0
    decay: float = 1.0


class Scale(NamedTuple):
    """A transformation of updates, as `optax.chain` takes it."""

    init: Callable[[Any], Any]
    update: Callable[..., Any]


@dataclass(frozen=True, repr=False)
class Parametrization:
    """What muP or CompleteP makes of a model, by `Roles.mup` or `Roles.completep`.

    It prints as a table, with what is left to be typed into the model below.

    Attributes:
      entries: A `Scaling` for each parameter.
      rules: Rules for `jinit.plan`.
      notes: What a forward pass is to be multiplied with, which no initialization is.
      structure: That of the tree of parameters.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> def roles(width):
      ...     params = {"w": jnp.ones((width, 4))}
      ...     return jinit.roles(lambda p, x: x @ p["w"], params, jnp.ones((1, width)))
      >>> roles(256).mup(roles(64))
      path  layer   width  std   adam  sgd   eps  decay
      w     output  4      0.25  0.25  0.25  1    4
    """

    entries: tuple[Scaling, ...]
    rules: list[tuple[Any, Any]]
    notes: tuple[str, ...]
    structure: Any

    def __repr__(self) -> str:
        titles = ("path", "layer", "width", "std", "adam", "sgd", "eps", "decay")
        rows = [[getattr(entry, title) for title in titles] for entry in self.entries]
        cells = [[c if isinstance(c, str) else f"{c:.4g}" for c in row] for row in rows]
        return "\n".join([aligned([titles, *cells]), *self.notes])

    def multipliers(self, of: str = "adam") -> Any:
        """The multipliers of a learning rate, of eps or of decay.

        Args:
          of: "adam", "sgd", "eps" or "decay".

        Returns:
          A tree of floats like the parameters.

        Raises:
          ValueError: `of` is none of these.
        """
        if of not in ("adam", "sgd", "eps", "decay"):
            raise ValueError(f"of must be 'adam', 'sgd', 'eps' or 'decay', got {of!r}.")
        leaves = [getattr(entry, of) for entry in self.entries]
        return jax.tree.unflatten(self.structure, leaves)

    def scale(self, of: str = "adam") -> Scale:
        """Multiplies updates, after those of Adam or SGD in `optax.chain`.

        Args:
          of: "adam" or "sgd".

        Returns:
          A pair of `init` and `update`, as optax has it.

        Raises:
          ValueError: `of` is neither.

        Example:
          >>> import jax.numpy as jnp, jinit
          >>> params, x = {"w": jnp.ones((8, 4))}, jnp.ones((1, 8))
          >>> roles = jinit.roles(lambda p, x: x @ p["w"], params, x)
          >>> scale = roles.mup(roles).scale()
          >>> scale.update({"w": 2.0}, scale.init({"w": 0.0}))
          ({'w': 2.0}, ())
        """
        if of not in ("adam", "sgd"):
            raise ValueError(f"of must be 'adam' or 'sgd', got {of!r}.")
        factors = self.multipliers(of)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            return jax.tree.map(_times, updates, factors), state

        return Scale(lambda params: (), update)


def _times(update: Any, factor: float) -> Any:
    return update if factor == 1 else update * factor  # as it is: a key, a counter


def parametrized(
    roles: Sequence[Role],
    base: Sequence[Role],
    rules: tuple[list[Any], list[Any]],
    structure: Any,
    deep: bool,
) -> Parametrization:
    """The parametrization of a model by a base, and by the rules of both."""
    _check_same(roles, base)
    entries, decided, notes = list[Scaling](), [], list[str]()
    for role, small, own, of_base in zip(roles, base, *rules, strict=True):
        entry = _scaling(role, small, deep)
        entries.append(entry)
        decided.append((own[0], _scaled(of_base[1], own[1], small, entry.std)))
        notes += _notes(role, small, deep)
    return Parametrization(
        tuple(entries), decided, tuple(dict.fromkeys(notes)), structure
    )


def _check_same(roles: Sequence[Role], base: Sequence[Role]) -> None:
    paths, others = ({role.path for role in each} for each in (roles, base))
    if paths != others:
        raise ValueError(
            "base must be the roles of the same model in another size, but only one "
            f"of the two has {some(sorted(paths ^ others))}; scan the layers, or give "
            "a base of the same depth."
        )


def _scaling(role: Role, base: Role, deep: bool) -> Scaling:
    vector = role.kind != "contraction" or role.tied
    # Units that grow, within a kernel or beside each other, as channels and blocks, get
    # gradients that are as much smaller.
    others = ("index", "stack") if vector else ("index", "stack", "in", "space")
    units = _growth(role, base, lambda axis: axis not in others)
    eps = 1 / (units * _deeper(role, base)) if deep else 1.0
    m = 1.0 if vector else role.fan_in / base.fan_in
    if m == 1:
        layer = "vector" if vector and len(role.shape) < 2 else "input"
        return Scaling(role.path, layer, 1.0, 1.0, 1.0, units, eps)
    if units == 1:
        return Scaling(role.path, "output", m, 1 / m, 1 / m, 1 / m, eps, m)
    return Scaling(role.path, "hidden", m, m**-0.5, 1 / m, units / m, eps, m)


def _deeper(role: Role, base: Role) -> float:
    """By how many times it has more branches beside it, or layers in its loop."""
    if role.place is not None and base.place is not None:
        return role.place.branches / base.place.branches
    return _growth(role, base, lambda axis: axis == "stack")


def _growth(role: Role, base: Role, counts: Callable[[str], bool]) -> float:
    """By how many times it is larger along the axes that count."""
    axes = role.axes or ("",) * len(role.shape)
    sizes = zip(role.shape, base.shape, axes, strict=False)
    return math.prod(size / small for size, small, axis in sizes if counts(axis))


def _scaled(init: Any, own: Any, base: Role, factor: float) -> Any:
    """What a base draws, scaled; of what has no plain law the model's own rule."""
    law = init.law(base.shape) if hasattr(init, "law") else None
    if isinstance(law, Normal):
        return normal(std=law.std * factor)
    if isinstance(law, Uniform):
        bound = math.sqrt(3) * law.std * factor
        return uniform(a=-bound, b=bound)
    if isinstance(law, Truncated) and law.std:
        return truncated_normal(std=law.std * factor, corrected=True)
    return own


def _notes(role: Role, base: Role, deep: bool) -> list[str]:
    notes = []
    if role.head_size != base.head_size and "query" in role.parts:
        share = math.sqrt(base.head_size / role.head_size)
        notes.append(
            f"attention: multiply the logits by {share:.4g}: they are to be divided by "
            f"the size of a head, {role.head_size}, and not by its root"
        )
    if role.tied and role.fan_in != base.fan_in:
        share = base.fan_in / role.fan_in
        notes.append(
            f"{role.path} is tied: multiply the logits of the head by {share:.4g}"
        )
    if deep and (deeper := _deeper(role, base)) != 1:
        notes.append(f"branches: multiply each by {1 / deeper:.4g} before it is added")
    return notes
