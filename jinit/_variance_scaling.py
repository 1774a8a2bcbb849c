"""Variance scaling, as JAX, Keras and TensorFlow have it: a scale over the fans.

    Var(W) = scale · gain² / fan

`variance_scaling` is the general form, and the others are cases of it. Their normal
distribution is truncated at two standard deviations, and widened so that the variance
is that of the formula; torch's xavier and kaiming are not truncated.

With a threefry key the draws have the bits of `jax.nn.initializers`, in float32,
float64 and, but for the truncated normal, in complex dtypes. In a complex dtype
`E|W|²` is the variance: the uniform distribution is that on a disc, and the truncated
normal is conditioned on a disc of two standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _options, _sample
from jinit._arguments import Shape, check_range
from jinit._fans import MODES, FanInitializer
from jinit._gains import Gain, check_gain, squared_gain
from jinit._options import Number

DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")

# The standard deviation of a standard normal variable conditioned on |x| < 2 (as
# `jinit.truncated_normal` computes it for any bounds), and of a complex one on |w| < 2.
_DENSITY_AT_TWO = math.exp(-2) / math.sqrt(2 * math.pi)
_STD_WITHIN_TWO = math.sqrt(1 - 4 * _DENSITY_AT_TWO / math.erf(math.sqrt(2)))
_COMPLEX_STD_WITHIN_TWO = math.sqrt((1 - 5 * math.exp(-4)) / (1 - math.exp(-4)))


@dataclass(frozen=True, kw_only=True, repr=False)
class _VarianceScaling(FanInitializer):
    """The formula; `scale`, `mode` and `distribution` are options or constants."""

    gain: Gain = 1.0

    scale: ClassVar[Number] = 1.0
    mode: ClassVar[str]
    distribution: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(gain=check_gain("gain", self.gain))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._fan(shape, self.mode)

    def _variance(self, shape: Shape) -> Any:
        return self.scale * squared_gain(self.gain) / self._fan(shape, self.mode)

    def _std(self, shape: Shape) -> Any:
        return math.sqrt(self._variance(shape))

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        variance = self._variance(shape)
        check_range("3 · scale · gain² / fan", 3 * variance, dtype)
        # In the dtype of the draw and in JAX's steps, which decide on the last bit.
        real = _sample.real_dtype(dtype)
        if _options.is_traced(variance):
            variance, sqrt = jnp.asarray(variance, real), jnp.sqrt
        else:
            variance, sqrt = real.type(variance), np.sqrt
        in_plane = jnp.issubdtype(dtype, np.complexfloating)
        if self.distribution == "normal":
            return _sample.normal(key, shape, dtype, 0.0, sqrt(variance))
        if self.distribution == "uniform" and in_plane:
            return _sample.disc_uniform(key, shape, dtype, sqrt(variance))
        if self.distribution == "uniform":
            bound = sqrt(3 * variance)
            return _sample.symmetric_uniform(key, shape, dtype, bound)
        if in_plane:
            std = sqrt(variance) / real.type(_COMPLEX_STD_WITHIN_TWO)
            return _sample.disc_normal(key, shape, dtype, std, 2.0)
        std = sqrt(variance) / real.type(_STD_WITHIN_TWO)
        return _sample.truncated_normal(key, shape, dtype, 0.0, std, -2.0, 2.0)


@dataclass(frozen=True, kw_only=True, repr=False)
class variance_scaling(_VarianceScaling):
    """Draws weights whose variance is a scale over a fan: the general form.

        Var(W) = scale · gain² / fan

    Args:
      scale: Factor of the variance.
      mode: The fan: "fan_in" keeps the activations, "fan_out" the gradients, "fan_avg"
        and "fan_geo_avg" (arithmetic and geometric mean) compromise.
      distribution: "truncated_normal" at two standard deviations, with the variance of
        the formula; "normal"; or "uniform" on ±sqrt(3 · Var(W)).
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative scale or gain, an unknown name, mode or distribution, axes
        with two roles. At the call: a shape without the axes.

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

    # Frozen here, plain class attributes in the cases below.
    scale: Number = field(kw_only=False)  # pyrefly: ignore[bad-override]
    mode: str = field(kw_only=False)  # pyrefly: ignore[bad-override]
    distribution: str = field(kw_only=False)  # pyrefly: ignore[bad-override]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(scale=_options.number("scale", self.scale, at_least=0))
        self._set(mode=_options.choice("mode", self.mode, MODES))
        distribution = _options.choice("distribution", self.distribution, DISTRIBUTIONS)
        self._set(distribution=distribution)


