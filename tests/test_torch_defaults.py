"""The distributions of torch's modules, in the layers of flax.linen and flax.nnx."""

import inspect
import math
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_double, check_distribution, check_mean, check_std

import jinit
from jinit import torch
from jinit.torch import _defaults

KURTOSIS = {"uniform": 1.8, "triangular": 2.4}
DIVISOR = {"uniform": 3, "triangular": 6}  # of the squared bound, for the variance
INPUTS, HIDDEN, FEATURES = 12, 150, 96


class Case(NamedTuple):
    """What initializes a layer, the layers, and the bounds of their parameters.

    Parameters are named by their paths. Those of one distribution are tested together.
    """

    inits: dict[str, Any]
    linen: Callable[..., nn.Module]
    inputs: tuple[tuple[int, ...], ...]
    nnx: Callable[..., nnx.Module]
    linen_bounds: Mapping[str, tuple[str, float]]
    nnx_bounds: Mapping[str, tuple[str, float]] | None = None  # None: those of linen


def uniform(names, bound):
    return dict.fromkeys(names.split(), ("uniform", bound))


def triangular(names, bound):
    return dict.fromkeys(names.split(), ("triangular", bound))


ROOT = 1 / math.sqrt(HIDDEN)
LAYERS = {
    "linear": Case(
        torch.linear(in_features=12),
        *(partial(nn.Dense, 500), ((1, 12),)),
        partial(nnx.Linear, 12, 500),
        uniform("kernel bias", 1 / math.sqrt(12)),
    ),
    "conv": Case(
        torch.conv(in_features=4, kernel_size=(3, 2)),
        *(partial(nn.Conv, 300, (3, 2)), ((1, 4, 4, 4),)),
        partial(nnx.Conv, 4, 300, (3, 2)),
        uniform("kernel bias", 1 / math.sqrt(4 * 6)),
    ),
    "conv of groups": Case(
        torch.conv(in_features=8, kernel_size=3, groups=4),
        *(partial(nn.Conv, 400, 3, feature_group_count=4), ((1, 4, 8),)),
        partial(nnx.Conv, 8, 400, 3, feature_group_count=4),
        uniform("kernel bias", 1 / math.sqrt(2 * 3)),
    ),
    "conv_transpose": Case(
        torch.conv_transpose(out_features=200, kernel_size=[2, 3]),
        *(partial(nn.ConvTranspose, 200, (2, 3)), ((1, 4, 4, 3),)),
        partial(nnx.ConvTranspose, 3, 200, (2, 3)),
        uniform("kernel bias", 1 / math.sqrt(200 * 6)),
    ),
    "rnn": Case(
        torch.rnn(hidden_features=HIDDEN),
        *(partial(nn.SimpleCell, HIDDEN), ((1, HIDDEN), (1, INPUTS))),
        partial(nnx.SimpleCell, INPUTS, HIDDEN),
        uniform("i/kernel h/kernel", ROOT) | triangular("i/bias", 2 * ROOT),
        uniform("dense_i/kernel dense_h/kernel", ROOT)
        | triangular("dense_i/bias", 2 * ROOT),
    ),
    "gru": Case(
        torch.gru(hidden_features=HIDDEN),
        *(partial(nn.GRUCell, HIDDEN), ((1, HIDDEN), (1, INPUTS))),
        partial(nnx.GRUCell, INPUTS, HIDDEN),
        uniform("ir/kernel iz/kernel in/kernel", ROOT)
        | uniform("hr/kernel hz/kernel hn/kernel", ROOT)
        | triangular("ir/bias iz/bias in/bias hn/bias", 2 * ROOT),
        uniform("dense_i/kernel dense_h/kernel", ROOT)
        | triangular("dense_i/bias", 2 * ROOT),
    ),
    "attention": Case(
        torch.multihead_attention(FEATURES),
        *(partial(nn.MultiHeadDotProductAttention, 4), ((1, 2, FEATURES),)),
        partial(nnx.MultiHeadAttention, 4, FEATURES, decode=False),
        uniform("query/kernel key/kernel value/kernel", math.sqrt(6 / (4 * FEATURES)))
        | uniform("out/kernel", 1 / math.sqrt(FEATURES))
        | uniform("query/bias key/bias value/bias out/bias", 0),
    ),
    "separate attention": Case(
        torch.multihead_attention(FEATURES, packed=False),
        partial(nn.MultiHeadDotProductAttention, 4),
        ((1, 2, FEATURES), (1, 2, 40), (1, 2, 40)),
        partial(nnx.MultiHeadAttention, 4, FEATURES, in_kv_features=40, decode=False),
        uniform("query/kernel", math.sqrt(6 / (FEATURES + FEATURES)))
        | uniform("key/kernel value/kernel", math.sqrt(6 / (40 + FEATURES)))
        | uniform("out/kernel", 1 / math.sqrt(FEATURES))
        | uniform("query/bias key/bias value/bias out/bias", 0),
    ),
}
LSTM_CELLS = {
    "LSTMCell": uniform("ii/kernel if_/kernel ig/kernel io/kernel", ROOT)
    | uniform("hi/kernel hf/kernel hg/kernel ho/kernel", ROOT)
    | triangular("hi/bias hf/bias hg/bias ho/bias", 2 * ROOT),
    "OptimizedLSTMCell": uniform("dense_i/kernel dense_h/kernel", ROOT)
    | triangular("dense_h/bias", 2 * ROOT),
}
for name, nnx_bounds in LSTM_CELLS.items():
    LAYERS[name] = Case(
        torch.lstm(hidden_features=HIDDEN),
        partial(getattr(nn, name), HIDDEN),
        (((1, HIDDEN), (1, HIDDEN)), (1, INPUTS)),
        partial(getattr(nnx, name), INPUTS, HIDDEN),
        uniform("ii/kernel if/kernel ig/kernel io/kernel", ROOT)
        | uniform("hi/kernel hf/kernel hg/kernel ho/kernel", ROOT)
        | triangular("hi/bias hf/bias hg/bias ho/bias", 2 * ROOT),
        nnx_bounds,
    )
