"""Priors: biases of a last layer that begins with the frequencies of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from jinit._basic import check_numbers
from jinit._checks import Shape, known
from jinit._initializer import option
from jinit._types import ArrayLike
from jinit.vision._table import Table


def _probabilities(name: str, value: Any) -> Any:
    """A probability, or an array of them, between 0 and 1."""
    p = check_numbers(name, known(name, value))
    if np.iscomplexobj(p) or not np.all((np.asarray(p) > 0) & (np.asarray(p) < 1)):
        raise ValueError(f"{name} must be greater than 0 and less than 1, got {p!r}.")
    return p


def _counts(name: str, value: Any) -> Any:
    """A vector of positive numbers."""
    counts = check_numbers(name, known(name, value))
    if np.ndim(counts) != 1 or np.iscomplexobj(counts):
        raise TypeError(
            f"{name} must be one real number for each class, got {value!r}."
        )
    if not np.all(np.asarray(counts) > 0):
        raise ValueError(
            f"{name} must be greater than 0, or a bias would be infinite, got "
            f"{value!r}; add 1 to each."
        )
    return counts


class _Prior(Table):
    """A bias whose trailing axes are those of its option."""

    def _bias(self) -> np.ndarray:
        raise NotImplementedError

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        own = self._bias().shape
        if shape[len(shape) - len(own) :] != own:
            (name,) = (each.name for each in self._fields())
            raise ValueError(
                f"{name} of shape {own} must have the last axes of the bias, got shape "
                f"{shape}; give one number for each class."
            )

    def _table(self, shape: Shape) -> np.ndarray:
        return np.broadcast_to(self._bias(), shape)


class prior_bias(_Prior):
    """The bias with which a sigmoid begins at a probability.

        b = log(p / (1 - p)),    sigmoid(b) = p

    Nearly all that a detector sees is background, and from p = 1/2 its first steps only
    learn that: with p = 0.01 the loss of an empty place begins at 0.010, not at 0.69.

    Args:
      p: The probability, or those of the classes, one for each output.

    Raises:
      ValueError: A probability is not between 0 and 1. At the call: there are not as
        many as outputs.

    Example:
      >>> import jax, jinit
      >>> bias = jinit.vision.prior_bias(0.01)(jax.random.key(0), (9,))
      >>> print(f"{bias[0]:.4f} {jax.nn.sigmoid(bias[0]):.4f}")
      -4.5951 0.0100

    References:
      Lin et al. (2017), "Focal loss for dense object detection", arXiv:1708.02002,
      section 4.1: p = 0.01; CenterNet has 0.1. timm's "nlhb", -log(n) for n classes, is
      `prior_bias(1 / (n + 1))`.
    """

    p: ArrayLike = option(_probabilities, kw_only=False)

    def _bias(self) -> np.ndarray:
        p = np.asarray(self.p, float)
        return np.log(p) - np.log1p(-p)


class class_prior_bias(_Prior):
    """The bias with which a softmax begins at the frequencies of the classes.

        b[c] = log(counts[c] / sum counts),    softmax(b) = counts / sum counts

    The cross entropy then begins at the entropy of the classes, which is what a model
    that sees nothing can reach, rather than at the logarithm of their number.

    Args:
      counts: How often each class is, as counts or frequencies.

    Raises:
      ValueError: A count is not greater than 0. At the call: there are not as many as
        outputs.

    Example:
      >>> import jax, jinit
      >>> init = jinit.vision.class_prior_bias([90, 9, 1])
      >>> p = jax.nn.softmax(init(jax.random.key(0), (3,)))
      >>> print(" ".join(f"{each:.3f}" for each in p))
      0.900 0.090 0.010

    References:
      For independent sigmoids, `jinit.vision.prior_bias(counts / n)` of n examples.
    """

    counts: ArrayLike = option(_counts, kw_only=False)

    def _bias(self) -> np.ndarray:
        counts = np.asarray(self.counts, float)
        return np.log(counts / counts.sum())
