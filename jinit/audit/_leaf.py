"""The checks of one leaf: what is wrong with it by itself, or against its plan."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit._checks import Shape
from jinit._initializer import Initializer
from jinit.audit._causes import cause_of_std
from jinit.audit._expected import Expected, expected
from jinit.audit._report import Finding, Found, Leaf, z_score
from jinit.audit._statistics import (
    Statistics,
    as_matrix,
    is_made,
    real_parts,
    sampled_columns,
)
from jinit.laws import Normal, Truncated, Uniform
from jinit.model._entries import Entry

_Z = 7.0  # standard errors: by chance one leaf in 10^11
_CHANCE = 1e-9  # beyond which what a law may leave in a leaf is taken for chance
_HEAVY = 12.0  # the kurtosis beyond which a deviation scatters by more than is known
_SMALL = 0.005  # a share of the deviation below which a difference is of no matter
_SAMPLE = 1 << 16  # elements whose distinct values are counted
_LAWS = {
    "normal": Normal(0.0, 1.0).kurtosis,
    "uniform": Uniform(0.0, 1.0).kurtosis,
    "truncated normal": Truncated(0.0, 1.0, -2.0, 2.0).kurtosis,
}


_NO_KERNELS = ("scale", "mean", "var")
# What is zero by method: heads, the second factor of LoRA, class tokens, gates.
_METHOD = re.compile(
    "(?<!multi)(?<!multi_)head|logits|lora_?b|cls|token|gamma|gate|ada_?ln|modul", re.I
)
# Tables, of which each row is a vector, whatever its fans.
_TABLE = re.compile("emb|pos|codebook|table|wte|wpe|token|latents", re.I)


def judge(
    path: str,
    array: Any,
    found: Statistics | None,
    entry: Entry | None,
    leaves: Mapping[str, Any],
) -> tuple[Leaf, list[Finding]]:
    """A leaf, and what is wrong with it by itself."""
    shape, dtype = tuple(array.shape), array.dtype
    leaf = Leaf(path, shape, dtype.name, found)
    if found is None or not found.size:
        return leaf, []
    if entry is not None and entry.init is None and entry.rule is not None:
        # A rule leaves it as it is, and so it may be anything but broken.
        return leaf, [
            Finding(path, *_nonfinite(array, found))
        ] if found.nonfinite else []
    if entry is None or entry.init is None or entry.shape != shape:
        return leaf, [
            Finding(path, *f) for f in _without_plan(path, array, found, leaves)
        ]
    meant = expected(entry.init, shape, dtype)
    scores = _z_mean(found, meant), _z_std(found, meant)
    planned = repr(entry.init), meant.mean, meant.std
    leaf = Leaf(path, shape, dtype.name, found, *planned, *scores)
    # The kernel that a bias belongs to, for torch's bias is scaled by its fan_in.
    kernel = leaves.get(path.removesuffix("bias") + "kernel")
    beside = () if kernel is None or len(shape) > 1 else kernel.shape
    checks = _against_plan(array, found, entry, meant, beside)
    return leaf, [Finding(path, *f) for f in checks]


def fits(array: Any, found: Statistics | None, init: Any) -> bool:
    """Whether an array is what an initializer draws."""
    shape, dtype = tuple(array.shape), array.dtype
    try:
        meant = expected(init, shape, dtype)
    except ValueError:  # it does not draw such a shape
        return False
    entry = Entry("", shape, dtype, None, init)
    return found is not None and not any(_against_plan(array, found, entry, meant, ()))


def _without_plan(
    path: str, array: np.ndarray, found: Statistics, leaves: Mapping[str, Any]
) -> Found:
    if found.nonfinite:
        yield _nonfinite(array, found)
        return
    last = path.rpartition("/")[2].rpartition(".")[2].lower()
    vector = array.ndim > 2 and max(array.shape) == found.size  # with axes of size one
    a_kernel = array.ndim > 1 and not vector and "bias" not in last
    if a_kernel and last not in _NO_KERNELS and found.size > 1:
        by_method = _METHOD.search(path) is not None
        if not by_method and math.prod(array.shape[:-1]) > 1:
            yield from _degenerate(found)
        if found.std and not _is_table(path, array, found, leaves):
            yield from _no_usual_size(array, found, by_method)
        if not found.patterned:
            yield from _low_rank(array, found)
            yield from _drawn_narrow(array, found)
    yield from _saturated(array, found)


def _is_table(
    path: str, array: np.ndarray, found: Statistics, leaves: Mapping[str, Any]
) -> bool:
    """Whether it is one by its name, or a weight of N(0, 1) that no bias belongs to.

    An embedding of torch or Equinox is one, whatever the name of the layer.
    """
    bare = (
        path.endswith("weight") and f"{path.removesuffix('weight')}bias" not in leaves
    )
    error = _Z / math.sqrt(2 * found.size)
    of_normal = found.std is not None and abs(found.std - 1) < error
    unnamed = bare and array.ndim == 2 and of_normal
    return unnamed or _TABLE.search(path) is not None


def _no_usual_size(array: np.ndarray, found: Statistics, by_method: bool) -> Found:
    """A deviation that no usual initializer has, of a kernel of 16 inputs or more."""
    fan_in = math.prod(array.shape[:-1])
    fan_out = array.size // array.shape[-2]
    if fan_in < 16 or found.std is None:
        return
    # N(0, 0.01²) and N(0, 0.1²) are common: 0.04 where fan_in is 16, the least that is
    # judged, and 6.4 for the 4032 inputs of an Inception. By method it is small in some
    # heads and gates, and large where few outputs of many inputs are scaled by fan_out.
    gain = found.std * math.sqrt(fan_in)
    small = gain <= 0.01 and not by_method
    if small or (gain >= 6.5 and found.std * math.sqrt(fan_out) > 1.6):
        cause = cause_of_std(None, array.shape, found)
        message = f"std {found.std:.4g} is {gain:.3g} / sqrt(fan_in), far from"
        yield "std", f"{message} what keeps a signal", cause


def _against_plan(
    array: np.ndarray, found: Statistics, entry: Entry, meant: Expected, kernel: Shape
) -> Found:
    if array.dtype.name != entry.dtype.name:
        yield "dtype", f"dtype {array.dtype.name}, planned {entry.dtype.name}", ""
    if found.nonfinite:
        yield _nonfinite(array, found)
        return
    if meant.std == 0:
        yield from _not_constant(array, found, entry.init, meant, kernel)
        return
    broken = list[tuple[str, str, str]]()
    if isinstance(entry.init, Initializer) and jnp.finfo(array.dtype).bits > 8:
        broken = list(entry.init._breaks(array))
    if not getattr(entry.init, "_random", True):
        yield from broken
        return
    if found.size > 1 and found.std == 0:
        # Where few weights are not zero a small array may have none of these.
        alone = found.size / meant.copies
        if found.zeros < found.size or meant.zeros**alone < _CHANCE:
            yield from _degenerate(found)
        return
    yield from _moments(array, found, entry.init, meant, kernel)
    if meant.dense and found.size > 1:
        yield from _saturated(array, found)
        yield from _drawn_narrow(array, found)
        yield from _dead_columns(array)
        if meant.std < math.inf:  # or a few weights are larger than all others
            yield from _low_rank(array, found)
    yield from broken


def _moments(
    array: np.ndarray, found: Statistics, init: Any, meant: Expected, kernel: Shape
) -> Found:
    """What is off in the mean, the deviation and the shape of the distribution."""
    if found.mean is None or found.std is None:
        return
    ratio, off = found.std / meant.std, (found.mean - meant.mean) / meant.std
    z_std, z_mean = _z_std(found, meant), _z_mean(found, meant)
    if _is_off(z_std, ratio - 1, array.dtype):
        message = f"std {found.std:.4g}, expected {meant.std:.4g} ({ratio:.3g} of it"
        cause = cause_of_std(init, array.shape, found, kernel)
        yield "std", f"{message}, z = {z_score(z_std)})", cause
    else:
        yield from _other_law(array, found, meant)
    yield from _too_few_zeros(found, meant)
    if _is_off(z_mean, off, array.dtype):
        message = f"mean {found.mean:.4g}, expected {meant.mean:.4g}"
        coarse = "drawn in the dtype itself, in whose few values it is rounded down"
        # Rounding moves the mean by a few percent; what moves it more is unknown.
        cause = coarse if array.dtype.itemsize < 4 and abs(off) < 0.05 else ""
        yield "mean", f"{message} (z = {z_score(z_mean)})", cause


def _is_off(z: float | None, share: float, dtype: np.dtype) -> bool:
    # A draw rounded to float8 has a few percent of its own.
    small = 0.03 if dtype.itemsize == 1 else _SMALL
    return z is not None and abs(z) > _Z and abs(share) > small


def _z_mean(found: Statistics, meant: Expected) -> float | None:
    if not 0 < meant.std < math.inf or found.nonfinite or found.mean is None:
        return None
    # Of a draw that is too wide, by its own deviation.
    std = max(meant.std, found.std or 0.0)
    error = std * math.sqrt(meant.copies / found.size + 1 / meant.draws)
    return (found.mean - meant.mean) / error


def _z_std(found: Statistics, meant: Expected) -> float | None:
    """The normal deviate of the chi² that the variance is, by Wilson and Hilferty."""
    if not 0 < meant.std < math.inf or found.size < 2 or found.std is None:
        return None
    if found.nonfinite:
        return None
    kurtosis = max(meant.kurtosis or 3.0, 1.2)  # 1 is that of two values: no error
    if kurtosis == math.inf or (meant.cdf is not None and kurtosis > _HEAVY):
        return None
    degrees = 2 / (kurtosis - 1) / (meant.copies / (found.size - 1) + 1 / meant.draws)
    spread = 2 / (9 * degrees)
    return ((found.std / meant.std) ** (2 / 3) - 1 + spread) / math.sqrt(spread)


def _other_law(array: np.ndarray, found: Statistics, meant: Expected) -> Found:
    """The deviation is right, but the distribution is another."""
    if found.kurtosis is None or found.minimum is None or found.maximum is None:
        return
    low, high = meant.bounds
    ends = [abs(end) for end in (low, high) if math.isfinite(end)]
    slack = 4 * float(jnp.finfo(array.dtype).eps) * max(ends, default=0.0)
    error = _Z * math.sqrt(24 / found.size)  # that of a normal, the widest
    planned = meant.kurtosis or math.inf
    # Of heavier tails, and of mixtures, it scatters more than is known here.
    known = planned < 4 and meant.dense and found.size >= 1000
    if known and abs(found.kurtosis - planned) > max(error, 0.05):
        message = f"kurtosis {found.kurtosis:.3g}, expected {planned:.3g}"
    elif found.minimum < low - slack or found.maximum > high + slack:
        message = f"weights from {found.minimum:.4g} to {found.maximum:.4g}, "
        message += f"expected between {low:.4g} and {high:.4g}"
    elif meant.cdf is not None and (distance := _distance(array, meant.cdf)):
        message = f"the distribution is {distance:.3g} off in probability"
    else:
        return
    given = meant.name.replace("truncated", "truncated normal")
    given = given.replace("moments", "planned")  # of a law of which no more is known
    close = max(error / 2, 0.05)
    near = (law for law, k in _LAWS.items() if abs(found.kurtosis - k) < close)
    other = next((law for law in near if law != meant.name), given)
    cause = f"drawn from the {other} distribution, not the {given} one"
    yield "distribution", message, cause if other != given else ""


def _distance(array: np.ndarray, cdf: Any) -> float:
    """The largest difference of distribution functions, or 0 if it may be chance."""
    values, counts = np.unique(array.ravel()[:_SAMPLE], return_counts=True)
    size = counts.sum()
    # A weight that was rounded to v was at most the middle of v and what is above it.
    last = np.array(jnp.finfo(array.dtype).max, array.dtype)
    above = np.nextafter(values, last).astype(np.float64)
    expected = cdf((values.astype(np.float64) + above) / 2)
    distance = float(abs(np.cumsum(counts) / size - expected).max())
    # P(sqrt(n) D > x) is about 2 exp(-2 x²), by Kolmogorov; P(|z| > 7) is 3e-12.
    chance = math.sqrt(math.log(2 / math.erfc(_Z / math.sqrt(2))) / 2)
    return distance if distance * math.sqrt(size) > chance else 0.0


def _too_few_zeros(found: Statistics, meant: Expected) -> Found:
    """Zeros that were planned, and are not there."""
    share = found.zeros / found.size
    error = _Z * math.sqrt(meant.zeros * (1 - meant.zeros) / found.size)
    if share < meant.zeros - error:
        yield "pattern", f"{share:.3g} of weights are zero, of {meant.zeros:.3g}", ""


def _not_constant(
    array: np.ndarray, found: Statistics, init: Any, meant: Expected, kernel: Shape
) -> Found:
    """A leaf that was meant to be one value."""
    if found.std:
        cause = cause_of_std(None, array.shape, found, kernel)
        yield "std", f"std {found.std:.4g}, planned {init!r}", cause
    elif found.mean != float(np.asarray(meant.mean).astype(array.dtype).real):
        yield "mean", f"filled with {found.mean:.4g}, planned {init!r}", ""


def _degenerate(found: Statistics) -> Found:
    if found.zeros == found.size:
        yield "dead", "all weights are zero", "it was not initialized"
    elif found.std == 0:
        message = f"all weights are {found.mean:.4g}, so all units stay alike"
        yield "constant", message, "it was filled, not drawn"


def _nonfinite(array: np.ndarray, found: Statistics) -> tuple[str, str, str]:
    message = f"{found.nonfinite} of {array.size} weights are NaN or infinite"
    cause = "scaled by a float8 of which the square of the deviation is no value"
    return "nonfinite", message, cause if array.dtype.itemsize == 1 else ""


def _saturated(array: np.ndarray, found: Statistics) -> Found:
    """Weights at the limit of their dtype, or piled up at their own extremes."""
    if found.minimum is None or found.maximum is None:
        return
    parts, kind, limit = real_parts(array), array.dtype, jnp.finfo(array.dtype).max
    ends = sorted({found.minimum, found.maximum})
    piles = ((end, int((parts == kind.type(end)).sum())) for end in ends)
    if max(map(abs, ends)) >= float(limit):
        count = sum(count for _, count in piles)
        yield "saturated", f"{count} weights are at the limit of {kind.name}", ""
    # Narrower floats have few values, and many weights at each.
    elif kind.itemsize >= 4 and found.std and not (found.patterned or is_made(array)):
        for end, count in piles:
            if count > 10 + 1e-4 * parts.size:
                message = f"{count} weights are at their extreme of {end:.4g}"
                cause = "clipped, where a truncated distribution was meant"
                yield "saturated", message, cause
                return


def _drawn_narrow(array: np.ndarray, found: Statistics) -> Found:
    """Weights that have the few values of a narrower draw."""
    head = real_parts(array)[:_SAMPLE]
    if head.size < 256 or not found.std:
        return
    if array.dtype == np.float32 and not (head.view(np.uint32) & 0xFFFF).any():
        cause = "drawn or stored in it, and widened"
        yield "precision", "all weights are values of bfloat16", cause
    if array.dtype == jnp.bfloat16 and head.size >= 4096:
        values = np.unique(head.view(np.int16)).astype(int)
        # As bits count them, negative numbers the other way round.
        places = np.where(values < 0, -(values & 0x7FFF), values)
        # JAX draws bfloat16 from 8 bits; far from zero a rounded draw has few, too.
        if values.size <= 256 and np.ptp(places) + 1 > 1024:
            cause = "drawn in bfloat16 rather than in float32 and rounded"
            yield "precision", f"{values.size} distinct values only", cause


def _dead_columns(array: np.ndarray) -> Found:
    if array.ndim < 2 or array.size < 2 * array.shape[-1] or np.iscomplexobj(array):
        return
    # Zeros are known by their bits, of either sign: NumPy is slow with narrow floats.
    bits = np.bitwise_or.reduce(as_matrix(array).view(f"u{array.itemsize}"), axis=0)
    dead = int(np.count_nonzero((bits << 1) == 0))
    if dead:
        yield "dead", f"{dead} of {array.shape[-1]} outputs have no weights", ""


def _low_rank(array: np.ndarray, found: Statistics) -> Found:
    if found.rank is None or found.columns is None or found.rank >= found.columns:
        return
    columns = sampled_columns(array, found.columns)
    columns = columns[:, columns.any(axis=0)]
    cause = "a product of narrower ones"
    if len(np.unique(columns, axis=1).T) < columns.shape[1]:
        cause = "outputs are copies of one another"
    yield "rank", f"rank {found.rank} among {found.columns} of its outputs", cause
