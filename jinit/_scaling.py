"""Xavier and Kaiming initialization, as torch has it: a gain over the fans.

All take the axes of the kernel and what the layer makes of them (`in_axis`, `out_axis`,
`batch_axis`, `groups`, `transposed`: see `jinit.fans`), or the fans themselves as
numbers (`fan_in`, `fan_out`), which serves biases and other parameters that have no
such axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import _options, _sample
from jinit._arguments import Shape, check_range
from jinit._fans import MODES, FanInitializer
from jinit._gains import Gain, calculate_gain, check_gain, resolve_gain
from jinit._options import Number, sqrt


@dataclass(frozen=True, kw_only=True, repr=False)
class _Xavier(FanInitializer):
    """What both of Glorot and Bengio's initializers share: the standard deviation."""

    gain: Gain = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(gain=check_gain("gain", self.gain))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._fan(shape, "fan_avg")

    def _std(self, shape: Shape) -> Any:
        return resolve_gain(self.gain) / sqrt(self._fan(shape, "fan_avg"))


@dataclass(frozen=True, kw_only=True, repr=False)
class xavier_uniform(_Xavier):
    """Xavier initialization from a uniform distribution: keeps variance both ways.

        W ~ U[-bound, bound],    bound = gain · sqrt(6 / (fan_in + fan_out))
        Var W = gain² · 2 / (fan_in + fan_out)

    The compromise between a variance of 1 / fan_in, which keeps the activations of a
    linear layer, and of 1 / fan_out, which keeps its gradients.

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
      >>> w = jinit.xavier_uniform()(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 400), sqrt(6 / 400)
      0.071 0.122

    References:
      Glorot and Bengio (2010), "Understanding the difficulty of training deep
      feedforward neural networks", eq. 16. `torch.nn.init.xavier_uniform_` in Flax's
      layout; with gain 1 the distribution of `jax.nn.initializers.glorot_uniform`.
    """

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        bound = sqrt(3) * self._std(shape)
        check_range("the bound of the weights", bound, dtype)
        return _sample.symmetric_uniform(key, shape, dtype, bound)


@dataclass(frozen=True, kw_only=True, repr=False)
class xavier_normal(_Xavier):
    """Xavier initialization from a normal distribution: keeps variance both ways.

        W ~ N(0, std²),    std = gain · sqrt(2 / (fan_in + fan_out))

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
      >>> w = jinit.xavier_normal(gain="tanh")(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f}")  # 5/3 · sqrt(2 / 400)
      0.118

    References:
      Glorot and Bengio (2010), eq. 12. `torch.nn.init.xavier_normal_` in Flax's layout.
      `jax.nn.initializers.glorot_normal` is truncated at two standard deviations; this
      is not.
    """

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        std = self._std(shape)
        check_range("the deviation of the weights", std, dtype)
        return _sample.normal(key, shape, dtype, 0.0, std)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Kaiming(FanInitializer):
    """What both of He et al.'s initializers share: the standard deviation."""

    a: Number = 0.0
    mode: str = "fan_in"
    nonlinearity: Gain = "leaky_relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(a=_options.number("a", self.a))
        self._set(mode=_options.choice("mode", self.mode, MODES))
        self._set(nonlinearity=check_gain("nonlinearity", self.nonlinearity))
        if self.nonlinearity != "leaky_relu" and (
            _options.is_traced(self.a) or self.a != 0
        ):
            raise ValueError(
                f"a is the negative slope of leaky_relu, and has no meaning with "
                f"nonlinearity={self.nonlinearity!r}, got a={self.a!r}; leave one out."
            )

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._fan(shape, self.mode)

    def _std(self, shape: Shape) -> Any:
        if self.nonlinearity == "leaky_relu":
            gain = calculate_gain("leaky_relu", self.a)
        else:
            gain = resolve_gain(self.nonlinearity)
        return gain / sqrt(self._fan(shape, self.mode))


