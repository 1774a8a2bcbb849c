"""The coordinate check: whether the sizes of activations depend on the width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import _checks
from jinit._bits import wide_dtype
from jinit._text import aligned, to_json
from jinit._types import ArrayTree, PRNGKey
from jinit.signal import _watch

LEVEL = 0.2  # the slope up to which, in either direction, a layer is called level


@dataclass(frozen=True, eq=False, repr=False)
class CoordinateCheck:
    """Sizes by width and step: what `jinit.diagnostics.coordinate_check` returns.

    It prints as a table of the layers: the slope with its standard error before
    training and after the last step, and the verdict.

    Attributes:
      layers: The paths of the layers, in the order in which they were called; the
        model itself is "".
      widths: The widths.
      sizes: The mean absolute value of a layer's output: an array with axes for the
        widths, the keys, the steps from 0 on, and the layers.
      slopes: The slope of log2 size by log2 width, for each step and layer; NaN where a
        size is zero or not finite.
      errors: The standard errors of the slopes.
      verdicts: A word for each layer, on its slope after the last step: "grows" above
        0.2, "shrinks" below -0.2, "level" between; "zero" or "not finite" where there
        is no slope.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    sizes: np.ndarray
    slopes: np.ndarray
    errors: np.ndarray
    verdicts: tuple[str, ...]

    def __repr__(self) -> str:
        last = len(self.slopes) - 1
        heading = ("layer", "slope at step 0", f"at step {last}", "with width it")
        names = map(_watch.layer_name, self.layers)
        fitted = [map(_cell, self.slopes[n], self.errors[n]) for n in (0, last)]
        return aligned([heading, *zip(names, *fitted, self.verdicts, strict=True)])

    select = _watch.select

    def to_json(self) -> str:
        """Returns all of it as JSON, with "inf" and "nan" as strings."""
        return to_json("coordinate_check", **vars(self))


def coordinate_check(
    make: Callable[[int, jax.Array], tuple[Any, ArrayTree, Any]],
    widths: Sequence[int],
    batch: ArrayTree,
    loss: Callable[[Any], jax.Array],
    *,
    keys: PRNGKey,
    steps: int = 4,
) -> CoordinateCheck:
    """Trains a model at several widths for a few steps, and measures its activations.

        log2 mean |y| = slope · log2 width + constant

    Under a parametrization that is right in the limit of wide layers, such as muP, the
    sizes of activations stay the same while a model gets wider, before training and
    after each step: no layer grows. The output may shrink before training.

    Args:
      make: A function of a width and a key that returns a model, as
        `jinit.diagnostics.propagation` takes it; its parameters; and an optimizer with
        optax's `init(params)` and `update(grads, state, params)`. For a width, model
        and optimizer are those of the first key.
      widths: Two different widths or more.
      batch: The inputs, the same at each step, given to the model as its one argument.
      loss: A function from what the model returns to a scalar.
      keys: An array of keys: for each, parameters are made and trained.
      steps: How many steps are taken.

    Returns:
      A `CoordinateCheck`, to print and to draw: `jinit.diagnostics.plots.coordinates`.

    Raises:
      TypeError: `make` does not return three things.
      ValueError: Parameters or inputs are not finite; the model, the loss or the
        optimizer fails on them; the layers are not the same for all widths; or there
        are fewer than two widths, or two sizes for them in all.

    Example:
      >>> import flax.linen as nn, jax, jinit, optax
      >>> x = jax.random.normal(jax.random.key(0), (8, 16))
      >>> def make(width, key):
      ...     model = nn.Sequential([nn.Dense(width), nn.tanh, nn.Dense(1)])
      ...     return model, model.init(key, x), optax.sgd(0.05)
      >>> keys = jax.random.split(jax.random.key(1), 2)
      >>> check = jinit.diagnostics.coordinate_check(
      ...     make, (64, 256, 1024), x, lambda y: (y - 1).var(), keys=keys, steps=2
      ... )
      >>> check.layers, check.verdicts
      (('layers_0', 'layers_2', ''), ('level', 'grows', 'grows'))
      >>> check.sizes.shape  # widths, keys, steps from 0 on, layers
      (3, 2, 3, 3)

    References:
      Yang and Hu (2021), arXiv:2011.14522, for what wide layers need; Yang et al.
      (2022), arXiv:2203.03466, appendix D.1, for the check.
    """
    widths, keys = _widths(widths), _watch.check_several_keys(keys)
    steps = _checks.count("steps", steps)
    _watch.check_arrays("batch", batch)
    if len(widths) * len(keys) < 3:
        raise ValueError(
            f"keys must be at least two for two widths, got {len(keys)} for {widths}: "
            "a slope through two sizes has no error."
        )
    trained = [_trained(make, width, batch, loss, keys, steps) for width in widths]
    layers = trained[0][0]
    for width, (others, _) in zip(widths, trained, strict=True):
        if others != layers:
            differ = sorted(set(others) ^ set(layers)) or others
            raise ValueError(
                "make must return models with the same layers at all widths, but those "
                f"at {widths[0]} and {width} differ in {', '.join(map(repr, differ))}; "
                "vary the width alone, not the depth."
            )
    sizes = np.array([sizes for _, sizes in trained])
    slopes, errors = _fitted(widths, sizes)
    verdicts = tuple(map(_verdict, slopes[-1], np.moveaxis(sizes[:, :, -1], -1, 0)))
    return CoordinateCheck(layers, widths, sizes, slopes, errors, verdicts)


