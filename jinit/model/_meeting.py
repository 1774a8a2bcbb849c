"""Meetings: what a parameter is where it meets a value, and over which axes.

x (batch, time, 64) · w (64, 4, 16)    contraction: in out out, fans 64 and 64
x * b (16,)                            scale: free
w (1000, 64) at words                  table: index out
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jinit._checks import Shape
    from jinit.model._graph import Step
    from jinit.model._views import View


def meeting(step: Step, position: int) -> tuple[str, list[str], float, float]:
    """The kind of a use, the role of each axis of the view, and the fans."""
    shape, params = step.inputs[position].shape, step.equation.params
    free = ["free"] * len(shape)
    if step.name == "dot_general":
        contracted, batch = (side[position] for side in params["dimension_numbers"])
        roles = ["out"] * len(shape)
        for axis in contracted:
            roles[axis] = "in"
        for axis in batch:
            roles[axis] = "batch"
        return "contraction", roles, *_fans(shape, roles)
    if step.name == "conv_general_dilated" and position == 1:
        return _convolution(shape, params)
    if step.name.startswith("ragged_dot") and position == 1 and len(shape) == 3:
        roles = ["batch", "in", "out"]
        return "contraction", roles, *_fans(shape, roles)
    if step.name == "gather" and position == 0:
        gone = params["dimension_numbers"].collapsed_slice_dims
        sizes = enumerate(zip(shape, params["slice_sizes"], strict=True))
        roles = [
            "index" if axis in gone or taken < whole else "out"
            for axis, (whole, taken) in sizes
        ]
        return "table", roles, 1.0, _fans(shape, roles)[1]
    if step.name == "dynamic_slice" and position == 0:
        sizes = zip(shape, params["slice_sizes"], strict=True)
        roles = ["out" if size == whole else "index" for whole, size in sizes]
        return "table", roles, 1.0, _fans(shape, roles)[1]
    kinds = {"mul": "scale", "div": "scale", "add": "shift", "sub": "shift"}
    kinds |= {"concatenate": "shift"}  # a token, put beside others
    return kinds.get(step.name, "other"), free, 1.0, 1.0


def signals(step: Step, position: int) -> tuple[str, ...]:
    """Of parameters that were contracted with one another, the one that is a signal.

    What layers make of a signal is the same for each example, which is an axis that the
    product with the inputs shares. Of a product that is a kernel, as those of LoRA, the
    examples know nothing.
    """
    value = step.inputs[position]
    if step.name != "dot_general" or not step.equation.params["dimension_numbers"][1]:
        return ()
    contracted, shared = (
        s[position] for s in step.equation.params["dimension_numbers"]
    )
    products = [v for v in value.views if "dot_general" in v.functions]
    spread = [
        axis for axis in shared if not any(view.axes[axis] for view in value.views)
    ]
    apart = [v for v in products if not any(v.axes[axis] for axis in contracted)]
    if not spread or not apart:
        return ()
    return (max(apart, key=lambda view: len(view.functions)).path,)


def only_scales(view: View, roles: Sequence[str]) -> bool:
    """Whether it is what a kernel was multiplied with, as the g of weight norm."""
    if not view.functions or "dot_general" in view.functions:
        return False
    along = zip(view.axes, roles, strict=True)
    return not any(digits for digits, role in along if role in ("in", "space"))


def _fans(shape: Shape, roles: Sequence[str]) -> tuple[float, float]:
    sizes = {
        role: math.prod(n for n, r in zip(shape, roles, strict=True) if r == role)
        for role in ("in", "out")
    }
    return float(sizes["in"]), float(sizes["out"])


def _convolution(shape: Shape, params: Any) -> tuple[str, list[str], float, float]:
    numbers = params["dimension_numbers"].rhs_spec
    roles = ["space"] * len(shape)
    roles[numbers[0]], roles[numbers[1]] = "out", "in"
    taps = math.prod(shape[axis] for axis in numbers[2:])
    # A dilated input has zeros between its numbers; a stride leaves outputs out.
    fan_in = shape[numbers[1]] * taps / math.prod(params["lhs_dilation"])
    groups = params["feature_group_count"]
    fan_out = shape[numbers[0]] / groups * taps / math.prod(params["window_strides"])
    return "contraction", roles, fan_in, fan_out


def seen(step: Step) -> float:
    """The share of its taps that a convolution has within the borders, on average.

    Of a convolution by 3 of 4 numbers, padded by one on each side, 10 of 12.
    """
    params, share = step.equation.params, 1.0
    lhs, rhs, out = params["dimension_numbers"]
    sides = zip(lhs[2:], rhs[2:], out[2:], strict=True)
    shapes = [step.inputs[0].shape, step.inputs[1].shape]
    shapes.append(step.equation.outvars[0].aval.shape)
    for n, (x, w, y) in enumerate(sides):
        size, taps, results = shapes[0][x], shapes[1][w], shapes[2][y]
        spread, apart = params["lhs_dilation"][n], params["rhs_dilation"][n]
        start = np.arange(results) * params["window_strides"][n]
        place = start[:, None] + np.arange(taps) * apart - params["padding"][n][0]
        within = (place >= 0) & (place <= (size - 1) * spread)
        share *= float(within.mean()) if within.size else 1.0
    return share
