"""torch's random stream beside torch: the same numbers, from the same seeds."""

import itertools
import json
import math
import os
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from golden import make_torch_stream
from helpers import check_units

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

SEEDS = (0, 1, 42, 2**32 + 42, 2**63, 2**64 - 1, -1)
SHAPES = ((), (5, 3), (16,), (37,), (40, 30))
MATRICES = ((5, 3), (4, 8), (40, 30))
DTYPES = ("float32", "bfloat16", "float16", "float64")
UNITS = 4  # in the last place: what torch's logarithm, sine and cosine differ by

# Each with the units in the last place that it may differ by, of the largest number
# that is added up for an element.
DRAWS = {
    "uniform": ("uniform_", {}, SHAPES, 0),
    "uniform a b": ("uniform_", {"a": -0.37, "b": 1.9}, SHAPES, 0),
    "uniform narrow": ("uniform_", {"a": 1000.0, "b": 1001.0}, SHAPES, 0),
    "normal": ("normal_", {}, SHAPES, UNITS),
    "normal mean std": ("normal_", {"mean": 0.1, "std": 0.02}, SHAPES, UNITS),
    "trunc_normal": ("trunc_normal_", {}, SHAPES, UNITS),
    "trunc_normal tail": (
        *("trunc_normal_", {"mean": 0.7123, "std": 1.3, "a": 2.0, "b": 3.0}),
        *(SHAPES, 0),
    ),
    "xavier_uniform": ("xavier_uniform_", {"gain": 5 / 3}, MATRICES, 0),
    "xavier_normal": ("xavier_normal_", {"gain": 0.7}, MATRICES, UNITS),
    "kaiming_uniform": ("kaiming_uniform_", {"a": 5**0.5}, MATRICES, 0),
    "kaiming_uniform convolution": (
        *("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
        *(((6, 4, 3, 3),), 0),
    ),
    "kaiming_normal": ("kaiming_normal_", {"nonlinearity": "relu"}, MATRICES, UNITS),
    "sparse": ("sparse_", {"sparsity": 0.3}, MATRICES, UNITS),
}
CASES = [  # of every shape in float32, and of the last in every dtype
    (name, shape, dtype)
    for name, (_, _, shapes, _) in DRAWS.items()
    for shape, dtype in itertools.product(shapes, DTYPES)
    if dtype == "float32" or shape == shapes[-1]
]


def torch_draw(name, shape, dtype, options):
    tensor = torch.empty(shape, dtype=getattr(torch, dtype))
    return getattr(torch.nn.init, name)(tensor, **options)


def check_equal(ours, theirs, units=0, added=0.0):
    theirs = theirs.detach()
    if theirs.dtype == torch.bfloat16:  # which NumPy does not know
        theirs = np.asarray(theirs.float()).astype("bfloat16")
    check_units(ours, np.asarray(theirs), units, added)


@pytest.mark.bits
@pytest.mark.parametrize(
    ("name", "shape", "dtype"), CASES, ids=["-".join(map(str, c)) for c in CASES]
)
def test_the_next_tensors_are_those_of_torch(name, shape, dtype):
    function, options, _, units = DRAWS[name]
    with jax.enable_x64(dtype == "float64"):
        for seed in SEEDS if dtype == "float32" else SEEDS[-1:]:
            torch.manual_seed(seed)
            stream = jinit.torch.manual_seed(seed)
            for _ in range(2):  # the second goes on from where the first ended
                theirs = torch_draw(function, shape, dtype, options)
                ours = getattr(stream, function)(shape, **options, dtype=dtype)
                added = options.get("mean", 0.0)
                check_equal(ours, theirs, units, added)


def test_the_golden_record_is_what_torch_draws_now():
    """The uniform draws; the others differ in the last bits between machines."""
    recorded = json.loads(make_torch_stream.PATH.read_text())
    now = make_torch_stream.golden()
    assert now["torch"] == recorded["torch"]
    for old, new in zip(recorded["tensors"], now["tensors"], strict=True):
        uniform = [d for d in old["draws"] if "uniform" in d["name"]]
        assert uniform == [d for d in new["draws"] if "uniform" in d["name"]]


def test_many_normal_numbers_are_within_a_millionth():
    torch.manual_seed(3)
    ours = jinit.torch.manual_seed(3).normal_((1 << 20,))
    theirs = torch.empty(1 << 20).normal_()
    check_equal(ours, theirs, UNITS)
    assert abs(np.asarray(ours) - theirs.numpy()).max() <= 1e-6


@pytest.mark.parametrize("shape", [*MATRICES, (6, 2, 3)])
def test_orthogonal_matrices_are_those_of_torch(shape):
    torch.manual_seed(5)
    theirs = torch.nn.init.orthogonal_(torch.empty(shape), 1.5)
    ours = jinit.torch.manual_seed(5).orthogonal_(shape, 1.5)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-5)


