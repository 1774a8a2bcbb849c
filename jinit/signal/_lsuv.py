"""Initialization from data: layers are scaled by what they return for a batch.

The paper's algorithm 1, for each layer in turn, while its variance is not 1:

    run the model;    kernel <- kernel / std(output)

Here one forward pass does all layers: each output is replaced by what it is to become,
before the layers after it see it. With the bias left out of the scaling, c solves

    Var(c u + b) = 1    for u, an output without its bias b:

    u = (-2, 2), b = (0, 0):       c = 0.5, the paper's step
    u = (-2, 2), b = (-0.6, 0.6):  c = 0.2
    u = (-2, 2), b = (0.6, -0.6):  c = 0.8
    u = (-2, 2), b = (-1.5, 1.5):  none: the bias alone varies too much
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks
from jinit._text import aligned, some, to_json
from jinit._types import ArrayTree
from jinit.model._paths import Pattern, matcher, named_leaves
from jinit.signal import _watch

_UNMOVED = 0.01  # the share of its way that an output goes if it follows its kernel
_UNSEEN = "not seen: it is not called, or within remat, scan or vmap"


def lsuv(
    apply: _watch.Model,
    params: ArrayTree,
    batch: ArrayTree,
    *,
    tolerance: float = 0.1,
    max_tries: int = 10,
    layers: Pattern | Iterable[Pattern] | None = None,
    center: bool = False,
    progress: Callable[[int, float], Any] | None = None,
) -> tuple[ArrayTree, LsuvReport]:
    """Layer-sequential unit variance: scales kernels until outputs have variance 1.

        y = u + b  ->  c u + b,    c > 0 such that Var(c u + b) = 1

    Here u is a layer's output without its bias b, and the variance is that of all
    elements of the output for the batch. One forward pass scales the layers in the
    order of the calls; more follow while one is not within the tolerance. The paper
    starts from the kernels that `jinit.reinit(key, params, {"**/kernel":
    jinit.orthogonal(), "**": None})` gives.

    Args:
      apply: The model, as `jinit.diagnostics.propagation` takes it.
      params: Linen's variables, or the state of an nnx model. They are not changed.
      batch: The inputs, given to the model as its one argument.
      tolerance: How far from 1 a variance may be, greater than 0.
      max_tries: How many passes may scale, at least 1.
      layers: Which layers to scale: a pattern of the paths of their kernels, as
        `jinit.plan` takes it, or several. By default all that own a "kernel".
      center: Whether to set biases such that outputs have mean 0, those of each element
        of a bias by themselves. By default biases stay as they are.
      progress: A function that is called after each forward pass, with its number and
        the largest |variance - 1| of the layers that it found.

    Returns:
      A tree like `params`, in the same dtypes and shardings, and a `LsuvReport`. Layers
      that could not be scaled are no error: the report names them, with the reason.

    Raises:
      TypeError: An argument is traced.
      ValueError: Parameters or inputs are not finite; `layers` has a pattern of no
        kernel; or the model fails on the batch, or calls no layers.

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
            "progress must be a function of the number of a pass and a distance, or "
            f"None, got {progress!r}."
        )
    max_tries = _checks.count("max_tries", max_tries)
    center = _checks.flag("center", center)
    _watch.check_inputs("lsuv", apply, params, batch)
    kernels = _chosen(params, layers)
    shapes, _ = _watch.layer_shapes(apply, params, batch)
    called = {path: kernels[path] for path in shapes if path in kernels}
    biases = _own_biases(params, called, shapes) if center else {}
    states = {kernel: _State() for kernel in called.values()}
    measure = partial(jax.jit(partial(_measure, apply, called)), params, batch)
    # Algorithm 1, all layers at a time; the last pass of all only measures.
    for number in range(max_tries + 1):
        free = {k: not s.held and number < max_tries for k, s in states.items()}
        limit = tolerance if number else 0.0  # the first pass scales in any case
        found, centered = measure(_scales(states), biases, free, limit)
        found = jax.device_get(found)
        for kernel, state in states.items():
            state.see(_Found(*map(float, found[kernel])), tolerance)
        if progress is not None:
            distances = [abs(each.variance - 1) for each in found.values()]
            progress(number + 1, float(np.max(distances, initial=0.0)))
        if all(each.factor == 1 for each in found.values()):
            break
        for state in states.values():
            state.scale_once()
        biases = centered
    rows = [state.row(kernel, tolerance) for kernel, state in states.items()]
    unseen = [kernel for kernel in kernels.values() if kernel not in states]
    rows += [LsuvLayer(kernel, None, None, 1.0, 0, _UNSEEN) for kernel in unseen]
    report = LsuvReport(tuple(rows), not any(row.note for row in rows))
    return _watch.laid_out(_changed(params, _scales(states), biases), params), report


