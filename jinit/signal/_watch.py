"""Layers: a model applied while each layer's output is looked at, or replaced.

The model is not changed: linen tells what its modules return (`nn.intercept_methods`),
and of an nnx model a copy is run whose modules tell it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jinit._checks import check_keys, is_traced
from jinit._text import some
from jinit.model._paths import Pattern, matcher, named_leaves

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before jax 0.11
    from jax.core import get_opaque_trace_state

Report = TypeVar("Report", bound=Any)

Model = Callable[..., Any]
"""A module of linen or nnx, or a function of params and batch that applies linen's."""

Visit = Callable[[str, jax.Array], jax.Array]  # path and output to what replaces it


def apply_watched(model: Any, params: Any, batch: Any, visit: Visit) -> Any:
    """Applies a model, and shows each layer's output to a function.

    A layer is a module that is called and returns an array of floats. One that is
    called more than once is shown the first time. Layers within `remat`, `scan` or
    `vmap` are not shown, as what is computed there cannot be had outside.
    """
    shown = _shown_once(visit)
    nnx = sys.modules.get("flax.nnx")  # imported where there is such a model
    if nnx is not None and isinstance(model, nnx.Module):
        return _watched_copy(model, params, shown)(batch)
    return _apply_linen(model, params, batch, shown)


def layer_shapes(
    model: Any, params: Any, batch: Any
) -> tuple[dict[str, jax.ShapeDtypeStruct], Any]:
    """The layers that a model shows, and what it returns; nothing is computed."""
    shapes = dict[str, jax.ShapeDtypeStruct]()

    def visit(path: str, output: jax.Array) -> jax.Array:
        shapes[path] = jax.ShapeDtypeStruct(output.shape, output.dtype)
        return output

    check_model("model", model)
    with refusing_batch(batch):
        returned = jax.eval_shape(
            lambda *of: apply_watched(model, of[0], of[1], visit), params, batch
        )
    if not shapes:
        raise ValueError(
            "model must call modules of linen or nnx that return floats, but no call "
            f"of one was seen in {model!r}; give the module, or a function that "
            "applies it without jax.jit."
        )
    return shapes, returned


@contextmanager
def refusing_batch(batch: Any, failed: str = "model") -> Iterator[None]:
    """Says for which batch a model failed, or what else is run on it."""
    try:
        yield
    except Exception as error:  # a model may raise anything
        shapes = jax.tree.map(jnp.shape, batch)
        raise ValueError(
            f"{failed} fails with these params and a batch of shape {shapes}: "
            f"{type(error).__name__}: {error}"
        ) from error


def check_arrays(name: str, tree: Any) -> None:
    """Refuses a tree without arrays, and traced, empty or infinite ones."""
    leaves, _ = named_leaves(tree)
    if not leaves:
        raise ValueError(f"{name} must hold arrays, got {tree!r}, which holds none.")
    for path, leaf in leaves:
        where = f"{name} at {path!r}" if path else name
        if is_traced(leaf):
            raise TypeError(f"{where} is traced, got {leaf!r}; call outside of jit.")
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise TypeError(f"{where} must be an array, got {leaf!r}.")
        if not leaf.size:
            raise ValueError(f"{where} must have elements, got shape {leaf.shape}.")
        array = np.asarray(leaf) if jnp.issubdtype(leaf.dtype, np.inexact) else 0
        if not np.isfinite(array).all():
            raise ValueError(
                f"{where} must be finite, but has {np.isnan(array).sum()} NaN and "
                f"{np.isinf(array).sum()} infinite of {np.size(array)}."
            )


def check_model(name: str, model: Any) -> None:
    if not callable(model):
        raise TypeError(
            f"{name} must be a module of linen or nnx, or a function of params and "
            f"batch that applies modules of linen, got {model!r}."
        )


def check_inputs(caller: str, params: Any, batch: Any, name: str = "batch") -> None:
    """Refuses what a function that changes params by a batch cannot work with."""
    if is_traced(jnp.zeros(())):
        raise TypeError(f"{caller} must see numbers; call it outside of jit.")
    check_arrays("params", params)
    check_arrays(name, batch)


