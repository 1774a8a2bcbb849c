"""Shardings of the leaves of a tree, however they are given."""

from __future__ import annotations

from typing import Any

import jax
from jax.experimental.layout import Format
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from jinit._checks import Shape, check_sharding
from jinit.model._paths import path_of

Shardings = Any  # a sharding, a pytree of them, or a function of path and shape


def spread(out_shardings: Shardings, tree: Any) -> list[Any]:
    """One sharding, or None, for each leaf of a tree of `jax.ShapeDtypeStruct`s."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if callable(out_shardings) and jax.tree_util.all_leaves([out_shardings]):
        asked = [out_shardings(path_of(keypath), leaf) for keypath, leaf in leaves]
    else:
        asked = _broadcast(out_shardings, tree)
    for (keypath, leaf), sharding in zip(leaves, asked, strict=True):
        _check(keypath, sharding, leaf.shape)
    return asked


def _broadcast(out_shardings: Any, tree: Any) -> list[Any]:
    # None is a leaf of the shardings, where it leaves the choice, but not of the tree.
    free = object()

    def is_leaf(value: Any) -> bool:
        return value is None or value is free or isinstance(value, PartitionSpec)

    try:
        asked = jax.tree.map(
            lambda at: free if at is None else at, out_shardings, is_leaf=is_leaf
        )
        each = jax.tree.broadcast(asked, tree, is_leaf=is_leaf)
    except ValueError as error:
        raise ValueError(
            "out_shardings must be a sharding, a function of path and shape, or a "
            f"prefix of the tree: {error}"
        ) from None
    leaves = jax.tree.leaves(each, is_leaf=lambda at: isinstance(at, PartitionSpec))
    return [None if leaf is free else leaf for leaf in leaves]


def _check(keypath: Any, sharding: Any, shape: Shape) -> None:
    try:
        where = repr(path_of(keypath))
    except TypeError:  # it has a key that makes no path
        where = jax.tree_util.keystr(keypath)
    try:
        if isinstance(sharding, NamedSharding | PartitionSpec):
            check_sharding(sharding, shape)
    except ValueError as error:
        raise ValueError(f"out_shardings does not fit {where}: {error}") from None
    if not (
        sharding is None or isinstance(sharding, Sharding | PartitionSpec | Format)
    ):
        raise TypeError(
            "out_shardings must give jax.sharding.Shardings, PartitionSpecs or None, "
            f"got {sharding!r} for {where}."
        )


def everywhere(at: Any) -> Sharding | None:
    """All that an array of this sharding may lie on, for one that is whole."""
    if isinstance(at, NamedSharding):
        return NamedSharding(at.mesh, PartitionSpec())
    return at if isinstance(at, Sharding) else None
