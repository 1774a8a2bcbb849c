"""Laws: the distributions of weights, and all that follows from one.

A law knows its moments, its bounds, its density and its distribution function, and it
draws itself: what an initializer says of its weights and what it draws cannot come
apart. `init.law(shape)` gives the law of an initializer.

    real       Normal, Uniform, Truncated, Triangular
               Family (of `scipy.stats`), Quantile, Transformed (by a link), Clipped
    complex    Complex (independent parts), Disc (any phase)
    either     Point (one value), Mixture (by shares), Affine (scaled and shifted),
               Moments (no more is known)
"""

from __future__ import annotations

import math
from dataclasses import MISSING, field
from typing import TYPE_CHECKING, Any, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _averages, _draws, _links
from jinit._bits import real_dtype, tails, wide_dtype
from jinit._checks import Shape, check_range
from jinit._value import Value


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Law(Value):
    """The distribution of each weight of a kernel.

    Of a complex law `mean` and `bounds` are complex: the bounds are the corners of the
    rectangle that holds the weights. `Moments` say too little for a draw, a density or
    a distribution function, and raise a ValueError.

    Attributes:
      mean: The mean m.
      std: The standard deviation, sqrt(E |w - m|²); it may be infinite.
      kurtosis: E |w - m|⁴ / std⁴: 3 of a normal law, 1.8 of a uniform one, 2 of a
        complex normal one; it may be infinite. None where it is not known, or std is 0
        or infinite.
      skewness: E (w - m)³ / std³ of a real law.
      bounds: The least and the greatest weight; infinite where there is none.
      open: Of each bound, whether weights come near it and do not reach it.
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
        def mean(self) -> Any: ...

        @property
        def std(self) -> Any: ...

        @property
        def kurtosis(self) -> float | None: ...

        @property
        def skewness(self) -> float: ...

        @property
        def bounds(self) -> tuple[Any, Any]: ...

        @property
        def open(self) -> tuple[bool, bool]: ...

        @property
        def dense(self) -> bool: ...

    else:
        kurtosis, skewness, bounds = None, 0.0, (-math.inf, math.inf)
        open, dense = (False, False), True

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
        """The law of complex weights: of parts that have half the variance each."""
        return self

    def affine(self, scale: Any, shift: Any) -> Law:
        """The law of scale · w + shift.

        Example:
          >>> import jinit
          >>> jinit.uniform(a=0.0, b=1.0).law(()).affine(-2.0, 1.0)
          Uniform(low=-1.0, high=1.0)
        """
        return Affine(self, scale, shift)

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Points and their probabilities, of which all averages are sums."""
        return _averages.quadrature(self.pdf, self.bounds, self._middle)

    @property
    def _middle(self) -> tuple[float, float]:
        """About where most weights are, and how far they spread."""
        return self.mean, self.std

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
        return jnp.broadcast_to(_draws.cast(self.mean, dtype), shape)

    def _pdf(self, x: np.ndarray) -> Any:
        return np.zeros(x.shape)[()]  # all of the law is an atom

    def _cdf(self, x: np.ndarray) -> Any:
        step = (x.real >= np.real(self.mean)) & (x.imag >= np.imag(self.mean))
        return np.where(step, 1.0, 0.0)[()]

    def affine(self, scale: Any, shift: Any) -> Law:
        return Point(scale * self.mean + shift)

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([self.mean]), np.ones(1)


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
        return _draws.normal(key, shape, dtype, self.mean, self.std)

    def _pdf(self, x: np.ndarray) -> Any:
        z = (x - self.mean) / self.std
        return np.exp(-z * z / 2) / (math.sqrt(2 * math.pi) * self.std)

    def _cdf(self, x: np.ndarray) -> Any:
        return _averages.ndtr((x - self.mean) / self.std)

    def over_complex(self) -> Law:
        std = self.std / math.sqrt(2)
        return Complex(Normal(self.mean, std), Normal(0.0, std))

    def affine(self, scale: Any, shift: Any) -> Law:
        return Normal(scale * self.mean + shift, abs(scale) * self.std)


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
        if self.symmetric:
            check_range("the bound of the weights", self.high, dtype)
            return _draws.symmetric_uniform(key, shape, dtype, self.high)
        return _draws.uniform(key, shape, dtype, self.low, self.high)

    def _pdf(self, x: np.ndarray) -> Any:
        return ((self.low <= x) & (x <= self.high)) / (self.high - self.low)

    def _cdf(self, x: np.ndarray) -> Any:
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def over_complex(self) -> Law:
        d = (self.high - self.low) / math.sqrt(8)
        return Complex(Uniform(self.mean - d, self.mean + d), Uniform(-d, d))

    def affine(self, scale: Any, shift: Any) -> Law:
        return Uniform(*_image_of_ends(self.bounds, scale, shift))


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
    _cut = property(lambda self: _averages.truncation(self.low, self.high))

    @property
    def bounds(self) -> tuple[Any, Any]:
        low, high = (self.location + self.scale * z for z in (self.low, self.high))
        return self.ends or (low, high)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
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
            below, above = _averages.ndtr(self.low), _averages.ndtr(self.high)
            return (_averages.ndtr(z) - below) / (above - below)
        if self.low >= 0:
            return _averages.tail_cdf(z, self.low, self.high)
        return 1 - _averages.tail_cdf(-z, -self.high, -self.low)

    def over_complex(self) -> Law:
        law = self.scale / math.sqrt(2), self.low, self.high
        return Complex(Truncated(self.location, *law), Truncated(0.0, *law))

    def affine(self, scale: Any, shift: Any) -> Law:
        cut = (self.low, self.high) if scale >= 0 else (-self.high, -self.low)
        ends = self.ends and _image_of_ends(self.ends, scale, shift)
        law = scale * self.location + shift, abs(scale) * self.scale
        return Truncated(*law, *cut, ends)


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
        wide = wide_dtype(dtype)
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
        part = Triangular(self.bound / math.sqrt(2))
        return Complex(part, part)

    def affine(self, scale: Any, shift: Any) -> Law:
        law = Triangular(abs(scale) * self.bound)
        return Affine(law, 1.0, shift) if shift else law


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
        std = self.std / math.sqrt(2)
        return Complex(Moments(self.mean, std), Moments(0.0, std))

    def affine(self, scale: Any, shift: Any) -> Law:
        return Moments(scale * self.mean + shift, abs(scale) * self.std, self.kurtosis)


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

    dense = property(lambda self: all(law.dense for _, law in self.parts))
    mean = property(lambda self: sum(share * law.mean for share, law in self.parts))
    zeros = property(lambda self: sum(share * law.zeros for share, law in self.parts))

    @property
    def std(self) -> Any:
        if any(law.std == math.inf for _, law in self.parts):
            return math.inf
        off = ((p, law.std, abs(law.mean - self.mean)) for p, law in self.parts)
        return math.sqrt(sum(share * (std**2 + d**2) for share, std, d in off))

    @property
    def skewness(self) -> float:
        mean, std = self.mean, self.std
        if isinstance(mean, complex) or not 0 < std < math.inf:
            return 0.0
        offs = ((p, law, law.mean - mean) for p, law in self.parts)
        thirds = (
            share * (law.skewness * law.std**3 + 3 * d * law.std**2 + d**3)
            for share, law, d in offs
        )
        return sum(thirds) / std**3

    @property
    def kurtosis(self) -> float | None:
        fourth, mean, std = 0.0, self.mean, self.std
        for share, law in self.parts:
            about = _fourth(law, law.mean - mean)
            if about is None:
                return None
            fourth += share * about
        return fourth / std**4 if std else None

    @property
    def bounds(self) -> tuple[Any, Any]:
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
        return Mixture(tuple((share, law.over_complex()) for share, law in self.parts))

    def affine(self, scale: Any, shift: Any) -> Law:
        return Mixture(tuple((p, law.affine(scale, shift)) for p, law in self.parts))

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        nodes = [(x, share * p) for share, law in self.parts for x, p in [law._nodes()]]
        x, p = (np.concatenate(each) for each in zip(*nodes, strict=True))
        return x, p


