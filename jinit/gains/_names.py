"""Activations: the names that they go by, in JAX, Flax and torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import jax

from jinit import _checks
from jinit.gains._curve import Function, Refused

Activation = str | tuple[Any, ...] | Function
"""A name, a name with parameters such as `("elu", 0.5)`, or an elementwise function."""

_OF_JAX = (
    *("identity", "relu", "relu6", "leaky_relu", "elu", "celu", "selu"),
    *("silu", "swish", "mish", "hard_silu", "hard_swish"),
    *("tanh", "hard_tanh", "soft_sign", "sigmoid", "hard_sigmoid", "log_sigmoid"),
    *("softplus", "squareplus", "sparse_plus", "sparse_sigmoid"),
)

FUNCTIONS: dict[str, Function] = {
    **{name: getattr(jax.nn, name) for name in _OF_JAX},
    # torch's default and the paper's; JAX's and Flax's is the approximation by tanh.
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "linear": jax.nn.identity,
    "hardswish": jax.nn.hard_swish,
    "hardtanh": jax.nn.hard_tanh,
    "softsign": jax.nn.soft_sign,
    "hardsigmoid": jax.nn.hard_sigmoid,
    "logsigmoid": jax.nn.log_sigmoid,
    "prelu": partial(jax.nn.leaky_relu, negative_slope=0.25),
}
"""The activations that have a name."""

PARAMETERS = {
    "leaky_relu": "negative_slope",
    "prelu": "negative_slope",
    "elu": "alpha",
    "celu": "alpha",
    "squareplus": "b",
}
"""The parameter of those that have one."""

GATES = {
    "glu": "sigmoid",
    "geglu": "gelu",
    "swiglu": "silu",
    "reglu": "relu",
    "bilinear": "linear",
}
"""Gated units x · g(y), of two linear maps x and y: the name of g."""


@contextmanager
def refusing(name: str, activation: Activation) -> Iterator[None]:
    """Says of which option a refusal is, and what was given."""
    try:
        yield
    except Refused as refused:
        kind, rule, remedy = refused.args
        raise kind(f"{name} {rule}, got {activation!r}{remedy}.") from refused.__cause__


def check_activation(name: str, value: Any) -> Activation:
    """Returns an activation in its normal form: by name where it has one.

    JAX's own functions cannot be pickled, and print with an address; names can.
    """
    if isinstance(value, str):
        return _known(name, value)
    if isinstance(value, tuple | list) and value and isinstance(value[0], str):
        activation, parameters = _known(name, value[0]), _parameters(name, value)
        return (activation, *parameters) if parameters else activation
    if not callable(value):
        raise TypeError(
            f"{name} must be the name of an activation, a name with its parameter such "
            f"as ('leaky_relu', 0.2), or a function of an array, got {value!r}."
        )
    if value is jax.nn.glu:
        return "glu"
    for known, function in FUNCTIONS.items():
        if value is function:
            return known
    try:
        hash(value)
    except Exception as error:
        raise TypeError(
            f"{name} must be hashable, for its gain is kept, got {value!r}; wrap it in "
            "a function."
        ) from error
    return value


def resolve_activation(activation: Activation) -> Function:
    """The function of an activation that is none of the gated units."""
    if callable(activation):
        return activation
    return _named(*((activation,) if isinstance(activation, str) else activation))


@lru_cache(maxsize=1024)  # one object for one activation, so it is compiled once
def _named(name: str, *parameters: float) -> Function:
    if not parameters:
        return FUNCTIONS[name]
    return partial(FUNCTIONS[name], **{PARAMETERS[name]: parameters[0]})


def _known(name: str, value: str) -> str:
    known = (*FUNCTIONS, *GATES)
    if value in known:
        return str(value)
    raise ValueError(
        f"{name} must be the name of an activation, got {value[:50]!r}"
        f"{_checks.nearest(value, known)}"
    )


def _parameters(name: str, value: Any) -> tuple[float, ...]:
    """The numbers that follow a name."""
    activation, *parameters = value
    allowed = PARAMETERS.get(activation)
    if len(parameters) > (allowed is not None):
        has = f"one parameter, {allowed}" if allowed else "no parameter"
        raise ValueError(f"{name}: {activation} has {has}, got {tuple(value)!r}.")
    if any(_checks.is_traced(parameter) for parameter in parameters):
        raise TypeError(
            f"{name} must have parameters that are known, got {tuple(value)!r}; "
            "compute the gain from the traced one."
        )
    return tuple(_checks.number(str(allowed), parameter) for parameter in parameters)
