"""torch's defaults for a whole tree, and trees filled from torch's stream."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import check_std

import jinit
from jinit.diagnostics import audit
from jinit.model._layers import Unknown
from jinit.rules.torch_state_dict import state_dict_rules


class Model(nn.Module):
    """One of each layer that is recognised."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3))(x)
        x = nn.ConvTranspose(4, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=True)(x).mean((1, 2))
        x = nn.DenseGeneral((2, 4))(x)
        x = nn.DenseGeneral(8, axis=(-2, -1))(x)
        tokens = nn.Embed(5, 8)(jnp.zeros((2, 3), int))
        x = nn.MultiHeadDotProductAttention(2)(tokens + x[:, None][:2])
        for cell in (nn.LSTMCell, nn.GRUCell, nn.SimpleCell):
            x = nn.RNN(cell(6))(x)
        return nn.PReLU()(nn.RMSNorm()(nn.GroupNorm(2)(x)))


TREE = jax.eval_shape(Model().init, jax.random.key(0), jnp.ones((2, 8, 8, 3)))
ROOT_6 = 6**-0.5
BOUNDS = {
    "Conv_0/kernel": 27**-0.5,
    "Conv_0/bias": 27**-0.5,
    "ConvTranspose_0/kernel": 36**-0.5,  # torch counts the outputs
    "ConvTranspose_0/bias": 36**-0.5,
    "DenseGeneral_0/kernel": 4**-0.5,
    "DenseGeneral_0/bias": 4**-0.5,
    "DenseGeneral_1/kernel": 8**-0.5,
    "MultiHeadDotProductAttention_0/query/kernel": (6 / 32) ** 0.5,  # packed
    "MultiHeadDotProductAttention_0/out/kernel": 8**-0.5,
    "LSTMCell_0/ii/kernel": ROOT_6,
    "LSTMCell_0/hi/kernel": ROOT_6,
    "LSTMCell_0/hi/bias": 2 * ROOT_6,  # the sum of two
    "GRUCell_0/ir/bias": 2 * ROOT_6,
    "GRUCell_0/in/bias": ROOT_6,
    "GRUCell_0/hn/bias": ROOT_6,
    "SimpleCell_0/i/bias": 2 * ROOT_6,
    "SimpleCell_0/h/kernel": ROOT_6,
}
FIXED = {
    "params/MultiHeadDotProductAttention_0/query/bias": 0,
    "params/MultiHeadDotProductAttention_0/out/bias": 0,
    "params/BatchNorm_0/scale": 1,
    "params/BatchNorm_0/bias": 0,
    "batch_stats/BatchNorm_0/mean": 0,
    "batch_stats/BatchNorm_0/var": 1,
    "params/GroupNorm_0/bias": 0,
    "params/RMSNorm_0/scale": 1,
    "params/PReLU_0/negative_slope": 0.25,
}


@pytest.fixture(scope="module")
def plan():
    return jinit.plan(TREE, jinit.torch.default_rules())


@pytest.fixture(scope="module")
def members(plan):
    """A function that draws the leaf of a path, 400 times over."""
    entries = {entry.path: entry for entry in plan}
    keys = jax.random.split(jax.random.key(0), 400)

    def drawn(path):
        entry = entries[path]
        return jax.vmap(lambda key: entry.init(key, entry.shape, entry.dtype))(keys)

    return drawn


@pytest.mark.parametrize("name", BOUNDS)
def test_a_leaf_is_drawn_within_the_bound_of_torch(name, members):
    values, bound = np.asarray(members(f"params/{name}")), BOUNDS[name]
    summed = name.endswith("bias") and bound == 2 * ROOT_6
    kurtosis, factor = (2.4, 6) if summed else (1.8, 3)
    assert 0.9 * bound < abs(values).max() <= bound * (1 + 1e-6)
    check_std(values, bound / factor**0.5, kurtosis)


@pytest.mark.parametrize("path", FIXED)
def test_a_leaf_is_what_torch_fills_it_with(path, members):
    assert (members(path) == FIXED[path]).all()


def test_embeddings_are_standard_normal(members):
    check_std(members("params/Embed_0/embedding"), 1)


def test_inputs_of_other_sizes_have_kernels_apart():
    layer = nn.MultiHeadDotProductAttention(2, qkv_features=8, out_features=8)
    inputs = jnp.ones((1, 3, 8)), jnp.ones((1, 3, 4)), jnp.ones((1, 3, 6))
    tree = jax.eval_shape(layer.init, jax.random.key(0), *inputs)
    plan = jinit.plan(tree, jinit.torch.default_rules())
    fans = {
        entry.path: (entry.init.fan_in, entry.init.fan_out)
        for entry in plan
        if "key/kernel" in entry.path
    }
    assert fans == {"params/key/kernel": (4, 8)}