class _ByNodes(Law):
    """A law whose moments are sums over the nodes of a quadrature."""

    mean = property(lambda self: self._moments[0])
    std = property(lambda self: self._moments[1])
    skewness = property(lambda self: self._moments[2])
    kurtosis = property(lambda self: self._moments[3])
    _moments = property(lambda self: _averages.moments_of(self))

    def simplified(self) -> Law:
        """The law itself, or the one value between bounds that are equal."""
        low, high = self.bounds
        return Point(low) if low == high else self


_FAMILIES = {  # SciPy's name, what draws it, and its bounds
    "gamma": (_draws.gamma, (0.0, math.inf)),
    "weibull_min": (_draws.weibull, (0.0, math.inf)),
    "beta": (_draws.beta, (0.0, 1.0)),
    "t": (_draws.student_t, (-math.inf, math.inf)),
}


class Family(Law):
    """A distribution of `scipy.stats`, by its name there, from zero on scale.

    Attributes:
      name: "gamma", "beta", "weibull_min" or "t".
      parameters: What SciPy calls the shape parameters.
      scale: A factor of the weights.

    Example:
      >>> import jinit
      >>> law = jinit.laws.Family("gamma", (4.0,), 0.5)
      >>> print(law.mean, law.std, law.kurtosis)  # 4 / 2, sqrt(4) / 2, 3 + 6 / 4
      2.0 1.0 4.5
    """

    name: str
    parameters: tuple[Any, ...]
    scale: Any = 1.0

    open = (True, True)
    bounds = property(lambda self: _FAMILIES[self.name][1])
    mean = property(lambda self: self._moments[0])
    skewness = property(lambda self: self._moments[2])
    _moments = property(
        lambda self: _averages.moments_of_scipy(self.name, *self._frozen)
    )
    _theirs = property(lambda self: _averages.of_scipy(self.name, *self._frozen))
    _frozen = property(lambda self: (self.parameters, self.scale))

    @property
    def std(self) -> Any:
        variance = self._moments[1]
        return math.inf if math.isnan(variance) else math.sqrt(variance)

    @property
    def kurtosis(self) -> float | None:
        excess = self._moments[3]
        if self.std == math.inf:
            return None
        return math.inf if math.isnan(excess) else 3 + excess

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        program: Any = _FAMILIES[self.name][0]
        scale = () if self.name == "beta" else (self.scale,)
        return program(key, shape, dtype, *self.parameters, *scale)

    def affine(self, scale: Any, shift: Any) -> Law:
        if shift or scale <= 0 or self.name == "beta":
            return Affine(self, scale, shift)
        return Family(self.name, self.parameters, scale * self.scale)

    def simplified(self) -> Law:
        """The law itself, which always deviates."""
        return self

    def _pdf(self, x: np.ndarray) -> Any:
        return self._theirs.pdf(x)

    def _cdf(self, x: np.ndarray) -> Any:
        return self._theirs.cdf(x)

    @property
    def _middle(self) -> tuple[float, float]:
        first, middle, third = self._theirs.ppf([0.25, 0.5, 0.75]).tolist()
        return middle, third - first