@pytest.mark.slow
def test_draws_of_all_kinds_follow_one_another():
    rng = np.random.default_rng(0)
    torch.manual_seed(11)
    stream = jinit.torch.manual_seed(11)
    names = sorted(name for name in DRAWS if "convolution" not in name)
    for _ in range(60):
        function, options, shapes, units = DRAWS[str(rng.choice(names))]
        shape = shapes[rng.integers(len(shapes))]
        dtype = str(rng.choice(DTYPES[:3]))
        theirs = torch_draw(function, shape, dtype, options)
        ours = getattr(stream, function)(shape, **options, dtype=dtype)
        check_equal(ours, theirs, units, options.get("mean", 0.0))
    np.testing.assert_array_equal(stream.get_state(), torch.get_rng_state().numpy())


@pytest.mark.parametrize("drawn", [1, 5, 623, 624, 625, 2000])
def test_states_go_from_torch_to_jinit_and_back(drawn):
    torch.manual_seed(2**64 - 1)
    torch.empty(drawn).uniform_()
    torch.empty(3).normal_()  # leaves a number to spare
    stream = jinit.torch.manual_seed(0).set_state(torch.get_rng_state())
    assert stream.initial_seed() == torch.initial_seed()
    np.testing.assert_array_equal(stream.get_state(), torch.get_rng_state().numpy())
    check_equal(stream.normal_((4,)), torch.empty(4).normal_(), UNITS)
    torch.set_rng_state(torch.tensor(stream.get_state()))
    check_equal(stream.uniform_((700,)), torch.empty(700).uniform_())


def test_a_state_of_bytes_is_read_too():
    torch.manual_seed(4)
    stream = jinit.torch.manual_seed(0)
    stream.set_state(torch.get_rng_state().numpy().tobytes())
    check_equal(stream.uniform_((3,)), torch.empty(3).uniform_())


FILLS = {
    "constant_": ((3, 4), {"val": 0.3}),
    "ones_": ((3,), {}),
    "zeros_": ((3,), {}),
    "eye_": ((3, 5), {}),
    "dirac_": ((4, 3, 3, 4), {"groups": 2}),
}


@pytest.mark.parametrize("name", FILLS)
def test_constant_fills_are_those_of_torch_and_draw_nothing(name):
    shape, options = FILLS[name]
    stream = jinit.torch.manual_seed(0)
    before = stream.get_state()
    check_equal(
        getattr(stream, name)(shape, **options),
        torch_draw(name, shape, "float32", options),
    )
    np.testing.assert_array_equal(stream.get_state(), before)


# Layers: built by torch and by the stream from one seed, they compute the same.

INPUTS = np.random.RandomState(0).randn(2, 9, 11, 6).astype("float32")
SEQUENCE = np.random.RandomState(1).randn(2, 7, 6).astype("float32")


def built(module, draw, seed=3):
    """A torch module and our parameters, after which both streams go on alike."""
    torch.manual_seed(seed)
    theirs = module()
    stream = jinit.torch.manual_seed(seed)
    ours = draw(stream)
    check_equal(stream.uniform_((3,)), torch.empty(3).uniform_())
    return theirs, ours


def check_outputs(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=2e-6)


