"""What an activation does to a signal in depth, in the limit of wide layers.

    q ← gain² · E f(sqrt(q) z)² + bias_var,    z ~ N(0, 1)

is the variance of the pre-activations of a layer, given that of the layer before, for
weights of variance gain² / fan_in and biases of variance bias_var.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, cast

from jinit import _moments, _options
from jinit._activations import Activation, check_activation
from jinit._gains import Gain, check_gain, gain, squared_gain

_EQUAL = 1e-9  # of two variances, relative to them; each is known to 1e-12


@dataclass(frozen=True)
class variance_map:
    """The variance of a layer's pre-activations, given that of the layer before.

        q -> gain² · E f(sqrt(q) z)² + bias_var,    z ~ N(0, 1)

    It is exact for wide layers with independent weights; in one layer of n units the
    variance strays from it by a share of about sqrt(2 / n). What becomes of that in
    depth, the slope at the fixed point says: below 1 it fades, above 1 it grows, as it
    does with GELU and SiLU, which need a normalization or `jinit.critical_point`.

    Args:
      activation: f, as `jinit.gain` takes it.
      gain: Factor of the standard deviation of the weights; by default
        `jinit.gain(activation)`, which keeps a variance of 1. An activation stands for
        its gain, as in an initializer.
      bias_var: The variance of the biases.

    Attributes:
      fixed_point: The variance that the map leads to from 1; 0 and infinity count.

    Raises:
      TypeError: An option is not of its type, or is traced.
      ValueError: An activation that `jinit.gain` refuses, a negative gain or variance.
        At the call: a negative variance, or one that makes the result infinite.

    Example:
      >>> import jinit
      >>> step = jinit.variance_map("tanh", gain=5 / 3)  # torch's gain
      >>> print(f"{step(1.0):.3f} {step(step(1.0)):.3f} ... {step.fixed_point:.3f}")
      1.095 1.141 ... 1.178
      >>> print(f"{step.slope():.2f} {jinit.variance_map('silu').slope():.2f}")
      0.43 1.17

    References:
      Poole et al. (2016), arXiv:1606.05340, eq. 3, for the map; Schoenholz et al.
      (2017), arXiv:1611.01232, for chi_1; Roberts, Yaida and Hanin (2022),
      arXiv:2106.10165, chapter 5, where the slope is the parallel susceptibility.
    """

    activation: Activation
    gain: Gain | None = field(default=None, kw_only=True)
    bias_var: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        own = gain(self.activation)  # refuses what has none
        given = own if self.gain is None else _known("gain", self.gain)
        options = {
            "activation": check_activation("activation", self.activation),
            "gain": check_gain("gain", given),
            "bias_var": _variance("bias_var", self.bias_var),
        }
        for name, value in options.items():
            object.__setattr__(self, name, value)

    def __call__(self, q: float) -> float:
        """Returns the variance of the next layer's pre-activations."""
        square = _moments.square(self.activation, _variance("q", q))
        return self._weight_var * square + self.bias_var

    @cached_property
    def fixed_point(self) -> float:
        away = self._excess(1.0)
        if abs(away) < _EQUAL:
            return 1.0
        for near, far in pairwise(2.0 ** math.copysign(k, away) for k in range(41)):
            try:
                excess, turns = self._excess(far), self._turn(near) * self._turn(far)
            except ValueError:  # infinite
                break
            if turns < 0:  # it may touch the diagonal, and turn back
                closest = _root(self._turn, near, far)
                if abs(self._excess(closest)) < _EQUAL:
                    return closest
                if self._excess(closest) * away < 0:
                    return _root(self._excess, near, closest)
            if excess * away <= 0:
                return _root(self._excess, near, far)
        return math.inf if away > 0 else 0.0

    def slope(self, q: float | None = None) -> float:
        """The derivative of the map, at the fixed point or another variance."""
        return self._weight_var * _moments.growth(self.activation, self._at(q))

    def chi_1(self, q: float | None = None) -> float:
        """gain² · E f'(sqrt(q) z)², at the fixed point or another variance.

        By this factor the second moment of the gradients changes from layer to layer,
        and so does the squared distance of two inputs that are close.
        """
        return self._weight_var * _moments.gradient(self.activation, self._at(q))

    @property
    def _weight_var(self) -> float:
        return squared_gain(cast(Gain, self.gain))  # given or not, it is there by now

    def _at(self, q: float | None) -> float:
        if q is None and self.fixed_point == math.inf:
            raise ValueError(
                f"q must be given where the variance grows without bound, as under "
                f"{self!r}, got None."
            )
        return _variance("q", self.fixed_point if q is None else q)

    def _excess(self, q: float) -> float:
        """By how much the next variance is greater, as a share."""
        return self(q) / q - 1

    def _turn(self, q: float) -> float:
        """Of the sign of the derivative of the excess."""
        return q * self.slope(q) - self(q)


