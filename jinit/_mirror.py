"""Mirrored kernels: networks of ReLUs that are linear at first."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit._checks import Shape, choice, or_none, single_axis
from jinit._combine import Combinator, Init, as_given, draw_one
from jinit._initializer import Breaks, option
from jinit._orthogonal import orthogonal
from jinit.laws import Law, Mixture

MIRRORS = ("inputs", "outputs", "both")


class looks_linear(Combinator):
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
      in_axis, out_axis: Axes of the inputs and of the outputs in the kernel.

    Raises:
      ValueError: At the call: a mirrored axis is of odd size, the dtype has no sign, or
        `init` refuses W.

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

    init: Init = option(as_given, default=orthogonal(), kw_only=False)
    mirror: str = option(partial(choice, choices=MIRRORS), default="inputs")
    in_axis: int | None = option(or_none(single_axis), default=None)
    out_axis: int = option(single_axis, default=-1)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if dtype == np.bool_ or jnp.issubdtype(dtype, np.unsignedinteger):
            raise ValueError(f"dtype must have a sign to mirror, got {dtype.name}.")
        super()._check(shape, dtype)

    def _within(self, shape: Shape) -> tuple[tuple[int, ...], Shape]:
        """The axes of the kernel in Flax's order, and the shape of W."""
        remedy = "name the axes of the kernel's channels (in_axis=, out_axis=)"
        (in_axis,), (out_axis,) = self._axes(shape, remedy)
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

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        law = super()._law(shape, dtype)
        if law is None:
            return None
        negative = law.affine(-1.0, 0.0).simplified()
        return law if negative == law else Mixture(((0.5, law), (0.5, negative)))

    def _fans(self, shape: Shape) -> None:
        return None

    def _copies(self, shape: Shape) -> int:
        return math.prod(shape) // math.prod(self._within(shape)[1])

    def _breaks(self, array: np.ndarray) -> Breaks:
        axes, _ = self._within(array.shape)
        w = array.transpose(axes)
        for name, axis in (("outputs", -1), ("inputs", -2)):
            if self.mirror in (name, "both"):
                w, negative = np.split(w, 2, axis)
                if not np.array_equal(w, -negative):
                    message = f"the second half of the {name} is not minus the first"
                    yield "pattern", message, ""
                    return
        yield from super()._breaks(w)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        axes, within = self._within(shape)
        w = draw_one(self.init, key, within, dtype)
        if self.mirror != "outputs":
            w = jnp.concatenate([w, -w], -2)
        if self.mirror != "inputs":
            w = jnp.concatenate([w, -w], -1)
        return w.transpose(np.argsort(axes))