@dataclass(frozen=True)
class LsuvLayer:
    """What became of one layer: a row of the report that `jinit.lsuv` returns.

    Attributes:
      path: The path of its kernel.
      before: The variance of its output in the first pass, with the layers before it
        scaled; None for a layer that was not seen.
      after: The variance in the last forward pass, of the parameters that are returned.
      scale: What its kernel was multiplied by.
      tries: The number of passes that scaled it.
      note: Why its variance is not 1; empty where it is.
    """

    path: str
    before: float | None
    after: float | None
    scale: float
    tries: int
    note: str


@dataclass(frozen=True, repr=False)
class LsuvReport:
    """What became of each layer, as a table: what `jinit.lsuv` returns with params.

    Attributes:
      layers: A `LsuvLayer` for each kernel, in the order of the calls; those that were
        not seen come last.
      converged: Whether all of them are within the tolerance.
    """

    layers: tuple[LsuvLayer, ...]
    converged: bool

    def __repr__(self) -> str:
        rows = [("path", "before", "after", "scale", "tries", "note")]
        rows += [tuple(map(_cell, asdict(row).values())) for row in self.layers]
        return aligned(rows)

    def to_json(self) -> str:
        """Returns the rows and whether all converged as JSON; "nan" is a string."""
        return to_json("lsuv", **asdict(self))


class _Found(NamedTuple):
    """What a pass found of a layer."""

    variance: Any
    error: Any  # what has to be within the tolerance
    root: Any  # the scale that gives variance 1; 0 for a constant output, NaN for none
    factor: Any  # what the pass scaled by


@dataclass
class _State:
    """What is known of a layer from pass to pass."""

    before: float | None = None
    last: Any = None
    scale: float = 1.0
    tries: int = 0
    held: bool = False  # left as it was: its output does not follow its kernel

    def see(self, found: _Found, tolerance: float) -> None:
        if self.last is None:
            self.before = found.variance
        elif self.tries and not self.held and found.error >= tolerance:
            self.held = _unmoved(self.last.variance, found.variance)
            self.scale = 1.0 if self.held else self.scale
        self.last = found

    def scale_once(self) -> None:
        if not self.held and self.last.factor != 1:
            self.scale *= self.last.factor
            self.tries += 1

    def row(self, kernel: str, tolerance: float) -> LsuvLayer:
        after, note = self.last.variance, self._note(tolerance)
        return LsuvLayer(kernel, self.before, after, self.scale, self.tries, note)

    def _note(self, tolerance: float) -> str:
        last = self.last
        if last.error < tolerance:
            return ""
        if not math.isfinite(last.variance):
            return "its output is not finite"
        if self.held:
            return "its output does not follow its kernel"
        if last.root == 0:
            return "its output does not vary"
        if math.isnan(last.root):
            return "its biases alone vary too much"
        return f"not within {tolerance:g} after {self.tries} tries"


def _unmoved(before: float, after: float) -> bool:
    """Whether scaling has left a variance as it was, rather than near 1."""
    known = 0 < before < math.inf and 0 < after < math.inf
    return known and abs(math.log(after / before)) < _UNMOVED * abs(math.log(before))


def _scales(states: Mapping[str, _State]) -> dict[str, float]:
    return {kernel: state.scale for kernel, state in states.items()}


