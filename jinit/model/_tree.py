"""The tree that a plan is made of: its leaves, where they lie, which are one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jinit._checks import is_traced
from jinit.model._entries import Entry
from jinit.model._paths import named_leaves

HELD = jax.Array | np.ndarray
"""What may be written to later, or be the same array at several paths."""


@dataclass(frozen=True, eq=False)
class Tree:
    """What the leaves are put into, and what is known of those it had."""

    treedef: Any
    paths: tuple[str, ...]
    kept: Mapping[str, Any]  # leaves that are left as they are
    shardings: Mapping[str, jax.sharding.Sharding]
    free: frozenset[str] = frozenset()  # arrays on a device that JAX chose
    tied: Mapping[str, str] = field(default_factory=dict)  # to the first path of each

    def _identity(self) -> Hashable:
        # Of leaves that are kept: which, for to compare what is in them may take long.
        kept = tuple((path, id(leaf)) for path, leaf in self.kept.items())
        placed = tuple(self.shardings.items()), self.free
        return self.treedef, self.paths, kept, placed, tuple(self.tied.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def filled(self, leaves: Mapping[str, Any]) -> Any:
        tied = self.tied
        return self.treedef.unflatten([leaves[tied.get(p, p)] for p in self.paths])


def leaves_of(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The leaves with their paths; what is no array, a rule may leave as it is."""
    leaves, treedef = named_leaves(tree)
    for path, leaf in leaves:
        if isinstance(leaf, jax.Array) and not is_traced(leaf) and leaf.is_deleted():
            raise ValueError(
                f"leaves of tree must be arrays that are there, but that at {path!r} "
                "was given up (donated); keep it, or use what was made of it."
            )
    return leaves, treedef


def tree_of(
    named: Iterable[tuple[str, Any]], treedef: Any, entries: Iterable[Entry]
) -> Tree:
    leaves = dict(named)
    kept = {entry.path: leaves[entry.path] for entry in entries if entry.init is None}
    known = {
        path: leaf
        for path, leaf in kept.items()
        if not isinstance(leaf, jax.ShapeDtypeStruct)
    }
    placed = {path: _own_sharding(leaf) for path, leaf in leaves.items()}
    shardings = {path: at for path, at in placed.items() if at is not None}
    free = {path for path, leaf in leaves.items() if _is_free(leaf)}
    tied = _tied(leaves, entries)
    return Tree(treedef, tuple(leaves), known, shardings, frozenset(free), tied)


def _tied(leaves: Mapping[str, Any], entries: Iterable[Entry]) -> dict[str, str]:
    """The paths at which an array is once more, and that where it is first."""
    first, tied = dict[int, Entry](), dict[str, str]()
    for entry in entries:
        leaf = leaves[entry.path]
        drawn = entry.init is not None and getattr(entry.init, "_random", True)
        if not drawn or not isinstance(leaf, HELD):
            continue
        other = first.setdefault(id(leaf), entry)
        if other.init != entry.init:
            raise ValueError(
                f"rules must give one initializer to {other.path!r} and "
                f"{entry.path!r}, which are one array (tied), got {other.init!r} and "
                f"{entry.init!r}; give both the same, or untie them with "
                "jax.numpy.copy."
            )
        if other is not entry:
            tied[entry.path] = other.path
    return tied


def _is_free(leaf: Any) -> bool:
    """Whether it is an array that JAX may put where it likes."""
    shape = isinstance(leaf, jax.ShapeDtypeStruct) or is_traced(leaf)
    return not shape and not getattr(leaf, "committed", False)


def _own_sharding(leaf: Any) -> jax.sharding.Sharding | None:
    """Where a leaf was put, or is to be put; None where JAX chooses."""
    at = getattr(leaf, "sharding", None)
    if isinstance(at, NamedSharding):
        # The shapes of what is only traced have a mesh without devices.
        return at if isinstance(at.mesh, Mesh) else None
    return None if is_traced(leaf) or _is_free(leaf) else at
