"""What an initializer is expected to leave in an array: its law, or that of a draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit._checks import Shape
from jinit._initializer import Initializer
from jinit.audit._statistics import measure
from jinit.laws import Law, Moments


@dataclass(frozen=True)
class Expected:
    """A law as `Statistics` would measure it, and how well it is known.

    Attributes:
      mean: Its mean; of complex weights that of the real parts.
      std: Its standard deviation, 0 of a constant.
      kurtosis: Its kurtosis, if it is known; of complex weights that of the real parts.
      bounds: Between which the weights lie; of complex ones both parts.
      zeros: The share of weights that are exactly zero.
      dense: Whether all weights are random, so that none is as another.
      name: What the law is called.
      copies: How many weights follow from each that is drawn.
      draws: How many weights the law was measured from; infinite if it is computed.
    """

    mean: float
    std: float
    kurtosis: float | None
    bounds: tuple[float, float]
    zeros: float
    dense: bool
    name: str
    copies: int = 1
    draws: float = math.inf


def expected(init: Any, shape: Shape, dtype: np.dtype) -> Expected:
    """What an initializer gives an array of a shape and dtype.

    Others' initializers are measured by one draw, as are those of float8, where
    rounding changes the moments, and those of jinit's classes that say no law.
    """
    kind = jax.dtypes.canonicalize_dtype(dtype)
    law = None
    if isinstance(init, Initializer) and not (dtype.itemsize == 1 and init._random):
        law = init.law(shape, kind)
    if law is not None:
        copies = init._copies(shape)
        return _of_law(law, law.dense and copies == 1, copies)
    drawn = measure(np.asarray(init(jax.random.key(0), shape, kind)))
    kurtosis = None if math.isnan(drawn.kurtosis) else drawn.kurtosis
    law = Moments(drawn.mean, drawn.std, kurtosis)
    return _of_law(law, drawn.std > 0 and drawn.zeros == 0, draws=drawn.size)


def _of_law(
    law: Law, dense: bool, copies: int = 1, draws: float = math.inf
) -> Expected:
    part = getattr(law, "real", law)
    name = type(part).__name__.lower()
    mean = float(np.real(part.mean))
    low, high = (np.array([np.real(b), np.imag(b)]) for b in law.bounds)
    both = part is not law  # of complex weights, whose parts are measured together
    bounds = (low.min(), high.max()) if both else part.bounds
    measured = (mean, float(law.std), part.kurtosis, bounds, law.zeros)
    return Expected(*measured, dense, name, copies, draws)
