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

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks
from jinit._text import aligned, some, to_json
from jinit._types import ArrayTree
from jinit.model._graph import Graph, read
from jinit.model._paths import Pattern, matcher, named_leaves
from jinit.model._program import Program, traced
from jinit.model._run import run
from jinit.model._streams import streams
from jinit.model._views import covers, laid_along
from jinit.signal import _watch
from jinit.signal._kernels import Layer, in_order, layers_of, name_of

_UNMOVED = 0.01  # the share of its way that an output goes if it follows its kernel


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
    tolerance = _checks.positive("tolerance", tolerance)
    if _checks.is_traced(tolerance):
        raise TypeError(f"tolerance is traced, got {tolerance!r}; call outside of jit.")
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
    biases = _own_biases(chosen, leaves) if center else {}
    states = [_State(layer) for layer in chosen]
    measure = jax.jit(partial(_measure, program, chosen))
    arrays = list(leaves.values()), jax.tree.leaves(inputs)
    # Algorithm 1, all layers at a time; the last run of all only measures.
    for number in range(max_tries + 1):
        free = [~state.held & (number < max_tries) for state in states]
        limit = tolerance if number else 0.0  # the first run scales in any case
        seen = jax.device_get(measure(*arrays, _scales(states), biases, free, limit))
        for state, each, may in zip(states, seen, free, strict=True):
            state.see(each, may, limit, tolerance)
        if progress is not None:
            farthest = [abs(s.last.variance / s.layer.target - 1).max() for s in states]
            progress(number + 1, float(np.max(farthest, initial=0.0)))
        if all((state.factor == 1).all() for state in states):
            break
        for state, each in zip(states, seen, strict=True):
            if state.layer.bias_path in biases:
                _center(state, each, biases)
            state.scale_once()
    by_path = {state.layer.path: state for state in states}
    kernels = in_order(chosen)
    rows = [by_path[layer.path].row(index, tolerance) for layer, index in kernels]
    rows += [LsuvLayer(path, (), None, None, 1.0, 0, n) for path, n in skipped.items()]
    report = LsuvReport(tuple(rows), not any(row.note for row in rows))
    changed = _changed(leaves, _scales(states), biases)
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


