"""Weight normalization: its scales and biases from what the layers return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jinit._bits import wide_dtype
from jinit._text import some
from jinit._types import ArrayTree
from jinit.model._paths import named_leaves, path_of, unboxed
from jinit.signal import _watch

_Layers = dict[str, tuple[str, str, str | None]]
"""Of each normalized layer the paths of its kernel, its scale and its bias, if any."""

_STANDARD = 0.1  # how far from mean 0 and variance 1 a normalized feature may be found


def weight_norm_init(
    model: _watch.Model, params: ArrayTree, batch: ArrayTree
) -> ArrayTree:
    """Weight normalization's initialization from data, for `WeightNorm` layers of Flax.

        scale -> scale / std,    bias -> (bias - mean) / std

    Mean and standard deviation are those of each feature of a layer's output over the
    batch, for which features so have mean 0 and variance 1, layer by layer. A layer
    without a bias keeps its means, and gets the variances.

    Args:
      model: The model, as `jinit.diagnostics.propagation` takes it.
      params: Linen's variables; of an nnx model the whole `nnx.state(model)`, as not
        every version of Flax has scales as `nnx.Param`. They are not changed.
      batch: The inputs, given to the model as its one argument.

    Returns:
      A tree like `params`, in the same dtypes and shardings.

    Raises:
      TypeError: An argument is traced.
      ValueError: Parameters or inputs are not finite; there is no normalized layer with
        a scale, or one is not called, or has normalized biases; a scale belongs to no
        kernel, or to other axes than the last; features do not vary over the batch; or
        the model fails on it.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> layers = [nn.WeightNorm(nn.Dense(64)), nn.relu, nn.WeightNorm(nn.Dense(8))]
      >>> model = nn.Sequential(layers)
      >>> x = jax.random.normal(jax.random.key(0), (256, 32))
      >>> before = model.init(jax.random.key(1), x)
      >>> after = jinit.weight_norm_init(model, before, x)
      >>> print(*(f"{model.apply(p, x).var(0).mean():.3f}" for p in (before, after)))
      0.323 1.000

    References:
      Salimans and Kingma (2016), arXiv:1602.07868, equation 6.
    """
    _watch.check_model("model", model)
    _watch.check_inputs("weight_norm_init", params, batch)
    layers = _normalized(params)
    shapes, _ = _watch.layer_shapes(model, params, batch)
    _check_normalized(layers, params, shapes)
    run = jax.jit(partial(_standardized, model, layers))
    found, leaves = run(params, batch)
    _refuse_layers(
        [path for path, (constant, _) in found.items() if constant],
        "return finite features that vary over the batch",
        "give more inputs, that differ",
    )
    standardized = _watch.laid_out(_watch.replaced(params, leaves), params)
    found, _ = run(standardized, batch)
    _refuse_layers(
        [path for path, (_, error) in found.items() if not error < _STANDARD],
        "follow their scales and biases",
        "give WeightNorm the axes of the outputs as feature_axes, and layers that "
        "return no more than a product with their kernel, and a bias",
    )
    return standardized


def _joined(*segments: Any) -> str:
    return "/".join(str(segment) for segment in segments if segment != "")


def _normalized(params: Any) -> _Layers:
    """The layers whose kernel has a scale."""
    keypaths = [unboxed(path) for path, _ in jax.tree.leaves_with_path(params)]
    paths = set(map(path_of, keypaths))
    scales = {_scaled_by(keypath, paths): path_of(keypath) for keypath in keypaths}
    layers: _Layers = {}
    for path, scale in scales.items():
        if path is not None and _watch.is_kernel(path):
            bias = path.removesuffix("kernel") + "bias"
            own = path, scale, bias if bias in paths else None
            layers[_watch.owner(path)] = own
    if not layers:
        raise ValueError(
            "params must hold the scales of WeightNorm layers, but there are none "
            f"among {some(sorted(paths))}; wrap layers in WeightNorm with "
            "use_scale=True, and of an nnx model give nnx.state(model)."
        )
    _refuse_layers(
        [path for path, (*_, bias) in layers.items() if bias and bias in scales],
        "have biases that are not normalized",
        "give WeightNorm a variable_filter for the kernels only",
    )
    return layers


def _scaled_by(keypath: Sequence[Any], paths: Iterable[str]) -> str | None:
    """The path of the parameter that a leaf is the scale of, if it is one.

    nnx keeps scales in a dict of the wrapper, by paths within what is wrapped. Linen
    has these in the names of the scales; what is wrapped lies in the module that made
    it, which may be the wrapper or one around it.
    """
    last = getattr(keypath[-1], "key", None) if keypath else None
    if isinstance(last, tuple):
        return _joined(path_of(keypath[:-2]), "layer_instance", *last)
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


def _check_normalized(layers: _Layers, params: Any, shapes: Mapping[str, Any]) -> None:
    _refuse_layers(
        [path for path in layers if path not in shapes],
        "be called, and not within remat, scan or vmap",
        "give a model that does",
    )
    sizes = {path: jnp.shape(leaf) for path, leaf in named_leaves(params)[0]}
    for path, (kernel, scale, bias) in layers.items():
        shape = sizes[scale]
        others = [sizes[kernel], shapes[path].shape, *([sizes[bias]] if bias else [])]
        if not all(_trails(shape, other) for other in others):
            raise ValueError(
                f"scale of {path!r} must have the last axes of the kernel, the output "
                f"and the bias, of shapes {', '.join(map(str, others))}, got {shape}; "
                "give WeightNorm feature_axes of outputs."
            )


def _trails(shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether a shape is that of the last axes of another."""
    return tuple(shape) == tuple(whole)[max(len(whole) - len(shape), 0) :]


