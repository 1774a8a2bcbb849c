"""A whole Flax model from torch's stream, layer by layer as torch builds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jinit._text import some
from jinit.model._paths import named_leaves
from jinit.torch._stream import Stream

if TYPE_CHECKING:
    import chex

Layer = tuple[str | None, Callable[[Stream], Any]]


def like(
    tree: chex.ArrayTree, layers: Iterable[Layer], seed: int | Stream
) -> chex.ArrayTree:
    """Fills the parameters of a Flax model with those that torch would draw.

    Args:
      tree: The parameters, or their shapes, in any pytree that `jinit.plan` takes.
      layers: In the order in which torch builds them, pairs of the path of a layer in
        the tree, such as "params/Dense_0", and a function of the stream that returns
        its parameters: `lambda stream: stream.linear(784, 256)`. What a later one gives
        for a path replaces what an earlier one gave. For a path of None the function
        draws, and what it returns is left out.
      seed: As `torch.manual_seed` takes it, or a stream to go on from.

    Returns:
      A tree like the one given.

    Raises:
      TypeError: The function of a layer returns no array.
      ValueError: A layer that is not in the tree, an array of another shape or dtype,
        or leaves that no layer gives.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> import flax.linen as nn
      >>> model = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(10)])
      >>> tree = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8)))
      >>> layers = [  # torch.nn.Sequential(Linear(8, 16), ReLU(), Linear(16, 10))
      ...     ("params/layers_0", lambda stream: stream.linear(8, 16)),
      ...     ("params/layers_2", lambda stream: stream.linear(16, 10)),
      ... ]
      >>> params = jinit.torch.like(tree, layers, seed=0)
      >>> model.apply(params, jnp.ones((1, 8))).shape
      (1, 10)
    """
    leaves, treedef = named_leaves(tree)
    wanted = {path: _shape_and_dtype(path, leaf) for path, leaf in leaves}
    if isinstance(layers, str | Mapping) or not isinstance(layers, Iterable):
        raise TypeError(
            "layers must be a list of pairs of a path and a function of the stream, "
            f"got {layers!r}."
        )
    stream = seed if isinstance(seed, Stream) else Stream(seed)
    filled: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        path, draw = _checked(number, layer)
        drawn = draw(stream)
        if path is not None:
            filled |= _placed(path, drawn, wanted)
    missing = [path for path in wanted if path not in filled]
    if missing:
        raise ValueError(
            f"layers must give every leaf of the tree, but none gives {some(missing)}; "
            "add a layer for them."
        )
    return treedef.unflatten([filled[path] for path in wanted])


def _shape_and_dtype(path: str, leaf: Any) -> tuple[tuple[int, ...], Any]:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(
            f"tree must hold arrays or their shapes, got {leaf!r} at {path!r}; take "
            "the parameters alone, as nnx.state(model, nnx.Param) does."
        )
    return tuple(leaf.shape), leaf.dtype


def _checked(number: int, layer: Any) -> Layer:
    pair = isinstance(layer, tuple | list) and len(layer) == 2
    if not pair or not isinstance(layer[0], str | None) or not callable(layer[1]):
        raise TypeError(
            f"layers[{number}] must be a pair of a path, or None, and a function of "
            f"the stream, got {layer!r}."
        )
    return layer[0], layer[1]


def _placed(path: str, drawn: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a layer by their paths in the tree."""
    placed, arrays = {}, named_leaves(drawn)[0]
    if not arrays:
        raise TypeError(
            f"the function of layer {path!r} must return its parameters, got {drawn!r}."
        )
    for name, array in arrays:
        leaf = "/".join(filter(None, (path, name)))
        if leaf not in wanted:
            raise ValueError(
                f"layer {path!r} must be in the tree with all of its parameters, but "
                f"there is no {leaf!r} among {some(wanted)}."
            )
        shape, dtype = wanted[leaf]
        kind = jax.Array | np.ndarray
        if not isinstance(array, kind) or (array.shape, array.dtype) != (shape, dtype):
            got = getattr(array, "shape", None), getattr(array, "dtype", None)
            raise ValueError(
                f"leaf {leaf!r} of the tree has shape {shape} and dtype {dtype}, but "
                f"the layer gives {got}; draw it with its sizes, and dtype=."
            )
        placed[leaf] = array
    return placed
