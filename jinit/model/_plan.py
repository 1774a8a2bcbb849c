"""Plans: which initializer draws each leaf of a model, decided before any is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jinit._checks import Shape, check_keys, is_traced
from jinit._text import some
from jinit._types import ArrayTree, PRNGKey
from jinit.model._drawing import by_devices, draw
from jinit.model._entries import ARRAYS, Entry, check_fit, from_json, table, to_json
from jinit.model._paths import axis_names, put
from jinit.model._pretrained import Pretrained
from jinit.model._rules import Rules, decide
from jinit.model._shardings import Shardings, spread
from jinit.model._tree import HELD, Tree, leaves_of, tree_of


def plan(
    tree: ArrayTree,
    rules: Rules,
    default: Callable[..., object] | None = None,
    *,
    allow_unused: bool = False,
) -> Plan:
    """Decides which initializer draws each leaf of a tree, and checks that it can.

    Args:
      tree: Any pytree of arrays, or of shapes as `jax.eval_shape(model.init, ...)` has.
        An array that it has at several paths is drawn once, and stays tied.
      rules: A mapping, or a sequence of pairs, from patterns to what they give. The
        first that matches the whole path of a leaf holds: a glob, in which `*` stays
        within a segment and `**` is any number of them, such as "**/attn/kernel"; or a
        compiled regular expression. It gives an initializer, jinit's or any function
        `(key, shape, dtype)`; None, to leave the leaf as it is; or a function
        `(path, shape)` that returns one or the other, and is given the shapes of all
        leaves by path if it has a parameter `shapes` too; and, as `names`, those that
        boxes such as `flax.linen.Partitioned` give to axes.
      default: The initializer of other leaves; by default there must be none.
      allow_unused: Whether a pattern may be the first to match no leaf at all.

    Returns:
      A `Plan`, to print and to run: `plan.init(key)`.

    Raises:
      TypeError: A leaf to be drawn is no array, or a rule no pattern and initializer.
      ValueError: A malformed pattern, leaves without a rule, rules without a leaf, or
        an initializer that refuses the shape or the dtype of a leaf.

    Example:
      >>> import jax, jinit
      >>> tree = {"w": jax.ShapeDtypeStruct((64, 10), "float32"),
      ...         "b": jax.ShapeDtypeStruct((10,), "float32")}
      >>> jinit.plan(tree, {"w": jinit.he_normal(), "*": jinit.zeros()})
      path  shape     dtype    rule  initializer  fans    std
      b     (10,)     float32  *     zeros()              0
      w     (64, 10)  float32  w     he_normal()  64, 10  0.1768
    """
    leaves, treedef = leaves_of(tree)
    decided = decide(leaves, rules, default, axis_names(tree, dict(leaves)))
    if decided.unknown:
        reasons = "; ".join(f"{p!r}: {why}" for p, why in decided.unknown.items())
        raise ValueError(
            f"rules must know every leaf, but do not know {len(decided.unknown)} of "
            f"them; give a rule before for each. {reasons}."
        )
    if decided.unmatched:
        raise ValueError(
            f"rules must match every leaf, but none matches {some(decided.unmatched)}; "
            "add a rule for them, or give default=, an initializer."
        )
    if decided.unused and not allow_unused:
        raise ValueError(
            "rules must each be the first to match a leaf, but there is none for "
            f"{some(decided.unused)} among {some(path for path, _ in leaves)}; correct "
            "the pattern, move it before wider ones, or pass allow_unused=True."
        )
    check_fit(decided.entries)
    return Plan(decided.entries, tree_of(leaves, treedef, decided.entries))


def reinit(
    key: PRNGKey,
    params: ArrayTree,
    rules: Rules,
    default: Callable[..., object] | None = None,
    *,
    allow_unused: bool = False,
    donate: bool = False,
) -> ArrayTree:
    """Draws parameters anew, each in the dtype and the sharding that it has.

        reinit(key, params, rules) = plan(params, rules).init(key)

    Args:
      key: A JAX key, or an array of keys: see `Plan.init`.
      params: Arrays in any pytree.
      rules: As `jinit.plan` takes them; None leaves a parameter as it is.
      default: The initializer of parameters that no pattern matches.
      allow_unused: Whether a pattern may be the first to match no parameter at all.
      donate: Whether to give up the old arrays, but for those left as they are: the new
        ones take their memory, and they cannot be used any more.

    Returns:
      A tree like `params`.

    Raises:
      TypeError: As `jinit.plan` does, and where `key` is not a key.
      ValueError: Likewise, and for several keys with `donate=True`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> old = {"kernel": jnp.ones((64, 64), "bfloat16"), "scale": jnp.full(64, 2.0)}
      >>> rules = {"kernel": jinit.orthogonal(), "scale": None}
      >>> new = jinit.reinit(jax.random.key(0), old, rules)
      >>> print(new["kernel"].dtype, new["scale"].mean())
      bfloat16 2.0
    """
    decided = plan(params, rules, default, allow_unused=allow_unused)
    if not donate:
        return decided._init(key)
    keep = {id(key), *map(id, decided._tree.kept.values())}
    given_up = {
        id(leaf): leaf  # tied parameters are one array, which is given up once
        for leaf in jax.tree.leaves(params)
        if isinstance(leaf, jax.Array) and not is_traced(leaf) and id(leaf) not in keep
    }
    return decided._init(key, None, list(given_up.values()))


@dataclass(frozen=True, repr=False)
class Plan:
    """Which initializer draws each leaf of a tree: what `jinit.plan` returns.

    It prints as a table of its entries, with the fans that initializers scale by and
    the standard deviation that they give. Plans are equal if their results are: if
    their entries are, the kind of tree, where its leaves lie, and what is left as it
    is, which is compared by identity. `len(plan)` counts the entries, and a loop over
    the plan runs through them.

    Attributes:
      entries: One `Entry` for each leaf, in the order of the tree.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> tree = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}
      >>> plan = jinit.plan(tree, {"kernel": jinit.lecun_normal(), "bias": None})
      >>> [(entry.path, entry.init) for entry in plan]
      [('bias', None), ('kernel', lecun_normal())]
    """

    entries: tuple[Entry, ...]
    _tree: Tree

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __repr__(self) -> str:
        return table(self.entries)

    def init(self, key: PRNGKey, out_shardings: Shardings = None) -> ArrayTree:
        """Draws a tree like the one that the plan was made of.

            leaf at path = init(key of the path, shape, dtype)

        The key of a path is `key` with SHA-256 of the path folded in, much as in
        flax.linen. So weights do not depend on other leaves, nor do those of jinit on
        `jit` or the mesh (orthogonal ones up to rounding).

        Args:
          key: A JAX key, typed or raw. An array of n keys gives all leaves, those left
            as they are too, an axis of n members in front: what each key gives.
          out_shardings: A sharding; a pytree of them, such as a prefix of the tree; or
            a function of the path and the `jax.ShapeDtypeStruct` of a leaf. Where it
            gives None, a leaf lies where it did in the tree, if it was put there.

        Raises:
          TypeError: `key` is not a key, or `out_shardings` gives no sharding.
          ValueError: A key array of several axes, a sharding that does not fit, or a
            leaf that is left as it is in a plan that was made of shapes.

        Example:
          >>> import jax, jinit
          >>> tree = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
          >>> decided = jinit.plan(tree, {"*": jinit.normal()})
          >>> decided.init(jax.random.split(jax.random.key(0), 3))["w"].shape
          (3, 8, 4)
        """
        drawn = self._init(key, out_shardings)
        # A copy of what is kept, for results may be written to, or given up.
        kept = {id(w) for w in self._tree.kept.values() if isinstance(w, HELD)}
        return jax.tree.map(lambda w: w.copy() if id(w) in kept else w, drawn)

    def _init(self, key: Any, out_shardings: Any = None, given_up: Any = ()) -> Any:
        """Draws the tree, into the memory of the arrays that are given up."""
        key = check_keys(key)
        if key.ndim > 1 or (key.ndim and given_up):
            allowed = "one key" if given_up else "one key, or an array of one axis"
            raise ValueError(f"key must be {allowed}, got keys of shape {key.shape}.")
        kinds = {
            entry.path: jax.ShapeDtypeStruct(
                (*key.shape, *entry.shape),
                bool if entry.dtype == object else entry.dtype,
            )
            for entry in self.entries
        }
        asked = spread(out_shardings, self._tree.filled(kinds))
        at = dict(zip(self._tree.paths, asked, strict=True))
        kept = [entry for entry in self if entry.init is None]
        leaves = {e.path: self._kept(e, key.shape, at[e.path]) for e in kept}
        tied = self._tree.tied
        drawn = tuple(e for e in self if e.init is not None and e.path not in tied)
        own = {e.path: self._own(e.path, key.ndim) for e in drawn}
        own = {p: own[p] if at[p] is None else at[p] for p in own}
        # What is there need not be drawn, nor be a constant of a program.
        there = [e for e in drawn if isinstance(e.init, Pretrained)]
        for e in there:
            given: Any = e.init
            leaves[e.path] = given.place(key.shape, e.dtype, own[e.path])
        drawn = tuple(e for e in drawn if e.path not in leaves)
        if drawn:
            layout = tuple(own[e.path] for e in drawn)
            for group in by_devices(drawn, layout, self._tree.free):
                some_drawn, places = zip(*group, strict=True)
                arrays = draw(some_drawn, places, key, given_up)
                leaves |= zip((e.path for e in some_drawn), arrays, strict=True)
        return self._tree.filled(leaves)

    def _own(self, path: str, stacked: int) -> jax.sharding.Sharding | None:
        """The sharding that a leaf had, for a stack of them if there are several."""
        own = self._tree.shardings.get(path)
        if not stacked or not isinstance(own, NamedSharding):
            return own
        return NamedSharding(own.mesh, PartitionSpec(None, *own.spec))

    def _kept(self, entry: Entry, stack: Shape, sharding: Any) -> Any:
        """The array of a leaf that is left as it is."""
        if entry.path not in self._tree.kept:
            raise ValueError(
                f"rule {entry.rule!r} leaves {entry.path!r} as it is, but the plan was "
                "made of shapes; make it of arrays, or give an initializer."
            )
        leaf = self._tree.kept[entry.path]
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        if stack:
            leaf = jnp.broadcast_to(leaf, (*stack, *entry.shape))
        return leaf if sharding is None else jax.device_put(leaf, sharding)

    def to_json(self) -> str:
        """Returns the plan, but for the arrays left as they are, as JSON.

        Raises:
          TypeError: An initializer that is not one of jinit's, or a dtype that is not
            one of numbers: neither has a name to be found by. A leaf that is taken
            from another tree (`jinit.pretrained`).
          ValueError: An option that is traced, or given as a function.

        Example:
          >>> import jax.numpy as jnp, json, jinit
          >>> text = jinit.plan({"w": jnp.zeros(3)}, {"*": jinit.ones()}).to_json()
          >>> [leaf["path"] for leaf in json.loads(text)["leaves"]]
          ['w']
        """
        for entry in self:
            if isinstance(entry.init, Pretrained):
                raise TypeError(
                    f"leaf {entry.path!r}: JSON has no room for the weights of "
                    f"{entry.init!r}; keep the tree and the mapping, and plan anew."
                )
        return to_json(self.entries)

    @classmethod
    def from_json(cls, text: str, tree: ArrayTree | None = None) -> Self:
        """Reads what `to_json` wrote, as a plan equal to that one.

        Args:
          text: The JSON.
          tree: A tree that has the paths, shapes and dtypes of the plan, which will
            initialize one like it, and leave its arrays where a rule says so; without
            it the plan initializes nested dicts, with a key for each segment of a path.

        Returns:
          A plan of the entries that were written down; equal to the plan that was, if
          it is of the same tree.

        Raises:
          TypeError: `text` is not a string.
          ValueError: It is not JSON, or not that of a plan of this version; or the tree
            has other leaves.

        Example:
          >>> import jax, jinit
          >>> tree = ({"w": jax.ShapeDtypeStruct((2, 3), "float32")},)
          >>> text = jinit.plan(tree, {"**": jinit.ones()}).to_json()
          >>> jinit.Plan.from_json(text).init(jax.random.key(0))["0"]["w"].shape
          (2, 3)
          >>> jinit.Plan.from_json(text, tree).init(jax.random.key(0))[0]["w"].shape
          (2, 3)
        """
        entries = from_json(text)
        check_fit(entries)
        if tree is None:
            paths, treedef = jax.tree.flatten(_nested(entry.path for entry in entries))
            return cls(entries, Tree(treedef, tuple(paths), {}, {}))
        leaves, treedef = leaves_of(tree)
        _check_same(entries, leaves)
        return cls(entries, tree_of(leaves, treedef, entries))


def _nested(paths: Iterable[str]) -> dict[str, Any]:
    """Nested dicts that hold each path at its own place."""
    tree: dict[str, Any] = {}
    for path in paths:
        if not put(tree, path.split("/"), path):
            raise ValueError(
                f"nested dicts cannot hold {path!r} and a leaf within or above it; "
                "give the tree that the plan was made of: tree=."
            )
    return tree


def _check_same(entries: Iterable[Entry], leaves: Iterable[tuple[str, Any]]) -> None:
    """Refuses a tree whose leaves are not those of the plan."""
    planned = {entry.path: (entry.shape, entry.dtype.name) for entry in entries}
    found = {
        path: (tuple(leaf.shape), leaf.dtype.name)
        if isinstance(leaf, ARRAYS)
        else ((), "object")
        for path, leaf in leaves
    }
    differ = [p for p in planned | found if planned.get(p) != found.get(p)]
    if differ:
        first = differ[0]
        raise ValueError(
            f"tree must have the leaves of the plan, but {some(differ)} differ: "
            f"{first!r} has {planned.get(first)} planned, {found.get(first)} found."
        )