def channels_first(module, x):
    return module(torch.tensor(np.moveaxis(x, -1, 1))).movedim(1, -1)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    module, params = built(
        lambda: torch.nn.Linear(6, 5, bias=bias),
        lambda stream: stream.linear(6, 5, bias=bias),
    )
    check_equal(params["kernel"], module.weight.T)
    if bias:
        check_equal(params["bias"], module.bias)
    layer = nn.Dense(5, use_bias=bias)
    check_outputs(
        layer.apply({"params": params}, SEQUENCE), module(torch.tensor(SEQUENCE))
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(groups):
    module, params = built(
        lambda: torch.nn.Conv2d(6, 4, (3, 2), groups=groups),
        lambda stream: stream.conv(6, 4, (3, 2), groups=groups),
    )
    check_equal(params["kernel"], module.weight.permute(2, 3, 1, 0))
    check_equal(params["bias"], module.bias)
    layer = nn.Conv(4, (3, 2), padding="VALID", feature_group_count=groups)
    ours = layer.apply({"params": params}, INPUTS)
    check_outputs(ours, channels_first(module, INPUTS))


@pytest.mark.parametrize("padding", [0, 1])
def test_transposed_convolution(padding):
    module, params = built(
        lambda: torch.nn.ConvTranspose2d(6, 4, (3, 2), stride=2, padding=padding),
        lambda stream: stream.conv_transpose(6, 4, (3, 2)),
    )
    sides = [(size - 1 - padding,) * 2 for size in (3, 2)]
    layer = nn.ConvTranspose(4, (3, 2), strides=(2, 2), padding=sides)
    ours = layer.apply({"params": params}, INPUTS)
    check_outputs(ours, channels_first(module, INPUTS))


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx):
    module, params = built(
        lambda: torch.nn.Embedding(20, 6, padding_idx=padding_idx),
        lambda stream: stream.embedding(20, 6, padding_idx=padding_idx),
    )
    check_equal(params["embedding"], module.weight, UNITS)


def test_bilinear():
    module, params = built(
        lambda: torch.nn.Bilinear(6, 6, 5), lambda stream: stream.bilinear(6, 6, 5)
    )
    check_equal(params["kernel"], module.weight.permute(1, 2, 0))
    check_equal(params["bias"], module.bias)


RECURRENT = {
    "rnn": (torch.nn.RNN, nn.SimpleCell),
    "lstm": (torch.nn.LSTM, nn.LSTMCell),
    "lstm optimized": (torch.nn.LSTM, nn.OptimizedLSTMCell),
    "gru": (torch.nn.GRU, nn.GRUCell),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name):
    module, cell = RECURRENT[name]
    draw = name.split()[0]
    module, layers = built(
        lambda: module(6, 5, num_layers=2, batch_first=True),
        lambda stream: getattr(stream, draw)(6, 5, num_layers=2),
    )
    x = SEQUENCE
    for params in layers:
        x = nn.RNN(cell(5)).apply({"params": {"cell": params}}, x)
    check_outputs(x, module(torch.tensor(SEQUENCE))[0])


@pytest.mark.slow
def test_cells_and_both_directions_draw_as_many_numbers():
    for name in ("RNN", "LSTM", "GRU"):
        draw = name.lower()
        built(
            lambda n=name: getattr(torch.nn, n)(6, 5, 2, bidirectional=True),
            lambda s, d=draw: getattr(s, d)(6, 5, num_layers=2, bidirectional=True),
        )
        built(
            lambda n=name: getattr(torch.nn, n + "Cell")(6, 5, bias=False),
            lambda s, d=draw: getattr(s, d + "_cell")(6, 5, bias=False),
        )


@pytest.mark.slow
def test_attention_on_one_sequence():
    module, params = built(
        lambda: torch.nn.MultiheadAttention(6, 2, batch_first=True),
        lambda stream: stream.multihead_attention(6, 2),
    )
    check_equal(params["key"]["kernel"].reshape(6, 6), module.in_proj_weight[6:12].T)
    theirs = module(*[torch.tensor(SEQUENCE)] * 3)[0]
    layer = nn.MultiHeadDotProductAttention(2)
    check_outputs(layer.apply({"params": params}, SEQUENCE, SEQUENCE), theirs)
    layer = nnx.MultiHeadAttention(2, 6, decode=False, rngs=nnx.Rngs(0))
    nnx.update(layer, nnx.State(params))
    check_outputs(layer(SEQUENCE), theirs)


