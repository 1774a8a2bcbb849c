"""Flax models start from torch's weights and train as it does: as recorded."""

import json

import jax
import numpy as np
import pytest
from ports import MODELS, PATH, SEED, losses_of

import jinit

GOLDEN = json.loads(PATH.read_text())


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
