"""Checkpoints are read as they were written, and nothing in them is executed."""

import contextlib
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import serialization

from jinit.audit import _checkpoints
from jinit.audit._checkpoints import read_checkpoint
from jinit.diagnostics import audit

RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((3, 4), np.float32)
TREE = {
    "params": {
        "dense": {"kernel": KERNEL, "bias": np.arange(4.0)},
        "mlp.out": {"kernel": KERNEL.astype(ml_dtypes.bfloat16)},
    },
    "step": np.int32(7),
}
FLAT = {
    "params/dense/kernel": KERNEL,
    "params/dense/bias": np.arange(4.0),
    "params/mlp.out/kernel": KERNEL.astype(ml_dtypes.bfloat16),
    "step": np.array(7, np.int32),
}
NARROW = {  # npz has no name for bfloat16
    name: array.astype(np.float16) if array.dtype == ml_dtypes.bfloat16 else array
    for name, array in FLAT.items()
}
NAMES = {"float32": "F32", "float64": "F64", "bfloat16": "BF16", "int32": "I32"}


def safetensors_bytes(arrays, names=NAMES):
    """The format by its definition: a length, a header in JSON, and the data."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        kind, data = names[array.dtype.name], data + array.tobytes()
        entry = {"dtype": kind, "shape": array.shape, "data_offsets": offsets}
        header[name] = entry
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def crafted(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def check_equal(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    leaves = jax.tree.leaves(tree), jax.tree.leaves(expected)
    for leaf, other in zip(*leaves, strict=True):
        assert type(leaf) is np.ndarray
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(leaf, other)


def written(folder, kind):
    """A checkpoint of a format, under a name that says nothing of it."""
    path = folder / "checkpoint"
    if kind == "safetensors":
        path.write_bytes(safetensors_bytes(FLAT))
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **NARROW)
    elif kind == "msgpack":
        path.write_bytes(serialization.msgpack_serialize(TREE))
    return path


KINDS = ["safetensors", "npz", "msgpack"]


@pytest.fixture(scope="module")
def orbax(tmp_path_factory):
    """Directories that Orbax wrote: one item, and the steps of a manager."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    folder = tmp_path_factory.mktemp("orbax")
    with checkpoint.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "item", {**TREE, "nothing": None})
        checkpointer.save(
            folder / "list", {"layers": [KERNEL, 2.5], "zero": KERNEL * 0}
        )
        checkpointer.save(folder / "string", {"name": "a string", "w": KERNEL})
    for name, options in (("files", {"use_ocdbt": False}), ("zarr3", {})):
        handler = checkpoint.PyTreeCheckpointHandler(
            use_zarr3=name == "zarr3", **options
        )
        with checkpoint.Checkpointer(handler) as checkpointer:
            checkpointer.save(folder / name, jax.tree.map(jnp.asarray, TREE["params"]))
    with checkpoint.CheckpointManager(folder / "steps") as manager:
        for step in (3, 10):
            manager.save(step, args=checkpoint.args.StandardSave(TREE))
        manager.wait_until_finished()
    return folder


# What is read


@pytest.mark.parametrize("kind", ["safetensors", "msgpack"])
def test_a_file_is_read_as_it_was_written(kind, tmp_path):
    expected = jax.tree.map(np.asarray, TREE)

    check_equal(read_checkpoint(written(tmp_path, kind)), expected)


def test_an_archive_is_read_with_slashes_as_dicts_and_dots_as_they_are(tmp_path):
    params = read_checkpoint(written(tmp_path, "npz"))

    np.testing.assert_array_equal(params["params"]["dense"]["kernel"], KERNEL)
    assert params["params"]["mlp.out"]["kernel"].dtype == np.float16
    assert params["step"].shape == ()


def test_a_compressed_archive_is_read_too(tmp_path):
    np.savez_compressed(tmp_path / "model.npz", w=KERNEL)

    check_equal(read_checkpoint(str(tmp_path / "model.npz")), {"w": KERNEL})


def test_an_item_of_orbax_is_read_as_it_was_written(orbax):
    check_equal(read_checkpoint(orbax / "item"), jax.tree.map(np.asarray, TREE))


def test_an_item_within_a_step_of_a_manager_is_read(orbax):
    expected = jax.tree.map(np.asarray, TREE)

    check_equal(read_checkpoint(orbax / "steps" / "10" / "default"), expected)