@dataclass(frozen=True, kw_only=True, repr=False)
class lecun_uniform(_VarianceScaling):
    """LeCun initialization, uniform: keeps the variance of the activations.

        W ~ U[-bound, bound],    bound = gain · sqrt(3 / fan_in), Var W = gain² / fan_in

    The activations of a layer without nonlinearity, that is; `gain` is for others.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.lecun_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(1 / 300), sqrt(3 / 300)
      0.058 0.100

    References:
      LeCun, Bottou, Orr and Müller (1998), "Efficient BackProp", section 4.6.
      `jax.nn.initializers.lecun_uniform`, and Keras's. torch's nearest,
      `kaiming_uniform` with nonlinearity="linear", is the same distribution.
    """

    mode, distribution = "fan_in", "uniform"


@dataclass(frozen=True, kw_only=True, repr=False)
class lecun_normal(_VarianceScaling):
    """LeCun initialization, truncated normal: keeps the variance of the activations.

        W ~ N(0, s²) given |W| < 2s,    Var W = (0.88 s)² = gain² / fan_in

    The activations of a layer without nonlinearity, that is, or of one with SELU;
    `gain` is for others.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.lecun_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(1 / 300), 2 / 0.88 of it
      0.058 0.131

    References:
      LeCun, Bottou, Orr and Müller (1998), "Efficient BackProp", section 4.6.
      Klambauer et al. (2017), arXiv:1706.02515.
      `jax.nn.initializers.lecun_normal`, and Keras's. torch's nearest,
      `kaiming_normal` with nonlinearity="linear", is not truncated.
    """

    mode, distribution = "fan_in", "truncated_normal"


@dataclass(frozen=True, kw_only=True, repr=False)
class glorot_uniform(_VarianceScaling):
    """Glorot initialization, uniform: keeps variance both ways.

        W ~ U[-bound, bound],    bound = gain · sqrt(6 / (fan_in + fan_out))
        Var W = gain² · 2 / (fan_in + fan_out)

    The compromise between 1 / fan_in, which keeps the activations of a linear layer,
    and 1 / fan_out, which keeps its gradients.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.glorot_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), sqrt(6 / 400)
      0.071 0.122

    References:
      Glorot and Bengio (2010), "Understanding the difficulty of training deep
      feedforward neural networks", eq. 16.
      `jax.nn.initializers.glorot_uniform`, and Keras's. `jinit.xavier_uniform` is
      the same distribution.
    """

    mode, distribution = "fan_avg", "uniform"


@dataclass(frozen=True, kw_only=True, repr=False)
class glorot_normal(_VarianceScaling):
    """Glorot initialization, truncated normal: keeps variance both ways.

        W ~ N(0, s²) given |W| < 2s,  Var W = (0.88 s)² = gain² · 2 / (fan_in + fan_out)

    The compromise between 1 / fan_in, which keeps the activations of a linear layer,
    and 1 / fan_out, which keeps its gradients.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.glorot_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), 2 / 0.88 of it
      0.071 0.161

    References:
      Glorot and Bengio (2010), "Understanding the difficulty of training deep
      feedforward neural networks", eq. 12.
      `jax.nn.initializers.glorot_normal`, and Keras's. `jinit.xavier_normal` is
      not truncated.
    """

    mode, distribution = "fan_avg", "truncated_normal"


@dataclass(frozen=True, kw_only=True, repr=False)
class he_uniform(_VarianceScaling):
    """He initialization, uniform: keeps the signal through ReLUs.

        W ~ U[-bound, bound],    bound = gain · sqrt(3 / fan_in), Var W = gain² / fan_in

    ReLU halves the second moment of a symmetric input; its gain, sqrt(2), restores it.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it, ReLU by default; "tanh", "sigmoid" and "selu" mean
        torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.he_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), sqrt(6 / 300)
      0.082 0.141

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10.
      `jax.nn.initializers.he_uniform`, and Keras's. `jinit.kaiming_uniform` is
      the same with other slopes and modes.
    """

    gain: Gain = "relu"

    mode, distribution = "fan_in", "uniform"


@dataclass(frozen=True, kw_only=True, repr=False)
class he_normal(_VarianceScaling):
    """He initialization, truncated normal: keeps the signal through ReLUs.

        W ~ N(0, s²) given |W| < 2s,    Var W = (0.88 s)² = gain² / fan_in

    ReLU halves the second moment of a symmetric input; its gain, sqrt(2), restores it.

    Args:
      gain: Factor of the standard deviation: a number, or the activation, as
        `jinit.gain` takes it, ReLU by default; "tanh", "sigmoid" and "selu" mean
        torch's numbers.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name, axes with two roles. At the call: a
        shape without the axes.

    Example:
      >>> import jax, jinit
      >>> w = jinit.he_normal()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), 2 / 0.88 of it
      0.082 0.186

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10.
      `jax.nn.initializers.he_normal`, and Keras's. `jinit.kaiming_normal` is
      not truncated, and has other slopes and modes.
    """

    gain: Gain = "relu"

    mode, distribution = "fan_in", "truncated_normal"
