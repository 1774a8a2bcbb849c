"""What an initializer is expected to leave in an array: the moments of its draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import _basic
from jinit._arguments import Shape
from jinit._combine import _Combinator, looks_linear
from jinit._convolution import _ConvolutionIsometry
from jinit._identity import dirac, eye
from jinit._initializer import Initializer
from jinit._sparse import sparse
from jinit.diagnostics._statistics import measure

_PATTERNED = (sparse, eye, dirac, looks_linear, _ConvolutionIsometry)
_FAMILIES = ("normal", "uniform", "truncated_normal")


@dataclass(frozen=True)
class Expected:
    """The moments of the draws of an initializer, as far as they are known.

    Attributes:
      mean: The mean of the distribution.
      std: Its standard deviation, 0 of a constant.
      kurtosis: Its fourth central moment over the squared variance.
      dense: Whether all weights are random, so that none is zero or as another.
      draws: How many draws the moments were measured from; infinite if computed.
    """

    mean: float | None
    std: float | None
    kurtosis: float | None
    dense: bool
    draws: float = math.inf


def expected(init: Any, shape: Shape, dtype: np.dtype) -> Expected:
    """The moments that an initializer gives an array of a shape and dtype.

    They are computed where they follow from the formula. Those of another's initializer
    are measured of one draw, as are those of float8, where rounding changes them.

    Args:
      init: An initializer, jinit's or another.
      shape: The shape of the array.
      dtype: Its dtype.

    Returns:
      The moments.

    Example:
      >>> import jinit, numpy as np
      >>> from jinit.diagnostics._expected import expected
      >>> moments = expected(jinit.he_uniform(), (600, 10), np.dtype("float32"))
      >>> print(f"{moments.std:.2f} {moments.kurtosis:.1f}")  # sqrt(2 / 600)
      0.06 1.8
    """
    if not isinstance(init, Initializer) or (dtype.itemsize == 1 and init._random):
        return _drawn(init, shape, dtype)
    real = not np.issubdtype(dtype, np.complexfloating)
    mean, kurtosis = _mean(init), _kurtosis(init) if real else None
    std = None if isinstance(init, _PATTERNED) else init.expected_std(shape)
    return Expected(mean, std, kurtosis, dense=is_dense(init))


def is_dense(init: Any) -> bool:
    """Whether all weights that an initializer draws are random."""
    if isinstance(init, _PATTERNED) or type(init).__name__ == "zero_row":
        return False
    if isinstance(init, _Combinator):
        return is_dense(init.init)
    return not isinstance(init, Initializer) or init._random


def family(init: Any) -> str | None:
    """The distribution of the weights: normal, uniform or truncated_normal."""
    if isinstance(init, _Combinator):
        return family(init.init)
    named = getattr(init, "distribution", None)
    if named is not None:
        return named
    name = type(init).__name__
    if "trunc" in name:
        return "truncated_normal"
    ending = name.rpartition("_")[2]
    return ending if isinstance(init, Initializer) and ending in _FAMILIES else None


def kurtosis_of(family: str | None) -> float | None:
    """That of a distribution, truncated at two standard deviations if it is."""
    if family == "truncated_normal":
        return _truncated_kurtosis(2.0)
    return {"normal": 3.0, "uniform": 1.8}.get(family or "")


def _drawn(init: Any, shape: Shape, dtype: np.dtype) -> Expected:
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    drawn = measure(np.asarray(init(jax.random.key(0), shape, dtype)))
    dense = drawn.std > 0 and drawn.zeros == 0
    return Expected(drawn.mean, drawn.std, drawn.kurtosis, dense, drawn.size)


def _mean(init: Any) -> Any:
    """The mean of the weights; None where they have no single one."""
    if isinstance(init, _Combinator):
        within = init.init
        return _mean(within) if isinstance(within, Initializer) else None
    if isinstance(init, _basic.constant):
        return None if isinstance(init.value, tuple | complex) else float(init.value)
    if isinstance(init, _basic.uniform):
        return (init.a + init.b) / 2
    if isinstance(init, _basic.trunc_normal):
        low, high = init._bounds()
        return init.mean if low == -high else None
    if isinstance(init, _basic.truncated_normal):
        return init.mean if init.lower == -init.upper else None
    if isinstance(init, _basic.normal):
        return init.mean
    if isinstance(init, eye | dirac):
        return None
    return 1.0 if isinstance(init, _basic.ones) else 0.0


def _kurtosis(init: Any) -> float | None:
    if isinstance(init, _basic.trunc_normal):
        low, high = init._bounds()
        return _truncated_kurtosis(float(high)) if low == -high else None
    if isinstance(init, _basic.truncated_normal):
        symmetric = init.lower == -init.upper
        return _truncated_kurtosis(float(init.upper)) if symmetric else None
    return kurtosis_of(family(init))


def _truncated_kurtosis(bound: float) -> float:
    """That of a standard normal variable conditioned on |x| < bound."""
    if not 0.5 < bound < 10:  # all but uniform or normal, and the formula fails
        return 1.8 if bound < 1 else 3.0
    within = math.erf(bound / math.sqrt(2))
    edge = 2 * bound * math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi) / within
    variance = 1 - edge
    return (3 * variance - bound**2 * edge) / variance**2