class Affine(Law):
    """A law scaled and shifted: of scale · w + shift.

    Laws that are closed under it, such as the normal one, stay what they are.

    Attributes:
      law: The law of w.
      scale: The factor, of either sign.
      shift: What is added.

    Example:
      >>> import jinit
      >>> law = jinit.laws.Family("gamma", (4.0,)).affine(-1.0, 4.0)
      >>> print(law.mean, law.std, law.bounds)
      0.0 2.0 (-inf, 4.0)
    """

    law: Law
    scale: Any
    shift: Any

    mean = property(lambda self: self.scale * self.law.mean + self.shift)
    std = property(lambda self: abs(self.scale) * self.law.std)
    kurtosis = property(lambda self: self.law.kurtosis)
    skewness = property(lambda self: np.sign(self.scale) * self.law.skewness)
    bounds = property(lambda self: _image_of_ends(self.law.bounds, *self._map))
    dense = property(lambda self: self.law.dense)
    zeros = property(lambda self: _share_at(self.law, -self.shift / self.scale))
    open = property(lambda self: self.law.open[:: -1 if self.scale < 0 else 1])
    _map = property(lambda self: (self.scale, self.shift))

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        w = self.law.draw(key, shape, real_dtype(dtype))
        return _draws.affine(w, dtype, self.scale, self.shift)

    def over_complex(self) -> Law:
        return self.law.over_complex().affine(self.scale, self.shift)

    def affine(self, scale: Any, shift: Any) -> Law:
        return self.law.affine(scale * self.scale, scale * self.shift + shift)

    def simplified(self) -> Law:
        """The law itself, or its shift."""
        return self if self.scale else Point(self.shift)

    def _pdf(self, x: np.ndarray) -> Any:
        return self.law.pdf((x - self.shift) / self.scale) / abs(self.scale)

    def _cdf(self, x: np.ndarray) -> Any:
        at = (x - self.shift) / self.scale
        return self.law.cdf(at) if self.scale > 0 else 1 - _below(self.law, at)

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        x, p = self.law._nodes()
        return self.scale * x + self.shift, p