@pytest.mark.parametrize("form", ["files", "zarr3"])
def test_the_other_forms_of_orbax_are_read(form, orbax):
    with jax.enable_x64(False):
        expected = jax.tree.map(lambda w: np.asarray(jnp.asarray(w)), TREE["params"])

    check_equal(read_checkpoint(orbax / form), expected)


def test_lists_become_dicts_of_their_indices_and_numbers_arrays(orbax, tmp_path):
    (tmp_path / "tree").write_bytes(
        serialization.msgpack_serialize({"layers": {"0": KERNEL, "1": 2.5}})
    )
    expected = {"layers": {"0": KERNEL, "1": np.array(2.5)}}

    check_equal(read_checkpoint(tmp_path / "tree"), expected)
    check_equal(
        read_checkpoint(orbax / "list"), {**expected, "zero": np.zeros_like(KERNEL)}
    )


def test_what_the_package_safetensors_writes_is_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    numpy.save_file(dict(FLAT), path, metadata={"format": "np"})

    check_equal(read_checkpoint(path), jax.tree.map(np.asarray, TREE))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_narrow_floats_of_torch_are_read(name, tmp_path):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model"
    kernel = torch.from_numpy(KERNEL).to(getattr(torch, name))
    peer.save_file({"w": kernel}, path)

    # Both round to the nearest, ties to even.
    check_equal(read_checkpoint(path), {"w": KERNEL.astype(name)})


def test_every_dtype_of_safetensors_that_has_bytes_is_read(tmp_path):
    names = {jnp.dtype(name).name: kind for kind, name in _checkpoints._DTYPES.items()}
    arrays = {name: RNG.integers(1, 3, 5).astype(name) for name in names}
    (tmp_path / "model").write_bytes(safetensors_bytes(arrays, names))

    check_equal(read_checkpoint(tmp_path / "model"), arrays)


def test_haikus_names_keep_their_slashes_in_messagepack(tmp_path):
    tree = {"mlp/~/linear": {"w": KERNEL}}
    (tmp_path / "model").write_bytes(serialization.msgpack_serialize(tree))

    check_equal(read_checkpoint(tmp_path / "model"), tree)


# What is refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(kind, share, tmp_path):
    path = written(tmp_path, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(ValueError, match=r"path '.*'") as caught:
        read_checkpoint(path)

    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_in_the_middle_never_escapes_as_another_error(kind, tmp_path):
    path = written(tmp_path, kind)
    whole = path.read_bytes()
    for place in np.random.default_rng(1).integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ValueError):  # or else a weight was hit
            assert isinstance(read_checkpoint(path), dict)


def test_random_bytes_are_refused(tmp_path):
    for seed in range(50):
        noise = np.random.default_rng(seed).bytes(200)
        (tmp_path / "noise").write_bytes(noise)
        with pytest.raises(ValueError, match="noise"):
            read_checkpoint(tmp_path / "noise")


