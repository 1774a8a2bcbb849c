"""Initializers that ask nothing of the shape: constants and plain distributions."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _bits, _checks, _draws
from jinit._checks import Number, Shape, at_least_zero, check_range, number
from jinit._initializer import Initializer, Uncalled, option
from jinit._types import ArrayLike
from jinit._value import FrozenArray
from jinit.laws import Law, Mixture, Moments, Normal, Point, Truncated, Uniform


def check_numbers(name: str, value: Any) -> Any:
    """A Python number, or an array of numbers as a value."""
    if _checks.is_traced(value):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # nested sequences of unequal lengths
        array = np.array(None)
    if isinstance(value, int) and array.dtype == object:  # beyond 64 bits
        array = np.asarray(_checks.number(name, value))
    if not (jnp.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise TypeError(
            f"{name} must be a number or an array of numbers, got {value!r}."
        )
    if jnp.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return FrozenArray(array) if array.shape else array.item()


class constant(Initializer):
    """Fills with one value, or with values that broadcast to the shape.

    Args:
      value: A finite number, or nested sequences or an array of them, which are
        copied: a table of pretrained embeddings may be a constant.

    Returns:
      An initializer, of integer, bool and complex dtypes too. Narrow floating dtypes
      round, and saturate at their largest finite number.

    Raises:
      ValueError: At the call: the value does not broadcast to the shape, or a dtype
        that does not round (integer, bool; real for complex values) cannot hold it.

    Example:
      >>> import jax, jinit
      >>> print(jinit.constant(0.5)(jax.random.key(0), (2, 2)))
      [[0.5 0.5]
       [0.5 0.5]]
      >>> jinit.constant([1, 2])
      constant((1, 2))

    References:
      `torch.nn.init.constant_` and `jax.nn.initializers.constant`, which rejects lists.
    """

    value: ArrayLike = option(check_numbers, kw_only=False)
    _random = False

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        own = np.shape(self.value)
        pairs = zip(own[::-1], shape[::-1], strict=False)
        if len(own) > len(shape) or any(have not in (1, want) for have, want in pairs):
            raise ValueError(
                f"value of shape {own} does not broadcast to shape {shape}; "
                "give one number, or an array that fits the trailing axes."
            )
        if not _checks.is_traced(self.value):
            check_range("value", float(np.abs(self.value).max(initial=0)), dtype)
        _checks.check_exact("value", self.value, dtype)

    def _values(self) -> tuple[Any, ...]:
        value: Any = self.value
        known = isinstance(value, int | float | complex)
        return value, str(complex(value)) if known else ""  # 0.0 is not -0.0

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        values, counts = np.unique(np.asarray(self.value), return_counts=True)
        if len(values) == 1:
            return Point(values.item())
        if len(values) > 100:
            w = np.asarray(self.value, dtype)
            return Moments(w.mean().item(), w.std().item())
        shares, points = (counts / counts.sum()).tolist(), map(Point, values.tolist())
        return Mixture(tuple(zip(shares, points, strict=True)))

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        known = not _checks.is_traced(self.value)
        value = np.asarray(self.value) if known else self.value
        return jnp.broadcast_to(_draws.cast(value, dtype), shape)


class zeros(Uncalled):
    """Fills with zero, in any dtype.

    The name works uncalled too, as an initializer: `bias_init=jinit.zeros`.

    Example:
      >>> import jax, jinit
      >>> print(jinit.zeros()(jax.random.key(0), (3,)))
      [0. 0. 0.]

    References:
      `torch.nn.init.zeros_`, `jax.nn.initializers.zeros`.
    """

    _random = False

    def _law(self, shape: Shape, dtype: np.dtype) -> Point:
        return Point(0.0)


class ones(Uncalled):
    """Fills with one, in any dtype: the scale of a normalization layer.

    Example:
      >>> import jax, jinit
      >>> print(jinit.ones(jax.random.key(0), (3,), "int32"))  # uncalled, as with zeros
      [1 1 1]

    References:
      `torch.nn.init.ones_`, `jax.nn.initializers.ones`.
    """

    _random = False

    def _law(self, shape: Shape, dtype: np.dtype) -> Point:
        return Point(1.0)


class uniform(Initializer):
    """Draws from the uniform distribution between two bounds.

        W ~ U[a, b],    E W = (a + b) / 2,    Var W = (b - a)² / 12

    Both bounds belong to the interval, since rounding to a float may reach either.
    In a complex dtype real and imaginary part are independent and uniform on ±(b - a) /
    sqrt(8) about the mean, which keeps mean and variance `E|W - E W|²`, and W within a
    disc of radius (b - a) / 2.

    Args:
      a, b: Lower and upper bound, a <= b.

    Example:
      >>> import jax, jinit
      >>> w = jinit.uniform(a=-1.0, b=1.0)(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.3f}")  # 2 / sqrt(12)
      0.577

    References:
      `torch.nn.init.uniform_`. `jax.nn.initializers.uniform` draws from [0, scale)
      with scale = 0.01; `a=0, b=scale` is its call here.
    """

    a: Number = option(number, default=0.0)
    b: Number = option(number, default=1.0)

    def _check_options(self) -> None:
        _checks.ordered("a", self.a, "b", self.b)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        check_range("b - a", self.b - self.a, dtype)

    def _law(self, shape: Shape, dtype: np.dtype) -> Uniform:
        return Uniform(self.a, self.b)


class normal(Initializer):
    """Draws from the normal distribution.

        W ~ N(mean, std²)

    Args:
      mean, std: Mean and standard deviation; of 0 all weights are the mean.

    Example:
      >>> import jax, jinit
      >>> w = jinit.normal(std=0.02)(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.4f}")
      0.0200

    References:
      `torch.nn.init.normal_`. `jax.nn.initializers.normal` has no mean, and its
      `stddev` is 0.01 by default.
    """

    mean: Number = option(number, default=0.0)
    std: Number = option(at_least_zero, default=1.0)

    def _law(self, shape: Shape, dtype: np.dtype) -> Normal:
        return Normal(self.mean, self.std)


class trunc_normal(Initializer):
    """Draws from the normal distribution, conditioned on an interval.

        W ~ N(mean, std²) given a <= W <= b

    The bounds are absolute, as torch's are: with std = 0.02 the default ±2 lies a
    hundred standard deviations out and cuts nothing off. For two standard deviations
    write `a=-2 * std, b=2 * std`: the weights' own deviation is then 0.88 of `std`.
    Values keep their precision in either tail. In a complex dtype each part is such a
    draw about the mean over sqrt(2).

    Args:
      mean, std: Mean and standard deviation before truncation, std > 0.
      a, b: Lower and upper bound, absolute, a <= b.

    Example:
      >>> import jax, jinit
      >>> w = jinit.trunc_normal(std=0.02, a=-0.04, b=0.04)(jax.random.key(0), (10**6,))
      >>> print(f"{w.std() / 0.02:.2f} {abs(w).max():.3f}")
      0.88 0.040

    References:
      `torch.nn.init.trunc_normal_`. `jinit.truncated_normal` takes its bounds in
      standard deviations, as JAX's does; wide bounds break JAX's in half precision,
      bounds in a tail in every dtype (`benchmarks/peers.py` prints both).
    """

    mean: Number = option(number, default=0.0)
    std: Number = option(
        partial(_checks.positive, remedy=" For a constant, use jinit.constant(mean)."),
        default=1.0,
    )
    a: Number = option(number, default=-2.0)
    b: Number = option(number, default=2.0)

    def _check_options(self) -> None:
        _checks.ordered("a", self.a, "b", self.b)

    def _law(self, shape: Shape, dtype: np.dtype) -> Truncated:
        low, high = ((end - self.mean) / self.std for end in (self.a, self.b))
        return Truncated(self.mean, self.std, low, high, (self.a, self.b))


class truncated_normal(Initializer):
    """Draws from the normal distribution, conditioned on a number of deviations.

        W = mean + std · z,    z ~ N(0, 1) given lower < z < upper

    Truncation narrows: at ±2 the weights' standard deviation is 0.88 of `std`.
    `corrected=True` divides by that factor, so that `std` is what the weights have.

    Args:
      mean: Mean of the normal distribution; of the weights where bounds are symmetric.
      std: Its standard deviation; with `corrected=True` that of the weights.
      lower, upper: Bounds in deviations of the normal distribution; ±inf are none.
      corrected: Whether to make up for what truncation takes.

    Raises:
      ValueError: At the call: both bounds lie more than 1e18 deviations to one side, or
        with `corrected=True` they leave no deviation to correct in this dtype.

    Example:
      >>> import jax, jinit
      >>> for corrected in (False, True):
      ...     init = jinit.truncated_normal(std=0.02, corrected=corrected)
      ...     w = init(jax.random.key(0), (1000, 1000))
      ...     print(f"{w.std():.4f} {abs(w).max():.4f}")
      0.0176 0.0400
      0.0200 0.0455

    References:
      `jax.nn.initializers.truncated_normal`, `keras.initializers.TruncatedNormal` and
      Haiku's are uncorrected. `jinit.trunc_normal` is torch's, with absolute bounds.
    """

    mean: Number = option(number, default=0.0)
    std: Number = option(at_least_zero, default=1.0)
    lower: Number = option(_checks.lower_end, default=-2.0)
    upper: Number = option(_checks.upper_end, default=2.0)
    corrected: bool = option(_checks.flag, default=False)

    def _check_options(self) -> None:
        _checks.ordered("lower", self.lower, "upper", self.upper)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if _checks.is_traced(self.lower) or _checks.is_traced(self.upper):
            return
        nearest = max(self.lower, -self.upper, 0.0)
        spacing = nearest * float(jnp.finfo(_bits.real_dtype(dtype)).eps)
        wide = spacing < 0.1 * Truncated(0.0, 1.0, self.lower, self.upper).std
        if nearest > 1e18 or (self.corrected and not wide):
            raise ValueError(
                f"lower={self.lower!r} and upper={self.upper!r} must leave an interval "
                f"in which dtype {dtype.name} tells numbers apart; move them towards 0 "
                "or apart, or leave out corrected=True."
            )

    def _law(self, shape: Shape, dtype: np.dtype) -> Truncated:
        left = Truncated(0.0, 1.0, self.lower, self.upper).std if self.corrected else 1
        return Truncated(self.mean, self.std / left, self.lower, self.upper)
