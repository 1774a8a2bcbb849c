"""LoRA: the shapes of a pair, what it starts from, and the kernel with it added."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from jinit import _checks, _draws
from jinit._basic import normal, uniform, zeros
from jinit._bits import wide_dtype
from jinit._checks import Axis, Number, Shape, weights
from jinit._initializer import Initializer
from jinit._types import ArrayLike
from jinit._types import Shape as AnyShape
from jinit.adapter._axes import axes_of
from jinit.model._role import Role


class Pair(NamedTuple):
    """The shapes of a pair and what draws it: what `jinit.adapter.lora` returns.

    Attributes:
      a_shape: The shape of A.
      b_shape: The shape of B.
      a_init: The initializer of A.
      b_init: The initializer of B.
    """

    a_shape: Shape
    b_shape: Shape
    a_init: Initializer
    b_init: Initializer


def lora(
    shape: AnyShape,
    rank: int,
    *,
    table: bool = False,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Pair:
    """The pair of LoRA for a kernel of any axes: what A and B are, and start from.

        A ~ U[±1 / sqrt(fan_in)],    B = 0;    of a table A = 0,    B ~ N(0, 1)

    With one of the two at zero the model starts as it was. For inputs of variance 1 the
    features A x have a variance of 1/3, whatever the width and the rank.

    Axes that are not named are those of a convolution: (d, heads, k) without names has
    d taps. `jinit.einsum_axes("btd,dhk->bthk")` names them, or
    `jinit.adapter.kernel_axes(role)` by what the program does.

    Args:
      shape: Shape of the kernel, `w.shape`.
      rank: The rank of what is added.
      table: Whether rows are looked up, as in an embedding of shape (rows, features).
      in_axis: Axes of the inputs, as in `jinit.fans`; of a table that of the rows.
      out_axis: Axes of the outputs.
      batch_axis: Axes along which kernels are stacked, each with a pair of its own.

    Returns:
      A `Pair` of shapes and initializers.

    Raises:
      TypeError: The rank is not an integer, or the shape is not integers.
      ValueError: The rank is larger than that of the kernel; the shape lacks an axis;
        or no axis is named for the inputs or for the outputs.

    Example:
      >>> import jinit
      >>> query = jinit.einsum_axes("btd,dhk->bthk")
      >>> pair = jinit.adapter.lora((768, 12, 64), 8, **query)
      >>> pair.a_shape, pair.b_shape, pair.b_init
      ((768, 8), (8, 12, 64), zeros())
      >>> print(f"{768 * pair.a_init.law(pair.a_shape).std**2:.3f}")  # of A x
      0.333

    References:
      Hu et al. (2021), arXiv:2106.09685. A as in loralib and peft, where it is
      `kaiming_uniform_(a=sqrt(5))`. Of A x with 4096 inputs and rank 8 the variance is
      1/3 so, 64 with peft's "gaussian" (std 1 / rank), and 2 with the default of
      `flax.nnx.LoRA`, `he_uniform`. Hayou et al. (2024), arXiv:2406.08447: with A
      random and B zero larger learning rates are stable than the other way round.
    """
    axes = axes_of(_checks.check_shape(shape), in_axis, out_axis, batch_axis)
    rank = axes.check_rank(rank)
    bound = 1 / math.sqrt(axes.inputs)
    start = uniform(a=-bound, b=bound), zeros()
    return Pair(*axes.shapes(rank), *((zeros(), normal()) if table else start))


def merge(
    w: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    scale: Number = 1.0,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> jax.Array:
    """The kernel with its pair added, for a kernel of any axes.

        W + scale · A B

    It is for serving a model without its pairs, and for training one whose layers do
    not know of them: `model.apply` is given the merged kernels.

    Args:
      w: The kernel, or the residual.
      a: A, of the shape that `jinit.adapter.lora` gives it.
      b: B, likewise.
      scale: What the product is multiplied with; any real number.
      in_axis, out_axis, batch_axis: As in `jinit.adapter.lora`.

    Returns:
      The kernel in the dtype of w, rounded once.

    Raises:
      TypeError: The kernel is not floating-point or complex.
      ValueError: a and b are no pair of w, or the axes do not fit the shape.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.lecun_normal()(jax.random.key(0), (3, 3, 8, 16))
      >>> a, b, residual = jinit.adapter.pissa(w, 4)
      >>> bool(jnp.allclose(jinit.adapter.merge(residual, a, b), w, atol=1e-6))
      True
    """
    w, a, b = weights("w", w), weights("a", a), weights("b", b)
    axes = axes_of(w.shape, in_axis, out_axis, batch_axis)
    rank = a.shape[axes.outs[0]] if a.ndim > axes.outs[0] else 0
    if axes.shapes(rank) != (a.shape, b.shape):
        expected = axes.shapes(1)
        raise ValueError(
            f"a and b must be a pair of the kernel of shape {w.shape}, for rank 1 of "
            f"the shapes {expected[0]} and {expected[1]}, got {a.shape} and {b.shape}; "
            "name the axes by which the pair was made (in_axis=, out_axis=, "
            "batch_axis=)."
        )
    product = axes.product(a, b, rank, wide_dtype(w.dtype))
    scale = _checks.number("scale", scale)
    return _draws.round_to(w.astype(product.dtype) + scale * product, w.dtype)


def kernel_axes(role: Role) -> dict[str, Any]:
    """The axes of a kernel by what the program does with it, not by its layout.

    Args:
      role: One of `jinit.roles(model, params, x)`.

    Returns:
      Keyword arguments of the functions here, as `jinit.einsum_axes` has them. The rows
      of a table are its inputs, and layers of a stack a batch.

    Raises:
      TypeError: `role` is no role, but perhaps its path.
      ValueError: The role is that of a scale, a bias or another that has no inputs and
        outputs, or not all of its axes are known.

    Example:
      >>> import jax, jinit
      >>> params = {"w": jax.ShapeDtypeStruct((64, 4, 16), "float32")}
      >>> x = jax.ShapeDtypeStruct((1, 64), "float32")
      >>> def model(params, x):
      ...     return jax.numpy.einsum("bd,dhk->bhk", x, params["w"])
      >>> (role,) = jinit.roles(model, params, x)
      >>> jinit.adapter.kernel_axes(role)
      {'in_axis': (0,), 'out_axis': (1, 2), 'batch_axis': ()}
    """
    if not isinstance(role, Role):
        raise TypeError(
            f"role must be one of jinit.roles(model, params, x), got {role!r}; take it "
            "in a loop over them."
        )
    ins, outs = role._axes("in", "index"), role._axes("out")
    if not (ins and outs) or not set(role.axes) <= _NAMED:
        raise ValueError(
            f"role must be that of a kernel or of a table that is looked up, but "
            f"{role.path!r} is a {role.kind} with the axes {role.axes}; leave it out, "
            "or name its axes yourself (in_axis=, out_axis=, batch_axis=)."
        )
    batch = tuple(sorted(role._axes("batch", "stack")))
    return {"in_axis": ins, "out_axis": outs, "batch_axis": batch}


_NAMED = {"in", "index", "out", "space", "batch", "stack"}
