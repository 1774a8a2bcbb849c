"""Checkpoints: trees of arrays read from disk, of which nothing is ever executed.

A reader takes a path and gives the leaves, each with the keys on the way to it. It may
raise anything: `read_checkpoint` makes one sentence of that.
"""

from __future__ import annotations

import json
import math
import os
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit._text import some
from jinit._types import ArrayTree
from jinit.model._paths import put

MOST_LEAVES = 100_000  # beyond this a file is taken for something else
Leaf = tuple[Sequence[str], Any]  # the keys on the way to it, and what is there

_INDEX = "*.safetensors.index*.json"  # of a model in several files
_LONGEST_HEADER = 100_000_000  # in bytes, by the definition of safetensors

# The names that safetensors has for dtypes, but for those that share a byte.
_DTYPES = {
    "BOOL": "bool",
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "C64": "complex64",
    **{f"F8_E{e}": f"float8_e{e.lower()}" for e in ("5M2", "4M3FNUZ", "5M2FNUZ")},
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
}


def read_checkpoint(path: str | os.PathLike[str]) -> ArrayTree:
    """Reads the arrays of a checkpoint into nested dicts.

        an Orbax directory     that has a file _METADATA: OCDBT or files, Zarr 2 or 3
        safetensors            a slash in a name begins a dict, a dot is kept; also the
                               directory of a model, with one file or an index
        an .npz archive        likewise; bfloat16 has no name there, and is refused
        MessagePack            as `flax.serialization` writes it

    The format is told by what is in the file, not by its name. Lists become dicts of
    their indices, and numbers arrays without axes; None is no leaf, as in JAX. What is
    no array of numbers is a text in its place, which `audit` leaves out and names. A
    checkpoint is data: pickles are refused, none is ever loaded.

    Args:
      path: The file or directory.

    Returns:
      Nested dicts of NumPy arrays, in the dtypes that they were saved in. Those of
      safetensors stay on disk until they are looked at, and cannot be written to.

    Raises:
      TypeError: `path` is not a path.
      ValueError: There is no such file, it is empty, damaged, a pickle, or of another
        format; it has no array of numbers, or over 100 000 leaves.

    Example:
      >>> import tempfile, jax, numpy as np
      >>> from jinit.audit._checkpoints import read_checkpoint
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     np.savez(f"{folder}/model.npz", **{"dense/kernel": np.ones((8, 4))})
      ...     params = read_checkpoint(f"{folder}/model.npz")
      >>> jax.tree.map(np.shape, params)
      {'dense': {'kernel': (8, 4)}}
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be that of a file or directory, got {path!r}.")
    path = Path(path)
    name, read = _format(path)
    try:
        return _nested(read(path))
    except Exception as error:  # a damaged file may raise anything
        ours = isinstance(error, ValueError | TypeError)
        reason = f"{'' if ours else f'{type(error).__name__}: '}{error}"
        reason = textwrap.shorten(reason, 300)
        raise ValueError(
            f"path {str(path)!r} cannot be read as {name}: {reason}"
        ) from error


_PICKLE = (
    "a pickle, which could run any code when loaded; save the arrays as safetensors or "
    ".npz"
)
_OF_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# What else begins like this is, and how to make of it what can be read.
_OTHERS = {
    **{bytes([0x80, version]): _PICKLE for version in (2, 3, 4, 5)},
    b"\x89HDF\r\n": "HDF5, as of Keras; read it with h5py and save it by np.savez",
    b"\x93NUMPY": "arrays without names, as np.save and Equinox write them; read them "
    "into their tree and save it by np.savez or Orbax",
    b"GGUF": "GGUF; read it with the package gguf and save it as safetensors",
    b"version h": "a pointer of Git LFS; fetch the file itself by git lfs pull",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
}


def _kind_of_archive(path: Path) -> str:
    """What a zip file is, if it is not one of NumPy."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):  # NumPy says what is wrong
        return ""
    if any(name.endswith("data.pkl") for name in names):
        return (
            "a pickle of torch.save, which could run any code when loaded; convert it "
            "where it comes from: safetensors.torch.save_model(model, path)"
        )
    if "model.weights.h5" in names:
        return "a model of Keras; save its weights by np.savez"
    return ""


