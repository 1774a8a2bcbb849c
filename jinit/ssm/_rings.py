"""Linear recurrent units: states that decay and turn, spread over a ring.

    λ = exp(-exp(nu) + i exp(theta)),    |λ|² ~ U[r_min², r_max²]

Points are then uniform on the part of the ring that the phases cover.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._bits import real_dtype
from jinit._checks import Number, Shape, at_least_zero, positive
from jinit._initializer import RealInitializer, option
from jinit._time_laws import Log, LogDecay, SoftplusDecay
from jinit._types import Array
from jinit.laws import Law

_LEAST = 0.05  # of the greatest radius


class _Ring(RealInitializer):
    """Radii whose squares are uniform."""

    r_min: Number = option(at_least_zero, default=0.0)
    r_max: Number = option(at_least_zero, default=1.0)

    def _check_options(self) -> None:
        _checks.ordered("r_min", self.r_min, "r_max", self.r_max)
        if _checks.is_traced(self.r_min) or _checks.is_traced(self.r_max):
            return
        if self.r_max > 1 or self.r_min == 1 or self.r_max == 0:
            raise ValueError(
                "r_min and r_max must leave radii between 0 and 1, where a state lasts "
                f"and decays, got r_min={self.r_min!r} and r_max={self.r_max!r}; for "
                "the slowest states try r_max=0.999."
            )
        if self.r_max < _LEAST:
            raise ValueError(
                f"r_max must be at least {_LEAST}, got {self.r_max!r}: a smaller state "
                "is forgotten in a step, and 1 - r², which is drawn, does not tell it "
                f"from 0; give r_max={_LEAST}."
            )

    def _ends(self) -> tuple[Number, Number]:
        """The least and the greatest 1 - r²."""
        return 1 - self.r_max**2, 1 - self.r_min**2


class lru_nu(_Ring):
    """The decay of a linear recurrent unit: its eigenvalues lie on a ring.

        nu = log(-log r),    r² ~ U[r_min², r_max²]

    The model computes r = exp(-exp(nu)), which is below 1 whatever nu becomes.

    Args:
      r_min, r_max: The radii of the ring, 0 <= r_min <= r_max <= 1. States of radius r
        last for 1 / (1 - r) steps. The default, a whole disk, is poor for long tasks:
        for dependencies of T steps take an `r_min` of about 1 - 2 / T. Of symbols from
        200 steps before, 0.99 and 0.9999 learnt 84 % in the notebook of the catalogue,
        the disk 30 %.

    Raises:
      ValueError: `r_min` is greater than `r_max`, `r_max` than 1 or less than 0.05, or
        all radii are 1.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> nu = jinit.ssm.lru_nu(r_min=0.9, r_max=0.99)(jax.random.key(0), (100_000,))
      >>> r = jnp.exp(-jnp.exp(nu))
      >>> print(f"{r.min():.2f} {r.max():.2f} {(r**2).mean():.3f}")  # (0.81 + 0.98) / 2
      0.90 0.99 0.895

    References:
      Orvieto et al. (2023), arXiv:2303.06349, lemma 3.2; `NicolasZucchet/minimal-LRU`.
      As 1 - r² is drawn here, radii near 1 keep their precision.
    """

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return LogDecay(*self._ends())


class lru_theta(RealInitializer):
    """The phase of a linear recurrent unit, by its logarithm.

        theta = log(phase),    phase ~ U[0, max_phase]

    The model computes the phase exp(theta). Small phases are slow oscillations; for
    long dependencies the paper takes π / 10 or less.

    Args:
      max_phase: The greatest phase.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> theta = jinit.ssm.lru_theta(max_phase=1.0)(jax.random.key(0), (100_000,))
      >>> print(f"{jnp.exp(theta).mean():.2f} {jnp.exp(theta).max():.2f}")
      0.50 1.00

    References:
      Orvieto et al. (2023), arXiv:2303.06349, section 3.3. `minimal-LRU` draws a phase
      of zero, and so a logarithm of -inf, once in 2^23; here the least is 2^-24 of the
      greatest.
    """

    max_phase: Number = option(positive, default=2 * math.pi)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Log(0.0, self.max_phase)


def lru_gamma(nu_log: Array) -> jax.Array:
    """The logarithm of the factor that keeps the states of a unit at variance one.

        gamma = log sqrt(1 - |λ|²),    |λ| = exp(-exp(nu_log))

    Of white noise a state λ h + B u has the variance of B u over 1 - |λ|². The leaf
    follows from another: `self.param("gamma_log", lambda _: lru_gamma(nu_log))`.

    Args:
      nu_log: What `jinit.ssm.lru_nu` drew, of any shape and floating-point dtype.

    Returns:
      An array of the same shape and dtype, for a leaf of which the model takes exp.

    Raises:
      TypeError: `nu_log` is not an array of a real floating-point dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> nu = jinit.ssm.lru_nu(r_min=0.9, r_max=0.999)(jax.random.key(0), (3,))
      >>> gamma, r = jnp.exp(jinit.ssm.lru_gamma(nu)), jnp.exp(-jnp.exp(nu))
      >>> bool(abs(gamma**2 + r**2 - 1).max() < 1e-6)
      True

    References:
      Orvieto et al. (2023), arXiv:2303.06349, section 3.4. As written it is off by
      4e-4 in float32 for |λ| = 0.99999; by expm1, as here, by 5e-7.
    """
    dtype = np.dtype(getattr(nu_log, "dtype", object))
    if not jnp.issubdtype(dtype, np.floating):
        raise TypeError(
            f"nu_log must be an array of a floating-point dtype, got {nu_log!r}; give "
            "what jinit.ssm.lru_nu drew."
        )
    rate = jnp.exp(jnp.asarray(nu_log).astype(real_dtype(dtype)))
    return _draws.round_to(jnp.log(-jnp.expm1(-2 * rate)) / 2, dtype)


class rg_lru(_Ring):
    """The decay of a real-gated linear recurrent unit: Griffin, RecurrentGemma.

        w = log(1 / r - 1),    r² ~ U[r_min², r_max²]

    The model computes r = exp(-softplus(w)) = σ(-w), and keeps r ** (8 · gate) of the
    state.

    Args:
      r_min, r_max: The radii of the ring, 0 <= r_min <= r_max <= 1.

    Raises:
      ValueError: As in `jinit.ssm.lru_nu`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.ssm.rg_lru()(jax.random.key(0), (100_000,))
      >>> r = jnp.exp(-jax.nn.softplus(w))
      >>> print(f"{r.min():.3f} {r.max():.3f} {(r**2).mean():.3f}")
      0.900 0.999 0.904

    References:
      De et al. (2024), arXiv:2402.19427, section 2.4; `rnn_param_init` of
      `recurrentgemma/jax/layers.py`, whose r lies in the ring before it is raised to
      the power 8.
    """

    r_min: Number = option(at_least_zero, default=0.9)
    r_max: Number = option(at_least_zero, default=0.999)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return SoftplusDecay(*self._ends())
