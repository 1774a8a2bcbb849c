"""The checks of one leaf: what is wrong with it by itself, or against its plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit._initializer import Initializer
from jinit.audit._causes import cause_of_std
from jinit.audit._expected import Expected, expected
from jinit.audit._report import Finding, Found, Leaf
from jinit.audit._statistics import (
    Statistics,
    as_matrix,
    real_parts,
    sampled_columns,
)
from jinit.laws import truncation
from jinit.model._entries import Entry

_Z = 7.0  # standard errors: by chance one leaf in 10^11
_SMALL = 0.005  # a share of the deviation below which a difference is of no matter
_COLUMNS = 64  # whose products are taken
_SAMPLE = 1 << 16  # elements whose distinct values are counted


def judge(
    path: str,
    array: Any,
    found: Statistics | None,
    entry: Entry | None,
    leaves: Mapping[str, Any],
) -> tuple[Leaf, list[Finding]]:
    """A leaf, and what is wrong with it by itself."""
    shape, dtype = tuple(array.shape), array.dtype
    if found is None or not found.size:
        return Leaf(path, shape, dtype.name, found), []
    if entry is None or entry.init is None or entry.shape != shape:
        leaf = Leaf(path, shape, dtype.name, found)
        return leaf, [Finding(path, *f) for f in _without_plan(path, array, found)]
    meant = expected(entry.init, shape, dtype)
    leaf = Leaf(
        path,
        shape,
        dtype.name,
        found,
        repr(entry.init),
        meant.mean,
        meant.std,
        _z_mean(found, meant),
        _z_std(found, meant),
    )
    kernel = leaves.get(path.removesuffix("bias") + "kernel")
    checks = _against_plan(leaf, array, found, entry, meant, kernel)
    return leaf, [Finding(path, *f) for f in checks]


def _without_plan(path: str, array: np.ndarray, found: Statistics) -> Found:
    if found.nonfinite:
        yield _nonfinite(array, found)
    elif _is_kernel(path, array) and found.size > 1:
        yield from _degenerate(array, found)
        fan_in = math.prod(array.shape[:-1])
        gain, table = found.std * math.sqrt(fan_in), path.endswith("embedding")
        if found.std and not table and fan_in >= 16 and not 0.01 < gain < 6:
            error = _relative_error(found)
            yield (
                "std",
                f"std {found.std:.4g} is {gain:.3g} / sqrt(fan_in), far from what "
                "keeps a signal",
                cause_of_std(None, array.shape, found.std, error),
            )
        if not found.patterned:
            yield from _low_rank(array, found)
            yield from _drawn_narrow(array, found)
    if not found.nonfinite:
        yield from _saturated(array, found)


def _against_plan(
    leaf: Leaf,
    array: np.ndarray,
    found: Statistics,
    entry: Entry,
    meant: Expected,
    kernel: Any,
) -> Found:
    if leaf.dtype != entry.dtype.name:
        yield "dtype", f"dtype {leaf.dtype}, planned {entry.dtype.name}", ""
    if found.nonfinite:
        yield _nonfinite(array, found)
        return
    if meant.std == 0:
        yield from _not_constant(array, found, entry, meant, kernel)
        return
    broken = _broken(array, entry.init)
    if not getattr(entry.init, "_random", True):
        yield from broken
        return
    if found.size > 1 and (meant.std or meant.dense) and found.std == 0:
        yield from _degenerate(array, found)
        return
    yield from _moments(leaf, array, found, entry, meant, kernel)
    if meant.dense and found.size > 1:
        yield from _saturated(array, found)
        yield from _drawn_narrow(array, found)
        yield from _dead_columns(array)
        yield from _low_rank(array, found)
    yield from broken


def _moments(
    leaf: Leaf,
    array: np.ndarray,
    found: Statistics,
    entry: Entry,
    meant: Expected,
    kernel: Any,
) -> Found:
    """What is off in the mean, the deviation and the shape of the distribution."""
    if (
        meant.std
        and leaf.z_std is not None
        and _is_off(leaf.z_std, found.std / meant.std - 1, array.dtype)
    ):
        error = _relative_error(found)
        kernel_shape = None if kernel is None or array.ndim > 1 else kernel.shape
        yield (
            "std",
            f"std {found.std:.4g}, expected {meant.std:.4g} "
            f"({found.std / meant.std:.3g} of it, z = {leaf.z_std:.1f})",
            cause_of_std(entry.init, leaf.shape, found.std, error, kernel_shape),
        )
    else:
        yield from _other_law(array, found, meant)
    yield from _too_few_zeros(found, meant)
    if leaf.z_mean is not None:
        off = (found.mean - meant.mean) / (meant.std or found.std)
        if _is_off(leaf.z_mean, off, array.dtype):
            coarse = "drawn in the dtype itself, in whose few values it is rounded down"
            yield (
                "mean",
                f"mean {found.mean:.4g}, expected {meant.mean:.4g} "
                f"(z = {leaf.z_mean:.1f})",
                coarse if array.dtype.itemsize < 4 and abs(off) < 0.05 else "",
            )


def _is_off(z: float, share: float, dtype: np.dtype) -> bool:
    # A draw rounded to float8 has a few percent of its own.
    small = 0.03 if dtype.itemsize == 1 else _SMALL
    return abs(z) > _Z and abs(share) > small


def _z_mean(found: Statistics, meant: Expected) -> float | None:
    if not meant.std or found.nonfinite:
        return None
    error = meant.std * math.sqrt(meant.copies / found.size + 1 / meant.draws)
    return (found.mean - meant.mean) / error


def _z_std(found: Statistics, meant: Expected) -> float | None:
    """The normal deviate of the chi² that the variance is, by Wilson and Hilferty."""
    if not meant.std or found.size < 2 or found.nonfinite:
        return None
    kurtosis = max(meant.kurtosis or 3.0, 1.2)
    degrees = 2 / (kurtosis - 1) / (meant.copies / (found.size - 1) + 1 / meant.draws)
    spread = 2 / (9 * degrees)
    return ((found.std / meant.std) ** (2 / 3) - 1 + spread) / math.sqrt(spread)


def _relative_error(found: Statistics) -> float:
    """The standard error of a standard deviation, as a share of it."""
    return math.sqrt(max(found.kurtosis - 1, 0.2) / (4 * found.size))


_LAWS = {"normal": 3.0, "uniform": 1.8, "truncated normal": truncation(-2, 2).kurtosis}


def _other_law(array: np.ndarray, found: Statistics, meant: Expected) -> Found:
    """The deviation is right, but the distribution is another."""
    low, high = meant.bounds
    slack = 4 * float(jnp.finfo(array.dtype).eps) * max(abs(low), abs(high))
    error = 7 * math.sqrt(24 / found.size)  # that of a normal, the widest
    planned = meant.kurtosis or math.inf
    # Of heavier tails, and of mixtures, it scatters more than is known here.
    known = planned < 4 and meant.dense and found.size >= 1000
    if known and abs(found.kurtosis - planned) > max(error, 0.05):
        message = f"kurtosis {found.kurtosis:.3g}, expected {planned:.3g}"
    elif found.minimum < low - slack or found.maximum > high + slack:
        message = (
            f"weights from {found.minimum:.4g} to {found.maximum:.4g}, expected "
            f"between {low:.4g} and {high:.4g}"
        )
    else:
        return
    near = [
        name
        for name, kurtosis in _LAWS.items()
        if name != meant.name and abs(found.kurtosis - kurtosis) < max(error / 2, 0.05)
    ]
    given = meant.name if meant.name != "truncated" else "truncated normal"
    cause = ""
    if near and near[0] != given:
        cause = f"drawn from the {near[0]} distribution, not the {given} one"
    yield "distribution", message, cause


def _too_few_zeros(found: Statistics, meant: Expected) -> Found:
    """Zeros that were planned, and are not there."""
    share = found.zeros / found.size
    error = _Z * math.sqrt(meant.zeros * (1 - meant.zeros) / found.size)
    if share < meant.zeros - error:
        yield (
            "pattern",
            f"{share:.3g} of the weights are zero, of {meant.zeros:.3g}",
            "",
        )


def _not_constant(
    array: np.ndarray, found: Statistics, entry: Entry, meant: Expected, kernel: Any
) -> Found:
    """A leaf that was meant to be one value."""
    if found.std:
        kernel_shape = None if kernel is None or array.ndim > 1 else kernel.shape
        error = _relative_error(found)
        cause = cause_of_std(None, array.shape, found.std, error, kernel_shape)
        yield "std", f"std {found.std:.4g}, planned {entry.init!r}", cause
    elif found.mean != float(np.asarray(meant.mean).astype(array.dtype).real):
        yield "mean", f"filled with {found.mean:.4g}, planned {entry.init!r}", ""


def _degenerate(array: np.ndarray, found: Statistics) -> Found:
    if found.zeros == real_parts(array).size:
        yield "dead", "all weights are zero", "it was not initialized"
    elif found.std == 0:
        yield (
            "constant",
            f"all weights are {found.mean:.4g}, so all units stay alike",
            "it was filled, not drawn",
        )


def _nonfinite(array: np.ndarray, found: Statistics) -> tuple[str, str, str]:
    narrow = array.dtype.itemsize == 1
    cause = "scaled by a float8 of which the square of the deviation is no value"
    return (
        "nonfinite",
        f"{found.nonfinite} of {array.size} weights are NaN or infinite",
        cause if narrow else "",
    )


def _saturated(array: np.ndarray, found: Statistics) -> Found:
    """Weights at the limit of their dtype, or piled up at their own extremes."""
    limit = float(jnp.finfo(array.dtype).max)
    extremes = sorted({found.minimum, found.maximum})
    parts = real_parts(array)
    if max(map(abs, extremes)) >= limit:
        yield (
            "saturated",
            f"{sum(int((parts == e).sum()) for e in extremes)} weights are at the "
            f"limit of {array.dtype.name}",
            "",
        )
    elif array.dtype.itemsize >= 4 and not found.patterned and found.std:
        for extreme in extremes:
            piled = int((parts == array.dtype.type(extreme)).sum())
            if piled > 10 + 1e-4 * parts.size:
                yield (
                    "saturated",
                    f"{piled} weights are at their extreme of {extreme:.4g}",
                    "clipped, where a truncated distribution was meant",
                )
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
        distinct, there_are = values.size, np.ptp(places) + 1
        if distinct <= 256 and there_are > 1024:  # far from zero there are few
            cause = "drawn in bfloat16 rather than in float32 and rounded"
            yield "precision", f"{distinct} distinct values only", cause


def _dead_columns(array: np.ndarray) -> Found:
    few_rows = array.ndim < 2 or array.size < 2 * array.shape[-1]
    if few_rows or np.iscomplexobj(array):
        return
    dead = _zero_columns(array)
    if dead:
        yield "dead", f"{dead} of {array.shape[-1]} outputs have no weights", ""


def _zero_columns(array: np.ndarray) -> int:
    """How many columns are zero: by their bits, as NumPy is slow with narrow floats."""
    bits = np.bitwise_or.reduce(as_matrix(array).view(f"u{array.itemsize}"), axis=0)
    return int(np.count_nonzero((bits << 1) == 0))  # zero has either sign


def _low_rank(array: np.ndarray, found: Statistics) -> Found:
    if found.rank is None or found.columns is None or found.rank >= found.columns:
        return
    columns = sampled_columns(array, found.columns)
    same = len(np.unique(columns, axis=1).T) < columns.shape[1]
    yield (
        "rank",
        f"rank {found.rank} among {found.columns} of its outputs",
        "outputs are copies of one another" if same else "a product of narrower ones",
    )


def _broken(array: np.ndarray, init: Any) -> list[tuple[str, str, str]]:
    """What of the pattern that an initializer draws the array does not have."""
    if not isinstance(init, Initializer) or jnp.finfo(array.dtype).bits == 8:
        return []
    return list(init._breaks(array))


def _is_kernel(path: str, array: np.ndarray) -> bool:
    """Whether a leaf without a plan is one of weights, which must differ."""
    return array.ndim > 1 and path.rpartition("/")[2] not in ("bias", "scale")
