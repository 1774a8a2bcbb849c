"""Quantile functions: any distribution, by the inverse of its distribution function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jinit import _checks
from jinit._averages import quantile_table
from jinit._checks import Shape
from jinit._initializer import RealInitializer, option
from jinit.laws import Quantile

Ppf = str | tuple[Any, ...] | Callable[[Any], Any]
"""A name of `scipy.stats`, one with its parameters, or a function of probabilities."""


def _check_ppf(name: str, value: Any) -> Ppf:
    if isinstance(value, str) or (_checks.is_sequence(value) and len(value) > 0):
        value = _named(name, value)
    elif not callable(value):
        raise TypeError(
            f"{name} must be the name of a distribution of scipy.stats, such as "
            "'gumbel_r', one with its parameters, such as ('lognorm', 0.5), or a "
            f"quantile function, got {value!r}."
        )
    try:
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


def _named(name: str, value: Any) -> Ppf:
    """A distribution of SciPy by its name, or by a tuple if it has parameters."""
    from scipy import stats

    named, *parameters = [value] if isinstance(value, str) else value
    known = [n for n, each in vars(stats).items() if hasattr(each, "ppf")]
    if not isinstance(named, str) or named not in known:
        raise ValueError(
            f"{name} must name a distribution of scipy.stats, got {named!r}"
            f"{_checks.nearest(named, known)}"
        )
    numbers = [_checks.number(f"a parameter of {named}", each) for each in parameters]
    wanted = getattr(stats, named).shapes
    if wanted is not None and len(numbers) < len(wanted.split(",")):
        raise TypeError(
            f"{name} must give the parameters of {named}, {wanted}, as in "
            f"{(named, *(2.0 for _ in wanted.split(',')))!r}, got {value!r}."
        )
    return (named, *numbers) if numbers else named


class inverse_transform(RealInitializer):
    """Draws from any continuous distribution, by its quantile function.

        W = ppf(U),    U ~ U(0, 1)

    Inverse transform sampling. A function of JAX's operations is computed in each draw,
    in float32; the distributions of SciPy, which JAX cannot trace, by a table of 2^14
    values in equal steps of the normal score, read on the host once, to seven digits.

    Args:
      ppf: The quantile function, as SciPy calls it. The name of a distribution of
        `scipy.stats`, "gumbel_r", or one with its shape parameters, ("lognorm", 0.5);
        or a function of an array of probabilities, SciPy's or JAX's, which has no name
        that JSON could hold.

    Raises:
      TypeError: `ppf` is not a function of an array.
      ValueError: `ppf` falls, or is not finite within (0, 1); an unknown name.

    Example:
      >>> import jax, jinit
      >>> init = 0.1 * jinit.distributions.inverse_transform("logistic")
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.3f} {init.law(w.shape).std:.3f}")  # 0.1 · pi / sqrt(3)
      0.181 0.181

    References:
      `scipy.stats.rv_continuous.ppf`; TFP calls it `quantile`.
    """

    ppf: Ppf = option(_check_ppf, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Quantile:
        return Quantile(self.ppf)
