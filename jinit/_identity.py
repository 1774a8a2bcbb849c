"""Identity maps: a layer that at first passes its input on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _options, _sample
from jinit._arguments import Shape, check_exact
from jinit._initializer import Initializer
from jinit._options import Axis, Number


@dataclass(frozen=True, kw_only=True, repr=False)
class eye(Initializer):
    """The identity matrix, of any shape: ones where row and column are equal.

        W[i, j] = gain if i == j else 0

    A rectangular one passes on as many inputs as there are outputs to take them.

    Args:
      gain: The value on the diagonal; it may be negative.
      batch_axis: Axes along which matrices are stacked.

    Raises:
      TypeError: An option is not of its type.
      ValueError: The gain is not finite. At the call: the shape without its batch axes
        is not a matrix, or an integer dtype cannot hold the gain.

    Example:
      >>> import jax, jinit
      >>> print(jinit.eye(gain=2.0)(jax.random.key(0), (2, 3)))
      [[2. 0. 0.]
       [0. 2. 0.]]

    References:
      `torch.nn.init.eye_`; Le, Jaitly and Hinton (2015), arXiv:1504.00941, for
      recurrent kernels.
    """

    gain: Number = 1.0
    batch_axis: Axis = ()
    _random = False

    def __post_init__(self) -> None:
        self._set(gain=_options.number("gain", self.gain))
        self._set(batch_axis=_options.axes("batch_axis", self.batch_axis))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._matrix_axes(shape)
        check_exact("gain", self.gain, dtype)

    def _matrix_axes(self, shape: Shape) -> list[int]:
        remedy = "name the axes that are stacked, and leave two for the matrix"
        (batch,) = _options.resolve_axes(shape, remedy, batch_axis=self.batch_axis)
        axes = [axis for axis in range(len(shape)) if axis not in batch]
        if len(axes) != 2:
            raise ValueError(
                f"eye needs a matrix: two axes besides batch_axis={self.batch_axis}, "
                f"got shape {shape}; for a convolution use jinit.dirac()."
            )
        return axes

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        rows, columns = self._matrix_axes(shape)
        return _diagonal(self.gain, shape, dtype, rows, columns)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _diagonal(
    gain: Number, shape: Shape, dtype: np.dtype, rows: int, columns: int
) -> jax.Array:
    row, column = (lax.broadcasted_iota(int, shape, axis) for axis in (rows, columns))
    return jnp.where(row == column, _sample.cast(gain, dtype), _sample.cast(0, dtype))


@dataclass(frozen=True, kw_only=True, repr=False)
class dirac(Initializer):
    """The identity of a convolution: every channel passes through unchanged.

        W[k // 2, i, o] = 1 if o mod (out / groups) == i else 0,    other taps 0

    The tap of a kernel of even size k is torch's, k // 2. XLA's "SAME" padding puts the
    middle of such a kernel at (k - 1) // 2, so that the output is the input shifted by
    one; pad by (k // 2, (k - 1) // 2) for the identity.

    Args:
      groups: Groups of the convolution; each passes on its own channels.
      in_axis: Axis of the inputs, of size in / groups.
      out_axis: Axis of the outputs.

    Raises:
      TypeError: An option is not an integer.
      ValueError: At the call: the shape is not that of a convolution in one to three
        dimensions, or `groups` does not divide its outputs.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> kernel = jinit.dirac()(jax.random.key(0), (3, 2, 2))
      >>> x = jnp.arange(8.0).reshape(1, 4, 2)
      >>> dims = ("NWC", "WIO", "NWC")
      >>> y = jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", (1,), (1,), dims)
      >>> bool((x == y).all())
      True

    References:
      `torch.nn.init.dirac_`; Zagoruyko and Komodakis (2017), arXiv:1706.00388.
    """

    groups: int = 1
    in_axis: int = -2
    out_axis: int = -1
    _random = False

    def __post_init__(self) -> None:
        self._set(groups=_options.count("groups", self.groups))
        for name in ("in_axis", "out_axis"):
            self._set(**{name: _options.single_axis(name, getattr(self, name))})
        _options.distinct_axes(in_axis=self.in_axis, out_axis=self.out_axis)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                "dirac needs the kernel of a convolution in 1 to 3 dimensions, "
                f"(*spatial, in, out), got shape {shape}; for a matrix use jinit.eye()."
            )
        (_, (out_axis,)) = self._axes(shape)
        if shape[out_axis] % self.groups:
            raise ValueError(
                f"groups must divide the {shape[out_axis]} outputs of shape {shape}, "
                f"got groups={self.groups}."
            )

    def _axes(self, shape: Shape) -> list[tuple[int, ...]]:
        remedy = "in torch's layout write in_axis=1, out_axis=0"
        return _options.resolve_axes(
            shape, remedy, in_axis=self.in_axis, out_axis=self.out_axis
        )

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        (in_axis,), (out_axis,) = self._axes(shape)
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
