"""Paths: the names of the leaves of a tree, patterns over them, and their keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import GetAttrKey

Pattern = str | re.Pattern[str]
_OF_VARIABLES = ("out_sharding", "sharding_names")  # of newer Flax, and of older


def named_leaves(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Flattens a tree into its leaves and their paths."""
    try:
        leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    except ValueError as error:  # of a dict with keys that cannot be sorted
        raise TypeError(
            "tree must have keys of one kind in each of its dicts, as strings, but "
            f"JAX says: {error}"
        ) from error
    named = {}
    for keypath, leaf in leaves:
        path = path_of(keypath)
        if path in named:
            raise ValueError(
                f"tree must give every leaf a path of its own, but two are {path!r}; "
                "rename one, or its module."
            )
        named[path] = leaf
    return list(named.items()), treedef


def path_of(keypath: Sequence[Any]) -> str:
    """Joins the keys on the way to a leaf: "params/h_0/attn/kernel"."""
    return "/".join(map(_segment, unboxed(keypath)))


def unboxed(keypath: Sequence[Any]) -> Sequence[Any]:
    """Without the box of `flax.linen.Partitioned` or `nnx.Variable`."""
    return keypath[:-1] if keypath and keypath[-1] == GetAttrKey("value") else keypath


def steps(path: str) -> Iterator[tuple[str, str]]:
    """Each module on the way to a leaf, and what comes next."""
    names = path.split("/")
    for n, name in enumerate(names):
        yield "/".join(names[:n]), name


def put(tree: dict[str, Any], keys: Sequence[str], leaf: Any) -> bool:
    """Puts a leaf into nested dicts; false where there is another in its place."""
    *parents, name = keys
    node: Any = tree
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict) or name in node:
        return False
    node[name] = leaf
    return True


