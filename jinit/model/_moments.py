"""Moments: how large the values of a program are, where its layers are drawn rightly.

A value is stood for by samples of its elements, as mean-field theory has it: of so many
features, which have weights of their own, each at so many places, which share them:

                 a feature, another, ...
    a place      0.3        -1.2             fresh of a contraction: normal numbers of
    another      0.5        -0.9             variance one, for so the layer is drawn;
    ...                                      places are as like as what they are made of

Operations on elements are run on the samples, so that no activation, gate or
normalization needs a rule. Sums over features add what is independent, and sums over
places what is alike: so an average over an image, or by attention, is as large as what
its places share. What has no rule starts again as normal numbers of variance one. What
a loop carries is run for some turns; how it grows from there on is a geometric series.
Places are alike with all others or with none: that what a recurrence makes is like its
neighbours is not known, so a second recurrence over it is taken for smaller than it is.

    y = dot_general x w     fresh, of variance 1
    g = logistic y          run on the samples of y
    z = mul y g             likewise, jointly: SiLU of a normal number
    v = dot_general z u     meets a second moment of 0.3557, that of SiLU
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from statistics import NormalDist, fmean
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import FftType

from jinit.gains._curve import FUNCTIONS
from jinit.model._classes import classes, sources
from jinit.model._constants import BY_ELEMENT, by_element, computed
from jinit.model._features import Features
from jinit.model._graph import Graph, Step, Use, Value
from jinit.model._views import KEPT

PLACES, FEATURES = 16, 1 << 9
SAMPLES = PLACES * FEATURES
_MOST = 127  # of whole numbers that are inputs: words, classes, pixels
_TURNS, _MOST_TURNS = 8, 32  # of a loop: those that are run at first, and at most
_SAME = 0.05  # by which part sizes differ that are taken for the same

_SUMS = {"add", "sub", "add_any", "concatenate"}  # to which a parameter adds little
_ONE = {"scale", "other", "mul", "div", "max", "sqrt", "rsqrt"}  # what it starts from

_NEVER_ZERO = {"mul", "exp", "exp2", "integer_pow", "square", "logistic"}  # of others

_BY_ELEMENT = {
    *BY_ELEMENT,
    *("div", "integer_pow", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh"),
    *("asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "cbrt", "round", "rem"),
    *("nextafter", "bitcast_convert_type"),
}


class Moments:
    """The samples of the values of a graph.

    Args:
      graph: The program.
      targets: The variance that the results of steps are drawn for, by the identity of
        the step, where it is not one: the branches of a stream share it.
      sizes: The second moments of tables that are known, by path, where they are not
        one.

    Attributes:
      unknown: The operations that have no rule, by name.
      features: Which axes of the values the layers made.
    """

    def __init__(
        self,
        graph: Graph,
        targets: Mapping[int, float] | None = None,
        sizes: Mapping[str, float] | None = None,
    ) -> None:
        self._targets, self._sizes, self._graph = targets or {}, sizes or {}, graph
        self._rng = np.random.default_rng(0)
        self.features = Features(graph)
        self._samples: dict[int, np.ndarray] = {}
        self.unknown: set[str] = set()
        self._turn = 0  # of the loop that is run
        self._before: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._ends = {id(first): last for first, last in graph.carried}
        self._starts = _starts_of(graph)
        self._last: dict[int, float] = {}  # the sizes of what loops carry, in the end
        self._numbers: dict[int, Any] = {}  # of parameters alone, and of counters
        self._uses = {
            id(u.step): u for u in graph.uses if u.kind in ("contraction", "table")
        }
        self._classes = classes(graph)
        self._indices: dict[frozenset[int], int] = {}  # of what is looked up
        for value in graph.inputs:
            self._samples[id(value)] = self._input(value)
        for path in graph.states:
            self._samples[id(graph.signals[path])] = np.zeros((PLACES, FEATURES), "f4")
        self._run_steps(graph.steps)

    def _run_steps(self, steps: Sequence[Step], depth: int = 0) -> None:
        """Runs them in order, and those of loops several times."""
        for loops, each in groupby(steps, lambda step: step.loops[depth : depth + 1]):
            inside = list(each)
            if loops:
                around = self._turn
                self._run_loop(inside, depth + 1, loops[0].turns or _TURNS)
                self._turn = around
            else:
                for step in inside:
                    self._run_step(step)

    def _run_loop(self, steps: Sequence[Step], depth: int, length: int) -> None:
        """Runs a loop until what it carries stays as it is, or grows as is known.

        Not all of it: its layers are drawn alike, and its places, as one kernel, for
        what they are on average.
        """
        carried, sizes = dict[int, Value](), dict[int, list[float]]()
        for step in steps:
            own = step.name == "carry" and len(step.loops) == depth
            end = self._end(step) if own else None
            if end is not None and jnp.issubdtype(end.dtype, jnp.inexact):
                carried[id(end)] = end
                start = self.second(step.inputs[0])  # unknown of some parameters
                sizes[id(end)] = [0.0 if math.isnan(start) else start]
        turns = min(_TURNS, length // 2 + 1)
        for self._turn in range(_MOST_TURNS):
            self._run_steps(steps, depth)
            for end, size in sizes.items():
                size.append(self.second(carried[end]))
            if self._turn + 1 == turns:
                slow = any(_growth(size) > 0.5 for size in sizes.values())
                if not slow or length <= 4 * turns:
                    break
                turns *= 2
        self._carry_on(steps, depth, length, sizes)

    def _carry_on(
        self,
        steps: Sequence[Step],
        depth: int,
        length: int,
        carried: Mapping[int, list[float]],
    ) -> None:
        """Makes what a loop carries as large as it is on average, and in the end."""
        grown = {
            end: (size[-1], *_grown(size, length))
            for end, size in carried.items()
            if len(size) > 2 and size[-1]
        }
        whole = all(len(size) > length // 2 for size in carried.values())
        ratios = {end: mean / size for end, (size, mean, _) in grown.items()}
        if not whole and any(abs(ratio - 1) > _SAME for ratio in ratios.values()):
            for end, ratio in ratios.items():
                self._samples[end] = self._samples[end] * np.float32(math.sqrt(ratio))
            self._turn += 1
            self._run_steps(steps, depth)
        self._last |= {end: last for end, (*_, last) in grown.items()}

    def _end(self, step: Step) -> Value | None:
        """What a signal that a loop carries is at the end of a turn."""
        end = self._ends.get(id(step.outputs[0]))
        return end if end is not None and end.data else None

    def _run_step(self, step: Step) -> None:
        if not any(value.data for value in step.outputs):
            self._work_out(step)
            return
        for value, made in zip(step.outputs, self._made(step), strict=True):
            whole = np.broadcast_to(made, (PLACES, FEATURES))
            self._samples[id(value)] = whole

    def _work_out(self, step: Step) -> None:
        """What is computed of parameters alone, or of a counter, as these start."""
        given = [self._number(value) for value in step.inputs]
        for value in step.outputs:
            self._numbers[id(value)] = self._worked_out(step, given, value)

    def _worked_out(self, step: Step, given: list[Any], value: Value) -> Any:
        first: Any = given[0] if given else None
        if step.name == "carry":  # a counter
            return self._number(self._ends[id(value)]) if self._turn else first
        if step.name == "along":
            return first[self._turn % len(first)] if np.ndim(first) else first
        made = computed(step, given, value)
        if step.name in _NEVER_ZERO and made is not None and not np.any(made):
            # A long product of decays is too small, and not one that is left out.
            return np.finfo(np.float32).tiny if all(map(np.any, given)) else made
        return made

    def _number(self, value: Value) -> Any:
        """What a value is that is computed of neither samples nor random numbers."""
        if value.views and value.step is None:
            return self._starts.get(value.views[0].path)
        return self._numbers.get(id(value), value.number)

    def of(self, value: Value) -> np.ndarray:
        """The samples of a value; of a parameter those that it starts from."""
        if value.data:
            return self._samples[id(value)]
        number = self._number(value)
        if number is None:
            return self._unknown(value)
        if np.ndim(number) == 0:
            return np.asarray(number)
        if not number.size:
            return np.zeros((), number.dtype)
        # A row for each feature, along which the places lie, as keys do along a mask;
        # the same of arrays of one size, such as a sine and its cosine.
        rng, shape = np.random.default_rng(0), number.shape
        rows = [(rng.random(FEATURES) * n).astype(int) for n in shape[:-1]]
        places = np.arange(PLACES)[:, None] * shape[-1] // PLACES
        return number[(*rows, places)]

    def second(self, value: Value) -> float:
        """The mean of the squares."""
        return _second(self.of(value))

    def assumed(self, value: Value) -> tuple[str, ...]:
        """The operations without a rule that its size rests on, if no norm follows."""
        found, seen, front = set[str](), set[int](), [value]
        while front:
            step = front.pop().step
            if step is None or id(step) in self._uses or id(step) in seen:
                continue
            seen.add(id(step))
            if step.name in ("rsqrt", "sqrt"):
                return ()
            if step.name in self.unknown:
                found.add(step.name)
            else:
                numbers = (
                    v for v in step.inputs if jnp.issubdtype(v.dtype, jnp.inexact)
                )
                front += [v for v in numbers if v.data]
        return tuple(sorted(found))

    def activation(self, value: Value) -> str | None:
        """The name of what a value is of a normal number, if it has one.

        SiLU is found where z · sigmoid(z) is computed of one z, whoever wrote it.
        """
        source = _source(value)
        if source is None or source is value:
            return None
        z, made = self.of(source), self.of(value)
        if abs(_second(z) - 1) > 0.01:
            return None
        order = np.argsort(np.argsort(z, axis=None)).reshape(z.shape)
        for name in FUNCTIONS:
            if np.allclose(made, _activations()[name][order], rtol=0, atol=2e-3):
                return name
        return None

    # Normal numbers.

    def fresh(self, second: float = 1.0, share: float = 0.0) -> np.ndarray:
        """Normal numbers; of a feature a share of the variance is common to places."""
        z = self._rng.permutation(normal_samples()).reshape(PLACES, FEATURES)
        if share > 0:
            common = math.sqrt(share) * self._rng.standard_normal(FEATURES)
            mixed = (common + math.sqrt(1 - share) * z).astype(np.float32)
            order = np.argsort(np.argsort(mixed, axis=None))
            z = normal_samples()[order].reshape(PLACES, FEATURES)
        return z * np.float32(math.sqrt(max(second, 0.0)))

    def shared(self, x: np.ndarray) -> float:
        """The mean of the products of two places: what places have in common."""
        x = _in_double(x)
        squares, sums = (np.square(abs(each)).sum() for each in (x, x.sum(0)))
        return max(float(sums - squares) / (x.size * (PLACES - 1)), 0.0)

    def _share(self, x: np.ndarray) -> float:
        second = _second(x)
        return min(self.shared(x) / second, 1.0) if second > 0 else 0.0

    def _input(self, value: Value) -> np.ndarray:
        if jnp.issubdtype(value.dtype, jnp.inexact):
            return self._normal(value.dtype)
        if jnp.issubdtype(value.dtype, np.integer):
            known = self._classes.get(id(value))
            least, most = (1, _MOST) if known is None else (0, known)
            return self._rng.integers(least, most, (PLACES, FEATURES))
        return self._rng.random((PLACES, FEATURES)) < 0.5

    def _normal(
        self, dtype: Any, second: float = 1.0, share: float = 0.0
    ) -> np.ndarray:
        """Normal numbers, whose parts are alike where they are complex."""
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return self.fresh(second, share)
        real, imaginary = (self.fresh(second / 2, share) for _ in range(2))
        return real + 1j * imaginary

    def _unknown(self, value: Value) -> np.ndarray:
        """A large constant: a mask, or numbers of which nothing is known."""
        if value.views:
            return np.asarray(math.nan)
        return self._input(value) if value.dtype == bool else np.asarray(0.0)

    # Steps.

    def _made(self, step: Step) -> list[np.ndarray]:
        if use := self._uses.get(id(step)):
            return [self._drawn(step, use) for _ in step.outputs]
        if step.name == "carry" and self._turn and (end := self._end(step)) is not None:
            return [self._samples[id(end)]]  # of the turn before
        if step.name in _RULES:
            return _RULES[step.name](self, step)
        # A loop may start from a constant, such as a state of zeros.
        first = next((v for v in step.inputs if v.data), step.inputs[0])
        if step.name == "along":  # another place in each turn
            return [self._elsewhere(self._wide(first), [self._turn])]
        if step.name == "last" and id(first) in self._last and self.second(first):
            change = self._last[id(first)] / self.second(first)
            return [self.of(first) * np.float32(math.sqrt(change))]
        if step.name in ("slice", "split", "unstack") and first.data:
            return [self._part(first, start) for start in _starts(step)]
        if step.name in KEPT or step.name == "sort":
            if len(step.inputs) == len(step.outputs) > 1:
                return [self._given(step, value) for value in step.inputs]
            return [self._given(step, first)] * len(step.outputs)
        if step.name in _BY_ELEMENT:
            return [self._run(step)]
        self.unknown.add(step.name)
        return [self._input(value) for value in step.outputs]

    def _drawn(self, step: Step, use: Use) -> np.ndarray:
        """What a layer makes that is drawn for its variance."""
        target = self._targets.get(id(step), 1.0)
        if use.kind == "table":  # which may be small, and multiplied after
            size = self._sizes.get(use.view.path, 1.0)
            return self.fresh(size / self._graph.factor_after(step) ** 2)
        if not use.operand.data:
            return self.fresh(target)
        x = self._floats(use.operand)
        y = self.fresh(target, self._share(x))
        if step.loops and "stack" not in use.axes.values():
            y = self._after(step, x, y)
        return y

    def _after(self, step: Step, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What the same kernel makes in a loop: as like from turn to turn as its input.

        So what a cell remembers is as large as what adds up in it, which is alike.
        """
        if self._turn:
            last, made = self._before[id(step)]
            sizes = math.sqrt(float(np.mean(x * x)) * float(np.mean(last * last)))
            like = float(np.mean(x * last)) / sizes if sizes else 0.0
            like = min(max(like, 0.0), 1.0)
            y = like * made + np.float32(math.sqrt(1 - like * like)) * y
        self._before[id(step)] = x, y
        return y

    def _wide(self, value: Value) -> np.ndarray:
        return np.broadcast_to(self.of(value), (PLACES, FEATURES))

    def _floats(self, value: Value) -> np.ndarray:
        """Of complex numbers the real parts, made as large as the numbers are."""
        x = self._wide(value)
        x = math.sqrt(2) * x.real if np.iscomplexobj(x) else x
        return x.astype(np.float32)

    def _part(self, value: Value, start: Sequence[int]) -> np.ndarray:
        """Of a part of an array the samples in another order, that of its place.

        So two halves of a product are independent, and what is computed of one half is
        not of the same half of something else.
        """
        x = self._wide(value)
        moved = [axis for axis, at in enumerate(start) if at]
        if not moved:
            return x
        sizes = (value.shape[axis] for axis in moved)
        start = [*start, *sizes]  # so parts of parts are of other places again
        rng = np.random.default_rng(start)
        if all(self.features.along(value)[axis] for axis in moved):
            return x[:, rng.permutation(FEATURES)]
        if not any(self.features.along(value)):
            return rng.permuted(x.reshape(-1)).reshape(x.shape)
        return self._elsewhere(x, start)

    def _elsewhere(self, x: np.ndarray, at: Sequence[int]) -> np.ndarray:
        """The samples of other places, of those that are hardly alike any samples.

        For there are few places, so that in a long sum they would come again.
        """
        rng = np.random.default_rng([*at])
        if not any(at):
            return x
        if self._share(x - x.mean()) < 1 / PLACES:
            return rng.permuted(x.reshape(-1)).reshape(x.shape)
        return x[rng.permutation(PLACES)]

    def _given(self, step: Step, value: Value) -> np.ndarray:
        """The samples of an input: a parameter leaves the others as they are."""
        number = self._number(value) if value.views and not value.data else 1.0
        if number is None or not np.isfinite(number).all() or not np.any(number):
            return np.asarray(0.0 if step.name in _SUMS else 1.0)
        return self.of(value)

    def _run(self, step: Step) -> np.ndarray:
        given = [np.asarray(self._given(step, v)) for v in step.inputs]
        real = [jnp.issubdtype(v.dtype, jnp.floating) for v in step.inputs]
        arrays = [
            a.astype(np.float32) if f else a for a, f in zip(given, real, strict=True)
        ]
        out = by_element(step.name, step.equation.params, arrays)
        out = np.asarray(self._bound(step, arrays) if out is None else out)
        if not jnp.issubdtype(out.dtype, np.floating):
            return out
        return np.clip(np.nan_to_num(out.astype(np.float32)), -1e30, 1e30)

    def _bound(self, step: Step, arrays: list[np.ndarray]) -> np.ndarray:
        """What JAX makes of the samples."""
        wide = [np.broadcast_to(array, (PLACES, FEATURES)) for array in arrays]
        with jax.numpy_dtype_promotion("standard"):
            return np.asarray(
                step.equation.primitive.bind(
                    *map(jnp.asarray, wide), **step.equation.params
                )
            )

    # Sums.

    def _over_features(self, x: np.ndarray, n: int) -> np.ndarray:
        """The sum over n features: of few as such, of many by mean and variance."""
        if n <= 8:
            shifts = (self._rng.permutation(FEATURES) for _ in range(n - 1))
            return sum((x[:, order] for order in shifts), x)
        mean, variance = float(x.mean()), float(x.var())
        if n * mean * mean > 4 * variance:  # it does not scatter, as a norm does not
            return np.full_like(x, n * mean)
        center = x - np.float32(mean)  # each is one of those that are summed
        others = self.fresh((n - 1) * variance, self._share(center))
        return n * mean + center + others

    def _over_places(self, x: np.ndarray, n: int) -> np.ndarray:
        """The sum over n places, which are as like as they are."""
        if n <= PLACES // 2:
            return sum((np.roll(x, shift, 0) for shift in range(1, n)), x)
        mean, center = x.mean(0, keepdims=True), x.mean()
        if x.min() >= 0:  # as the weights of attention, whose small sums matter
            return np.broadcast_to(n * mean, x.shape)
        # The mean of as many places as there are samples scatters more than that of n.
        common, own = self.shared(x - center), float(x.var())
        scatter = float(mean.var())
        wanted = common + max(own - common, 0.0) / n
        shrunk = math.sqrt(wanted / scatter) if scatter > wanted else 1.0
        return np.broadcast_to(n * (center + shrunk * (mean - center)), x.shape)

    def _summed(self, value: Value, axes: Iterable[int]) -> np.ndarray:
        axes = list(axes)
        features = self.features.count(value, axes)
        places = math.prod(value.shape[axis] for axis in axes) // max(features, 1)
        x = self._floats(value)
        x = self._over_features(x, features) if features > 1 else x
        return self._over_places(x, places) if places > 1 else x

    def _reduce_sum(self, step: Step) -> list[np.ndarray]:
        return [self._summed(step.inputs[0], step.equation.params["axes"])]

    def _cumsum(self, step: Step) -> list[np.ndarray]:
        value = step.inputs[0]
        n = value.shape[step.equation.params["axis"]]
        return [self._over_places(self._floats(value), (n + 1) // 2)]

    def _scatter_add(self, step: Step) -> list[np.ndarray]:
        """Sums over the places that go to one, as many as there are for each."""
        before, _, updates = step.inputs
        n = round(math.prod(updates.shape) / max(math.prod(before.shape), 1))
        x = self._floats(updates)
        added = self._over_places(x, n) if n > 1 else x
        return [added + self.of(before) if before.data else added]

    def _pad(self, step: Step) -> list[np.ndarray]:
        """Zeros between places: so even and odd ones are laid out, and then added."""
        x = self._wide(next(v for v in step.inputs if v.data))
        for low, _, between in step.equation.params["padding_config"]:
            kept = np.arange(PLACES) % (between + 1) == low % (between + 1)
            x = np.where(kept[:, None], x, 0).astype(x.dtype) if between else x
        return [x]

    def _extreme(self, step: Step, high: bool) -> list[np.ndarray]:
        value, axes = step.inputs[0], step.equation.params["axes"]
        n = math.prod(value.shape[axis] for axis in axes)
        at = n / (n + 1) if high else 1 / (n + 1)
        return [np.quantile(self._floats(value), at).astype(value.dtype)]

    def _reduce_max(self, step: Step) -> list[np.ndarray]:
        return self._extreme(step, high=True)

    def _reduce_min(self, step: Step) -> list[np.ndarray]:
        return self._extreme(step, high=False)

    def _top_k(self, step: Step) -> list[np.ndarray]:
        """The upper part of the samples, and where each was: anywhere."""
        value, (out, _) = step.inputs[0], step.outputs
        part = math.prod(out.shape) / math.prod(value.shape)
        at = 1 - part * self._rng.random((PLACES, FEATURES))
        size = round(out.shape[-1] / part)
        largest = np.quantile(self._floats(value), at).astype(np.float32)
        return [largest, self._rng.integers(0, size, at.shape)]

    def _index(self, step: Step) -> list[np.ndarray]:
        """Of the largest or the least: each is as likely."""
        (axis,) = step.equation.params["axes"]
        n = step.inputs[0].shape[axis]
        return [self._rng.integers(0, n, (PLACES, FEATURES))]

    def _reduce_window_max(self, step: Step) -> list[np.ndarray]:
        """Of places side by side."""
        n = math.prod(step.equation.params["window_dimensions"])
        x = self._wide(step.inputs[0])
        return [np.max([np.roll(x, shift, 0) for shift in range(min(n, PLACES))], 0)]

    def _reduce_window_sum(self, step: Step) -> list[np.ndarray]:
        n = math.prod(step.equation.params["window_dimensions"])
        return [self._over_places(self._floats(step.inputs[0]), n)]

    def _concatenate(self, step: Step) -> list[np.ndarray]:
        axis = step.equation.params["dimension"]
        return [self._one(step, [value.shape[axis] for value in step.inputs])]

    def _one_of(self, step: Step) -> list[np.ndarray]:
        """Of what is stacked, or of the branches of a condition."""
        return [self._one(step, [1] * len(step.inputs))]

    def _one(self, step: Step, sizes: Sequence[int]) -> np.ndarray:
        """For each feature that of one input, each in its share of features."""
        ends = np.cumsum([0, *(sizes if any(sizes) else [1] * len(sizes))])
        times = np.diff(np.round(ends / ends[-1] * FEATURES).astype(int))
        chosen = self._rng.permutation(np.repeat(np.arange(len(sizes)), times))
        given = [self._given(step, value) for value in step.inputs]
        whole = np.stack([np.broadcast_to(g, (PLACES, FEATURES)) for g in given])
        return whole[chosen, :, np.arange(FEATURES)].T

    def _dot_general(self, step: Step) -> list[np.ndarray]:
        """Of two values: sums of products, of which those of places are alike."""
        (contracted, other), _ = step.equation.params["dimension_numbers"]
        left, right = step.inputs
        if not (left.data and right.data):
            return [self._by_constant(step)]
        features = min(
            self.features.count(left, contracted),
            self.features.count(right, other),
        )
        places = math.prod(left.shape[axis] for axis in contracted) // features
        x, y = (self._floats(value) for value in (left, right))
        if places <= 1:  # of queries and keys
            common = self._alike(left, x) * self._alike(right, y)
            return [self._matched(x, y, features, common)]
        return [self._average(x, y, features * places)]

    def _alike(self, value: Value, x: np.ndarray) -> float:
        """The mean of the products of two features: of Σ a v that of two of its a."""
        source = _source(value) or value
        step = source.step
        sums = step and step.name == "dot_general" and id(step) not in self._uses
        return self.shared(x) if sums else float(x.mean()) ** 2

    def _matched(
        self, x: np.ndarray, y: np.ndarray, n: int, common: float
    ) -> np.ndarray:
        """Sums of n products over features, of which a part may be alike in all.

        So are positive ones, as of linear attention, which add up to n times the mean.
        """
        mean = n * float(x.mean()) * float(y.mean())
        second = n * float(np.mean(x * x)) * float(np.mean(y * y))
        second += n * (n - 1) * common
        share = min(self._share(each - each.mean()) for each in (x, y))
        return np.float32(mean) + self.fresh(second - mean**2, share)

    def _average(self, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
        """Sums of n products over places: the weights of attention, and its values.

        Σ a v has the second moment of what the values share times (Σ a)², and of what
        they do not times Σ a².
        """
        a, v = (x, y) if abs(x.mean()) * y.std() > abs(y.mean()) * x.std() else (y, x)
        common = self.shared(v)
        apart = max(float(np.mean(v * v)) - common, 0.0)
        mean, square = n * float(a.mean()), n * float(np.mean(a * a))
        second = common * mean**2 + apart * square
        alike = common * mean**2 + apart * mean**2 / n
        return self.fresh(second, min(alike / second, 1.0) if second > 0 else 0.0)

    def _by_constant(self, step: Step) -> np.ndarray:
        """A sum of products with a constant, or with a kernel that is computed."""
        place = 0 if step.inputs[0].data else 1
        value, other = step.inputs[place], step.inputs[1 - place]
        axes = step.equation.params["dimension_numbers"][0][place]
        n = math.prod(value.shape[axis] for axis in axes)
        square = 1 / n if other.number is None else self.second(other)
        x = self._floats(value)
        return self.fresh(n * square * float(np.mean(x * x)), self._share(x))

    def _conv_general_dilated(self, step: Step) -> list[np.ndarray]:
        """By a kernel that is a constant, or is itself computed."""
        return [self.fresh(self.second(next(v for v in step.inputs if v.data)))]

    def _fft(self, step: Step) -> list[np.ndarray]:
        """Of n numbers: their squares add up to 1 / n of those of the transform."""
        x, params = self._wide(step.inputs[0]), step.equation.params
        n = math.prod(params["fft_lengths"])
        inverse = params["fft_type"] in (FftType.IFFT, FftType.IRFFT)
        second = _second(x) / n if inverse else _second(x) * n
        return [self._normal(step.outputs[0].dtype, second, self._share(x))]

    def _random_bits(self, step: Step) -> list[np.ndarray]:
        dtype = step.outputs[0].dtype
        most = np.iinfo(dtype).max
        return [self._rng.integers(0, most, (PLACES, FEATURES), dtype, endpoint=True)]

    def _gather(self, step: Step) -> list[np.ndarray]:
        """Of a constant, as a table of sines, its numbers, at any places."""
        value = step.inputs[0]
        if value.data:
            return [self._looked_up(self.of(value), step.inputs[1])]
        if value.views or value.number is None or not math.prod(value.shape):
            return [self._input(step.outputs[0])]
        numbers = np.ravel(value.number)
        return [self._rng.choice(numbers, (PLACES, FEATURES))]

    def _looked_up(self, x: np.ndarray, index: Value) -> np.ndarray:
        """At places that data says, which are others for each of the ends of edges."""
        indices = frozenset(map(id, sources(index)))
        if not indices:
            return x
        turns = self._indices.setdefault(indices, len(self._indices))
        return np.roll(x, 1 + turns % (PLACES - 1), axis=0)

    def _dynamic_slice(self, step: Step) -> list[np.ndarray]:
        if step.inputs[0].data:
            return [self._given(step, step.inputs[0])]
        return self._gather(step)

    def _put(self, step: Step) -> list[np.ndarray]:
        """An array of which a part is another, as a cache of keys is filled."""
        before, new = step.inputs[0], step.inputs[2 if step.name == "scatter" else 1]
        part = math.prod(new.shape) / max(math.prod(before.shape), 1)
        taken = self._rng.random((PLACES, FEATURES)) < part
        return [np.where(taken, self._given(step, new), self._given(step, before))]


def _starts_of(graph: Graph) -> dict[str, float]:
    """What parameters start from: one of what multiplies or divides, else zero.

    Of m and 1 - m, which mix two values, that is one half. What is added anywhere is a
    bias, which a gate multiplies in the first turn if the state is zero.
    """
    starts: dict[str, set[float]] = {}
    added = {use.view.path for use in graph.uses if use.is_added}
    for use in graph.uses:
        first, *others = use.view.functions or (use.kind,)
        if first not in ("contraction", "table"):
            one = first in _ONE or "rsqrt" in others or "sqrt" in others
            starts.setdefault(use.view.path, set()).add(float(one))
    means = {path: fmean(found) for path, found in starts.items()}
    return means | dict.fromkeys(added & starts.keys(), 0.0)


def _growth(sizes: Sequence[float]) -> float:
    """The factor by which what is left to grow shrinks in half of these turns, or one.

    None is left of what stays as it is; what grows on and on does so by as much.
    """
    at = (len(sizes) - 1) // 2
    first, half, last = sizes[0], sizes[at], sizes[2 * at]
    if abs(half - first) < _SAME * max(half, first):
        return 0.0
    return min(max((last - half) / (half - first), 0.0), 1.0)


def _grown(sizes: Sequence[float], turns: int) -> tuple[float, float]:
    """The mean of the sizes in so many turns, and the last, of a geometric series."""
    first, half = sizes[0], (len(sizes) - 1) // 2
    factor, times = min(max(_growth(sizes), 1e-9), 1 - 1e-6), turns / half
    limit = first + (sizes[half] - first) / (1 - factor)
    left = factor**times
    mean = limit + (first - limit) * (left - 1) / (times * math.log(factor))
    return max(mean, 0.0), max(limit + (first - limit) * left, 0.0)


def _second(x: np.ndarray) -> float:
    """The mean of the squares, of complex numbers that of their moduli."""
    return float(np.mean(np.square(abs(_in_double(x)))))


def _in_double(x: np.ndarray) -> np.ndarray:
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _source(value: Value) -> Value | None:
    """The one value that another is computed of, element by element."""
    found, seen, front = dict[int, Value](), set[int](), [value]
    while front:
        value = front.pop()
        step = value.step
        if (
            step is not None
            and step.name in KEPT | _BY_ELEMENT
            and step.name
            not in (*("slice", "split", "unstack", "carry", "loop", "along"),)
        ):
            if id(step) not in seen:
                seen.add(id(step))
                front += [v for v in step.inputs if v.data]
        else:
            found[id(value)] = value
    return next(iter(found.values())) if len(found) == 1 else None


@cache
def _activations() -> dict[str, np.ndarray]:
    """What those with a name make of the normal samples, in their order."""

    @jax.jit  # all in one program, which compiles once
    def all_of(z: jax.Array) -> dict[str, jax.Array]:
        return {name: act(z) for name, act in FUNCTIONS.items()}

    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, all_of(jax.device_put(normal_samples())))


def _starts(step: Step) -> list[tuple[int, ...]]:
    """Where the parts of an array begin that a step cuts out."""
    params, ndim = step.equation.params, len(step.inputs[0].shape)
    if step.name == "slice":
        return [tuple(params["start_indices"])]
    sizes = params["sizes"] if step.name == "split" else [1] * len(step.outputs)
    ends = np.cumsum([0, *sizes])[:-1]
    return [tuple(int(e) * (n == params["axis"]) for n in range(ndim)) for e in ends]


@cache
def normal_samples() -> np.ndarray:
    """Standard normal numbers in equal shares, whose square has the mean one."""
    shares = ((n + 0.5) / SAMPLES for n in range(SAMPLES))
    q = np.array([*map(NormalDist().inv_cdf, shares)])
    return (q / np.sqrt(np.mean(np.square(q)))).astype(np.float32)


_RULES: dict[str, Callable[[Moments, Step], list[np.ndarray]]] = {
    "reduce_sum": Moments._reduce_sum,
    "cumsum": Moments._cumsum,
    "reduce_max": Moments._reduce_max,
    "reduce_min": Moments._reduce_min,
    "top_k": Moments._top_k,
    "argmax": Moments._index,
    "argmin": Moments._index,
    "reduce_window_max": Moments._reduce_window_max,
    "reduce_window_sum": Moments._reduce_window_sum,
    "concatenate": Moments._concatenate,
    "cond": Moments._one_of,
    "stack": Moments._one_of,
    "dot_general": Moments._dot_general,
    "conv_general_dilated": Moments._conv_general_dilated,
    "gather": Moments._gather,
    "dynamic_slice": Moments._dynamic_slice,
    "dynamic_update_slice": Moments._put,
    "scatter": Moments._put,
    "scatter-add": Moments._scatter_add,
    "pad": Moments._pad,
    "fft": Moments._fft,
    "random_bits": Moments._random_bits,
}
