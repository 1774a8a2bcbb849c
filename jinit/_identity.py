"""Identity maps: a layer that at first passes its input on."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _checks, _draws
from jinit._checks import Axis, Number, Shape, or_none, single_axis
from jinit._initializer import Initializer, option
from jinit.laws import Law, Mixture, Point


def two_points(share: float, value: Any) -> Law:
    """The law of weights of which a share has one value, and the rest is zero."""
    if share == 1 or value == 0:
        return Point(value)
    return Mixture(((1 - share, Point(0.0)), (share, Point(value))))


class eye(Initializer):
    """The identity matrix, of any shape: ones where row and column are equal.

        W[i, j] = gain if i == j else 0

    A rectangular one passes on as many inputs as there are outputs to take them.

    Args:
      gain: The value on the diagonal; it may be negative.
      batch_axis: Axes along which matrices are stacked.

    Raises:
      ValueError: At the call: the shape without its batch axes is not a matrix, or an
        integer dtype cannot hold the gain.

    Example:
      >>> import jax, jinit
      >>> print(jinit.eye(gain=2.0)(jax.random.key(0), (2, 3)))
      [[2. 0. 0.]
       [0. 2. 0.]]

    References:
      `torch.nn.init.eye_`; Le, Jaitly and Hinton (2015), arXiv:1504.00941, for
      recurrent kernels.
    """

    gain: Number = option(_checks.number, default=1.0)
    batch_axis: Axis = option(_checks.axes, default=())
    _random = False

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._matrix_axes(shape)
        _checks.check_exact("gain", self.gain, dtype)

    def _matrix_axes(self, shape: Shape) -> list[int]:
        remedy = "name the axes that are stacked, and leave two for the matrix"
        (batch,) = self._axes(shape, remedy)
        matrix = [axis for axis in range(len(shape)) if axis not in batch]
        if len(matrix) != 2:
            raise ValueError(
                f"eye needs a matrix: two axes besides batch_axis={self.batch_axis}, "
                f"got shape {shape}; for a convolution use jinit.dirac()."
            )
        return matrix

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        rows, columns = (shape[axis] for axis in self._matrix_axes(shape))
        return two_points(1 / max(rows, columns), self.gain)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        rows, columns = self._matrix_axes(shape)
        return _diagonal(self.gain, shape, dtype, rows, columns)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _diagonal(
    gain: Number, shape: Shape, dtype: np.dtype, rows: int, columns: int
) -> jax.Array:
    row, column = (lax.broadcasted_iota(int, shape, axis) for axis in (rows, columns))
    return jnp.where(row == column, _draws.cast(gain, dtype), _draws.cast(0, dtype))


class ConvolutionKernel(Initializer):
    """The kernel of a convolution in one to three dimensions."""

    in_axis: int | None = option(or_none(single_axis), default=None)
    out_axis: int = option(single_axis, default=-1)
    _of_matrices: ClassVar[str] = "jinit.orthogonal()"  # its like

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                f"{type(self).__name__} needs the kernel of a convolution in 1 to 3 "
                f"dimensions, (*spatial, in, out), got shape {shape}; for a matrix use "
                f"{self._of_matrices}."
            )
        super()._check(shape, dtype)

    def _layout(self, shape: Shape) -> tuple[int, ...]:
        """The spatial axes, the one of the inputs and the one of the outputs."""
        remedy = "in torch's layout write in_axis=1, out_axis=0"
        (in_axis,), (out_axis,) = self._axes(shape, remedy)
        spatial = [a for a in range(len(shape)) if a not in (in_axis, out_axis)]
        return *spatial, in_axis, out_axis


class GroupedKernel(ConvolutionKernel):
    """The kernel of a convolution that passes on each channel by itself."""

    groups: int = option(_checks.count, default=1)
    _of_matrices = "jinit.eye()"

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        outputs = shape[self._layout(shape)[-1]]
        if outputs % self.groups:
            raise ValueError(
                f"groups must divide the {outputs} outputs of shape {shape}, got "
                f"groups={self.groups}."
            )


class dirac(GroupedKernel):
    """The identity of a convolution: every channel passes through unchanged.

        W[k // 2, i, o] = 1 if o mod (out / groups) == i else 0,    other taps 0

    The tap of a kernel of even size k is torch's, k // 2. XLA's "SAME" padding puts the
    middle of such a kernel at (k - 1) // 2, so that the output is the input shifted by
    one; pad by (k // 2, (k - 1) // 2) for the identity.

    Args:
      groups: Groups of the convolution; each passes on its own channels.
      in_axis, out_axis: Axes of the inputs, of size in / groups, and of the outputs.

    Raises:
      ValueError: At the call: the shape is not that of a convolution in one to three
        dimensions, or `groups` does not divide its outputs.

    Example:
      >>> import jax, jinit
      >>> w = jinit.dirac()(jax.random.key(0), (3, 2, 2))
      >>> print(*w.tolist())
      [[0.0, 0.0], [0.0, 0.0]] [[1.0, 0.0], [0.0, 1.0]] [[0.0, 0.0], [0.0, 0.0]]

    References:
      `torch.nn.init.dirac_`; Zagoruyko and Komodakis (2017), arXiv:1706.00388.
    """

    _random = False

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        *_, inputs, outputs = (shape[axis] for axis in self._layout(shape))
        units = self.groups * min(inputs, outputs // self.groups)
        return two_points(units / math.prod(shape), 1.0)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        *_, in_axis, out_axis = self._layout(shape)
        return _taps(shape, dtype, in_axis, out_axis, shape[out_axis] // self.groups)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _taps(
    shape: Shape, dtype: np.dtype, in_axis: int, out_axis: int, outputs: int
) -> jax.Array:
    index = [lax.broadcasted_iota(int, shape, axis) for axis in range(len(shape))]
    tap = index[out_axis] % outputs == index[in_axis]
    for axis in set(range(len(shape))) - {in_axis, out_axis}:
        tap &= index[axis] == shape[axis] // 2
    return tap.astype(dtype)