class Transformed(_ByNodes):
    """The law of weights that are, put through a link, of another law.

    Its density follows by a change of variables, its moments by quadrature.

    Attributes:
      law: The law of link(w).
      link: A name, such as "softplus", or a strictly monotone function.

    Example:
      >>> import jinit
      >>> law = jinit.laws.Transformed(jinit.laws.Normal(0.0, 1.0), "log")
      >>> print(f"{law.mean:.4f} {law.cdf(1.0)}")  # exp(N(0, 1)), of mean exp(1/2)
      1.6487 0.5
    """

    law: Law
    link: Any

    dense = property(lambda self: self.law.dense)
    _curve = property(lambda self: _links.curve(self.link))

    @property
    def zeros(self) -> float:
        """The share of an atom that the link takes zero to."""
        with np.errstate(all="ignore"):
            return _share_at(self.law, self._curve.value(np.zeros(())))

    @property
    def open(self) -> tuple[bool, bool]:
        """Whether a bound is that of a law without one, or not reached either."""
        ends = zip(self.law.bounds, self.law.open, strict=True)
        low, high = (is_open or math.isinf(end) for end, is_open in ends)
        return (low, high) if self._curve.rises else (high, low)

    @property
    def bounds(self) -> tuple[Any, Any]:
        low, high = map(self._curve.weight, self.law.bounds)
        return (low, high) if self._curve.rises else (high, low)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        wide = real_dtype(dtype)
        w = self._curve.inverse(self.law.draw(key, shape, wide), jnp)
        low, high = (jnp.asarray(end, wide) for end in self.bounds)
        return _draws.round_to(_draws.finite(jnp.clip(w, low, high)), dtype)

    def _pdf(self, x: np.ndarray) -> Any:
        low, high = self.bounds
        inside = (low <= x) & (x <= high)
        with np.errstate(all="ignore"):
            p = self.law.pdf(self._curve.value(x)) * abs(self._curve.slope(x))
        return np.where(inside, p, 0.0)[()]

    def _cdf(self, x: np.ndarray) -> Any:
        low, high = self.bounds
        with np.errstate(all="ignore"):
            at = self._curve.value(np.asarray(x, float))
            rises = self._curve.rises
            below = self.law.cdf(at) if rises else 1 - _below(self.law, at)
        return np.where(x < low, 0.0, np.where(x >= high, 1.0, below))[()]

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        x, p = self.law._nodes()
        with np.errstate(all="ignore"):
            return self._curve.inverse(x, np), p


