"""Propagation: what a model makes of signals and gradients, layer by layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit._text import aligned, quartiles, to_json
from jinit._types import ArrayTree, PRNGKey
from jinit.gains._mean_field import variance_map
from jinit.gains._moments import Infinite
from jinit.gains._names import Activation
from jinit.model._paths import named_leaves
from jinit.signal import _watch


@dataclass(frozen=True, eq=False, repr=False)
class Propagation:
    """Signals and gradients by layer: what `jinit.diagnostics.propagation` returns.

    It prints as a table of the layers; of several members as the median, and the
    quartiles in brackets. The arrays have a row for each member and a column for each
    layer; infinities and NaNs in them are what the model computed.

    Attributes:
      layers: The paths of the layers, in the order in which they were called; the
        model itself is "".
      second_moment: The mean square of a layer's output.
      mean: The mean of it.
      dead: The share of units that are zero for the whole batch. A unit is an index of
        the last axis: a feature, a channel.
      gradient: The mean square of the gradient with respect to a layer's output.
      predicted: The second moments that theory predicts, one for each layer; NaN for
        layers that own no kernel. None where no activation was given.
    """

    layers: tuple[str, ...]
    second_moment: np.ndarray
    mean: np.ndarray
    dead: np.ndarray
    gradient: np.ndarray
    predicted: np.ndarray | None = None

    def __repr__(self) -> str:
        heading = ("layer", "second moment", "mean", "dead", "gradient")
        measured = (self.second_moment, self.mean, self.dead, self.gradient)
        columns = [map(_watch.layer_name, self.layers), *map(_cells, measured)]
        if self.predicted is not None:
            heading = (*heading, "predicted")
            shown = ["" if math.isnan(q) else f"{q:.4g}" for q in self.predicted]
            columns.append(shown)
        return aligned([heading, *zip(*columns, strict=True)])

    select = _watch.select

    def to_json(self) -> str:
        """Returns JSON: "inf" and "nan" are strings, a missing prediction is null."""
        content: dict[str, Any] = {**vars(self)}
        if self.predicted is not None:
            content["predicted"] = [None if np.isnan(q) else q for q in self.predicted]
        return to_json("propagation", **content)


def propagation(
    model: _watch.Model,
    params: ArrayTree | Callable[[jax.Array], ArrayTree],
    batch: ArrayTree,
    *,
    keys: PRNGKey | None = None,
    activation: Activation | variance_map | None = None,
) -> Propagation:
    """Measures what becomes of signals and gradients in each layer of a model.

        second moment = mean of y²,    gradient = mean of (∂(v · output) / ∂y)²

    Here y is the output of a layer for the batch, and v a projection of what the model
    returns, drawn from N(0, 1) with a fixed key: what shows is how gradients change
    from layer to layer, not their scale. A layer that is called twice is measured the
    first time; one within `remat`, `scan` or `vmap` is not, but the module around it
    is. All outputs and gradients of one member are in memory at once.

    Args:
      model: A linen module; an nnx module; or a function of `params` and `batch` that
        applies linen modules, which can give them what else they need, such as
        `lambda params, x: model.apply(params, x, rngs={"dropout": key})`.
      params: What the model is applied to: linen's variables, or an nnx module's state;
        or a function that makes them of a key, if `keys` are given.
      batch: The inputs, given to the model as its one argument.
      keys: An array of keys: the model is measured with the parameters of each.
      activation: The activation between layers that own a kernel, as `jinit.gain` takes
        it, for a prediction of their second moments: the first as measured, each one
        after by `jinit.variance_map(activation)`. That is for layers in a row, with
        kernels of the activation's own gain and zero biases; for others give a
        `jinit.variance_map`.

    Returns:
      A `Propagation`, to print and to draw: `jinit.diagnostics.plots.signal`.

    Raises:
      ValueError: Parameters or inputs are not finite; the model fails on them, returns
        something other than one array of floats, or has no layers; keys that do not
        go with the parameters; or an activation that has no prediction.

    Example:
      >>> import flax.linen as nn, jax, jinit
      >>> def dense():
      ...     return nn.Dense(512, kernel_init=jinit.he_normal())
      >>> model = nn.Sequential([dense(), nn.relu, dense(), nn.relu, dense()])
      >>> x = jax.random.normal(jax.random.key(0), (16, 512))
      >>> keys = jax.random.split(jax.random.key(1), 4)
      >>> found = jinit.diagnostics.propagation(
      ...     model, lambda key: model.init(key, x), x, keys=keys, activation="relu"
      ... )
      >>> found.layers, found.second_moment.shape
      (('layers_0', 'layers_2', 'layers_4', ''), (4, 4))
      >>> print(f"{found.second_moment[:, 2].mean():.1f} {found.predicted[2]:.1f}")
      1.9 2.1

    References:
      Glorot and Bengio (2010), section 4.2, for such a study; Schoenholz et al. (2017),
      arXiv:1611.01232, for signals and gradients in the limit of wide layers.
    """
    known = isinstance(activation, variance_map | None)
    step = activation if known else variance_map(activation)
    _watch.check_arrays("batch", batch)
    trees = _members(params, keys)
    first = next(trees)
    layers, returned = _watch.layer_shapes(model, first, batch)
    if not _watch.is_floats(returned):
        raise ValueError(
            f"model must return one array of floats, got {returned!r}; give a function "
            "of params and batch that applies it and picks one."
        )
    kernels = [path for path, _ in named_leaves(first)[0] if _watch.is_kernel(path)]
    owning = set(map(_watch.owner, kernels))
    owners = [path in owning for path in layers]
    if step is not None and not any(owners):
        raise ValueError(
            "activation must be left out for a model without kernels, got "
            f"{activation!r}; its layers are {', '.join(map(repr, layers))}."
        )
    apply = _compiled(model, layers, first, batch)
    rows = []
    for number, tree in enumerate(itertools.chain([first], trees)):
        outputs, gradients = apply(tree, batch, np.uint32(number))
        # The statistics of each layer; of its gradient the second moment alone.
        forward = [_statistics(outputs[path]) for path in layers]
        backward = [_statistics(gradients[path])[:1] for path in layers]
        rows.append(np.hstack([forward, backward]))
    second_moment, mean, dead, gradient = np.moveaxis(np.array(rows), -1, 0)
    predicted = None if step is None else _predicted(step, second_moment, owners)
    return Propagation(tuple(layers), second_moment, mean, dead, gradient, predicted)


def _cells(values: np.ndarray) -> list[str]:
    """One quantity of each layer: the number, or its median and quartiles."""
    if len(values) == 1:
        return [f"{value:.4g}" for value in values[0]]
    cells = []
    for numbers in quartiles(values).T:
        low, median, high = (f"{number:.3g}" for number in numbers)
        cells.append(median if low == high else f"{median} [{low}, {high}]")
    return cells


def _members(params: Any, keys: Any) -> Iterator[Any]:
    """The trees of parameters, each checked when it is its turn."""
    makes = callable(params)
    if not makes and keys is not None:
        raise ValueError(
            f"keys must be left out where params are arrays, got {keys!r}; to "
            "measure several, give a function of a key as params."
        )
    if makes and keys is None:
        raise ValueError(
            f"keys must be given where params is a function, got {params!r}; give "
            "such as jax.random.split(jax.random.key(0), 8)."
        )
    kinds = None
    for tree in map(params, _watch.check_several_keys(keys)) if makes else [params]:
        _watch.check_arrays("params", tree)
        kinds, last = jax.eval_shape(jax.tree.leaves, tree), kinds
        if last not in (None, kinds):
            raise ValueError(
                "params must make arrays of the same shapes of every key, got "
                f"{kinds!r} after {last!r}."
            )
        yield tree


def _compiled(model: Any, layers: dict[str, Any], params: Any, batch: Any) -> Any:
    """The program from parameters, batch and the number of a member to arrays."""

    def run(params: Any, batch: Any, member: jax.Array) -> tuple[Any, Any]:
        def watched(nothing: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
            outputs = {}

            def visit(path: str, output: jax.Array) -> jax.Array:
                outputs[path] = output
                return output + nothing[path]

            return _watch.apply_watched(model, params, batch, visit), outputs

        nothing = {path: jnp.zeros(y.shape, y.dtype) for path, y in layers.items()}
        output, pull_back, outputs = jax.vjp(watched, nothing, has_aux=True)
        key = jax.random.fold_in(jax.random.key(0), member)
        (gradients,) = pull_back(jax.random.normal(key, output.shape, output.dtype))
        return outputs, gradients

    with _watch.refusing_batch(batch):
        traced = jax.jit(run).trace(params, batch, np.uint32(0))
    return traced.lower().compile()


def _statistics(y: jax.Array) -> tuple[float, float, float]:
    """Second moment, mean and share of dead units, in double precision."""
    # On the host: within the program hundreds of sums would double the time to compile.
    array = np.asarray(y)
    dead = (array == 0).all(axis=tuple(range(array.ndim - 1))).mean()
    array = array.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.square(array).mean(), array.mean(), dead


def _predicted(
    step: variance_map, second_moment: np.ndarray, owners: Sequence[bool]
) -> np.ndarray:
    predicted = np.full(len(owners), np.nan)
    at = np.flatnonzero(owners)
    q = float(second_moment[:, at[0]].mean())
    for layer in at:
        predicted[layer] = q
        try:
            q = step(q) if math.isfinite(q) else q
        except Infinite:
            q = math.inf
    return predicted