NORMS = {
    "batch_norm": (
        partial(nn.BatchNorm, use_running_average=True),
        partial(nnx.BatchNorm, 8),
    ),
    "layer_norm": (nn.LayerNorm, partial(nnx.LayerNorm, 8)),
    "group_norm": (partial(nn.GroupNorm, 2), partial(nnx.GroupNorm, 8, 2)),
}
parametrize_layers = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
parametrize_norms = pytest.mark.parametrize("name", NORMS)


def linen_parameters(layer, shapes, key):
    def is_shape(shape):
        return isinstance(shape[0], int)

    arguments = jax.tree.map(jnp.ones, shapes, is_leaf=is_shape)
    return by_path(layer.init(key, *arguments)["params"])


def nnx_parameters(layer):
    return by_path(nnx.to_pure_dict(nnx.state(layer, nnx.Param)))


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): w for p, w in leaves}


def check_parameters(params, bounds):
    """Asserts the parameters that there are, their bounds and deviations."""
    assert set(params) == set(bounds)
    for kind, bound in set(bounds.values()):
        names = [name for name in bounds if bounds[name] == (kind, bound)]
        weights = np.concatenate([as_double(params[name]).ravel() for name in names])
        assert abs(weights).max() <= bound * (1 + 1e-6)
        if bound:
            check_mean(weights, 0, bound / math.sqrt(DIVISOR[kind]))
            check_std(weights, bound / math.sqrt(DIVISOR[kind]), KURTOSIS[kind])


@parametrize_layers
def test_a_linen_layer_has_the_distributions_of_torch(case, key):
    params = linen_parameters(case.linen(**case.inits), case.inputs, key)
    check_parameters(params, case.linen_bounds)


@parametrize_layers
def test_an_nnx_layer_has_the_distributions_of_torch(case):
    layer = case.nnx(**case.inits, rngs=nnx.Rngs(0))
    bounds = case.linen_bounds if case.nnx_bounds is None else case.nnx_bounds
    check_parameters(nnx_parameters(layer), bounds)


def test_a_bilinear_kernel_has_the_bound_of_the_first_inputs(key):
    inits = torch.bilinear(in1_features=30)
    params = {
        "kernel": inits["kernel_init"](key, (30, 4, 50)),
        "bias": inits["bias_init"](key, (50,)),
    }
    check_parameters(params, uniform("kernel bias", 1 / math.sqrt(30)))


@parametrize_norms
def test_a_normalization_has_a_scale_of_one_and_no_bias(name, key):
    linen, in_nnx = NORMS[name]
    inits = getattr(torch, name)()
    expected = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    params = linen_parameters(linen(**inits), ((2, 8),), key)
    chex.assert_trees_all_equal(params, expected)
    params = nnx_parameters(in_nnx(**inits, rngs=nnx.Rngs(0)))
    chex.assert_trees_all_equal(params, expected)


@pytest.mark.parametrize("function", [torch.rnn, torch.lstm, torch.gru])
def test_the_bias_of_a_cell_is_the_sum_of_two_up_to_an_inverse_root(function):
    assert function(16)["bias_init"] == torch.triangular(2 * 0.25)


# Embeddings


@pytest.mark.parametrize("row", [0, 3, -1])
def test_an_embedding_is_normal_but_for_the_padding(row, key):
    inits = torch.embedding(padding_idx=row)
    linen = nn.Embed(100, 20, **inits).init(key, jnp.zeros(1, int))["params"]
    in_nnx = nnx.Embed(100, 20, **inits, rngs=nnx.Rngs(0)).embedding[...]
    for table in (linen["embedding"], in_nnx):
        np.testing.assert_array_equal(table[row], np.zeros(20))
        check_std(np.delete(table, row, 0), 1)


