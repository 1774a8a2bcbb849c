"""Plans: which initializer draws each leaf of a model, decided before any is drawn."""

from __future__ import annotations

import inspect
import re
from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jinit._checks import Shape, check_keys, is_mapping, is_traced
from jinit._combine import check_init
from jinit._initializer import Initializer
from jinit._text import some
from jinit._types import ArrayTree, PRNGKey
from jinit.model._entries import Entry, check_fit, from_json, table, to_json
from jinit.model._jit_init import jit_init
from jinit.model._layers import Unknown
from jinit.model._paths import (
    LeafPath,
    Pattern,
    axis_names,
    fold_path,
    matcher,
    named_leaves,
)
from jinit.model._pretrained import Pretrained
from jinit.model._shardings import Shardings, everywhere, spread

Rules = Mapping[Any, object] | Sequence[tuple[Pattern, object]]
"""Patterns over paths, and what each gives: an initializer, a function of it, None."""


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
    leaves, treedef = _leaves(tree)
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
    return Plan(decided.entries, _tree(leaves, treedef, decided.entries))


class Decided(NamedTuple):
    """What rules make of leaves, and what is left to be said."""

    entries: tuple[Entry, ...]
    unmatched: list[str]  # paths that no rule matches
    unused: list[str]  # rules that match no leaf, or none before others do
    unknown: dict[str, str]  # why a rule set cannot tell, by path


def decide(
    leaves: Sequence[tuple[str, Any]],
    rules: Any,
    default: Any = None,
    names: Mapping[str, tuple[Any, ...]] = MappingProxyType({}),
) -> Decided:
    """Finds the rule of each leaf, and what it gives; `names` are those of axes."""
    checked, last = _rules(rules), []
    if default is not None:
        last = [_Rule(None, lambda path: True, check_init("default", default))]
    first = {
        path: next((rule for rule in (*checked, *last) if rule.matches(path)), None)
        for path, _ in leaves
    }
    used = set(first.values())
    idle = [rule for rule in checked if rule not in used]
    # What is read of a program has a rule for each leaf, which others may go before.
    unused = [str(r.text) for r in idle if not (_of_leaf(r) and r.text in first)]
    unmatched = [path for path, rule in first.items() if rule is None]
    shapes = MappingProxyType(
        {path: tuple(leaf.shape) for path, leaf in leaves if isinstance(leaf, _ARRAYS)}
    )
    entries, unknown = [], {}
    for path, leaf in leaves:
        if first[path] is not None:
            try:
                entries.append(_entry(first[path], path, leaf, shapes, names))
            except Unknown as error:
                unknown[path] = str(error)
    return Decided(tuple(entries), unmatched, unused, unknown)


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
    _tree: _Tree

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
        kept = {id(w) for w in self._tree.kept.values() if isinstance(w, _COPIED)}
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
            for group in _groups(drawn, layout, self._tree.free):
                some_drawn, places = zip(*group, strict=True)
                arrays = _run(some_drawn, places, key, given_up)
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
            return cls(entries, _Tree(treedef, tuple(paths), {}, {}))
        leaves, treedef = _leaves(tree)
        _check_same(entries, leaves)
        return cls(entries, _tree(leaves, treedef, entries))


@dataclass(frozen=True, eq=False)
class _Tree:
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
        return isinstance(other, _Tree) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def filled(self, leaves: Mapping[str, Any]) -> Any:
        tied = self.tied
        return self.treedef.unflatten([leaves[tied.get(p, p)] for p in self.paths])


@dataclass(frozen=True, eq=False)
class _Rule:
    """A pattern, as text and as a test, and what it gives; the default has no text."""

    text: str | None
    matches: Callable[[str], bool]
    gives: Any


def _rules(rules: Any) -> list[_Rule]:
    try:
        if isinstance(rules, str):
            raise TypeError
        pairs = list(rules.items() if is_mapping(rules) else rules)
        if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
            raise TypeError
    except TypeError:
        raise TypeError(
            "rules must be a mapping from patterns to initializers, or a sequence of "
            f"such pairs, got {rules!r}."
        ) from None
    checked = []
    for pattern, gives in pairs:
        matches, text = matcher(pattern), pattern
        if isinstance(pattern, re.Pattern):
            text = f"re.compile({pattern.pattern!r})"
        if gives is not None and not _takes_path(gives):
            gives = check_init(f"rules[{text!r}]", gives)
        checked.append(_Rule(text, matches, gives))
    return checked


def _of_leaf(rule: _Rule) -> bool:
    return isinstance(rule.text, LeafPath)


def _takes_path(function: Any) -> bool:
    """Whether a rule gives a function of the path, rather than an initializer."""
    if isinstance(function, Initializer | type) or not callable(function):
        return False
    return next(iter(_parameters(function)), None) == "path"


