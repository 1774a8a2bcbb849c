"""One tree, however it is boxed, stacked and stored: the same paths, and one audit.

Tables of layers x wrappers and of trees x stores: what Flax draws by default has no
finding, and one kernel of half the deviation has one.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState

import jinit
from jinit.audit._checkpoints import read_checkpoint
from jinit.diagnostics import audit
from jinit.rules import rules_of

KEY = jax.random.key(0)
IMAGE, TOKENS = jnp.ones((2, 8, 8, 16)), jnp.ones((2, 6, 16))
CONV = {"features": 24, "kernel_size": (3, 3)}
LAYERS = {
    "Dense": (nn.Dense(32), TOKENS),
    "Dense without bias": (nn.Dense(32, use_bias=False), TOKENS),
    "DenseGeneral": (nn.DenseGeneral(24, axis=(-2, -1)), TOKENS),
    "Conv": (nn.Conv(**CONV), IMAGE),
    "Conv without bias": (nn.Conv(**CONV, use_bias=False), IMAGE),
    "Conv of one axis": (nn.Conv(24, (3,)), TOKENS),
    "depthwise": (nn.Conv(32, (3, 3), feature_group_count=16), IMAGE),
    "ConvTranspose": (nn.ConvTranspose(**CONV), IMAGE),
    "ConvTranspose, transposed": (
        nn.ConvTranspose(**CONV, transpose_kernel=True),
        IMAGE,
    ),
    "attention": (nn.MultiHeadDotProductAttention(4), TOKENS),
    "attention without bias": (
        nn.MultiHeadDotProductAttention(4, use_bias=False),
        TOKENS,
    ),
    "Embed": (nn.Embed(50, 32), jnp.zeros((2, 3), int)),
    "LayerNorm": (nn.LayerNorm(), TOKENS),
    "BatchNorm": (nn.BatchNorm(use_running_average=True), TOKENS),
    "WeightNorm": (nn.WeightNorm(nn.Dense(32)), TOKENS),
    "PReLU": (nn.PReLU(), TOKENS),
    "LSTM": (nn.RNN(nn.LSTMCell(24)), TOKENS),
    "optimized LSTM": (nn.RNN(nn.OptimizedLSTMCell(24)), TOKENS),
    "GRU": (nn.RNN(nn.GRUCell(24)), TOKENS),
    "MGU": (nn.RNN(nn.MGUCell(24)), TOKENS),
    "RNN": (nn.RNN(nn.SimpleCell(24)), TOKENS),
}


class Model(nn.Module):
    """Every layer side by side, and a norm, which shows a stack; without inputs."""

    names: tuple[str, ...]

    @nn.compact
    def __call__(self, carry, _):
        nn.LayerNorm()(jnp.ones((2, 16)))
        for name in self.names:
            module, x = LAYERS[name]
            module.copy(name=f"{name}_{type(module).__name__}")(x)
        return carry, None


LIFTED = {"variable_axes": {"params": 0, "batch_stats": 0}}
SPLIT = {"split_rngs": {"params": True}}


def plain(names):
    return lambda key: Model(names).init(key, 0.0, None)


def scanned(names):
    lifted = nn.scan(Model, **LIFTED, **SPLIT, length=5)
    return lambda key: lifted(names).init(key, 0.0, None)


def mapped(names):
    lifted = nn.vmap(Model, **LIFTED, **SPLIT, in_axes=(None, None), axis_size=5)
    return lambda key: lifted(names).init(key, 0.0, None)


def remat(names):
    return lambda key: nn.remat(Model)(names).init(key, 0.0, None)


def ensemble(names):
    return lambda key: jax.vmap(plain(names))(jax.random.split(key, 5))


WRAPPERS = [plain, scanned, mapped, remat, ensemble]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_defaults_of_flax_have_no_finding(wrap):
    params = jinit.jit_init(wrap(tuple(LAYERS)))(KEY)
    for rules in ("flax", None):
        report = audit(params, rules)
        assert report.findings == ()
    known = [leaf for leaf in audit(params, "flax").leaves if leaf.init]
    assert len(known) > len(report.leaves) - 3  # all but what is normalized


NOT_TORCHS = {"MGU", "WeightNorm"}


@pytest.mark.parametrize("wrap", WRAPPERS[1:])
def test_every_layer_of_a_stack_is_planned_as_one_alone(wrap):
    names = tuple(name for name in LAYERS if name not in NOT_TORCHS)
    one, many = (
        jinit.plan(jax.eval_shape(f(names), KEY), jinit.torch.default_rules())
        for f in (plain, wrap)
    )
    laws = [{e.path: e.init.law(e.shape) for e in made} for made in (one, many)]
    assert laws[0] == laws[1]


def of_boxes(names, axis, run=jax.eval_shape):
    """Layers without a norm beside them, and a stack of five, as `nn.scan` boxes it."""
    keys = jax.random.split(KEY, 5)
    one = jax.eval_shape(plain(names), KEY)
    many = run(jax.vmap(plain(names), out_axes=axis), keys)
    for tree in (one, many):
        del tree["params"]["LayerNorm_0"]
    boxes = jax.tree.map(lambda w: nn.Partitioned(w, tuple("abcd")[: w.ndim]), one)
    boxes = nn.meta.add_axis(boxes, axis, {nn.PARTITION_NAME: "layers"})
    return one, nn.meta.replace_boxed(boxes, many)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", [n for n in LAYERS if n not in NOT_TORCHS | {"PReLU"}])
def test_the_names_of_axes_show_a_stack(name, axis):
    one, many = of_boxes((name,), axis)
    for rules in (jinit.torch.default_rules(), rules_of("flax")):
        laws = [
            {e.path: e.init.law(e.shape) for e in jinit.plan(tree, rules)}
            for tree in (one, many)
        ]
        assert laws[0] == laws[1]


def test_what_is_boxed_is_audited_with_the_names_of_its_axes():
    names = ("Dense without bias", "Conv without bias", "RNN")
    _, many = of_boxes(names, 1, run=lambda f, keys: jinit.jit_init(f)(keys))
    for report in (audit(many, "flax"), audit({"a": many}, "flax", subtree="a")):
        assert report.findings == report.notes == ()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_bias_without_names_has_the_axes_of_its_kernel(axis):
    init = nn.with_partitioning(jinit.lecun_normal(), ("embed", "mlp"))
    named = {"metadata_params": {nn.PARTITION_NAME: "layers"}, "axis_size": 5}
    lifted = {"variable_axes": {"params": axis}, **SPLIT, **named, "in_axes": None}
    layers = nn.vmap(nn.Dense, **lifted)(16, kernel_init=init, name="a")
    tree = jax.eval_shape(layers.init, KEY, TOKENS)
    for entry in jinit.plan(tree, jinit.torch.default_rules()):
        assert entry.init.law(entry.shape).std == pytest.approx(1 / 48**0.5)


def test_names_in_the_state_of_nnx_show_a_stack():
    init = nnx.with_partitioning(jinit.lecun_normal(), ("embed", "mlp"))

    @nnx.split_rngs(splits=5)
    @nnx.vmap(out_axes=1, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def layers(rngs):
        return nnx.Linear(16, 32, use_bias=False, kernel_init=init, rngs=rngs)

    mesh = jax.make_mesh((1, 1, 1), ("layers", "embed", "mlp"))
    with jax.set_mesh(mesh):
        state = nnx.state(layers(nnx.Rngs(0)), nnx.Param)
    (entry,) = jinit.plan(state, jinit.torch.default_rules())
    assert entry.shape == (16, 5, 32)
    assert entry.init == jinit.torch.linear(16)["kernel_init"]


def box(shape, *names):
    return nn.Partitioned(jax.ShapeDtypeStruct(shape, "float32"), names)


@pytest.mark.parametrize(
    "layer",
    [
        {"kernel": box((5, 6, 6), "a", "b", "c")},  # no name of a stack
        {"kernel": box((5, 6, 2, 3), "layers", "a", "b", "c")},  # several of one side
        {"kernel": box((5, 6, 6), "layers", "b", "c"), "bias": box((6,), "c")},
        {"kernel": box((6, 6), "layers", "b")},
    ],
)
def test_names_that_do_not_tell_or_contradict_are_refused(layer):
    for rules in (jinit.torch.default_rules(), rules_of("flax")):
        with pytest.raises(ValueError, match="which axes of a kernel"):
            jinit.plan({"a": layer}, {"**/bias": None, **rules}, allow_unused=True)
    norm = {"scale": box((3, 5, 6), None, "layers", "b")}
    many = {"kernel": box((3, 5, 6, 6), None, "layers", "b", "c")}
    with pytest.raises(ValueError, match="which axes of a kernel"):
        jinit.plan({"a": many, "norm": norm}, jinit.torch.default_rules())


NORMED = {
    "Linear": lambda r: nnx.Linear(16, 32, rngs=r),
    "Conv": lambda r: nnx.Conv(16, 24, (3, 3), rngs=r),
    "ConvTranspose": lambda r: nnx.ConvTranspose(16, 24, (3, 3), rngs=r),
    "attention": lambda r: nnx.MultiHeadAttention(4, 16, decode=False, rngs=r),
    "LSTM": lambda r: nnx.LSTMCell(16, 24, rngs=r),
}


@pytest.mark.parametrize("axes", [-1, (-2, -1)])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", NORMED)
def test_the_scales_of_a_weight_norm_are_no_kernels(name, deep, axes):
    keys = nnx.Rngs(0)
    norm = nnx.WeightNorm(NORMED[name](keys), feature_axes=axes, rngs=keys)
    state = nnx.state(nnx.Sequential(norm) if deep else norm)
    report = audit(state, "flax")
    assert report.findings == report.notes == ()
    scales = [leaf for leaf in report.leaves if "scales" in leaf.path]
    assert {leaf.init for leaf in scales} == {"ones()"}
    with pytest.raises(ValueError, match="weight_norm_init"):
        jinit.plan(state, jinit.torch.default_rules())


@pytest.mark.parametrize("shape", [(), (32,)])
@pytest.mark.parametrize("name", ["scales", "Dense_0", "Conv_0", "ConvTranspose_0"])
def test_a_kernel_of_less_than_two_axes_is_no_kernel(name, shape):
    tree = {name: {"kernel": jax.ShapeDtypeStruct(shape, "float32")}}
    for rules in (jinit.torch.default_rules(), rules_of("flax")):
        with pytest.raises(ValueError, match="which axes of a kernel"):
            jinit.plan(tree, rules)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone_is_known_too(name):
    params = jinit.jit_init(plain((name,)))(KEY)
    assert audit(params, "flax").findings == audit(params).findings == ()


@pytest.mark.parametrize(
    ("name", "layer", "x", "known"),
    [
        ("ConvLocal_0", nn.ConvLocal(8, (3, 3)), IMAGE, 2),
        ("DenseGeneral_0", nn.DenseGeneral(24, batch_dims=(0,)), jnp.ones((6, 16)), 2),
        ("Einsum_0", nn.Einsum((5, 16, 8), "btd,edk->btek"), TOKENS, 2),
    ],
)
def test_axes_that_flax_counts_as_inputs_are_no_stack(name, layer, x, known):
    report = audit({name: layer.init(KEY, x)["params"]}, "flax")
    assert report.findings == ()
    assert sum(leaf.init is not None for leaf in report.leaves) == known


HEADS = {  # of names and shapes that do not tell DenseGeneral, Einsum and a stack
    "several features": nn.DenseGeneral((3, 8, 8)),
    "several axes": nn.DenseGeneral(24, axis=(-2, -1), use_bias=False),
    "no bias": nn.DenseGeneral((8, 8), use_bias=False),
    "einsum": nn.Einsum((16, 8, 8), "btd,dhk->bthk"),
    "einsum without bias": nn.Einsum((16, 8, 8), "btd,dhk->bthk", use_bias=False),
    "stack": nn.vmap(nn.Dense, {"params": 0}, SPLIT["split_rngs"])(16, use_bias=False),
    "nnx": lambda keys: nnx.LinearGeneral(16, (8, 8), rngs=keys),
    "nnx without bias": lambda keys: nnx.LinearGeneral(
        (8, 8), 16, axis=(-2, -1), use_bias=False, rngs=keys
    ),
    "nnx with LoRA": lambda keys: nnx.LoRALinear(64, 64, lora_rank=4, rngs=keys),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_kernel_of_several_axes_is_known_by_its_deviation(name):
    layer = HEADS[name]
    for seed in range(3):
        if isinstance(layer, nn.Module):
            tree = layer.init(jax.random.key(seed), TOKENS)["params"]
        else:
            tree = nnx.to_pure_dict(nnx.state(layer(nnx.Rngs(seed))))
        kernel = np.asarray(tree["kernel"])
        for changed in (kernel, 1.1 * kernel, kernel + 0.2 * kernel.std(), 0 * kernel):
            report = audit({"q": dict(tree, kernel=changed)}, "flax")
            wrong = set() if changed is kernel else {"q/kernel"}
            assert report.notes == ()
            assert {finding.path for finding in report.findings} == wrong


# Stores


def model(wrap=lambda init, names: init):
    init = wrap(jinit.lecun_normal(gain=0.5), ("in", "out"))
    return nn.Sequential([nn.Dense(64, kernel_init=init), nn.Dense(64)])


def of_nnx():
    half = jinit.lecun_normal(gain=0.5)
    keys = nnx.Rngs(0)
    first = nnx.Linear(64, 64, kernel_init=half, rngs=keys)
    return nnx.state(nnx.Sequential(first, nnx.Linear(64, 64, rngs=keys)))


def of_linen(wrap=lambda init, names: init):
    return model(wrap).init(KEY, jnp.ones((1, 64)))["params"]


def train_state():
    params = of_linen()
    return TrainState.create(apply_fn=None, params=params, tx=optax.adam(1e-3))


TREES = {
    "linen": of_linen,
    "Partitioned": lambda: of_linen(nn.with_partitioning),
    "LogicallyPartitioned": lambda: of_linen(nn.with_logical_partitioning),
    "nnx.State": of_nnx,
    "a pure dict": lambda: nnx.to_pure_dict(of_nnx()),
    "a train state": train_state,
}


def in_orbax(tree, folder):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "orbax", tree)
    return read_checkpoint(folder / "orbax")


def in_msgpack(tree, folder):
    (folder / "tree.msgpack").write_bytes(serialization.to_bytes(tree))
    return read_checkpoint(folder / "tree.msgpack")


def in_npz(tree, folder):
    leaves = jinit.model._paths.named_leaves(tree)[0]
    np.savez(folder / "tree.npz", **{path: np.asarray(leaf) for path, leaf in leaves})
    return read_checkpoint(folder / "tree.npz")


def restored(tree, folder):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "orbax", tree)
        return checkpointer.restore(folder / "orbax")


STORES = {"in memory": lambda tree, folder: tree} | {
    store.__name__: store for store in (in_orbax, in_msgpack, in_npz, restored)
}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_audited_alike_wherever_it_is_stored(name, store, tmp_path):
    if name == "nnx.State" and store == "in_msgpack":
        pytest.skip("Flax does not write a State as MessagePack")
    tree = TREES[name]()
    found = audit(STORES[store](tree, tmp_path), "flax").findings
    assert [(f.path.split("/")[-1], f.kind) for f in found] == [("kernel", "std")]
    assert found[0].path.split("/")[0] in ("layers_0", "layers")


@pytest.mark.parametrize("store", STORES)
def test_a_plan_of_a_state_knows_what_was_stored(store, tmp_path):
    state = of_nnx()
    if store == "in_msgpack":
        state = nnx.to_pure_dict(state)
    plan = jinit.plan(state, {"**/kernel": jinit.lecun_normal(), "**": jinit.zeros()})
    found = audit(STORES[store](state, tmp_path), plan).findings
    assert [(finding.path, finding.kind) for finding in found] == [
        ("layers/0/kernel", "std")
    ]


def test_names_of_flax_that_dots_join_are_those_with_slashes():
    tree = {"params": of_linen()}
    leaves = jinit.model._paths.named_leaves(tree)[0]
    dotted = {path.replace("/", "."): leaf for path, leaf in leaves}
    for meant in ("flax", None, jinit.plan(tree, {"**": jinit.normal()})):
        assert audit(dotted, meant) == audit(tree, meant)
    rules = {"*.kernel": jinit.lecun_normal(gain=0.5), "*": None}
    for meant in (rules, jinit.plan(dotted, rules)):
        assert "params.layers_0.kernel" in str(audit(dotted, meant))


def test_where_nothing_is_compared_the_report_says_so():
    (note, _) = audit({"a": jnp.ones((4, 4))}, "flax").notes
    assert note == "nothing was compared: the rules know no leaf"


@pytest.mark.parametrize(
    ("copy", "kinds"),
    [
        ("ema_params", set()),
        ("params_ema", set()),
        ("target/params", set()),
        ("critic", {"equal"}),
        ("target_embedding", {"equal"}),
        ("polyak", set()),
        ("momentum_encoder", set()),
        ("old_params", set()),
        ("reference", set()),
        ("folded", {"equal"}),
        ("older", {"equal"}),
        ("refine", {"equal"}),
    ],
)
def test_averages_of_weights_may_start_equal_to_them(copy, kinds):
    w = KEY_DRAWN / 8
    tree = {"params/kernel": w, f"{copy}/kernel": w + 0.0}
    assert {finding.kind for finding in audit(tree).findings} == kinds


def test_a_parameter_that_is_called_value_stays_what_it_is():
    tree = {"scale": {"value": jnp.ones((64, 64))}}
    plan = jinit.plan(tree, {"scale/value": jinit.zeros()})
    assert [leaf.path for leaf in audit(tree, plan).leaves] == ["scale/value"]


def test_what_is_no_weight_is_left_out_and_said():
    tree = {"kernel": KEY_DRAWN, "activation": jax.nn.relu, "step": 3}
    report = audit(tree, {"kernel": jinit.normal(), "other": jinit.zeros()})
    assert report.exit_status == 0
    assert report.notes == (
        "'activation', 'step' are no arrays, and are left out",
        "rule 'other' matches no leaf",
    )
    state = audit(train_state(), "flax")
    assert "opt_state" in state.notes[0]
    assert {leaf.path.split("/")[0] for leaf in state.leaves} == {
        "layers_0",
        "layers_1",
    }


OPTIMIZERS = {
    "adam": optax.adam(1e-3),
    "momentum": optax.chain(optax.clip(1.0), optax.sgd(1e-2, momentum=0.9)),
    "lion": optax.lion(1e-3),
    "rmsprop": optax.rmsprop(1e-3),
    "adagrad": optax.adagrad(1e-3),
    "adafactor": optax.adafactor(1e-3),
    "several steps": optax.MultiSteps(optax.adamw(1e-3), 2),
}
PLACES = {
    "a train state": (lambda s: s, {}),
    "a train state within": (lambda s: {"state": s, "epoch": 3}, {}),
    "a part": (lambda s: {"state": s}, {"subtree": "state"}),
    "a pair": (lambda s: (s.params, s.opt_state), {}),
    "a dict": (lambda s: {"params": s.params, "opt": s.opt_state}, {}),
    "an agent": (lambda s: {"actor": s, "critic": s}, {}),
}


@pytest.mark.parametrize("store", ["in memory", "in_npz", "in_msgpack"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_an_optimizer_is_left_out_wherever_it_is(
    name, place, store, tmp_path
):
    params, (made, options) = of_linen(), PLACES[place]
    optimizer = OPTIMIZERS[name]
    state = TrainState.create(apply_fn=None, params=params, tx=optimizer)
    tree = STORES[store](made(state), tmp_path)
    report = audit(tree, "flax", **options)
    twice = 2 if place == "an agent" else 1
    assert len(report.leaves) - 4 * twice in range(2)  # "epoch" is an array when stored
    halved = [f for f in report.findings if f.kind != "equal"]
    assert {(f.path[-15:], f.kind) for f in halved} == {("layers_0/kernel", "std")}
    assert any("are no weights" in note for note in report.notes)


@pytest.mark.parametrize(
    "names", [("mu", "logvar"), ("mu",), ("trace",), ("count", "kernel"), ("v", "q")]
)
def test_weights_that_are_called_as_moments_are_audited(names):
    tree = {"encoder": {name: jnp.zeros((64, 64)) for name in names}}
    assert len(audit(tree).findings) == len(names)


def test_a_plan_of_a_state_and_its_optimizer_knows_both():
    state = {"params": of_linen(), "opt": optax.adam(1e-3).init(of_linen())}
    plan = jinit.plan(state, {"**": None})
    assert audit(state, plan).findings == ()


KEY_DRAWN = jinit.normal()(KEY, (64, 64))


def test_a_leaf_that_no_rule_knows_is_noted_and_the_others_audited():
    tree = {"cls": jnp.ones((1, 8)), **of_linen()}
    for rules in ("flax", "torch", {"**/kernel": jinit.he_normal()}):
        report = audit(tree, rules)
        assert any("'cls'" in note for note in report.notes)
        assert report.findings


EMPTY = [  # trees with leaves of no elements, as torch and Flax name them
    {"a": {"kernel": (0, 4), "bias": (4,)}},
    {"a": {"kernel": (4, 0), "bias": (0,)}},
    {"a": {"kernel": (3, 3, 0, 4), "bias": (4,)}},
    {"ConvTranspose_0": {"kernel": (3, 3, 4, 0), "bias": (0,)}},
    {"a": {"embedding": (0, 4)}},
    {"a": {"embedding": (4, 0)}},
    {"a": {"scale": (0,), "bias": (0,)}},
    {"dense_i": {"kernel": (4, 0)}, "dense_h": {"kernel": (0, 0), "bias": (0,)}},
    {"a.weight": (4, 0), "a.bias": (4,)},
    {"a.weight": (0, 4), "a.bias": (0,)},
    {"a.in_proj_weight": (0, 0), "a.in_proj_bias": (0,)},
    {"a.weight_ih_l0": (0, 3), "a.weight_hh_l0": (0, 0), "a.bias_ih_l0": (0,)},
]


@pytest.mark.parametrize("rules", ["flax", "torch", None])
@pytest.mark.parametrize("number", range(len(EMPTY)))
def test_what_has_no_elements_is_noted_and_the_rest_audited(number, rules):
    shapes = EMPTY[number]
    tree = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda s: isinstance(s, tuple))
    dotted = any("." in name for name in tree)
    path = "filled.weight" if dotted else "filled/kernel"
    filled = {path: jnp.ones((64, 64))} if dotted else {"kernel": jnp.ones((64, 64))}
    report = audit(tree | (filled if dotted else {"filled": filled}), rules)
    assert [finding.path for finding in report.findings] == [path]


def test_a_subtree_is_audited_under_its_own_paths():
    both = {"actor": of_linen(), "critic": of_linen()}
    report = audit({"agent": both}, "flax", subtree="agent/a*")
    assert [finding.path for finding in report.findings] == ["layers_0/kernel"]
    plan = jinit.plan(of_linen(), {"**": jinit.lecun_normal(fan_in=64)})
    state = train_state()
    assert audit(state, plan, subtree="params").leaves == audit(state, plan).leaves


@pytest.mark.parametrize(
    "subtree", ["text.encoder", "text/encoder", "t*/encoder", "text.enc*", "*/encoder"]
)
def test_a_subtree_of_names_with_dots_is_audited(subtree):
    names = ("text.encoder.0", "text.head", "image.decoder.0")
    tree = {f"{name}.weight": np.zeros((8, 8), "f4") for name in names}
    (found,) = audit(tree, subtree=subtree).findings
    assert (found.path, found.kind) == ("0.weight", "dead")
    with pytest.raises(ValueError, match=r"which has 'image', 'text' at its top"):
        audit(tree, subtree="vision")


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3, 3)])
@pytest.mark.parametrize("rules", ["flax", "torch", None])
def test_a_kernel_that_was_not_transposed_is_a_finding_of_its_own(shape, rules):
    kernel = jinit.lecun_normal(in_axis=1, out_axis=0)(KEY, shape)
    tree = {"Conv_0" if len(shape) > 2 else "Dense_0": {"kernel": kernel}}
    next(iter(tree.values()))["bias"] = jnp.zeros(48)
    found = [f for f in audit(tree, rules).findings if f.path.endswith("kernel")]
    assert [finding.kind for finding in found] == ["layout"]
    assert "not transposed" in found[0].cause


@pytest.mark.parametrize("shape", [(64, 48), (3, 64, 48), (3, 5, 64, 48)])
@pytest.mark.parametrize("rules", ["torch", None])
def test_a_state_dict_in_the_layout_of_flax_has_a_finding_of_its_own(shape, rules):
    options = jinit.torch.linear(int(np.prod(shape[:-1])))
    keys = jax.random.split(KEY, 4)
    w, b = options["kernel_init"](keys[0], shape), options["bias_init"](keys[1], (48,))
    right = jnp.moveaxis(options["kernel_init"](keys[2], shape), (-1, -2), (0, 1))
    beside = {"b.weight": right, "b.bias": options["bias_init"](keys[3], (48,))}
    (found,) = audit({"a.weight": w, "a.bias": b, **beside}, rules).findings
    assert (found.path, found.kind) == ("a.weight", "layout")
    assert found.message == f"shape {shape}, of which the 48 outputs come last"
    assert "Flax's layout, not transposed" in found.cause


def test_what_torch_itself_stores_with_the_outputs_last_is_no_fault():
    init, keys = jinit.normal(std=0.02), jax.random.split(KEY)
    tree = {"h.0.attn.c_attn.weight": init(keys[0], (64, 192))}
    tree |= {"h.0.attn.c_attn.bias": jnp.zeros(192)}
    assert audit(tree).findings == ()
    tree = {"up.weight": init(keys[1], (64, 32, 4, 4)), "up.bias": jnp.zeros(32)}
    assert audit(tree).findings == ()  # of ConvTranspose2d
    init = jinit.he_normal(in_axis=1, out_axis=0)
    tree = {"fc.weight": init(KEY, (96, 64)), "fc.bias": jnp.zeros(96)}
    assert audit(tree, {"*weight": init, "*bias": jinit.zeros()}).findings == ()


def test_the_tables_are_as_long_as_they_look():
    assert len(LAYERS) * len(WRAPPERS) == 105
    assert len(TREES) * len(STORES) == 30


def test_a_plan_in_the_layout_of_torch_knows_the_shapes_as_they_are():
    init = jinit.he_normal(in_axis=1, out_axis=0)
    tree = {"fc.weight": init(KEY, (96, 64))}
    for plan in ({"*": init}, jinit.plan(tree, {"*": init})):
        assert audit(tree, plan).findings == ()
    assert audit({"weights": init(KEY, (96, 64))}, {"*": init}).findings == ()


@pytest.mark.parametrize(
    "names", [("step", "exp_avg", "exp_avg_sq"), ("momentum_buffer",)]
)
def test_the_state_of_an_optimizer_of_torch_is_left_out(names):
    weight = np.asarray(jinit.torch.linear(48)["kernel_init"](KEY, (48, 64))).T
    state = {"0": {name: np.ones(() if name == "step" else (64, 48)) for name in names}}
    tree = {"model": {"weight": weight}, "optimizer": {"state": state}}
    found = audit(tree, "torch")
    assert [leaf.path for leaf in found.leaves] == ["model/weight"]
    assert "optimizer/state/0" in found.notes[0]
