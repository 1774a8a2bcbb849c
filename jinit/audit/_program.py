"""The program: what weights make of signals, by the model that they are the weights of.

    second moment of an output = std² · fan_in · second moment of what is met

By the fans that the program has, this is known without a rule and without a name:

    an Einsum kernel (64, 8, 8), drawn for a fan_in of 8      outputs are 2.8 too large
    a table of variance 1 / 64 that meets query and key       outputs are 8 too small
    a zero gate before a zero kernel                          neither gets a gradient
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from jinit._text import some
from jinit.audit._report import Finding
from jinit.audit._statistics import Statistics
from jinit.model._graph import Graph, read
from jinit.model._moments import Moments
from jinit.model._paths import named_leaves
from jinit.model._program import traced
from jinit.model._reading import roles_of
from jinit.model._role import Role
from jinit.model._streams import streams

_FAR = 3.5  # times a second moment: no method any more, and less than a wrong fan of 4
_SUPERSEDED = ("std", "dead", "constant")  # what is found by itself, without a model


def in_program(
    model: Any,
    params: Any,
    inputs: Sequence[Any],
    measured: Mapping[str, Statistics | None],
    guessed: Sequence[Finding],
) -> list[Finding]:
    """What the program shows, and what of the guesses without it holds beside it."""
    shapes = jax.tree.map(_kind, params)
    program = traced(model, shapes, *inputs)
    graph = read(program.closed, program.paths)
    found = roles_of(graph)
    roles = {role.path: role for role in found}
    kept = [f for f in guessed if not _is_known(f, roles.get(f.path))]
    sizes = {
        path: found.mean**2 + found.std**2
        for path, found in measured.items()
        if found is not None
        and found.mean is not None
        and found.std is not None
        and not found.nonfinite
    }
    broken = {finding.path for finding in kept if finding.kind == "nonfinite"}
    new = [
        *_of_kernels(graph, found, measured, sizes),
        *_of_tables(graph, sizes),
        *_of_zeros(graph, sizes),
        *_unused(model, found, measured),
    ]
    return [*kept, *(finding for finding in new if finding.path not in broken)]


def _kind(leaf: Any) -> Any:
    return (
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf
    )


def _is_known(finding: Finding, role: Role | None) -> bool:
    """Whether the program says more of it than the leaf by itself."""
    if role is None or finding.kind not in _SUPERSEDED:
        return False
    if finding.kind == "std":
        return role.kind in ("contraction", "table")
    # Zero heads and writers are a method, and so are zero biases of a stack.
    return role.kind in ("scale", "shift") or role.head or role.branches > 0


def _of_kernels(
    graph: Graph,
    roles: Sequence[Role],
    measured: Mapping[str, Statistics | None],
    sizes: Mapping[str, float],
) -> Iterator[Finding]:
    """Kernels that are drawn for other fans than those that the program has."""
    first = {use.view.path: use for use in reversed(graph.uses)}
    for role in roles:
        size = sizes.get(role.path, 0.0) * role.factor**2
        if not role.is_kernel or role.recurrent or not size:
            continue
        share = size * role.fan_in * role.moment
        bare = size * role.fan_in  # without a gain, as many defaults are
        least = 1 / _FAR / max(role.branches, 1) if not role.head else 0.0
        fits = max(share, bare) >= least and min(share, bare) <= _FAR
        if fits or graph.is_normalized(first[role.path].step):
            continue
        found = measured[role.path]
        assert found is not None
        drawn = _fan_drawn_for(role, size)
        drawn = f"drawn for a fan_in of {drawn}; " if drawn else ""
        message = (
            f"std {found.std:.4g}, {drawn}the program sums over {role.fan_in:g}: "
            f"outputs are {_times(share)}"
        )
        cause = "another axis was taken for the inputs" if drawn else ""
        yield Finding(role.path, "signal", message, cause)


def _fan_drawn_for(role: Role, size: float) -> int | None:
    """The product of some axes that the variance fits, and that is not the fan_in."""
    for count in range(1, len(role.shape)):
        for axes in itertools.combinations(role.shape, count):
            fan = math.prod(axes)
            for gain in (1.0, 2.0, 1 / role.moment):
                if abs(size * fan / gain - 1) < 0.1 and fan != role.fan_in:
                    return fan
    return None


def _times(share: float) -> str:
    root = math.sqrt(share)
    return (
        f"{root:.3g} times too large" if root > 1 else f"{1 / root:.3g} times too small"
    )


def _of_tables(graph: Graph, sizes: Mapping[str, float]) -> Iterator[Finding]:
    """Tables whose size arrives at kernels, as before a block that normalizes last."""
    found = streams(graph)
    targets = found.targets()
    meant = Moments(graph, targets)
    tables = {use.view.path: use for use in graph.uses if use.kind == "table"}
    for path, table in tables.items():
        factor = table.view.factor * graph.factor_after(table.step)
        size = sizes.get(path, 0.0) * factor**2
        if not size or 1 / _FAR <= size <= _FAR:
            continue
        seen = Moments(graph, targets, {path: size})
        met = dict[str, float]()
        for use in graph.uses:
            if use.kind == "contraction" and use.operand.data:
                before = meant.second(use.operand)
                share = seen.second(use.operand) / before if before else 1.0
                given = use.fan_in * use.view.factor**2 * seen.second(use.operand)
                made = given * sizes.get(use.view.path, 0.0)  # of what it is drawn for
                if not (1 / _FAR <= share <= _FAR or 1 / _FAR <= made <= _FAR):
                    met[use.view.path] = share
        if met:
            share = next(iter(met.values()))
            message = (
                f"rows of second moment {size:.3g} meet {some(met)} before any norm: "
                f"outputs there are {_times(share)}"
            )
            remedy = f"what is looked up is to be multiplied by {size**-0.5:.3g}"
            yield Finding(path, "signal", message, remedy)


def _of_zeros(graph: Graph, sizes: Mapping[str, float]) -> Iterator[Finding]:
    """Branches with two zeros in a row, through which no gradient passes."""
    for branch in streams(graph).branches:
        rows = [[use.view.path for use in layer] for layer in branch.layers]
        rows += [[use.view.path] for use in (*branch.scales, *branch.gates)]
        zeros = [row for row in rows if row and not any(sizes.get(p, 1.0) for p in row)]
        if len(zeros) > 1:
            one, *others = (row[0] for row in zeros)
            message = f"zero, as is {some(others)} in the same branch"
            yield Finding(one, "gradient", message, "neither gets a gradient")


def _unused(
    model: Any, roles: Sequence[Role], measured: Mapping[str, Statistics | None]
) -> Iterator[Finding]:
    """Parameters without a use; averages that run along may well have none."""
    from flax import nnx  # as `traced` does, which was given the model

    paths = {role.path for role in roles}
    if isinstance(model, nnx.Module):
        paths = {path for path, _ in named_leaves(nnx.state(model, nnx.Param))[0]}
    elif any(path.startswith("params/") for path in paths):  # linen's variables
        paths = {path for path in paths if path.startswith("params/")}
    for role in roles:
        there = role.path in paths and measured.get(role.path) is not None
        if role.kind == "unused" and there:
            yield Finding(role.path, "unused", "the program does not use it")