def test_attention_on_several_sequences():
    key, value = SEQUENCE[..., :3], SEQUENCE[..., 1:]
    module, params = built(
        lambda: torch.nn.MultiheadAttention(6, 2, batch_first=True, kdim=3, vdim=5),
        lambda stream: stream.multihead_attention(6, 2, kdim=3, vdim=5),
    )
    theirs = module(*map(torch.tensor, (SEQUENCE, key, value)))[0]
    layer = nn.MultiHeadDotProductAttention(2, qkv_features=6, out_features=6)
    check_outputs(layer.apply({"params": params}, SEQUENCE, key, value), theirs)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_transformer_layers(part):
    name = f"Transformer{part.capitalize()}Layer"
    module, params = built(
        lambda: getattr(torch.nn, name)(6, 2, 16),
        lambda stream: getattr(stream, f"transformer_{part}_layer")(6, 2, 16),
    )
    check_equal(params["linear2"]["kernel"], module.linear2.weight.T)
    check_equal(params["linear1"]["bias"], module.linear1.bias)
    assert set(params) == {
        name for name, _ in module.named_children() if "dropout" not in name
    }


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("bias", [True, False])
def test_a_transformer_draws_its_matrices_again(bias):
    module, params = built(
        lambda: torch.nn.Transformer(6, 2, 2, 3, 16, bias=bias, batch_first=True),
        lambda stream: stream.transformer(6, 2, 2, 3, 16, bias=bias),
    )
    for part in ("encoder", "decoder"):
        for n, theirs in enumerate(getattr(module, part).layers):
            ours = params[part][f"layers_{n}"]
            packed = [ours["self_attn"][k]["kernel"] for k in ("query", "key", "value")]
            packed = np.concatenate([np.reshape(w, (6, 6)).T for w in packed])
            check_equal(packed, theirs.self_attn.in_proj_weight)
            out = ours["self_attn"]["out"]["kernel"].reshape(6, 6).T
            check_equal(out, theirs.self_attn.out_proj.weight)
            check_equal(ours["linear2"]["kernel"], theirs.linear2.weight.T)
            if bias:
                check_equal(ours["linear1"]["bias"], theirs.linear1.bias)
    out = ours["multihead_attn"]["out"]["kernel"].reshape(6, 6).T
    check_equal(out, theirs.multihead_attn.out_proj.weight)
    assert ("bias" in params["decoder"]["norm"]) == bias