def axis_names(tree: Any, leaves: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The names that boxes in a tree give the axes of its leaves, by their paths."""
    boxes = jax.tree.leaves(tree, is_leaf=lambda node: _names(node) is not None)
    named = {
        id(leaf): names
        for box in boxes
        if (names := _names(box))
        for leaf in jax.tree.leaves(box)
        if len(names) == np.ndim(leaf)
    }
    return {p: named[id(leaf)] for p, leaf in leaves.items() if id(leaf) in named}


def _names(node: Any) -> tuple[Any, ...] | None:
    """Those of `flax.linen.Partitioned` and its like, or of `nnx.Variable`."""
    if hasattr(node, "replace_boxed"):
        given = [getattr(node, "names", None)]
    else:
        metadata = node.get_metadata() if hasattr(node, "get_metadata") else {}
        given = [metadata.get(name) for name in _OF_VARIABLES]
    return next((names for names in given if isinstance(names, tuple)), None)


def _segment(key: Any) -> str:
    # Each of JAX's kinds of keys has one of these attributes.
    names = (getattr(key, name, None) for name in ("key", "name", "idx"))
    name = next((name for name in names if name is not None), None)
    # Haiku's module names have slashes; nnx.WeightNorm names its scales by tuples.
    parts = name if isinstance(name, tuple) else (name,)
    if not parts or not all(isinstance(part, str | int | np.integer) for part in parts):
        raise TypeError(
            "keys of tree must be strings, integers or tuples of them, got "
            f"{key!r}; rename it."
        )
    return "/".join(map(str, parts))


class LeafPath(str):
    """The path of one leaf as a pattern, taken as it is written.

    A rule that a user puts before it may be for that leaf, too.
    """

    __slots__ = ()


def matcher(pattern: Pattern) -> Callable[[str], bool]:
    """Makes the test whether a path matches a pattern as a whole.

    *       any characters within a segment
    ?       one character, not a slash
    [a-c]   one of these; [!a-c] one of the others
    **      any number of segments, even zero
    """
    if isinstance(pattern, LeafPath):
        return lambda path: path == pattern
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return lambda path: pattern.fullmatch(path) is not None
    if not isinstance(pattern, str):
        raise TypeError(
            "a pattern must be a string, such as '**/kernel', or a regular expression "
            f"compiled of one, got {pattern!r}."
        )
    glob = _compiled(pattern)
    return lambda path: glob.fullmatch(path + "/") is not None


def renamer(pattern: Pattern, renamed: str) -> Callable[[str], str]:
    """Makes the function from a path that a pattern matches to another path.

    In that what stars of a glob stand for takes the place of stars, in order, and what
    groups of a regular expression have matched that of their numbers or names.
    """
    matcher(pattern)  # which refuses what is none
    if isinstance(pattern, re.Pattern):
        try:
            pattern.sub(renamed, "")
        except (re.error, IndexError) as error:
            raise ValueError(
                f"{renamed!r} must refer to groups of {pattern.pattern!r}: {error}."
            ) from None
        return lambda path: _match(pattern, path).expand(renamed)
    if isinstance(pattern, LeafPath) or not (_stars(pattern) or _stars(renamed)):
        return lambda path: renamed
    if _stars(pattern) != _stars(renamed):
        raise ValueError(
            f"{renamed!r} must have the stars of {pattern!r} in the same order, and "
            "one for each ? and [...]; for others give a regular expression."
        )
    glob, literal = _compiled(pattern), _WILDCARD.split(renamed + "/")

    def rename(path: str) -> str:
        groups = _match(glob, path + "/").groups()
        filled = zip(literal, (*groups, ""), strict=True)
        return "".join(text + group for text, group in filled).removesuffix("/")

    return rename


_WILDCARD = re.compile(r"\*\*/|\*|\?|\[!?[^\]]+\]")


def _match(pattern: re.Pattern[str], path: str) -> re.Match[str]:
    found = pattern.fullmatch(path)
    assert found is not None  # as the rule was found by it
    return found


def _stars(pattern: str) -> list[str]:
    """The wildcards of a glob, those within a segment as *."""
    found = _WILDCARD.findall(pattern + "/")
    return ["**" if wildcard == "**/" else "*" for wildcard in found]


def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a glob, with a group for each wildcard."""
    return re.compile("".join(_translated(s, pattern) for s in pattern.split("/")))


# What a segment of a glob is made of; a bracket that is not closed is none of it.
_TOKEN = re.compile(r"(?P<any>\*)|(?P<one>\?)|\[(?P<of>!?[^\]]+)\]|(?P<plain>[^*?[])")


def _translated(segment: str, pattern: str) -> str:
    """The regular expression of one segment, and of the slash that ends it."""
    if segment == "**":
        return "((?:[^/]*+/)*)"
    try:
        if not segment or "**" in segment or _TOKEN.sub("", segment):
            raise ValueError
        # Atomic: it ends at the slash, however its stars share what is before.
        translated = f"(?>{_TOKEN.sub(_translated_token, segment)}/)"
        re.compile(translated)
    except (ValueError, re.error):
        raise ValueError(
            f"pattern {pattern!r} must be segments between slashes, none of them "
            "empty, with * and ? for characters, [...] closed and from low to high, "
            f"and ** alone in its segment, got the segment {segment!r}."
        ) from None
    return translated


def _translated_token(token: re.Match[str]) -> str:
    if token["any"]:
        return "([^/]*)"
    if token["one"]:
        return "([^/])"
    if token["plain"]:
        return re.escape(token["plain"])
    inverted = token["of"].startswith("!") and token["of"] != "!"
    ranges = re.sub(
        r"(?s)(.)-(.)|(.)",
        lambda m: re.escape(m[3]) if m[3] else f"{re.escape(m[1])}-{re.escape(m[2])}",
        token["of"].removeprefix("!") if inverted else token["of"],
    )
    return f"([^/{ranges}])" if inverted else f"(?!/)([{ranges}])"


def fold_path(key: Any, path: str) -> jax.Array:
    """The key of the leaf at a path: the path's hash, folded into a key.

    h = SHA-256(path in UTF-8)
    key of the leaf = fold_in(fold_in(key, h[0:4]), h[4:8])    (big-endian)
    """
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).digest()
    for word in np.frombuffer(digest[:8], ">u4").astype(np.uint32):
        key = jax.random.fold_in(key, word)
    return key
