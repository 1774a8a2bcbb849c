"""Initializers made of others: several kernels in one array, each drawn alone.

The one within is an initializer of jinit or any function `(key, shape, dtype)`. Where
kernels are independent, they are what it draws from `jax.random.split(key, n)`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _checks
from jinit._checks import Shape, count, dtype_name, single_axis
from jinit._initializer import Breaks, Initializer, Uncalled, option
from jinit._types import ArrayDType
from jinit.laws import Law

Init = Callable[..., jax.Array]
"""An initializer of jinit, or any function (key, shape, dtype)."""


def check_init(name: str, init: Any, usage: str = "{}") -> Init:
    """Returns an initializer, jinit's or another, refusing factories and the rest."""
    if isinstance(init, type) and issubclass(init, Uncalled):
        return init()
    if isinstance(init, type) or not callable(init):
        ours = isinstance(init, type) and issubclass(init, Initializer)
        call = init._as_called() if ours else "jinit.lecun_normal()"
        remedy = f"call a factory, as in {usage.format(call)}"
        if isinstance(init, int | float | complex):
            remedy = f"give jinit.constant({init!r})"
        raise TypeError(f"{name} must be an initializer, got {init!r}; {remedy}.")
    return init


def as_given(name: str, value: Any) -> Any:
    """An option that others decide on; see `_check_options`."""
    return value


_UNKNOWN = object.__new__(Initializer)


