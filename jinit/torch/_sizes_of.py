"""Sizes of torch's layers, read off the parameters of Flax's that are to be filled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

Shapes = dict[str, tuple[int, ...]]
"""Of the leaves of a layer, by their paths within it; of a leaf itself by ""."""


def sizes_of(method: str, path: str | None, shapes: Shapes) -> dict[str, Any]:
    """The sizes that a method of the stream takes, from the layer that it fills."""
    try:
        return {"shape": shapes[""]} if method[-1] == "_" else _SIZES[method](shapes)
    except (KeyError, ValueError):
        raise ValueError(
            f"layer {path!r} must be one that Stream.{method} is for, to have its "
            f"sizes, but has the shapes {shapes}; give the sizes, as Stream.{method} "
            "names them."
        ) from None


def _linear(shapes: Shapes) -> dict[str, Any]:
    inputs, outputs = shapes["kernel"]
    return {"in_features": inputs, "out_features": outputs}


def _conv(shapes: Shapes) -> dict[str, Any]:
    *spatial, inputs, outputs = shapes["kernel"]
    return {
        "in_features": inputs,  # of a group: torch draws the same for so many of one
        "out_features": outputs,
        "kernel_size": tuple(spatial),
    }


def _embedding(shapes: Shapes) -> dict[str, Any]:
    rows, features = shapes["embedding"]
    return {"num_embeddings": rows, "features": features}


def _bilinear(shapes: Shapes) -> dict[str, Any]:
    names = "in1_features", "in2_features", "out_features"
    return dict(zip(names, shapes["kernel"], strict=True))


def _cell(gate: str, shapes: Shapes) -> dict[str, Any]:
    inputs, hidden = shapes[f"{gate}/kernel"]
    return {"in_features": inputs, "hidden_features": hidden}


def _attention(shapes: Shapes) -> dict[str, Any]:
    features, heads, _ = shapes["query/kernel"]
    others = {"kdim": shapes["key/kernel"][0], "vdim": shapes["value/kernel"][0]}
    return {"features": features, "num_heads": heads, **others}


def _transformer(shapes: Shapes) -> dict[str, Any]:
    features, heads, _ = shapes["self_attn/query/kernel"]
    mlp = shapes["linear1/kernel"][1]
    return {"features": features, "num_heads": heads, "mlp_features": mlp}


def _whole_transformer(shapes: Shapes) -> dict[str, Any]:
    first = "encoder/layers_0/"
    of_layer = {p.removeprefix(first): s for p, s in shapes.items() if first in p}
    layers = {"/".join(path.split("/")[:2]) for path in shapes if "/layers_" in path}
    counts = {
        f"num_{part}_layers": sum(name.startswith(part) for name in layers)
        for part in ("encoder", "decoder")
    }
    return {**_transformer(of_layer), **counts}


_SIZES: dict[str, Callable[[Shapes], dict[str, Any]]] = {
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv,
    "embedding": _embedding,
    "bilinear": _bilinear,
    "layer_norm": lambda shapes: {"features": shapes["scale"]},
    "batch_stats": lambda shapes: {"features": int(np.prod(shapes["mean"]))},
    "rnn_cell": partial(_cell, "i"),
    "lstm_cell": partial(_cell, "ii"),
    "gru_cell": partial(_cell, "ir"),
    "multihead_attention": _attention,
    "transformer": _whole_transformer,
    "transformer_encoder_layer": _transformer,
    "transformer_decoder_layer": _transformer,
}
