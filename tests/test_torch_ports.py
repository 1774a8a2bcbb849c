"""Flax models start from torch's weights and train as it does: as recorded."""

import json
import logging
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ports import MODELS, PATH, SEED, losses_of

import jinit
from jinit.torch import Stream

GOLDEN = json.loads(PATH.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_starts_from_the_weights_of_its_twin_and_trains_alike(name):
    (model, layers, x, labels), recorded = MODELS[name], GOLDEN[name]
    tree = jax.eval_shape(model.init, jax.random.key(0), x)
    stream = jinit.torch.manual_seed(SEED)
    params = jinit.torch.like(tree, layers, stream)
    after = np.asarray(recorded["after"], np.float32)
    np.testing.assert_array_equal(stream.uniform_((4,)), after)

    outputs, losses = losses_of(model, params, x, labels)

    np.testing.assert_allclose(outputs, recorded["outputs"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(losses, recorded["losses"], rtol=2e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_another_seed_has_another_curve(name):
    model, layers, x, _ = MODELS[name]
    tree = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jinit.torch.like(tree, layers, SEED + 1)
    outputs = np.asarray(model.apply(params, x))
    assert abs(outputs - GOLDEN[name]["outputs"]).max() > 1e-3


TREE = {"dense": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2)}}
LIKE_BAD = [
    (None, TypeError, "layers must be a list of pairs"),
    ({"dense": None}, TypeError, "layers must be a list of pairs"),
    (["dense"], TypeError, r"layers\[0\] must be a pair"),
    ([(0, lambda stream: stream.linear(3, 2))], TypeError, r"layers\[0\] must be"),
    ([("dense", 3)], TypeError, r"layers\[0\] must be a pair"),
    ([("dense", lambda stream: None)], TypeError, "'dense' must return its parameters"),
    ([("norm", lambda stream: stream.linear(3, 2))], ValueError, "no 'norm/"),
    ([("dense", lambda stream: stream.linear(3, 4))], ValueError, r"'dense/\w+' of"),
    ([], ValueError, "none gives 'dense/"),
    ([(["dense", 0], lambda stream: 0)], TypeError, r"layers\[0\] must be a pair"),
    ([(None, "dense")], TypeError, r"layers\[0\] must be a pair"),
    ([("dense", "norm")], ValueError, "none draws 'norm/bias'"),
    ([("norm", "dense")], ValueError, "no 'norm'"),
]


@pytest.mark.parametrize(
    ("layers", "error", "message"), LIKE_BAD, ids=range(len(LIKE_BAD))
)
def test_layers_that_do_not_fit_the_tree_are_refused(layers, error, message):
    with pytest.raises(error, match=message):
        jinit.torch.like(TREE, layers, 0)


def test_a_tree_without_arrays_is_refused():
    with pytest.raises(TypeError, match=r"tree must hold arrays .* nnx.Param"):
        jinit.torch.like({"a": 1.0}, [], 0)


def test_a_seed_that_is_none_is_refused():
    with pytest.raises(TypeError, match="seed must be"):
        jinit.torch.like(TREE, [], "0")


def test_a_batch_normalization_has_its_statistics_where_flax_has_them():
    model = nn.BatchNorm(use_running_average=True)
    tree = jax.eval_shape(model.init, jax.random.key(0), np.ones((1, 3), np.float32))
    layers = [
        ("params", lambda stream: stream.layer_norm(3)),
        ("batch_stats", lambda stream: stream.batch_stats(3)),
    ]
    filled = jinit.torch.like(tree, layers, 0)
    expected = model.init(jax.random.key(0), np.ones((1, 3), np.float32))
    jax.tree.map(np.testing.assert_array_equal, filled, expected)


SHAPES = {
    name: {
        "kernel": jax.ShapeDtypeStruct((30, 20), np.float32),
        "bias": jax.ShapeDtypeStruct((20,), np.float32),
    }
    for name in ("one", "two")
}


def linear(stream):
    return stream.linear(30, 20)


def drawn(*layers, tree=SHAPES, seed=0):
    return jinit.torch.like(tree, layers, seed)


def check_same(ours, expected):
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


PASSED = {
    "uniform": lambda s: s.uniform_((30, 20)),
    "normal": lambda s: s.normal_((30, 20)),
    "normal with a tail": lambda s: s.normal_((5, 7)),
    "few normals": lambda s: s.normal_((5,)),
    "bfloat16": lambda s: s.normal_((5, 7), dtype="bfloat16"),
    "trunc_normal": lambda s: s.trunc_normal_((30, 20), a=-1.0, b=1.0),
    "orthogonal": lambda s: s.orthogonal_((6, 5)),
    "convolution": lambda s: s.conv(3, 4, (3, 3)),
    "cell": lambda s: s.lstm_cell(3, 4),
    "attention": lambda s: s.multihead_attention(8, 2),
    "transformer": lambda s: s.transformer(8, 2, 1, 1, 8),
    "spectral norm": lambda s: s.spectral_norm(linear(s)["kernel"]),
    "permutation": lambda s: s.randperm(20),
    "needs an array": lambda s: s.normal_((30, 20)).at[0].set(0),
    "nothing": lambda s: None,
}


@pytest.mark.parametrize("name", PASSED)
def test_what_is_left_out_moves_the_stream_on_as_if_it_were_drawn(name):
    stream = jinit.torch.manual_seed(3)
    PASSED[name](stream)
    expected = {name: linear(stream) for name in SHAPES}
    layers = (None, PASSED[name]), ("one", linear), ("two", linear)
    check_same(drawn(*layers, seed=3), expected)


def test_what_comes_again_is_replaced():
    stream = jinit.torch.manual_seed(0)
    linear(stream), linear(stream)
    two, one = linear(stream), linear(stream)
    layers = [(name, linear) for name in ("one", "two", "two", "one")]
    check_same(drawn(*layers), {"one": one, "two": two})


def test_what_comes_again_in_part_keeps_the_rest_of_the_first():
    stream = jinit.torch.manual_seed(0)
    first, second = linear(stream), linear(stream)
    layers = [
        ("one", linear),
        ("two", linear),
        ("one", lambda s: {"kernel": linear(s)["kernel"]}),
    ]
    third = linear(stream)
    expected = {"one": first | {"kernel": third["kernel"]}, "two": second}
    check_same(drawn(*layers), expected)


def test_several_paths_start_alike_as_where_torch_copies_a_layer():
    one = linear(jinit.torch.manual_seed(0))
    check_same(drawn((["one", "two"], linear)), {"one": one, "two": one})


def test_a_layer_may_be_that_of_another_path_as_it_is_in_the_end():
    layers = ("two", "one"), ("one", linear), ("one", linear)
    stream = jinit.torch.manual_seed(0)
    linear(stream)
    one = linear(stream)
    check_same(drawn(*layers), {"one": one, "two": one})


def test_a_head_that_is_tied_to_a_table_is_its_transpose():
    tree = {
        "table": {"embedding": jax.ShapeDtypeStruct((4, 4), np.float32)},
        "head": {"kernel": jax.ShapeDtypeStruct((4, 4), np.float32)},
    }
    layers = [
        ("table", lambda s: s.embedding(4, 4)),
        ("head/kernel", "table/embedding"),
    ]
    params = drawn(*layers, tree=tree)
    np.testing.assert_array_equal(
        params["head"]["kernel"], params["table"]["embedding"].T
    )


def test_what_is_made_of_what_was_left_out_is_refused():
    kept = []
    layers = [
        (None, lambda s: kept.append(linear(s))),
        (["one", "two"], lambda s: kept[0]),
    ]
    with pytest.raises(ValueError, match=r"'one/\w+' .* left out; give that layer all"):
        drawn(*layers)


def test_a_layer_is_a_partial_of_the_stream_as_well():
    constant = partial(Stream.constant_, val=0.5)
    own = {"kernel_": constant, "bias_": Stream.zeros_}
    layer = partial(Stream.linear, in_features=30, out_features=20, **own)
    params = drawn((["one", "two"], layer))
    assert (params["one"]["kernel"] == 0.5).all()
    assert not params["two"]["bias"].any()


def of_linen(layer, *inputs):
    return jax.eval_shape(layer.init, jax.random.key(0), *inputs)["params"]


IMAGES, ROWS = np.ones((2, 9, 9, 3), np.float32), np.ones((2, 7, 6), np.float32)
STATE = nn.LSTMCell(4).initialize_carry(jax.random.key(0), (2, 6))
SIZED = {  # a method of the stream, its layer in Flax, and the sizes that this has
    "linear": (of_linen(nn.Dense(4), ROWS), (6, 4), {}),
    "linear without bias": (
        of_linen(nn.Dense(4, use_bias=False), ROWS),
        *((6, 4), {"bias": False}),
    ),
    "linear in bfloat16": (
        {"kernel": jnp.ones((6, 4), "bfloat16"), "bias": jnp.ones(4, "bfloat16")},
        *((6, 4), {"dtype": "bfloat16"}),
    ),
    "conv": (of_linen(nn.Conv(8, (3, 2)), IMAGES), (3, 8, (3, 2)), {}),
    "conv in groups": (
        of_linen(nn.Conv(6, (3, 3), feature_group_count=3), IMAGES),
        *((3, 6, (3, 3)), {"groups": 3}),
    ),
    "conv_transpose": (
        of_linen(nn.ConvTranspose(5, (2, 2)), IMAGES),
        *((3, 5, (2, 2)), {}),
    ),
    "embedding": (of_linen(nn.Embed(7, 4), np.ones(3, int)), (7, 4), {}),
    "layer_norm": (of_linen(nn.LayerNorm(), ROWS), (6,), {}),
    "layer_norm without bias": (of_linen(nn.RMSNorm(), ROWS), (6,), {"bias": False}),
    "rnn_cell": (of_linen(nn.SimpleCell(4), STATE[0], ROWS[:, 0]), (6, 4), {}),
    "lstm_cell": (of_linen(nn.LSTMCell(4), STATE, ROWS[:, 0]), (6, 4), {}),
    "gru_cell": (of_linen(nn.GRUCell(4), STATE[0], ROWS[:, 0]), (6, 4), {}),
    "multihead_attention": (
        of_linen(nn.MultiHeadDotProductAttention(2), ROWS),
        *((6, 2), {}),
    ),
    "multihead_attention of others": (
        of_linen(
            nn.MultiHeadDotProductAttention(2, qkv_features=6, use_bias=False),
            *(ROWS, ROWS[..., :3], ROWS[..., 1:]),
        ),
        *((6, 2), {"kdim": 3, "vdim": 5, "bias": False}),
    ),
    "transformer": (
        jinit.torch.manual_seed(0).transformer(6, 2, 1, 2, 8),
        *((6, 2, 1, 2, 8), {}),
    ),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_method_that_is_not_called_takes_the_sizes_of_the_tree(name):
    shapes, sizes, options = SIZED[name]
    method, stream = name.split()[0], jinit.torch.manual_seed(5)
    expected = getattr(stream, method)(*sizes, **options)
    layers = [("layer", getattr(Stream, method))]
    check_same(jinit.torch.like({"layer": shapes}, layers, 5), {"layer": expected})
    layers = [("", getattr(Stream, method))]  # the tree is that one layer
    check_same(jinit.torch.like(shapes, layers, 5), expected)


def test_a_tensor_of_the_tree_is_drawn_in_its_shape():
    layers = [("one/kernel", partial(Stream.normal_, std=3.0)), ("one/bias", draw_ones)]
    params = drawn(*layers, ("two", Stream.linear))
    expected = jinit.torch.manual_seed(0).normal_((30, 20), std=3.0)
    np.testing.assert_array_equal(params["one"]["kernel"], expected)


draw_ones = Stream.ones_


@pytest.mark.parametrize("layer", [("one", Stream.embedding), (None, Stream.linear)])
def test_sizes_that_the_tree_does_not_have_are_asked_for(layer):
    with pytest.raises(ValueError, match=r"one that Stream.\w+ is for.*give the sizes"):
        drawn(layer)


def test_nothing_is_compiled_for_a_shape(caplog):
    def draw(n):
        stream = jinit.torch.manual_seed(0)
        stream.linear(n, 20), stream.conv(3, n, (2, 2)), stream.embedding(n, 8)
        stream.lstm_cell(n, 8), stream.multihead_attention(2 * n, 2)
        stream.layer_norm(n), stream.trunc_normal_((n,)), stream.orthogonal_((n, 9))
        stream.conv_transpose(n, 5, (3,)), stream.normal_((n, 3), dtype="bfloat16")

    draw(17)
    draw(600)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        draw(37)
    assert [r.getMessage() for r in caplog.records if "Compiling" in r.msg] == []