def _refuse_layers(paths: Sequence[str], rule: str, remedy: str) -> None:
    if paths:
        raise ValueError(
            f"normalized layers must {rule}, but {some(paths)} do not; {remedy}."
        )


def _standardized(
    model: Any, layers: _Layers, params: Any, batch: Any
) -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
    """By layer, whether features are constant and how far from standard; new leaves."""
    leaves = dict(named_leaves(params)[0])
    found, new = dict[str, tuple[Any, Any]](), dict[str, Any]()

    def visit(path: str, output: jax.Array) -> jax.Array:
        if path not in layers:
            return output
        _, scale, bias = layers[path]
        own = leaves[scale], None if bias is None else leaves[bias]
        found[path], new[scale], moved, output = _standard(output, *own)
        if bias is not None:
            new[bias] = moved
        return output

    _watch.apply_watched(model, params, batch, visit)
    return found, new


def _standard(
    output: jax.Array, scale: jax.Array, bias: Any
) -> tuple[tuple[Any, Any], jax.Array, Any, jax.Array]:
    """What the features are, and the scale, the bias and the output that they get."""
    y = output.astype(wide_dtype(output.dtype))
    axes = tuple(range(y.ndim - scale.ndim))
    mean = y.mean(axes if bias is None else tuple(range(y.ndim - bias.ndim)))
    centered = y - jnp.broadcast_to(mean, y.shape)
    std = jnp.sqrt((centered**2).mean(axes))
    constant = ~(std > 10 * jnp.finfo(y.dtype).eps * abs(y).max(axes)).all()
    taken = jnp.zeros_like(mean) if bias is None else mean  # the means stay, or go
    error = jnp.maximum(abs(std**2 - 1).max(), abs(taken).max())
    new_scale = (scale.astype(y.dtype) / std).astype(scale.dtype)
    if bias is not None:
        shift = bias.astype(y.dtype) - mean
        bias = (shift / jnp.broadcast_to(std, shift.shape)).astype(bias.dtype)
    result = (y - jnp.broadcast_to(taken, y.shape)) / jnp.broadcast_to(std, y.shape)
    return (constant, error), new_scale, bias, result.astype(output.dtype)
