"""Statistics: what is measured of one array, in chunks and in double precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit._checks import check_dtype

_CHUNK = 1 << 16  # elements: in double precision they stay in a core's cache
_SCALE = 2.0**-800  # by which the fourth power of any double is one
_COLUMNS, _ROWS = 64, 1024  # of a kernel, at most, whose rank is taken


@dataclass(frozen=True)
class Statistics:
    """What is measured of one array.

    The mean and the kurtosis of complex numbers are those of the real parts. All five
    numbers are None where no element is finite.

    Attributes:
      size: The number of elements.
      mean: Their mean.
      std: Their standard deviation about it; for complex numbers that of |w - mean|.
      kurtosis: The fourth central moment over the squared variance: 3 of a normal
        distribution, 1.8 of a uniform one; None for a constant.
      minimum: The least.
      maximum: The greatest.
      zeros: How many are zero.
      nonfinite: How many are NaN or infinite; the moments leave them out.
      rank: The rank of `columns` columns of the kernel; None where the array is not a
        kernel, or too small to tell.
      columns: How many columns that are, at most half as many as there are rows.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> (leaf,) = jinit.diagnostics.audit({"kernel": jnp.eye(8)}).leaves
      >>> print(leaf.measured.mean, leaf.measured.zeros)
      0.125 56
    """

    size: int
    mean: float | None
    std: float | None
    kurtosis: float | None
    minimum: float | None
    maximum: float | None
    zeros: int
    nonfinite: int
    rank: int | None
    columns: int | None

    @property
    def patterned(self) -> bool:
        """Whether many are zero, as in a sparse or an identity kernel."""
        return self.zeros > 0.2 * self.size


def measure(array: np.ndarray) -> Statistics:
    """Measures an array of floating-point or complex numbers."""
    parts = (array.real, array.imag) if _is_complex(array.dtype) else (array,)
    measured = zip(*map(_measured, parts), strict=True)
    means, stds, kurtoses, lows, highs, (zeros, *_), (nonfinite, *_) = measured
    if len(parts) > 1:  # a complex number counts once
        zeros = int(np.count_nonzero(array == 0))
        nonfinite = int(np.count_nonzero(~np.isfinite(array)))
    numbers = means[0], math.hypot(*stds), kurtoses[0], min(lows), max(highs)
    mean, std, kurtosis, low, high = (None if math.isnan(n) else n for n in numbers)
    moments = mean, std, kurtosis, low, high
    return Statistics(array.size, *moments, zeros, nonfinite, *_rank(array))


def _measured(array: np.ndarray) -> tuple[Any, ...]:
    """Mean, deviation, kurtosis, extremes, zeros and how many are not finite."""
    flat = np.ascontiguousarray(array).reshape(-1)
    start = _chunk_of(flat, 0)
    start = start[np.isfinite(start)]
    with np.errstate(over="ignore", invalid="ignore"):
        shift = float(start.mean()) if start.size else 0.0
    sums, low, high, zeros, count = np.zeros(4), math.nan, math.nan, 0, 0
    for x in (_chunk_of(flat, start) for start in range(0, flat.size, _CHUNK)):
        if not np.isfinite(x).all():
            x = x[np.isfinite(x)]
        if not x.size:
            continue
        # These pass over the NaN that they begin with.
        low, high = float(np.fmin(low, x.min())), float(np.fmax(high, x.max()))
        zeros, count = zeros + x.size - int(np.count_nonzero(x)), count + x.size
        x = x - shift
        with np.errstate(over="ignore", invalid="ignore"):
            squares = x * x
            # Not by BLAS, whose own threads get into each other's way here.
            powers = x.sum(), squares.sum(), (x * squares).sum()
            sums += *powers, np.square(squares).sum()
    if np.isfinite(sums).all():
        moments = _central(sums, shift, count)
    else:  # of doubles whose powers are none any more
        mean, std, kurtosis, *_ = _measured(flat * _SCALE)
        moments = mean / _SCALE, std / _SCALE, kurtosis
    return *moments, low, high, zeros, flat.size - count


def is_drawn(dtype: Any) -> bool:
    """Whether weights are drawn in it, as in all floats but for exponents of scales."""
    try:
        check_dtype(jax.dtypes.canonicalize_dtype(dtype))
    except TypeError:
        return False
    return jnp.issubdtype(dtype, jnp.inexact)


def kinds_of(leaves: Mapping[str, Any]) -> list[tuple[str, jax.ShapeDtypeStruct]]:
    """The paths of what may be drawn, with its shapes, as rules are given them."""
    drawn = ((path, w) for path, w in leaves.items() if is_drawn(w.dtype))
    canonical = jax.dtypes.canonicalize_dtype
    return [(p, jax.ShapeDtypeStruct(w.shape, canonical(w.dtype))) for p, w in drawn]


def as_matrix(array: np.ndarray) -> np.ndarray:
    """A kernel as a matrix, whose columns are its last axis."""
    return array.reshape(-1, array.shape[-1])


def sampled_columns(
    array: np.ndarray, most: int, rows: int | None = None
) -> np.ndarray:
    """Some columns of a kernel in double precision: the first ones, and any others."""
    matrix = as_matrix(array)[:rows]
    columns = matrix.shape[1]
    if columns > most:  # neighbours may be copies of one another, or those far apart
        others = np.random.default_rng(0).permutation(np.arange(most // 2, columns))
        matrix = matrix[:, [*range(most // 2), *others[: most - most // 2]]]
    return matrix.astype(np.complex128 if _is_complex(array.dtype) else np.float64)


def real_parts(array: np.ndarray) -> np.ndarray:
    """The elements in a row; of complex ones the real and the imaginary parts."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(flat.real.dtype) if _is_complex(flat.dtype) else flat


