"""Flax models start from torch's weights and train as it does: as recorded."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from ports import MODELS, PATH, SEED, losses_of

import jinit

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
    ([("dense", "linear")], TypeError, r"layers\[0\] must be a pair"),
    ([("dense", lambda stream: None)], TypeError, "'dense' must return its parameters"),
    ([("norm", lambda stream: stream.linear(3, 2))], ValueError, "no 'norm/"),
    ([("dense", lambda stream: stream.linear(3, 4))], ValueError, r"'dense/\w+' of"),
    ([], ValueError, "none gives 'dense/"),
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
