"""Gains: by how much a nonlinearity shrinks its input, as plain Python floats."""

from __future__ import annotations

from typing import Any

from jinit import _options
from jinit._options import Number, sqrt

_CONVOLUTIONS = [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]
NONLINEARITIES = (
    *("linear", *_CONVOLUTIONS, "sigmoid"),
    *("tanh", "relu", "leaky_relu", "selu"),
)
"""The names that `calculate_gain` knows."""

Gain = Number | str
"""A gain: a number, or the name of a nonlinearity."""


def calculate_gain(nonlinearity: str, param: Number | None = None) -> float:
    """The gain that torch recommends for a nonlinearity.

        linear, conv*, sigmoid   1
        tanh                     5/3
        relu                     sqrt(2)
        leaky_relu               sqrt(2 / (1 + param²))
        selu                     3/4

    The gain of ReLU and its leaky form keeps the second moment of the activations; the
    others are torch's conventions, kept for parity.

    Args:
      nonlinearity: One of the names above (`conv1d` to `conv3d`, `conv_transpose1d` to
        `conv_transpose3d`).
      param: Negative slope of `leaky_relu`, 0.01 by default.

    Returns:
      The gain, a factor of the standard deviation of the weights.

    Raises:
      TypeError: `param` is not a real number.
      ValueError: The name is not known, or `param` is given for another than
        `leaky_relu`.

    Example:
      >>> import jinit
      >>> jinit.calculate_gain("leaky_relu", 0.2)
      1.3867504905630728

    References:
      `torch.nn.init.calculate_gain`, which ignores `param` for another nonlinearity;
      He et al. (2015), arXiv:1502.01852, eq. 15.
    """
    _options.choice("nonlinearity", nonlinearity, NONLINEARITIES)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else _options.number("param", param)
        return sqrt(2 / (1 + slope * slope))
    if param is not None:
        raise ValueError(
            f"param is the negative slope of leaky_relu, and {nonlinearity} has none, "
            f"got param={param!r}; leave it out."
        )
    return {"tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}.get(nonlinearity, 1.0)


def check_gain(name: str, gain: Any, *, at_least: float | None = 0) -> Gain:
    """Returns a gain in its normal form: a float, or a name that has a gain."""
    if isinstance(gain, str):
        return _options.choice(name, gain, NONLINEARITIES)
    if callable(gain):
        raise TypeError(
            f"{name} must be a number or the name of a nonlinearity "
            f"({', '.join(NONLINEARITIES)}), got {gain!r}."
        )
    return _options.number(name, gain, at_least=at_least)


def resolve_gain(gain: Gain) -> Any:
    """The number that a gain stands for."""
    return calculate_gain(gain) if isinstance(gain, str) else gain
