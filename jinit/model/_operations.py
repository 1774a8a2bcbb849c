"""Operations: what each makes of samples, run on them or by a rule.

    g = logistic y          run on the samples of y, so it needs no rule
    s = reduce_sum g        adds what is independent, and what is alike

What has neither starts again as normal numbers of variance one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import FftType

from jinit.model._classes import sources
from jinit.model._constants import ELEMENTWISE, by_element
from jinit.model._samples import (
    FEATURES,
    PLACES,
    elsewhere,
    mean_square,
    over_places,
    share_of,
    shared,
)
from jinit.model._views import KEPT

if TYPE_CHECKING:
    from jinit.model._graph import Step, Value
    from jinit.model._moments import Moments

# What makes each element of one alone, and of the same one each time.
_IN_PLACE = (KEPT | ELEMENTWISE) - {
    "slice",
    "split",
    "unstack",
    "carry",
    "loop",
    "along",
}


def made(moments: Moments, step: Step) -> list[np.ndarray]:
    """The samples of the results of an operation."""
    if step.name in _RULES:
        return _RULES[step.name](moments, step)
    first = next((v for v in step.inputs if v.data), step.inputs[0])
    if step.name in ("slice", "split", "unstack") and first.data:
        return [_part(moments, first, start) for start in _starts(step)]
    if step.name in KEPT or step.name == "sort":
        if len(step.inputs) == len(step.outputs) > 1:
            return [moments.given(step, value) for value in step.inputs]
        return [moments.given(step, first)] * len(step.outputs)
    if step.name in ELEMENTWISE:
        return [_run(moments, step)]
    moments.unknown.add(step.name)
    return [moments.input(value) for value in step.outputs]


def _part(moments: Moments, value: Value, start: Sequence[int]) -> np.ndarray:
    """Of a part of an array the samples in another order, that of its place.

    So two halves of a product are independent, and what is computed of one half is
    not of the same half of something else.
    """
    x = moments.wide(value)
    moved = [axis for axis, at in enumerate(start) if at]
    if not moved:
        return x
    sizes = (value.shape[axis] for axis in moved)
    start = [*start, *sizes]  # so parts of parts are of other places again
    rng = np.random.default_rng(start)
    if all(moments.features.along(value)[axis] for axis in moved):
        return x[:, rng.permutation(FEATURES)]
    if not any(moments.features.along(value)):
        return rng.permuted(x.reshape(-1)).reshape(x.shape)
    return elsewhere(x, start)


def _starts(step: Step) -> list[tuple[int, ...]]:
    """Where the parts of an array begin that a step cuts out."""
    params, ndim = step.equation.params, len(step.inputs[0].shape)
    if step.name == "slice":
        return [tuple(params["start_indices"])]
    sizes = params["sizes"] if step.name == "split" else [1] * len(step.outputs)
    ends = np.cumsum([0, *sizes])[:-1]
    return [tuple(int(e) * (n == params["axis"]) for n in range(ndim)) for e in ends]


def _run(moments: Moments, step: Step) -> np.ndarray:
    """What an operation on elements makes of the samples, by NumPy if that has it."""
    given = [np.asarray(moments.given(step, v)) for v in step.inputs]
    real = [jnp.issubdtype(v.dtype, jnp.floating) for v in step.inputs]
    arrays = [
        a.astype(np.float32) if f else a for a, f in zip(given, real, strict=True)
    ]
    out = by_element(step.name, step.equation.params, arrays)
    out = np.asarray(_bound(step, arrays) if out is None else out)
    if not jnp.issubdtype(out.dtype, np.floating):
        return out
    return np.clip(np.nan_to_num(out.astype(np.float32)), -1e30, 1e30)


def _bound(step: Step, arrays: list[np.ndarray]) -> np.ndarray:
    """What JAX makes of the samples."""
    wide = [np.broadcast_to(array, (PLACES, FEATURES)) for array in arrays]
    with jax.numpy_dtype_promotion("standard"):
        bind, params = step.equation.primitive.bind, step.equation.params
        return np.asarray(bind(*map(jnp.asarray, wide), **params))


def source_of(value: Value) -> Value | None:
    """The one value that another is computed of, element by element."""
    found: dict[int, Value] = {}
    seen, front = set[int](), [value]
    while front:
        value = front.pop()
        step = value.step
        if step is None or step.name not in _IN_PLACE:
            found[id(value)] = value
        elif id(step) not in seen:
            seen.add(id(step))
            front += [v for v in step.inputs if v.data]
    return next(iter(found.values())) if len(found) == 1 else None


# Rules.


def _summed(moments: Moments, value: Value, axes: Iterable[int]) -> np.ndarray:
    axes = list(axes)
    features = moments.features.count(value, axes)
    places = math.prod(value.shape[axis] for axis in axes) // max(features, 1)
    x = moments.floats(value)
    x = moments.over_features(x, features) if features > 1 else x
    return over_places(x, places) if places > 1 else x


def _reduce_sum(moments: Moments, step: Step) -> list[np.ndarray]:
    return [_summed(moments, step.inputs[0], step.equation.params["axes"])]


def _cumsum(moments: Moments, step: Step) -> list[np.ndarray]:
    value = step.inputs[0]
    n = value.shape[step.equation.params["axis"]]
    return [over_places(moments.floats(value), (n + 1) // 2)]


def _scatter_add(moments: Moments, step: Step) -> list[np.ndarray]:
    """Sums over the places that go to one, as many as there are for each."""
    before, _, updates = step.inputs
    n = round(math.prod(updates.shape) / max(math.prod(before.shape), 1))
    x = moments.floats(updates)
    added = over_places(x, n) if n > 1 else x
    return [added + moments.of(before) if before.data else added]


def _pad(moments: Moments, step: Step) -> list[np.ndarray]:
    """Zeros between places: so even and odd ones are laid out, and then added."""
    x = moments.wide(next(v for v in step.inputs if v.data))
    for low, _, between in step.equation.params["padding_config"]:
        kept = np.arange(PLACES) % (between + 1) == low % (between + 1)
        x = np.where(kept[:, None], x, 0).astype(x.dtype) if between else x
    return [x]


def _extreme(moments: Moments, step: Step, high: bool) -> list[np.ndarray]:
    value, axes = step.inputs[0], step.equation.params["axes"]
    n = math.prod(value.shape[axis] for axis in axes)
    at = n / (n + 1) if high else 1 / (n + 1)
    return [np.quantile(moments.floats(value), at).astype(value.dtype)]


def _reduce_max(moments: Moments, step: Step) -> list[np.ndarray]:
    return _extreme(moments, step, high=True)


def _reduce_min(moments: Moments, step: Step) -> list[np.ndarray]:
    return _extreme(moments, step, high=False)


def _top_k(moments: Moments, step: Step) -> list[np.ndarray]:
    """The upper part of the samples, and where each was: anywhere."""
    value, (out, _) = step.inputs[0], step.outputs
    part = math.prod(out.shape) / math.prod(value.shape)
    at = 1 - part * moments.rng.random((PLACES, FEATURES))
    size = round(out.shape[-1] / part)
    largest = np.quantile(moments.floats(value), at).astype(np.float32)
    return [largest, moments.rng.integers(0, size, at.shape)]


def _index(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of the largest or the least: each is as likely."""
    (axis,) = step.equation.params["axes"]
    n = step.inputs[0].shape[axis]
    return [moments.rng.integers(0, n, (PLACES, FEATURES))]


