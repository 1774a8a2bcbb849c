"""Entries: what is to become of each leaf, checked, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _config, _text
from jinit._checks import Shape, check_shape
from jinit._initializer import Initializer
from jinit._text import aligned, some

ARRAYS = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct
"""What has a shape and a dtype, and so may be drawn."""


@dataclass(frozen=True)
class Entry:
    """What is to become of one leaf, in the plan that `jinit.plan` returns.

    Attributes:
      path: Its path in the tree, such as "params/dense/kernel".
      shape: Its shape.
      dtype: Its dtype; object of a leaf that is no array, which is left as it is.
      rule: The pattern that decided; None where the default did.
      init: The initializer that draws it; None where it is left as it is.
    """

    path: str
    shape: Shape
    dtype: np.dtype
    rule: str | None
    init: Callable[..., jax.Array] | None


def check_fit(entries: Iterable[Entry]) -> None:
    """Refuses initializers that do not fit their leaves; nothing is drawn."""
    checked = set()
    for entry in entries:
        kind = id(entry.init), entry.shape, entry.dtype
        if entry.init is not None and kind not in checked:
            _check_fit(entry)
            checked.add(kind)


def _check_fit(entry: Entry) -> None:
    draw: Any = entry.init
    rule = "default" if entry.rule is None else f"rule {entry.rule!r}"
    where = (
        f"leaf {entry.path!r} has shape {entry.shape} and dtype {entry.dtype.name}, "
        f"which {_name(draw)}, given by {rule},"
    )
    key = jax.eval_shape(jax.random.key, 0)

    def draws(key: Any) -> Any:
        array = draw(key, entry.shape, entry.dtype)
        if callable(array):  # as jax.nn.initializers.he_normal returns an initializer
            raise TypeError(f"it returns a function; call it first: {_name(draw)}()")
        return array

    try:
        drawn = jax.eval_shape(draws, key)
    except Exception as error:  # a function of the user's may raise anything
        raise ValueError(f"{where} refuses: {error}") from error
    got = getattr(drawn, "shape", None), getattr(drawn, "dtype", None)
    if got != (entry.shape, entry.dtype):
        raise ValueError(f"{where} does not draw: it returns {drawn!r}.")


def table(entries: Iterable[Entry]) -> str:
    """One line for each entry, under a heading, in aligned columns."""
    heading = ("path", "shape", "dtype", "rule", "initializer", "fans", "std")
    return aligned([heading, *map(_row, entries)])


def _row(entry: Entry) -> tuple[str, ...]:
    init = entry.init
    law = init.law(entry.shape) if isinstance(init, Initializer) else None
    return (
        entry.path,
        str(entry.shape),
        entry.dtype.name,
        "default" if entry.rule is None else entry.rule,
        "(left as it is)" if init is None else _name(init),
        _fans(init, entry.shape),
        "" if law is None else f"{law.std:.4g}",
    )


def _name(init: Any) -> str:
    """How an initializer prints; another's by its name, without an address."""
    if isinstance(init, Initializer):
        return repr(init)
    return getattr(init, "__qualname__", type(init).__qualname__)


def _fans(init: Any, shape: Shape) -> str:
    """Both fans, as far as they are known, of an initializer that scales by them."""
    if not isinstance(init, Initializer) or init._is_traced():
        return ""
    sides = init._fans(shape) or ()
    return ", ".join("-" if side is None else f"{side:.10g}" for side in sides)


def to_json(entries: Iterable[Entry]) -> str:
    """Writes entries down; `Plan.to_json` says what is refused."""
    return _text.to_json("plan", leaves=list(map(_leaf, entries)))


def _leaf(entry: Entry) -> dict[str, Any]:
    try:
        if not isinstance(entry.dtype, np.dtype):
            raise TypeError(f"dtype must be a numeric dtype, got {entry.dtype.name}.")
        init = None if entry.init is None else _config.serialize(entry.init)
    except (TypeError, ValueError) as error:
        raise type(error)(f"leaf {entry.path!r}: {error}") from None
    return {**vars(entry), "dtype": entry.dtype.name, "init": init}


def from_json(text: str) -> tuple[Entry, ...]:
    """Reads what `to_json` wrote; `Plan.from_json` says what is refused."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a string of JSON, got {text!r}.")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"text must be the JSON of a plan: {error}.") from None
    if not isinstance(config, dict) or set(config) != {"jinit_plan", "leaves"}:
        raise ValueError(
            "text must be an object with the entries 'jinit_plan' and 'leaves', as "
            f"Plan.to_json writes it, got {text[:80]!r}."
        )
    version, leaves = config["jinit_plan"], config["leaves"]
    _text.check_version("text must be a plan", version)
    if not isinstance(leaves, list):
        raise ValueError(f"leaves of the plan must be a list, got {leaves!r}.")
    known: dict[str, Any] = {}  # one initializer for all leaves that have its options
    entries = tuple(_entry(leaf, known) for leaf in leaves)
    counts = Counter(entry.path for entry in entries)
    repeated = [path for path, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"leaves of the plan must have a path each, but {some(repeated)} repeats."
        )
    return entries


def _entry(leaf: Any, known: dict[str, Any]) -> Entry:
    names = ("path", "shape", "dtype", "rule", "init")
    if not isinstance(leaf, dict) or set(leaf) != set(names):
        raise ValueError(
            f"leaves of the plan must be objects with {', '.join(names)}, got {leaf!r}."
        )
    path, shape, dtype, rule, init = (leaf[name] for name in names)
    if not isinstance(path, str) or not isinstance(rule, str | None):
        raise ValueError(
            f"path must be a string, and rule one or null, got {path!r} and {rule!r}."
        )
    try:
        written = json.dumps(init)
        if init is not None and written not in known:
            known[written] = _config.deserialize(init)
        init = known.get(written)
        return Entry(path, check_shape(shape), _dtype(dtype), rule, init)
    except (TypeError, ValueError) as error:
        raise ValueError(f"leaf {path!r}: {error}") from None


def _dtype(name: Any) -> np.dtype:
    try:
        dtype = jnp.dtype(name)
    except (TypeError, ValueError, SyntaxError):  # NumPy parses what it is given
        dtype = None
    if dtype is None or dtype.name != name:
        raise ValueError(f"dtype must be the name of a dtype, got {name!r}.")
    return dtype
