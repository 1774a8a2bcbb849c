"""Quantile functions: any distribution, by the inverse of its distribution function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jinit._checks import Shape
from jinit._initializer import option
from jinit.distributions._pointwise import RealInitializer
from jinit.laws import Quantile, quantile_table

Ppf = Callable[[Any], Any]
"""A quantile function: of an array of probabilities, in NumPy's or JAX's operations."""


def _check_ppf(name: str, value: Any) -> Ppf:
    if not callable(value):
        raise TypeError(
            f"{name} must be a quantile function, such as scipy.stats.gumbel_r().ppf, "
            f"got {value!r}."
        )
    try:
        hash(value)
        z, w = quantile_table(value)
    except Exception as error:  # what a user wrote may raise anything
        raise TypeError(
            f"{name} must be a function of an array of probabilities, got {value!r}, "
            f"which raised {type(error).__name__}: {error}"
        ) from error
    if w.shape != z.shape or not np.isfinite(w).all():
        raise ValueError(f"{name} must be finite between 0 and 1, got {value!r}.")
    if (np.diff(w) < 0).any() or w[0] == w[-1]:
        raise ValueError(
            f"{name} must rise from 0 to 1, got {value!r}; give the inverse of the "
            "distribution function, SciPy's ppf, not cdf, pdf or isf."
        )
    return value


class inverse_transform(RealInitializer):
    """Draws from any continuous distribution, by its quantile function.

        W = ppf(U),    U ~ U(0, 1)

    Inverse transform sampling. A function of JAX's operations is computed in each draw,
    in float32; the distributions of SciPy, which JAX cannot trace, by a table of 2^14
    values in equal steps of the normal score, read on the host once, to seven digits.

    Args:
      ppf: The quantile function, of an array of probabilities: the `ppf` of a frozen
        distribution of `scipy.stats`, or a function of JAX's operations. It has no
        name that JSON could hold.

    Raises:
      TypeError: `ppf` is not a function of an array.
      ValueError: `ppf` falls, or is not finite within (0, 1).

    Example:
      >>> import jax, jinit
      >>> from scipy import stats
      >>> init = jinit.distributions.inverse_transform(stats.logistic(scale=0.1).ppf)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.3f} {init.law(w.shape).std:.3f}")  # 0.1 · pi / sqrt(3)
      0.181 0.181

    References:
      `scipy.stats.rv_continuous.ppf`; TFP calls it `quantile`.
    """

    ppf: Ppf = option(_check_ppf, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Quantile:
        return Quantile(self.ppf)
