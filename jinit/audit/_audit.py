"""The audit: whether the parameters of a model are what they were meant to be."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks
from jinit._checks import Shape
from jinit._initializer import Initializer
from jinit._text import some
from jinit._types import ArrayTree
from jinit.audit._common import with_common_cause, without_consequences
from jinit.audit._copies import by_layer, copies
from jinit.audit._leaf import fits, judge
from jinit.audit._program import in_program
from jinit.audit._report import Finding, Report
from jinit.audit._statistics import Statistics, is_drawn, kinds_of, measure
from jinit.audit._stored import in_layout_of_flax, is_equinox, is_state_dict, weights
from jinit.model._entries import Entry, check_fit
from jinit.model._paths import Pattern, axis_names
from jinit.model._plan import Plan
from jinit.model._rules import Rules, decide
from jinit.rules import RULES, rules_of
from jinit.rules.flax import default_rules as flax_rules
from jinit.rules.torch_state_dict import state_dict_rules


def audit(
    params: ArrayTree,
    plan: Plan | Rules | str | None = None,
    *,
    subtree: Pattern | None = None,
    model: Any = None,
    inputs: Any = (),
) -> Report:
    """Looks for leaves that are not what they were meant to be.

        z of the mean   (mean - expected) / (std / sqrt(n))
        z of the std    that of std² / expected², a chi² of 2 n / (kurtosis - 1) degrees

    Seven standard errors and half a percent, or more, cannot be chance, and make a
    finding with its likely cause. Without a plan only what is wrong by itself is found:
    NaN, dead and equal leaves, kernels of low rank, deviations far from the usual.

    Args:
      params: Arrays in any pytree: the variables of a model, an `nnx.State`, a train
        state, or what a checkpoint holds; also torch's `state_dict`, whose kernels are
        read as (out, in, *spatial), with its tensors as they are. What is no array is
        left out, as is the state of an optimizer. Nothing is changed.
      plan: What they were meant to be: a `jinit.Plan`, which knows each leaf by its
        path; rules, as `jinit.plan` takes them; or the name of a set of rules, "flax"
        or "torch", the defaults of their layers. A leaf that they do not know is noted,
        and judged by itself.
      subtree: A pattern, as those of `jinit.plan`, of the part of the tree that is
        audited, with paths from there on; by default the whole.
      model: The model that `params` are those of, as `jinit.roles` takes it: then what
        they make of signals is judged by the fans and the streams of its program,
        with no rules. `params` is the whole tree that it takes.
      inputs: What it is called with, or the shapes: an array, or a tuple of several.

    Returns:
      A `Report`, to print, to write down and to exit with.

    Raises:
      TypeError: A leaf is traced, or an array of objects.
      ValueError: `params` has no array, `subtree` does not match one part of it, `plan`
        is an unknown name, or `jinit.plan` refuses the rules; `model` does not run on
        the inputs, or one of these is given without the other.

    Example:
      >>> import jax, jinit
      >>> params = {"kernel": jinit.xavier_normal()(jax.random.key(0), (784, 512))}
      >>> report = jinit.diagnostics.audit(params, {"**/kernel": jinit.he_normal()})
      >>> print(report.findings[0].kind, "-", report.findings[0].cause)
      std - Xavier's was drawn instead, or drawn over it

    References:
      Wilson and Hilferty (1931) for the z-score of a chi² variable.
    """
    _check_model(model, inputs, subtree)
    leaves, left_out, names, owners = _arrays(params, subtree, plan)
    leaves, of_torch, kernels = _as_planned(leaves, plan)
    measured = _all_measured(leaves)
    entries, notes = _entries(_by_measure(plan, of_torch, measured), leaves, names)
    judged = [
        judge(path, array, measured[path], (entries or {}).get(path), leaves)
        for path, array in leaves.items()
    ]
    findings = _of_all_places([f for _, found in judged for f in found], owners)
    if model is not None:
        # Without a plan what was found was guessed, and the program knows better.
        planned, guessed = ([], findings) if entries is None else (findings, [])
        seen = in_program(model, params, _tuple(inputs), measured, guessed)
        findings = [*planned, *seen]
    findings += [*_among(leaves, measured, entries), *_transposed(leaves, kernels)]
    findings = with_common_cause(
        without_consequences(findings),
        leaves,
        names,
        lambda path, init: fits(leaves[path], measured[path], init),
    )
    order = {path: number for number, path in enumerate(leaves)}
    findings.sort(key=lambda finding: order.get(finding.path, len(order)))
    found = by_layer(findings)
    notes = [*left_out, *notes, *_not_measured(leaves, measured, entries or {})]
    return Report(tuple(leaf for leaf, _ in judged), tuple(found), tuple(notes))


def _check_model(model: Any, inputs: Any, subtree: Any) -> None:
    if model is not None and subtree is not None:
        raise ValueError(
            f"subtree must be left out where a model is given, got {subtree!r}: the "
            "model takes the whole tree."
        )
    if model is None and not (isinstance(inputs, tuple) and not inputs):
        raise ValueError(
            f"inputs must be left out where no model is given, got {_kind(inputs)}; "
            "give model=, too."
        )


def _by_measure(plan: Any, of_torch: bool, measured: Mapping[str, Any]) -> Any:
    """The rules of a name where deviations tell what names and shapes do not."""
    if of_torch and plan == "torch":
        return state_dict_rules(measured)
    return flax_rules(measured) if plan == "flax" else plan


def _arrays(
    params: Any, subtree: Any, plan: Any
) -> tuple[
    dict[str, Any], Sequence[str], Mapping[str, tuple[Any, ...]], Mapping[str, Any]
]:
    """The leaves by path, what is left out, the names of axes, and whose leaf it is."""
    known = {entry.path for entry in plan} if isinstance(plan, Plan) else set[str]()
    of_user = plan is not None and not isinstance(plan, str | Plan)
    leaves, left_out = weights(params, subtree, None if of_user else known)
    if not leaves:
        raise ValueError(
            f"params must hold arrays, got {_kind(params)}, in which there are no "
            f"weights; {_remedy(params)}."
        )
    names = axis_names(params, leaves)
    owners = {path: _owner(leaf) for path, leaf in leaves.items()}
    arrays = {path: _array(path, leaf) for path, leaf in leaves.items()}
    return arrays, left_out, names, owners


def _owner(leaf: Any) -> Any:
    """What a tied parameter has at all of its paths: one array, or its memory."""
    own_memory = isinstance(leaf, np.ndarray) and leaf.size
    return (leaf.ctypes.data, leaf.nbytes) if own_memory else id(leaf)


def _of_all_places(
    findings: Sequence[Finding], owners: Mapping[str, Any]
) -> list[Finding]:
    """The findings but for those of a tied parameter that is right at another path.

    It is drawn once, as an embedding, say, and not as the head that it is as well.
    """
    wrong = {finding.path for finding in findings}
    right = {owner for path, owner in owners.items() if path not in wrong}
    return [f for f in findings if owners[f.path] not in right]


def _as_planned(leaves: dict[str, Any], plan: Any) -> tuple[dict[str, Any], bool, str]:
    """Leaves in Flax's layout, which those of a user do not need; if torch's; kernels.

    The kernels are those whose layout is checked, by the end of their names.
    """
    named = plan is None or isinstance(plan, str)
    of_torch = named and is_state_dict(leaves)
    turned = of_torch or (plan is None and is_equinox(leaves))
    if turned:
        leaves = {path: in_layout_of_flax(leaf) for path, leaf in leaves.items()}
    return leaves, of_torch, "weight" if turned else "kernel"


def _not_measured(
    leaves: Mapping[str, Any], measured: Mapping[str, Any], entries: Mapping[str, Any]
) -> Iterator[str]:
    """Notes of what may be weights, quantized say, and has no law."""
    if not any(measured.values()):
        yield "nothing was measured: no leaf holds floating-point numbers"
        return
    whole = [p for p, w in leaves.items() if measured[p] is None and w.ndim > 1]
    if others := [path for path in whole if path not in entries]:
        yield f"{some(others)} are no floating-point numbers, and are not judged"


def _among(
    leaves: Mapping[str, Any],
    measured: Mapping[str, Statistics | None],
    entries: Mapping[str, Entry] | None,
) -> list[Finding]:
    """What is wrong with leaves beside others, or beside the plan."""
    # What is not drawn is equal by plan, and so are copies of what is.
    planned = entries or {}
    fixed = {p for p, e in planned.items() if not getattr(e.init, "_random", True)}
    repeated = {p for p, e in planned.items() if _repeats(e)}
    drawn = {path: array for path, array in leaves.items() if path not in fixed}
    structure = () if entries is None else _structure(leaves, entries)
    equal = copies(drawn, dict(measured), repeated)
    return [*equal, *structure]


def _repeats(entry: Entry) -> bool:
    """Whether each weight that is drawn has several places."""
    init, shape = entry.init, entry.shape
    return isinstance(init, Initializer) and 0 not in shape and init._copies(shape) > 1


def _array(path: str, leaf: Any) -> Any:
    """A leaf as a NumPy array, if it is one of numbers."""
    if _checks.is_traced(leaf):
        raise TypeError(
            f"params must be known, got the traced {leaf!r} at {path!r}; audit them "
            "outside of jit."
        )
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise ValueError(f"params must be there: {path!r} was given up (donated).")
        if not leaf.is_fully_addressable:
            raise ValueError(
                f"params must be in reach of this process, but {path!r} has parts on "
                "others; gather it first."
            )
        return np.asarray(leaf) if jnp.issubdtype(leaf.dtype, np.number) else leaf
    if leaf.dtype.hasobject:
        raise TypeError(f"params must hold numbers, got objects at {path!r}.")
    array = np.asarray(leaf)
    wide = {"f": np.float64, "c": np.complex128}.get(array.dtype.kind)
    if wide is not None and array.itemsize > np.dtype(wide).itemsize:
        return array.astype(wide)  # JAX has no wider one
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder())


def _tuple(inputs: Any) -> tuple[Any, ...]:
    if isinstance(inputs, tuple) and not inputs:
        raise ValueError(
            "inputs must be what the model is called with, got none; give an array, "
            "a jax.ShapeDtypeStruct, or a tuple of several."
        )
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _remedy(params: Any) -> str:
    """What to give in place of what holds no arrays."""
    if isinstance(params, str | os.PathLike):
        return f"a file is checked by the command jinit audit {os.fspath(params)}"
    if hasattr(params, "state_dict"):
        return "give its state_dict()"
    return "give the variables of a model"


def _kind(params: Any) -> str:
    text = repr(params)
    return text if len(text) < 60 else f"a {type(params).__name__}"


def _all_measured(leaves: Mapping[str, Any]) -> dict[str, Statistics | None]:
    """The statistics of each leaf of fractions."""

    def measured(array: Any) -> Statistics | None:
        return measure(array) if is_drawn(array.dtype) else None

    with ThreadPoolExecutor() as threads:
        return dict(zip(leaves, threads.map(measured, leaves.values()), strict=True))


def _entries(
    given: Any, leaves: dict[str, Any], names: Mapping[str, tuple[Any, ...]]
) -> tuple[Mapping[str, Entry] | None, list[str]]:
    """What each leaf was meant to be, by path; and what the rules leave open."""
    if given is None:
        return None, []
    if isinstance(given, Plan):
        return {entry.path: entry for entry in given}, []
    if isinstance(given, str):
        if given not in RULES:
            raise ValueError(
                "plan must be a plan, rules, or the name of a set of rules, "
                f"{', '.join(map(repr, RULES))}; got {reprlib.repr(given)}. One that "
                "was written is read by jinit.Plan.from_json."
            )
        given = rules_of(given)
    kinds = kinds_of(leaves)
    decided = decide(kinds, given, names=names)
    check_fit(decided.entries)
    entries = {
        entry.path: replace(entry, dtype=leaves[entry.path].dtype)
        for entry in decided.entries
    }
    unknown = dict.fromkeys(decided.unmatched, "no rule matches") | decided.unknown
    for path in unknown:  # it is there, and is left as it is
        entries[path] = Entry(path, leaves[path].shape, leaves[path].dtype, None, None)
    nothing = "nothing was compared: the rules know no leaf"
    notes = [nothing] if len(unknown) == len(kinds) else []
    for why in dict.fromkeys(unknown.values()):
        paths = some(path for path, reason in unknown.items() if reason == why)
        notes.append(f"the rules do not know {paths}: {why}")
    return entries, notes + [
        f"rule {rule!r} matches no leaf" for rule in decided.unused
    ]


# Of Hugging Face's Conv1D, whose weights are (in, out) in torch's state_dict as well.
_CONV_1D = re.compile(r"(.*\.)?(c_attn|c_fc|c_proj|q_attn)\.weight")


def _transposed(leaves: Mapping[str, Any], kernels: str) -> Iterator[Finding]:
    """Kernels whose outputs, as many as the biases beside them, are not the last."""
    for path, kernel in leaves.items():
        bias = leaves.get(f"{path.removesuffix(kernels)}bias")
        if not path.endswith(kernels) or bias is None or bias.ndim != 1:
            continue
        if kernel.ndim < 2 or _CONV_1D.fullmatch(path):
            continue
        # Before the last come those of a transposed kernel of Flax's ConvTranspose.
        last = kernel.shape[-1:] if kernel.ndim < 3 else kernel.shape[-2:]
        # The last axis of Flax's layout, where it was turned as if it were torch's.
        place = 0 if kernels == "kernel" else max(-3, -kernel.ndim)
        if bias.size == kernel.shape[place] and bias.size not in last:
            yield _exchanged(path, kernel.shape, bias.size, kernels)


def _exchanged(path: str, shape: Shape, outputs: int, kernels: str) -> Finding:
    """The finding of a kernel, with its shape as it is stored."""
    place, whose = "first", "torch"
    if kernels == "weight":
        *spatial, ins, outs = shape
        shape, place, whose = (outs, ins, *spatial), "last", "Flax"
    message = f"shape {tuple(shape)}, of which the {outputs} outputs come {place}"
    cause = f"inputs and outputs are exchanged: {whose}'s layout, not transposed"
    return Finding(path, "layout", message, cause)


def _structure(
    leaves: Mapping[str, Any], entries: Mapping[str, Entry]
) -> Iterator[Finding]:
    """Leaves that are missing, of another shape, no fractions, or not in the plan."""
    for path, entry in entries.items():
        if path not in leaves:
            yield Finding(path, "missing", "planned, but not there")
        elif leaves[path].shape != entry.shape:
            shape, planned = tuple(leaves[path].shape), entry.shape
            cause = "axes in another order" if sorted(shape) == sorted(planned) else ""
            yield Finding(path, "shape", f"shape {shape}, planned {planned}", cause)
        elif entry.init is not None and not _may_be(leaves[path].dtype, entry.dtype):
            message = f"dtype {leaves[path].dtype.name}, planned {entry.dtype.name}"
            yield Finding(path, "dtype", message)
    for path, array in leaves.items():
        if path not in entries and is_drawn(array.dtype):
            yield Finding(path, "unexpected", "there, but not in the plan")


def _may_be(dtype: Any, planned: Any) -> bool:
    """Whether a leaf is measured as planned: whole numbers are not, and have no law."""
    inexact = [jnp.issubdtype(kind, jnp.inexact) for kind in (dtype, planned)]
    return inexact[0] or not inexact[1]