def _own_biases(layers: Sequence[Layer], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The biases that are added as they are, by path."""
    found = {}
    for layer in layers:
        if layer.bias is not None and not layer.bias.view.functions:
            path = layer.bias.view.path
            if covers(layer.bias_digits, leaves[path].shape):
                found[path] = leaves[path]
    return found


# What a run finds.


class _Seen(NamedTuple):
    """What a run sees of a layer, for each turn of the loops around it.

    Attributes:
      variance: That of the output.
      size: The largest |u|, by which u is divided before it is squared.
      spread: Var(u / size).
      both: Cov(u / size, b).
      rest: Var(b).
      off: How far from 0 a mean of the output is, where it is to be centered.
      mean: The means of u, where it is to be centered.
    """

    variance: Any
    size: Any
    spread: Any
    both: Any
    rest: Any
    off: Any
    mean: Any


def _root(xp: Any, seen: _Seen, target: float) -> Any:
    """The c > 0 that solves c² Var(u) + 2 c Cov(u, b) + Var(b) = target.

    It is 0 for an output that does not vary, and NaN where there is none.
    """
    spread, both, rest = seen.spread, seen.both, seen.rest
    with np.errstate(all="ignore"):
        root = (xp.sqrt(both**2 + spread * (target - rest)) - both) / spread / seen.size
        root = xp.where(xp.isfinite(root) & (root > 0), root, xp.nan)
    least = (10 * jnp.finfo(seen.spread.dtype).eps) ** 2
    return xp.where((seen.size == 0) | (spread < least), 0.0, root)


def _error(seen: _Seen, target: float) -> Any:
    """What has to be within the tolerance."""
    xp = np if isinstance(seen.variance, np.ndarray) else jnp
    return xp.maximum(abs(seen.variance / target - 1), seen.off)


def _measure(
    program: Program,
    layers: Sequence[Layer],
    leaves: Sequence[Any],
    inputs: Sequence[Any],
    scales: Mapping[str, Any],
    biases: Mapping[str, Any],
    free: Sequence[Any],
    limit: Any,
) -> list[_Seen]:
    """One run: what it sees of each layer."""
    named = dict(zip(program.paths, leaves, strict=True))
    changed = _changed(named, scales, biases).values()
    looks = {
        layer.end.at: partial(_look, layer, layer.bias_path in biases, limit)
        for layer in layers
    }
    given = {
        layer.end.at: jnp.broadcast_to(layer.by_turn(each), layer.turns)
        for layer, each in zip(layers, free, strict=True)
    }
    _, seen = run(program.closed, [*changed, *inputs], looks, given)
    return [seen[layer.end.at] for layer in layers]


def _look(
    layer: Layer, center: bool, limit: Any, inputs: Any, outputs: Any, free: Any
) -> tuple[list[Any], _Seen]:
    """What is seen of a layer, and the output that it gets."""
    (output,) = outputs
    y = output.astype(_watch.wide(output.dtype))
    b, mean, off = jnp.zeros_like(y), jnp.zeros((), y.dtype), jnp.zeros((), y.dtype)
    if layer.bias is not None:
        (b,) = (
            v for v, of in zip(inputs, layer.end.inputs, strict=True) if not of.data
        )
        b = b.astype(y.dtype)
    u = y - b
    if center:
        axes = layer.shared_axes
        mean, off = u.mean(axes), abs(y.mean(axes)).max()
        u, b = u - u.mean(axes, keepdims=True), jnp.zeros_like(y)
    size = abs(u).max()  # so that squares neither overflow nor vanish
    v, rest = u / size - (u / size).mean(), b - b.mean()
    moments = (v * v).mean(), (v * rest).mean(), (rest * rest).mean()
    seen = _Seen(y.var(), size, *moments, off, mean)
    root = _root(jnp, seen, layer.target)
    free = free & (root > 0) & ~(_error(seen, layer.target) <= limit)
    return [jnp.where(free, (root * u + b).astype(output.dtype), output)], seen


def _pooled(layer: Layer, seen: _Seen) -> _Seen:
    """What is seen of each kernel of a stack: the averages over all other turns."""
    others = tuple(n for n in range(len(layer.turns)) if n not in layer.stack)
    wide = _Seen(*(np.asarray(part, np.float64) for part in seen))
    size = wide.size.max(others, keepdims=True)
    with np.errstate(all="ignore"):
        share = np.where(size > 0, wide.size / size, 0)
    return _Seen(
        wide.variance.mean(others),
        size.squeeze(others),
        (wide.spread * share**2).mean(others),
        (wide.both * share).mean(others),
        wide.rest.mean(others),
        wide.off.max(others),
        wide.mean,
    )


@dataclass
class _State:
    """What is known of a layer from run to run; of a stack, of each of its kernels."""

    layer: Layer
    before: Any = None
    last: Any = None
    factor: Any = None  # what the last run scaled by

    def __post_init__(self) -> None:
        shape = tuple(digit.size for _, digit in sorted(self.layer.stack.items()))
        self.scale, self.tries = np.ones(shape), np.zeros(shape, int)
        # Left as it was, where its output does not follow its kernel.
        self.held = np.zeros(shape, bool)

    def see(self, seen: _Seen, free: Any, limit: float, tolerance: float) -> None:
        now, target = _pooled(self.layer, seen), self.layer.target
        error = _error(now, target)
        if self.last is None:
            self.before = now.variance
        else:
            tried = (self.tries > 0) & ~self.held & ~(error < tolerance)
            stuck = tried & _unmoved(self.last.variance, now.variance, target)
            self.held, self.scale = self.held | stuck, np.where(stuck, 1.0, self.scale)
        root = _root(np, now, target)
        scaled = free & ~self.held & (root > 0) & ~(error <= limit)
        self.last, self.factor = now, np.where(scaled, root, 1.0)

    def scale_once(self) -> None:
        self.scale = self.scale * self.factor
        self.tries = self.tries + (self.factor != 1)

    def row(self, index: tuple[int, ...], tolerance: float) -> LsuvLayer:
        numbers = float(self.before[index]), float(self.last.variance[index])
        tried = float(self.scale[index]), int(self.tries[index])
        note = self._note(index, tolerance)
        return LsuvLayer(self.layer.path, index, *numbers, *tried, note)

    def _note(self, index: tuple[int, ...], tolerance: float) -> str:
        last, target = self.last, self.layer.target
        if _error(last, target)[index] < tolerance:
            return ""
        if not math.isfinite(last.variance[index]):
            return "its output is not finite"
        if self.held[index]:
            return "its output does not follow its kernel"
        root = _root(np, last, target)[index]
        if root == 0:
            return "its output does not vary"
        if math.isnan(root):
            return "its biases alone vary too much"
        return f"not within {tolerance:g} after {self.tries[index]} tries"


def _unmoved(before: Any, after: Any, target: float) -> Any:
    """Whether scaling has left a variance as it was, rather than near its target."""
    with np.errstate(all="ignore"):
        moved = abs(np.log(after / before)), abs(np.log(before / target))
    return np.isfinite(moved[0]) & (moved[0] < _UNMOVED * moved[1])


def _scales(states: Sequence[_State]) -> dict[str, Any]:
    """What the kernels are multiplied with, along the axes of their stacks."""
    scales = {}
    for state in states:
        view, layer = state.layer.use.view, state.layer
        digits = [digit for _, digit in sorted(layer.stack.items())]
        scales[view.path] = laid_along(state.scale, digits, layer.shape)
    return scales


def _changed(
    leaves: Mapping[str, Any], scales: Mapping[str, Any], biases: Mapping[str, Any]
) -> dict[str, Any]:
    """The leaves, kernels scaled (and rounded once) and biases replaced."""
    changed = dict(leaves)
    for path, scale in scales.items():
        old = leaves[path]
        changed[path] = (old.astype(_watch.wide(old.dtype)) * scale).astype(old.dtype)
    return changed | dict(biases)


def _center(state: _State, seen: _Seen, biases: dict[str, Any]) -> None:
    """Sets a bias to what leaves no mean, where its layer was scaled."""
    layer, path = state.layer, state.layer.bias_path
    assert layer.bias is not None
    assert path is not None
    along, digits = layer.along(layer.bias.view), layer.bias_digits
    others = tuple(n for n in range(len(layer.turns)) if n not in along)
    outputs = (1,) * (seen.mean.ndim - len(layer.turns))
    factor = layer.by_turn(state.factor)
    factor = factor.reshape(factor.shape + outputs)

    def laid(values: Any) -> Any:
        mean = np.broadcast_to(values, seen.mean.shape).mean(others)
        sizes = [digit.size for digit in digits]
        return laid_along(mean.reshape(sizes), digits, biases[path].shape)

    moved, old = laid(-factor * seen.mean), np.asarray(biases[path])
    biases[path] = np.where(laid(factor != 1) > 0, moved, old).astype(old.dtype)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
