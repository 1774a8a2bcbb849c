"""Copies: leaves, or parts of one, that repeat draws which were to be independent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from jinit._text import some
from jinit.audit._report import Finding, Found
from jinit.audit._statistics import Statistics, is_made, real_parts

_HEAD = 64  # elements that two leaves are compared by first
_MOST = 1 << 16  # and then at most
_EQUALS = "equals "
_LAYER = re.compile(r"\blayers\.\d+\.")  # of torch's lists
# Of averages, of the slower of two networks, and of the one that is kept to compare.
_KEPT = re.compile(
    r"(^|[/._])(ema|swa|teacher|average|shadow|target(?!\w*emb)|polyak|momentum|slow|"
    r"lagged|(old|prev|ref|reference)(?![a-z]))",
    re.I,
)


def copies(
    leaves: Mapping[str, Any],
    measured: Mapping[str, Statistics | None],
    repeated: Set[str] = frozenset(),
) -> list[Finding]:
    """Leaves, or parts of one, that are copies or multiples of one another.

    The parts of those that are `repeated` are copies by plan.
    """
    found, groups = [], dict[Any, list[str]]()
    for path, array in leaves.items():
        stats = measured[path]
        if stats is None or not stats.std or stats.nonfinite or stats.patterned:
            continue
        if path not in repeated:
            found += [Finding(path, *f) for f in _equal_parts(array)]
        head = real_parts(array)[:_HEAD].astype(np.float64)
        if head.size >= 32 and len(set(head)) > 8:
            groups.setdefault((head > 0).tobytes(), []).append(path)
    for paths in groups.values():
        first, *others = sorted(paths, key=_is_kept)
        for path in others:
            if _is_kept(path) == _is_kept(first):
                found += _copy(path, leaves[path], first, leaves[first])
    return found


def by_layer(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, where all leaves that two or more layers share make one."""
    groups = dict[str, dict[str, list[Finding]]]()
    for finding in findings:
        if finding.kind == "equal" and finding.message.startswith(_EQUALS):
            layer, of = _layers(finding.path, finding.message.removeprefix(_EQUALS))
            groups.setdefault(of, {}).setdefault(layer, []).append(finding)
    first, grouped = dict[Finding, Finding](), set[Finding]()
    for of, copied in groups.items():
        together = [finding for found in copied.values() for finding in found]
        if len(together) > 1:
            first[together[0]] = _of_layers(of, copied)
            grouped.update(together)
    others = (f for f in findings if f in first or f not in grouped)
    return [first.get(finding, finding) for finding in others]


def _layers(path: str, of: str) -> tuple[str, str]:
    """Two paths without the names that they share at their ends."""
    names, others = (re.split(r"([./])", each) for each in (path, of))
    while len(names) > 2 and len(others) > 2 and names[-2:] == others[-2:]:
        names, others = names[:-2], others[:-2]
    return "".join(names), "".join(others)


def _of_layers(of: str, copied: Mapping[str, Sequence[Finding]]) -> Finding:
    """The finding of layers that equal one, by the first of them."""
    names = [f[0].path if len(f) == 1 else layer for layer, f in copied.items()]
    found = next(iter(copied.values()))
    message = f"{_EQUALS}{of} in {len(found)} leaves"
    if len(found) == 1:
        message = found[0].message
    if alike := names[1:]:
        message += f", as {'does' if len(alike) == 1 else 'do'} {some(alike)}"
    return replace(found[0], path=names[0], message=message)


def _is_kept(path: str) -> bool:
    """Whether it is of weights that follow others, and start equal to them."""
    return _KEPT.search(path) is not None


def _copy(path: str, array: np.ndarray, of: str, other: np.ndarray) -> list[Finding]:
    """Whether a leaf that has the signs of another at its head is a multiple of it."""
    tied = np.may_share_memory(array, other)  # one array in two places
    if tied or is_made(array):
        return []
    size = min(array.size, other.size, _MOST)
    a, b = (real_parts(w)[:size].astype(np.float64) for w in (array, other))
    factor = (a @ b) / (b @ b)
    if abs(a - factor * b).max() > 0.02 * abs(a).max():
        return []
    equal = array.shape == other.shape and np.array_equal(array, other)
    cause = "one key was used for both, or the layer was copied"
    if _LAYER.sub("", path) == _LAYER.sub("", of):
        cause = "the layer was copied, as torch.nn.TransformerEncoder does; draw each"
    times = f"is {factor:.4g} times {of} at its start"
    return [Finding(path, "equal", f"{_EQUALS}{of}" if equal else times, cause)]


def _equal_parts(array: np.ndarray) -> Found:
    """Members along the first axis, or blocks along the last, that are copies."""
    if array.ndim < 2 or array.size < 64:
        return
    if array.shape[0] > 1 and array[0].size >= 16 and _same(array[0], array[1]):
        cause = "the members were drawn from one key"
        yield "equal", "members 0 and 1 along axis 0 are equal", cause
        return
    for n in (2, 3, 4, 8):
        width = array.shape[-1] // n
        blocks = array[..., :width], array[..., width : 2 * width]
        if width * n == array.shape[-1] and blocks[0].size >= 16 and _same(*blocks):
            cause = "the blocks were drawn from one key"
            yield "equal", f"the first 2 of {n} blocks of outputs are equal", cause
            return


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return len(set(a.ravel()[:_HEAD].tolist())) > 1 and np.array_equal(a, b)