def check_several_keys(keys: Any) -> jax.Array:
    keys = check_keys(keys)
    if keys.ndim != 1 or not keys.size:
        raise ValueError(
            f"keys must be an array of one axis, got keys of shape {keys.shape}; make "
            "them with jax.random.split."
        )
    return keys


def layer_name(path: str) -> str:
    """How the path of a layer prints; that of the model itself is empty."""
    return path or "(model)"


def select(self: Report, pattern: Pattern) -> Report:
    """Returns what is known of the layers whose paths match, as `jinit.plan` has it.

    Raises:
      ValueError: `pattern` matches no layer.
    """
    layers, matches = self.layers, matcher(pattern)
    chosen = [number for number, path in enumerate(layers) if matches(path)]
    if not chosen:
        raise ValueError(
            f"pattern must match a layer, got {pattern!r} among {some(layers, 20)}."
        )
    parts: dict[str, Any] = {}
    for name, value in vars(self).items():
        if isinstance(value, np.ndarray):
            parts[name] = value[..., chosen]
        elif name in ("layers", "verdicts"):
            parts[name] = tuple(value[number] for number in chosen)
    return replace(self, **parts)


def is_kernel(path: str) -> bool:
    return path.split("/")[-1] == "kernel"


def owner(path: str) -> str:
    """The path of the layer that a leaf belongs to."""
    return "/".join(path.removeprefix("params/").split("/")[:-1])


def replaced(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The tree with other leaves at some paths."""
    old, treedef = named_leaves(tree)
    return treedef.unflatten([leaves.get(path, leaf) for path, leaf in old])


def laid_out(tree: Any, like: Any) -> Any:
    """Puts arrays where the old ones lie; those of NumPy stay NumPy's."""

    def beside(leaf: Any, old: Any) -> Any:
        if not isinstance(old, jax.Array):
            return np.asarray(leaf, old.dtype)
        kept = isinstance(leaf, jax.Array) and leaf.sharding == old.sharding
        return leaf if kept else jax.device_put(leaf, old.sharding)

    return jax.tree.map(beside, tree, like)


def is_floats(value: Any) -> bool:
    """Whether it is an array of real floats, or the shape of one."""
    array = isinstance(value, jax.Array | jax.ShapeDtypeStruct)
    return array and jnp.issubdtype(value.dtype, jnp.floating)


def _shown_once(visit: Visit) -> Visit:
    outside, seen = get_opaque_trace_state(), set[str]()

    def shown(path: str, output: Any) -> Any:
        inside = get_opaque_trace_state() != outside
        if inside or not is_floats(output) or path in seen:
            return output
        seen.add(path)
        return visit(path, output)

    return shown


def _apply_linen(model: Any, params: Any, batch: Any, visit: Visit) -> Any:
    import flax.linen as nn

    def interceptor(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = method(*args, **kwargs)
        if context.method_name != "__call__":
            return output
        return visit("/".join(context.module.path), output)

    apply = model.apply if isinstance(model, nn.Module) else model
    with nn.intercept_methods(interceptor):
        return apply(params, batch)


def _watched_copy(model: Any, params: Any, visit: Visit) -> Any:
    """A copy of an nnx model with other parameters, whose modules tell."""
    from flax import nnx

    graph, state = nnx.split(model)
    state = nnx.merge_state(state, params)
    # Mapped, the variables are new ones, of the trace under way if there is one.
    copy = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
    for path, module in list(nnx.iter_graph(copy)):
        if isinstance(module, nnx.Module) and callable(module):
            module.__class__ = _telling(type(module), "/".join(map(str, path)), visit)
    return copy


def _telling(kind: type, path: str, visit: Visit) -> type:
    """A class of modules that show what they return."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        return visit(path, kind.__call__(self, *args, **kwargs))

    return type(kind.__name__, (kind,), {"__call__": __call__})