def is_made(array: np.ndarray) -> bool:
    """Whether few numbers are distinct: coordinates or masks, which nothing draws.

    Narrower floats have few numbers in any case, and are taken for drawn.
    """
    head = real_parts(array)[:_CHUNK]
    return array.dtype.itemsize >= 4 and len(np.unique(head)) < head.size / 2


def _is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.complexfloating)


def _chunk_of(parts: np.ndarray, start: int) -> np.ndarray:
    chunk = parts[start : start + _CHUNK]
    if chunk.dtype == jnp.bfloat16:  # the upper half of a float32; quicker than a cast
        chunk = (chunk.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return chunk.astype(np.float64)


def _central(sums: np.ndarray, shift: float, count: int) -> tuple[float, float, float]:
    """Mean, deviation and kurtosis from sums of powers about a shift near the mean."""
    if not count:
        return math.nan, math.nan, math.nan
    first, second, third, fourth = map(float, sums / count)
    variance = max(second - first**2, 0.0)
    moment = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    std = math.sqrt(variance * count / (count - 1)) if count > 1 else 0.0
    known = variance > 1e-28 * shift**2
    return shift + first, std, moment / variance**2 if known else math.nan


def _rank(array: np.ndarray) -> tuple[int | None, int | None]:
    """The rank of some columns, with singular values below 1% of the first as zero.

    There are twice as many rows as columns, or more, so that of independent weights
    the last is above a tenth of the first, and rounding to half precision far below.
    """
    if array.ndim < 2 or not array.size:
        return None, None
    rows, most = array.size // array.shape[-1], min(_COLUMNS, array.shape[-1])
    if rows < 16 or most < 2:
        return None, None
    columns = sampled_columns(array, min(most, rows // 2), _ROWS)
    # The row of the padding in a table of torch is zero, which is another matter.
    columns = columns[:, columns.any(axis=0)]
    if columns.shape[1] < 2:
        return None, None
    # A mean that all weights share says nothing of their rank.
    with np.errstate(over="ignore", invalid="ignore"):
        columns = columns - columns.mean()
        gram = columns.conj().T @ columns
    if not np.isfinite(gram).all():
        return None, None
    squares = np.linalg.eigvalsh(gram)
    return int((squares > 1e-4 * squares[-1]).sum()), columns.shape[1]
