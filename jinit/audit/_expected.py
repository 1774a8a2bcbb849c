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

_LIGHT = 4.0  # the kurtosis up to which that of a sample tells the distribution


@dataclass(frozen=True)
class Expected:
    """A law as `Statistics` would measure it, and how well it is known."""

    mean: float
    std: float
    kurtosis: float | None
    bounds: tuple[float, float]  # of complex weights those of both parts
    zeros: float  # the share of weights that are exactly zero
    dense: bool  # whether all weights are random, so that none is as another
    name: str  # of the law
    cdf: Any  # its distribution function where its moments say too little, or None
    copies: int = 1  # how many weights follow from each that is drawn
    draws: float = math.inf  # how many weights the law was measured from, if it was


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
    with jax.transfer_guard("allow"):  # JAX's keys are moved to their device
        drawn = measure(np.asarray(init(jax.random.key(0), shape, kind)))
    mean, std = (math.nan if m is None else m for m in (drawn.mean, drawn.std))
    law = Moments(mean, std, drawn.kurtosis)
    return _of_law(law, std > 0 and drawn.zeros == 0, draws=drawn.size)


def _of_law(
    law: Law, dense: bool, copies: int = 1, draws: float = math.inf
) -> Expected:
    part = getattr(law, "real", law)
    name = type(part).__name__.lower()
    mean, bounds = float(np.real(part.mean)), part.bounds
    if part is not law:  # of complex weights, whose parts are measured together
        low, high = (np.array([np.real(b), np.imag(b)]) for b in law.bounds)
        bounds = low.min(), high.max()
    measured = (mean, float(law.std), part.kurtosis, bounds, law.zeros)
    # Of heavy tails the moments of a sample say little, and the law is seen as a whole.
    known = dense and not isinstance(law, Moments) and np.isrealobj(law.mean)
    heavy = known and not (law.kurtosis or math.inf) < _LIGHT
    return Expected(*measured, dense, name, law.cdf if heavy else None, copies, draws)