def _format(path: Path) -> tuple[str, Callable[[Path], Iterable[Leaf]]]:
    """The name of a format, by the first bytes of the file, and its reader."""
    try:
        if (path / "_METADATA").is_file():
            return "an Orbax checkpoint", _orbax
        if any(path.glob("*.safetensors")) or any(path.glob(_INDEX)):
            return "a directory of safetensors", _directory
        if path.is_dir():
            return "a folder of safetensors or an Orbax checkpoint", _no_model
        if path.exists() and not path.is_file():  # reading a pipe might never end
            raise OSError("it is neither a file nor a directory")
        with path.open("rb") as file:
            start = file.read(9)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise ValueError(f"path {str(path)!r} cannot be opened: {error}.") from None
    if not start:
        raise ValueError(f"path {str(path)!r} is an empty file; save it again.")
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return "safetensors", _safetensors
    other = next(
        (kind for first, kind in _OTHERS.items() if start.startswith(first)), ""
    )
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        other = _kind_of_archive(path)
        if not other:
            return "an .npz archive", _npz
    if other:
        raise ValueError(f"path {str(path)!r} is {other}.")
    if 0x80 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF):  # a map, of any size
        return "MessagePack", _msgpack
    raise ValueError(
        f"path {str(path)!r} must be an Orbax directory or a file of safetensors, .npz "
        "or flax.serialization, and begins like none of them; save it as one."
    )


def _no_model(path: Path) -> Iterator[Leaf]:
    """Says what to give in place of a directory that is no checkpoint itself."""
    names = ("_METADATA", "*.safetensors", _INDEX)
    levels = [f"{level}{name}" for name in names for level in ("*/", "*/*/")]
    found = {file.parent for name in levels for file in path.glob(name)}
    found |= {file for end in ("msgpack", "npz") for file in path.glob(f"*.{end}")}
    remedy = "give the directory of one item"
    if found:
        within = some(sorted(str(each.relative_to(path)) for each in found))
        remedy = f"give one that is in it, here {within}"
    elif pickles := [f.name for f in path.iterdir() if f.suffix in _OF_PICKLES]:
        remedy = f"{some(sorted(pickles))} may be {_PICKLE}"
    raise ValueError(f"it has no file _METADATA, and none of safetensors; {remedy}.")


# Orbax's own reader is not used: where an array is damaged, that of 0.12 leaves the
# tracebacks of its other reads on the terminal.
def _orbax(path: Path) -> Iterator[Leaf]:
    import tensorstore  # comes with Flax

    metadata = json.loads((path / "_METADATA").read_text(encoding="utf-8"))
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    # Else zeros stand for what is lost. Older versions left zeros out on purpose.
    fill = not metadata.get("store_array_data_equal_to_fill_value")
    for entry in _few(metadata["tree_metadata"].values()):
        keys = [str(key["key"]) for key in entry["key_metadata"]]
        kind, name = entry["value_metadata"]["value_type"], ".".join(keys)
        if kind == "None":
            continue
        if kind == "string":
            yield keys, kind
            continue
        store = {"driver": "file", "path": f"{path.resolve()}/{name}/"}
        if metadata.get("use_ocdbt"):
            base = {"driver": "file", "path": f"{path.resolve()}/"}
            store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        spec = {"driver": driver, "kvstore": store, "fill_missing_data_reads": fill}
        yield keys, tensorstore.open(spec, read=True).result().read().result()