FUNCTIONS = {
    "randperm": [(1,), (7,), (1000,)],
    "randint": [
        *((0, 10, (8,)), (-5, 2**28 - 6, (4, 5)), (-5, 2**28 - 5, (4, 5))),
        *((-(2**31), 2**31, (3,)), (0, 10, ())),
    ],
    "bernoulli": [([[0.0, 0.3, 0.5], [0.7, 0.9, 1.0]],), ([0.1] * 700,), (0.5,)],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_of_torch_return_the_same(name):
    for args in FUNCTIONS[name]:
        is_array = name == "bernoulli"
        given = (torch.tensor(args[0]),) if is_array else args
        theirs, ours = built(
            lambda g=given: getattr(torch, name)(*g),
            lambda stream, a=args: getattr(stream, name)(*a),
        )
        np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_are_of_the_dtype(dtype):
    p = [0.1, 0.3, 0.7] * 100
    with jax.enable_x64(dtype == "float64"):
        theirs, ours = built(
            lambda: torch.bernoulli(torch.tensor(p, dtype=getattr(torch, dtype))),
            lambda stream: stream.bernoulli(p, dtype=dtype),
        )
        check_equal(ours, theirs)


SPECTRAL = {
    "linear": (lambda: torch.nn.Linear(6, 5), nn.Dense(5)),
    "conv": (
        lambda: torch.nn.Conv2d(6, 5, (3, 2)),
        nn.Conv(5, (3, 2), padding="VALID"),
    ),
}


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_layer_of_spectral_norm_goes_on_as_that_of_torch(name):
    build, layer = SPECTRAL[name]
    sizes = (6, 5) if name == "linear" else (6, 5, (3, 2))

    def draw(stream):
        params = getattr(stream, name)(*sizes)
        return params, stream.spectral_norm(params["kernel"])

    module, (params, drawn) = built(
        lambda: torch.nn.utils.parametrizations.spectral_norm(build()), draw
    )
    theirs = module.parametrizations.weight[0]
    np.testing.assert_allclose(drawn["u"][0], theirs._u.numpy(), atol=1e-6)
    module.eval()
    scaled = module.weight.detach().numpy()
    kernel = np.moveaxis(np.asarray(params["kernel"]), (-1, -2), (0, 1))
    np.testing.assert_allclose(kernel / drawn["sigma"], scaled, atol=1e-6)
    x = SEQUENCE if name == "linear" else INPUTS
    stats = {f"layer_instance/kernel/{key}": value for key, value in drawn.items()}
    variables = {"params": {"layer_instance": params}, "batch_stats": stats}
    ours = nn.SpectralNorm(layer).apply(variables, x, update_stats=False)
    run = channels_first if name == "conv" else lambda m, x: m(torch.tensor(x))
    np.testing.assert_allclose(ours, run(module, x).detach().numpy(), atol=1e-3)


def test_the_older_spectral_norm_draws_as_many_numbers():
    built(
        lambda: torch.nn.utils.spectral_norm(torch.nn.Linear(6, 5)),
        lambda stream: stream.spectral_norm(stream.linear(6, 5)["kernel"]),
    )


@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (-0.04, 0.04), (0.5, 3.0)])
def test_truncation_by_the_inverse_is_that_of_timm_and_older_torch(bounds):
    low, high = ((1 + math.erf(z / math.sqrt(2))) / 2 for z in bounds)
    torch.manual_seed(3)
    theirs = torch.empty(5, 7).uniform_(2 * low - 1, 2 * high - 1).erfinv_()
    theirs = theirs.mul_(math.sqrt(2)).clamp_(*bounds)
    after = torch.rand(3)
    stream = jinit.torch.manual_seed(3)
    ours = stream.trunc_normal_((5, 7), 0.0, 1.0, *bounds, method="inverse")
    np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=1e-7)
    np.testing.assert_array_equal(stream.uniform_((3,)), after)


def test_a_layer_may_be_drawn_by_what_the_model_calls_itself():
    torch.manual_seed(5)
    layer = torch.nn.Linear(6, 4)
    torch.nn.init.normal_(layer.weight, std=0.02)
    torch.nn.init.zeros_(layer.bias)
    stream = jinit.torch.manual_seed(5)
    stream.linear(6, 4)  # what the constructor draws
    normal = partial(stream.normal_, std=0.02)
    ours = stream.linear(6, 4, kernel_=normal, bias_=stream.zeros_)
    check_units(ours["kernel"], layer.weight.detach().numpy().T, UNITS)
    assert not ours["bias"].any()
    conv = stream.conv(3, 8, (2, 2), kernel_=stream.dirac_, bias=False)
    assert conv["kernel"].shape == (2, 2, 3, 8)


