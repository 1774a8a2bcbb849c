"""Initialization from data: kernels are scaled by what they make of a batch.

The paper's algorithm 1, for each layer in turn, while its variance is not 1:

    run the model;    kernel <- kernel / std(output)

Here one run does all layers: each output is replaced by what it is to become, before
the layers after it see it. A layer is a contraction that `_graph` finds, and the bias
that is added to its result. With the bias left out of the scaling, c solves

    Var(c u + b) = 1    for u, an output without its bias b:

    u = (-2, 2), b = (0, 0):       c = 0.5, the paper's step
    u = (-2, 2), b = (-0.6, 0.6):  c = 0.2
    u = (-2, 2), b = (0.6, -0.6):  c = 0.8
    u = (-2, 2), b = (-1.5, 1.5):  none: the bias alone varies too much

A layer of a loop runs once a turn. If the loop runs along its kernel, each turn has a
scale of its own; if not, the variances of all turns are averaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jinit import _checks
from jinit._text import aligned, some, to_json
from jinit._types import ArrayTree
from jinit.model._graph import Graph, read
from jinit.model._paths import Pattern, matcher, named_leaves
from jinit.model._program import traced
from jinit.model._streams import streams
from jinit.signal import _watch
from jinit.signal._kernels import Layer, in_order, layers_of, name_of
from jinit.signal._scaling import (
    State,
    fit,
    own_biases,
    scaled_leaves,
    scales_of,
    seen_in_run,
)


def lsuv(
    model: Any,
    params: ArrayTree,
    *inputs: Any,
    tolerance: float = 0.1,
    max_tries: int = 10,
    layers: Pattern | Iterable[Pattern] | None = None,
    residual: str | None = "sqrt",
    center: bool = False,
    progress: Callable[[int, float], Any] | None = None,
) -> tuple[ArrayTree, LsuvReport]:
    """Layer-sequential unit variance: scales kernels until outputs have variance 1.

        y = u + b  ->  c u + b,    c > 0 such that Var(c u + b) = 1

    Here u is what a kernel is contracted to and b the bias that is added, and the
    variance is that of all elements for the inputs. Layers are found in the traced
    program, as by `jinit.roles`: within loops, remat and vmap too, whatever their
    names. One run scales them in order; more follow while one is not within the
    tolerance. The paper starts from orthogonal kernels.

    Args:
      model: The model, as `jinit.roles` takes it.
      params: Its parameters. They are not changed.
      *inputs: What it is called with: a batch.
      tolerance: How far from 1 a variance may be, as a share; greater than 0.
      max_tries: How many runs may scale, at least 1.
      layers: Which kernels to scale: a pattern of their paths, as `jinit.plan` takes
        it, or several. By default all that are contracted with a signal, but those
        whose own result comes back to them, as in a recurrent cell.
      residual: "sqrt" for a variance of 1 / L of what is added to a residual stream of
        L branches; None for 1, as the paper has it.
      center: Whether to set biases such that outputs have mean 0, those of each element
        of a bias by themselves. By default biases stay as they are.
      progress: A function that is called after each run, with its number and the
        largest distance of a variance, as a share.

    Returns:
      A tree like `params`, in the same dtypes and shardings, and a `LsuvReport`. Layers
      that could not be scaled are no error: the report names them, with the reason.

    Raises:
      TypeError: An argument is traced.
      ValueError: Parameters or inputs are not finite; `layers` has a pattern of no
        kernel; or the model fails on the inputs, or has no kernels.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> def dense(features):
      ...     return nn.Dense(features, kernel_init=jinit.normal(std=0.01))
      >>> model = nn.Sequential([dense(256), nn.relu, dense(256)])
      >>> x = jax.random.normal(jax.random.key(0), (64, 784))
      >>> params, report = jinit.lsuv(model, model.init(jax.random.key(1), x), x)
      >>> report
      path                    before   after  scale  tries  note
      params/layers_0/kernel  0.07878  1      3.563  1
      params/layers_2/kernel  0.01321  1      8.701  1
      >>> report.converged, report.layers[0].tries
      (True, 1)

    References:
      Mishkin and Matas (2015), arXiv:1511.06422, algorithm 1, which divides by the
      standard deviation of the whole output, that of the bias included.
    """
    tolerance = _checks.positive("tolerance", _checks.known("tolerance", tolerance))
    if progress is not None and not callable(progress):
        raise TypeError(
            "progress must be a function of the number of a run and a distance, or "
            f"None, got {progress!r}."
        )
    max_tries = _checks.count("max_tries", max_tries)
    center = _checks.flag("center", center)
    if residual not in ("sqrt", None):
        raise ValueError(f"residual must be 'sqrt' or None, got {residual!r}.")
    _watch.check_inputs("lsuv", params, inputs, "inputs")
    program = traced(model, params, *inputs)
    graph = read(program.closed, program.paths)
    found = layers_of(graph, streams(graph) if residual else None)
    chosen, skipped = _chosen(found, graph, layers)
    leaves = dict(named_leaves(params)[0])
    biases = own_biases(chosen, leaves) if center else {}
    states = [State(layer) for layer in chosen]
    measure = jax.jit(partial(seen_in_run, program, chosen))
    run = partial(measure, list(leaves.values()), jax.tree.leaves(inputs))
    fit(run, states, biases, tolerance, max_tries, progress)
    by_path = {state.layer.path: state for state in states}
    kernels = in_order(chosen)
    rows = [_row(by_path[layer.path], index, tolerance) for layer, index in kernels]
    rows += [LsuvLayer(path, (), None, None, 1.0, 0, n) for path, n in skipped.items()]
    report = LsuvReport(tuple(rows), not any(row.note for row in rows))
    changed = scaled_leaves(leaves, scales_of(states), biases)
    return _watch.laid_out(_watch.replaced(params, changed), params), report


@dataclass(frozen=True)
class LsuvLayer:
    """What became of one layer: a row of the report that `jinit.lsuv` returns.

    Attributes:
      path: The path of its kernel.
      index: Which of a stack of kernels it is; () where there is one.
      before: The variance of its output in the first run, with the layers before it
        scaled; None for a layer that was not measured.
      after: The variance in the last run, of the parameters that are returned.
      scale: What its kernel was multiplied by.
      tries: The number of runs that scaled it.
      note: Why its variance is not what it is to be; empty where it is.
    """

    path: str
    index: tuple[int, ...]
    before: float | None
    after: float | None
    scale: float
    tries: int
    note: str


@dataclass(frozen=True, repr=False)
class LsuvReport:
    """What became of each layer, as a table: what `jinit.lsuv` returns with params.

    Attributes:
      layers: A `LsuvLayer` for each kernel, and each of a stack, in the order of the
        program; those that were not scaled come last.
      converged: Whether all of them are within the tolerance.
    """

    layers: tuple[LsuvLayer, ...]
    converged: bool

    def __repr__(self) -> str:
        titles = ("path", "before", "after", "scale", "tries", "note")
        rows = [
            (
                name_of(row.path, row.index),
                *(_cell(getattr(row, t)) for t in titles[1:]),
            )
            for row in self.layers
        ]
        return aligned([titles, *rows])

    def to_json(self) -> str:
        """Returns the rows and whether all converged as JSON; "nan" is a string."""
        return to_json("lsuv", **asdict(self))


# Which layers.


def _chosen(
    found: Mapping[str, Layer], graph: Graph, patterns: Any
) -> tuple[list[Layer], dict[str, str]]:
    """The layers to scale, and why others are not."""
    if not found:
        raise ValueError(
            "params must have leaves that are contracted with the inputs, but there "
            f"are only {some(graph.shapes)}; give those of the model."
        )
    paths = list(found)
    if patterns is not None:
        paths = _matching(patterns, paths)
    chosen, skipped = list[Layer](), dict[str, str]()
    for path in paths:
        use = found[path].use
        if graph.feeds_back(use) and patterns is None:
            skipped[path] = "its result comes back to it, so it is left as it is"
        elif graph.is_apart(use.step):
            skipped[path] = "not seen: it is within shard_map"
        elif not jnp.issubdtype(use.step.outputs[0].dtype, jnp.floating):
            skipped[path] = f"its output is of {use.step.outputs[0].dtype}"
        else:
            chosen.append(found[path])
    if patterns is None:
        used = {use.view.path for use in graph.uses}
        unused = [p for p, shape in graph.shapes.items() if p not in used]
        skipped |= {p: "it is not used" for p in unused if len(graph.shapes[p]) > 1}
    return chosen, skipped


def _matching(patterns: Any, kernels: Sequence[str]) -> list[str]:
    if isinstance(patterns, str | re.Pattern):
        patterns = [patterns]
    if not isinstance(patterns, Iterable):
        raise TypeError(
            "layers must be a glob over the paths of kernels, a regular "
            f"expression, or several of them, got {patterns!r}."
        )
    matches = {pattern: matcher(pattern) for pattern in patterns}
    unmatched = [p for p, match in matches.items() if not any(map(match, kernels))]
    if unmatched or not matches:
        raise ValueError(
            f"layers must match kernels, but {some(unmatched) or 'no pattern'} "
            f"matches none of {some(kernels)}; correct it, or leave it out."
        )
    return [k for k in kernels if any(match(k) for match in matches.values())]


def _row(state: State, index: tuple[int, ...], tolerance: float) -> LsuvLayer:
    note = state.note(index, tolerance)
    return LsuvLayer(state.layer.path, index, *state.outcome(index), note)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