class Quantile(_ByNodes):
    """A law by its quantile function: of ppf(u), u ~ U(0, 1).

    Attributes:
      ppf: A name of `scipy.stats`, one with its parameters, or the inverse of the
        distribution function in NumPy's, SciPy's or JAX's operations.

    Example:
      >>> import jinit
      >>> law = jinit.laws.Quantile("gumbel_r")
      >>> print(f"{law.mean:.4f} {law.std:.4f}")  # Euler's constant, pi / sqrt(6)
      0.5772 1.2825
    """

    ppf: Any

    open = (True, True)

    @property
    def _moments(self) -> tuple[Any, ...]:
        """Those that SciPy knows of a distribution that it has a name for."""
        if callable(self.ppf):
            return _averages.moments_of(self)
        name, *parameters = [self.ppf] if isinstance(self.ppf, str) else self.ppf
        known = Family(name, tuple(parameters))
        return known.mean, known.std, known.skewness, known.kurtosis

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = _averages.at_probabilities(self.ppf, np.array([0.0, 1.0])).tolist()
        return (
            -math.inf if math.isnan(low) else low,
            math.inf if math.isnan(high) else high,
        )

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        wide = real_dtype(dtype)
        if callable(self.ppf) and _links.is_of_jax(self.ppf):
            p, upper = tails(key, shape, wide)
            below_one = np.nextafter(np.array(1, wide), np.array(0, wide))
            w = self.ppf(jnp.where(upper, jnp.minimum(1 - p, below_one), p))
        else:
            # In the normal score the tails of the table are as fine as its middle.
            z = _draws.normal(key, shape, wide, 0.0, 1.0)
            w = _draws.interpolated(z, *_averages.quantile_table(self.ppf))
        return _draws.round_to(w, dtype)

    def _cdf(self, x: np.ndarray) -> Any:
        return _averages.ndtr(self._score(x))

    def _pdf(self, x: np.ndarray) -> Any:
        z, w = _averages.quantile_table(self.ppf)
        density = np.gradient(_averages.ndtr(z), w)
        return np.interp(x, w, density, 0.0, 0.0)

    def _score(self, x: np.ndarray) -> Any:
        z, w = _averages.quantile_table(self.ppf)
        return np.interp(x, w, z, -np.inf, np.inf)

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        u, p = Uniform(0.0, 1.0)._nodes()
        return _averages.at_probabilities(self.ppf, u), p


class Clipped(_ByNodes):
    """A law whose weights beyond two bounds are moved to them.

    Attributes:
      law: The law before.
      low: The lower bound; -inf is none.
      high: The upper one.

    Example:
      >>> import jinit
      >>> law = jinit.laws.Clipped(jinit.laws.Normal(0.0, 1.0), 0.0, math.inf)
      >>> print(f"{law.mean:.4f} {law.zeros}")  # of a ReLU: 1 / sqrt(2 pi)
      0.3989 0.5
    """

    law: Law
    low: Any
    high: Any

    dense = False

    @property
    def bounds(self) -> tuple[Any, Any]:
        low, high = np.clip(self.law.bounds, self.low, self.high).tolist()
        return low, high

    @property
    def zeros(self) -> float:
        """The share that is moved to zero, and those that were there."""
        zeros = self.law.zeros if self.low < 0 < self.high else 0.0
        zeros += float(self.law.cdf(0.0)) if self.low == 0 else 0.0
        return zeros + (1 - float(self.law.cdf(0.0)) if self.high == 0 else 0.0)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        w = self.law.draw(key, shape, real_dtype(dtype))
        return _draws.clipped(w, dtype, self.low, self.high)

    def affine(self, scale: Any, shift: Any) -> Law:
        """The law of scale · w + shift: between bounds that are moved alike."""
        if not scale:
            return Point(shift)
        bounds = _image_of_ends((self.low, self.high), scale, shift)
        return Clipped(self.law.affine(scale, shift), *bounds)

    def clipped(self, low: Any, high: Any) -> Law:
        """The law of what is clipped again: of both clips in one."""
        return Clipped(self.law, *np.clip((self.low, self.high), low, high).tolist())

    def _pdf(self, x: np.ndarray) -> Any:
        return np.where((self.low < x) & (x < self.high), self.law.pdf(x), 0.0)[()]

    def _cdf(self, x: np.ndarray) -> Any:
        within = self.law.cdf(x)
        return np.where(x < self.low, 0.0, np.where(x >= self.high, 1.0, within))[()]

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        below, above = self.law.cdf(self.low), 1 - self.law.cdf(self.high)
        low, high = self.bounds
        if below + above >= 1:
            return np.array([low, high]), np.array([below, above])
        x, p = _averages.quadrature(
            self.pdf, (low, high), self._middle, 1 - below - above
        )
        # In the middle, for the ends are looked at as tails.
        half = x.size // 2
        return np.insert(x, half, [low, high]), np.insert(p, half, [below, above])

    @property
    def _middle(self) -> tuple[float, float]:
        middle, spread = self.law._middle
        return float(np.clip(middle, self.low, self.high)), spread


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
        parts = (self.real, self.imaginary)
        if any(law.kurtosis is None for law in parts) or not self.std:
            return None
        fourths = sum((law.kurtosis or 0.0) * law.std**4 for law in parts)
        return (fourths + 2 * (self.real.std * self.imaginary.std) ** 2) / self.std**4

    @property
    def bounds(self) -> tuple[Any, Any]:
        corners = zip(self.real.bounds, self.imaginary.bounds, strict=True)
        low, high = (complex(*corner) for corner in corners)
        return low, high

    def _pdf(self, x: np.ndarray) -> Any:
        return self.real.pdf(x.real) * self.imaginary.pdf(x.imag)

    def _cdf(self, x: np.ndarray) -> Any:
        return self.real.cdf(x.real) * self.imaginary.cdf(x.imag)

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        part = np.finfo(dtype).dtype
        parts = zip((self.real, self.imaginary), jax.random.split(key), strict=True)
        return jax.lax.complex(*(law.draw(each, shape, part) for law, each in parts))

    def affine(self, scale: Any, shift: Any) -> Law:
        return Complex(
            self.real.affine(scale, shift), self.imaginary.affine(scale, 0.0)
        )


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
        nodes, weights = _averages.gauss_legendre()
        angle = (top - math.pi / 2) / 2 + (top + math.pi / 2) / 2 * nodes
        # At Re w = radius · sin(angle) the chord reaches radius · cos(angle).
        chord = self.radius * np.cos(angle)
        upper = np.clip(x.imag, -chord, chord)
        if self.edge is None:
            below = (upper + chord) / (math.pi * self.radius**2)
        else:
            a, b = (
                _averages.ndtr(math.sqrt(2) * y / self.scale) for y in (-chord, upper)
            )
            at = np.exp(-((self.radius * np.sin(angle) / self.scale) ** 2))
            mass = -math.expm1(-(self.edge**2)) * math.sqrt(math.pi) * self.scale
            below = (b - a) * at / mass
        return (weights * below * chord).sum(-1) * (top + math.pi / 2)[..., 0] / 2

    def draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        if self.edge is None:
            return _draws.disc_uniform(key, shape, dtype, self.scale)
        return _draws.disc_normal(key, shape, dtype, self.scale, self.edge)

    def affine(self, scale: Any, shift: Any) -> Law:
        """The law of scale · w + shift; of a disc that is moved its moments alone."""
        if shift:
            return Moments(complex(shift), abs(scale) * self.std, self.kurtosis)
        return Disc(abs(scale) * self.scale, self.edge)


