"""What an activation does to a signal in depth, in the limit of wide layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate, repeat
from typing import Any, NamedTuple, cast

from jinit import _checks
from jinit.gains import _moments
from jinit.gains._curve import Activation, Refused
from jinit.gains._gain import Gain, check_gain, gain, squared_gain
from jinit.gains._moments import Infinite
from jinit.gains._names import check_activation, refusing

Share = Callable[[float], float]
_NOISE = 1e-11  # in a comparison of two moments; each is known to 1e-13, or better
# Powers of two at which a root is looked for, denser where it is likely.
_STEPS = (*range(1, 17), *(16 * 1.25**k for k in range(1, 11)))


@dataclass(frozen=True)
class variance_map:
    """The variance of a layer's pre-activations, given that of the layer before.

        q -> gain² · E f(sqrt(q) z)² + bias_var,    z ~ N(0, 1)

    Weights have variance gain² / fan_in. It is exact for wide layers of independent
    weights; in one of n units the variance strays by a share of about sqrt(2 / n). What
    becomes of that in depth, the slope at the fixed point says: below 1 it fades, above
    1 it grows, as with GELU and SiLU, which need a normalization or
    `jinit.critical_point`.

    Args:
      activation: f, as `jinit.gain` takes it.
      gain: As initializers take it; by default `jinit.gain(activation)`, which keeps a
        variance of 1.
      bias_var: The variance of the biases.

    Attributes:
      fixed_point: The variance that the map leads to from 1; 0 and infinity count.

    Raises:
      TypeError: An option is traced.
      ValueError: At the call: a variance is negative, or makes the result infinite.

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
        given = own if self.gain is None else _checks.known("gain", self.gain)
        vars(self).update(
            activation=check_activation("activation", self.activation),
            gain=check_gain("gain", given),
            bias_var=_variance("bias_var", self.bias_var),
        )

    def __call__(self, q: float) -> float:
        """Returns the variance of the next layer's pre-activations."""
        return self._finite(_moments.square, _variance("q", q)) + self.bias_var

    def trajectory(self, depth: int, q: float = 1.0) -> list[float]:
        """The variance at `depth` layers, the first of which has q."""
        first, depth = _variance("q", q), _checks.count("depth", depth)
        return [*accumulate(repeat(first, depth), lambda q, _: self(q))]

    @cached_property
    def fixed_point(self) -> float:
        away = _sign(self._excess(1.0))
        if away == 0:
            return 1.0
        last = near = 1.0  # the last at which the excess is more than rounding
        for far in (2.0 ** (away * step) for step in _STEPS):
            try:
                excess, turns = self._excess(far), self._turn(near) * self._turn(far)
            except Infinite:
                break
            if turns < 0:  # it may touch the diagonal, and turn back
                closest = _root(self._turn, near, far)
                if _sign(self._excess(closest)) == 0:
                    return closest
                if _sign(self._excess(closest)) == -away:
                    return _root(self._excess, last, closest)
            if _sign(excess) == -away:
                return _root(self._excess, last, far)
            near, last = far, far if _sign(excess) == away else last
        return math.inf if away > 0 else 0.0

    def slope(self, q: float | None = None) -> float:
        """The derivative of the map, at the fixed point or another variance."""
        q = self._at(q)
        if q == 0 and _moments.square(self.activation, 0.0) > 0:
            raise ValueError(
                "q must be greater than 0 for an activation that is not 0 at 0, got "
                f"{q!r} for {self.activation!r}."
            )
        return self._finite(_moments.growth, q)

    def chi_1(self, q: float | None = None) -> float:
        """gain² · E f'(sqrt(q) z)², at the fixed point or another variance.

        By this factor the second moment of the gradients changes from layer to layer,
        and so does the squared distance of two inputs that are close.
        """
        return self._finite(_moments.gradient, self._at(q))

    def _finite(self, moment: Callable[[Activation, float], float], q: float) -> float:
        """gain² times a moment for inputs of variance q."""
        with refusing("activation", self.activation):
            average = moment(self.activation, q)
        product = squared_gain(cast(Gain, self.gain)) * average
        if not math.isfinite(product):
            raise Infinite(
                f"gain must be small enough for a finite variance, got {self.gain!r} "
                f"for inputs of variance {q:g}; use a smaller one."
            )
        return product

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
        """Of the sign of the derivative of the excess; 0 where that is not known."""
        try:
            turn = q * self.slope(q) / self(q) - 1
        except (ValueError, ZeroDivisionError):
            return 0.0
        return turn * abs(_sign(turn))


