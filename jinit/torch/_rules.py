"""Which of torch's defaults a parameter of a Flax model has, by its name and shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jinit._basic import constant, normal, ones, zeros
from jinit._checks import Shape
from jinit._fan_scaled import xavier_uniform
from jinit.torch import _defaults

Shapes = Mapping[str, Shape]


def default_rules() -> dict[str, Callable[..., Any]]:
    """Returns the rules by which torch initializes a model, for `jinit.plan`.

    Kernels and biases are drawn as torch's layers of the same kind are, biases by the
    fan of the kernel beside them; embeddings from N(0, 1); scales are one. Layers are
    recognised by the names that Flax gives to their parameters, and by their shapes:
    dense and convolutional layers, attention (query, key, value, out), recurrent cells,
    normalizations with their statistics, embeddings and PReLU.

    A transposed convolution must have "ConvTranspose" in its name, as those that linen
    names have; else it is taken for a convolution. What is not recognised is refused,
    as are the stacked parameters of scanned layers where their shapes show it: give
    rules for them before these. Layers that are called query, key, value and out, side
    by side, are taken for attention. Of an nnx model with `Dropout`, whose state holds
    keys, give `nnx.state(model, nnx.Param)`.

    Returns:
      A mapping with one rule for all paths. `{"**/head/kernel": jinit.zeros(),
      **jinit.torch.default_rules()}` goes before it.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> import flax.linen as nn
      >>> model = nn.Sequential([nn.Conv(8, (3, 3)), nn.Dense(10)])
      >>> tree = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 9, 9, 3)))
      >>> plan = jinit.plan(tree, jinit.torch.default_rules())
      >>> bias = plan.init(jax.random.key(0))["params"]["layers_0"]["bias"]
      >>> bool(abs(bias).max() <= (3 * 3 * 3) ** -0.5)
      True

    References:
      The `reset_parameters` of torch's modules, torch 2.13.
    """
    return {"**": _default}


def _default(path: str, shape: Shape, shapes: Shapes) -> Any:
    layer, _, name = path.rpartition("/")
    parent, _, place = layer.rpartition("/")
    beside, around = _children(layer, shapes), _children(parent, shapes)
    if name in _FIXED:
        return _FIXED[name]
    if name == "bias" and ("scale" in beside or "mean" in beside):
        return zeros()
    kernel = shapes.get(f"{layer}/kernel" if layer else "kernel")
    if name not in ("kernel", "bias") or kernel is None:
        raise ValueError("torch's default for it is not known; give a rule before it")
    if place in _ATTENTION and around >= _ATTENTION:
        return _attention(place, name, parent, shapes)
    if place in _PACKED and around >= _PACKED:
        hidden = shapes[f"{parent}/dense_h/kernel" if parent else "dense_h/kernel"]
        return _recurrent("lstm", place, name, hidden[-2])
    cells = (cell for cell, names in _CELLS.items() if names <= around)
    cell = next((c for c in cells if place in _CELLS[c] | {"if", "if_"}), None)
    if cell is not None:
        return _recurrent(cell, place, name, kernel[-1])
    fan = _fan(layer, kernel, shapes)
    return _defaults.linear(fan)[f"{name}_init"]


_FIXED = {
    "embedding": normal(),
    "scale": ones(),
    "mean": zeros(),
    "var": ones(),
    "negative_slope": constant(0.25),
}
_ATTENTION = {"query", "key", "value", "out"}
_PACKED = {"dense_i", "dense_h"}  # the cells of flax.nnx that have all gates in one
_CELLS = {
    "lstm": {"ii", "ig", "io", "hi", "hf", "hg", "ho"},
    "gru": {"ir", "iz", "in", "hr", "hz", "hn"},
    "rnn": {"i", "h"},
}


def _children(layer: str, shapes: Shapes) -> set[str]:
    """The names right below a path."""
    start = f"{layer}/" if layer else ""
    return {
        path.removeprefix(start).split("/")[0]
        for path in shapes
        if path.startswith(start)
    }


def _attention(place: str, name: str, attention: str, shapes: Shapes) -> Any:
    if name == "bias":
        return zeros()
    start = f"{attention}/" if attention else ""
    kernels = [shapes.get(f"{start}{n}/kernel", ()) for n in ("query", "key", "value")]
    own = shapes[f"{start}{place}/kernel"]
    bias = shapes.get(f"{start}{place}/bias")
    outputs = own[-1:] if place == "out" else own[1:]
    if not all(len(kernel) in (2, 3) for kernel in kernels) or bias not in (
        None,
        outputs,
    ):
        raise _unknown_axes(own)
    if place == "out":
        return _defaults.linear(math.prod(own[:-1]))["kernel_init"]
    packed = len({kernel[0] for kernel in kernels}) == 1
    fan_out = math.prod(own[1:]) * (3 if packed else 1)
    return xavier_uniform(fan_in=own[0], fan_out=fan_out)


def _recurrent(cell: str, place: str, name: str, hidden: int) -> Any:
    options = getattr(_defaults, cell)(hidden)
    apart = cell == "gru" and place in ("in", "hn")  # one of torch's two biases each
    return options["kernel_init" if name == "kernel" or apart else "bias_init"]


def _fan(layer: str, kernel: Shape, shapes: Shapes) -> int:
    """The fan that torch counts for a kernel and its bias."""
    place = layer.rpartition("/")[2].lower().replace("_", "")
    bias = shapes.get(f"{layer}/bias" if layer else "bias")
    if "convtranspose" in place:
        if bias not in (None, kernel[-1:]):
            raise _unknown_axes(kernel)
        return math.prod(kernel[:-2]) * kernel[-1]
    outputs = 1 if bias is None or "conv" in place else len(bias)
    known = len(kernel) == 2 or bias is not None or "conv" in place
    if not known or (bias is not None and bias != kernel[len(kernel) - outputs :]):
        raise _unknown_axes(kernel)
    return math.prod(kernel[: len(kernel) - outputs])


def _unknown_axes(kernel: Shape) -> ValueError:
    return ValueError(
        f"which axes of a kernel of shape {kernel} are inputs is not known; give a "
        "rule before it"
    )