CELLS = {
    "RNN": (torch.nn.RNN, "rnn_cell", nnx.SimpleCell, {}),
    "LSTM": (torch.nn.LSTM, "lstm_cell", nnx.LSTMCell, {}),
    "packed LSTM": (
        torch.nn.LSTM,
        "lstm_cell",
        nnx.OptimizedLSTMCell,
        {"packed": True},
    ),
    "GRU": (torch.nn.GRU, "gru_cell", nnx.GRUCell, {}),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_nnx_computes_what_the_cell_of_torch_does(name):
    of_torch, method, of_nnx, options = CELLS[name]
    bias = name != "GRU"  # which nnx has not all of
    torch.manual_seed(4)
    layer = of_torch(3, 5, bias=bias, batch_first=True)
    drawn = getattr(jinit.torch.manual_seed(4), method)(3, 5, bias=bias)
    cell = of_nnx(3, 5, rngs=nnx.Rngs(0))
    state = nnx.state(cell, nnx.Param)
    nnx.replace_by_pure_dict(state, jinit.torch.to_nnx(drawn, **options))
    nnx.update(cell, state)
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    ours = nnx.RNN(cell)(x)
    theirs = layer(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_no_cell_of_nnx_is_refused():
    stream = jinit.torch.manual_seed(0)
    with pytest.raises(ValueError, match="bias=False"):
        jinit.torch.to_nnx(stream.gru_cell(3, 4))
    with pytest.raises(TypeError, match="must be the parameters of a recurrent cell"):
        jinit.torch.to_nnx(3)
    with pytest.raises(ValueError, match="must be the parameters of a recurrent cell"):
        jinit.torch.to_nnx(stream.linear(3, 4))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_a_transformer_layer_has_biases_or_none(kind, bias):
    torch.manual_seed(6)
    layer = getattr(torch.nn, f"Transformer{kind}Layer")(8, 2, 12, bias=bias)
    stream = jinit.torch.manual_seed(6)
    draw = getattr(stream, f"transformer_{kind.lower()}_layer")
    drawn = draw(8, 2, 12, bias=bias)
    assert len(jax.tree.leaves(drawn)) == sum(
        3 if name.endswith(("in_proj_weight", "in_proj_bias")) else 1
        for name, _ in layer.named_parameters()
    )
    theirs = layer.linear2.weight.detach().numpy().T
    np.testing.assert_array_equal(drawn["linear2"]["kernel"], theirs)
    np.testing.assert_array_equal(stream.uniform_((3,)), torch.rand(3))


def test_a_norm_may_be_over_several_axes_and_without_bias():
    stream = jinit.torch.manual_seed(0)
    assert jax.tree.map(np.shape, stream.layer_norm((4, 8), bias=False)) == {
        "scale": tuple(torch.nn.RMSNorm((4, 8)).weight.shape)
    }


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_in_groups(groups):
    module, params = built(
        lambda: torch.nn.ConvTranspose2d(6, 4, (3, 2), stride=2, groups=groups),
        lambda stream: stream.conv_transpose(6, 4, (3, 2), groups=groups),
    )
    ours = jax.lax.conv_general_dilated(
        INPUTS,
        params["kernel"],
        window_strides=(1, 1),
        padding=[(size - 1,) * 2 for size in (3, 2)],
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    check_outputs(
        ours + params["bias"][None, None, None], channels_first(module, INPUTS)
    )


def test_attention_may_have_a_key_and_a_value_of_its_own():
    module, params = built(
        lambda: torch.nn.MultiheadAttention(6, 2, add_bias_kv=True),
        lambda stream: stream.multihead_attention(6, 2, add_bias_kv=True),
    )
    check_equal(params["bias_k"], module.bias_k, UNITS)
    check_equal(params["bias_v"], module.bias_v, UNITS)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_may_project_its_state(bidirectional):
    options = {"num_layers": 2, "bidirectional": bidirectional, "proj_size": 3}
    module, cells = built(
        lambda: torch.nn.LSTM(6, 5, **options),
        lambda stream: stream.lstm(6, 5, **options),
    )
    assert len(cells) == 2 * (1 + bidirectional)
    check_equal(cells[0]["hr"]["kernel"], module.weight_hr_l0.T)
    check_equal(cells[0]["hg"]["kernel"], module.weight_hh_l0[10:15].T)
    check_equal(cells[-1]["ii"]["kernel"], list(module.parameters())[-5][:5].T)


def test_a_bag_of_embeddings_is_an_embedding():
    module, params = built(
        lambda: torch.nn.EmbeddingBag(20, 6), lambda stream: stream.embedding(20, 6)
    )
    check_equal(params["embedding"], module.weight, UNITS)
