"""Scaling: kernels are scaled by what runs of a program show, until layers fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinit._bits import wide_dtype
from jinit.model._program import Program
from jinit.model._run import run
from jinit.model._views import covers, laid_along
from jinit.signal._kernels import Layer

_UNMOVED = 0.01  # the share of its way that an output goes if it follows its kernel


def fit(
    run: Callable[..., Any],
    states: Sequence[State],
    biases: dict[str, Any],
    tolerance: float,
    max_tries: int,
    progress: Callable[[int, float], Any] | None,
) -> None:
    """Algorithm 1, all layers at a time; the last run of all only measures.

    The states and the biases are brought to what they are to be.
    """
    for number in range(max_tries + 1):
        free = [~state.held & (number < max_tries) for state in states]
        limit = tolerance if number else 0.0  # the first run scales in any case
        seen = jax.device_get(run(scales_of(states), biases, free, limit))
        for state, each, may in zip(states, seen, free, strict=True):
            state.see(each, may, limit, tolerance)
        if progress is not None:
            farthest = [abs(s.last.variance / s.layer.target - 1).max() for s in states]
            progress(number + 1, float(np.max(farthest, initial=0.0)))
        if all((state.factor == 1).all() for state in states):
            return
        for state, each in zip(states, seen, strict=True):
            if state.layer.bias_path in biases:
                _center(state, each, biases)
            state.scale_once()


def own_biases(layers: Sequence[Layer], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The biases that are added as they are, by path."""
    found = {}
    for layer in layers:
        if layer.bias is not None and not layer.bias.view.functions:
            path = layer.bias.view.path
            if covers(layer.bias_digits, leaves[path].shape):
                found[path] = leaves[path]
    return found


class _Seen(NamedTuple):
    """What a run sees of a layer, for each turn of the loops around it."""

    variance: Any  # of the output
    size: Any  # the largest |u|, by which u is divided before it is squared
    spread: Any  # Var(u / size)
    both: Any  # Cov(u / size, b)
    rest: Any  # Var(b)
    off: Any  # how far from 0 a mean of the output is, where it is to be centered
    mean: Any  # the means of u, where it is to be centered


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


def seen_in_run(
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
    changed = scaled_leaves(named, scales, biases).values()
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
    y = output.astype(wide_dtype(output.dtype))
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
class State:
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

    def outcome(self, index: tuple[int, ...]) -> tuple[float, float, float, int]:
        """Of a kernel the variance before and after, the scale, and the tries."""
        before, after = float(self.before[index]), float(self.last.variance[index])
        return before, after, float(self.scale[index]), int(self.tries[index])

    def note(self, index: tuple[int, ...], tolerance: float) -> str:
        last, target = self.last, self.layer.target
        if _error(last, target)[index] < tolerance:
            return ""
        if not math.isfinite(last.variance[index]):
            return "its output is not finite, or it did not run"
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


def scales_of(states: Sequence[State]) -> dict[str, Any]:
    """What the kernels are multiplied with, along the axes of their stacks."""
    scales = {}
    for state in states:
        view, layer = state.layer.use.view, state.layer
        digits = [digit for _, digit in sorted(layer.stack.items())]
        scales[view.path] = laid_along(state.scale, digits, layer.shape)
    return scales


def scaled_leaves(
    leaves: Mapping[str, Any], scales: Mapping[str, Any], biases: Mapping[str, Any]
) -> dict[str, Any]:
    """The leaves, kernels scaled (and rounded once) and biases replaced."""
    changed = dict(leaves)
    for path, scale in scales.items():
        old = leaves[path]
        changed[path] = (old.astype(wide_dtype(old.dtype)) * scale).astype(old.dtype)
    return changed | dict(biases)


def _center(state: State, seen: _Seen, biases: dict[str, Any]) -> None:
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
