"""torch's random stream without torch: as recorded, and beside NumPy's twister."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers import check_units

import jinit
from jinit.torch import functional
from jinit.torch._mt19937 import (
    advanced,
    blocks_after,
    next_words,
    skipped,
    words_at,
)

GOLDEN = json.loads(
    Path(__file__).with_name("golden").joinpath("torch_stream.json").read_text()
)
UNITS = 4  # in the last place: what logarithm, sine and cosine may differ by


def array(case, dtype="float32"):
    """A recorded tensor."""
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    flat = np.frombuffer(bytes.fromhex(case["bits"]), dtype)
    return flat.reshape(case["shape"])


def number(bits, dtype="float32"):
    return np.frombuffer(bytes.fromhex(bits), dtype)


@pytest.mark.bits
@pytest.mark.slow
@pytest.mark.parametrize(
    "case", GOLDEN["tensors"], ids=lambda case: f"{case['seed']}-{case['dtype']}"
)
def test_the_tensors_are_those_that_torch_drew(case):
    with jax.enable_x64(case["dtype"] == "float64"):
        stream = jinit.torch.manual_seed(case["seed"])
        for draw in case["draws"]:
            options = draw["options"]
            ours = getattr(stream, draw["name"])(
                draw["shape"], **options, dtype=case["dtype"]
            )
            theirs = array(draw, case["dtype"])
            if draw["name"] == "orthogonal_":
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)
            else:
                units = 0 if "uniform" in draw["name"] else UNITS
                check_units(ours, theirs, units, options.get("mean", 0.0))


def heads(weight):
    return weight.T.reshape(-1, 2, weight.shape[0] // 2)


def attention(p, name="", heads_of=heads):
    q, k, v = np.split(p[name + "in_proj_weight"], 3)
    kernels = {"query": heads_of(q), "key": heads_of(k), "value": heads_of(v)}
    size = q.shape[0]
    return {
        **{
            n: {"kernel": w, "bias": np.zeros(w.shape[1:], "f")}
            for n, w in kernels.items()
        },
        "out": {
            "kernel": p[name + "out_proj.weight"].T.reshape(2, -1, size),
            "bias": np.zeros(size, "f"),
        },
    }


def linear(p, name=""):
    return {"kernel": p[name + "weight"].T, "bias": p[name + "bias"]}


def gates(p, names):
    n = len(names)
    parts = zip(
        names,
        np.split(p["weight_ih"], n),
        np.split(p["weight_hh"], n),
        np.split(p["bias_ih"], n),
        np.split(p["bias_hh"], n),
        strict=True,
    )
    return [(name, w_i.T, w_h.T, b_i, b_h) for name, w_i, w_h, b_i, b_h in parts]


def lstm(p):
    layers = {}
    for gate, w_i, w_h, b_i, b_h in gates(p, "ifgo"):
        layers |= {f"i{gate}": {"kernel": w_i}}
        layers |= {f"h{gate}": {"kernel": w_h, "bias": b_i + b_h}}
    return layers


def gru(p):
    (r, z, n) = gates(p, "rzn")
    layers = {}
    for gate, w_i, w_h, b_i, b_h in (r, z):
        layers |= {f"i{gate}": {"kernel": w_i, "bias": b_i + b_h}}
        layers |= {f"h{gate}": {"kernel": w_h}}
    layers |= {"in": {"kernel": n[1], "bias": n[3]}}
    return layers | {"hn": {"kernel": n[2], "bias": n[4]}}


def rnn(p):
    ((_, w_i, w_h, b_i, b_h),) = gates(p, "h")
    return {"i": {"kernel": w_i, "bias": b_i + b_h}, "h": {"kernel": w_h}}


NORM = {"scale": np.ones(4, "f"), "bias": np.zeros(4, "f")}


def encoder_layer(p, within="", attentions=("self_attn",)):
    return {
        **{name: attention(p, f"{within}{name}.") for name in attentions},
        "linear1": linear(p, f"{within}linear1."),
        "linear2": linear(p, f"{within}linear2."),
        **{f"norm{n + 1}": NORM for n in range(len(attentions) + 1)},
    }


def transformer(p):
    both = "self_attn", "multihead_attn"
    return {
        "encoder": {
            **{f"layers_{n}": encoder_layer(p, f"encoder.layers.{n}.") for n in (0, 1)},
            "norm": NORM,
        },
        "decoder": {
            "layers_0": encoder_layer(p, "decoder.layers.0.", both),
            "norm": NORM,
        },
    }


# The recorded parameters in Flax's layout, in NumPy.
TO_FLAX = {
    "linear": linear,
    "conv": lambda p: {"kernel": p["weight"].transpose(2, 3, 1, 0), "bias": p["bias"]},
    "conv_transpose": lambda p: {
        "kernel": p["weight"][:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
        "bias": p["bias"],
    },
    "embedding": lambda p: {"embedding": p["weight"]},
    "lstm_cell": lstm,
    "gru_cell": gru,
    "rnn_cell": rnn,
    "multihead_attention": attention,
    "transformer_encoder_layer": encoder_layer,
    "transformer": transformer,
}


@pytest.mark.parametrize("case", GOLDEN["layers"], ids=lambda case: case["name"])
def test_the_layers_are_those_that_torch_built(case):
    stream = jinit.torch.manual_seed(3)
    args = [tuple(arg) if isinstance(arg, list) else arg for arg in case["args"]]
    ours = getattr(stream, case["name"])(*args, **case["options"])
    recorded = {name: array(value) for name, value in case["parameters"].items()}
    theirs = TO_FLAX[case["name"]](recorded)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    units = UNITS if case["name"] == "embedding" else 0
    jax.tree.map(lambda x, y: check_units(x, y, units), ours, theirs)
    assert stream.uniform_(()) == number(case["after"])


def test_the_functions_of_torch_return_what_they_returned():
    stream = jinit.torch.manual_seed(5)
    for case in GOLDEN["functions"]:
        ours = getattr(stream, case["name"])(*case["args"])
        kind = "float32" if case["name"] == "bernoulli" else "int32"
        np.testing.assert_array_equal(ours, np.asarray(case["values"], kind))
        assert ours.dtype == kind


def test_the_vector_of_a_spectral_norm_is_that_of_torch():
    stream = jinit.torch.manual_seed(3)
    kernel = stream.linear(6, 5)["kernel"]
    drawn = stream.spectral_norm(kernel)
    np.testing.assert_allclose(drawn["u"][0], array(GOLDEN["spectral_norm"]), atol=1e-6)
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    np.testing.assert_allclose(drawn["sigma"], largest, rtol=1e-3)


def test_a_state_that_torch_saved_is_gone_on_from():
    (case,) = GOLDEN["state"]
    saved = bytes.fromhex(case["bits"])
    stream = jinit.torch.manual_seed(0).set_state(saved)
    assert stream.initial_seed() == 7
    assert stream.get_state().tobytes() == saved
    check_units(stream.normal_((2,)), number(case["normal"]), UNITS)


def test_a_new_stream_goes_on_from_its_own_state():
    stream = jinit.torch.manual_seed(2**64 - 1)
    other = jinit.torch.manual_seed(1).set_state(stream.get_state())
    np.testing.assert_array_equal(stream.uniform_((3,)), other.uniform_((3,)))


@pytest.mark.parametrize("size", [0, 1, 623, 624, 625, 2000, 10_000])
def test_the_words_are_those_of_numpys_twister(size):
    state = functional.seed(12345)
    words = words_at(blocks_after(state, size), state.used, size)
    known, after = next_words(state, size)
    np.testing.assert_array_equal(words, known)
    traced = advanced(state, blocks_after(state, size), size)
    jax.tree.map(np.testing.assert_array_equal, after, traced)
    jax.tree.map(np.testing.assert_array_equal, skipped(state, size), traced)
    expected = np.random.RandomState(12345).randint(2**32, size=size, dtype=np.uint64)
    np.testing.assert_array_equal(words, expected)


FUNCTIONS = {
    "uniform": partial(functional.uniform, shape=(5, 3)),
    "few normal": partial(functional.normal, shape=(5,)),
    "normal": partial(functional.normal, shape=(37,), dtype="bfloat16"),
    "trunc_normal": partial(functional.trunc_normal, shape=(20,), a=-1.0, b=1.0),
    "trunc_normal tail": partial(functional.trunc_normal, shape=(20,), a=2.0, b=3.0),
    "orthogonal": partial(functional.orthogonal, shape=(4, 3)),
    "sparse": partial(functional.sparse, shape=(6, 5), sparsity=0.5),
    "randperm": partial(functional.randperm, n=9),
    "randint": partial(functional.randint, low=-5, high=7, shape=(5, 3)),
    "wide randint": partial(functional.randint, low=-5, high=2**30, shape=(5, 3)),
    "bernoulli": partial(functional.bernoulli, p=[0.1, 0.5, 0.9], dtype="bfloat16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_and_vmap_make_no_difference(name):
    draw = FUNCTIONS[name]
    states = [functional.seed(n) for n in range(3)]
    singles = [draw(draw(state)[1]) for state in states]  # the second one
    jitted = jax.jit(lambda state: draw(draw(state)[1]))
    for state, (w, after) in zip(states, singles, strict=True):
        ours, ours_after = jitted(state)
        np.testing.assert_allclose(ours, w, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(ours_after.used, after.used)
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *states)
    members, _ = jax.vmap(lambda state: draw(draw(state)[1]))(stacked)
    for member, (w, _) in zip(members, singles, strict=True):
        np.testing.assert_allclose(member, w, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_draw_is_exported_for_every_platform(name):
    draw, platforms = FUNCTIONS[name], ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(draw), platforms=platforms)(functional.seed(0))
    assert exported.platforms == platforms


def test_empty_tensors_draw_nothing():
    stream = jinit.torch.manual_seed(0)
    before = stream.get_state()
    assert stream.uniform_((0, 3)).shape == (0, 3)
    assert stream.normal_((2, 0)).shape == (2, 0)
    assert stream.kaiming_uniform_((3, 0)).shape == (3, 0)
    assert stream.orthogonal_((0, 3)).shape == (0, 3)
    assert stream.sparse_((3, 0), 0.5).shape == (3, 0)
    np.testing.assert_array_equal(stream.get_state(), before)


def test_a_single_row_is_all_of_its_permutation():
    assert (stream().sparse_((1, 4), 0.1) == 0).all()


def test_what_rounds_to_the_upper_bound_becomes_the_lower_one():
    w = jinit.torch.manual_seed(3).uniform_((4000,), 2.0, 3.0, "bfloat16")
    assert w.min() == 2.0
    assert w.max() < 3.0


def stream():
    return jinit.torch.manual_seed(0)


BAD = [
    (
        lambda: stream().trunc_normal_((3,), method="x"),
        ValueError,
        "rejection, inverse",
    ),
    (lambda: stream().linear(3, 2, kernel_=3), TypeError, "Stream.zeros_, got 3"),
    (
        lambda: stream().linear(3, 2, bias_=lambda shape, dtype: jnp.ones(5)),
        ValueError,
        r"bias_ must draw .*\(2,\)",
    ),
    (lambda: jinit.torch.manual_seed(2**64), ValueError, "2\\^64"),
    (lambda: jinit.torch.manual_seed(-(2**63) - 1), ValueError, "seed must be from"),
    (lambda: jinit.torch.manual_seed(1.5), TypeError, "integer, got 1.5"),
    (lambda: jinit.torch.manual_seed(True), TypeError, "integer, got True"),
    (lambda: stream().uniform_((3,), 2.0, 1.0), ValueError, "b must be at least a"),
    (lambda: stream().uniform_((3,), -3e38, 3e38), ValueError, "finite in float32"),
    (lambda: stream().uniform_((3,), 0.0, 7e4, "float16"), ValueError, "in float16"),
    (lambda: stream().normal_((3,), std=1e39), ValueError, "std must"),
    (lambda: stream().uniform_((3,), "0"), TypeError, "a must be"),
    (lambda: functional.normal(jax.random.key(0), (3,)), TypeError, "state must be"),
    (lambda: jax.jit(lambda: stream().normal_((3,)))(), TypeError, "outside of jit"),
    (
        lambda: jax.jit(lambda std: stream().normal_((3,), std=std))(1.0),
        TypeError,
        "std must be known",
    ),
    (lambda: stream().uniform_((-1,)), ValueError, "negative sizes"),
    (lambda: stream().uniform_(3.0), TypeError, "shape must be"),
    (lambda: stream().uniform_((3,), dtype="int32"), TypeError, "got int32"),
    (lambda: stream().normal_((3,), dtype="complex64"), TypeError, "got complex64"),
    (lambda: stream().normal_((3,), dtype="float8_e4m3fn"), TypeError, "float8"),
    (lambda: stream().normal_((3,), std=-1.0), ValueError, "std must"),
    (lambda: stream().trunc_normal_((3,), std=0.0), ValueError, "std must"),
    (lambda: stream().trunc_normal_((3,), a=1.0, b=-1.0), ValueError, "a=1.0"),
    (lambda: stream().xavier_uniform_((3,)), ValueError, "two axes or more"),
    (lambda: stream().xavier_normal_((0, 0)), ValueError, "both zero"),
    (lambda: stream().kaiming_uniform_(()), ValueError, "two axes or more"),
    (lambda: stream().kaiming_normal_((3, 4), mode="fan"), ValueError, "mode must"),
    (lambda: stream().kaiming_normal_((3, 4), nonlinearity="x"), ValueError, "'x'"),
    (lambda: stream().orthogonal_((3,)), ValueError, "two axes or more"),
    (lambda: stream().orthogonal_((3, 3), dtype="bfloat16"), TypeError, "no QR"),
    (lambda: stream().sparse_((3,), 0.5), ValueError, "two axes"),
    (lambda: stream().sparse_((3, 3), 1.5), ValueError, "sparsity be at most 1"),
    (lambda: stream().eye_((3,)), ValueError, "two axes"),
    (lambda: stream().dirac_((3, 3)), ValueError, "three to five axes"),
    (lambda: stream().dirac_((3, 3, 3), groups=2), ValueError, "groups"),
    (lambda: stream().randperm(0), ValueError, "n must be at least 1"),
    (lambda: stream().randperm(2**28), ValueError, "less than 2.32 / 20"),
    (lambda: stream().randint(3, 3, (2,)), ValueError, "greater than low"),
    (lambda: stream().randint(0, 2**31 + 1, (2,)), ValueError, "of int32"),
    (lambda: stream().randint(0.0, 3, (2,)), TypeError, "low must be an integer"),
    (lambda: stream().bernoulli([0.5, 1.5]), ValueError, "from 0 to 1"),
    (lambda: stream().bernoulli([np.nan]), ValueError, "from 0 to 1"),
    (lambda: stream().bernoulli([0.5], dtype="int32"), TypeError, "got int32"),
    (lambda: jax.jit(lambda p: stream().bernoulli(p))(0.5), TypeError, "p must be"),
    (lambda: stream().transformer(5, 2), ValueError, "of num_heads"),
    (lambda: stream().transformer(4, 2, 0), ValueError, "num_encoder_layers must"),
    (lambda: stream().spectral_norm(np.ones(3, "f")), ValueError, "two axes or more"),
    (lambda: stream().spectral_norm(np.ones((3, 3), "i4")), TypeError, "int32"),
    (lambda: stream().linear(0, 3), ValueError, "in_features must be at least 1"),
    (lambda: stream().conv(3, 4, (3,), groups=2), ValueError, "multiple of groups"),
    (lambda: stream().conv(3, 4, (0,)), ValueError, "kernel_size must"),
    (lambda: stream().conv(3, 4, "33"), TypeError, "kernel_size must"),
    (lambda: stream().conv(3, 4, ()), ValueError, "kernel_size must"),
    (lambda: stream().conv(3, 4, None), TypeError, "kernel_size must"),
    (lambda: stream().embedding(3, 4, padding_idx=3), ValueError, "padding_idx must"),
    (lambda: stream().embedding(3, 4, padding_idx=0.0), TypeError, "padding_idx must"),
    (lambda: stream().multihead_attention(5, 2), ValueError, "of num_heads"),
    (lambda: stream().multihead_attention(4, 2, kdim=0), ValueError, "kdim must"),
    (lambda: stream().linear(3, 4, bias="no"), TypeError, "bias must be True or"),
    (lambda: stream().gru_cell(3, 4, bias=None), TypeError, "bias must be True or"),
    (lambda: stream().bilinear(3, 4, 5, bias=1), TypeError, "bias must be True or"),
    (lambda: stream().rnn(3, 4, bidirectional="x"), TypeError, "bidirectional must"),
    (lambda: stream().lstm("3", 4), TypeError, "in_features must be an integer"),
    (lambda: stream().gru(3, 0), ValueError, "hidden_features must be at least"),
    (lambda: stream().batch_stats(0), ValueError, "features must be at least"),
    (lambda: stream().lstm(3, 4, num_layers=0), ValueError, "num_layers must"),
    (lambda: stream().set_state(b"\0" * 16), ValueError, "CUDA"),
    (lambda: stream().set_state(b"\0" * 100), ValueError, "got 100"),
    (lambda: stream().set_state(b"\1" * 5056), ValueError, "other bytes"),
    (lambda: stream().set_state([1.5]), TypeError, "dtype uint8"),
    (lambda: stream().set_state(None), TypeError, "dtype uint8"),
    (lambda: stream().set_state([[1], [1, 2]]), TypeError, "dtype uint8"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_is_refused_draws_nothing():
    refused = stream()
    with pytest.raises(ValueError, match="padding_idx must"):
        refused.embedding(3, 4, padding_idx=3)
    np.testing.assert_array_equal(refused.get_state(), stream().get_state())


@pytest.mark.parametrize("row", [1, -2, np.int64(1)])
def test_the_row_of_the_padding_is_zero_and_drawn(row):
    table = stream().embedding(3, 4, padding_idx=row)["embedding"]
    expected = stream().normal_((3, 4)).at[1].set(0)
    np.testing.assert_array_equal(table, expected)


def test_double_precision_without_it_is_refused_or_warned_of_as_by_jax():
    with pytest.raises((TypeError, ValueError, UserWarning)):
        stream().normal_((3,), dtype="float64")


@pytest.mark.usefixtures("x64")
def test_the_stream_is_of_float32_whatever_x64_says():
    stream = jinit.torch.manual_seed(42)
    drawn = stream.uniform_((3,))  # torch.manual_seed(42); torch.rand(3)
    np.testing.assert_allclose(drawn, [0.88226926, 0.91500396, 0.38286376], rtol=1e-7)
    filled = stream.zeros_((2,)), stream.eye_((2, 2)), stream.constant_((2,), 0.5)
    layer = jax.tree.leaves(stream.lstm_cell(3, 4))
    assert {w.dtype.name for w in (drawn, *filled, *layer)} == {"float32"}


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.transfer_guard("disallow"),
        jax.disable_jit,
        lambda: jax.debug_nans(True),
        jax.checking_leaks,
    ],
    ids=["transfer_guard", "disable_jit", "debug_nans", "checking_leaks"],
)
def test_the_stream_is_the_same_under_any_setting(setting):
    def draw():
        stream = jinit.torch.manual_seed(42)
        return stream.uniform_((40,)), stream.normal_((30, 7)), stream.linear(5, 3)

    expected = draw()
    with setting():
        drawn = draw()
    jax.tree.map(lambda a, b: check_units(a, b, UNITS), drawn, expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda s: s.uniform_((3,)),
        lambda s: s.normal_((20,)),
        lambda s: s.trunc_normal_((5,)),
        lambda s: s.orthogonal_((4, 3)),
        lambda s: s.sparse_((10, 6), 0.3),
        lambda s: s.randperm(20),
        lambda s: s.linear(3, 2)["kernel"],
    ],
    ids=range(7),
)
def test_it_draws_the_same_where_nothing_is_compiled(draw):
    expected = draw(jinit.torch.manual_seed(1))
    with jax.disable_jit():
        drawn = draw(jinit.torch.manual_seed(1))
    np.testing.assert_allclose(drawn, expected, 1e-5, 1e-6)
