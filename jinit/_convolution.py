"""Convolutions that are isometries: they keep the norm of the signal as a whole.

An orthogonal matrix over the taps and inputs of a kernel (`jinit.orthogonal`) does not
make its convolution orthogonal, for the outputs overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _bits, _draws
from jinit._checks import Number, Shape
from jinit._haar import haar, matmul, not_isometric, precision
from jinit._identity import ConvolutionKernel
from jinit._initializer import Breaks, option
from jinit.gains._gain import Gain, check_gain, resolve_gain
from jinit.laws import Law, Mixture, Moments, Point

Draw = Callable[[jax.Array, Shape, np.dtype], jax.Array]
"""Draws a kernel of shape (*spatial, in, out), in the dtype of computation."""


class _ConvolutionIsometry(ConvolutionKernel):
    """A kernel that keeps the norm of the whole signal it is convolved with."""

    gain: Gain = option(check_gain, default=1.0)
    _isometry: ClassVar[Draw]

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        *_, in_axis, out_axis = self._layout(shape)
        inputs, outputs = shape[in_axis], shape[out_axis]
        if inputs > outputs:
            raise ValueError(
                f"{type(self).__name__} needs at least as many outputs as inputs, or "
                f"some of the signal is lost, got shape {shape} with {inputs} inputs "
                f"(in_axis={in_axis - len(shape)}) and {outputs} outputs (out_axis="
                f"{self.out_axis}); if these are the other way round, name the axes; "
                "for a layer that narrows, use jinit.orthogonal()."
            )

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        # The squares of all weights sum to those of one frequency: gain² · inputs.
        *spatial, _, outputs = (shape[axis] for axis in self._layout(shape))
        size = math.prod(spatial) * outputs
        return Moments(0.0, resolve_gain(self.gain) / math.sqrt(size))

    def _breaks(self, array: np.ndarray) -> Breaks:
        """What `not_isometric` finds of the convolution at a few frequencies."""
        kernel = array.transpose(self._layout(array.shape))
        *spatial, inputs, outputs = kernel.shape
        taps = kernel.reshape(-1, inputs, outputs)
        places = np.indices(spatial).reshape(len(spatial), -1).T
        waves = np.random.default_rng(0).uniform(0, 2 * np.pi, (4, len(spatial)))
        waves[0] = 0.0
        phases = np.exp(1j * places @ waves.T).T
        matrices = np.einsum("wt,tio->wio", phases, taps.astype(np.complex128))
        error = precision(array.dtype) * math.sqrt(len(taps))
        yield from not_isometric(matrices, resolve_gain(self.gain), error)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        gain = resolve_gain(self.gain)
        return _kernel(key, shape, dtype, self._layout(shape), gain, self._isometry)


@partial(jax.jit, static_argnums=(1, 2, 3, 5))
def _kernel(
    key: jax.Array, shape: Shape, dtype: np.dtype, axes: Shape, gain: Number, draw: Draw
) -> jax.Array:
    """Draws in the layout (*spatial, in, out), rounds and gives the kernel's layout."""
    kernel = draw(key, tuple(shape[axis] for axis in axes), dtype)
    kernel = _draws.round_to(kernel * jnp.asarray(gain, kernel.dtype), dtype)
    return kernel.transpose(np.argsort(axes))


def _delta(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """One orthogonal matrix at the middle tap, and zeros about it."""
    *spatial, inputs, outputs = shape
    tap = haar(key, (1, inputs, outputs), dtype)
    tap = tap.reshape(*(1 for _ in spatial), inputs, outputs)
    around = [((size - 1) // 2, size // 2, 0) for size in spatial]
    return lax.pad(tap, jnp.zeros((), tap.dtype), [*around, (0, 0, 0), (0, 0, 0)])


def _block_convolution(key: jax.Array, shape: Shape, dtype: np.dtype) -> jax.Array:
    """Convolves an orthogonal matrix with isometries of two taps, axis after axis."""
    # With a projection P, the taps P and I - P are an isometry along one axis, since
    # P + (I - P) z is unitary for every z on the unit circle.
    *spatial, inputs, outputs = shape
    matrix_key, basis_key, choice_key = jax.random.split(key, 3)
    steps = range(1, max(spatial))
    axes = [axis for step in steps for axis, n in enumerate(spatial) if step < n]
    kernel = haar(matrix_key, (1, inputs, outputs), dtype)
    kernel = kernel.reshape(*(1 for _ in spatial), inputs, outputs)
    bases = haar(basis_key, (len(axes), outputs, outputs), dtype)
    # Each vector of a basis is projected on with probability 1/2.
    choices = _bits.bits(choice_key, (len(axes), 1, outputs)) >> np.uint32(31)
    for axis, basis, choice in zip(axes, bases, choices, strict=True):
        chosen = basis * choice.astype(basis.dtype)
        first = matmul(matmul(kernel, chosen), chosen.mT.conj())
        none = jnp.zeros_like(lax.slice_in_dim(kernel, 0, 1, axis=axis))
        second = jnp.concatenate([none, kernel - first], axis)
        kernel = jnp.concatenate([first, none], axis) + second
    return kernel


class delta_orthogonal(_ConvolutionIsometry):
    """An orthogonal matrix at the middle tap of a convolution, and zeros about it.

        W[(k - 1) // 2] Wᵀ[(k - 1) // 2] = gain² I,    other taps 0

    At first it is a layer of 1 x 1, which keeps the norm of every pixel, with zero or
    circular padding. Networks of ten thousand such layers have been trained.

    Args:
      gain: Factor of the singular values, or the activation: see `jinit.gain`.
      in_axis, out_axis: Axes of the inputs and of the outputs.

    Raises:
      ValueError: At the call: the shape is not that of a convolution in one to three
        dimensions, or has fewer outputs than inputs.

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

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        *spatial, _, outputs = (shape[axis] for axis in self._layout(shape))
        tap = Moments(0.0, resolve_gain(self.gain) / math.sqrt(outputs))
        share = 1 / math.prod(spatial)
        return tap if share == 1 else Mixture(((1 - share, Point(0.0)), (share, tap)))

    def _breaks(self, array: np.ndarray) -> Breaks:
        kernel = array.transpose(self._layout(array.shape))
        middle = tuple((size - 1) // 2 for size in kernel.shape[:-2])
        around = np.count_nonzero(kernel) - np.count_nonzero(kernel[middle])
        if around:
            yield "pattern", f"{around} weights beside the middle tap are not zero", ""
        yield from super()._breaks(array)


class convolution_orthogonal(_ConvolutionIsometry):
    """A convolution with full taps that is orthogonal under circular padding.

        sum_t W[t] exp(iωt) has singular values gain, for every frequency ω

    The kernel is a product of isometries of two taps, P and I - P for random
    projections P, along each axis in turn.

    Args:
      gain, in_axis, out_axis: As in `jinit.delta_orthogonal`, with its errors.

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
