"""Beside torch itself: what its modules draw, and the defaults that describe them."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from helpers import as_double, check_same_distribution

from jinit import torch as defaults

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

# More threads wait on one another for seconds where the cores are shared.
torch.set_num_threads(1)

nn = torch.nn


class Case(NamedTuple):
    """A module of torch, the defaults that describe it, and which is for which."""

    module: Callable[[], Any]
    inits: dict[str, Any]
    names: dict[str, str]  # of torch's parameters to those of the initializers


LAYER = {"weight": "kernel_init", "bias": "bias_init"}
CELL = {"weight_ih": "kernel_init", "weight_hh": "recurrent_kernel_init"}
STACK = {f"{name}_l0": init for name, init in CELL.items()}
PACKED = {"in_proj_weight": "kernel_init"}
SEPARATE = {f"{name}_proj_weight": "kernel_init" for name in "qkv"}
ATTENTION = {
    "out_proj.weight": "out_kernel_init",
    "in_proj_bias": "bias_init",
    "out_proj.bias": "out_bias_init",
}
NORM = {"weight": "scale_init", "bias": "bias_init"}
MODULES = {
    "Linear": Case(partial(nn.Linear, 12, 800), defaults.linear(12), LAYER),
    "Conv1d": Case(partial(nn.Conv1d, 4, 800, 5), defaults.conv(4, 5), LAYER),
    "Conv2d": Case(
        partial(nn.Conv2d, 8, 800, (3, 2), groups=4),
        defaults.conv(8, (3, 2), groups=4),
        LAYER,
    ),
    "ConvTranspose1d": Case(
        partial(nn.ConvTranspose1d, 3, 800, 4), defaults.conv_transpose(800, 4), LAYER
    ),
    "ConvTranspose2d": Case(
        partial(nn.ConvTranspose2d, 800, 4, (3, 2)),
        defaults.conv_transpose(4, (3, 2)),
        {"weight": "kernel_init"},
    ),
    "ConvTranspose2d of groups": Case(
        partial(nn.ConvTranspose2d, 800, 8, (3, 2), groups=2),
        defaults.conv_transpose(4, (3, 2)),
        {"weight": "kernel_init"},
    ),
    "Embedding": Case(
        partial(nn.Embedding, 300, 20),
        defaults.embedding(),
        {"weight": "embedding_init"},
    ),
    "Bilinear": Case(partial(nn.Bilinear, 12, 3, 800), defaults.bilinear(12), LAYER),
    "RNNCell": Case(partial(nn.RNNCell, 12, 100), defaults.rnn(100), CELL),
    "LSTMCell": Case(partial(nn.LSTMCell, 12, 100), defaults.lstm(100), CELL),
    "GRUCell": Case(partial(nn.GRUCell, 12, 100), defaults.gru(100), CELL),
    "RNN": Case(partial(nn.RNN, 12, 100), defaults.rnn(100), STACK),
    "LSTM": Case(partial(nn.LSTM, 12, 100, proj_size=30), defaults.lstm(100), STACK),
    "GRU": Case(partial(nn.GRU, 12, 100), defaults.gru(100), STACK),
    "MultiheadAttention": Case(
        partial(nn.MultiheadAttention, 60, 4),
        defaults.multihead_attention(60),
        PACKED | ATTENTION,
    ),
    "MultiheadAttention of other inputs": Case(
        partial(nn.MultiheadAttention, 60, 4, kdim=40, vdim=20),
        defaults.multihead_attention(60, packed=False),
        SEPARATE | ATTENTION,
    ),
    "BatchNorm2d": Case(partial(nn.BatchNorm2d, 8), defaults.batch_norm(), NORM),
    "LayerNorm": Case(partial(nn.LayerNorm, 8), defaults.layer_norm(), NORM),
    "GroupNorm": Case(partial(nn.GroupNorm, 2, 8), defaults.group_norm(), NORM),
}


def parameters(module, seed=0):
    """What torch draws, as NumPy doubles."""
    torch.manual_seed(seed)
    return {
        name: value.detach().double().numpy()
        for name, value in module().named_parameters()
    }


def ours(init, shape):
    """What is drawn for a parameter of this shape in torch's layout."""
    outputs, *inputs = shape
    return as_double(init(jax.random.key(0), (*inputs[::-1], outputs)))


def check_alike(theirs, w):
    """Asserts one distribution, by its end too if that is not that of a normal."""
    if theirs.std() == 0:
        np.testing.assert_array_equal(theirs.ravel(), w.ravel())
        return
    check_same_distribution(theirs, w)
    if (theirs**4).mean() / theirs.var() ** 2 < 2.2:
        # The largest of n uniform draws is below 1 - x / n of the bound with a
        # probability of e^-x, 1e-6 here.
        np.testing.assert_allclose(abs(theirs).max(), abs(w).max(), rtol=14 / w.size)


@pytest.mark.parametrize("case", MODULES.values(), ids=MODULES)
def test_a_module_draws_from_the_distributions_described(case):
    found = parameters(case.module)
    for name, init in case.names.items():
        theirs = found[name]
        check_alike(theirs, ours(case.inits[init], theirs.shape))


@pytest.mark.parametrize("row", [0, -1])
def test_a_padding_is_zero_as_in_torch(row):
    theirs = parameters(partial(nn.Embedding, 300, 20, padding_idx=row))["weight"]
    init = defaults.embedding(padding_idx=row)["embedding_init"]
    table = as_double(init(jax.random.key(0), (300, 20)))
    np.testing.assert_array_equal(theirs == 0, table == 0)


@pytest.mark.parametrize("module", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_the_sum_of_two_biases_is_distributed_as_the_one_of_flax(module):
    found = parameters(partial(module, 1, 800))
    theirs = found["bias_ih"] + found["bias_hh"]
    if module is nn.GRUCell:  # the gates r and z
        theirs = theirs[: 2 * 800]
    inits = {nn.RNNCell: defaults.rnn, nn.LSTMCell: defaults.lstm}
    bias_init = inits.get(module, defaults.gru)(800)["bias_init"]
    check_same_distribution(theirs, ours(bias_init, theirs.shape))


def test_the_biases_of_the_candidate_of_a_gru_are_distributed_as_its_kernels():
    found = parameters(partial(nn.GRUCell, 1, 800))
    kernel_init = defaults.gru(800)["kernel_init"]
    for name in ("bias_ih", "bias_hh"):
        theirs = found[name][2 * 800 :]
        check_alike(theirs, ours(kernel_init, theirs.shape))


@pytest.mark.parametrize(
    ("module", "described"),
    [
        (nn.TransformerEncoderLayer, defaults.transformer_encoder_layer),
        (nn.TransformerDecoderLayer, defaults.transformer_decoder_layer),
    ],
)
def test_a_transformer_layer_has_the_distributions_described(module, described):
    layers, found = described(60, 90), parameters(partial(module, 60, 4, 90))
    names = {"self_attn": PACKED | ATTENTION, "norm1": NORM, "linear1": LAYER}
    names["multihead_attn"] = names["self_attn"]
    for layer, inits in layers.items():
        shared = layer if layer in names else f"{layer[:-1]}1"
        for name, init in names[shared].items():
            theirs = found.pop(f"{layer}.{name}")
            check_alike(theirs, ours(inits[init], theirs.shape))
    assert not found