# The package safetensors is not used: its 0.8 raises AttributeError on float8.
def _safetensors(path: Path) -> Iterator[Leaf]:
    file = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(file[:8].tobytes(), "little")
    if start > file.size:
        raise ValueError(f"the file ends in its header, which takes {start} bytes.")
    header = json.loads(file[8:start].tobytes())
    header.pop("__metadata__", None)
    for name, tensor in _few(header.items()):
        if tensor["dtype"] not in _DTYPES:
            raise ValueError(f"{name!r} has the dtype {tensor['dtype']!r}.")
        dtype, shape = jnp.dtype(_DTYPES[tensor["dtype"]]), tensor["shape"]
        begin, end = tensor["data_offsets"]
        size = math.prod(shape) * dtype.itemsize
        if not 0 <= begin <= end <= file.size - start or end - begin != size:
            raise ValueError(
                f"{name!r} takes {size} bytes, and should be the bytes {begin} to "
                f"{end} of the {file.size - start} there are."
            )
        data = np.asarray(file[start + begin : start + end])
        yield name.split("/"), data.view(dtype).reshape(shape)


def _directory(path: Path) -> Iterator[Leaf]:
    """The files of a model, as Hugging Face has them: of the index, or the only one."""
    names, indices = (
        _without_variants(sorted(file.name for file in path.glob(names)))
        for names in ("*.safetensors", _INDEX)
    )
    if len(indices) == 1:
        index = json.loads((path / indices[0]).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    elif "model.safetensors" in names:
        names = ["model.safetensors"]
    elif len(names) > 1:
        raise ValueError(f"it has no index of its files; give one, here {some(names)}.")
    for name in names:
        yield from _safetensors(path / name)


def _without_variants(names: list[str]) -> list[str]:
    """The one that the others are variants of, such as model.fp16.safetensors."""
    shortest = min(names, key=len, default="")
    start, _, _ = shortest.rpartition(".")
    alike = all(name.startswith(f"{start}.") for name in names)
    return [shortest] if names and alike else names


def _npz(path: Path) -> Iterator[Leaf]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in _few(archive.files):
            try:
                array = archive[name]
            except ValueError as error:
                if "Object arrays" not in str(error):
                    raise
                array = "an array of objects"
            if isinstance(array, np.ndarray) and array.dtype.kind == "V":
                raise TypeError(
                    f"{name!r} has a dtype that .npz has no name for, as bfloat16 and "
                    "float8; save it as float32, or in another format."
                )
            yield name.split("/"), array


def _msgpack(path: Path) -> Iterable[Leaf]:
    from flax import serialization

    return _few(_leaves(serialization.msgpack_restore(path.read_bytes())))


def _leaves(tree: Any, keys: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    if isinstance(tree, Mapping | list | tuple):
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in items:
            yield from _leaves(
                value, (*keys, str(key) if isinstance(key, int) else key)
            )
    elif tree is not None:
        yield keys, tree


def _few(items: Iterable[Any]) -> list[Any]:
    """The items as a list, of which there must not be too many."""
    items = list(islice(items, MOST_LEAVES + 1))
    if len(items) > MOST_LEAVES:
        raise ValueError(f"it has more than {MOST_LEAVES} leaves.")
    return items


def _nested(leaves: Iterable[Leaf]) -> dict[str, Any]:
    """Nested dicts that hold each array at its own place."""
    tree: dict[str, Any] = {}
    known = False
    for keys, value in leaves:
        if not keys or not all(isinstance(key, str) for key in keys):
            raise TypeError(f"keys must be strings, got {keys!r}.")
        leaf = _array(value)
        if not put(tree, keys, leaf):
            raise ValueError(f"there is more than {'/'.join(keys)!r} in its place.")
        known |= isinstance(leaf, np.ndarray)
    if not known:
        raise ValueError("it holds no arrays of numbers.")
    return tree


def _array(value: Any) -> np.ndarray | str:
    """An array of numbers, or the text or the type of what is none."""
    if isinstance(value, np.ndarray | np.generic | int | float | complex):
        array = np.asarray(value)
        if jnp.issubdtype(array.dtype, np.number) or array.dtype == np.bool_:
            return array
    if isinstance(value, str):
        return value
    return str(getattr(value, "dtype", type(value).__name__))