def _parameters(function: Any) -> Sequence[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # it has no signature
        return ()


def _entry(
    rule: Any, path: str, leaf: Any, shapes: Mapping[str, Shape], names: Any
) -> Entry:
    """What a rule makes of a leaf."""
    init = rule.gives
    if path not in shapes:
        if init is not None:
            raise TypeError(
                f"leaves of tree must be arrays or jax.ShapeDtypeStructs, got {leaf!r} "
                f"at {path!r}; make it an array, or leave it as it is: a rule before "
                "others that gives None."
            )
        return Entry(path, (), np.dtype(object), rule.text, None)
    if rule.text is not None and _takes_path(init):
        others = {"shapes": shapes, "names": names}
        others = {name: others[name] for name in others if name in _parameters(init)}
        try:
            init = init(path, shapes[path], **others)
        except Unknown:
            raise
        except Exception as error:  # a function of the user's may raise anything
            raise ValueError(
                f"rule {rule.text!r} must be a function of path and shape that returns "
                f"an initializer or None, but raised {type(error).__name__} for "
                f"{path!r}: {error}."
            ) from error
        if init is not None:
            init = check_init(f"what rule {rule.text!r} gives for {path!r}", init)
    return Entry(path, tuple(leaf.shape), leaf.dtype, rule.text, init)


_COPIED = jax.Array | np.ndarray
_ARRAYS = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct


def _leaves(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The leaves with their paths; what is no array, a rule may leave as it is."""
    leaves, treedef = named_leaves(tree)
    for path, leaf in leaves:
        if isinstance(leaf, jax.Array) and not is_traced(leaf) and leaf.is_deleted():
            raise ValueError(
                f"leaves of tree must be arrays that are there, but that at {path!r} "
                "was given up (donated); keep it, or use what was made of it."
            )
    return leaves, treedef


def _tree(
    named: Iterable[tuple[str, Any]], treedef: Any, entries: Iterable[Entry]
) -> _Tree:
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
    return _Tree(treedef, tuple(leaves), known, shardings, frozenset(free), tied)


def _tied(leaves: Mapping[str, Any], entries: Iterable[Entry]) -> dict[str, str]:
    """The paths at which an array is once more, and that where it is first."""
    first, tied = dict[int, Entry](), dict[str, str]()
    for entry in entries:
        leaf = leaves[entry.path]
        drawn = entry.init is not None and getattr(entry.init, "_random", True)
        if not drawn or not isinstance(leaf, _COPIED):
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


def _groups(
    entries: Sequence[Entry], layout: Sequence[Any], free: Set[str]
) -> Iterable[list[tuple[Entry, Any]]]:
    """What one program can draw: the leaves that lie on the same devices.

    A leaf that is not told where to lie lies where the first that is does, but for an
    array that was not told either.
    """
    places = [None if at is None else _devices(at) for at in layout]
    first = next((place for place in places if place is not None), None)
    groups: dict[Any, list[tuple[Entry, Any]]] = {}
    for entry, at, place in zip(entries, layout, places, strict=True):
        if place is None and entry.path not in free:
            place = first
        groups.setdefault(place, []).append((entry, at))
    return groups.values()


def _devices(at: Any) -> Any:
    at = getattr(at, "sharding", at)  # of a layout
    return frozenset(at.device_set) if isinstance(at, jax.sharding.Sharding) else "mesh"


@lru_cache(maxsize=32)
def _program(
    entries: tuple[Entry, ...],
    layout: tuple[Any, ...],
    batched: bool,
    donate: bool,
    jit: Callable[..., Any],
    mesh: Any,  # on which a PartitionSpec depends
) -> Callable[..., list[jax.Array]]:
    """The compiled draws of a plan, which equal plans share."""
    draw = _draw_each if batched else _draw
    options: Any = {"out_shardings": list(layout)}
    if not donate:
        return jit(lambda key: draw(entries, key), **options)
    options |= {"donate_argnums": 1, "keep_unused": True}
    return jax.jit(lambda key, _: draw(entries, key), **options)


def _run(
    entries: tuple[Entry, ...], layout: tuple[Any, ...], key: Any, given_up: Any
) -> list[jax.Array]:
    try:
        hash(entries)
        make, jit = _program, jit_init
    except TypeError:  # a traced option has none, nor have some functions of others
        make, jit = _program.__wrapped__, jax.jit
    mesh = jax.sharding.get_abstract_mesh()
    devices = next((_devices(at) for at in layout if at is not None), None)
    given_up = [
        w for w in given_up if (_devices(w) if w.committed else None) == devices
    ]
    if isinstance(devices, frozenset) and not is_traced(key) and key.committed:
        key = jax.device_put(key, everywhere(next(filter(None, layout))))
    program = make(entries, layout, bool(key.ndim), bool(given_up), jit, mesh)
    return program(key, given_up) if given_up else program(key)


def _draw(entries: Iterable[Any], key: jax.Array) -> list[jax.Array]:
    return [e.init(fold_path(key, e.path), e.shape, e.dtype) for e in entries]


def _draw_each(entries: Iterable[Any], keys: jax.Array) -> list[jax.Array]:
    if jax.random.key_impl(keys) == "threefry2x32":
        return jax.vmap(lambda key: _draw(entries, key))(keys)
    # Mapped over keys, other generators draw other numbers than for each key alone.
    return lax.map(lambda key: _draw(entries, key), keys)


def _nested(paths: Iterable[str]) -> dict[str, Any]:
    """Nested dicts that hold each path at its own place."""
    tree: dict[str, Any] = {}
    for path in paths:
        *parents, name = path.split("/")
        node: Any = tree
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name in node:
            raise ValueError(
                f"nested dicts cannot hold {path!r} and a leaf within or above it; "
                "give the tree that the plan was made of: tree=."
            )
        node[name] = path
    return tree


def _check_same(entries: Iterable[Entry], leaves: Iterable[tuple[str, Any]]) -> None:
    """Refuses a tree whose leaves are not those of the plan."""
    planned = {entry.path: (entry.shape, entry.dtype.name) for entry in entries}
    found = {
        path: (tuple(leaf.shape), leaf.dtype.name)
        if isinstance(leaf, _ARRAYS)
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