def _fourth(law: Law, off: Any) -> float | None:
    """E |w - c|⁴ of a law whose mean is off from c, where that is known."""
    if isinstance(law, Complex):
        x, y = _fourth(law.real, off.real), _fourth(law.imaginary, off.imag)
        if x is None or y is None:
            return None
        x2, y2 = law.real.std**2 + off.real**2, law.imaginary.std**2 + off.imag**2
        return x + 2 * x2 * y2 + y
    if not law.std:
        return abs(off) ** 4
    if law.kurtosis is None or law.kurtosis == math.inf:
        return law.kurtosis
    own = law.kurtosis * law.std**4
    if isinstance(off, complex):  # of a disc, which has no direction
        return None if off else own
    third = 4 * off * law.skewness * law.std**3
    return own + third + 6 * off**2 * law.std**2 + off**4


def _below(law: Law, x: Any) -> Any:
    """P(w < x): the distribution function without the atom that may be at x."""
    return law.cdf(x if law.dense else x - (1e-15 * abs(x) + 1e-300))


def _share_at(law: Law, x: Any) -> float:
    """P(w = x)."""
    is_atom = not law.dense and math.isfinite(x)
    return float(law.cdf(x) - _below(law, x)) if is_atom else 0.0


def _corner(pick: Any, bounds: Any) -> Any:
    """The least or the greatest of bounds, part by part where they are complex."""
    if any(isinstance(bound, complex) for bound in bounds):
        return complex(pick(np.real(bounds)), pick(np.imag(bounds)))
    return pick(bounds)


def _image_of_ends(ends: Any, scale: Any, shift: Any) -> tuple[Any, Any]:
    """The bounds of scale · w + shift, of weights between two ends."""
    if not scale:  # nor 0 · inf
        return shift, shift
    low, high = (scale * end + shift for end in ends)
    return (low, high) if scale > 0 else (high, low)
