"""Transforms: kernels of fixed bases of sines and cosines."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from jinit._checks import Shape, choice, flag, is_sequence, or_none, single_axis
from jinit._identity import ConvolutionKernel
from jinit._initializer import option
from jinit.vision._table import Table

SIDES = ("real", "imag")
SCALINGS = ("density", "spectrum")


def _window(name: str, value: Any) -> Any:
    """A window of SciPy: its name, or a tuple of its name and its parameters."""
    value = tuple(value) if is_sequence(value) else value
    try:
        if not isinstance(value, str | tuple):  # a number would be a Kaiser window
            raise TypeError
        _taps(value, 2, True)
    except (ValueError, TypeError, IndexError):
        raise ValueError(
            f"{name} must be the name of a window of scipy.signal.get_window, or a "
            f"tuple of it and its parameters, such as ('kaiser', 8.6), got {value!r}."
        ) from None
    return value


def _taps(window: Any, size: int, periodic: bool) -> np.ndarray:
    from scipy.signal import get_window  # slow to import

    return get_window(window, size, fftbins=periodic)


class stft(ConvolutionKernel, Table):
    """The Fourier transform of windows in time, as the kernel of a convolution.

        W[t, 0, f] = window[t] · Re or Im exp(-2πi · t f / F) / scale

    The kernel is of shape (T, 1, F / 2 + 1): T steps, and the frequencies up to half of
    the sampling rate. The strides of the layer are the hop from window to window.

    Args:
      side: "real" or "imag", the part of the transform.
      window: The name of a window of `scipy.signal.get_window`, or a tuple of it and
        its parameters: "hann", ("kaiser", 8.6). "boxcar" is none.
      scaling: What the window is divided by: "density", sqrt(sum window²), for a
        spectral density; "spectrum", sum |window|, for amplitudes; None for neither.
      periodic: Whether the window is one of the discrete Fourier transform, rather than
        symmetric.
      in_axis, out_axis: Axes of the one input and of the frequencies.

    Raises:
      ValueError: The window is not one of SciPy's. At the call: the shape is not that
        of a convolution in time of one input, or T is greater than F.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> init = jinit.vision.stft("real", scaling="spectrum", periodic=True)
      >>> w = init(jax.random.key(0), (16, 1, 9))
      >>> print(f"{w[:, 0, 3] @ jnp.cos(2 * jnp.pi * 3 / 16 * jnp.arange(16.0)):.3f}")
      0.500

    References:
      `keras.initializers.STFTInitializer`, by whose formula angles are computed in the
      dtype asked for, and a wave in bfloat16 is off by as much as 2 from T = 512 on.
      Keras's `window=None` is `window="boxcar", scaling=None` here.
    """

    side: str = option(partial(choice, choices=SIDES), kw_only=False)
    window: str | tuple[Any, ...] = option(_window, default="hann")
    scaling: str | None = option(
        or_none(partial(choice, choices=SCALINGS)), default="density"
    )
    periodic: bool = option(flag, default=False)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        *times, inputs, outputs = (shape[axis] for axis in self._layout(shape))
        if len(times) != 1 or inputs > 1 or (outputs and times[0] > 2 * (outputs - 1)):
            raise ValueError(
                "stft needs the kernel of a convolution in time, (T, 1, F / 2 + 1), "
                f"with T at most F, got shape {shape}; transform several inputs one by "
                "one, with jax.vmap."
            )
        scaled = self.scaling is not None and times[0] > 0
        if scaled and not _taps(self.window, times[0], self.periodic).any():
            raise ValueError(
                f"window {self.window!r} is zero at all T={times[0]} taps, and cannot "
                "be scaled; give a longer kernel, or periodic=True."
            )

    def _table(self, shape: Shape) -> np.ndarray:
        axes = self._layout(shape)
        steps, _, frequencies = (shape[axis] for axis in axes)
        size = 2 * (frequencies - 1)
        window = _taps(self.window, steps, self.periodic)
        if self.scaling == "density":
            window = window / np.sqrt(np.sum(window**2))
        elif self.scaling == "spectrum":
            window = window / np.sum(abs(window))
        turns = np.outer(np.arange(steps), np.arange(frequencies)) % size / size
        wave = window[:, None] * np.exp(-2j * np.pi * turns)
        part = wave.real if self.side == "real" else wave.imag
        return part[:, None].transpose(np.argsort(axes))


class dct(Table):
    """The cosine transform: an orthogonal matrix, or the first of its columns.

        W[t, f] = sqrt(2 / n) cos(π f (2t + 1) / (2n)),    W[t, 0] = sqrt(1 / n)

    The type is II and the norm "ortho". Of fewer outputs than inputs it is the basis of
    the low frequencies, whose columns are orthonormal.

    Args:
      in_axis, out_axis: Axes of the n samples and of the frequencies. The other way
        round, `in_axis=-1, out_axis=-2`, it is the inverse transform.

    Raises:
      ValueError: At the call: the shape is not a matrix, or has more frequencies than
        samples.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> w = jinit.vision.dct()(jax.random.key(0), (8, 8))
      >>> print(f"{abs(w.T @ w - jnp.eye(8)).max():.5f}")
      0.00000

    References:
      `scipy.fft.dct(x, norm="ortho")`; `torchaudio.functional.create_dct`, the last
      step of MFCC.
    """

    in_axis: int | None = option(or_none(single_axis), default=None)
    out_axis: int = option(single_axis, default=-1)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        samples, frequencies = (shape[axis] for axis in self._layout(shape))
        if frequencies > samples:
            raise ValueError(
                f"dct needs at least as many samples as frequencies, got {samples} and "
                f"{frequencies} in shape {shape}; for the inverse write in_axis=-1, "
                "out_axis=-2."
            )

    def _layout(self, shape: Shape) -> tuple[int, int]:
        """The axes of the samples and of the frequencies."""
        if len(shape) != 2:
            raise ValueError(f"dct needs the shape of a matrix, got {shape}.")
        (in_axis,), (out_axis,) = self._axes(shape, "give the shape of a matrix")
        return in_axis, out_axis

    def _table(self, shape: Shape) -> np.ndarray:
        axes = self._layout(shape)
        samples, frequencies = (shape[axis] for axis in axes)
        halves = np.outer(2 * np.arange(samples) + 1, np.arange(frequencies))
        w = np.sqrt(2 / samples) * np.cos(np.pi / (2 * samples) * halves)
        w[:, 0] = np.sqrt(1 / samples)
        return w.transpose(axes)
