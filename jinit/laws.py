"""Laws: the distributions of weights, and all that follows from one.

A law knows its moments, its bounds, its density and its distribution function, and it
draws itself: what an initializer says of its weights and what it draws cannot come
apart. `init.law(shape)` gives the law of an initializer.

    real       Normal, Uniform, Truncated, Triangular
    complex    Complex (independent parts), Disc (any phase)
    either     Point (one value), Mixture (by shares), Moments (no more is known)
"""

from __future__ import annotations

import math
from dataclasses import MISSING, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _draws
from jinit._bits import real_dtype
from jinit._checks import Number, Shape, check_range, is_traced
from jinit._value import Value

_NEGLIGIBLE = 40.0  # density left out at either end: exp(-40) of the largest


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Law(Value):
    """The distribution of each weight of a kernel.

    Of a complex law `mean` and `bounds` are complex: the bounds are the corners of the
    rectangle that holds the weights. `Moments` say too little for a draw, a density or
    a distribution function, and raise a ValueError.

    Attributes:
      mean: The mean m.
      std: The standard deviation, sqrt(E |w - m|²).
      kurtosis: E |w - m|⁴ / std⁴: 3 of a normal law, 1.8 of a uniform one, 2 of a
        complex normal one. None where it is not known, or std is 0.
      bounds: The least and the greatest weight; infinite where there is none.
      dense: Whether no weights are equal but by rounding: the law has no atoms.

    Example:
      >>> import jinit
      >>> law = jinit.he_normal().law((784, 256))
      >>> print(f"{law.mean} {law.std:.4f} {law.kurtosis:.2f}")
      0.0 0.0505 2.37
      >>> low, high = law.bounds
      >>> print(f"{high:.4f} {law.cdf(0.0):.1f}")  # 2 / 0.88 deviations
      0.1148 0.5
    """

    if TYPE_CHECKING:  # fields of some laws, properties of others

        @property
        def mean(self) -> Any:
            """The mean."""

        @property
        def std(self) -> Any:
            """The standard deviation."""

        @property
        def kurtosis(self) -> float | None:
            """The kurtosis, or None."""

        @property
        def skewness(self) -> float:
            """The third moment over std³."""

        @property
        def bounds(self) -> tuple[Any, Any]:
            """The least and the greatest weight."""

    else:
        kurtosis, skewness, bounds = None, 0.0, (-math.inf, math.inf)
    dense: ClassVar[bool] = True

    def __init__(self, *args: Any, **named: Any) -> None:
        declared = self._fields()
        given = dict(zip((each.name for each in declared), args, strict=False)) | named
        values = {each.name: given.pop(each.name, each.default) for each in declared}
        if given or len(args) > len(declared) or MISSING in values.values():
            names = ", ".join(values)
            raise TypeError(f"{type(self).__name__} takes {names}, got {args} {named}.")
        self._set(**values)

    def draw(self, key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights; of a complex dtype, both parts.

        Example:
          >>> import jax, jinit, numpy as np
          >>> law = jinit.laws.Uniform(2.0, 3.0)
          >>> w = law.draw(jax.random.key(0), (1000,), np.dtype("float32"))
          >>> bool((w >= 2).all() and (w <= 3).all())
          True
        """
        raise ValueError(f"{self!r} says too little to draw from.")

    def pdf(self, x: Any) -> Any:
        """The density at a number or an array of them, without atoms.

        Example:
          >>> import jinit
          >>> print(f"{jinit.normal().law(()).pdf(0.0):.4f}")  # 1 / sqrt(2 pi)
          0.3989
        """
        return self._pdf(np.asarray(x))

    def cdf(self, x: Any) -> Any:
        """The distribution function P(w <= x); of both parts if these are complex.

        Example:
          >>> import jinit
          >>> print(f"{jinit.uniform(a=-1.0, b=3.0).law(()).cdf(0.0):.2f}")
          0.25
        """
        return self._cdf(np.asarray(x))

    def _pdf(self, x: np.ndarray) -> Any:
        raise ValueError(f"{self!r} says too little to know its density.")

    def _cdf(self, x: np.ndarray) -> Any:
        raise ValueError(f"{self!r} says too little to know its distribution.")

    @property
    def zeros(self) -> float:
        """The share of weights that are exactly zero."""
        return 0.0

    def over_complex(self) -> Law:
        """The law of complex weights that are drawn by this one."""
        return self

    def simplified(self) -> Law:
        """The law itself, or the one value of a law that does not deviate."""
        return self if self.std else Point(self.mean)

    def __repr__(self) -> str:
        shown = [each.name for each in self._fields() if each.repr]
        values = ((name, getattr(self, name)) for name in shown)
        # A NumPy scalar as Python's, which prints as a number.
        given = [
            f"{name}={value.item() if isinstance(value, np.generic) else value!r}"
            for name, value in values
            if value is not None
        ]
        return f"{type(self).__name__}({', '.join(given)})"


class Point(Law):
    """One value, its mean: a constant.

    Example:
      >>> import jinit
      >>> jinit.ones().law((3,))
      Point(mean=1.0)
    """

    mean: Any
    std = 0.0

    bounds = property(lambda self: (self.mean, self.mean))
    zeros = property(lambda self: float(self.mean == 0))
    dense = False

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Fills an array."""
        return jnp.broadcast_to(_draws.cast(self.mean, dtype), shape)

    def _pdf(self, x: np.ndarray) -> Any:
        return np.zeros(x.shape)[()]  # all of the law is an atom

    def _cdf(self, x: np.ndarray) -> Any:
        step = (x.real >= np.real(self.mean)) & (x.imag >= np.imag(self.mean))
        return np.where(step, 1.0, 0.0)[()]


class Normal(Law):
    """N(mean, std²).

    Example:
      >>> import jinit
      >>> jinit.xavier_normal().law((150, 50))
      Normal(mean=0.0, std=0.1)
    """

    mean: Any
    std: Any

    kurtosis = 3.0

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        return _draws.normal(key, shape, dtype, self.mean, self.std)

    def _pdf(self, x: np.ndarray) -> Any:
        z = (x - self.mean) / self.std
        return np.exp(-z * z / 2) / (math.sqrt(2 * math.pi) * self.std)

    def _cdf(self, x: np.ndarray) -> Any:
        return _ndtr((x - self.mean) / self.std)

    def over_complex(self) -> Law:
        """Independent parts, of half the variance each."""
        std = self.std / math.sqrt(2)
        return Complex(Normal(self.mean, std), Normal(0.0, std))


class Uniform(Law):
    """U[low, high].

    Example:
      >>> import jinit
      >>> law = jinit.uniform(a=-3.0, b=3.0).law((10,))
      >>> print(law, f"{law.std:.3f}")  # 6 / sqrt(12)
      Uniform(low=-3.0, high=3.0) 1.732
    """

    low: Any
    high: Any
    # Whether it is drawn about zero, in the steps of `jax.nn.initializers`.
    symmetric: bool = field(default=False, repr=False, compare=False)

    kurtosis = 1.8
    mean = property(lambda self: (self.low + self.high) / 2)
    std = property(lambda self: (self.high - self.low) / math.sqrt(12))
    bounds = property(lambda self: (self.low, self.high))

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        if self.symmetric:
            check_range("the bound of the weights", self.high, dtype)
            return _draws.symmetric_uniform(key, shape, dtype, self.high)
        return _draws.uniform(key, shape, dtype, self.low, self.high)

    def _pdf(self, x: np.ndarray) -> Any:
        return ((self.low <= x) & (x <= self.high)) / (self.high - self.low)

    def _cdf(self, x: np.ndarray) -> Any:
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def over_complex(self) -> Law:
        """Independent parts, of half the variance each."""
        d = (self.high - self.low) / math.sqrt(8)
        return Complex(Uniform(self.mean - d, self.mean + d), Uniform(-d, d))


class Truncated(Law):
    """N(location, scale²) between bounds that lie `low` and `high` scales from it.

    Attributes:
      location: The mean before truncation.
      scale: The standard deviation before truncation.
      low: The lower bound, in scales from the location.
      high: The upper one.

    Example:
      >>> import jinit
      >>> law = jinit.trunc_normal(a=0.0, b=2.0).law((10,))
      >>> print(law, f"{law.mean:.3f} {law.std:.3f}")
      Truncated(location=0.0, scale=1.0, low=0.0, high=2.0) 0.723 0.501
    """

    location: Any
    scale: Any
    low: Any
    high: Any
    # The bounds as they were given, which rounding is kept to.
    ends: tuple[Any, Any] | None = field(default=None, repr=False, compare=False)

    mean = property(lambda self: self.location + self.scale * self._cut.mean)
    std = property(lambda self: self.scale * self._cut.std)
    kurtosis = property(lambda self: self._cut.kurtosis)
    skewness = property(lambda self: self._cut.skewness)
    _cut = property(lambda self: _truncation(self.low, self.high))

    @property
    def bounds(self) -> tuple[Any, Any]:
        """The least and the greatest weight."""
        low, high = (self.location + self.scale * z for z in (self.low, self.high))
        return self.ends or (low, high)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        law = self.location, self.scale, self.low, self.high
        return _draws.truncated_normal(key, shape, dtype, *law, self.ends)

    def _pdf(self, x: np.ndarray) -> Any:
        z, cut = (x - self.location) / self.scale, self._cut
        d = np.clip(z, self.low, self.high) - cut.mode
        inside = np.exp(-d * (cut.mode + d / 2)) / (cut.mass * self.scale)
        return inside * ((self.low <= z) & (z <= self.high))

    def _cdf(self, x: np.ndarray) -> Any:
        z = np.clip((x - self.location) / self.scale, self.low, self.high)
        if self.low < 0 < self.high:
            below, above = _ndtr(self.low), _ndtr(self.high)
            return (_ndtr(z) - below) / (above - below)
        if self.low >= 0:
            return _tail_cdf(z, self.low, self.high)
        return 1 - _tail_cdf(-z, -self.high, -self.low)

    def over_complex(self) -> Law:
        """Independent parts, of half the variance each."""
        law = self.scale / math.sqrt(2), self.low, self.high
        return Complex(Truncated(self.location, *law), Truncated(0.0, *law))


class Triangular(Law):
    """The sum of two uniform variables: a density that falls linearly to ±bound.

    Attributes:
      bound: The largest absolute value.

    Example:
      >>> import jinit
      >>> print(f"{jinit.laws.Triangular(0.6).std:.3f}")  # 0.6 / sqrt(6)
      0.245
    """

    bound: Any

    mean = 0.0
    kurtosis = 2.4
    std = property(lambda self: self.bound / math.sqrt(6))
    bounds = property(lambda self: (-self.bound, self.bound))

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        real = jnp.issubdtype(dtype, np.floating)
        wide = real_dtype(dtype) if real else dtype
        keys = jax.random.split(key)
        # The sum of draws on [-1, 1] is exact, and so the same however it is compiled.
        u, v = (_draws.symmetric_uniform(each, shape, wide, 1.0) for each in keys)
        return _draws.round_to((u + v) * _draws.cast(self.bound / 2, wide), dtype)

    def _pdf(self, x: np.ndarray) -> Any:
        return np.maximum(1 - abs(x / self.bound), 0) / self.bound

    def _cdf(self, x: np.ndarray) -> Any:
        z = np.clip(x / self.bound, -1, 1)
        return 0.5 + z - z * abs(z) / 2

    def over_complex(self) -> Law:
        """Independent parts, of half the variance each."""
        part = Triangular(self.bound / math.sqrt(2))
        return Complex(part, part)


class Moments(Law):
    """A law of which moments alone are known, as of the weights of orthogonal matrices.

    Example:
      >>> import jinit
      >>> jinit.orthogonal().law((64, 256))  # 1 / sqrt(256)
      Moments(mean=0.0, std=0.0625)
    """

    mean: Any
    std: Any
    kurtosis: float | None = None

    def over_complex(self) -> Law:
        """Parts of half the variance each."""
        std = self.std / math.sqrt(2)
        return Complex(Moments(self.mean, std), Moments(0.0, std))


class Mixture(Law):
    """Several laws, each that of a share of the weights.

    Attributes:
      parts: Pairs of a share and a law; the shares sum to 1.

    Example:
      >>> import jinit
      >>> law = jinit.sparse(0.9, std=0.1).law((30, 20))
      >>> law
      Mixture(parts=((0.9, Point(mean=0.0)), (0.1, Normal(mean=0.0, std=0.1))))
      >>> print(f"{law.std:.4f} {law.kurtosis:.1f} {law.zeros}")  # 0.1 · sqrt(0.1)
      0.0316 30.0 0.9
    """

    parts: tuple[tuple[float, Law], ...]

    dense = False
    mean = property(lambda self: sum(share * law.mean for share, law in self.parts))
    zeros = property(lambda self: sum(share * law.zeros for share, law in self.parts))

    @property
    def std(self) -> Any:
        """The standard deviation: of the laws, and of their means."""
        off = ((p, law.std, abs(law.mean - self.mean)) for p, law in self.parts)
        return math.sqrt(sum(share * (std**2 + d**2) for share, std, d in off))

    @property
    def kurtosis(self) -> float | None:
        """The kurtosis, where all of the laws have one."""
        fourth, mean, std = 0.0, self.mean, self.std
        for share, law in self.parts:
            unknown = law.std and law.kurtosis is None
            if unknown or isinstance(law.mean, complex):
                return None
            d, s = law.mean - mean, law.std
            own = (law.kurtosis or 0.0) * s**4 + 4 * d * law.skewness * s**3
            fourth += share * (own + 6 * d**2 * s**2 + d**4)
        return fourth / std**4 if std else None

    @property
    def bounds(self) -> tuple[Any, Any]:
        """The least and the greatest weight."""
        lows, highs = zip(*(law.bounds for _, law in self.parts), strict=True)
        return _corner(min, lows), _corner(max, highs)

    @property
    def real(self) -> Mixture:
        """The mixture of the laws of the real parts."""
        return Mixture(tuple((p, getattr(law, "real", law)) for p, law in self.parts))

    def _pdf(self, x: np.ndarray) -> Any:
        return sum(share * law.pdf(x) for share, law in self.parts)

    def _cdf(self, x: np.ndarray) -> Any:
        return sum(share * law.cdf(x) for share, law in self.parts)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws the law of each weight, and the weight."""
        which, *keys = jax.random.split(key, 1 + len(self.parts))
        shares = jnp.array([share for share, _ in self.parts])
        chosen = jax.random.choice(which, len(self.parts), shape, p=shares)
        parts = zip(keys, self.parts, strict=True)
        drawn = [law.draw(each, shape, dtype) for each, (_, law) in parts]
        return jnp.select([chosen == i for i in range(len(drawn))], drawn)

    def over_complex(self) -> Law:
        """The mixture of the laws of complex weights."""
        return Mixture(tuple((share, law.over_complex()) for share, law in self.parts))


class Complex(Law):
    """Complex weights whose real and imaginary parts are independent.

    Attributes:
      real: The law of the real parts.
      imaginary: The law of the imaginary parts.

    Example:
      >>> import jinit
      >>> law = jinit.uniform(a=0.0, b=2.0).law((10,), "complex64")
      >>> print(law.mean, f"{law.std:.4f}")  # 2 / sqrt(12)
      (1+0j) 0.5774
    """

    real: Law
    imaginary: Law

    mean = property(lambda self: complex(self.real.mean, self.imaginary.mean))
    std = property(lambda self: math.hypot(self.real.std, self.imaginary.std))

    @property
    def kurtosis(self) -> float | None:
        """E |w - m|⁴ / std⁴, where that of both parts is known."""
        parts = (self.real, self.imaginary)
        if any(law.kurtosis is None for law in parts) or not self.std:
            return None
        fourths = sum((law.kurtosis or 0.0) * law.std**4 for law in parts)
        return (fourths + 2 * (self.real.std * self.imaginary.std) ** 2) / self.std**4

    @property
    def bounds(self) -> tuple[Any, Any]:
        """The corners of the rectangle that holds the weights."""
        corners = zip(self.real.bounds, self.imaginary.bounds, strict=True)
        low, high = (complex(*corner) for corner in corners)
        return low, high

    def _pdf(self, x: np.ndarray) -> Any:
        return self.real.pdf(x.real) * self.imaginary.pdf(x.imag)

    def _cdf(self, x: np.ndarray) -> Any:
        return self.real.cdf(x.real) * self.imaginary.cdf(x.imag)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws both parts."""
        part = np.finfo(dtype).dtype
        parts = zip((self.real, self.imaginary), jax.random.split(key), strict=True)
        return jax.lax.complex(*(law.draw(each, shape, part) for law, each in parts))


class Disc(Law):
    """Complex weights of any phase on a disc about zero.

    Uniform on the disc of radius sqrt(2) · scale; or, with an `edge`, the complex
    normal law of deviation `scale` conditioned on |w| < edge · scale.

    Attributes:
      scale: The deviation of the uniform law, and of the normal one before truncation.
      edge: The radius of the disc in scales; None for the uniform law.

    Example:
      >>> import jinit
      >>> law = jinit.glorot_uniform().law((150, 50), "complex64")
      >>> print(law, f"{law.std:.2f} {law.bounds[1].real:.4f}")
      Disc(scale=0.1) 0.10 0.1414
    """

    scale: Any
    edge: float | None = None

    mean = 0.0
    std = property(lambda self: self.scale * math.sqrt(self._power(1)))
    kurtosis = property(lambda self: self._power(2) / self._power(1) ** 2)
    bounds = property(lambda self: (-self.radius * (1 + 1j), self.radius * (1 + 1j)))

    @property
    def radius(self) -> Any:
        """That of the disc."""
        return self.scale * (math.sqrt(2) if self.edge is None else self.edge)

    @property
    def real(self) -> Law:
        """The law of the real parts, and of the imaginary ones."""
        # With a phase of its own, E (r cos)² = E r² / 2 and E (r cos)⁴ = 3/8 E r⁴.
        return Moments(0.0, self.std / math.sqrt(2), 3 / 2 * self.kurtosis)

    imaginary = real

    def _power(self, n: int) -> float:
        """E t or E t² of t = |w|² / scale²."""
        if self.edge is None:  # uniform on [0, 2]
            return 2**n / (n + 1)
        # Exponential on [0, end].
        end = self.edge**2
        lost = end * math.exp(-end) / -math.expm1(-end)
        return 1 - lost if n == 1 else 2 - (end + 2) * lost

    def _pdf(self, x: np.ndarray) -> Any:
        t, inside = abs(x / self.scale) ** 2, abs(x) <= self.radius
        if self.edge is None:
            return inside / (math.pi * self.radius**2)
        mass = -math.expm1(-(self.edge**2)) * math.pi * self.scale**2
        return inside * np.exp(-t) / mass

    def _cdf(self, x: np.ndarray) -> Any:
        # By quadrature over the real part.
        x = x[..., None]
        top = np.arcsin(np.clip(x.real / self.radius, -1, 1))
        nodes, weights = _gauss_legendre()
        angle = (top - math.pi / 2) / 2 + (top + math.pi / 2) / 2 * nodes
        # At Re w = radius · sin(angle) the chord reaches radius · cos(angle).
        chord = self.radius * np.cos(angle)
        upper = np.clip(x.imag, -chord, chord)
        if self.edge is None:
            below = (upper + chord) / (math.pi * self.radius**2)
        else:
            a, b = (_ndtr(math.sqrt(2) * y / self.scale) for y in (-chord, upper))
            at = np.exp(-((self.radius * np.sin(angle) / self.scale) ** 2))
            mass = -math.expm1(-(self.edge**2)) * math.sqrt(math.pi) * self.scale
            below = (b - a) * at / mass
        return (weights * below * chord).sum(-1) * (top + math.pi / 2)[..., 0] / 2

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws an array of independent weights."""
        if self.edge is None:
            return _draws.disc_uniform(key, shape, dtype, self.scale)
        return _draws.disc_normal(key, shape, dtype, self.scale, self.edge)


def _corner(pick: Any, bounds: Any) -> Any:
    """The least or the greatest of bounds, part by part where they are complex."""
    if any(isinstance(bound, complex) for bound in bounds):
        return complex(pick(np.real(bounds)), pick(np.imag(bounds)))
    return pick(bounds)


def _ndtr(z: Any) -> Any:
    from scipy.special import ndtr  # JAX needs SciPy; its import is slow

    return ndtr(z)


def _tail_cdf(z: Any, low: float, high: float) -> Any:
    """The distribution function of a normal variable between bounds 0 <= low < high."""
    # Of P(low < x < z) / P(low < x < high) both are taken over the mass beyond low,
    # which may be too small for a float: by its logarithm.
    from scipy.special import log_ndtr

    beyond = log_ndtr(-low)
    return np.expm1(log_ndtr(-z) - beyond) / np.expm1(log_ndtr(-high) - beyond)


class _Cut(NamedTuple):
    """A standard normal variable between two bounds."""

    mean: Any
    std: Any
    skewness: Any
    kurtosis: Any
    mode: Any
    mass: Any  # the integral of the density over the density at the mode


def _truncation(low: Number, high: Number) -> _Cut:
    """What is left of a standard normal variable between two bounds.

    By quadrature about the mode, since the closed forms are differences of nearly equal
    numbers for bounds that are close together or in a tail. Between 8 and 9 the mode is
    8, and the density falls as exp(-8 d - d² / 2) with the distance d from it.
    """
    xp = jnp if is_traced(low) or is_traced(high) else np
    mode = xp.clip(0.0, low, high)
    # The density falls to exp(-40) of its largest where mode · d + d² / 2 = 40.
    reach = (2 * _NEGLIGIBLE) / (abs(mode) + xp.sqrt(mode**2 + 2 * _NEGLIGIBLE))
    left, right = xp.maximum(low - mode, -reach), xp.minimum(high - mode, reach)
    nodes, weights = _gauss_legendre()
    d = (left + right) / 2 + (right - left) / 2 * nodes
    weights = weights * xp.exp(-d * (mode + d / 2))
    mass = weights.sum() * (right - left) / 2
    weights = weights / weights.sum()
    mean = (weights * d).sum()
    square, cube, fourth = ((weights * (d - mean) ** n).sum() for n in (2, 3, 4))
    with np.errstate(invalid="ignore", divide="ignore"):  # of bounds that are one
        std = xp.sqrt(square)
        cut = _Cut(mode + mean, std, cube / std**3, fourth / square**2, mode, mass)
    return _Cut(*map(float, cut)) if xp is np else cut


@lru_cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(100)