class CriticalPoint(NamedTuple):
    """The variance of the weights times fan_in, and that of the biases.

    Example:
      >>> import jinit
      >>> weight_var, bias_var = jinit.critical_point("relu")
      >>> print(f"Var W = {weight_var:.1f} / fan_in, Var b = {bias_var:.1f}")
      Var W = 2.0 / fan_in, Var b = 0.0
    """

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
    deviations of the variance neither fade nor grow exponentially: for tanh and ReLU at
    q = 0; for GELU and SiLU at a q greater than 0, with biases, and half stable. With
    biases of smaller variance these have points too, but not stable ones: the slope of
    `jinit.variance_map` says so.

    Args:
      activation: f, as `jinit.gain` takes it.
      bias_var: The variance of the biases, if it is to be this one.

    Returns:
      `CriticalPoint(weight_var, bias_var)`: for kernels
      `jinit.variance_scaling(weight_var, "fan_in", "normal")`, for biases
      `jinit.normal(std=bias_var**0.5)`.

    Raises:
      TypeError: `bias_var` is traced.
      ValueError: There is no such point: for sigmoid and softplus, whose mean is not
        zero at 0, and for ReLU with biases.

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
    bias_var = bias_var if bias_var is None else _variance("bias_var", bias_var)
    with refusing("activation", activation):
        weight_var = _at_zero(activation)
        if weight_var and (bias_var == 0 or (bias_var is None and _fades(activation))):
            return CriticalPoint(weight_var, 0.0)
        mismatch = partial(_mismatch, activation, bias_var)
        last, side = 0.0, 0.0
        for q, now in _computable(mismatch, activation):
            if now * side < 0:
                q = _root(mismatch, last, q)
                found = _line(activation, q)
                if bias_var is not None:
                    return CriticalPoint(found.weight_var, bias_var)
                if found.bias_var >= 0:
                    return found
            last, side = (q, now) if now else (last, side)
    wanted = "" if bias_var is None else f" with bias_var={bias_var!r}"
    raise ValueError(
        f"activation {activation!r} has no critical point{wanted}: no variances of "
        "weights and biases keep both the signal and the gradients in depth; use a "
        "normalization, or another activation."
    )


def _at_zero(activation: Activation) -> float | None:
    """The variance of the weights that keeps gradients at q = 0, if that is fixed."""
    gradient = _moments.gradient(activation, 0.0)
    fixed = _moments.square(activation, 0.0) == 0 < gradient
    return 1 / gradient if fixed else None


def _fades(activation: Activation) -> bool:
    """Whether a small variance does not grow where that of the gradients is kept."""
    kept = 1e-4 * _moments.gradient(activation, 0.0)
    return _sign(_moments.square(activation, 1e-4) / kept - 1) <= 0


def _mismatch(activation: Activation, bias_var: float | None, q: float) -> float:
    """What is zero at the point: of the biases, or of slope and chi_1; as a share."""
    if bias_var is None:
        return _moments.growth(activation, q) / _moments.gradient(activation, q) - 1
    return (_line(activation, q).bias_var - bias_var) / q


def _line(activation: Activation, q: float) -> CriticalPoint:
    """The variances for which q is a fixed point and chi_1 is 1."""
    weight_var = 1 / _moments.gradient(activation, q)
    return CriticalPoint(weight_var, q - weight_var * _moments.square(activation, q))


def _computable(share: Share, activation: Activation) -> Iterator[tuple[float, float]]:
    """Variances from small to large, and the sign of a share there."""
    # An activation that is not 0 at 0 is all but constant at small ones, and has no
    # critical point there.
    start = -13 if _moments.square(activation, 0.0) else -40
    for q in (2.0**k for k in range(start, 41)):
        try:
            yield q, _sign(share(q))
        except ZeroDivisionError:  # it is flat there
            continue
        except Refused:  # infinite, or too steep
            return


def _sign(share: float) -> float:
    """1 or -1, or 0 where the two that were compared are equal but for rounding."""
    return 0.0 if abs(share) < _NOISE else math.copysign(1.0, share)


def _root(function: Share, a: float, b: float) -> float:
    """Where a function of opposite signs at the ends is zero."""
    from scipy.optimize import root_scalar  # JAX needs SciPy; its import is slow

    return root_scalar(function, bracket=(a, b), xtol=1e-15 * min(a, b)).root


def _variance(name: str, value: Any) -> float:
    return _checks.number(name, _checks.known(name, value), at_least=0)
