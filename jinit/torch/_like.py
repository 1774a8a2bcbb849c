"""A whole Flax model from torch's stream, layer by layer as torch builds it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jinit._text import some
from jinit._types import ArrayTree
from jinit.model._paths import named_leaves
from jinit.torch._sizes_of import sizes_of
from jinit.torch._stream import Stream, method_of

_Wanted = dict[str, tuple[tuple[int, ...], Any]]
Layer = tuple[str | list[str] | None, Callable[[Stream], Any] | str]


def like(tree: ArrayTree, layers: Iterable[Layer], seed: int | Stream) -> ArrayTree:
    """Fills the parameters of a Flax model with those that torch would draw.

    Args:
      tree: The parameters, or their shapes, in any pytree that `jinit.plan` takes.
      layers: In the order in which torch builds them, pairs of the path of a layer in
        the tree, such as "params/Dense_0", and a function of the stream that returns
        its parameters: `lambda stream: stream.linear(784, 256)`. A method that is not
        called, `Stream.linear` or `partial(Stream.normal_, std=0.02)`, takes the sizes
        from the tree. What a later layer gives for a path replaces what an earlier one
        gave.

        For several paths, all start alike, as where torch copies a layer. For a path of
        None the function draws, and what it returns is left out. The path of another
        layer, or leaf, in place of the function stands for what that is in the end: a
        head that is tied to an embedding, whose table is transposed for a kernel.
      seed: As `torch.manual_seed` takes it, or a stream to go on from.

    Returns:
      A tree like the one given. What is left out or replaced is passed over in the
      stream, not drawn.

    Raises:
      TypeError: The function of a layer returns no array.
      ValueError: A layer that is not in the tree, an array of another shape or dtype,
        or leaves that no layer gives, or that are made of what was left out.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> import flax.linen as nn
      >>> model = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(10)])
      >>> tree = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8)))
      >>> linear = jinit.torch.Stream.linear
      >>> # torch.nn.Sequential(Linear(8, 16), ReLU(), Linear(16, 10))
      >>> layers = [("params/layers_0", linear), ("params/layers_2", linear)]
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
    checked = [_checked(number, layer, wanted) for number, layer in enumerate(layers)]
    filled = _filled(
        checked, seed if isinstance(seed, Stream) else Stream(seed), wanted
    )
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


class _Layer(NamedTuple):
    paths: tuple[str, ...]  # none where what is drawn is left out
    source: Callable[[Stream], Any] | str


def _checked(number: int, layer: Any, wanted: _Wanted) -> _Layer:
    if isinstance(layer, tuple | list) and len(layer) == 2:
        given, source = layer
        paths = [given] if isinstance(given, str) else [] if given is None else given
        named = isinstance(paths, tuple | list) and all(
            isinstance(path, str) for path in paths
        )
        if named and isinstance(source, str) and paths:
            return _Layer(tuple(paths), source)
        if named and callable(source):
            return _Layer(tuple(paths), _sized(tuple(paths), source, wanted))
    raise TypeError(
        f"layers[{number}] must be a pair of a path, of several, or None, and a "
        f"function of the stream, or the path of what to copy, got {layer!r}."
    )


def _sized(paths: tuple[str, ...], draw: Any, wanted: _Wanted) -> Callable[..., Any]:
    """Gives a method of the stream the sizes, the dtype and whether it has a bias."""
    method, signature = method_of(draw), inspect.signature(draw)
    if method is None or _is_complete(signature):
        return draw
    path = paths[0] if paths else None
    within = f"{path}/" if path else ""  # the tree itself may be one layer
    leaves = {
        leaf.removeprefix(f"{path}").lstrip("/"): wanted[leaf]
        for leaf in wanted
        if f"{leaf}/".startswith(within) and paths
    }
    shapes = {name: shape for name, (shape, _) in leaves.items()}
    options = sizes_of(method, path, shapes)
    options["dtype"] = next(dtype for _, dtype in leaves.values())
    if "bias" in signature.parameters:
        options["bias"] = any(name.endswith("bias") for name in leaves)
    given = getattr(draw, "keywords", {})
    return partial(draw, **{name: options[name] for name in options.keys() - given})


def _is_complete(signature: inspect.Signature) -> bool:
    try:
        signature.bind(None)  # the stream alone
    except TypeError:
        return False
    return True


def _filled(layers: list[_Layer], stream: Stream, wanted: _Wanted) -> dict[str, Any]:
    """The leaves by their paths.

    A layer of which all paths come again is passed over. Where the later ones do not
    give all of its leaves, it is drawn after all, from a copy of the stream as it was.
    """
    last = {path: n for n, layer in enumerate(layers) for path in layer.paths}
    filled: dict[str, Any] = {}
    passed: dict[str, tuple[tuple[str, ...], Callable[[], Any]]] = {}
    for n, (paths, source) in enumerate(layers):
        if isinstance(source, str):
            continue
        if any(last[path] == n for path in paths):
            given = _placed(paths, source(stream), wanted)
            passed = {leaf: passed[leaf] for leaf in passed if leaf not in given}
        else:
            shapes, again = stream.pass_over(source)
            given = _placed(paths, shapes, wanted)
            passed |= dict.fromkeys(given, (paths, again))
        filled |= given
    for leaf, (paths, draw) in passed.items():
        filled[leaf] = _placed(paths, draw(), wanted)[leaf]
    for paths, source in layers:
        if isinstance(source, str):
            for path in paths:
                filled |= _copied(path, source, filled, wanted)
    for leaf, array in filled.items():
        if np.isnan(np.min(np.asarray(array), initial=0)):
            raise ValueError(
                f"leaf {leaf!r} of the tree must be drawn by a layer that gives it, "
                "but is made of what another drew that is left out; give that layer "
                "all of its paths, as a list."
            )
    return filled


def _placed(paths: tuple[str, ...], drawn: Any, wanted: _Wanted) -> dict[str, Any]:
    """The arrays of a layer by their paths in the tree."""
    placed, arrays = {}, named_leaves(drawn)[0]
    for path in paths:
        if not arrays:
            raise TypeError(
                f"the function of layer {path!r} must return its parameters, got "
                f"{drawn!r}."
            )
        for name, array in arrays:
            leaf = "/".join(filter(None, (path, name)))
            placed[leaf] = _fitting(path, leaf, array, wanted)
    return placed


def _copied(
    path: str, source: str, filled: dict[str, Any], wanted: _Wanted
) -> dict[str, Any]:
    """What the leaves at a path have from those of the same names at another."""
    copied = {}
    for leaf in wanted:
        if leaf == path or leaf.startswith(f"{path}/"):
            origin = source + leaf.removeprefix(path)
            if origin not in filled:
                raise ValueError(
                    f"layer {path!r} must copy what a function draws, but none draws "
                    f"{origin!r}; give the path of a layer that is drawn."
                )
            kinds = {name.rpartition("/")[2] for name in (leaf, origin)}
            turned = kinds == {"kernel", "embedding"}
            w = np.asarray(filled[origin]).T if turned else filled[origin]
            copied[leaf] = _fitting(path, leaf, jax.device_put(w), wanted)
    return copied or {path: _fitting(path, path, None, wanted)}


def _fitting(path: str, leaf: str, array: Any, wanted: _Wanted) -> Any:
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
    return array
