"""Stored trees: the weights in what people save, under the paths that they had.

    in memory                       on disk, or restored       audited as
    nnx.State, linen's boxes        dense/kernel/value         dense/kernel
    a train state                   params/..., opt_state/...  what `params` has
    torch's state_dict              layer.weight, (out, in)    layer.weight, (in, out)

What is no array (an activation, a step counter) is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _text
from jinit.model._paths import Pattern, matcher, named_leaves

_OF_TRAINING = ("opt_state", "step")  # in a train state, beside its weights


def weights(
    params: Any, subtree: Pattern | None, known: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """The leaves of a tree by path, and what is to be said of those left out.

    `known` are the paths of a plan, which stay as they are.
    """
    leaves, notes = dict(named_leaves(params)[0]), []
    if subtree is not None:
        leaves = _below(subtree, leaves)
    elif "opt_state" in {path.split("/")[0] for path in leaves}:
        leaves = _of_model(leaves)
        notes.append("'opt_state' and 'step' are no weights, and are left out")
    arrays = {p: w for p, w in leaves.items() if isinstance(w, _ARRAYS)}
    if others := [path for path in leaves if path not in arrays]:
        notes.append(f"{_text.some(others)} are no arrays, and are left out")
    return _unboxed(arrays, known), notes


_ARRAYS = jax.Array | np.ndarray | np.generic


def _below(subtree: Pattern, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves below the paths that match, without these."""
    matches, found = matcher(subtree), dict[str, Any]()
    for path, leaf in leaves.items():
        names = path.split("/")
        starts = ("/".join(names[:n]) for n in range(1, len(names)))
        start = next((s for s in starts if matches(s)), None)
        if start is None:
            continue
        within = path.removeprefix(f"{start}/")
        if within in found:
            raise ValueError(
                f"subtree {subtree!r} must match one part of the tree, but several "
                f"have {within!r}; make the pattern longer."
            )
        found[within] = leaf
    if not found:
        tops = sorted({path.split("/")[0] for path in leaves})
        raise ValueError(
            f"subtree {subtree!r} must match a part of the tree, which has "
            f"{_text.some(tops)} at its top."
        )
    return found


def _of_model(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a train state but for the optimizer's."""
    found = {p: w for p, w in leaves.items() if p.split("/")[0] not in _OF_TRAINING}
    tops = {path.split("/")[0] for path in found}
    if len(tops) > 1:
        return found
    return {path.partition("/")[2] or path: leaf for path, leaf in found.items()}


def _unboxed(leaves: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Without the box of `nnx.Variable` or of linen's metadata, as it is saved."""
    parents = _count(path.rpartition("/")[0] for path in leaves)

    def name(path: str) -> str:
        box, _, last = path.rpartition("/")
        lone = last == "value" and parents[box] == 1 and box and path not in known
        return box if lone else path

    return {name(path): leaf for path, leaf in leaves.items()}


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


# torch


def is_state_dict(leaves: Mapping[str, Any]) -> bool:
    """Whether the names are those of torch: dotted, and weights rather than kernels."""
    last = [path.rpartition(".")[2] for path in leaves]
    nested = any("/" in path or path.endswith("kernel") for path in leaves)
    return not nested and any(n == "weight" or n.startswith("weight_") for n in last)


def is_equinox(leaves: Mapping[str, Any]) -> bool:
    """Whether kernels are called weights, as in Equinox, whose layout is torch's."""
    last = {path.rpartition("/")[2] for path in leaves}
    return "weight" in last and not last & {"kernel", "w"}


def in_layout_of_flax(array: Any) -> Any:
    """The layout of torch, (out, in, *spatial), as (*spatial, in, out)."""
    if np.ndim(array) < 2 or not jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    return np.moveaxis(np.asarray(array), (1, 0), (-2, -1))
