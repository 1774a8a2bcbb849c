"""Initializers made of others: several kernels in one array, each drawn alone.

The one within is an initializer of jinit or any function `(key, shape, dtype)`. Where
kernels are independent, they are what it draws from `jax.random.split(key, n)`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _options
from jinit._arguments import Shape, dtype_name
from jinit._basic import Uncalled
from jinit._initializer import Initializer
from jinit._orthogonal import orthogonal


def check_init(name: str, init: Any, usage: str = "{}") -> Callable[..., jax.Array]:
    """Returns an initializer, jinit's or another, refusing factories and the rest."""
    if isinstance(init, type) and issubclass(init, Uncalled):
        return init()
    if isinstance(init, type) or not callable(init):
        ours = isinstance(init, type) and issubclass(init, Initializer)
        factory = init.__name__ if ours else "lecun_normal"
        example = usage.format(f"jinit.{factory}()")
        raise TypeError(
            f"{name} must be an initializer, got {init!r}; call a factory, as in "
            f"{example}."
        )
    return init


@dataclass(frozen=True, kw_only=True, repr=False)
class _Combinator(Initializer):
    """An initializer that draws by another."""

    init: Callable[..., jax.Array] = field(kw_only=False)

    def __post_init__(self) -> None:
        usage = f"jinit.{type(self).__name__}({{}}, ...)"
        init: Any = check_init("init", self.init, usage)
        # Whether it needs a key, and which dtype it has, is for init to say.
        self._set(init=init, _random=getattr(init, "_random", True))
        self._set(_dtype=getattr(init, "_dtype", None))

    def _check_within(self, shape: Shape, dtype: np.dtype) -> None:
        """Refuses what the initializer within refuses."""
        if isinstance(self.init, Initializer):
            self.init._check_all(shape, dtype)

    def _within(self, shape: Shape) -> tuple[Any, Shape]:
        """Where the kernels within lie, and the shape of one."""
        return None, shape

    def _std(self, shape: Shape) -> Any:
        if isinstance(self.init, Initializer):
            return self.init.expected_std(self._within(shape)[1])
        return None

    def _draw_each(
        self, key: Any, n: int, within: Shape, dtype: np.dtype, axis: int, shape: Shape
    ) -> jax.Array:
        """Draws n arrays of shape `within`, stacks them along an axis and reshapes."""
        if not self._random:
            one = jnp.expand_dims(_draw_one(self.init, key, within, dtype), axis)
            return jnp.repeat(one, n, axis).reshape(shape)
        # A traced option cannot be hashed, nor does it need to: jax.jit is under way.
        known = isinstance(self.init, Hashable) and not self._is_traced()
        program = _compiled if known else _independent
        return program(key, self.init, n, within, dtype, axis, shape)


