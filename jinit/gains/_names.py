"""Activations as users give them: checked, and in their normal form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from jinit import _checks
from jinit.gains._curve import FUNCTIONS, GATES, PARAMETERS, Activation, Refused


@contextmanager
def refusing(name: str, activation: Activation) -> Iterator[None]:
    """Says of which option a refusal is, and what was given."""
    try:
        yield
    except Refused as refused:
        kind, rule, remedy = refused.args
        raise kind(f"{name} {rule}, got {activation!r}{remedy}.") from refused.__cause__


def check_activation(name: str, value: Any) -> Activation:
    """An activation in its normal form: by name where it has one."""
    # JAX's own functions cannot be pickled, and print with an address; names can.
    if isinstance(value, str):
        return _known(name, value)
    if _checks.is_sequence(value) and len(value) and isinstance(value[0], str):
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
    numbers = (_checks.known(f"{allowed} of {name}", each) for each in parameters)
    return tuple(_checks.number(str(allowed), each) for each in numbers)