def test_an_embedding_without_padding_is_normal():
    assert torch.embedding() == {"embedding_init": jinit.normal()}


def test_the_other_rows_are_those_of_the_initializer_within(key):
    init = jinit.orthogonal()
    table = torch.zero_row(init, -2)(key, (6, 4))
    expected = init(key, (6, 4)).at[4].set(0)
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64", "int8", "bool"])
def test_a_row_of_zeros_has_the_dtype_asked_for(dtype):
    table = torch.zero_row(jinit.ones, 0)(None, (2, 3), dtype)
    assert table.dtype == dtype
    np.testing.assert_array_equal(as_double(table), [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("shape", [(3, 2), (), (0, 2)])
def test_a_table_without_the_row_is_refused(shape, key):
    with pytest.raises(ValueError, match=r"index must be one of the \d rows"):
        torch.zero_row(jinit.normal(), 3)(key, shape)


def test_what_the_initializer_within_refuses_is_refused(key):
    with pytest.raises(TypeError, match="draws floating-point"):
        torch.zero_row(jinit.normal(), 0)(key, (3, 2), "int32")


def test_a_row_of_zeros_has_its_share_of_the_law():
    law = torch.zero_row(jinit.normal(), 0).law((3, 2))
    assert law.zeros == pytest.approx(1 / 3)
    assert law.std == pytest.approx((2 / 3) ** 0.5)


# The triangular distribution


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_triangular_has_the_distribution_claimed(dtype, key, x64):
    w = torch.triangular(0.5)(key, (40_000,), dtype)

    def cdf(x):
        x = np.clip(x / 0.5, -1, 1)
        return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)

    assert w.dtype == dtype
    assert abs(as_double(w)).max() <= 0.5
    check_distribution(w, cdf)
    check_std(w, 0.5 / math.sqrt(6), KURTOSIS["triangular"])


def test_a_complex_triangular_has_the_variance_of_a_real_one(key):
    w = torch.triangular(0.5)(key, (40_000,), "complex64")
    # Of each part: E x⁴ / (E x²)² = 2.4, and so of the modulus 2.4 / 2 + 1 / 2.
    check_std(w, 0.5 / math.sqrt(6), kurtosis=1.7)
    assert abs(as_double(w)).max() <= 0.5


def test_triangular_is_the_sum_of_two_uniform_draws(key):
    w = torch.triangular(0.5)(key, (1000,))
    halves = [
        jinit.uniform(a=-0.25, b=0.25)(each, (1000,)) for each in jax.random.split(key)
    ]
    np.testing.assert_allclose(w, halves[0] + halves[1], atol=1e-7)


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_triangular_has_the_same_bits_compiled_and_not(dtype, key):
    init = torch.triangular(0.3)
    compiled = jax.jit(lambda key: init(key, (1000,), dtype))(key)
    np.testing.assert_array_equal(compiled, init(key, (1000,), dtype))


def test_triangular_takes_a_traced_bound(key):
    bounds = jnp.array([0.25, 0.5])
    swept = jax.vmap(lambda bound: torch.triangular(bound)(key, (100,)))(bounds)
    alone = [torch.triangular(bound)(key, (100,)) for bound in (0.25, 0.5)]
    np.testing.assert_array_equal(swept, jnp.stack(alone))


def test_the_deviation_of_triangular_is_known():
    std = torch.triangular(3).law((5,)).std
    np.testing.assert_allclose(std, math.sqrt(3 / 2))


# Transformers


def test_an_encoder_layer_has_the_layers_of_torch():
    assert torch.transformer_encoder_layer(8) == {
        "self_attn": torch.multihead_attention(8),
        "linear1": torch.linear(8),
        "linear2": torch.linear(2048),
        "norm1": torch.layer_norm(),
        "norm2": torch.layer_norm(),
    }


def test_a_decoder_layer_has_those_of_the_encoder_and_two_more():
    extra = {
        "multihead_attn": torch.multihead_attention(8),
        "norm3": torch.layer_norm(),
    }
    encoder = torch.transformer_encoder_layer(8, 16)
    assert torch.transformer_decoder_layer(8, 16) == encoder | extra


# Values

VALUES = {
    "triangular(0.5)": lambda: torch.triangular(0.5),
    "zero_row(normal(), 2)": lambda: torch.zero_row(jinit.normal(), np.int64(2)),
    "zero_row(ones(), -1)": lambda: torch.zero_row(jinit.ones, -1),
}
parametrize_values = pytest.mark.parametrize("text", VALUES)


@parametrize_values
def test_an_initializer_prints_as_the_call_that_makes_it(text):
    assert repr(VALUES[text]()) == text
    assert eval(text, vars(jinit) | vars(torch)) == VALUES[text]()


@parametrize_values
def test_an_initializer_is_a_value(text, key):
    one, other = VALUES[text](), VALUES[text]()
    assert one == other
    assert hash(one) == hash(other)
    unpickled = pickle.loads(pickle.dumps(one))
    assert unpickled == one
    np.testing.assert_array_equal(unpickled(key, (4, 3)), one(key, (4, 3)))


@parametrize_layers
def test_modules_built_alike_are_equal(case):
    assert case.linen(**case.inits) == case.linen(**case.inits)
    assert hash(case.linen(**case.inits)) == hash(case.linen(**case.inits))


def test_initializers_of_other_sizes_differ():
    assert torch.linear(3) != torch.linear(4)
    assert torch.embedding(padding_idx=0) != torch.embedding(padding_idx=1)
    assert torch.triangular(1) != torch.triangular(2)


def test_sharded_draws_are_those_of_one_device(key):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    for init in (torch.triangular(0.5), torch.zero_row(jinit.normal(), 3)):
        sharded = init(key, (4, 6), out_sharding=sharding)
        assert sharded.sharding == sharding
        np.testing.assert_array_equal(sharded, init(key, (4, 6)))


# Bad input

SIZED = {
    "in_features": (torch.linear, partial(torch.conv, kernel_size=3)),
    "out_features": (partial(torch.conv_transpose, kernel_size=3),),
    "groups": (partial(torch.conv, 4, 3),),
    "in1_features": (torch.bilinear,),
    "hidden_features": (torch.rnn, torch.lstm, torch.gru),
    "features": (
        torch.multihead_attention,
        torch.transformer_encoder_layer,
        torch.transformer_decoder_layer,
    ),
    "mlp_features": (
        partial(torch.transformer_encoder_layer, 8),
        partial(torch.transformer_decoder_layer, 8),
    ),
    "kernel_size": (partial(torch.conv, 4), partial(torch.conv_transpose, 4)),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_size_is_an_integer_of_at_least_one(name):
    for function in SIZED[name]:
        with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got 0"):
            function(**{name: 0})
        for wrong in (2.5, True, None, "3"):
            with pytest.raises(TypeError, match=rf"^{name} must be an integer"):
                function(**{name: wrong})


@pytest.mark.parametrize("function", [torch.conv, torch.conv_transpose])
def test_a_kernel_has_a_size_for_each_spatial_axis(function):
    with pytest.raises(ValueError, match="kernel_size must not be empty"):
        function(4, ())
    with pytest.raises(ValueError, match="kernel_size must be at least 1, got 0"):
        function(4, (3, 0))
    with pytest.raises(TypeError, match="kernel_size must be an integer, got 'a'"):
        function(4, ("a", 3))


def test_groups_divide_the_channels():
    with pytest.raises(ValueError, match="multiple of groups, got in_features=4"):
        torch.conv(4, 3, groups=3)


@pytest.mark.parametrize("row", [1.0, True, "0"])
def test_a_padding_is_the_number_of_a_row(row):
    with pytest.raises(TypeError, match="padding_idx must be an integer"):
        torch.embedding(padding_idx=row)
    with pytest.raises(TypeError, match="index must be an integer"):
        torch.zero_row(jinit.normal(), row)


def test_a_size_of_the_table_is_not_taken_for_a_padding():
    with pytest.raises(TypeError, match="positional"):
        torch.embedding(1000)


def test_packed_is_a_flag():
    with pytest.raises(TypeError, match="packed must be True or False, got 1"):
        torch.multihead_attention(8, packed=1)


def test_a_factory_within_a_row_of_zeros_is_to_be_called():
    with pytest.raises(TypeError, match=r"jinit\.torch\.zero_row\(jinit\.normal\(\)"):
        torch.zero_row(jinit.normal, 0)


@pytest.mark.parametrize(
    ("bound", "error"),
    [(-1, ValueError), (math.inf, ValueError), ("1", TypeError), (None, TypeError)],
)
def test_a_bound_is_a_finite_number(bound, error):
    with pytest.raises(error, match="bound must be"):
        torch.triangular(bound)


def test_a_bound_beyond_the_dtype_is_refused(key):
    with pytest.raises(ValueError, match="bound"):
        torch.triangular(1e39)(key, (3,), "float16")


def test_every_public_name_is_exported_and_documented():
    for name, value in vars(_defaults).items():
        if getattr(value, "__module__", "") != _defaults.__name__ or name[0] == "_":
            continue
        assert getattr(torch, name) is value
        documentation = inspect.getdoc(value)
        # The source is a section of its own only where it says more than the name.
        for part in ("Example:", "`torch.nn.", ">>>"):
            assert part in documentation, name
