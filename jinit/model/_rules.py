"""Rules: what patterns over paths make of the leaves of a tree."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jinit._checks import Shape, is_mapping
from jinit._combine import check_init
from jinit._initializer import Initializer
from jinit.model._entries import ARRAYS, Entry
from jinit.model._layers import Unknown
from jinit.model._paths import LeafPath, Pattern, matcher

Rules = Mapping[Any, object] | Sequence[tuple[Pattern, object]]
"""Patterns over paths, and what each gives: an initializer, a function of it, None."""


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
        {path: tuple(leaf.shape) for path, leaf in leaves if isinstance(leaf, ARRAYS)}
    )
    entries, unknown = [], {}
    for path, leaf in leaves:
        if first[path] is not None:
            try:
                entries.append(_entry(first[path], path, leaf, shapes, names))
            except Unknown as error:
                unknown[path] = str(error)
    return Decided(tuple(entries), unmatched, unused, unknown)


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
            f"such pairs, as in {{'**/kernel': jinit.he_normal()}}, got {rules!r}."
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