def _chosen(params: Any, patterns: Any) -> dict[str, str]:
    """The kernels to scale by the layer that they belong to."""
    leaves, _ = named_leaves(params)
    kernels = [
        path
        for path, leaf in leaves
        if _watch.is_kernel(path) and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if not kernels:
        raise ValueError(
            "params must hold leaves of floats named 'kernel', but there are only "
            f"{some(path for path, _ in leaves)}; give the variables of the model."
        )
    if patterns is not None:
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
        kernels = [k for k in kernels if any(match(k) for match in matches.values())]
    return {_watch.owner(path): path for path in kernels}


def _own_biases(
    params: Any, called: Mapping[str, str], shapes: Mapping[str, Any]
) -> dict[str, Any]:
    """The biases of the layers, by path, as far as one is added to the last axes."""
    leaves, found = dict(named_leaves(params)[0]), dict[str, Any]()
    for layer, kernel in called.items():
        bias = _watch.sibling(kernel, "bias")
        if bias in leaves and _watch.trails(leaves[bias].shape, shapes[layer].shape):
            found[bias] = leaves[bias]
    return found


def _measure(
    apply: Any,
    called: Mapping[str, str],
    params: Any,
    batch: Any,
    scales: Mapping[str, Any],
    biases: Mapping[str, Any],
    free: Mapping[str, Any],
    limit: Any,
) -> tuple[dict[str, _Found], dict[str, Any]]:
    """One forward pass: what it finds of each layer, and the biases that center it."""
    changed = _changed(params, scales, biases)
    leaves = dict(named_leaves(changed)[0])
    found, centered = dict[str, _Found](), dict[str, Any]()

    def visit(path: str, output: jax.Array) -> jax.Array:
        if path not in called:
            return output
        kernel, bias = called[path], _watch.sibling(called[path], "bias")
        center = bias in biases
        found[kernel], moved, output = _rescaled(
            output, leaves.get(bias), center, free[kernel], limit
        )
        if center:
            centered[bias] = moved
        return output

    _watch.apply_watched(apply, changed, batch, visit)
    return found, centered


def _rescaled(
    output: jax.Array, bias: Any, center: bool, free: Any, limit: Any
) -> tuple[_Found, Any, jax.Array]:
    """What a layer's output is, and the bias and the output that it gets."""
    y = output.astype(_watch.wide(output.dtype))
    b = jnp.zeros_like(y)
    if bias is not None and _watch.trails(bias.shape, y.shape):
        b = jnp.broadcast_to(bias.astype(output.dtype).astype(y.dtype), y.shape)
    u, error = y - b, abs(y.var() - 1)
    mean = jnp.zeros((), y.dtype)
    if center:
        axes = tuple(range(y.ndim - bias.ndim))
        mean, b = u.mean(axes), jnp.zeros_like(y)
        u = u - jnp.broadcast_to(mean, y.shape)
        error = jnp.maximum(error, abs(y.mean(axes)).max())
    root = _root(u, b)
    free = free & (root > 0) & ~(error <= limit)
    factor = jnp.where(free, root, 1)
    result = jnp.where(free, (factor * u + b).astype(output.dtype), output)
    if center:
        bias = jnp.where(free, (-factor * mean).astype(bias.dtype), bias)
    return _Found(y.var(), error, root, factor), bias, result


def _root(u: jax.Array, b: jax.Array) -> jax.Array:
    """The c > 0 that solves Var(c u + b) = c² Var(u) + 2 c Cov(u, b) + Var(b) = 1."""
    size = abs(u).max()  # so that squares neither overflow nor vanish
    u, b = u / size - (u / size).mean(), b - b.mean()
    spread, both, rest = (u * u).mean(), (u * b).mean(), (b * b).mean()
    root = (jnp.sqrt(both**2 + spread * (1 - rest)) - both) / spread / size
    root = jnp.where(jnp.isfinite(root) & (root > 0), root, jnp.nan)
    constant = (size == 0) | (spread < (10 * jnp.finfo(u.dtype).eps) ** 2)
    return jnp.where(constant, 0, root)


def _changed(params: Any, scales: Mapping[str, Any], biases: Mapping[str, Any]) -> Any:
    """The parameters, kernels scaled (and rounded once) and biases replaced."""
    leaves = dict(named_leaves(params)[0])
    for path, scale in scales.items():
        old = leaves[path]
        leaves[path] = (old.astype(_watch.wide(old.dtype)) * scale).astype(old.dtype)
    return _watch.replaced(params, leaves | dict(biases))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