class Combinator(Initializer):
    """An initializer that draws by another, and hands every question to it."""

    init: Init = option(as_given, kw_only=False)

    def _check_options(self) -> None:
        init: Any = check_init("init", self.init, self._as_called("{}"))
        # Whether it needs a key, and which dtype it has, is for init to say.
        self._set(init=init, _random=getattr(init, "_random", True))
        self._set(_dtype=getattr(init, "_dtype", None))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._check_within(self._within(shape)[1], dtype)

    def _check_within(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses what the initializer within refuses."""
        self._known_init._check_all(shape, dtype)

    @property
    def _known_init(self) -> Initializer:
        """The initializer within, or one that knows nothing in the place of others'."""
        return self.init if isinstance(self.init, Initializer) else _UNKNOWN

    def _within(self, shape: Shape) -> tuple[Any, Shape]:
        """Where the kernels within lie, and the shape of one."""
        return None, shape

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        return self._known_init._law(self._within(shape)[1], dtype)

    def _fans(self, shape: Shape) -> tuple[Any, Any] | None:
        return self._known_init._fans(self._within(shape)[1])

    def _copies(self, shape: Shape) -> int:
        return self._known_init._copies(self._within(shape)[1])

    def _members(self, array: np.ndarray) -> list[np.ndarray]:
        """The kernels within."""
        return [array]

    def _breaks(self, array: np.ndarray) -> Breaks:
        """What the first kernel breaks that breaks something."""
        found = ([*self._known_init._breaks(w)] for w in self._members(array))
        yield from next(filter(None, found), [])

    def _draw_each(self, key: Any, n: int, shape: Shape, dtype: np.dtype) -> jax.Array:
        """Draws the n kernels within, stacks them along their axis and reshapes."""
        axis, within = self._within(shape)
        if not self._random:
            one = jnp.expand_dims(draw_one(self.init, key, within, dtype), axis)
            return jnp.repeat(one, n, axis).reshape(shape)
        # A traced option cannot be hashed, nor does it need to: jax.jit is under way.
        known = isinstance(self.init, Hashable) and not self._is_traced()
        program = _compiled if known else _independent
        return program(key, self.init, n, within, dtype, axis, shape)


def haiku(init: Init) -> Callable[..., jax.Array]:
    """Makes an initializer one of Haiku, which calls it with `(shape, dtype)`.

    Args:
      init: An initializer.

    Returns:
      A function `(shape, dtype)`. What is drawn has Haiku's next key, as the weights of
      Haiku's own initializers have; what is not takes none.

    Raises:
      TypeError: `init` is not an initializer.

    Example:
      >>> import jinit
      >>> w_init = jinit.haiku(jinit.he_normal())  # hk.Linear(256, w_init=w_init)
      >>> print(jinit.haiku(jinit.zeros)((3,), "float32"))
      [0. 0. 0.]

    References:
      `hk.initializers`, all of which `docs/coming-from-jax.md` lists beside jinit's.
    """
    return partial(_drawn_in_haiku, check_init("init", init, "jinit.haiku({})"))


def _drawn_in_haiku(init: Init, shape: Shape, dtype: Any) -> jax.Array:
    if not getattr(init, "_random", True):
        return init(None, shape, dtype)
    import haiku  # which calls this, and so is there

    return init(haiku.next_rng_key(), shape, dtype)


class stack(Combinator):
    """Independent kernels, stacked along an axis: experts, ensembles, layers.

        W[i] = init(keys[i], shape of one),    keys = jax.random.split(key, n)

    The stacked axis counts for nothing in the fans of the others. It is for a parameter
    that holds the whole stack; `flax.linen.scan` and `vmap` ask for one layer at a time
    and stack what they get, which needs no help.

    Args:
      init: The initializer of one kernel; its axes are those of one kernel.
      axis: The axis of the stack, of any size n.

    Example:
      >>> import jax, jinit
      >>> experts = jinit.stack(jinit.orthogonal())
      >>> experts(jax.random.key(0), (8, 64, 256)).shape  # 8 orthogonal matrices
      (8, 64, 256)

    References:
      An initializer with a `batch_axis` of its own draws the whole stack from one key.
    """

    axis: int = option(single_axis, default=0, kw_only=False)

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis counted from the front, and the shape of one kernel."""
        remedy = "give the shape of the whole stack"
        axis = _checks.resolve_axis(shape, self.axis, remedy)
        return axis, (*shape[:axis], *shape[axis + 1 :])

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return self._draw_each(key, shape[self.axis], shape, dtype)

    def _members(self, array: np.ndarray) -> list[np.ndarray]:
        return list(np.moveaxis(array, self.axis, 0))


class blocks(Combinator):
    """Independent kernels side by side in one: packed q, k and v, gates of an LSTM.

        W = concatenate([init(k, shape of one) for k in jax.random.split(key, n)], axis)

    Each block has the fans of the layer that it is. An initializer that sees the packed
    kernel alone takes its outputs for one layer's: Xavier's standard deviation is then
    too small by up to sqrt(1/2) for packed q, k and v.

    Args:
      init: The initializer of one block; its axes are those of one block.
      n: The number of blocks.
      axis: The axis that they share.

    Raises:
      ValueError: At the call: n does not divide the size of the axis.

    Example:
      >>> import jax, jinit
      >>> qkv = jinit.blocks(jinit.xavier_normal(), 3)
      >>> w = qkv(jax.random.key(0), (256, 3 * 256))
      >>> print(f"{w.std() * 256**0.5:.2f}")  # the deviation is sqrt(2 / (256 + 256))
      1.00

    References:
      torch packs the projections of `MultiheadAttention` and does not make up for it
      (pytorch#166378). Flax's `nnx.OptimizedLSTMCell` and `nnx.GRUCell` pack gates, and
      `DenseGeneral` folds batch dimensions into the first axis: `axis=0`.
    """

    n: int = option(count, kw_only=False)
    axis: int = option(single_axis, default=-1, kw_only=False)

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis counted from the front, and the shape of one block."""
        remedy = "give the shape of all blocks together"
        axis = _checks.resolve_axis(shape, self.axis, remedy)
        if shape[axis] % self.n:
            raise ValueError(
                f"n must divide the size {shape[axis]} of axis {self.axis} of shape "
                f"{shape}, got n={self.n}."
            )
        return axis, (*shape[:axis], shape[axis] // self.n, *shape[axis + 1 :])

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return self._draw_each(key, self.n, shape, dtype)

    def _members(self, array: np.ndarray) -> list[np.ndarray]:
        return np.split(array, self.n, self.axis)


class with_dtype(Combinator):
    """Draws in a dtype of its own where the call names none.

    Flax's layers name one, their `param_dtype`, which then holds.

    Args:
      init: An initializer.
      dtype: The dtype instead of JAX's default float dtype.

    Example:
      >>> import jax, jinit
      >>> init = jinit.with_dtype(jinit.lecun_normal(), "bfloat16")
      >>> print(init(jax.random.key(0), (3, 4)).dtype)
      bfloat16

    References:
      The `dtype` of the factories in `jax.nn.initializers` and `jinit.jaxnn`.
    """

    dtype: ArrayDType = option(as_given, kw_only=False)

    def _check_options(self) -> None:
        super()._check_options()
        # By its name: which dtype that is with 64 bits off or on, the call decides.
        name = dtype_name(self.dtype, inexact=self._random)
        self._set(dtype=name, _dtype=name)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return draw_one(self.init, key, shape, dtype)


def draw_one(init: Init, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
    """Draws, and refuses what a function of the user's returns instead of an array."""
    w = init(key, shape, dtype)
    if getattr(w, "shape", None) != shape or getattr(w, "dtype", None) != dtype:
        raise ValueError(
            f"init must return an array of shape {shape} and dtype {dtype.name}, but "
            f"{init!r} returned {w!r}."
        )
    return w


def _independent(
    key: Any,
    init: Init,
    n: int,
    within: Shape,
    dtype: np.dtype,
    axis: int,
    shape: Shape,
) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        return draw_one(init, key, within, dtype)

    keys = jax.random.split(key, n)
    if jax.random.key_impl(key) == "threefry2x32":
        return jax.vmap(draw, out_axes=axis)(keys).reshape(shape)
    # Mapped over keys, other generators draw other numbers than for each key alone.
    return jnp.moveaxis(lax.map(draw, keys), 0, axis).reshape(shape)


_compiled = jax.jit(_independent, static_argnums=(1, 2, 3, 4, 5, 6))
