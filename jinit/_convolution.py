"""Convolutions that are isometries: they keep the norm of the signal as a whole.

An orthogonal matrix over the taps and inputs of a kernel (`jinit.orthogonal`) does not
make its convolution orthogonal, for the outputs overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _options, _sample
from jinit._arguments import Shape
from jinit._gains import Gain, check_gain, resolve_gain
from jinit._haar import haar, matmul
from jinit._initializer import Initializer
from jinit._options import Number


@dataclass(frozen=True, kw_only=True, repr=False)
class _ConvolutionIsometry(Initializer):
    """A kernel that keeps the norm of the whole signal it is convolved with."""

    gain: Gain = 1.0
    in_axis: int = -2
    out_axis: int = -1

    # Draws a kernel of shape (*spatial, in, out), in the dtype of computation.
    _isometry: ClassVar[Callable[[jax.Array, Shape, np.dtype], jax.Array]]

    def __post_init__(self) -> None:
        self._set(gain=check_gain("gain", self.gain))
        for name in ("in_axis", "out_axis"):
            self._set(**{name: _options.single_axis(name, getattr(self, name))})
        _options.distinct_axes(in_axis=self.in_axis, out_axis=self.out_axis)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        name = type(self).__name__
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                f"{name} needs the kernel of a convolution in 1 to 3 dimensions, "
                f"(*spatial, in, out), got shape {shape}; for a matrix use "
                "jinit.orthogonal()."
            )
        *_, in_axis, out_axis = self._axes(shape)
        if shape[in_axis] > shape[out_axis]:
            raise ValueError(
                f"{name} needs at least as many outputs as inputs, or some of the "
                f"signal is lost, got shape {shape} with {shape[in_axis]} inputs "
                f"(in_axis={self.in_axis}) and {shape[out_axis]} outputs "
                f"(out_axis={self.out_axis}); if these are the other way round, name "
                "the axes; for a layer that narrows, use jinit.orthogonal()."
            )

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        """The spatial axes, the one of the inputs and the one of the outputs."""
        remedy = "in torch's layout write in_axis=1, out_axis=0"
        (in_axis,), (out_axis,) = _options.resolve_axes(
            shape, remedy, in_axis=self.in_axis, out_axis=self.out_axis
        )
        spatial = [a for a in range(len(shape)) if a not in (in_axis, out_axis)]
        return *spatial, in_axis, out_axis

    def _std(self, shape: Shape) -> Any:
        # The squares of all weights sum to those of one frequency: gain² · inputs.
        *spatial, _, outputs = (shape[axis] for axis in self._axes(shape))
        return resolve_gain(self.gain) / math.sqrt(math.prod(spatial) * outputs)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        gain = resolve_gain(self.gain)
        return _kernel(key, shape, dtype, self._axes(shape), gain, self._isometry)


@partial(jax.jit, static_argnums=(1, 2, 3, 5))
def _kernel(
    key: jax.Array,
    shape: Shape,
    dtype: np.dtype,
    axes: tuple[int, ...],
    gain: Number,
    isometry: Callable[[jax.Array, Shape, np.dtype], jax.Array],
) -> jax.Array:
    """Draws in the layout (*spatial, in, out), rounds and gives the kernel's layout."""
    kernel = isometry(key, tuple(shape[axis] for axis in axes), dtype)
    kernel = _sample.round_to(kernel * jnp.asarray(gain, kernel.dtype), dtype)
    return kernel.transpose(np.argsort(axes))


def _delta(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """One orthogonal matrix at the middle tap, and zeros about it."""
    *spatial, inputs, outputs = shape
    tap = haar(key, (1, inputs, outputs), dtype).reshape(
        *(1 for _ in spatial), *shape[-2:]
    )
    around = [((size - 1) // 2, size // 2, 0) for size in spatial]
    return lax.pad(tap, jnp.zeros((), tap.dtype), [*around, (0, 0, 0), (0, 0, 0)])


def _block_convolution(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """Convolves an orthogonal matrix with isometries of two taps, axis after axis.

    With a projection P, the taps P and I - P are an isometry along one axis, since
    P + (I - P) z is unitary for every z on the unit circle.
    """
    *spatial, inputs, outputs = shape
    matrix_key, basis_key, choice_key = jax.random.split(key, 3)
    axes = [
        axis
        for step in range(1, max(spatial))
        for axis, size in enumerate(spatial)
        if step < size
    ]
    kernel = haar(matrix_key, (1, inputs, outputs), dtype)
    kernel = kernel.reshape(*(1 for _ in spatial), inputs, outputs)
    bases = haar(basis_key, (len(axes), outputs, outputs), dtype)
    # Each vector of a basis is projected on with probability 1/2.
    choices = _sample.bits(choice_key, (len(axes), 1, outputs)) >> np.uint32(31)
    for axis, basis, choice in zip(axes, bases, choices, strict=True):
        chosen = basis * choice.astype(basis.dtype)
        first = matmul(matmul(kernel, chosen), chosen.mT.conj())
        none = jnp.zeros_like(lax.slice_in_dim(kernel, 0, 1, axis=axis))
        kernel = jnp.concatenate([first, none], axis) + jnp.concatenate(
            [none, kernel - first], axis
        )
    return kernel


@dataclass(frozen=True, kw_only=True, repr=False)
class delta_orthogonal(_ConvolutionIsometry):
    """An orthogonal matrix at the middle tap of a convolution, and zeros about it.

        W[(k - 1) // 2] Wᵀ[(k - 1) // 2] = gain² I,    other taps 0

    At first it is a layer of 1 x 1, which keeps the norm of every pixel, with zero or
    circular padding. Networks of ten thousand such layers have been trained.

    Args:
      gain: Factor of the singular values: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis: Axis of the inputs.
      out_axis: Axis of the outputs.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name. At the call: the shape is not that
        of a convolution in one to three dimensions, or has fewer outputs than inputs.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.delta_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
      >>> print(f"{jnp.linalg.norm(w[1, 1], ord=2):.3f} {abs(w[0]).max():.3f}")
      1.000 0.000

    References:
      Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs",
      arXiv:1806.05393, algorithm 2. `jax.nn.initializers.delta_orthogonal` has the same
      tap, refuses half precision and takes no sharding.
    """

    _isometry = staticmethod(_delta)


@dataclass(frozen=True, kw_only=True, repr=False)
class convolution_orthogonal(_ConvolutionIsometry):
    """A convolution with full taps that is orthogonal under circular padding.

        sum_t W[t] exp(iωt) has singular values gain, for every frequency ω

    The kernel is a product of isometries of two taps, P and I - P for random
    projections P, along each axis in turn.

    Args:
      gain: Factor of the singular values: a number, or the activation, as
        `jinit.gain` takes it; "tanh", "sigmoid" and "selu" mean torch's numbers.
      in_axis: Axis of the inputs.
      out_axis: Axis of the outputs.

    Raises:
      TypeError: An option is not of its type.
      ValueError: A negative gain, an unknown name. At the call: the shape is not that
        of a convolution in one to three dimensions, or has fewer outputs than inputs.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.convolution_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
      >>> operator = jnp.fft.fft2(w, s=(32, 32), axes=(0, 1))
      >>> s = jnp.linalg.svd(operator, compute_uv=False)
      >>> print(f"{s.min():.3f} {s.max():.3f}")
      1.000 1.000

    References:
      Xiao et al. (2018), arXiv:1806.05393, algorithm 1; `ConvolutionOrthogonal1D` to
      `3D` of TensorFlow 1. Zero padding of the "SAME" size loses some of the norm at
      the border.
    """

    _isometry = staticmethod(_block_convolution)
