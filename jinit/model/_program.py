"""Programs: what a model does with its parameters and inputs, as JAX traces it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from jinit._text import some
from jinit._types import ArrayTree
from jinit.model._paths import named_leaves


class Program(NamedTuple):
    """A model that is traced; its first arguments are the parameters, in order."""

    closed: core.ClosedJaxpr
    paths: list[str]
    result: Any  # the shapes of what it returns


def traced(model: Any, params: ArrayTree, *inputs: Any) -> Program:
    """Traces a model.

    Args:
      model: A module of linen, nnx or Equinox, what Haiku's `transform` returns, or
        any function of the parameters and the inputs.
      params: Its parameters, or their shapes.
      *inputs: What it is called with, or the shapes.

    Raises:
      TypeError: `model` is none of these; a leaf of `params` is no array.
      ValueError: The model does not run on these parameters and inputs.
    """
    if not callable(model) and not hasattr(model, "apply"):
        raise TypeError(
            "model must be a module of linen, nnx or Equinox, what Haiku's transform "
            f"returns, or a function of params and inputs, got {model!r}."
        )
    leaves, treedef = named_leaves(params)
    structs = [_struct(path, leaf) for path, leaf in leaves]
    function = _function(model, params)
    try:
        closed, result = jax.make_jaxpr(function, return_shape=True)(
            treedef.unflatten(structs), *inputs
        )
    except Exception as error:  # the model may raise anything
        shapes = ", ".join(str(jax.tree.map(np.shape, each)) for each in inputs)
        raise ValueError(
            f"model must run on these params and inputs of shape {shapes}, but raised "
            f"{type(error).__name__}: {error}"
        ) from error
    return Program(closed, [path for path, _ in leaves], result)


def _struct(path: str, leaf: Any) -> jax.ShapeDtypeStruct:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(
            f"params must hold arrays or their shapes, got {leaf!r} at {path!r}; take "
            "the arrays alone, as eqx.filter(model, eqx.is_array) does."
        )
    # As JAX has it: doubles of NumPy are singles where x64 is not enabled.
    numbers = not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype) if numbers else leaf.dtype
    return jax.ShapeDtypeStruct(leaf.shape, dtype)


def _function(model: Any, params: Any) -> Callable[..., Any]:
    """The model as a function of its parameters and inputs."""
    from flax import linen, nnx

    def keys() -> dict[str, jax.Array]:  # of the trace, for which they are of no matter
        return {"params": jax.random.key(0), "dropout": jax.random.key(1)}

    if isinstance(model, linen.Module):
        whole = isinstance(params, Mapping) and "params" in params

        def apply(params: Any, *inputs: Any) -> Any:
            variables = params if whole else {"params": params}
            # All but parameters: one that is missing is refused, not made.
            mutable = linen.DenyList("params")
            return model.apply(variables, *inputs, rngs=keys(), mutable=mutable)[0]

        return apply
    if isinstance(model, nnx.Module):
        graphdef, given, rest = nnx.split(model, nnx.Param, ...)
        if len(jax.tree.leaves(params)) != len(jax.tree.leaves(given)):
            graphdef, given = nnx.split(model)
            _check_leaves(params, given)
            return lambda params, *inputs: nnx.merge(graphdef, params)(*inputs)
        _check_leaves(params, given)

        def merged(params: Any, *inputs: Any) -> Any:
            others = jax.tree.map(
                lambda leaf: leaf, rest
            )  # of the trace, to be changed
            return nnx.merge(graphdef, params, others)(*inputs)

        return merged
    if isinstance(model, tuple) and hasattr(model, "apply"):
        return _of_haiku(model, keys()["params"])
    leaves, treedef = jax.tree.flatten(model)
    if callable(model) and len(leaves) > 1:  # of Equinox: the model is its own tree
        is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        if sum(is_array) != len(jax.tree.leaves(params)):
            raise ValueError(
                f"params must hold the {sum(is_array)} arrays of the model, got "
                f"{len(jax.tree.leaves(params))}; give eqx.filter(model, eqx.is_array)."
            )

        def call(params: Any, *inputs: Any) -> Any:
            arrays = iter(jax.tree.leaves(params))
            filled = map(
                lambda own, leaf: next(arrays) if own else leaf, is_array, leaves
            )
            return treedef.unflatten(list(filled))(*inputs)

        return call
    return model


def _check_leaves(params: Any, given: Any) -> None:
    got, own = ([path for path, _ in named_leaves(tree)[0]] for tree in (params, given))
    if got != own:
        raise ValueError(
            f"params must be those of the model, {some(own)}, got {some(got)}; give "
            "nnx.state(model, nnx.Param)."
        )


def _of_haiku(model: Any, key: jax.Array) -> Callable[..., Any]:
    def call(params: Any, *inputs: Any) -> Any:
        if type(model).__name__ != "TransformedWithState":
            return model.apply(params, key, *inputs)
        _, state = model.init(key, *inputs)  # as it is at the start
        return model.apply(params, state, key, *inputs)[0]

    return call