@pytest.mark.slow
def test_an_nnx_model_is_recognised():
    model = nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.Linear(4, 5, rngs=nnx.Rngs(0))
    )
    state = nnx.state(model)
    new = jinit.reinit(jax.random.key(0), state, jinit.torch.default_rules())
    assert abs(new["layers"][0]["bias"].get_value()).max() <= 27**-0.5


@pytest.mark.parametrize(
    "cell", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell]
)
def test_the_cells_of_nnx_are_recognised(cell):
    state = nnx.state(cell(3, 25, rngs=nnx.Rngs(0)), nnx.Param)
    plan = jinit.plan(state, jinit.torch.default_rules())
    for entry in plan:
        if entry.path.endswith("kernel"):
            assert entry.init == jinit.torch.lstm(25)["kernel_init"], entry.path
        else:
            assert entry.init == jinit.torch.triangular(2 / 5), entry.path


def test_rules_may_go_before_them():
    tree = {"head": {"kernel": jax.ShapeDtypeStruct((3, 4), "float32")}}
    rules = {"head/kernel": jinit.zeros()}
    plan = jinit.plan(tree, {**rules, **jinit.torch.default_rules()}, allow_unused=True)
    assert [entry.init for entry in plan] == [jinit.zeros()]


def test_the_plan_goes_through_json(plan):
    assert jinit.Plan.from_json(plan.to_json()) == plan


def test_layers_beside_attention_and_cells_are_no_part_of_them():
    dense = {
        "kernel": jax.ShapeDtypeStruct((8, 8), "float32"),
        "bias": jax.ShapeDtypeStruct((8,), "float32"),
    }
    for names in (ATTENTION, ("i", "h"), ("dense_i", "dense_h")):
        tree = {name: dense for name in (*names, "fc")}
        for entry in jinit.plan(tree, jinit.torch.default_rules()):
            if entry.path.startswith("fc"):
                assert entry.init == jinit.torch.linear(8)["kernel_init"]


ATTENTION = ("query", "key", "value", "out")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"gamma": (3,)}, "not known.*"),
        ({"a": {"bias": (3,)}}, "'a/bias'"),
        ({"a": {"kernel": (3, 4, 5)}}, "rule before for each.*which axes"),
        ({"a": {"kernel": (3, 3, 5), "bias": (3, 5)}}, "which axes"),
        ({"a": {"kernel": (8, 4), "bias": (8,)}}, "which axes"),
        ({"ConvTranspose_0": {"kernel": (3, 3, 4, 8)}}, "without a bias"),
        ({"ConvTranspose_0": {"kernel": (3, 3, 4, 8), "bias": (5,)}}, "does not fit"),
        ({"a": {"kernel": (3, 4), "kernel/scale": (4,)}}, "weight_norm_init"),
        ({"cls": (1, 8), "pos": (9, 8)}, "do not know 2 of them.*'cls'.*'pos'"),
    ],
)
def test_what_is_not_recognised_is_refused(tree, message):
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, "float32"),
        tree,
        is_leaf=lambda node: isinstance(node, tuple),
    )
    with pytest.raises(ValueError, match=message):
        jinit.plan(shapes, jinit.torch.default_rules())


# Trees filled from the stream.

SMALL = {
    "a": {"kernel": jax.ShapeDtypeStruct((3, 2), "float32")},
    "b": jax.ShapeDtypeStruct((4,), "float32"),
}


def linear(stream):
    return stream.linear(3, 2, bias=False)


def vector(stream):
    return stream.uniform_((4,))


def test_layers_are_drawn_in_their_order():
    stream = jinit.torch.manual_seed(5)
    b, _, a = vector(stream), stream.uniform_((7,)), linear(stream)
    layers = [("b", vector), (None, lambda s: s.uniform_((7,))), ("a", linear)]
    tree = jinit.torch.like(SMALL, layers, 5)
    np.testing.assert_array_equal(tree["a"]["kernel"], a["kernel"])
    np.testing.assert_array_equal(tree["b"], b)


def test_a_later_layer_replaces_and_a_stream_goes_on():
    stream = jinit.torch.manual_seed(5)
    layers = [("a", linear), ("b", vector), ("b", vector)]
    tree = jinit.torch.like(SMALL, layers, stream)
    other = jinit.torch.manual_seed(5)
    linear(other), vector(other)
    np.testing.assert_array_equal(tree["b"], vector(other))
    np.testing.assert_array_equal(stream.uniform_((3,)), other.uniform_((3,)))


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([("a", linear)], ValueError, "none gives 'b'"),
        ([("c", linear)], ValueError, "no 'c/kernel'"),
        ([("a", lambda s: s.linear(3, 2))], ValueError, "no 'a/bias'"),
        ([("a", lambda s: s.linear(2, 3, bias=False))], ValueError, "has shape"),
        ([("b", lambda s: 1.0)], ValueError, "'b'"),
        ([linear], TypeError, "must be a pair"),
        ([("a", 3)], TypeError, "must be a pair"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, error, message):
    with pytest.raises(error, match=message):
        jinit.torch.like(SMALL, layers, 0)