@dataclass(frozen=True, kw_only=True, repr=False)
class stack(_Combinator):
    """Independent kernels, stacked along an axis: experts, ensembles, layers.

        W[i] = init(keys[i], shape of one),    keys = jax.random.split(key, n)

    The stacked axis counts for nothing in the fans of the others. It is for a parameter
    that holds the whole stack; `flax.linen.scan` and `vmap` ask for one layer at a time
    and stack what they get, which needs no help.

    Args:
      init: The initializer of one kernel; its axes are those of one kernel.
      axis: The axis of the stack, of any size n.

    Raises:
      TypeError: `init` is not an initializer, or `axis` is not an integer.
      ValueError: At the call: the shape lacks the axis, or `init` refuses the rest.

    Example:
      >>> import jax, jinit
      >>> experts = jinit.stack(jinit.orthogonal())
      >>> experts(jax.random.key(0), (8, 64, 256)).shape  # 8 orthogonal matrices
      (8, 64, 256)

    References:
      An initializer with a `batch_axis` of its own draws the whole stack from one key.
    """

    axis: int = field(default=0, kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(axis=_options.single_axis("axis", self.axis))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._check_within(self._within(shape)[1], dtype)

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis counted from the front, and the shape of one kernel."""
        remedy = "give the shape of the whole stack"
        ((axis,),) = _options.resolve_axes(shape, remedy, axis=self.axis)
        return axis, (*shape[:axis], *shape[axis + 1 :])

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        axis, within = self._within(shape)
        return self._draw_each(key, shape[axis], within, dtype, axis, shape)


@dataclass(frozen=True, kw_only=True, repr=False)
class blocks(_Combinator):
    """Independent kernels side by side in one: packed q, k and v, gates of an LSTM.

        W = concatenate([init(k, shape of one) for k in jax.random.split(key, n)], axis)

    Each block has the fans of the layer that it is. An initializer that sees the packed
    kernel alone takes its outputs for one layer's: Xavier's standard deviation is then
    too small by up to sqrt(1/2) for packed q, k and v.

    Args:
      init: The initializer of one block; its axes are those of one block.
      n: The number of blocks.
      axis: The axis that they share, whose size n divides.

    Raises:
      TypeError: `init` is not an initializer, or a number is not an integer.
      ValueError: n < 1. At the call: the shape lacks the axis, n does not divide its
        size, or `init` refuses the block.

    Example:
      >>> import jax, jinit
      >>> qkv = jinit.blocks(jinit.xavier_normal(), 3)
      >>> w = qkv(jax.random.key(0), (256, 3 * 256))
      >>> print(f"{w.std() * 256**0.5:.2f}")  # the deviation is sqrt(2 / (256 + 256))
      1.00

    References:
      torch packs the projections of `MultiheadAttention` and does not make up for it
      (pytorch#166378). Flax's `nnx.OptimizedLSTMCell` and `nnx.GRUCell` pack their
      gates, and `DenseGeneral` with batch dimensions folds them into the first axis:
      `blocks(init, n, axis=0)`.
    """

    n: int = field(kw_only=False)
    axis: int = field(default=-1, kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(n=_options.count("n", self.n))
        self._set(axis=_options.single_axis("axis", self.axis))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._check_within(self._within(shape)[1], dtype)

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis counted from the front, and the shape of one block."""
        remedy = "give the shape of all blocks together"
        ((axis,),) = _options.resolve_axes(shape, remedy, axis=self.axis)
        if shape[axis] % self.n:
            raise ValueError(
                f"n must divide the size {shape[axis]} of axis {self.axis} of shape "
                f"{shape}, got n={self.n}."
            )
        return axis, (*shape[:axis], shape[axis] // self.n, *shape[axis + 1 :])

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        axis, within = self._within(shape)
        return self._draw_each(key, self.n, within, dtype, axis, shape)


MIRRORS = ("inputs", "outputs", "both")


@dataclass(frozen=True, kw_only=True, repr=False)
class looks_linear(_Combinator):
    """A kernel mirrored so that a ReLU network is linear at first.

        inputs     [[W], [-W]]            after CReLU: relu(x) W - relu(-x) W = x W
        outputs    [[W, -W]]              the first layer of a ReLU network
        both       [[W, -W], [-W, W]]     the layers between; "inputs" for the last

    ReLU loses the sign of what it passes, and a mirrored pair keeps it. With orthogonal
    W the network keeps the length of its input at any depth.

    Args:
      init: The initializer of W, which it draws in Flax's layout, (*spatial, in, out);
        `jinit.delta_orthogonal()` for convolutions.
      mirror: The axes that hold W and -W: "inputs", "outputs" or "both".
      in_axis: Axis of the inputs in the kernel.
      out_axis: Axis of the outputs.

    Raises:
      TypeError: `init` is not an initializer, or an axis is not an integer.
      ValueError: An unknown `mirror`, axes with two roles. At the call: a mirrored axis
        is not there or of odd size, a dtype without a sign, or `init` refuses W.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.looks_linear()(jax.random.key(0), (2 * 64, 64))
      >>> x = jax.random.normal(jax.random.key(1), (64,))
      >>> y = jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)]) @ w
      >>> print(f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.3f}")
      1.000

    References:
      Balduzzi et al. (2017), "The shattered gradients problem", arXiv:1702.08591.
    """

    init: Callable[..., jax.Array] = field(default=orthogonal(), kw_only=False)
    mirror: str = "inputs"
    in_axis: int = -2
    out_axis: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(mirror=_options.choice("mirror", self.mirror, MIRRORS))
        for name in ("in_axis", "out_axis"):
            self._set(**{name: _options.single_axis(name, getattr(self, name))})
        _options.distinct_axes(in_axis=self.in_axis, out_axis=self.out_axis)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if dtype == np.bool_ or jnp.issubdtype(dtype, np.unsignedinteger):
            raise ValueError(
                f"dtype must have a sign to be mirrored, got {dtype.name}."
            )
        self._check_within(self._within(shape)[1], dtype)

    def _within(self, shape: Shape) -> tuple[tuple[int, ...], Shape]:
        """The axes of the kernel in Flax's order, and the shape of W."""
        (in_axis,), (out_axis,) = _options.resolve_axes(
            shape,
            "name the axes of the kernel's channels (in_axis=, out_axis=)",
            in_axis=self.in_axis,
            out_axis=self.out_axis,
        )
        spatial = [a for a in range(len(shape)) if a not in (in_axis, out_axis)]
        sizes = [shape[axis] for axis in spatial]
        for name, axis in (("inputs", in_axis), ("outputs", out_axis)):
            mirrored = self.mirror in (name, "both")
            if mirrored and shape[axis] % 2:
                raise ValueError(
                    f"looks_linear mirrors the {name}, whose axis must be of even "
                    f"size, got shape {shape}; choose mirror= for this layer."
                )
            sizes.append(shape[axis] // 2 if mirrored else shape[axis])
        return (*spatial, in_axis, out_axis), tuple(sizes)

    def _std(self, shape: Shape) -> Any:
        return None  # a mean of W, which has two signs here, adds to its deviation

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        axes, within = self._within(shape)
        w = _draw_one(self.init, key, within, dtype)
        if self.mirror != "outputs":
            w = jnp.concatenate([w, -w], -2)
        if self.mirror != "inputs":
            w = jnp.concatenate([w, -w], -1)
        return w.transpose(np.argsort(axes))


@dataclass(frozen=True, kw_only=True, repr=False)
class with_dtype(_Combinator):
    """Draws in a dtype of its own where the call names none.

    Flax's layers name one, their `param_dtype`, which then holds.

    Args:
      init: An initializer.
      dtype: The dtype instead of JAX's default float dtype.

    Raises:
      TypeError: `init` is not an initializer, or `dtype` not a dtype.

    Example:
      >>> import jax, jinit
      >>> init = jinit.with_dtype(jinit.lecun_normal(), "bfloat16")
      >>> print(init(jax.random.key(0), (3, 4)).dtype)
      bfloat16

    References:
      The `dtype` of the factories in `jax.nn.initializers` and `jinit.jaxnn`.
    """

    dtype: Any = field(kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        # By its name: which dtype that is with 64 bits off or on, the call decides.
        self._set(dtype=dtype_name(self.dtype, inexact=self._random))
        self._set(_dtype=self.dtype)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._check_within(shape, dtype)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return _draw_one(self.init, key, shape, dtype)


def _draw_one(
    init: Callable[..., jax.Array], key: Any, shape: Shape, dtype: np.dtype
) -> jax.Array:
    """Draws, and refuses what a function of the user's returns instead of an array."""
    w = init(key, shape, dtype)
    if getattr(w, "shape", None) != shape or getattr(w, "dtype", None) != dtype:
        raise ValueError(
            f"init must return an array of shape {shape} and dtype {dtype.name}, but "
            f"{init!r} returned {w!r}."
        )
    return w


def _independent(
    key: jax.Array,
    init: Callable[..., jax.Array],
    n: int,
    within: Shape,
    dtype: np.dtype,
    axis: int,
    shape: Shape,
) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        return _draw_one(init, key, within, dtype)

    keys = jax.random.split(key, n)
    if jax.random.key_impl(key) == "threefry2x32":
        return jax.vmap(draw, out_axes=axis)(keys).reshape(shape)
    # Mapped over keys, other generators draw other numbers than for each key alone.
    return jnp.moveaxis(lax.map(draw, keys), 0, axis).reshape(shape)


_compiled = jax.jit(_independent, static_argnums=(1, 2, 3, 4, 5, 6))
