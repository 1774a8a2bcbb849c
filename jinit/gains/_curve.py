"""An activation: its name, and its function, on doubles and differentiated.

This imports nothing of jinit, so that what is computed needs no check of options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Function = Callable[[Any], Any]

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
    **dict.fromkeys(("leaky_relu", "prelu"), "negative_slope"),
    **dict.fromkeys(("elu", "celu"), "alpha"),
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


class Refused(Exception):
    """Why a function is no activation: the kind of error, the rule and what to do."""

    def __init__(self, kind: type[Exception], rule: str, remedy: str = "") -> None:
        super().__init__(kind, rule, remedy)


Curve = Callable[[np.ndarray], np.ndarray]

_BATCH = 1 << 13  # points at once: one size, so that each function is compiled once


def resolve_activation(activation: Activation) -> Function:
    """The function of an activation that is not a gated unit."""
    if callable(activation):
        return activation
    if isinstance(activation, str):
        return FUNCTIONS[activation]
    name, *parameter = activation
    return _of_parameter(name, *parameter) if parameter else FUNCTIONS[name]


@lru_cache(maxsize=1024)  # one object for one activation, so it is compiled once
def _of_parameter(name: str, parameter: float) -> Function:
    return partial(FUNCTIONS[name], **{PARAMETERS[name]: parameter})


@lru_cache(maxsize=64)
def value(function: Function) -> Curve:
    """Makes f a function of an array of doubles of any shape."""
    _check_result(function)
    curve = _batched(jax.jit(function), "value")
    _check_elementwise(curve)
    return curve


@lru_cache(maxsize=64)
def derivative(function: Function) -> Curve:
    """Likewise f', as JAX differentiates it: jumps count for nothing."""
    value(function)

    def slopes(x: jax.Array) -> jax.Array:
        _, pullback = jax.vjp(function, x)
        return pullback(jnp.ones_like(x))[0]

    return _batched(jax.jit(slopes), "derivative")


def in_single(f: Curve) -> bool:
    """Whether f computes in float32, or less, whatever it is given."""
    y = f(np.linspace(-math.pi, math.pi, _BATCH))
    return bool((y == y.astype(np.float32)).all())


def _batched(program: Function, what: str) -> Curve:
    def curve(x: np.ndarray) -> np.ndarray:
        batches = np.pad(x.ravel(), (0, -x.size % _BATCH)).reshape(-1, _BATCH)
        results = [_call(program, jax.device_put(batch)) for batch in batches]
        y = np.concatenate(jax.device_get(results))[: x.size].reshape(x.shape)
        if np.isnan(y).any():
            where = f", which has one at {x[np.isnan(y)][0]:.6g}"
            raise Refused(ValueError, f"must not have a NaN as its {what}", where)
        return y

    return curve


def _call(program: Function, x: Any) -> Any:
    """Calls what a user wrote, which may raise anything."""
    try:
        return program(x)
    except Exception as error:
        rule = "must be a function of one array, made of JAX's operations, that"
        reason = str(error).strip().partition("\n")[0].removesuffix(".")
        raised = f", which raised {type(error).__name__}: {reason}"
        raise Refused(
            TypeError, f"{rule} depends on no traced value", raised
        ) from error


def _check_result(function: Function) -> None:
    """Refuses a function that changes the shape or the dtype."""
    asked = jax.ShapeDtypeStruct((_BATCH,), np.float64)
    result = _call(lambda x: jax.eval_shape(function, x), asked)
    if not hasattr(result, "shape"):
        raise Refused(TypeError, "must return an array", f", which returns {result!r}")
    if result.shape != asked.shape:
        returned = f", which returns {result.shape} for {asked.shape}"
        remedy = f"{returned}; of a gated unit give the name, such as 'swiglu'"
        raise Refused(ValueError, "must keep the shape", remedy)
    if result.dtype != asked.dtype:
        rule = "must return the real dtype that it is given"
        returned = f", which returns {result.dtype} for float64"
        raise Refused(TypeError, rule, f"{returned}; convert with .astype(x.dtype)")


def _check_elementwise(curve: Curve) -> None:
    """Refuses a function whose value depends on its place, or on the other elements."""
    half = _BATCH // 2
    low, high = np.linspace(-3.0, 1.0, half), np.linspace(0.1, 3.0, half)
    first, second = np.split(curve(np.concatenate([low, high])), 2)
    # The same points again, in the other half, beside others.
    for others in (np.linspace(0.1, 40.0, half), np.linspace(-40.0, -0.1, half)):
        first_again = curve(np.concatenate([others, low]))[half:]
        second_again = curve(np.concatenate([high, others]))[:half]
        for y, again in ((first, first_again), (second, second_again)):
            if not np.allclose(y, again, rtol=1e-9, atol=1e-12):
                depend = ", in which elements depend on each other or on their place"
                raise Refused(ValueError, "must be elementwise", depend)
