"""Constants: what a program computes of neither parameters nor inputs, such as masks.

A constant that is one number everywhere is known as that number; of others, as far as
they are small, the array is known: masks, tables of sines. All by NumPy, for JAX would
compile each operation for each shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jinit.model._graph import Step

_LARGEST = 1 << 20  # of arrays that are worked out

# Of each operation on elements that NumPy has, what it computes.
BY_ELEMENT: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"max": np.maximum, "min": np.minimum, "neg": np.negative, "pow": np.power},
    **{"exp": np.exp, "exp2": np.exp2, "log": np.log, "log1p": np.log1p},
    **{"expm1": np.expm1, "tanh": np.tanh, "sin": np.sin, "cos": np.cos},
    **{"sqrt": np.sqrt, "abs": np.abs, "sign": np.sign, "square": np.square},
    **{"floor": np.floor, "ceil": np.ceil, "is_finite": np.isfinite},
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal, "and": np.bitwise_and},
    **{"shift_right_logical": np.right_shift, "shift_left": np.left_shift},
    **{"or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert},
    **{"real": np.real, "imag": np.imag, "conj": np.conj},
    "complex": lambda real, imaginary: real + 1j * imaginary,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}

# All operations that make each element of the elements at its place, as JAX has them.
ELEMENTWISE = {
    *BY_ELEMENT,
    *("div", "integer_pow", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh"),
    *("asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "cbrt", "round", "rem"),
    *("nextafter", "bitcast_convert_type"),
}


def by_element(name: str, params: Any, arrays: Sequence[Any]) -> Any:
    """What an operation on elements computes, or None if NumPy does not have it."""
    floats = jnp.issubdtype(np.result_type(arrays[0]), np.inexact)
    with np.errstate(all="ignore"):
        if name in BY_ELEMENT:
            return BY_ELEMENT[name](*arrays)
        if name == "div":
            return arrays[0] / arrays[1] if floats else arrays[0] // arrays[1]
        if name == "rem":
            return np.fmod(arrays[0], arrays[1])
        if name == "integer_pow":
            return arrays[0] ** params["y"]
        if name == "bitcast_convert_type":
            return _as_bits_of(np.asarray(arrays[0]), params["new_dtype"])
    return None


def _as_bits_of(array: Any, dtype: Any) -> Any:
    if array.dtype.itemsize != np.dtype(dtype).itemsize:
        return None
    return np.ascontiguousarray(array).view(dtype).reshape(array.shape)


def known(value: Any, dtype: Any) -> Any:
    """The number that a constant is everywhere, the array, or None."""
    if jnp.issubdtype(dtype, jax.dtypes.extended) or np.size(value) > _LARGEST:
        return None
    array = np.asarray(value)
    flat = array.reshape(-1)
    return flat[0] if flat.size and (flat == flat[0]).all() else array


def computed(step: Step, inputs: Sequence[Any], aval: Any) -> Any:
    """Likewise, of the result of an operation on constants.

    Args:
      step: The operation.
      inputs: Numbers, arrays or None of those that are not known.
      aval: The shape and the dtype of the result.
    """
    if any(value is None for value in inputs) or step.equation is None:
        return None
    name, params = step.name, step.equation.params
    if name in _REDUCING and math.prod(step.inputs[0].shape) <= _LARGEST:
        wide = np.result_type(inputs[0], np.float64)  # for many sums of bfloat16 stall
        inputs = [np.broadcast_to(inputs[0], step.inputs[0].shape).astype(wide)]
    if name == "broadcast_in_dim" and np.ndim(inputs[0]):  # which takes no memory
        return _made(name, params, list(inputs), tuple(aval.shape))
    if math.prod(aval.shape) > _LARGEST:
        return None
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        return None
    made = _made(name, params, list(map(np.asarray, inputs)), tuple(aval.shape))
    return None if made is None else known(made.astype(aval.dtype), aval.dtype)


def _made(name: str, params: Any, arrays: list[Any], shape: Any) -> Any:
    if name == "iota":
        along = [-1 if n == params["dimension"] else 1 for n in range(len(shape))]
        steps = np.arange(shape[params["dimension"]]).reshape(along)
        return np.broadcast_to(steps, shape)
    if not arrays:
        return None
    first = arrays[0]
    if name in ("convert_element_type", "copy", "stop_gradient", "copy_p"):
        return first
    if not first.shape and name in _MOVING:  # the same number everywhere
        return first
    if name in ("reshape", "squeeze", "expand_dims"):
        return first.reshape(shape)
    if name == "transpose":
        return first.transpose(params["permutation"])
    if name == "broadcast_in_dim":
        sizes = [1] * len(shape)
        for size, place in zip(
            first.shape, params["broadcast_dimensions"], strict=True
        ):
            sizes[place] = size
        return np.broadcast_to(first.reshape(sizes), shape)
    if name == "slice":
        steps = params["strides"] or [1] * first.ndim
        ends = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
        return first[tuple(slice(*each) for each in ends)]
    if name in _REDUCING and first.ndim:
        return getattr(first, name.removeprefix("reduce_"))(axis=params["axes"])
    if name == "concatenate" and all(array.ndim == len(shape) for array in arrays):
        return np.concatenate(arrays, params["dimension"])
    return by_element(name, params, arrays)


_MOVING = {
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "broadcast_in_dim",
    "slice",
    "dynamic_slice",
    "split",
}
_REDUCING = {"reduce_sum", "reduce_prod", "reduce_max", "reduce_min"}
