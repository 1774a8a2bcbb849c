"""Gains: what a nonlinearity takes from its input, as plain Python floats."""

from __future__ import annotations

import math
from typing import Any

from jinit import _checks
from jinit._checks import Number, sqrt
from jinit.gains import _moments
from jinit.gains._curve import Activation, Refused
from jinit.gains._names import check_activation, refusing

_CONVOLUTIONS = [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]
NONLINEARITIES = (
    *("linear", *_CONVOLUTIONS, "sigmoid"),
    *("tanh", "relu", "leaky_relu", "selu"),
)
"""The names that `calculate_gain` knows."""

GAIN_MODES = ("forward", "centered", "backward")
Gain = Number | Activation
"""A gain: a number, or the activation that it makes up for."""


def calculate_gain(nonlinearity: str, param: Number | None = None) -> float:
    """The gain that torch recommends for a nonlinearity.

        linear, conv*, sigmoid   1                     tanh    5/3
        relu                     sqrt(2)               selu    3/4
        leaky_relu               sqrt(2 / (1 + param²))

    The gain of ReLU and its leaky form keeps the second moment of the activations; the
    others are torch's conventions, kept for parity.

    Args:
      nonlinearity: One of these names (`conv1d` to `conv3d`, `conv_transpose1d` to
        `conv_transpose3d`).
      param: Negative slope of `leaky_relu`, 0.01 by default.

    Returns:
      The gain, a factor of the standard deviation of the weights.

    Raises:
      ValueError: The name is not one that torch has a gain for (`jinit.gain` has one
        for any activation), or `param` is given for another than `leaky_relu`.

    Example:
      >>> import jinit
      >>> jinit.calculate_gain("leaky_relu", 0.2)
      1.3867504905630728

    References:
      `torch.nn.init.calculate_gain`, which ignores `param` for another nonlinearity;
      He et al. (2015), arXiv:1502.01852, eq. 15.
    """
    if not isinstance(nonlinearity, str) or nonlinearity not in NONLINEARITIES:
        raise ValueError(
            f"nonlinearity must be one of {', '.join(NONLINEARITIES)}; got "
            f"{nonlinearity!r}, which torch has no gain for. jinit.gain computes that "
            "of any activation."
        )
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else _checks.number("param", param)
        return sqrt(2 / (1 + slope * slope))
    if param is not None:
        raise ValueError(
            f"param is the negative slope of leaky_relu, and {nonlinearity} has none, "
            f"got param={param!r}; leave it out."
        )
    return {"tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}.get(nonlinearity, 1.0)


def gain(activation: Activation, mode: str = "forward") -> float:
    """The gain that makes up for what any activation does to a signal.

        forward    1 / sqrt(E f(z)²)       keeps the second moment of the activations
        centered   1 / sqrt(Var f(z))      likewise, where their mean is taken away
        backward   1 / sqrt(E f'(z)²)      keeps that of the gradients
                                           z ~ N(0, 1)

    Weights of variance gain² / fan_in then keep the variance of z at 1, layer after
    layer. Take `forward`; `centered` where the weights of each unit sum to zero, or a
    normalization takes the mean away; `backward`, with mode="fan_out", where gradients
    matter more. Whether small deviations grow with depth `jinit.variance_map` answers.

    As an option of an initializer an activation stands for its forward gain, but the
    names "tanh", "sigmoid" and "selu" for torch's numbers, as `jinit.calculate_gain`
    has them; the function `jax.nn.selu`, or ("selu",), stands for its own.

    A gated unit x · g(y) of two linear maps has the gain of its gate, for E f² is E g²;
    backward, E f'² is E g² + E g'², that of both maps together, each a kernel of its
    own (of one that holds both, fan_out is that of half).

    Args:
      activation: A name of `jax.nn`, `flax.linen` or torch, such as "silu"; a name with
        its parameter, such as `("leaky_relu", 0.2)`; a gated unit, "glu", "geglu",
        "swiglu", "reglu" or "bilinear"; or any elementwise function of JAX's
        operations. "gelu" is the exact one, `jax.nn.gelu` and "gelu_tanh" the
        approximation by tanh.
      mode: "forward", "centered" or "backward".

    Returns:
      The gain, a factor of the standard deviation of the weights, to ten digits: f is
      integrated in double precision on the host, also under `jax.jit`. A function is
      taken to be pure, and its gain is kept. It may bend and jump anywhere, and be as
      steep as it likes, but a feature narrower than 0.01 may be overlooked.

    Raises:
      TypeError: `activation` is not a function of one array, or returns another dtype.
      ValueError: An unknown name; a function that is not elementwise, or is NaN,
        constant, unbounded at a point, or of infinite moment; a derivative of zero.

    Example:
      >>> import jax, jinit
      >>> print(f"{jinit.gain('gelu'):.6f} {jinit.gain(jax.nn.silu, 'backward'):.6f}")
      1.533530 1.623320

    References:
      He et al. (2015), arXiv:1502.01852, eq. 9, for ReLU. Brock et al. (2021),
      arXiv:2101.08692, section 4, for `centered`, with constants from a simulation.
      torch has no counterpart.
    """
    _checks.choice("mode", mode, GAIN_MODES)
    return _gain("activation", check_activation("activation", activation), mode)


def _gain(name: str, activation: Activation, mode: str = "forward") -> float:
    with refusing(name, activation):
        mean, square = _moments.mean_and_square(activation)
        if not square > 1e-280:
            raise Refused(ValueError, "must not be zero")
        spread = square - mean * mean
        if mode == "centered" or spread < 1e-3 * square:
            spread = _moments.variance(activation)
        if spread <= 1e-20 * square:
            raise Refused(ValueError, "must not be constant")
        lost = spread if mode == "centered" else square
        if mode == "backward" and (lost := _moments.gradient(activation)) == 0:
            remedy = ", whose derivative is 0; use mode='forward'"
            rule = "must have a derivative for a backward gain"
            raise Refused(ValueError, rule, remedy)
        return 1 / math.sqrt(lost)


def check_gain(name: str, value: Any, *, at_least: float | None = 0) -> Gain:
    """A gain in its normal form: a float, or an activation that has a gain."""
    # A name that torch has a gain for means torch's number. The activation itself,
    # given as a function or a tuple, means its forward gain, and becomes a tuple.
    if isinstance(value, str) and value in NONLINEARITIES:
        return str(value)
    if not (isinstance(value, str) or _checks.is_sequence(value) or callable(value)):
        return _checks.number(name, value, at_least=at_least)
    activation = check_activation(name, value)
    if not isinstance(activation, str):
        _gain(name, activation)  # refuses it here, rather than at the first draw
    # Of "linear" and "relu" torch's number and the forward gain are one.
    own = activation in NONLINEARITIES and activation not in ("linear", "relu")
    return (activation,) if own else activation


def resolve_gain(value: Gain) -> Any:
    """The number that a gain stands for."""
    if isinstance(value, str) and value in NONLINEARITIES:
        return calculate_gain(value)
    if isinstance(value, str | tuple) or callable(value):
        return gain(value)
    return value


def squared_gain(value: Gain) -> Any:
    """The square, which for ReLU is 2 to the last bit."""
    if value == "relu":
        return 2.0
    number = resolve_gain(value)
    return number * number