class CriticalPoint(NamedTuple):
    """The variance of the weights times fan_in, and that of the biases."""

    weight_var: float
    bias_var: float


def critical_point(
    activation: Activation, bias_var: float | None = None
) -> CriticalPoint:
    """The variances at which depth neither shrinks nor blows up signal and gradients.

        chi_1 = weight_var · E f'(sqrt(q) z)² = 1
        q     = weight_var · E f(sqrt(q) z)² + bias_var

    With the variance of the biases given, this is the point of the line between order,
    where inputs become alike, and chaos. Without, it is the point of that line where
    deviations of the variance neither fade nor grow exponentially either: at q = 0 for
    activations such as tanh and ReLU; for GELU and SiLU at a q greater than 0, half
    stable, and with biases.

    Args:
      activation: f, as `jinit.gain` takes it.
      bias_var: The variance of the biases, if it is to be this one.

    Returns:
      `CriticalPoint(weight_var, bias_var)`: for kernels
      `jinit.variance_scaling(weight_var, "fan_in", "normal")`, for biases
      `jinit.normal(std=bias_var**0.5)`.

    Raises:
      TypeError: An option is not of its type, or is traced.
      ValueError: There is no such point: none at all for sigmoid and softplus, whose
        mean is not zero at 0, and for ReLU none with biases; an activation that
        `jinit.gain` refuses; a negative variance.

    Example:
      >>> import jinit
      >>> weight_var, bias_var = jinit.critical_point("gelu")
      >>> print(f"{weight_var:.8f} {bias_var:.8f}")
      1.98305826 0.17292239
      >>> print(f"{jinit.critical_point('tanh', bias_var=0.05).weight_var:.2f}")
      1.76

    References:
      Schoenholz et al. (2017), arXiv:1611.01232, section 3, for the line; Roberts,
      Yaida and Hanin (2022), arXiv:2106.10165, section 5.3, for the points on it.
    """
    gain(activation)  # refuses what has none
    activation = check_activation("activation", activation)
    if bias_var is not None:
        bias_var = _variance("bias_var", bias_var)
    square, gradient = (
        f(activation, 0.0) for f in (_moments.square, _moments.gradient)
    )
    if square == 0 < gradient and (
        bias_var == 0 or (bias_var is None and _fades(activation))
    ):
        return CriticalPoint(1 / gradient, 0.0)

    def mismatch(q: float) -> float:
        if bias_var is None:
            return _moments.growth(activation, q) - _moments.gradient(activation, q)
        return _line(activation, q).bias_var - bias_var

    for near, far in pairwise(_sweep(activation)):
        if mismatch(near) * mismatch(far) < 0:
            point = _line(activation, _root(mismatch, near, far))
            if point.bias_var >= 0:
                return point
    wanted = "" if bias_var is None else f" with bias_var={bias_var!r}"
    raise ValueError(
        f"activation {activation!r} has no critical point{wanted}: no variances of "
        "weights and biases keep both the signal and the gradients in depth; use a "
        "normalization, or another activation."
    )


def _fades(activation: Activation) -> bool:
    """Whether a small variance does not grow where that of the gradients is kept."""
    q = 1e-4
    most = q * _moments.gradient(activation, 0.0)
    return _moments.square(activation, q) <= most * (1 + _EQUAL)


def _line(activation: Activation, q: float) -> CriticalPoint:
    """The variances for which q is a fixed point and chi_1 is 1."""
    weight_var = 1 / _moments.gradient(activation, q)
    return CriticalPoint(weight_var, q - weight_var * _moments.square(activation, q))


def _sweep(activation: Activation) -> Iterator[float]:
    """Variances at which the moments are neither zero nor infinite."""
    for q in (2.0**k for k in range(-13, 21)):
        try:
            if (
                _moments.gradient(activation, q) > 1e-20
                and _moments.square(activation, q) > 0
            ):
                yield q
        except ValueError:
            return


def _root(function: Callable[[float], float], a: float, b: float) -> float:
    """Where a function of opposite signs at the ends is zero."""
    from scipy.optimize import root_scalar  # JAX needs SciPy; its import is slow

    return root_scalar(function, bracket=(a, b), xtol=1e-15 * min(a, b)).root


def _variance(name: str, value: Any) -> float:
    return _options.number(name, _known(name, value), at_least=0)


def _known(name: str, value: Any) -> Any:
    """Refuses an option that is traced: the search for a root is not."""
    if _options.is_traced(value):
        raise TypeError(
            f"{name} must be known, got the traced {value!r}; call this outside of jit."
        )
    return value
