"""The draws of a plan as programs, one for all leaves on the same devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from functools import lru_cache
from typing import Any

import jax
from jax import lax

from jinit._checks import is_traced
from jinit.model._entries import Entry
from jinit.model._jit_init import jit_init
from jinit.model._paths import fold_path
from jinit.model._shardings import everywhere


def by_devices(
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


def draw(
    entries: tuple[Entry, ...], layout: tuple[Any, ...], key: Any, given_up: Any
) -> list[jax.Array]:
    """Draws leaves on the same devices, into the memory of what is given up."""
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
    each = _draw_each if batched else _draw
    options: Any = {"out_shardings": list(layout)}
    if not donate:
        return jit(lambda key: each(entries, key), **options)
    options |= {"donate_argnums": 1, "keep_unused": True}
    return jax.jit(lambda key, _: each(entries, key), **options)


def _draw(entries: Iterable[Any], key: jax.Array) -> list[jax.Array]:
    return [e.init(fold_path(key, e.path), e.shape, e.dtype) for e in entries]


def _draw_each(entries: Iterable[Any], keys: jax.Array) -> list[jax.Array]:
    if jax.random.key_impl(keys) == "threefry2x32":
        return jax.vmap(lambda key: _draw(entries, key))(keys)
    # Mapped over keys, other generators draw other numbers than for each key alone.
    return lax.map(lambda key: _draw(entries, key), keys)
