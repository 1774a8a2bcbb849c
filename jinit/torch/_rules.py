"""Which of torch's defaults a parameter of a Flax model has, by its name and shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jinit._basic import constant, normal, ones, zeros
from jinit._fan_scaled import xavier_uniform
from jinit.model._layers import Layer, Unknown, by_layer, check_size
from jinit.torch import _defaults


def default_rules() -> dict[str, Callable[..., Any]]:
    """Returns the rules by which torch initializes a model, for `jinit.plan`.

    Kernels and biases are drawn as torch 2.13's layers of the same kind are, biases by
    the fan of the kernel beside them; embeddings from N(0, 1); scales are one. Layers
    are recognised by the names that Flax gives their parameters, and by their shapes:
    dense and convolutional layers, attention (query, key, value, out), recurrent cells,
    normalizations with their statistics, embeddings and PReLU.

    A transposed convolution must have "ConvTranspose" in its name, as those that linen
    names have; else it is taken for a convolution. Layers that are called query, key,
    value and out, side by side, are taken for attention. Stacks, of `nn.scan` or
    `nn.vmap`, are recognised by biases, by scales, by names beginning with "Scan" or
    "Vmap", and by an axis that a box calls "layers" or the like (the partition name of
    `metadata_params`). What is not recognised is refused: give rules for it before
    these. Of an nnx model with `Dropout`, whose state holds keys, give
    `nnx.state(model, nnx.Param)`.

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
    """
    return {"**": by_layer(_default)}


_FIXED = {
    "embedding": normal(),
    "mean": zeros(),
    "var": ones(),
    "negative_slope": constant(0.25),
}


def _default(name: str, layer: Layer) -> Any:
    if layer.is_scale or (name == "scale" and layer.name == "kernel"):
        raise Unknown(
            "the scale of a weight norm starts as the norm of its kernel, which "
            "jinit.weight_norm_init computes"
        )
    if name in _FIXED:
        return _FIXED[name]
    normalizes = layer.shape("scale") or layer.shape("mean")
    if name == "scale" or (name == "bias" and normalizes):
        return ones() if name == "scale" else zeros()
    known = name in ("kernel", "bias") and layer.shape("kernel") is not None
    if not known or layer.cell == "mgu":
        raise Unknown("torch's default for it is not known")
    check_size(layer.shape("kernel"))
    if layer.is_attention:
        return zeros() if name == "bias" else _attention(layer)
    if layer.is_packed or layer.cell:
        return _recurrent(layer, name)
    return _defaults.linear(_fan(layer))[f"{name}_init"]


def _attention(layer: Layer) -> Any:
    kernel, inputs = layer.shape("kernel") or (), math.prod(layer.inputs)
    if layer.name == "out":
        return _defaults.linear(inputs)["kernel_init"]
    beside = [layer.beside(name) for name in ("query", "key", "value")]
    packed = len({each.inputs for each in beside}) == 1
    features = math.prod(kernel[len(kernel) - layer.outputs :])
    return xavier_uniform(fan_in=inputs, fan_out=features * (3 if packed else 1))


def _recurrent(layer: Layer, name: str) -> Any:
    of_state = layer.beside("dense_h") if layer.is_packed else layer
    hidden = (of_state.shape("kernel") or ())[-2 if layer.is_packed else -1]
    options = _defaults.rnn(hidden)
    apart = layer.cell == "gru" and layer.name in ("in", "hn")  # one of torch's each
    return options["kernel_init" if name == "kernel" or apart else "bias_init"]


def _fan(layer: Layer) -> int:
    """The fan that torch counts for a kernel and its bias."""
    inputs = math.prod(layer.inputs)  # refused first where they are not known
    if not layer.is_conv_transpose:
        return inputs
    # Of a transposed kernel the outputs come before the inputs.
    *taps, one, other = (layer.shape("kernel") or ())[layer.stack :]
    bias = layer.shape("bias")
    if bias is None and one != other:
        raise Unknown(
            f"which of the last two axes of a kernel of shape {layer.shape('kernel')} "
            "is that of the outputs is not known without a bias"
        )
    outputs = other if bias is None else bias[-1]
    if outputs not in (one, other):
        raise Unknown(f"a bias of shape {bias} does not fit its kernel")
    return math.prod(taps) * outputs
