"""Xavier, Kaiming, LeCun, Glorot, He: Var(W) = gain² / fan.

torch's names, xavier and kaiming, draw from the whole normal distribution. JAX's and
Keras's are cases of `variance_scaling`, whose normal is truncated at two standard
deviations and widened to the variance of the formula; with a threefry key they have the
bits of `jax.nn.initializers`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jinit import _bits, _checks
from jinit._checks import Number, Shape, check_range, choice, sqrt
from jinit._fans import MODES, FanInitializer
from jinit._initializer import option
from jinit.gains import _gain
from jinit.gains._gain import Gain, check_gain, resolve_gain
from jinit.laws import Disc, Law, Normal, Truncated, Uniform

DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")

# The deviation of a standard normal variable conditioned on |x| < 2, as that of
# `laws.Truncated` to the last bit but one; and of a complex one on |w| < 2.
_DENSITY_AT_TWO = math.exp(-2) / math.sqrt(2 * math.pi)
_STD_WITHIN_TWO = math.sqrt(1 - 4 * _DENSITY_AT_TWO / math.erf(math.sqrt(2)))
_COMPLEX_STD_WITHIN_TWO = math.sqrt((1 - 5 * math.exp(-4)) / (1 - math.exp(-4)))


class _OfTorch(FanInitializer):
    """A standard deviation, of the uniform law or the whole normal one."""

    distribution: ClassVar[str]

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        std = self._std(shape)
        if self.distribution == "uniform":
            bound = sqrt(3) * std
            return Uniform(-bound, bound, symmetric=True)
        check_range("the deviation of the weights", std, dtype)
        return Normal(0.0, std)

    def _std(self, shape: Shape) -> Any:
        raise NotImplementedError


class _Xavier(_OfTorch):
    gain: Gain = option(check_gain, default=1.0)
    mode: ClassVar[str] = "fan_avg"

    def _std(self, shape: Shape) -> Any:
        return resolve_gain(self.gain) / sqrt(self._fan(shape, self.mode))


class _Kaiming(_OfTorch):
    a: Number = option(_checks.number, default=0.0)
    mode: str = option(partial(choice, choices=MODES), default="fan_in")
    nonlinearity: Gain = option(check_gain, default="leaky_relu")

    def _check_options(self) -> None:
        sloped = _checks.is_traced(self.a) or self.a != 0
        if sloped and self.nonlinearity != "leaky_relu":
            raise ValueError(
                f"a is the negative slope of leaky_relu, and has no meaning with "
                f"nonlinearity={self.nonlinearity!r}, got a={self.a!r}; leave one out."
            )

    def _std(self, shape: Shape) -> Any:
        gain = resolve_gain(self.nonlinearity)
        if self.nonlinearity == "leaky_relu":
            gain = _gain.calculate_gain("leaky_relu", self.a)
        return gain / sqrt(self._fan(shape, self.mode))


class xavier_uniform(_Xavier):
    """Xavier initialization from a uniform distribution: keeps variance both ways.

        W ~ U[±sqrt(3 · Var W)],    Var W = gain² · 2 / (fan_in + fan_out)

    A compromise: 1 / fan_in keeps the activations of a linear layer, 1 / fan_out its
    gradients.

    Args:
      gain: Factor of the standard deviation, or the activation: see `jinit.gain`.
      in_axis, out_axis, ...: The axes, or the fans as numbers: see `jinit.fans`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.xavier_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), sqrt(6 / 400)
      0.071 0.122

    References:
      Glorot and Bengio (2010), "Understanding the difficulty of training deep
      feedforward neural networks", eq. 16. `torch.nn.init.xavier_uniform_` in Flax's
      layout; with gain 1 the distribution of `jax.nn.initializers.glorot_uniform`.
    """

    distribution = "uniform"


class xavier_normal(_Xavier):
    """Xavier initialization from a normal distribution: keeps variance both ways.

        W ~ N(0, std²),    std = gain · sqrt(2 / (fan_in + fan_out))

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.xavier_normal(gain="tanh")(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f}")  # 5/3 · sqrt(2 / 400)
      0.118

    References:
      Glorot and Bengio (2010), eq. 12. `torch.nn.init.xavier_normal_` in Flax's layout;
      `jax.nn.initializers.glorot_normal` is truncated, and this is not.
    """

    distribution = "normal"


class kaiming_uniform(_Kaiming):
    """He initialization from a uniform distribution: keeps the signal through ReLUs.

        W ~ U[±sqrt(3 · Var W)],    Var W = gain² / fan,    gain² = 2 / (1 + a²)

    ReLU halves the second moment of a symmetric input; the gain of sqrt(2) restores it.

    Args:
      a: Negative slope of the leaky ReLU that follows; 0 is ReLU. torch's default for
        `Linear` and `ConvNd` is `a=sqrt(5)`, that is U[±1 / sqrt(fan_in)].
      mode: "fan_in" keeps the activations, "fan_out" the gradients, "fan_avg" and
        "fan_geo_avg" (arithmetic and geometric mean) compromise.
      nonlinearity: The activation or its gain: see `jinit.gain`. "leaky_relu" is one
        of slope `a`; the function and `("leaky_relu", 0.2)` have their own.
      in_axis, out_axis, ...: The axes, or the fans as numbers: see `jinit.fans`.

    Raises:
      ValueError: `a` is given, and `nonlinearity` is not "leaky_relu".

    Example:
      >>> import jax, jinit
      >>> init = jinit.kaiming_uniform(nonlinearity="relu")
      >>> w = init(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), sqrt(6 / 300)
      0.082 0.141

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10 and 14 (ReLU), 15 (leaky ReLU).
      `torch.nn.init.kaiming_uniform_`, which ignores `a` for any other nonlinearity,
      in Flax's layout. With ReLU that of `jax.nn.initializers.he_uniform`.
    """

    distribution = "uniform"


class kaiming_normal(_Kaiming):
    """He initialization from a normal distribution: keeps the signal through ReLUs.

        W ~ N(0, std²),    std = gain / sqrt(fan),    gain² = 2 / (1 + a²)

    Args:
      a, mode, nonlinearity, ...: As in `jinit.kaiming_uniform`, with its errors.

    Example:
      >>> import jax, jinit
      >>> init = jinit.kaiming_normal(nonlinearity="relu", mode="fan_out")
      >>> w = init(jax.random.key(0), (3, 3, 32, 64))
      >>> print(f"{w.std():.3f}")  # sqrt(2 / (9 · 64))
      0.059

    References:
      He et al. (2015). `torch.nn.init.kaiming_normal_` in Flax's layout;
      `jax.nn.initializers.he_normal` is truncated, and this is not.
    """

    distribution = "normal"


class _VarianceScaling(FanInitializer):
    """The formula; `scale`, `mode` and `distribution` are options or constants."""

    gain: Gain = option(check_gain, default=1.0)
    scale: ClassVar[Any] = 1.0
    mode: ClassVar[Any]
    distribution: ClassVar[Any]

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        fan = self._fan(shape, self.mode)
        variance = self.scale * _gain.squared_gain(self.gain) / fan
        check_range("3 · scale · gain² / fan", 3 * variance, dtype)
        # In the dtype of the draw and in JAX's steps, which decide on the last bit.
        real, root = _bits.real_dtype(dtype).type, np.sqrt
        if _checks.is_traced(variance):
            real, root = partial(jnp.asarray, dtype=real), jnp.sqrt
        variance = real(variance)
        std = root(variance)
        complex_ = jnp.issubdtype(dtype, np.complexfloating)
        if self.distribution == "normal":
            return Normal(0.0, std)
        if self.distribution == "uniform":
            bound = root(3 * variance)
            return Disc(std) if complex_ else Uniform(-bound, bound, symmetric=True)
        if complex_:
            return Disc(std / real(_COMPLEX_STD_WITHIN_TWO), 2.0)
        return Truncated(0.0, std / real(_STD_WITHIN_TWO), -2.0, 2.0)


class variance_scaling(_VarianceScaling):
    """Draws weights whose variance is a scale over a fan: the general form.

        Var(W) = scale · gain² / fan

    Args:
      scale: Factor of the variance.
      mode: As in `jinit.kaiming_uniform`.
      distribution: "truncated_normal" at two standard deviations, with the variance of
        the formula; "normal"; or "uniform" on ±sqrt(3 · Var(W)).
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> init = jinit.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
      >>> table = init(jax.random.key(0), (1000, 256))  # Flax's default embedding
      >>> print(f"{table.std():.3f}")  # 1 / sqrt(256)
      0.062

    References:
      `jax.nn.initializers.variance_scaling`, `keras.initializers.VarianceScaling`
      ("untruncated_normal" is "normal" here).
    """

    scale: Number = option(_checks.at_least_zero, kw_only=False)  # pyrefly: ignore[bad-override]
    mode: str = option(partial(choice, choices=MODES), kw_only=False)  # pyrefly: ignore[bad-override]
    distribution: str = option(partial(choice, choices=DISTRIBUTIONS), kw_only=False)  # pyrefly: ignore[bad-override]


class lecun_uniform(_VarianceScaling):
    """LeCun initialization, uniform: keeps the variance of linear activations.

        W ~ U[±sqrt(3 · Var W)],    Var W = gain² / fan_in

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.lecun_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(1 / 300), sqrt(3 / 300)
      0.058 0.100

    References:
      LeCun et al. (1998), "Efficient BackProp", section 4.6. Keras's, and
      `jax.nn.initializers.lecun_uniform`; torch's `kaiming_uniform_` of "linear".
    """

    mode, distribution = "fan_in", "uniform"


class lecun_normal(_VarianceScaling):
    """LeCun initialization, truncated normal: keeps the variance, with SELU too.

        W ~ N(0, s²) given |W| < 2s,    Var W = (0.88 s)² = gain² / fan_in

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.lecun_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(1 / 300), 2 / 0.88 of it
      0.058 0.131

    References:
      LeCun et al. (1998), section 4.6; Klambauer et al. (2017), arXiv:1706.02515.
      `jax.nn.initializers.lecun_normal`, and Keras's; torch's is not truncated.
    """

    mode, distribution = "fan_in", "truncated_normal"


class glorot_uniform(_VarianceScaling):
    """Glorot initialization, uniform: keeps variance both ways.

        W ~ U[±sqrt(3 · Var W)],    Var W = gain² · 2 / (fan_in + fan_out)

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.glorot_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), sqrt(6 / 400)
      0.071 0.122

    References:
      Glorot and Bengio (2010), eq. 16. `jax.nn.initializers.glorot_uniform`, and
      Keras's. `jinit.xavier_uniform` is the same distribution, and says why.
    """

    mode, distribution = "fan_avg", "uniform"


class glorot_normal(_VarianceScaling):
    """Glorot initialization, truncated normal: keeps variance both ways.

        W ~ N(0, s²) given |W| < 2s,  Var W = (0.88 s)² = gain² · 2 / (fan_in + fan_out)

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.xavier_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.glorot_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), 2 / 0.88 of it
      0.071 0.161

    References:
      Glorot and Bengio (2010), eq. 12. `jax.nn.initializers.glorot_normal`, and
      Keras's. `jinit.xavier_normal` is not truncated.
    """

    mode, distribution = "fan_avg", "truncated_normal"


class he_uniform(_VarianceScaling):
    """He initialization, uniform: keeps the signal through ReLUs.

        W ~ U[±sqrt(3 · Var W)],    Var W = gain² / fan_in

    Args:
      gain: That of ReLU by default; a number or an activation: see `jinit.gain`.
      in_axis, out_axis, ...: The axes, or the fans as numbers: see `jinit.fans`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.he_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), sqrt(6 / 300)
      0.082 0.141

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10. `jax.nn.initializers.he_uniform`, and
      Keras's. `jinit.kaiming_uniform` is the same with other slopes and modes.
    """

    gain: Gain = option(check_gain, default="relu")
    mode, distribution = "fan_in", "uniform"


class he_normal(_VarianceScaling):
    """He initialization, truncated normal: keeps the signal through ReLUs.

        W ~ N(0, s²) given |W| < 2s,    Var W = (0.88 s)² = gain² / fan_in

    Args:
      gain, in_axis, out_axis, ...: As in `jinit.he_uniform`.

    Example:
      >>> import jax, jinit
      >>> w = jinit.he_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), 2 / 0.88 of it
      0.082 0.186

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10. `jax.nn.initializers.he_normal`, and
      Keras's. `jinit.kaiming_normal` is not truncated.
    """

    gain: Gain = option(check_gain, default="relu")
    mode, distribution = "fan_in", "truncated_normal"
