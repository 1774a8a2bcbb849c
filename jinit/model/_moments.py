"""Moments: how large the values of a program are, where its layers are drawn rightly.

A value is stood for by samples of its elements, as mean-field theory has it: `_samples`
says what they are, `_operations` what is made of them. What a layer makes is fresh:
normal numbers of variance one, for so it is drawn. What a loop carries is run for some
turns; how it grows from there on is a geometric series. Places are alike with all
others or with none: that what a recurrence makes is like its neighbours is not known,
so a second recurrence over it is taken for smaller than it is.

    y = dot_general x w     fresh, of variance 1
    g = logistic y          run on the samples of y
    z = mul y g             likewise, jointly: SiLU of a normal number
    v = dot_general z u     meets a second moment of 0.3557, that of SiLU
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from statistics import fmean
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit.gains._curve import FUNCTIONS
from jinit.model._classes import classes
from jinit.model._constants import computed
from jinit.model._features import Features
from jinit.model._graph import Graph, Step, Use, Value
from jinit.model._operations import made, source_of
from jinit.model._samples import (
    FEATURES,
    PLACES,
    Sampler,
    elsewhere,
    mean_square,
    normal_samples,
    share_of,
)

_MOST = 127  # of whole numbers that are inputs: words, classes, pixels
_TURNS, _MOST_TURNS = 8, 32  # of a loop: those that are run at first, and at most
_SAME = 0.05  # by which part sizes differ that are taken for the same

_SUMS = {"add", "sub", "add_any", "concatenate"}  # to which a parameter adds little
_ONE = {"scale", "other", "mul", "div", "max", "sqrt", "rsqrt"}  # what it starts from

_NEVER_ZERO = {"mul", "exp", "exp2", "integer_pow", "square", "logistic"}  # of others


class Moments(Sampler):
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
      layers: The uses of kernels and tables, by the id of their step.
      indices: Which data is looked up by, in the order in which it is.
    """

    def __init__(
        self,
        graph: Graph,
        targets: Mapping[int, float] | None = None,
        sizes: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self._targets, self._sizes, self._graph = targets or {}, sizes or {}, graph
        self.features = Features(graph)
        self._samples: dict[int, np.ndarray] = {}
        self.unknown: set[str] = set()
        self._turn = 0  # of the loop that is run
        self._before: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._ends = {id(first): last for first, last in graph.carried}
        self._starts = _starts_of(graph)
        self._last: dict[int, float] = {}  # the sizes of what loops carry, in the end
        self._numbers: dict[int, Any] = {}  # of parameters alone, and of counters
        self.layers = graph.layers()
        self._classes = classes(graph)
        self.indices: dict[frozenset[int], int] = {}
        for value in graph.inputs:
            self._samples[id(value)] = self.input(value)
        for path in graph.states:
            self._samples[id(graph.signals[path])] = np.zeros((PLACES, FEATURES), "f4")
        self._run_steps(graph.steps)

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
        return mean_square(self.of(value))

    def assumed(self, value: Value) -> tuple[str, ...]:
        """The operations without a rule that its size rests on, if no norm follows."""
        found, seen, front = set[str](), set[int](), [value]
        while front:
            step = front.pop().step
            if step is None or id(step) in self.layers or id(step) in seen:
                continue
            seen.add(id(step))
            if step.name in ("rsqrt", "sqrt"):
                return ()
            if step.name in self.unknown:
                found.add(step.name)
            else:
                data = (v for v in step.inputs if v.data)
                front += [v for v in data if jnp.issubdtype(v.dtype, jnp.inexact)]
        return tuple(sorted(found))

    def activation(self, value: Value) -> str | None:
        """The name of what a value is of a normal number, if it has one.

        SiLU is found where z · sigmoid(z) is computed of one z, whoever wrote it.
        """
        source = source_of(value)
        if source is None or source is value:
            return None
        z, x = self.of(source), self.of(value)
        if abs(mean_square(z) - 1) > 0.01:
            return None
        order = np.argsort(np.argsort(z, axis=None)).reshape(z.shape)
        for name in FUNCTIONS:
            if np.allclose(x, _activations()[name][order], rtol=0, atol=2e-3):
                return name
        return None

    def wide(self, value: Value) -> np.ndarray:
        return np.broadcast_to(self.of(value), (PLACES, FEATURES))

    def floats(self, value: Value) -> np.ndarray:
        """Of complex numbers the real parts, made as large as the numbers are."""
        x = self.wide(value)
        x = math.sqrt(2) * x.real if np.iscomplexobj(x) else x
        return x.astype(np.float32)

    def given(self, step: Step, value: Value) -> np.ndarray:
        """The samples of an input: a parameter leaves the others as they are."""
        number = self._number(value) if value.views and not value.data else 1.0
        if number is None or not np.isfinite(number).all() or not np.any(number):
            return np.asarray(0.0 if step.name in _SUMS else 1.0)
        return self.of(value)

    def input(self, value: Value) -> np.ndarray:
        if jnp.issubdtype(value.dtype, jnp.inexact):
            return self.normal(value.dtype)
        if jnp.issubdtype(value.dtype, np.integer):
            known = self._classes.get(id(value))
            least, most = (1, _MOST) if known is None else (0, known)
            return self.rng.integers(least, most, (PLACES, FEATURES))
        return self.rng.random((PLACES, FEATURES)) < 0.5

    def _unknown(self, value: Value) -> np.ndarray:
        """A large constant: a mask, or numbers of which nothing is known."""
        if value.views:
            return np.asarray(math.nan)
        return self.input(value) if value.dtype == bool else np.asarray(0.0)

    # Steps.

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
        for value, x in zip(step.outputs, self._made(step), strict=True):
            self._samples[id(value)] = np.broadcast_to(x, (PLACES, FEATURES))

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
        number = computed(step, given, value)
        if step.name in _NEVER_ZERO and number is not None and not np.any(number):
            # A long product of decays is too small, and not one that is left out.
            return np.finfo(np.float32).tiny if all(map(np.any, given)) else number
        return number

    def _number(self, value: Value) -> Any:
        """What a value is that is computed of neither samples nor random numbers."""
        if value.views and value.step is None:
            return self._starts.get(value.views[0].path)
        return self._numbers.get(id(value), value.number)

    def _made(self, step: Step) -> list[np.ndarray]:
        """What a layer makes, what a loop does with a value, or another operation."""
        if use := self.layers.get(id(step)):
            return [self._drawn(step, use) for _ in step.outputs]
        if step.name == "carry" and self._turn and (end := self._end(step)) is not None:
            return [self._samples[id(end)]]  # of the turn before
        # A loop may start from a constant, such as a state of zeros.
        first = next((v for v in step.inputs if v.data), step.inputs[0])
        if step.name == "along":  # another place in each turn
            return [elsewhere(self.wide(first), [self._turn])]
        if step.name == "last" and id(first) in self._last and self.second(first):
            change = self._last[id(first)] / self.second(first)
            return [self.of(first) * np.float32(math.sqrt(change))]
        return made(self, step)

    def _drawn(self, step: Step, use: Use) -> np.ndarray:
        """What a layer makes that is drawn for its variance."""
        target = self._targets.get(id(step), 1.0)
        if use.kind == "table":  # which may be small, and multiplied after
            size = self._sizes.get(use.view.path, 1.0)
            return self.fresh(size / self._graph.factor_after(step) ** 2)
        if not use.operand.data:
            return self.fresh(target)
        x = self.floats(use.operand)
        y = self.fresh(target, share_of(x))
        if step.loops and "stack" not in use.axes.values():
            y = self._after(step, x, y)
        return y

    def _after(self, step: Step, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What the same kernel makes in a loop: as like from turn to turn as its input.

        So what a cell remembers is as large as what adds up in it, which is alike.
        """
        if self._turn:
            last, y_last = self._before[id(step)]
            sizes = math.sqrt(float(np.mean(x * x)) * float(np.mean(last * last)))
            like = float(np.mean(x * last)) / sizes if sizes else 0.0
            like = min(max(like, 0.0), 1.0)
            y = like * y_last + np.float32(math.sqrt(1 - like * like)) * y
        self._before[id(step)] = x, y
        return y


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


@cache
def _activations() -> dict[str, np.ndarray]:
    """What those with a name make of the normal samples, in their order."""

    @jax.jit  # all in one program, which compiles once
    def all_of(z: jax.Array) -> dict[str, jax.Array]:
        return {name: act(z) for name, act in FUNCTIONS.items()}

    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, all_of(jax.device_put(normal_samples())))