def _reduce_window_max(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of places side by side."""
    n = math.prod(step.equation.params["window_dimensions"])
    x = moments.wide(step.inputs[0])
    return [np.max([np.roll(x, shift, 0) for shift in range(min(n, PLACES))], 0)]


def _reduce_window_sum(moments: Moments, step: Step) -> list[np.ndarray]:
    n = math.prod(step.equation.params["window_dimensions"])
    return [over_places(moments.floats(step.inputs[0]), n)]


def _concatenate(moments: Moments, step: Step) -> list[np.ndarray]:
    axis = step.equation.params["dimension"]
    return [_one(moments, step, [value.shape[axis] for value in step.inputs])]


def _one_of(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of what is stacked, or of the branches of a condition."""
    return [_one(moments, step, [1] * len(step.inputs))]


def _one(moments: Moments, step: Step, sizes: Sequence[int]) -> np.ndarray:
    """For each feature that of one input, each in its share of features."""
    ends = np.cumsum([0, *(sizes if any(sizes) else [1] * len(sizes))])
    times = np.diff(np.round(ends / ends[-1] * FEATURES).astype(int))
    chosen = moments.rng.permutation(np.repeat(np.arange(len(sizes)), times))
    given = [moments.given(step, value) for value in step.inputs]
    whole = np.stack([np.broadcast_to(g, (PLACES, FEATURES)) for g in given])
    return whole[chosen, :, np.arange(FEATURES)].T


def _dot_general(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of two values: sums of products, of which those of places are alike."""
    (contracted, other), _ = step.equation.params["dimension_numbers"]
    left, right = step.inputs
    if not (left.data and right.data):
        return [_by_constant(moments, step)]
    features = min(
        moments.features.count(left, contracted),
        moments.features.count(right, other),
    )
    places = math.prod(left.shape[axis] for axis in contracted) // features
    x, y = (moments.floats(value) for value in (left, right))
    if places <= 1:  # of queries and keys
        common = _alike(moments, left, x) * _alike(moments, right, y)
        return [_matched(moments, x, y, features, common)]
    return [_average(moments, x, y, features * places)]


def _alike(moments: Moments, value: Value, x: np.ndarray) -> float:
    """The mean of the products of two features: of Σ a v that of two of its a."""
    step = (source_of(value) or value).step
    sums = step and step.name == "dot_general" and id(step) not in moments.layers
    return shared(x) if sums else float(x.mean()) ** 2


def _matched(
    moments: Moments, x: np.ndarray, y: np.ndarray, n: int, common: float
) -> np.ndarray:
    """Sums of n products over features, of which a part may be alike in all.

    So are positive ones, as of linear attention, which add up to n times the mean.
    """
    mean = n * float(x.mean()) * float(y.mean())
    second = n * float(np.mean(x * x)) * float(np.mean(y * y))
    second += n * (n - 1) * common
    share = min(share_of(each - each.mean()) for each in (x, y))
    return np.float32(mean) + moments.fresh(second - mean**2, share)


def _average(moments: Moments, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Sums of n products over places: the weights of attention, and its values.

    Σ a v has the second moment of what the values share times (Σ a)², and of what
    they do not times Σ a².
    """
    a, v = (x, y) if abs(x.mean()) * y.std() > abs(y.mean()) * x.std() else (y, x)
    common = shared(v)
    apart = max(float(np.mean(v * v)) - common, 0.0)
    mean, square = n * float(a.mean()), n * float(np.mean(a * a))
    second = common * mean**2 + apart * square
    alike = common * mean**2 + apart * mean**2 / n
    return moments.fresh(second, min(alike / second, 1.0) if second > 0 else 0.0)


def _by_constant(moments: Moments, step: Step) -> np.ndarray:
    """A sum of products with a constant, or with a kernel that is computed."""
    place = 0 if step.inputs[0].data else 1
    value, other = step.inputs[place], step.inputs[1 - place]
    axes = step.equation.params["dimension_numbers"][0][place]
    n = math.prod(value.shape[axis] for axis in axes)
    square = 1 / n if other.number is None else moments.second(other)
    x = moments.floats(value)
    return moments.fresh(n * square * float(np.mean(x * x)), share_of(x))


def _conv_general_dilated(moments: Moments, step: Step) -> list[np.ndarray]:
    """By a kernel that is a constant, or is itself computed."""
    return [moments.fresh(moments.second(next(v for v in step.inputs if v.data)))]


def _fft(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of n numbers: their squares add up to 1 / n of those of the transform."""
    x, params = moments.wide(step.inputs[0]), step.equation.params
    n = math.prod(params["fft_lengths"])
    inverse = params["fft_type"] in (FftType.IFFT, FftType.IRFFT)
    second = mean_square(x) / n if inverse else mean_square(x) * n
    return [moments.normal(step.outputs[0].dtype, second, share_of(x))]


def _random_bits(moments: Moments, step: Step) -> list[np.ndarray]:
    dtype = step.outputs[0].dtype
    most = np.iinfo(dtype).max
    return [moments.rng.integers(0, most, (PLACES, FEATURES), dtype, endpoint=True)]


def _gather(moments: Moments, step: Step) -> list[np.ndarray]:
    """Of a constant, as a table of sines, its numbers, at any places."""
    value = step.inputs[0]
    if value.data:
        return [_looked_up(moments, moments.of(value), step.inputs[1])]
    if value.views or value.number is None or not math.prod(value.shape):
        return [moments.input(step.outputs[0])]
    numbers = np.ravel(value.number)
    return [moments.rng.choice(numbers, (PLACES, FEATURES))]


def _looked_up(moments: Moments, x: np.ndarray, index: Value) -> np.ndarray:
    """At places that data says, which are others for each of the ends of edges."""
    looked_up = frozenset(map(id, sources(index)))
    if not looked_up:
        return x
    turns = moments.indices.setdefault(looked_up, len(moments.indices))
    return np.roll(x, 1 + turns % (PLACES - 1), axis=0)


def _dynamic_slice(moments: Moments, step: Step) -> list[np.ndarray]:
    if step.inputs[0].data:
        return [moments.given(step, step.inputs[0])]
    return _gather(moments, step)


def _put(moments: Moments, step: Step) -> list[np.ndarray]:
    """An array of which a part is another, as a cache of keys is filled."""
    before, new = step.inputs[0], step.inputs[2 if step.name == "scatter" else 1]
    part = math.prod(new.shape) / max(math.prod(before.shape), 1)
    taken = moments.rng.random((PLACES, FEATURES)) < part
    return [np.where(taken, moments.given(step, new), moments.given(step, before))]


_RULES: dict[str, Callable[[Moments, Step], list[np.ndarray]]] = {
    "reduce_sum": _reduce_sum,
    "cumsum": _cumsum,
    "reduce_max": _reduce_max,
    "reduce_min": _reduce_min,
    "top_k": _top_k,
    "argmax": _index,
    "argmin": _index,
    "reduce_window_max": _reduce_window_max,
    "reduce_window_sum": _reduce_window_sum,
    "concatenate": _concatenate,
    "cond": _one_of,
    "stack": _one_of,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv_general_dilated,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _put,
    "scatter": _put,
    "scatter-add": _scatter_add,
    "pad": _pad,
    "fft": _fft,
    "random_bits": _random_bits,
}