class Bomb:
    """What runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_and_not_run(protocol, tmp_path):
    path, mark = tmp_path / "model.msgpack", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(str(mark)), protocol))

    with pytest.raises(ValueError, match="pickle" if protocol > 1 else "begins like"):
        read_checkpoint(path)

    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


def test_an_archive_of_objects_is_refused_and_not_run(tmp_path):
    path, mark = tmp_path / "model.npz", tmp_path / "ran"
    np.savez(path, w=np.array([Bomb(str(mark))], object))

    with pytest.raises(ValueError, match="holds no arrays of numbers"):
        read_checkpoint(path)

    assert not mark.exists()


def test_an_archive_of_torch_is_refused_and_not_run(tmp_path):
    path, mark = tmp_path / "model.npz", tmp_path / "ran"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(str(mark))))

    with pytest.raises(ValueError, match=r"pickle of torch\.save.*save_model"):
        read_checkpoint(path)

    assert not mark.exists()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"name": "text", "a": {"b": b"bytes"}}, "holds no arrays of numbers"),
        ({b"w": 1.0}, "keys must be strings"),
        ({"empty": {}, "none": None}, "holds no arrays"),
        ({}, "holds no arrays"),
    ],
)
def test_a_tree_that_is_not_one_of_arrays_is_refused(tree, message, tmp_path):
    (tmp_path / "tree").write_bytes(serialization.msgpack_serialize(tree))

    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "tree")


def test_leaves_without_number_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "MOST_LEAVES", 3)
    for kind in KINDS:
        with pytest.raises(ValueError, match="more than 3 leaves"):
            read_checkpoint(written(tmp_path, kind))


def test_a_nest_without_end_is_refused(tmp_path):
    (tmp_path / "nest").write_bytes(b"\x81\xa1a" * 100_000 + b"\x01")

    with pytest.raises(ValueError, match="MessagePack"):
        read_checkpoint(tmp_path / "nest")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.ones(2, "M8[s]"), "v": np.array(["a"])}, "holds no arrays of"),
        ({"w": np.ones(2, ml_dtypes.bfloat16)}, "bfloat16 and float8; save it as"),
        ({"w": KERNEL, "w/b": KERNEL}, "more than 'w/b' in its place"),
        ({"w/b": KERNEL, "w": KERNEL}, "more than 'w' in its place"),
        ({}, "holds no arrays"),
    ],
)
def test_an_archive_of_something_else_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "model.npz", **arrays)

    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "model.npz")


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (crafted({"w": tensor(offsets=(0, 4))}, b"\0" * 8), "'w' takes 8 bytes"),
        (crafted({"w": tensor(offsets=(4, 12))}, b"\0" * 8), "'w' takes 8 bytes"),
        (crafted({"w": tensor(offsets=(-8, 0))}, b"\0" * 8), "'w' takes 8 bytes"),
        (crafted({"w": tensor(shape=(2**62, 2**62))}, b"\0" * 8), "'w' takes"),
        (crafted({"w": tensor(shape=(-1, -2))}, b"\0" * 8), "cannot be read"),
        (crafted({"w": tensor(shape=(0.5, 4))}, b"\0" * 8), "cannot be read"),
        (crafted({"w": tensor(dtype="F4")}, b"\0" * 8), "'w' has the dtype 'F4'"),
        (crafted({"w": {"dtype": "F32"}}), "KeyError: 'shape'"),
        (crafted({"w": 1}), "cannot be read as safetensors"),
        (crafted(b"{not json"), "cannot be read as safetensors"),
        (crafted({"__metadata__": {}}), "holds no arrays"),
        (struct.pack("<Q", 1000) + b"{}", "ends in its header, which takes 1008"),
    ],
)
def test_a_header_that_lies_is_refused(content, message, tmp_path):
    (tmp_path / "model").write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "model")


def test_what_is_not_there_or_no_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("nowhere", "cannot be opened: .*No such file"),
        ("a\0b", "cannot be opened"),
        ("empty", "is an empty file"),
        ("pipe", "neither a file nor a directory"),
    ):
        with pytest.raises(ValueError, match=message):
            read_checkpoint(tmp_path / name)
    with pytest.raises(TypeError, match="path must be that of a file"):
        read_checkpoint(3)


def test_a_directory_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no file _METADATA"):
        read_checkpoint(tmp_path)


def test_the_items_within_a_directory_are_named(orbax):
    with pytest.raises(ValueError, match="here '10/default', '3/default'"):
        read_checkpoint(orbax / "steps")


def test_what_is_no_array_of_numbers_is_a_text_that_the_audit_leaves_out(
    orbax, tmp_path
):
    odd = {"name": "adam", "when": np.ones(2, "M8[s]"), "labels": np.array(["a"])}
    objects = {"config": np.array([Bomb(str(tmp_path / "ran"))], object)}
    np.savez(tmp_path / "npz", w=KERNEL, **odd, **objects)
    tree = {"w": KERNEL, "name": "adam", "raw": b"bytes"}
    (tmp_path / "msgpack").write_bytes(serialization.msgpack_serialize(tree))
    for path, names in (
        (tmp_path / "npz.npz", {*odd, *objects}),
        (tmp_path / "msgpack", {"name", "raw"}),
        (orbax / "string", {"name"}),
    ):
        params = read_checkpoint(path)
        np.testing.assert_array_equal(params.pop("w"), KERNEL)
        assert set(params) == names
        assert all(isinstance(text, str) for text in params.values())
        report = audit({"w": KERNEL, **params})
        assert [leaf.path for leaf in report.leaves] == ["w"]
        assert all(repr(name) in report.notes[0] for name in names)
    assert not (tmp_path / "ran").exists()


def folder_of(folder, files, index=None):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, arrays in files.items():
        (folder / name).write_bytes(safetensors_bytes(arrays))
    if index is not None:
        text = json.dumps({"weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


def test_a_folder_of_safetensors_is_read_by_its_index_or_as_its_one_file(tmp_path):
    a, b, whole = {"a": KERNEL}, {"b": KERNEL}, "model.safetensors"
    shards = {f"model-0000{n}-of-00002.safetensors": w for n, w in ((1, a), (2, b))}
    index = {"a": min(shards), "b": max(shards)}
    one = folder_of(tmp_path / "one", {whole: a, "model.fp16.safetensors": a})
    check_equal(read_checkpoint(one), a)
    check_equal(
        read_checkpoint(folder_of(tmp_path / "lone", {"unet.safetensors": a})), a
    )
    several = folder_of(
        tmp_path / "two", shards | {"consolidated.safetensors": a}, index
    )
    check_equal(read_checkpoint(several), a | b)
    (several / max(shards)).unlink()
    with pytest.raises(ValueError, match=r"No such file.*00002-of"):
        read_checkpoint(several)
    with pytest.raises(ValueError, match="no index of its files; give one, here 'mod"):
        read_checkpoint(folder_of(tmp_path / "torn", shards))


FOLDERS = {  # the files of one, and what is said of it, or None where it is read
    "of diffusers": (
        ["model_index.json", *(f"{n}/a.safetensors" for n in ("unet", "vae", "text"))],
        "none of safetensors; give one that is in it, here 'text', 'unet', 'vae'",
    ),
    "of one model": (["unet/a.safetensors"], "give one that is in it, here 'unet'"),
    "of steps": (["run/step-5/model.safetensors"], "here 'run/step-5'"),
    "of files": (["flax_model.msgpack", "config.json"], "here 'flax_model.msgpack'"),
    "of two models": (["a.safetensors", "b.safetensors"], "here 'a.safetens.*', 'b.s"),
    "of versions": (["sd_v1.4.safetensors", "sd_v1.5.safetensors"], "here 'sd_v1.4"),
    "of variants": (["a.safetensors", "a.fp16.safetensors"], None),
    "of an adapter beside": (["model.safetensors", "adapter.safetensors"], None),
    "of pickles": (["pytorch_model.bin"], "'pytorch_model.bin' may be a pickle, whi"),
    "without shards": (["model.safetensors.index.json"], "KeyError: 'weight_map'"),
    "of nothing": (["config.json"], "_METADATA, .* give the directory of one item"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_folder_holds_is_read_or_named(name, tmp_path):
    files, message = FOLDERS[name]
    content = safetensors_bytes({"a": KERNEL})
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"{}" if file.endswith(".json") else content)
    if message is None:
        check_equal(read_checkpoint(tmp_path), {"a": KERNEL})
        return
    with pytest.raises(ValueError, match=message) as caught:
        read_checkpoint(tmp_path)
    for within in str(caught.value).partition("here ")[2].split(", "):
        if within:  # what is named is what is read
            check_equal(read_checkpoint(tmp_path / within.strip("'.")), {"a": KERNEL})


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_a_damaged_item_is_refused(share, orbax, tmp_path):
    for damaged in ("_METADATA", "manifest.ocdbt", "d/*"):
        copy = shutil.copytree(orbax / "item", tmp_path / damaged.strip("/*"))
        for file in copy.glob(damaged):
            content = file.read_bytes()
            file.unlink()
            if share is not None:
                file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="Orbax checkpoint: ") as caught:
            read_checkpoint(copy)
        assert len(str(caught.value)) < 600


def test_a_missing_package_is_named(orbax, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)

    with pytest.raises(ValueError, match=r"ModuleNotFoundError: .*tensorstore"):
        read_checkpoint(orbax / "item")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5.*np.savez"),
        (b"\x93NUMPY\x01\x00", "arrays without names.*np.savez or Orbax"),
        (b"GGUF\x03\x00\x00\x00", "GGUF.*safetensors"),
        (b"version https://git-lfs", "a pointer of Git LFS; .*git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gzip; unpack it"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd; unpack it"),
    ],
)
def test_what_another_format_is_is_said_with_how_to_convert_it(
    start, message, tmp_path
):
    path = tmp_path / "model"
    path.write_bytes(start + bytes(64))
    with pytest.raises(ValueError, match=f"is (compressed by )?{message}"):
        read_checkpoint(path)


def test_a_model_of_keras_is_called_one(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ValueError, match="a model of Keras"):
        read_checkpoint(path)
