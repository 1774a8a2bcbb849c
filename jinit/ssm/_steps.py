"""Time steps of state spaces: leaves from which a model computes its rates."""

from __future__ import annotations

import numpy as np

from jinit import _checks
from jinit._checks import Number, Shape, log, positive
from jinit._initializer import RealInitializer, option
from jinit._time_laws import Log, SoftplusStep
from jinit.laws import Law, Uniform


class _Range(RealInitializer):
    """A range of positive numbers, of which a leaf is made."""

    low: Number = option(positive, default=1e-3)
    high: Number = option(positive, default=0.1)

    def _check_options(self) -> None:
        _checks.ordered("low", self.low, "high", self.high)


class log_step(_Range):
    """The logarithm of time steps that are log-uniform: S4, S4D and S5.

        w = log Δ,    w ~ U[log low, log high]

    The model computes Δ = exp(w). States then see the past in steps of all sizes, as
    many between 0.001 and 0.01 as between 0.01 and 0.1.

    Args:
      low, high: The least and the greatest time step.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.ssm.log_step()(jax.random.key(0), (100_000,))
      >>> print(f"{jnp.exp(w).min():.4f} {jnp.median(jnp.exp(w)):.3f} {w.max():.2f}")
      0.0010 0.010 -2.30

    References:
      Gu et al. (2022), arXiv:2111.00396; `log_step_initializer` of annotated-s4 and of
      `lindermanlab/S5`. Where the model takes the softplus, use `jinit.ssm.dt_bias`.
    """

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Uniform(log(self.low), log(self.high))


class dt_bias(_Range):
    """The bias of Mamba's time steps, whose softplus is log-uniform.

        b = log(exp(Δ) - 1),    log Δ ~ U[log low, log high]

    The model computes Δ = softplus(b + what the input adds). Of ones it would be 1.31,
    thirteen to thirteen hundred times as long. Drawn in bfloat16, the inverse of the
    softplus of small steps is -inf; here it is computed in float32 and rounded.

    Args:
      low, high: The least and the greatest time step.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> b = jinit.ssm.dt_bias()(jax.random.key(0), (100_000,))
      >>> step = jax.nn.softplus(b)
      >>> print(f"{step.min():.4f} {jnp.median(step):.3f} {step.max():.3f}")
      0.0010 0.010 0.100

    References:
      Gu and Dao (2023), arXiv:2312.00752, section 3.6; `mamba_simple.py` and
      `mamba2.py`, which also raise steps to 1e-4, below the range of their defaults.
    """

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return SoftplusStep(log(self.low), log(self.high))


class a_log(_Range):
    """The logarithm of Mamba-2's decay rates, one for each head.

        w = log A,    A ~ U[low, high]

    The model computes exp(-Δ exp(w)) of its state. Mamba's first version has the
    logarithms of 1 to N for each channel: `jinit.ssm.eigenvalues("real", part="log")`.

    Args:
      low, high: The least and the greatest rate.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> rate = jnp.exp(jinit.ssm.a_log()(jax.random.key(0), (100_000,)))
      >>> print(f"{rate.min():.1f} {rate.mean():.1f} {rate.max():.1f}")
      1.0 8.5 16.0

    References:
      Dao and Gu (2024), arXiv:2405.21060; `mamba2.py`, `A_init_range`.
    """

    low: Number = option(positive, default=1.0)
    high: Number = option(positive, default=16.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Log(self.low, self.high)
