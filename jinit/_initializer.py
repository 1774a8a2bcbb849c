"""The initializer: a value that is called with a key, a shape and a dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache, partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _arguments
from jinit._arguments import Shape
from jinit._options import is_traced


@dataclass(frozen=True, kw_only=True, repr=False)
class Initializer:
    """An initializer with its options bound: what every factory here returns.

    An initializer is a value. It prints as the call that makes it, compares, hashes and
    pickles, so two Flax modules built alike are equal, and `jax.jit` does not trace
    again for a rebuilt one.

    Example:
      >>> import jax, jinit
      >>> init = jinit.xavier_uniform(gain="relu")
      >>> isinstance(init, jinit.Initializer), init
      (True, xavier_uniform(gain='relu'))
      >>> init(jax.random.key(0), (784, 256), "bfloat16").dtype
      dtype(bfloat16)
    """

    # A subclass is a frozen dataclass whose fields are its options. It draws in `_draw`
    # and, where some shapes or dtypes do not fit, refuses them in `_check`.
    _random: ClassVar[bool] = True  # draws from the key, and so only floats
    _dtype: ClassVar[str | None] = None  # where the call names none; None is JAX's

    def __new__(cls, /, *args: Any, **options: Any) -> Self:
        names = [f.name for f in fields(cls)]
        positional = [f.name for f in fields(cls) if not f.kw_only]
        if len(args) > len(positional):
            raise TypeError(
                f"jinit.{cls.__name__} makes an initializer and takes its options by "
                f"keyword ({', '.join(names)}), got {len(args)} positional arguments. "
                f"If it was passed on uncalled, kernel_init=jinit.{cls.__name__}, call "
                f"it: kernel_init=jinit.{cls.__name__}({', '.join(positional)})."
            )
        for name in options:
            if name not in names:
                known = ", ".join(names) or "none"
                raise TypeError(
                    f"jinit.{cls.__name__} has no option {name!r}; it has: {known}."
                )
        return super().__new__(cls)

    def __call__(
        self, key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None
    ) -> jax.Array:
        """Draws an array.

        Args:
          key: A JAX key of any implementation, typed (`jax.random.key`) or raw
            (`jax.random.PRNGKey`). Deterministic initializers do not look at it.
          shape: The shape of the array. Scalars and empty shapes are shapes too.
          dtype: Its dtype; by default JAX's default float dtype.
          out_sharding: A `NamedSharding`, or a `PartitionSpec` under `jax.set_mesh`.
            Each device draws its own part only, but for those of `blocks` along a
            sharded axis, and for `sparse`, `looks_linear` and the orthogonal ones,
            which communicate; these draw whole matrices.

        Returns:
          An array of that shape and dtype.

        Raises:
          TypeError: The key is not one key, the shape is not integers, or the dtype is
            not one that the initializer draws.
          ValueError: The shape lacks an axis that the options name, or the sharding
            does not fit it.
        """
        shape = _arguments.check_shape(shape)
        dtype = _arguments.check_dtype(self._dtype if dtype is None else dtype)
        if self._random:
            key = _arguments.check_key(key)
        self._check_all(shape, dtype)
        if out_sharding is not None:
            _arguments.check_sharding(out_sharding, shape)
        if 0 in shape:  # fans may be zero, and there is nothing to draw
            empty = jnp.zeros(shape, dtype)
            return (
                empty if out_sharding is None else jax.device_put(empty, out_sharding)
            )
        if out_sharding is None:
            return self._draw(key, shape, dtype)
        explicit = bool(jax.sharding.get_abstract_mesh().explicit_axes)
        # A traced option cannot be hashed, nor does it need to: jax.jit is under way.
        program = _sharded_draw.__wrapped__ if self._is_traced() else _sharded_draw
        return program(self, shape, dtype, out_sharding, explicit)(key)

    def expected_std(self, shape: Any) -> float | None:
        """The standard deviation that the weights of a kernel are drawn with.

        Args:
          shape: The shape of the kernel.

        Returns:
          The standard deviation about the mean of the distribution, over all weights of
          the kernel and all keys. None where it is not known: of an empty shape, of
          traced options, and of kernels with a pattern, such as `eye` and `sparse`.

        Raises:
          TypeError: The shape is not integers.
          ValueError: The shape lacks an axis that the options name.

        Example:
          >>> import jinit
          >>> std = jinit.he_normal().expected_std((784, 256))
          >>> print(f"{std:.4f}")  # sqrt(2 / 784)
          0.0505
        """
        shape = _arguments.check_shape(shape)
        return None if 0 in shape or self._is_traced() else self._std(shape)

    def __repr__(self) -> str:
        options = []
        for field in sorted(fields(self), key=lambda field: bool(field.kw_only)):
            value = getattr(self, field.name)
            if not field.kw_only and field.default is MISSING:
                options.append(repr(value))
            elif is_traced(value) or value != field.default:
                options.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(options)})"

    def _is_traced(self) -> bool:
        """Whether an option is a traced array, here or in an initializer within."""
        options = [getattr(self, field.name) for field in fields(self)]
        return any(
            option._is_traced()
            if isinstance(option, Initializer)
            else is_traced(option)
            for option in options
        )

    def _check_all(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses a shape or dtype that cannot be drawn."""
        if self._random and not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{self!r} draws floating-point or complex numbers, got "
                f"dtype={dtype.name}; draw in float32 and round, or use "
                "jinit.zeros, jinit.ones or jinit.constant."
            )
        for field in fields(self):
            _arguments.check_range(field.name, getattr(self, field.name), dtype)
        self._check(shape, dtype)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses a shape or dtype that the options do not fit."""

    def _std(self, shape: Shape) -> Any:
        """The standard deviation of the weights, or None; `shape` has no zero."""
        return None

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Returns the array; `shape` has no zero, `key` is typed."""
        raise TypeError("Initializer is a base class; use one of jinit's initializers.")

    def _set(self, **options: Any) -> None:
        """Sets options to their normal form; for `__post_init__` alone."""
        for name, value in options.items():
            object.__setattr__(self, name, value)


@lru_cache(maxsize=1024)
def _sharded_draw(
    init: Initializer, shape: Shape, dtype: np.dtype, out_sharding: Any, explicit: bool
) -> Callable[[Any], jax.Array]:
    """A compiled draw whose result is laid out over a mesh."""
    draw = partial(init._draw, shape=shape, dtype=dtype)
    if explicit:
        return jax.jit(jax.sharding.auto_axes(draw, out_sharding=out_sharding))
    return jax.jit(draw, out_shardings=out_sharding)
