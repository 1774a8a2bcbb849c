"""Weight normalization: its scales and biases from what the layers return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from jinit._text import some
from jinit.model._paths import named_leaves, path_of
from jinit.signal._watch import (
    apply_watched,
    check_arrays,
    check_model,
    laid_out,
    layer_shapes,
    leading_axes,
    owner,
    sibling,
    trails,
    wide,
)

_STANDARD = 0.1
"""How far from mean 0 and variance 1 a normalized feature may be found."""


def weight_norm_init(apply: Any, params: Any, batch: Any) -> Any:
    """Weight normalization's initialization from data, for `WeightNorm` layers of Flax.

        scale -> scale / std,    bias -> (bias - mean) / std

    Mean and standard deviation are those of each feature of a layer's output over the
    batch. So features have mean 0 and variance 1 for it, in each layer after those
    before it. A layer without a bias keeps its means, and gets the variances.

    Args:
      apply: A linen module; an nnx module; or a function of `params` and `batch` that
        applies linen modules, which can give them what else they need.
      params: Linen's variables; of an nnx model the whole `nnx.state(model)`, as its
        scales are no `nnx.Param` in each version of Flax. They are not changed.
      batch: The inputs, given to the model as its one argument.

    Returns:
      A tree like `params`, in the same dtypes and shardings.

    Raises:
      TypeError: An argument is not of its type, or is traced.
      ValueError: Parameters or inputs are not finite; there is no normalized layer with
        a scale, or one that is not called or whose biases are normalized too; a scale
        is that of no kernel, or of other axes than the last; features that do not vary
        over the batch; or the model fails on it.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> model = nn.Sequential(
      ...     [nn.WeightNorm(nn.Dense(64)), nn.relu, nn.WeightNorm(nn.Dense(8))]
      ... )
      >>> x = jax.random.normal(jax.random.key(0), (256, 32))
      >>> before = model.init(jax.random.key(1), x)
      >>> after = jinit.weight_norm_init(model, before, x)
      >>> print(f"{model.apply(before, x).var(axis=0).mean():.3f}")
      0.323
      >>> print(f"{model.apply(after, x).var(axis=0).mean():.3f}")
      1.000

    References:
      Salimans and Kingma (2016), arXiv:1602.07868, equation 6.
    """
    check_model("weight_norm_init", apply)
    check_arrays("params", params)
    check_arrays("batch", batch)
    layers = _normalized(params)
    shapes, _ = layer_shapes(apply, params, batch)
    _check_normalized(layers, params, shapes)
    run = jax.jit(partial(_standardized, apply, layers))
    found, leaves = run(params, batch)
    _refuse_layers(
        [path for path in layers if found[path].constant],
        "return finite features that vary over the batch",
        "give more inputs, that differ",
    )
    standardized = laid_out(_replaced(params, leaves), params)
    found, _ = run(standardized, batch)
    _refuse_layers(
        [path for path in layers if not found[path].error < _STANDARD],
        "follow their scales and biases",
        "give WeightNorm the axes of the outputs as feature_axes, and layers that "
        "return no more than a product with their kernel, and a bias",
    )
    return standardized


class _Normalized(NamedTuple):
    """The paths of what a normalized layer owns."""

    kernel: str
    scale: str
    bias: str | None


class _Features(NamedTuple):
    """What a pass found of the features of a layer."""

    constant: Any
    error: Any


def _unboxed(keypath: Sequence[Any]) -> Sequence[Any]:
    """Without the attribute of the box that a value may come in, as `path_of` does."""
    return keypath[:-1] if keypath and keypath[-1] == GetAttrKey("value") else keypath


def _last_key(keypath: Sequence[Any]) -> Any:
    return getattr(keypath[-1], "key", None) if keypath else None


def _joined(*segments: Any) -> str:
    return "/".join(str(segment) for segment in segments if segment != "")


def _replaced(params: Any, leaves: Mapping[str, Any]) -> Any:
    old, treedef = named_leaves(params)
    return treedef.unflatten([leaves.get(path, leaf) for path, leaf in old])


def _normalized(params: Any) -> dict[str, _Normalized]:
    """The layers whose kernel has a scale."""
    keypaths = [_unboxed(path) for path, _ in jax.tree.leaves_with_path(params)]
    paths = set(map(path_of, keypaths))
    scales = {_scaled_by(keypath, paths): path_of(keypath) for keypath in keypaths}
    layers = {
        owner(path): _Normalized(path, scale, sibling(path, "bias"))
        for path, scale in scales.items()
        if path is not None and path.split("/")[-1] == "kernel"
    }
    if not layers:
        raise ValueError(
            "params must hold the scales of WeightNorm layers, but there are none "
            f"among {some(sorted(paths))}; wrap layers in WeightNorm with "
            "use_scale=True, and of an nnx model give nnx.state(model)."
        )
    _refuse_layers(
        [path for path, layer in layers.items() if layer.bias in scales],
        "have biases that are not normalized",
        "give WeightNorm a variable_filter for the kernels only",
    )
    return {
        path: layer if layer.bias in paths else layer._replace(bias=None)
        for path, layer in layers.items()
    }


def _scaled_by(keypath: Sequence[Any], paths: Iterable[str]) -> str | None:
    """The path of the parameter that a leaf is the scale of, if it is one.

    nnx keeps scales in a dict of the wrapper, by paths within what is wrapped. Linen
    has these in the names of the scales; what is wrapped lies in the module that made
    it, which may be the wrapper or one around it.
    """
    last = _last_key(keypath)
    if isinstance(last, tuple):
        wrapper = path_of(keypath[:-2])
        return _joined(wrapper, "layer_instance", *last)
    if not isinstance(last, str) or not re.fullmatch(".+/.+/scale", last):
        return None
    around = path_of(keypath[:-1]).split("/")
    places = (around[:count] for count in range(len(around), -1, -1))
    named = (_joined(*place, last.removesuffix("/scale")) for place in places)
    owned = next((path for path in named if path in paths), None)
    if owned is None:
        raise ValueError(
            f"params must hold what {path_of(keypath)!r} is the scale of, but no leaf "
            "has its path; make the layers in the module that WeightNorm is given."
        )
    return owned


def _check_normalized(
    layers: Mapping[str, _Normalized], params: Any, shapes: Mapping[str, Any]
) -> None:
    _refuse_layers(
        [path for path in layers if path not in shapes],
        "be called, and not within remat, scan or vmap",
        "give a model that does",
    )
    sizes = {path: jnp.shape(leaf) for path, leaf in named_leaves(params)[0]}
    for path, (kernel, scale, bias) in layers.items():
        shape = sizes[scale]
        others = [sizes[kernel], shapes[path].shape]
        others += [] if bias is None else [sizes[bias]]
        if not all(trails(shape, other) for other in others):
            raise ValueError(
                f"scale of {path!r} must have the last axes of the kernel, the output "
                f"and the bias, of shapes {', '.join(map(str, others))}, got {shape}; "
                "give WeightNorm feature_axes of outputs."
            )


def _refuse_layers(paths: Sequence[str], rule: str, remedy: str) -> None:
    if paths:
        raise ValueError(
            f"normalized layers must {rule}, but {some(paths)} do not; {remedy}."
        )


def _standardized(
    apply: Any, layers: Mapping[str, _Normalized], params: Any, batch: Any
) -> tuple[dict[str, _Features], dict[str, Any]]:
    """One forward pass: what it finds, and the scales and biases that follow."""
    leaves = dict(named_leaves(params)[0])
    found, new = dict[str, _Features](), dict[str, Any]()

    def visit(path: str, output: jax.Array) -> jax.Array:
        if path not in layers:
            return output
        _, scale, bias = layers[path]
        own = leaves[scale], None if bias is None else leaves[bias]
        found[path], new[scale], moved, output = _standard(output, *own)
        if bias is not None:
            new[bias] = moved
        return output

    apply_watched(apply, params, batch, visit)
    return found, new


def _standard(
    output: jax.Array, scale: jax.Array, bias: Any
) -> tuple[_Features, jax.Array, Any, jax.Array]:
    """What the features are, and the scale, the bias and the output that they get."""
    y = output.astype(wide(output.dtype))
    axes = leading_axes(y, scale.ndim)
    units = scale if bias is None else bias
    mean = y.mean(leading_axes(y, units.ndim))
    centered = y - jnp.broadcast_to(mean, y.shape)
    std = jnp.sqrt((centered**2).mean(axes))
    constant = ~(std > 10 * jnp.finfo(y.dtype).eps * abs(y).max(axes)).all()
    error = abs(std**2 - 1).max()
    new_scale = (scale.astype(y.dtype) / std).astype(scale.dtype)
    if bias is None:
        result = y / jnp.broadcast_to(std, y.shape)
        return _Features(constant, error), new_scale, None, result.astype(output.dtype)
    error = jnp.maximum(error, abs(mean).max())
    shift = bias.astype(y.dtype) - mean
    new_bias = (shift / jnp.broadcast_to(std, shift.shape)).astype(bias.dtype)
    result = (centered / jnp.broadcast_to(std, y.shape)).astype(output.dtype)
    return _Features(constant, error), new_scale, new_bias, result
