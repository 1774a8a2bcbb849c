"""Flax's defaults, as rules: what a model has that names no initializer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from jinit._basic import constant, ones, zeros
from jinit._checks import Shape
from jinit._fan_scaled import he_uniform, lecun_normal, variance_scaling
from jinit._initializer import Initializer
from jinit._orthogonal import orthogonal
from jinit.model._layers import Layer, Unknown, by_layer, check_size
from jinit.rules._nearest import nearest

_FIXED = {
    "scale": ones(),
    "bias": zeros(),
    "mean": zeros(),
    "var": ones(),
    "negative_slope": constant(0.01),
    "lora_b": zeros(),
}
# The kernels of the state: of gates, of packed ones, of a convolutional cell.
_OF_STATE = {"hi", "hf", "hg", "ho", "hr", "hz", "hn", "h", "dense_h"}


def default_rules(
    measured: Mapping[str, Any] | None = None,
) -> dict[str, Callable[..., Any]]:
    """The rules by which Flax's layers are initialized by default.

    Where a kernel's name and shape do not tell of which layer it is, that one is taken
    whose deviation is nearest to the one `measured`.
    """
    return {"**": by_layer(partial(_default, measured=measured or {}))}


def _default(name: str, layer: Layer, measured: Mapping[str, Any]) -> Any:
    if name == "bias" and layer.cell == "mgu" and layer.name == "if":
        return ones()  # the bias of its forget gate
    if layer.is_scale:
        return ones()
    if name in _FIXED and not (name == "bias" and layer.shape("weight")):
        return _FIXED[name]
    check_size(layer.shape(name))
    if name == "embedding":
        (*_, features) = layer.shape("embedding") or ()
        return variance_scaling(1.0, "fan_in", "normal", fan_in=features)
    if name == "lora_a" and len(layer.shape(name) or ()) == 2:
        return he_uniform()
    if name != "kernel":
        raise Unknown("Flax's default for it is not known")
    if layer.is_normalized:
        raise Unknown("it is used normalized, so that its deviation is any")
    if layer.name in _OF_STATE and (layer.cell or layer.is_packed):
        return orthogonal(**layer.axes)
    if "convlocal" in layer.name.lower():  # whose places count as a receptive field
        return lecun_normal()
    try:
        return _of_kernel(layer)
    except Unknown:
        shape, path = layer.shape("kernel") or (), f"{layer.path}/kernel"
        found = measured.get(path.removeprefix("/"))
        if len(shape) < 3 or found is None:
            raise
        return nearest(_may_be(layer, shape), shape, found)


def _of_kernel(layer: Layer) -> Any:
    of_einsum = "einsum" in layer.name.lower()  # whose kernel is not made a matrix
    if (of_einsum or "General" in layer.name) and layer.stack and not layer.named:
        raise Unknown("it may be a stack, or have batch axes, which count as inputs")
    if of_einsum:
        return lecun_normal(**layer.axes)
    several = layer.outputs > 1 and not layer.is_attention
    if several and "General" not in layer.name:
        raise Unknown("Flax's default differs for DenseGeneral and for Einsum")
    return lecun_normal(fan_in=math.prod(layer.inputs))


def _may_be(layer: Layer, shape: Shape) -> Sequence[Initializer]:
    """What it may be of: DenseGeneral, an Einsum or, without a bias, any stack."""
    inputs: Iterable[tuple[int, int]] = itertools.combinations(range(len(shape)), 2)
    with suppress(Unknown):
        ends = len(shape) - layer.outputs, len(shape) - 1
        inputs = itertools.product((0, layer.stack), ends)  # batch_dims are inputs, too
    return [lecun_normal(fan_in=math.prod(shape[a:b])) for a, b in inputs]
