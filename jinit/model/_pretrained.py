"""Pretrained leaves: some of a plan that come from another tree, by their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._checks import Shape, is_mapping
from jinit._initializer import Initializer, option
from jinit._types import ArrayTree
from jinit.model._layers import Unknown
from jinit.model._paths import Pattern, named_leaves, renamer

_ARRAYS = jax.Array | np.ndarray | np.generic


def pretrained(
    tree: ArrayTree, mapping: Mapping[Any, str] | Sequence[tuple[Pattern, str]]
) -> list[tuple[Pattern, Any]]:
    r"""Rules for `jinit.plan`: leaves that come from another tree, as a checkpoint.

        jinit.plan(params, [*jinit.pretrained(tree, mapping), *rules])

    The first rule that matches a leaf holds, as in any plan, so what is drawn anew in
    spite of a wide pattern goes before, and the rest after. The plan shows the source
    of each leaf. It is refused where a source is not there or does not fit, and where a
    pattern is the first to match no leaf.

    The arrays are neither copied nor compared until `Plan.init` puts them where the
    leaves are to lie; a floating-point leaf of another dtype is rounded once. They are
    in no compiled program, unless `Plan.init` is called within `jax.jit`, whose program
    then has them as constants.

    Args:
      tree: Any pytree of arrays, as `jinit.diagnostics.read_checkpoint` returns it.
      mapping: From patterns of the paths of leaves, as `jinit.plan` takes them, to
        paths in the tree. What * and ** stand for in a path takes the places of those
        in the other, which has as many, in order: "encoder/**" to "bert/**". The groups
        of a regular expression are written as in `re.sub`: r"h/\1/kernel".

    Returns:
      Pairs of a pattern and a function of the path, to go before or after others.

    Raises:
      TypeError: `mapping` is no mapping or pairs, or a source is not a string.
      ValueError: Two leaves of the tree have one path, a pattern is malformed, or a
        source has other stars or groups than its pattern.

    Example:
      >>> import jax, numpy as np, jinit
      >>> old = {"bert": {"dense": {"kernel": np.full((8, 4), 0.5, "float32")}}}
      >>> leaf = jax.ShapeDtypeStruct((8, 4), "bfloat16")
      >>> params = {"encoder": {"dense": {"kernel": leaf}}, "head": {"kernel": leaf}}
      >>> there = jinit.pretrained(old, {"encoder/**": "bert/**"})
      >>> plan = jinit.plan(params, [*there, ("head/*", jinit.lecun_normal())])
      >>> print(*(f"{entry.path}: {entry.init}" for entry in plan), sep="\n")
      encoder/dense/kernel: pretrained('bert/dense/kernel')
      head/kernel: lecun_normal()
      >>> plan.init(jax.random.key(0))["encoder"]["dense"]["kernel"].mean().item()
      0.5
    """
    leaves, given = dict(named_leaves(tree)[0]), cast("Any", mapping)
    try:
        pairs = list(given.items() if is_mapping(given) else given)
        if isinstance(mapping, str) or any(len(pair) != 2 for pair in pairs):
            raise TypeError
    except TypeError:
        raise TypeError(
            "mapping must be a mapping from patterns to paths in the tree, or a "
            f"sequence of such pairs, got {mapping!r}."
        ) from None
    for pattern, source in pairs:
        if not isinstance(source, str):
            raise TypeError(
                f"mapping[{pattern!r}] must be the path of a leaf in the tree, got "
                f"{source!r}."
            )
    return [(p, _Source(renamer(p, source), leaves)) for p, source in pairs]


@dataclass(frozen=True)
class _Source:
    """What a rule gives: of a leaf's path the leaf of the tree that it comes from."""

    rename: Callable[[str], str]
    leaves: Mapping[str, Any]

    def __call__(self, path: str, shape: Shape) -> Pretrained:
        source = self.rename(path)
        if source not in self.leaves:
            near = _checks.nearest(source, self.leaves).removesuffix(".")
            raise Unknown(f"its source {source!r} is not in the tree{near}")
        return Pretrained(source, array=self.leaves[source])


class Pretrained(Initializer):
    """Gives an array that is there, for a leaf of its shape.

    Two are equal if they give the same array from the same path; which is told by
    identity, for to compare what is in it may take long.
    """

    source: str = option(lambda name, value: value, kw_only=False)
    array: Any = option(lambda name, value: value)
    _random = False

    def __repr__(self) -> str:
        return f"pretrained({self.source!r})"

    def _values(self) -> tuple[Any, ...]:
        return self.source, id(self.array)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        array = self.array
        if not isinstance(array, _ARRAYS):
            raise ValueError(
                f"tree must have an array at {self.source!r}, got {array!r}; load it, "
                "or give the leaf another rule before."
            )
        if array.shape != shape:
            raise ValueError(
                f"{self.source!r} has shape {array.shape}; transplant it into the "
                "leaf's (jinit.transplant), or give the leaf another rule before."
            )
        kinds = (np.floating, np.complexfloating)
        both = (array.dtype, dtype)
        rounds = any(all(jnp.issubdtype(d, kind) for d in both) for kind in kinds)
        if not rounds and not np.can_cast(*both):
            raise ValueError(
                f"{self.source!r} has dtype {array.dtype.name}, which {dtype.name} "
                "does not hold; convert it before."
            )

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        same = self.array.dtype == dtype
        return jnp.asarray(self.array) if same else _draws.cast(self.array, dtype)

    def place(self, stack: Shape, dtype: np.dtype, at: Any) -> jax.Array:
        """The array where it is to lie, a copy of its own; `stack` is in front."""
        same = self.array.dtype == dtype
        w = self.array if same else _draws.cast(self.array, dtype)
        if stack:
            w = jnp.broadcast_to(w, (*stack, *w.shape))
        placed = jax.device_put(w, at)
        # Which may be the array itself, or on a CPU have the memory of NumPy's.
        return placed.copy() if same else placed