# A state_dict in Flax's layout, and the bound of each uniform leaf, or what it is.
STATE_DICT = {
    "conv.weight": ((3, 3, 8, 16), 72**-0.5),
    "bn.weight": ((16,), jinit.ones()),
    "bn.bias": ((16,), jinit.zeros()),
    "bn.running_var": ((16,), jinit.ones()),
    "act.weight": ((1,), jinit.constant(0.25)),
    "tok_emb.weight": ((10, 4), jinit.normal()),
    "attn.in_proj_weight": ((8, 24), (6 / 32) ** 0.5),
    "attn.in_proj_bias": ((24,), jinit.zeros()),
    "attn.out_proj.weight": ((8, 8), 8**-0.5),
    "attn.out_proj.bias": ((8,), jinit.zeros()),
    "cross.q_proj_weight": ((8, 8), (6 / 16) ** 0.5),
    "fc.weight": ((8, 4), 8**-0.5),
    "fc.bias": ((4,), 8**-0.5),
    "rnn.weight_ih_l0": ((3, 20), 5**-0.5),
    "rnn.weight_hh_l0": ((5, 20), 5**-0.5),
    "rnn.bias_ih_l0": ((20,), 5**-0.5),
    "cell.weight_ih": ((3, 20), 5**-0.5),
    "cell.weight_hh": ((5, 20), 5**-0.5),
    "lstm.weight_ih_l0_reverse": ((3, 128), 32**-0.5),  # proj_size=16 of hidden 32
    "lstm.weight_hh_l0_reverse": ((16, 128), 32**-0.5),
    "lstm.bias_ih_l0_reverse": ((128,), 32**-0.5),
    "lstm.bias_hh_l0_reverse": ((128,), 32**-0.5),
    "lstm.weight_hr_l0_reverse": ((32, 16), 32**-0.5),
    "ln2d.weight": ((32, 8), jinit.ones()),
    "ln2d.bias": ((32, 8), jinit.zeros()),
    "ln3d.weight": ((4, 32, 8), jinit.ones()),
    "ln3d.bias": ((4, 32, 8), jinit.zeros()),
    "rms_norm.weight": ((16,), jinit.ones()),
    "ln_f.weight": ((16,), jinit.ones()),
    "prelu1.weight": ((16,), jinit.constant(0.25)),
}


def test_a_state_dict_is_known_by_names_and_shapes():
    shapes = {path: shape for path, (shape, _) in STATE_DICT.items()}
    rule = state_dict_rules({})["**"]
    for path, (shape, expected) in STATE_DICT.items():
        found = rule(path, shape, shapes)
        if isinstance(expected, float):
            expected = jinit.uniform(a=-expected, b=expected)
        law = expected.law(shape)
        assert found.law(shape).std == pytest.approx(law.std, rel=1e-12), path
        assert found.law(shape).mean == law.mean, path
    with pytest.raises(Unknown, match="not known"):
        rule("x.odd", (3,), shapes)
    with pytest.raises(Unknown, match="may be of an RMSNorm"):
        rule("net.1.weight", (16,), {"net.1.weight": (16,)})


OF_TORCH = {
    "LSTM": lambda nn: nn.LSTM(24, 32, num_layers=2, bidirectional=True),
    "LSTM, projected": lambda nn: nn.LSTM(24, 32, proj_size=16),
    "GRU": lambda nn: nn.GRU(24, 32),
    "RNN": lambda nn: nn.RNN(24, 32),
    "LSTMCell": lambda nn: nn.LSTMCell(24, 32),
    "LayerNorm": lambda nn: nn.LayerNorm(32),
    "LayerNorm of two axes": lambda nn: nn.LayerNorm((8, 32)),
    "LayerNorm of three axes": lambda nn: nn.LayerNorm((4, 8, 32)),
    "RMSNorm": lambda nn: nn.RMSNorm(32),
    "PReLU": lambda nn: nn.PReLU(),
    "PReLU of channels": lambda nn: nn.PReLU(32),
    "BatchNorm": lambda nn: nn.BatchNorm2d(32),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_what_torch_builds_has_no_finding(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    state = torch.nn.Sequential(OF_TORCH[name](torch.nn)).state_dict()
    report = audit({path: w.numpy() for path, w in state.items()}, "torch")
    assert report.findings == ()
    known = [leaf for leaf in report.leaves if leaf.init]
    unsure = name in ("RMSNorm", "PReLU of channels") or "BatchNorm" in name
    assert len(report.leaves) - len(known) == unsure  # num_batches_tracked is a count
