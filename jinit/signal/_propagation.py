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

from jinit._text import aligned, some, to_json
from jinit._types import ArrayTree, PRNGKey
from jinit.gains._mean_field import variance_map
from jinit.gains._moments import Infinite
from jinit.gains._names import Activation
from jinit.model._graph import read
from jinit.model._paths import Pattern, matcher, named_leaves
from jinit.model._program import traced
from jinit.model._run import run
from jinit.signal import _watch
from jinit.signal._kernels import in_order, layers_of, name_of


@dataclass(frozen=True, eq=False, repr=False)
class Propagation:
    """Signals and gradients by layer: what `jinit.diagnostics.propagation` returns.

    It prints as a table of the layers; of several members as the median, and the
    quartiles in brackets. The arrays have a row for each member and a column for each
    layer; infinities and NaNs in them are what the model computed.

    Attributes:
      layers: The paths of the kernels, each of a stack with its number after it, in
        the order of the program; or those of the modules, where these were asked for,
        in the order in which they were called, of which the model itself is "".
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
    model: Any,
    params: ArrayTree | Callable[[jax.Array], ArrayTree],
    *inputs: Any,
    keys: PRNGKey | None = None,
    activation: Activation | variance_map | None = None,
    layers: Pattern | None = None,
) -> Propagation:
    """Measures what becomes of signals and gradients in each layer of a model.

        second moment = mean of y²,    gradient = mean of (∂(v · output) / ∂y)²

    Here y is what a kernel is contracted to, with its bias, and v a projection of what
    the model returns, drawn from N(0, 1) with a fixed key: what shows is how gradients
    change from layer to layer, not their scale. Layers are found in the traced program,
    as by `jinit.roles`: within loops, remat and vmap too, whatever their names. One
    that runs twice is measured the first time. All outputs and gradients of one member
    are in memory at once.

    Args:
      model: The model, as `jinit.roles` takes it. A function can give it what else it
        needs: `lambda params, x: model.apply(params, x, rngs={"dropout": key})`.
      params: Its parameters; or a function that makes them of a key, if `keys` are
        given.
      *inputs: What it is called with: a batch.
      keys: An array of keys: the model is measured with the parameters of each.
      activation: The activation between layers, as `jinit.gain` takes it, for a
        prediction of their second moments: the first as measured, each one after by
        `jinit.variance_map(activation)`. That is for layers in a row, with kernels of
        the activation's own gain and zero biases; for others give a
        `jinit.variance_map`.
      layers: Modules to measure instead: a pattern of their paths, as that of leaves
        in `jinit.plan`; "**" for all. These are modules of linen or nnx that are
        called, and return floats, outside of remat, scan and vmap.

    Returns:
      A `Propagation`, to print and to draw: `jinit.diagnostics.plots.signal`.

    Raises:
      ValueError: Parameters or inputs are not finite; the model fails on them, returns
        no floats, or has no layers; keys that do not go with the parameters; a pattern
        of no module; or an activation that has no prediction.

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
      >>> found.layers[1], found.second_moment.shape
      ('params/layers_2/kernel', (4, 3))
      >>> print(f"{found.second_moment[:, 2].mean():.1f} {found.predicted[2]:.1f}")
      1.9 2.1

    References:
      Glorot and Bengio (2010), section 4.2, for such a study; Schoenholz et al. (2017),
      arXiv:1611.01232, for signals and gradients in the limit of wide layers.
    """
    known = isinstance(activation, variance_map | None)
    step = activation if known else variance_map(activation)
    _watch.check_arrays("inputs", inputs)
    trees = _members(params, keys)
    first = next(trees)
    if layers is None:
        measure, names = _of_kernels(model, first, inputs)
        owners = [True] * len(names)
    else:
        measure, names = _of_modules(model, first, inputs, layers)
        owners = _owners(names, first)
    if step is not None and not any(owners):
        raise ValueError(
            "activation must be left out for layers without kernels, got "
            f"{activation!r}; the layers are {', '.join(map(repr, names))}."
        )
    rows = []
    for number, tree in enumerate(itertools.chain([first], trees)):
        outputs, gradients = measure(tree, inputs, np.uint32(number))
        # The statistics of each layer; of its gradient the second moment alone.
        forward = [_statistics(y) for y in outputs]
        backward = [_statistics(gradient)[:1] for gradient in gradients]
        rows.append(np.hstack([forward, backward]))
    second_moment, mean, dead, gradient = np.moveaxis(np.array(rows), -1, 0)
    predicted = None if step is None else _predicted(step, second_moment, owners)
    return Propagation(tuple(names), second_moment, mean, dead, gradient, predicted)


def quartiles(values: np.ndarray) -> np.ndarray:
    """The quartiles over the first axis; none is NaN because of an infinity."""
    with np.errstate(invalid="ignore"):
        between = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    nearest = np.quantile(values, (0.25, 0.5, 0.75), axis=0, method="nearest")
    return np.where(np.isnan(between), nearest, between)


def _cells(values: np.ndarray) -> list[str]:
    """One quantity of each layer: the number, or its median and quartiles."""
    if len(values) == 1:
        return [f"{value:.4g}" for value in values[0]]
    cells = []
    for numbers in quartiles(values).T:
        low, median, high = (f"{number:.3g}" for number in numbers)
        cells.append(median if low == high else f"{median} [{low}, {high}]")
    return cells


def _owners(names: Sequence[str], params: Any) -> list[bool]:
    """Which modules have a kernel of their own."""
    kernels = [path for path, _ in named_leaves(params)[0] if _watch.is_kernel(path)]
    owning = set(map(_watch.owner, kernels))
    return [name in owning for name in names]


def _members(params: Any, keys: Any) -> Iterator[Any]:
    """The trees of parameters, each checked when it is its turn."""
    # A model of Equinox can be called, but is a tree of arrays.
    makes = callable(params) and jax.tree_util.all_leaves([params])
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


# The programs: from parameters, inputs and the number of a member to the outputs of the
# layers, and the gradients there.

Measure = Callable[..., list[list[Any]]]


def _of_kernels(model: Any, params: Any, inputs: Any) -> tuple[Measure, list[str]]:
    """Measures the contractions with kernels that the program has."""
    program = traced(model, params, *inputs)
    graph = read(program.closed, program.paths)
    found = [k for k in layers_of(graph).values() if not graph.is_apart(k.end)]
    if not found:
        raise ValueError(
            "model must have parameters that are contracted with the inputs, but there "
            f"are only {some(graph.shapes)}; give those of the model."
        )
    kinds = {k.end.at: (*k.turns, *k.end.outputs[0].shape) for k in found}

    def look(_: Any, outputs: Any, nothing: Any) -> tuple[list[Any], Any]:
        return [outputs[0] + nothing], outputs[0]

    def forward(params: Any, inputs: Any, nothing: Any) -> tuple[Any, Any]:
        arguments = [*jax.tree.leaves(params), *jax.tree.leaves(inputs)]
        return run(program.closed, arguments, dict.fromkeys(kinds, look), nothing)

    nothing = {
        k.end.at: jnp.zeros(kinds[k.end.at], k.end.outputs[0].dtype) for k in found
    }
    compiled = _compiled(forward, inputs, nothing)

    def measure(*arguments: Any) -> list[list[Any]]:
        return [
            [k.each(seen[k.end.at])[index] for k, index in kernels]
            for seen in compiled(*arguments)
        ]

    kernels = in_order(found)
    return measure, [name_of(kernel.path, index) for kernel, index in kernels]


def _of_modules(
    model: Any, params: Any, inputs: Any, pattern: Pattern
) -> tuple[Measure, list[str]]:
    """Measures the modules that match a pattern, and the model itself."""
    if len(inputs) != 1:
        raise ValueError(
            f"inputs must be one array where modules are measured, got {len(inputs)}; "
            "leave out layers, or give a function of params and a batch."
        )
    shapes, _ = _watch.layer_shapes(model, params, inputs[0])
    matches = matcher(pattern)
    names = list(filter(matches, shapes))
    if not names:
        raise ValueError(
            f"layers must match modules, got {pattern!r} among {some(shapes, 20)}."
        )

    def forward(params: Any, inputs: Any, nothing: Any) -> tuple[Any, Any]:
        outputs = {}

        def visit(path: str, output: jax.Array) -> jax.Array:
            outputs[path] = output
            return output + nothing[path] if path in nothing else output

        return _watch.apply_watched(model, params, inputs[0], visit), outputs

    nothing = {
        path: jnp.zeros(shapes[path].shape, shapes[path].dtype) for path in names
    }
    compiled = _compiled(forward, inputs, nothing)

    def measure(*arguments: Any) -> list[list[Any]]:
        return [[seen[path] for path in names] for seen in compiled(*arguments)]

    return measure, names


def _compiled(forward: Any, inputs: Any, nothing: Any) -> Any:
    """The outputs, and the gradients of what is added to them, which is nothing."""

    def both(params: Any, inputs: Any, member: jax.Array) -> tuple[Any, Any]:
        returned, pull_back, outputs = jax.vjp(
            lambda nothing: forward(params, inputs, nothing), nothing, has_aux=True
        )
        key = jax.random.fold_in(jax.random.key(0), member)
        (gradients,) = pull_back(_projection(key, returned))
        return outputs, gradients

    compiled = jax.jit(both)

    def measured(*arguments: Any) -> tuple[Any, Any]:
        with _watch.refusing_batch(inputs):
            return compiled(*arguments)

    return measured


def _projection(key: jax.Array, returned: Any) -> Any:
    """Random numbers for all floats that a model returns, as their cotangents."""
    leaves, treedef = jax.tree.flatten(returned)
    if not any(map(_watch.is_floats, leaves)):
        raise ValueError(
            f"model must return floats, got {returned!r}; give a function of params "
            "and inputs that applies it and picks some."
        )
    keys = [key, *(jax.random.fold_in(key, n) for n in range(1, len(leaves)))]
    return treedef.unflatten(map(_cotangent, keys, leaves))


def _cotangent(key: jax.Array, leaf: Any) -> Any:
    if _watch.is_floats(leaf):
        return jax.random.normal(key, leaf.shape, leaf.dtype)
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros(leaf.shape, leaf.dtype)
    return np.zeros(leaf.shape, jax.dtypes.float0)


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