def _widths(widths: Any) -> tuple[int, ...]:
    try:
        counted = tuple(_checks.count("each of widths", width) for width in widths)
    except TypeError:
        message = f"widths must be a sequence of integers, got {widths!r}."
        raise TypeError(message) from None
    if len(set(counted)) < max(len(counted), 2):
        raise ValueError(
            f"widths must be two different widths or more, got {widths!r}; give such "
            "as (64, 256, 1024)."
        )
    return counted


def _trained(
    make: Any, width: int, batch: Any, loss: Any, keys: jax.Array, steps: int
) -> tuple[tuple[str, ...], list[Any]]:
    """The layers at one width, and their sizes by key, step and layer."""
    model, params, optimizer = _made(make, width, keys[0])
    layers = tuple(_watch.layer_shapes(model, params, batch)[0])
    step = _step(model, optimizer, loss)
    sizes = []
    for number, key in enumerate(keys):
        params = _made(make, width, key)[1] if number else params
        with _watch.refusing_batch(batch, "model, loss or optimizer"):
            state = optimizer.init(params)
            sizes.append([])
            for _ in range(steps + 1):
                params, state, by_layer = step(params, state, batch)
                sizes[-1].append([float(by_layer[path]) for path in layers])
    return layers, sizes


def _made(make: Any, width: int, key: jax.Array) -> tuple[Any, Any, Any]:
    made = make(width, key)
    if not isinstance(made, tuple) or len(made) != 3:
        raise TypeError(
            f"make must return a model, its parameters and an optimizer, got {made!r} "
            f"for width {width}."
        )
    _watch.check_arrays("params", made[1])
    if not all(callable(getattr(made[2], name, None)) for name in ("init", "update")):
        raise TypeError(
            "the optimizer that make returns must have init(params) and update(grads, "
            f"state, params), as optax's have, got {made[2]!r}."
        )
    return made


def _step(model: Any, optimizer: Any, loss: Any) -> Any:
    """From parameters, state and batch to those after a step, and sizes before it."""

    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any, Any]:
        def objective(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            sizes = {}

            def visit(path: str, output: jax.Array) -> jax.Array:
                sizes[path] = abs(output.astype(wide_dtype(output.dtype))).mean()
                return output

            return loss(_watch.apply_watched(model, params, batch, visit)), sizes

        gradients, sizes = jax.grad(objective, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        moved = jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)
        return moved, state, sizes

    return jax.jit(step)


def _fitted(widths: Sequence[int], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes over all widths and keys by least squares, and their standard errors."""
    x = np.log2(np.array(widths, float)).reshape(-1, 1, 1, 1)
    x = np.broadcast_to(x - x.mean(), (*sizes.shape[:2], 1, 1))
    usable = (sizes > 0) & (sizes < np.inf)
    y = np.log2(sizes, out=np.full(sizes.shape, np.nan), where=usable)
    slopes = (x * y).sum(axis=(0, 1)) / (x**2).sum()
    residuals = y - y.mean(axis=(0, 1)) - slopes * x
    freedom = sizes.shape[0] * sizes.shape[1] - 2
    variances = (residuals**2).sum(axis=(0, 1)) / freedom
    return slopes, np.sqrt(variances / (x**2).sum())


def _verdict(slope: float, sizes: np.ndarray) -> str:
    if not np.isfinite(sizes).all():
        return "not finite"
    if np.isnan(slope):
        return "zero"
    return "level" if abs(slope) <= LEVEL else "grows" if slope > 0 else "shrinks"


def _cell(slope: float, error: float) -> str:
    return "-" if np.isnan(slope) else f"{slope:.2f} ± {error:.2f}"
