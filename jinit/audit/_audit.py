"""The audit: whether the parameters of a model are what they were meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks
from jinit.audit._copies import copies
from jinit.audit._leaf import judge
from jinit.audit._report import Finding, Report
from jinit.audit._statistics import Statistics, measure
from jinit.model._entries import Entry
from jinit.model._paths import Pattern, named_leaves
from jinit.model._plan import Plan, plan
from jinit.recipes import RULES, rules_of

if TYPE_CHECKING:
    import chex

Rules = Mapping[Any, object] | Sequence[tuple[Pattern, object]]
"""Patterns of paths and what they give, as `jinit.plan` takes them."""


def audit(params: chex.ArrayTree, plan: Plan | Rules | str | None = None) -> Report:
    """Looks for leaves that are not what they were meant to be.

        z of the mean   (mean - expected) / (std / sqrt(n))
        z of the std    that of std² / expected², a chi² of 2 n / (kurtosis - 1) degrees

    Seven standard errors and half a percent, or more, cannot be chance, and make a
    finding with its likely cause. Without a plan only what is wrong by itself is found:
    NaN, dead and equal leaves, kernels of low rank, deviations far from the usual.

    Args:
      params: Arrays in any pytree: the variables of a model, an `nnx.State`, or what a
        checkpoint holds. They are not changed.
      plan: What they were meant to be: a `jinit.Plan`, which knows each leaf by its
        path; rules, as `jinit.plan` takes them; or the name of a set of rules, "flax"
        or "torch", the defaults of their layers.

    Returns:
      A `Report`, to print, to write down and to exit with.

    Raises:
      TypeError: A leaf is not an array, or is traced.
      ValueError: `params` has no leaf, `plan` is an unknown name, or `jinit.plan`
        refuses the rules.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> import flax.linen as nn
      >>> model = nn.Dense(512, kernel_init=jinit.xavier_normal())
      >>> params = model.init(jax.random.key(0), jnp.ones((1, 784)))
      >>> rules = {"**/kernel": jinit.he_normal(), "**/bias": jinit.zeros()}
      >>> report = jinit.diagnostics.audit(params, rules)
      >>> print(report.findings[0].kind, "-", report.findings[0].cause)
      std - Xavier's was drawn instead, or drawn over it

    References:
      Wilson and Hilferty (1931) for the z-score of a chi² variable.
    """
    leaves = dict(named_leaves(params)[0])
    if not leaves:
        raise ValueError(
            f"params must hold arrays, got {params!r}, which has none; give the "
            "variables of a model."
        )
    leaves = {path: _array(path, leaf) for path, leaf in leaves.items()}
    entries = None if plan is None else _entries(plan, leaves)
    with ThreadPoolExecutor() as threads:
        statistics = threads.map(_measured, leaves.values())
        measured = dict(zip(leaves, statistics, strict=True))
    judged = [
        judge(path, array, measured[path], (entries or {}).get(path), leaves)
        for path, array in leaves.items()
    ]
    findings = [finding for _, found in judged for finding in found]
    # What is not drawn is equal by plan.
    fixed = {p for p, e in (entries or {}).items() if not getattr(e.init, "_random", 1)}
    findings += copies({p: w for p, w in leaves.items() if p not in fixed}, measured)
    findings += [] if entries is None else _structure(leaves, entries)
    order = {path: number for number, path in enumerate(leaves)}
    findings.sort(key=lambda finding: order.get(finding.path, len(order)))
    return Report(tuple(leaf for leaf, _ in judged), tuple(findings))


def _array(path: str, leaf: Any) -> Any:
    """A leaf as a NumPy array, if it is one of numbers."""
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"params must hold arrays, got {leaf!r} at {path!r}; leave it out, or make "
            "it an array."
        )
    if _checks.is_traced(leaf):
        raise TypeError(
            f"params must be known, got the traced {leaf!r} at {path!r}; audit them "
            "outside of jit."
        )
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise ValueError(
                f"params must be there, but {path!r} was given up (donated)."
            )
        if not leaf.is_fully_addressable:
            raise ValueError(
                f"params must be in reach of this process, but {path!r} has parts on "
                "others; gather it first."
            )
        return np.asarray(leaf) if jnp.issubdtype(leaf.dtype, np.number) else leaf
    if leaf.dtype.hasobject:
        raise TypeError(
            f"params must hold arrays of numbers, got objects at {path!r}; leave them "
            "out."
        )
    return np.asarray(leaf)


def _measured(array: Any) -> Statistics | None:
    return measure(array) if jnp.issubdtype(array.dtype, jnp.inexact) else None


def _entries(given: Any, leaves: dict[str, Any]) -> Mapping[str, Entry]:
    """What each leaf was meant to be, by path."""
    if isinstance(given, Plan):
        return {entry.path: entry for entry in given}
    if isinstance(given, str):
        if given not in RULES:
            raise ValueError(
                "plan must be a plan, rules, or the name of a set of rules, "
                f"{', '.join(map(repr, RULES))}; got {given!r}."
            )
        given = rules_of(given)
    kinds = {
        path: jax.ShapeDtypeStruct(w.shape, jax.dtypes.canonicalize_dtype(w.dtype))
        for path, w in leaves.items()
        if jnp.issubdtype(w.dtype, jnp.inexact)
    }
    return {
        entry.path: replace(entry, dtype=leaves[entry.path].dtype)
        for entry in plan(kinds, given, allow_unused=True)
    }


def _structure(
    leaves: Mapping[str, Any], entries: Mapping[str, Entry]
) -> list[Finding]:
    """Leaves of the plan that are not there, and those that have another shape."""
    found = []
    for path, entry in entries.items():
        if path not in leaves:
            found.append(Finding(path, "missing", "planned, but not there"))
        elif leaves[path].shape != entry.shape:
            shape, planned = tuple(leaves[path].shape), entry.shape
            swapped = shape == planned[::-1] or sorted(shape) == sorted(planned)
            cause = "axes in another order" if swapped else ""
            message = f"shape {shape}, planned {planned}"
            found.append(Finding(path, "shape", message, cause))
    return found + [
        Finding(path, "unexpected", "there, but not in the plan")
        for path, array in leaves.items()
        if path not in entries and jnp.issubdtype(array.dtype, jnp.inexact)
    ]
