"""The initializer: a value that is called with a key, a shape and a dtype."""

from __future__ import annotations

import importlib
import inspect
import numbers
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import MISSING, Field, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _types
from jinit._bits import real_dtype
from jinit._checks import Number, Shape, is_traced
from jinit._types import ArrayDType, PRNGKey
from jinit._value import Value

Breaks = Iterator[tuple[str, str, str]]
"""What of a pattern is broken: the kind, a sentence, and what is likely the cause."""

Sharding = jax.sharding.NamedSharding | jax.sharding.PartitionSpec

if TYPE_CHECKING:
    from jinit.laws import Law
else:  # which imports this module
    Law = Any


def option(
    check: Callable[[str, Any], Any], *, default: Any = MISSING, kw_only: bool = True
) -> Any:
    """An option of an initializer, which must be given where it has no default.

    `check` takes its name and a value, and returns the one normal form or refuses it.
    """
    return field(default=default, kw_only=kw_only, metadata={"check": check})


class _Signature:
    """The options of a class, made when asked for; an instance has that of its call."""

    def __get__(self, init: Any, cls: Any) -> inspect.Signature:
        if init is not None:
            raise AttributeError("__signature__")
        empty, parameters = inspect.Parameter.empty, []
        for each in cls._fields():
            kind = "KEYWORD_ONLY" if each.kw_only else "POSITIONAL_OR_KEYWORD"
            parameter = inspect.Parameter(each.name, getattr(inspect.Parameter, kind))
            default = empty if each.default is MISSING else each.default
            parameters.append(parameter.replace(default=default, annotation=each.type))
        return inspect.Signature(parameters)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(option,)
)
class Initializer(Value):
    """An initializer with its options bound: what every factory here returns.

    An initializer is a value. It prints as the call that makes it, compares, hashes and
    pickles, so two Flax modules built alike are equal, and `jax.jit` does not trace
    again for a rebuilt one. It knows the law of what it draws.

    All are made, called and refused alike. Options are given by keyword, but for those
    that stand first in the signature without a star. One that is of the wrong type is a
    TypeError, one that is out of its range a ValueError, both where the initializer is
    made; at the call a dtype that it does not draw is a TypeError, and a shape that
    lacks an axis which an option names a ValueError.

    Example:
      >>> import jax, jinit
      >>> init = jinit.xavier_uniform(gain="relu")
      >>> isinstance(init, jinit.Initializer), init
      (True, xavier_uniform(gain='relu'))
      >>> init(jax.random.key(0), (784, 256), "bfloat16").dtype
      dtype(bfloat16)
    """

    # A subclass declares its options by `option` and says what it draws, in `_law` or,
    # where weights depend on each other, in `_draw` too. What does not fit the options
    # it refuses in `_check_options`, what does not fit the call in `_check`.
    _random: ClassVar[bool] = True  # draws from the key, and so only floats
    _dtype: ClassVar[str | None] = None  # where the call names none; None is JAX's
    _known: ClassVar[dict[str, type[Initializer]]] = {}  # jinit's own, by name
    __signature__ = _Signature()

    def __init_subclass__(cls, **keywords: Any) -> None:
        own = [name for name, value in vars(cls).items() if isinstance(value, Field)]
        inherited = [each.name for each in cls._fields() if each.name not in own]
        super().__init_subclass__(**keywords)
        # As a call has them: first those by position, then its own before inherited.
        known = dict(cls.__dataclass_fields__)
        first = [n for n in [*inherited, *own] if not known[n].kw_only]
        named = [n for n in [*own, *inherited] if known[n].kw_only]
        cls.__dataclass_fields__.clear()
        cls.__dataclass_fields__.update({name: known[name] for name in first + named})
        if cls.__module__.startswith("jinit.") and cls.__name__[0].islower():
            Initializer._known[cls.__name__] = cls

    def __init__(self, *args: Any, **options: Any) -> None:
        cls, declared = type(self), self._fields()
        names = [each.name for each in declared]
        positional = [each.name for each in declared if not each.kw_only]
        # Seen at first use: a family, such as `FanInitializer`, need not say it.
        if cls._law is Initializer._law and cls._draw is Initializer._draw:
            raise TypeError(
                f"{cls.__name__} says neither what it draws nor how; give the class a "
                "method _law(self, shape, dtype) that returns a law of jinit.laws."
            )
        if len(args) > len(positional):
            raise TypeError(
                f"{cls._full_name()} makes an initializer and takes its options by "
                f"keyword ({', '.join(names)}), got {len(args)} positional arguments. "
                f"If it was passed on uncalled, kernel_init={cls._full_name()}, call "
                f"it: kernel_init={cls._as_called()}."
            )
        given = dict(zip(positional, args, strict=False))
        for name, value in options.items():
            if name not in names:
                known = ", ".join(names) or "none"
                raise TypeError(
                    f"{cls._full_name()} has no option {name!r}; it has: {known}."
                )
            if name in given:
                raise TypeError(
                    f"{cls._full_name()} got {name} twice, by position and by "
                    "keyword; leave one out."
                )
            given[name] = value
        for each in declared:
            value = given.get(each.name, each.default)
            if value is MISSING:
                raise TypeError(
                    f"{cls._full_name()} needs its option {each.name}, as in "
                    f"{cls._as_called()}."
                )
            self._set(**{each.name: each.metadata["check"](each.name, value)})
        _checks.distinct_axes(**self._named_axes())
        self._check_options()

    @classmethod
    def _full_name(cls) -> str:
        """Its name as users write it: that of jinit, of a namespace, and its own."""
        space = cls.__module__.partition(".")[2].partition(".")[0]
        spaces = [space] if space and space[0] != "_" else []
        return ".".join(["jinit", *spaces, cls.__name__])

    @classmethod
    def _as_called(cls, *init: str) -> str:
        """The call that makes one, of another if that is given, with what it needs."""
        needed = [each.name for each in cls._fields() if each.default is MISSING]
        options = [*init, *(name for name in needed if not init or name != "init")]
        return f"{cls._full_name()}({', '.join(options)})"

    if not TYPE_CHECKING:  # for which it would be that of the class, too

        @property
        def __name__(self) -> str:
            """What it prints as: Flax shows the names of functions in its modules."""
            return repr(self)

    def __call__(
        self,
        key: PRNGKey,
        shape: _types.Shape,
        dtype: ArrayDType | None = None,
        out_sharding: Sharding | None = None,
    ) -> jax.Array:
        """Draws an array of a shape and dtype.

        Args:
          key: A JAX key of any implementation, typed (`jax.random.key`) or raw
            (`jax.random.PRNGKey`). Deterministic initializers do not look at it.
          shape: The shape, which may be empty or a scalar's.
          dtype: The dtype; by default JAX's default float dtype.
          out_sharding: A `NamedSharding`, or a `PartitionSpec` under `jax.set_mesh`.
            Each device draws its own part only, but for those of `blocks` along a
            sharded axis, and for `sparse`, `looks_linear` and the orthogonal ones,
            which communicate; these draw whole matrices.

        Raises:
          TypeError: The key is not one key, the shape is not integers, or the dtype is
            not one that the initializer draws.
          ValueError: The shape lacks an axis that the options name, or the sharding
            does not fit it.
        """
        size = _checks.check_shape(shape)
        kind = _checks.check_dtype(self._dtype if dtype is None else dtype)
        if self._random:
            key = _checks.check_key(key)
        self._check_all(size, kind)
        if out_sharding is not None:
            _checks.check_sharding(out_sharding, size)
        if 0 in size:  # fans may be zero, and there is nothing to draw
            return jax.device_put(jnp.zeros(size, kind), out_sharding)
        with _in_full(kind):
            if out_sharding is None:
                return self._draw(key, size, kind)
            explicit = bool(jax.sharding.get_abstract_mesh().explicit_axes)
            # A traced option cannot be hashed, nor need it be: jax.jit is under way.
            program = _sharded_draw.__wrapped__ if self._is_traced() else _sharded_draw
            return program(self, size, kind, out_sharding, explicit)(key)

    def law(self, shape: _types.Shape, dtype: ArrayDType | None = None) -> Law | None:
        """The law of the weights of a kernel: what is known of each by itself.

        Args:
          shape: The shape of the kernel.
          dtype: Its dtype, by default JAX's default float dtype; complex weights have a
            law of their own. Rounding to the dtype is left out.

        Returns:
          One of `jinit.laws`, over all weights of the kernel and all keys. None where
          nothing is known: of an empty shape, and of traced options.

        Raises:
          TypeError: The shape is not integers, or the initializer does not draw the
            dtype.
          ValueError: The shape lacks an axis that the options name.

        Example:
          >>> import jinit
          >>> jinit.normal(std=0.02).law((784, 256))
          Normal(mean=0.0, std=0.02)
          >>> print(f"{jinit.he_normal().law((784, 256)).std:.4f}")  # sqrt(2 / 784)
          0.0505
        """
        size = _checks.check_shape(shape)
        kind = _checks.check_dtype(self._dtype if dtype is None else dtype)
        self._check_all(size, kind)
        if 0 in size or self._is_traced():
            return None
        complex_ = jnp.issubdtype(kind, np.complexfloating)
        law = self._law(size, np.dtype(np.complex128 if complex_ else np.float64))
        if law is None:
            return None
        return (law.over_complex() if complex_ else law).simplified()

    # Terms: `2.0 * init + 1.0` is `jinit.distributions.affine(init, ...)`.
    __array_ufunc__: ClassVar[None] = None  # NumPy's numbers leave the operation to it

    def __mul__(self, factor: Number) -> Initializer:
        return self._term(factor, "*", scale=factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Number) -> Initializer:
        known = _is_number(divisor) and not is_traced(divisor)
        if known and abs(_checks.number("divisor", divisor)) < sys.float_info.min:
            raise ValueError(
                f"{self!r} must be divided by another number than 0, got {divisor!r}."
            )
        return self._term(divisor, "/", scale=_is_number(divisor) and 1 / divisor)

    def __add__(self, shift: Number) -> Initializer:
        return self._term(shift, "+", shift=shift)

    __radd__ = __add__

    def __sub__(self, shift: Number) -> Initializer:
        return self._term(shift, "-", shift=_is_number(shift) and -shift)

    def __rsub__(self, shift: Number) -> Initializer:
        return self._term(shift, "-", scale=-1.0, shift=shift)

    def __neg__(self) -> Initializer:
        return self._term(-1.0, "*", scale=-1.0)

    def _term(self, number: Any, sign: str, **options: Any) -> Initializer:
        """The initializer scaled or shifted by a number."""
        if not _is_number(number):
            remedy = "; draw both, and combine the arrays" * callable(number)
            raise TypeError(
                f"{self!r} {sign} a number is an initializer, got {number!r}{remedy}."
            )
        # Of a module above this one, which imports it.
        module = importlib.import_module("jinit.distributions")
        return module.affine(self, **options)

    def __repr__(self) -> str:
        options = []
        for each in self._fields():
            value = getattr(self, each.name)
            if not each.kw_only and each.default is MISSING:
                options.append(repr(value))
            elif is_traced(value) or value != each.default:
                options.append(f"{each.name}={value!r}")
        return f"{type(self).__name__}({', '.join(options)})"

    def _is_traced(self) -> bool:
        """Whether an option is a traced array, here or in an initializer within."""
        return any(
            each._is_traced() if isinstance(each, Initializer) else is_traced(each)
            for each in self._values()
        )

    def _check_all(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses a shape or dtype that cannot be drawn."""
        if self._random and not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{self!r} draws floating-point or complex numbers, got "
                f"dtype={dtype.name}; draw in float32 and round, or use "
                "jinit.zeros, jinit.ones or jinit.constant."
            )
        for each in self._fields():
            _checks.check_range(each.name, getattr(self, each.name), dtype)
        self._check(shape, dtype)

    def _check_options(self) -> None:
        """Refuses options that do not fit together."""

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses a shape or dtype that the options do not fit."""

    def _named_axes(self) -> dict[str, Any]:
        """The options that name axes of the kernel."""
        names = [each.name for each in self._fields()]
        return {name: getattr(self, name) for name in names if name.endswith("_axis")}

    def _axes(self, shape: Shape, remedy: str) -> list[tuple[int, ...]]:
        """Those axes counted from the front, in the order of the options."""
        return _checks.resolve_axes(shape, remedy, **self._named_axes())

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        """The law of each weight, or None; `shape` has no zero."""
        return None

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Returns the array; `shape` has no zero, `key` is typed."""
        law: Any = self._law(shape, dtype)
        if not hasattr(law, "draw"):
            raise TypeError(
                f"{type(self).__name__}._law must return a law, such as "
                f"jinit.laws.Normal(0.0, std), got {law!r}; or define _draw."
            )
        return law.draw(key, shape, dtype)

    def _fans(self, shape: Shape) -> tuple[Any, Any] | None:
        """The fans that the scale follows from; None where it follows from none."""
        return None

    def _copies(self, shape: Shape) -> int:
        """How many weights follow from each that is drawn."""
        return 1

    def _breaks(self, array: np.ndarray) -> Breaks:
        """What an array lacks of its pattern; where nothing is random all is known."""
        if not self._random:
            planned = np.asarray(self(jax.random.key(0), array.shape, array.dtype))
            off = int((planned != array).sum())
            if off:
                yield "pattern", f"{off} of {array.size} weights are not {self!r}'s", ""


class RealInitializer(Initializer):
    """An initializer of real numbers, which no complex dtype holds."""

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        _checks.check_real(self, dtype)


def _is_number(value: Any) -> bool:
    """Whether it may scale weights: a real scalar, traced or not."""
    if isinstance(value, jax.Array | np.ndarray):
        return value.shape == () and not jnp.issubdtype(value.dtype, np.bool_)
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


class _CallSignature:
    """That of a function `(key, shape, dtype)`, which the class is as well."""

    def __get__(self, init: Any, cls: Any) -> inspect.Signature:
        if init is not None:
            raise AttributeError("__signature__")
        signature = inspect.signature(Initializer.__call__)
        return signature.replace(parameters=[*signature.parameters.values()][1:])


class Uncalled(Initializer):
    """An initializer without options, which works uncalled as it does called."""

    __signature__ = _CallSignature()

    def __new__(cls, *args: Any, **call: Any) -> Any:
        init = super().__new__(cls)
        return init(*args, **call) if args or call else init


def _in_full(dtype: np.dtype) -> Any:
    """Settings in which 64 bits are drawn in 64, where JAX allows them one by one."""
    enabled = getattr(jax.config, "jax_enable_x64")  # noqa: B009 (untyped)
    wide = real_dtype(dtype) == np.float64 and not enabled
    return jax.enable_x64(True) if wide else nullcontext()


@lru_cache(maxsize=1024)
def _sharded_draw(
    init: Initializer, shape: Shape, dtype: np.dtype, out_sharding: Any, explicit: bool
) -> Callable[[Any], jax.Array]:
    """A compiled draw whose result is laid out over a mesh."""
    draw = partial(init._draw, shape=shape, dtype=dtype)
    if explicit:
        return jax.jit(jax.sharding.auto_axes(draw, out_sharding=out_sharding))
    return jax.jit(draw, out_shardings=out_sharding)
