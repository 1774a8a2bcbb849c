"""Families of distributions: on the positive numbers, on (0, 1), with heavy tails."""

from __future__ import annotations

from functools import partial

import numpy as np

from jinit import _checks
from jinit._checks import Number, Shape, number
from jinit._initializer import RealInitializer, option
from jinit.laws import Family, Law, Normal, Point, Transformed, Uniform

positive = _checks.positive


class log_uniform(RealInitializer):
    """Draws numbers whose logarithm is uniform: every order of magnitude is as likely.

        W = exp(U),    U ~ U[log a, log b],    E W = (b - a) / log(b / a)

    For time scales and step sizes, of which nothing is known but the range.

    Args:
      a, b: Lower and upper bound, 0 < a <= b; both belong to the interval.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.log_uniform(0.001, 0.1)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.mean():.4f} {jax.numpy.median(w):.3f}")  # 0.099 / log(100)
      0.0215 0.010

    References:
      `scipy.stats.loguniform`. jinit's Mamba and S4 step sizes are made of it.
    """

    a: Number = option(positive, kw_only=False)
    b: Number = option(positive, kw_only=False)

    def _check_options(self) -> None:
        _checks.ordered("a", self.a, "b", self.b)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        traced = _checks.is_traced(self.a) or _checks.is_traced(self.b)
        if not traced and self.a == self.b:
            return Point(self.a)
        return Transformed(Uniform(_checks.log(self.a), _checks.log(self.b)), "log")


class log_normal(RealInitializer):
    """Draws positive numbers whose logarithm is normal.

        W = exp(N(mean, std²)),    E W = exp(mean + std² / 2)

    Args:
      mean, std: Mean and standard deviation of log W, not of W.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.log_normal(std=0.5)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.mean():.3f}")  # exp(1/8)
      1.133

    References:
      `torch.Tensor.log_normal_` with the same names. `jax.random.lognormal` has mean 0;
      its sigma is `std`.
    """

    mean: Number = option(number, default=0.0)
    std: Number = option(
        partial(positive, remedy=" For a constant, use jinit.constant(exp(mean))."),
        default=1.0,
    )

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Transformed(Normal(self.mean, self.std), "log")


class gamma(RealInitializer):
    """Draws from the gamma distribution.

        p(w) ∝ w^(k - 1) exp(-w / scale),    k = concentration
        E W = k · scale,    Var W = k · scale²

    Small concentrations crowd at zero over many orders of magnitude; they are drawn as
    logarithms, and the least weight is the least normal float.

    Args:
      concentration: The exponent k, which SciPy calls the shape and NumPy too.
      scale: A factor of the weights; the inverse of torch's and TFP's rate.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.gamma(4.0, scale=0.5)
      >>> w = init(jax.random.key(0), (300, 300))
      >>> print(f"{w.mean():.1f} {w.std():.1f}")
      2.0 1.0

    References:
      Marsaglia and Tsang (2000). `jax.random.gamma` has no scale; on a CPU it draws one
      weight after the other, which takes ten times as long.
    """

    concentration: Number = option(positive, kw_only=False)
    scale: Number = option(positive, default=1.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Family:
        return Family("gamma", (self.concentration,), self.scale)


class beta(RealInitializer):
    """Draws from the beta distribution on (0, 1): probabilities, gates, mixing rates.

        p(w) ∝ w^(a - 1) (1 - w)^(b - 1),    E W = a / (a + b)

    Neither 0 nor 1 is drawn in float32: `through(beta(a, b), "sigmoid")` is finite.

    Args:
      a, b: The exponents; both 1 is the uniform distribution.

    Example:
      >>> import jax, jinit
      >>> w = jinit.distributions.beta(2.0, 6.0)(jax.random.key(0), (300, 300))
      >>> print(f"{w.mean():.2f} {w.std():.3f}")  # 1/4, sqrt(1/48)
      0.25 0.144

    References:
      `jax.random.beta` with the same names.
    """

    a: Number = option(positive, kw_only=False)
    b: Number = option(positive, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Family:
        return Family("beta", (self.a, self.b))


class weibull(RealInitializer):
    """Draws from the Weibull distribution.

        P(W > w) = exp(-(w / scale)^concentration)

    Concentrations below 1 have heavy tails, above 1 light ones; 1 is the exponential
    distribution, 2 Rayleigh's, that of the modulus of complex normal numbers. Both
    tails are drawn down to probabilities of 2^-33.

    Args:
      concentration: The exponent, which SciPy calls c.
      scale: A factor of the weights.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.weibull(2.0, scale=0.5)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.mean():.3f}")  # sqrt(pi) / 4
      0.443

    References:
      `jax.random.weibull_min(scale, concentration)`, whose upper tail ends at 2^-24.
    """

    concentration: Number = option(positive, kw_only=False)
    scale: Number = option(positive, default=1.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Family:
        return Family("weibull_min", (self.concentration,), self.scale)


class exponential(RealInitializer):
    """Draws from the exponential distribution.

        P(W > w) = exp(-w / scale),    E W = scale,    Var W = scale²

    Args:
      scale: The mean; the inverse of torch's and TFP's rate.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.exponential(scale=2.0)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.mean():.2f} {w.std():.1f}")
      2.00 2.0

    References:
      `numpy.random.Generator.exponential`. `jax.random.exponential` ends at 15.9 means,
      which a draw here passes in one weight of 10^7.
    """

    scale: Number = option(positive, default=1.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Family:
        return Family("weibull_min", (1.0,), self.scale)


class student_t(RealInitializer):
    """Draws from Student's t distribution: heavy tails on both sides.

        p(w) ∝ (1 + (w / scale)² / df)^(-(df + 1) / 2)
        Var W = scale² · df / (df - 2)   if df > 2, else infinite

    Trained weights have such tails; with few degrees of freedom single weights are
    large. The kurtosis is infinite up to df = 4, and 1 is Cauchy's distribution.

    Args:
      df: The degrees of freedom, any positive number.
      scale: A factor of the weights; not their standard deviation.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.student_t(10.0, scale=0.02)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.4f} {init.law(w.shape).std:.4f}")  # 0.02 · sqrt(10 / 8)
      0.0224 0.0224

    References:
      `jax.random.t` and `torch.distributions.StudentT`, with the same names.
    """

    df: Number = option(positive, kw_only=False)
    scale: Number = option(positive, default=1.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Family:
        return Family("t", (self.df,), self.scale)
