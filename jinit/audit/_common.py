"""One mistake, one cause: what follows from a finding, and what explains many of them.

Of one leaf, a kernel whose halves are equal is of low rank, and not orthogonal. Of the
whole model, a library's defaults were left in place:

planned                 drawn                        each by itself    together
torch's defaults        Flax's, in every layer       a missing gain    Flax's
lecun_normal, zeros     Xavier's, in every matrix    another fan       Xavier's
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinit._basic import uniform, zeros
from jinit._fan_scaled import xavier_uniform
from jinit.audit._report import Finding
from jinit.audit._statistics import kinds_of
from jinit.model._rules import decide
from jinit.rules import rules_of

_LEAST = 3  # findings that a common cause explains
_FROM_DRAW = ("std", "mean", "distribution", "spectrum", "rank", "pattern")
_KINDS = {*_FROM_DRAW, "dead"} - {"rank"}  # which a draw by other rules explains
_CONSEQUENCES = {
    "nonfinite": (*_FROM_DRAW, "saturated", "precision", "equal", "dead"),
    "dead": _FROM_DRAW,
    "constant": _FROM_DRAW,
    "layout": ("shape", "std", "mean", "distribution"),
    "equal": _FROM_DRAW,
    "saturated": ("std", "mean", "distribution", "spectrum"),
    "rank": ("distribution", "spectrum"),
    "precision": ("distribution",),  # the bounds, by a rounding
    "std": ("mean", "spectrum"),
}

Explains = Callable[[str, Any], bool]
"""Whether a leaf is what an initializer draws."""


def without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, without those that follow from another one of the same leaf."""
    kinds: dict[str, set[str]] = {}
    for finding in findings:
        follows = _CONSEQUENCES.get(finding.kind, ())
        kinds.setdefault(finding.path, set()).update(follows)
        if finding.kind == "layout" and finding.path.endswith("weight"):
            # The bound of torch's bias is that of the kernel beside it.
            bias = f"{finding.path.removesuffix('weight')}bias"
            kinds.setdefault(bias, set()).update(("std", "distribution"))
    return [
        finding
        for finding in findings
        if finding.kind not in kinds.get(finding.path, ())
    ]


def with_common_cause(
    findings: Sequence[Finding],
    leaves: Mapping[str, Any],
    names: Mapping[str, tuple[Any, ...]],
    explains: Explains,
) -> list[Finding]:
    """The findings, with the default that explains most of them as their cause."""
    wrong = list(dict.fromkeys(f.path for f in findings if f.kind in _KINDS))
    if len(wrong) < _LEAST:
        return list(findings)
    kinds = kinds_of(leaves)
    best, cause = set[str](), ""
    for text, rules in _libraries():
        decided = decide(kinds, rules, names=names)
        inits = {entry.path: entry.init for entry in decided.entries}
        fitting = {p for p in wrong if inits.get(p) and explains(p, inits[p])}
        if len(fitting) > len(best):
            best, cause = fitting, f"{text} was left in place, or drawn over it"
    if len(best) < max(_LEAST, len(wrong) / 2):
        return list(findings)
    return [
        replace(f, cause=cause) if f.path in best and f.kind in _KINDS else f
        for f in findings
    ]


def _libraries() -> Iterable[tuple[str, Any]]:
    yield "Flax's default", rules_of("flax")
    yield "torch's default", rules_of("torch")
    keras = {"**/embedding": uniform(a=-0.05, b=0.05), "**/bias": zeros()}
    yield "Keras's default, glorot_uniform,", {**keras, "**/kernel": xavier_uniform()}
    matrices = {"**/kernel": xavier_uniform(), "**/embedding": xavier_uniform()}
    yield "xavier_uniform, as in torch.nn.Transformer,", matrices
