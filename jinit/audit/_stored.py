"""Stored trees: the weights in what people save, under the paths that they had.

    in memory                       on disk, or restored       audited as
    nnx.State, linen's boxes        dense/kernel/value         dense/kernel
    a train state                   params/..., opt_state/...  what `params` has
    weights, the state of optax     params/..., opt/0/mu/...   params/...
    Flax's names in one dict        dense.kernel               dense/kernel
    torch's state_dict              layer.weight, (out, in)    layer.weight, (in, out)

What is no array (an activation, a step counter) is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _text
from jinit.model._paths import Pattern, matcher, named_leaves, steps

# In a train state, beside its weights; the steps are others' where no optimizer is.
_OPTIMIZER = {"opt_state", "inner_opt_state", "acc_grads"}
_STEPS = {"step", "mini_step", "gradient_step"}
# What optax's states have of each weight, wherever in a tree they are.
_MOMENTS = {"mu", "nu", "nu_max", "trace", "v", "v_row", "v_col", "sum_of_squares"}
_OF_OPTAX_ALONE = {"nu", "trace", "sum_of_squares"}
# And torch's, of which no layer has the names.
_OF_TORCH_OPTIMIZERS = {
    "exp_avg",
    "exp_avg_sq",
    "exp_inf",
    "momentum_buffer",
    "square_avg",
}


def weights(
    params: Any, subtree: Pattern | None, known: Collection[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """The leaves of a tree by path, and what is to be said of those left out.

    `known` are the paths of a plan, which stay as they are; None: of rules, as all do.
    """
    leaves, notes = dict(named_leaves(params)[0]), []
    if known is not None and not any(path in known for path in leaves):
        leaves = _with_slashes(leaves)
    known = known or ()
    if subtree is not None:
        leaves = _below(subtree, leaves)
    parts = _of_training(leaves, known)
    if parts:
        left_out = _text.some(dict.fromkeys(parts.values()))
        notes.append(f"{left_out} are no weights, and are left out")
    found = {path: leaf for path, leaf in leaves.items() if path not in parts}
    leaves = _of_model(found) if "opt_state" in parts.values() else found
    leaves = {p: _of_tensor(p, w) for p, w in leaves.items()}
    arrays = {p: w for p, w in leaves.items() if isinstance(w, _ARRAYS)}
    if others := [path for path in leaves if path not in arrays]:
        notes.append(f"{_text.some(others)} are no arrays, and are left out")
    return _unboxed(arrays, known), notes


def _with_slashes(leaves: dict[str, Any]) -> dict[str, Any]:
    """Flax's names with slashes, where they were joined by dots."""
    dotted = any(path.endswith(".kernel") for path in leaves)
    return {p.replace(".", "/"): w for p, w in leaves.items()} if dotted else leaves


_ARRAYS = jax.Array | np.ndarray | np.generic


def _of_tensor(path: str, leaf: Any) -> Any:
    """A tensor of torch as an array of the same memory, and what is none as it is."""
    if not (hasattr(leaf, "detach") and hasattr(leaf, "__dlpack__")):
        return leaf
    try:
        tensor = leaf.detach().cpu()
        try:
            return np.asarray(tensor)
        except TypeError:  # NumPy has no bfloat16 and no float8
            return np.asarray(jax.dlpack.from_dlpack(tensor))
    except Exception as error:  # of torch, whatever it has
        raise TypeError(
            f"params must hold arrays or tensors with values, got the tensor of "
            f"{leaf.dtype} at {path!r}, of which torch says: {error}"
        ) from error


def _below(subtree: Pattern, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves below the paths that match, without these."""
    matches, found = matcher(subtree), dict[str, Any]()
    # The names that torch joins by dots are parts of the tree, where no others match.
    ends = (re.compile(text) for text in ("/", "[/.]"))
    starts = ({p: _start(p, end, matches) for p in leaves} for end in ends)
    start = next((s for s in starts if any(s.values())), {})
    for path, leaf in leaves.items():
        if not start.get(path):
            continue
        within = path[len(start[path]) + 1 :]
        if within in found:
            raise ValueError(
                f"subtree {subtree!r} must match one part of the tree, but several "
                f"have {within!r}; make the pattern longer."
            )
        found[within] = leaf
    if not found:
        dotted = not any("/" in path for path in leaves)
        tops = sorted({path.split("." if dotted else "/")[0] for path in leaves})
        raise ValueError(
            f"subtree {subtree!r} must match a part of the tree, which has "
            f"{_text.some(tops)} at its top."
        )
    return found


def _start(path: str, end: re.Pattern[str], matches: Callable[[str], bool]) -> str:
    """The first part of a path, from its beginning to such an end, that matches."""
    parts = (path[: found.start()] for found in end.finditer(path))
    return next((p for p in parts if matches(p) or matches(p.replace(".", "/"))), "")


def _of_training(paths: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The leaves that are no weights but those of training, and the part each is of."""
    children = dict[str, set[str]]()
    ways = {path: list(steps(path)) for path in paths}
    for names in ways.values():
        for parent, name in names:
            children.setdefault(parent, set()).add(name)
    found = {}
    for path, names in ways.items():
        parts = (_part(parent, name, children[parent]) for parent, name in names)
        part = next(filter(None, parts), None)
        if part is not None and path not in known:
            found[path] = part
    return found


def _part(parent: str, name: str, beside: set[str]) -> str | None:
    """The path of the optimizer's state that such a name is of, or of a step."""
    if name in _OPTIMIZER or (name in _STEPS and beside & _OPTIMIZER):
        return f"{parent}/{name}".removeprefix("/")
    if beside & _OF_TORCH_OPTIMIZERS:
        return parent or name
    moments = beside - {"count"}
    if not moments or not moments <= _MOMENTS:
        return None
    # Without a count the names are those of weights, too, but not in a chain of optax.
    numbered = parent.rpartition("/")[2].isdecimal() and moments & _OF_OPTAX_ALONE
    return (parent or name) if "count" in beside or numbered else None


def _of_model(found: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a train state, without the one name that all are below."""
    tops = {path.split("/")[0] for path in found}
    if len(tops) > 1:
        return dict(found)
    return {path.partition("/")[2] or path: leaf for path, leaf in found.items()}


def _unboxed(leaves: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Without the box of `nnx.Variable` or of linen's metadata, as it is saved."""
    parents = Counter(path.rpartition("/")[0] for path in leaves)

    def name(path: str) -> str:
        box, _, last = path.rpartition("/")
        lone = last == "value" and parents[box] == 1 and box and path not in known
        return box if lone else path

    return {name(path): leaf for path, leaf in leaves.items()}


# torch


def is_state_dict(leaves: Mapping[str, Any]) -> bool:
    """Whether the names are those of torch: dotted, and weights rather than kernels.

    They may be a part of a tree: {"state_dict": ..., "epoch": 3}.
    """
    of_flax = any(path.endswith("kernel") for path in leaves)
    return not of_flax and any(map(_OF_TORCH.fullmatch, leaves))


_OF_TORCH = re.compile(r"(.*\.|[^/.]*)weight(_[^/.]*)?")


def is_equinox(leaves: Mapping[str, Any]) -> bool:
    """Whether kernels are called weights, as in Equinox, whose layout is torch's."""
    last = {path.rpartition("/")[2] for path in leaves}
    return "weight" in last and not last & {"kernel", "w"}


def in_layout_of_flax(array: Any) -> Any:
    """The layout of torch, (out, in, *spatial), as (*spatial, in, out)."""
    if np.ndim(array) < 2 or not jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    return np.moveaxis(np.asarray(array), (1, 0), (-2, -1))
