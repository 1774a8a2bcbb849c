"""Moments: how large the values of a program are, where its layers are drawn rightly.

A value is stood for by samples of one of its elements, as mean-field theory has it.
What a parameter is contracted with becomes a normal sample of its own of variance one,
for so the layer will be drawn. Operations on elements are run on the samples, so that
no activation, gate or normalization needs a rule; sums follow from the mean and the
variance. What has no rule starts again as a normal sample of variance one.

    y = dot_general x w     fresh, of variance 1
    g = logistic y          run on the samples of y
    z = mul y g             likewise, jointly: SiLU of a normal number
    v = dot_general z u     meets a second moment of 0.3557, that of SiLU
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit.gains._curve import FUNCTIONS
from jinit.model._graph import KEPT, Graph, Step, Value

SAMPLES = 1 << 13
_MOST = 127  # of whole numbers that are inputs: words, classes, pixels

# By NumPy what it has: JAX would compile each of them once.
_NUMPY: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"max": np.maximum, "min": np.minimum, "neg": np.negative, "pow": np.power},
    **{"exp": np.exp, "exp2": np.exp2, "log": np.log, "log1p": np.log1p},
    **{"expm1": np.expm1, "tanh": np.tanh, "sin": np.sin, "cos": np.cos},
    **{"sqrt": np.sqrt, "abs": np.abs, "sign": np.sign, "square": np.square},
    **{"floor": np.floor, "ceil": np.ceil, "is_finite": np.isfinite},
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal, "and": np.bitwise_and},
    **{"or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert},
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}
_BY_ELEMENT = {
    *_NUMPY,
    *("div", "integer_pow", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh"),
    *("asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "cbrt", "round", "rem"),
    *("nextafter",),
}


class Moments:
    """The samples of the values of a graph.

    Args:
      graph: The program.
      targets: The variance that the results of steps are drawn for, by the identity of
        the step, where it is not one: the branches of a stream share it.

    Attributes:
      unknown: The operations that have no rule, by name.
    """

    def __init__(
        self, graph: Graph, targets: Mapping[int, float] | None = None
    ) -> None:
        self._targets = targets or {}
        self._rng = np.random.default_rng(0)
        self._normal = normal_samples()
        self._samples: dict[int, np.ndarray] = {}
        self.unknown: set[str] = set()
        contracted = {
            id(u.step): u for u in graph.uses if u.kind in ("contraction", "table")
        }
        for value in graph.inputs:
            self._samples[id(value)] = self._input(value)
        for step in graph.steps:
            if any(value.data for value in step.outputs):
                for value, samples in zip(
                    step.outputs, self._made(step, id(step) in contracted), strict=True
                ):
                    self._samples[id(value)] = np.broadcast_to(samples, SAMPLES)

    def of(self, value: Value) -> np.ndarray:
        """The samples of a value; of a parameter those that it starts from."""
        if value.data:
            return self._samples[id(value)]
        if value.number is not None:
            return np.asarray(value.number)
        # Biases start from zero, and scales from one; `_given` tells them apart.
        return np.asarray(0.0) if not value.views else np.asarray(math.nan)

    def second(self, value: Value) -> float:
        """The mean of the squares."""
        return float(np.mean(np.square(self.of(value).astype(np.float64))))

    def activation(self, value: Value) -> str | None:
        """The name of what a value is of a normal number, if it has one.

        SiLU is found where z · sigmoid(z) is computed of one z, whoever wrote it.
        """
        source = _source(value)
        if source is None or source is value:
            return None
        z, made = self.of(source), self.of(value)
        if abs(float(np.mean(np.square(z.astype(np.float64)))) - 1) > 0.01:
            return None
        for name in FUNCTIONS:
            known = _activations()[name]
            if np.allclose(made, known[np.argsort(np.argsort(z))], rtol=0, atol=2e-3):
                return name
        return None

    def fresh(self, second: float = 1.0) -> np.ndarray:
        return self._rng.permutation(self._normal) * math.sqrt(max(second, 0.0))

    def _input(self, value: Value) -> np.ndarray:
        if jnp.issubdtype(value.dtype, jnp.floating):
            return self.fresh()
        if jnp.issubdtype(value.dtype, np.integer):
            return self._rng.integers(1, _MOST, SAMPLES)
        return np.ones(SAMPLES, bool)

    def _made(self, step: Step, contracted: bool) -> list[np.ndarray]:
        if contracted:
            target = self._targets.get(id(step), 1.0)
            return [self.fresh(target) for _ in step.outputs]
        if step.name in _RULES:
            return _RULES[step.name](self, step)
        # A loop may start from a constant, such as a state of zeros.
        first = next((v for v in step.inputs if v.data), step.inputs[0])
        if step.name in ("slice", "split", "unstack") and first.data:
            return [self._part(first, start) for start in _starts(step)]
        if step.name in KEPT:
            if len(step.inputs) == len(step.outputs) > 1:
                return [self._given(step, value) for value in step.inputs]
            return [self._given(step, first)] * len(step.outputs)
        if step.name in _BY_ELEMENT:
            return [self._run(step)]
        self.unknown.add(step.name)
        return [self._restart(value) for value in step.outputs]

    def _part(self, value: Value, start: tuple[int, ...]) -> np.ndarray:
        """Of a part of an array the samples in another order, that of its place.

        So two halves of a product are independent, and what is computed of one half is
        not of the same half of something else.
        """
        if not any(start):
            return self.of(value)
        order = np.random.default_rng(start).permutation(SAMPLES)
        return self.of(value)[order]

    def _restart(self, value: Value) -> np.ndarray:
        return self._input(value)

    def _given(self, step: Step, value: Value) -> np.ndarray:
        """The samples of an input: a parameter leaves the others as they are."""
        if value.views and not value.data:
            return np.asarray(0.0 if step.name in ("add", "sub", "add_any") else 1.0)
        return self.of(value)

    def _run(self, step: Step) -> np.ndarray:
        given = [np.asarray(self._given(step, v)) for v in step.inputs]
        real = [jnp.issubdtype(v.dtype, jnp.floating) for v in step.inputs]
        arrays = [
            a.astype(np.float32) if f else a for a, f in zip(given, real, strict=True)
        ]
        with np.errstate(all="ignore"):
            if step.name in _NUMPY:
                out = _NUMPY[step.name](*arrays)
            elif step.name == "div" and real[0]:
                out = arrays[0] / arrays[1]
            elif step.name == "integer_pow":
                out = arrays[0] ** step.equation.params["y"]
            else:
                out = self._bound(step, arrays)
        if not jnp.issubdtype(out.dtype, np.floating):
            return out
        return np.clip(np.nan_to_num(out.astype(np.float32)), -1e30, 1e30)

    def _bound(self, step: Step, arrays: list[np.ndarray]) -> np.ndarray:
        """What JAX makes of the samples."""
        wide = [np.broadcast_to(array, SAMPLES) for array in arrays]
        with jax.numpy_dtype_promotion("standard"):
            return np.asarray(
                step.equation.primitive.bind(
                    *map(jnp.asarray, wide), **step.equation.params
                )
            )

    # Sums.

    def _sum(self, samples: np.ndarray, n: int) -> np.ndarray:
        """Of n of them: of a few as such, of many by their mean and variance."""
        x = samples.astype(np.float32)
        if n <= 8:
            return sum((self._rng.permutation(x) for _ in range(n - 1)), x)
        mean, variance = float(x.mean()), float(x.var())
        if n * mean * mean > 4 * variance:  # it does not scatter, as a norm does not
            return np.full(SAMPLES, n * mean, np.float32)
        return (n * mean + self.fresh(n * variance)).astype(np.float32)

    def _reduce_sum(self, step: Step) -> list[np.ndarray]:
        value, axes = step.inputs[0], step.equation.params["axes"]
        n = math.prod(value.shape[axis] for axis in axes)
        return [self._sum(self.of(value), n)]

    def _cumsum(self, step: Step) -> list[np.ndarray]:
        value = step.inputs[0]
        n = value.shape[step.equation.params["axis"]]
        return [self._sum(self.of(value), max(n // 2, 1))]

    def _extreme(self, step: Step, high: bool) -> list[np.ndarray]:
        value, axes = step.inputs[0], step.equation.params["axes"]
        n = math.prod(value.shape[axis] for axis in axes)
        at = n / (n + 1) if high else 1 / (n + 1)
        return [np.quantile(self.of(value).astype(np.float32), at).astype(value.dtype)]

    def _reduce_max(self, step: Step) -> list[np.ndarray]:
        return self._extreme(step, high=True)

    def _reduce_min(self, step: Step) -> list[np.ndarray]:
        return self._extreme(step, high=False)

    def _reduce_window_max(self, step: Step) -> list[np.ndarray]:
        return [self._window(step, np.maximum)]

    def _reduce_window_sum(self, step: Step) -> list[np.ndarray]:
        return [self._window(step, np.add)]

    def _window(self, step: Step, join: Callable[..., Any]) -> np.ndarray:
        x = self.of(step.inputs[0]).astype(np.float32)
        out = x
        for _ in range(math.prod(step.equation.params["window_dimensions"]) - 1):
            out = join(out, self._rng.permutation(x))
        return out

    def _concatenate(self, step: Step) -> list[np.ndarray]:
        axis = step.equation.params["dimension"]
        sizes = np.array([value.shape[axis] for value in step.inputs], float)
        chosen = self._rng.choice(len(sizes), SAMPLES, p=sizes / sizes.sum())
        given = [np.broadcast_to(self._given(step, v), SAMPLES) for v in step.inputs]
        return [np.choose(chosen, given)]

    def _one_of(self, step: Step) -> list[np.ndarray]:
        """Of what is stacked, or of the branches of a condition."""
        chosen = self._rng.integers(0, len(step.inputs), SAMPLES)
        given = [np.broadcast_to(self._given(step, v), SAMPLES) for v in step.inputs]
        return [np.choose(chosen, given)]

    def _dot_general(self, step: Step) -> list[np.ndarray]:
        """Of two values: an average where one sums to one, else a sum of products."""
        (contracted, _), _ = step.equation.params["dimension_numbers"]
        left, right = step.inputs
        n = math.prod(left.shape[axis] for axis in contracted)
        for weights, other in ((left, right), (right, left)):
            if weights.data and _sums_to_one(weights) and other.data:
                # From m / n of what is independent to m of what is equal, as it is in
                # the first layers of a transformer, and as GPT-2's rules have it.
                return [self.fresh(self.second(other))]
        moments = [self.second(v) if v.data else 1.0 / n for v in (left, right)]
        return [self.fresh(n * moments[0] * moments[1])]

    def _conv_general_dilated(self, step: Step) -> list[np.ndarray]:
        """By a kernel that is a constant, or is itself computed."""
        return [self.fresh(self.second(next(v for v in step.inputs if v.data)))]

    def _gather(self, step: Step) -> list[np.ndarray]:
        value = step.inputs[0]
        return [self.of(value) if value.data else self._input(step.outputs[0])]


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


def _sums_to_one(value: Value) -> bool:
    """Whether it is u / sum(u): the weights of an average."""
    step = value.step
    while step is not None and step.name in KEPT:
        step = step.inputs[0].step
    if step is None or step.name != "div":
        return False
    above, below = step.inputs
    total = below.step
    while total is not None and total.name in KEPT | {"add", "max"}:
        total = next((v.step for v in total.inputs if v.data), None)
    return total is not None and total.name == "reduce_sum" and total.inputs[0] is above


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
    "reduce_window_max": Moments._reduce_window_max,
    "reduce_window_sum": Moments._reduce_window_sum,
    "concatenate": Moments._concatenate,
    "cond": Moments._one_of,
    "stack": Moments._one_of,
    "dot_general": Moments._dot_general,
    "conv_general_dilated": Moments._conv_general_dilated,
    "gather": Moments._gather,
}
