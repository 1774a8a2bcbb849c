"""Flax's defaults, as rules: what a model has that names no initializer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jinit._basic import constant, ones, zeros
from jinit._checks import Shape
from jinit._fan_scaled import lecun_normal, variance_scaling
from jinit._orthogonal import orthogonal

Shapes = Mapping[str, Shape]

_FIXED = {
    "embedding": variance_scaling(1.0, "fan_in", "normal", out_axis=0),
    "scale": ones(),
    "bias": zeros(),
    "mean": zeros(),
    "var": ones(),
    "negative_slope": constant(0.01),
}
_RECURRENT = {"hi", "hf", "hg", "ho", "hr", "hz", "hn", "h"}  # kernels of the state


def default_rules() -> dict[str, Callable[..., Any]]:
    """The rules by which Flax's layers are initialized by default."""
    return {"**": _default}


def _default(path: str, shape: Shape, shapes: Shapes) -> Any:
    layer, _, name = path.rpartition("/")
    place = layer.rpartition("/")[2]
    if name in _FIXED:
        return _FIXED[name]
    if name != "kernel" or len(shape) < 2 or place == "dense_h":
        return None  # dense_h packs the gates of whichever cell
    if place in _RECURRENT and len(shape) == 2:
        return orthogonal()
    inputs = _inputs(layer, place, shape, shapes)
    return None if inputs is None else lecun_normal(fan_in=math.prod(shape[:inputs]))


def _inputs(layer: str, place: str, shape: Shape, shapes: Shapes) -> int | None:
    """How many of the axes of a kernel its layer sums over."""
    bias = shapes.get(f"{layer}/bias".removeprefix("/"))
    if "Conv" in place or len(shape) == 2:
        return len(shape) - 1
    if bias is not None and bias == shape[len(shape) - len(bias) :]:
        return len(shape) - len(bias)
    return {"query": 1, "key": 1, "value": 1, "out": len(shape) - 1}.get(place)