@dataclass(frozen=True, kw_only=True, repr=False)
class kaiming_uniform(_Kaiming):
    """He initialization from a uniform distribution: keeps the signal through ReLUs.

        W ~ U[-bound, bound],    bound = gain · sqrt(3 / fan)
        Var W = gain² / fan,     gain² = 2 / (1 + a²)

    ReLU halves the second moment of a symmetric input; the gain of sqrt(2) restores it.

    Args:
      a: Negative slope of the leaky ReLU that follows; 0 is ReLU. torch's default for
        `Linear` and `ConvNd` is `a=sqrt(5)`, that is U[±1 / sqrt(fan_in)].
      mode: "fan_in" keeps the activations, "fan_out" the gradients, "fan_avg" and
        "fan_geo_avg" (arithmetic and geometric mean) compromise.
      nonlinearity: The activation, as `jinit.gain` takes it, or its gain as a number;
        "tanh", "sigmoid" and "selu" mean torch's numbers, and "leaky_relu" one of
        slope `a`; the function and `("leaky_relu", 0.2)` have their own.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: An unknown mode or name, a slope for another nonlinearity than
        leaky_relu, axes with two roles. At the call: a shape without the axes.

    Example:
      >>> import jax, jinit
      >>> init = jinit.kaiming_uniform(nonlinearity="relu")
      >>> w = init(jax.random.key(0), (300, 100))
      >>> print(f"{w.std():.3f} {abs(w).max():.3f}")  # sqrt(2 / 300), sqrt(6 / 300)
      0.082 0.141

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10 and 14 (ReLU), 15 (leaky ReLU).
      `torch.nn.init.kaiming_uniform_` silently ignores `a` for any other nonlinearity;
      here the layout is Flax's. With ReLU the distribution is that of
      `jax.nn.initializers.he_uniform`.
    """

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        bound = sqrt(3) * self._std(shape)
        check_range("the bound of the weights", bound, dtype)
        return _sample.symmetric_uniform(key, shape, dtype, bound)


@dataclass(frozen=True, kw_only=True, repr=False)
class kaiming_normal(_Kaiming):
    """He initialization from a normal distribution: keeps the signal through ReLUs.

        W ~ N(0, std²),    std = gain / sqrt(fan),    gain² = 2 / (1 + a²)

    ReLU halves the second moment of a symmetric input; the gain of sqrt(2) restores it.

    Args:
      a: Negative slope of the leaky ReLU that follows; 0 is ReLU.
      mode: "fan_in" keeps the activations, "fan_out" the gradients, "fan_avg" and
        "fan_geo_avg" (arithmetic and geometric mean) compromise.
      nonlinearity: The activation, as `jinit.gain` takes it, or its gain as a number;
        "tanh", "sigmoid" and "selu" mean torch's numbers, and "leaky_relu" one of
        slope `a`; the function and `("leaky_relu", 0.2)` have their own.
      in_axis, out_axis, batch_axis, groups, transposed: The roles of the kernel's axes,
        see `jinit.fans`.
      fan_in, fan_out: The fans as numbers, instead of counting them.

    Raises:
      TypeError: An option is not of its type.
      ValueError: An unknown mode or name, a slope for another nonlinearity than
        leaky_relu, axes with two roles. At the call: a shape without the axes.

    Example:
      >>> import jax, jinit
      >>> init = jinit.kaiming_normal(nonlinearity="relu", mode="fan_out")
      >>> w = init(jax.random.key(0), (3, 3, 32, 64))
      >>> print(f"{w.std():.3f}")  # sqrt(2 / (9 · 64))
      0.059

    References:
      He et al. (2015), arXiv:1502.01852, eq. 10 and 14 (ReLU), 15 (leaky ReLU).
      `torch.nn.init.kaiming_normal_` in Flax's layout. `jax.nn.initializers.he_normal`
      is truncated at two standard deviations; this is not.
    """

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        std = self._std(shape)
        check_range("the deviation of the weights", std, dtype)
        return _sample.normal(key, shape, dtype, 0.0, std)
