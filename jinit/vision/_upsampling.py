"""Upsampling: convolutions that at first repeat or interpolate the pixels."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit._checks import Shape, choice, count, single_axis
from jinit._combine import Combinator, draw_one
from jinit._identity import GroupedKernel
from jinit._initializer import Breaks, option
from jinit.vision._table import Table

ORDERS = ("pixel_shuffle", "depth_to_space")


class icnr(Combinator):
    """Equal kernels for the pixels that one becomes, so that no checkerboard shows.

        pixel_shuffle     W[..., c r² + i r + j] = V[..., c]    "b h w (c i j)"
        depth_to_space    W[..., (i r + j) C + c] = V[..., c]   "b h w (i j c)"

    V is drawn by `init`, i and j are the row and the column within the r x r pixels.
    A convolution and the shuffle after it are at first the convolution with V, whose
    pixels are repeated: upsampling to the nearest neighbour. A bias that is drawn needs
    copies, too.

    Args:
      init: The initializer of V; its axes and fans are those of V.
      scale: The factor r of every spatial axis. These are the axes of the kernel but
        two; a matrix, as `nn.Dense` has, and a bias are taken for those of an image.
      order: How the shuffle takes the channels: "pixel_shuffle" as torch does, or
        "depth_to_space" as TensorFlow does. Both are written with einops, as above.
      out_axis: The axis of the channels that are shuffled.

    Raises:
      ValueError: At the call: the channels are not a multiple of r², or r to the number
        of spatial axes.

    Example:
      >>> import jax, jinit
      >>> init = jinit.vision.icnr(jinit.he_normal(), 2)
      >>> w = init(jax.random.key(0), (3, 3, 64, 4 * 32))
      >>> bool((w[..., 0] == w[..., 3]).all()), bool((w[..., 0] == w[..., 4]).all())
      (True, False)

    References:
      Aitken et al. (2017), "Checkerboard artifact free sub-pixel convolution",
      arXiv:1707.02937. fastai's `icnr_init` has the order of `torch.nn.PixelShuffle`.
    """

    scale: int = option(count, kw_only=False)
    order: str = option(partial(choice, choices=ORDERS), default="pixel_shuffle")
    out_axis: int = option(single_axis, default=-1)

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis of the channels counted from the front, and the shape of V."""
        ((axis,),) = self._axes(shape, "name the axis of the channels (out_axis=)")
        pixels = self._pixels(shape)
        if shape[axis] % pixels:
            raise ValueError(
                f"scale={self.scale} needs a multiple of {pixels} channels, got "
                f"{shape[axis]} on axis {self.out_axis} of shape {shape}."
            )
        return axis, (*shape[:axis], shape[axis] // pixels, *shape[axis + 1 :])

    def _pixels(self, shape: Shape) -> int:
        """How many pixels one becomes."""
        return self.scale ** (len(shape) - 2 if len(shape) > 2 else 2)

    def _copies(self, shape: Shape) -> int:
        return self._pixels(shape) * super()._copies(shape)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        axis, within = self._within(shape)
        v, pixels = draw_one(self.init, key, within, dtype), self._pixels(shape)
        if self.order == "pixel_shuffle":
            return jnp.repeat(v, pixels, axis)
        return jnp.concatenate([v] * pixels, axis)

    def _members(self, array: np.ndarray) -> list[np.ndarray]:
        """The kernel of each pixel."""
        axis, within = self._within(array.shape)
        channels = np.arange(array.shape[axis])
        if self.order == "pixel_shuffle":
            of_pixels = channels.reshape(within[axis], -1).T
        else:
            of_pixels = channels.reshape(-1, within[axis])
        return [array.take(channels, axis) for channels in of_pixels]

    def _breaks(self, array: np.ndarray) -> Breaks:
        first, *others = self._members(array)
        unequal = sum(not np.array_equal(first, other) for other in others)
        if unequal:
            message = f"{unequal} of {len(others) + 1} kernels are not as the first"
            yield "pattern", message, ""
        yield from super()._breaks(array)


class bilinear(GroupedKernel, Table):
    """Linear interpolation by a transposed convolution, each channel by itself.

        W[t, i, o] = prod over axes (1 - |t - (k - 1) / 2| / f)    where o passes on i
        f = ceil(k / 2)

    With strides of f the layer upsamples by f. With "SAME" padding, and k = 2f where f
    is even, 2f - 1 where it is odd, it does inside the border what `jax.image.resize`
    does. One axis, or three, are interpolated likewise.

    Args:
      groups: Groups of the convolution; each passes on its own channels.
      in_axis, out_axis: Axes of the inputs, of size in / groups, and of the outputs.

    Raises:
      ValueError: At the call: the shape is not that of a convolution in one to three
        dimensions, or `groups` does not divide its outputs.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jinit
      >>> init = jinit.vision.bilinear()
      >>> layer = nn.ConvTranspose(1, (4,), (2,), use_bias=False, kernel_init=init)
      >>> x = jnp.array([0.0, 4.0, 8.0, 8.0, 8.0])[None, :, None]
      >>> y, _ = layer.init_with_output(jax.random.key(0), x)
      >>> print(y[0, 1:-1, 0])
      [1. 3. 5. 7. 8. 8. 8. 8.]

    References:
      Long, Shelhamer and Darrell (2015), arXiv:1411.4038, section 3.3. The bilinear
      fillers of Caffe, MXNet, Chainer and PaddlePaddle. MXNet's has its center at (2f -
      1 - f mod 2) / 2, which is not the middle where k is odd and f is even.
    """

    def _table(self, shape: Shape) -> np.ndarray:
        axes = self._layout(shape)
        *spatial, inputs, outputs = (shape[axis] for axis in axes)
        taps = reduce(np.multiply.outer, map(_triangle, spatial))
        passes = np.arange(outputs) % (outputs // self.groups) == np.c_[:inputs]
        return np.multiply.outer(taps, 1.0 * passes).transpose(np.argsort(axes))


def _triangle(size: int) -> np.ndarray:
    """The taps of linear interpolation along one axis."""
    factor = (size + 1) // 2
    return 1 - abs(np.arange(size) - (size - 1) / 2) / factor
