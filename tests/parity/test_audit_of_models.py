"""What libraries draw has no finding, and one fault in it is found with its cause."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from published import equinox as eqx
from published import haiku as hk
from published import timm, torch, torchvision, transformers

import jinit
from jinit.diagnostics import audit
from jinit.model._paths import named_leaves

KEY = jax.random.key(7)
IMAGES = jnp.ones((1, 64, 64, 3))
WORDS = jnp.ones((1, 8), int)
STATES = jnp.ones((1, 8, 64))


class Block(nn.Module):
    """Of a transformer, as a body that is scanned or not."""

    @nn.compact
    def __call__(self, x, _=None):
        h = nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))
        h = nn.Dense(64)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x + h))))
        return x + h, None


class Network(nn.Module):
    """Convolutions of each kind."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(32, (3, 3))(x))
        x = nn.Conv(64, (3, 3), feature_group_count=4, use_bias=False)(nn.relu(x))
        x = nn.ConvTranspose(32, (2, 2), (2, 2))(nn.GroupNorm(4)(x))
        return nn.Dense(10)(nn.relu(x).mean((1, 2)))


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Embed(100, 64)(x)
        x = nn.RNN(nn.OptimizedLSTMCell(64))(nn.RNN(nn.GRUCell(64))(x))
        return nn.Dense(100)(x)


def boxed(box, *names):
    return box(nn.initializers.lecun_normal(), names)


def linen(module, *inputs):
    return lambda: jinit.jit_init(module.init)(KEY, *inputs)


def scanned(layer, **options):
    axes = {"params": 0}
    return nn.scan(layer, variable_axes=axes, split_rngs={"params": True}, **options)


LINEN = {
    "transformer": linen(Block(), STATES),
    "scanned": linen(scanned(Block, length=3)(), STATES, None),
    "rematerialized": linen(nn.remat(Block)(), STATES),
    "scanned and rematerialized": linen(
        scanned(nn.remat(Block), length=3)(), STATES, None
    ),
    "ensemble": linen(
        nn.vmap(
            Network,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=3,
        )(),
        IMAGES,
    ),
    "convolutions": linen(Network(), IMAGES),
    "recurrent": linen(Recurrent(), WORDS),
    "partitioned": linen(
        nn.Dense(64, kernel_init=boxed(nn.with_partitioning, None, "model")), STATES
    ),
    "logically partitioned": linen(
        nn.Dense(64, kernel_init=boxed(nn.with_logical_partitioning, "in", "out")),
        STATES,
    ),
}


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(100, 64, rngs=rngs)
        self.conv = nnx.Conv(64, 64, (3,), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 64, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(64, rngs=rngs)
        self.cell = nnx.OptimizedLSTMCell(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 100, rngs=rngs)


def nnx_ensemble():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return nnx.Linear(64, 64, rngs=rngs)

    return nnx.state(make(nnx.Rngs(0)), nnx.Param)


NNX = {
    "state": lambda: nnx.state(Nnx(nnx.Rngs(0)), nnx.Param),
    "pure dict": lambda: nnx.to_pure_dict(nnx.state(Nnx(nnx.Rngs(1)), nnx.Param)),
    "ensemble": nnx_ensemble,
    "gru": lambda: nnx.state(nnx.GRUCell(64, 64, rngs=nnx.Rngs(0)), nnx.Param),
}


def fan_in():
    return hk.initializers.VarianceScaling(1.0)


def haiku(function, *inputs):
    init = hk.transform_with_state(function).init

    def draw():
        with jax.numpy_dtype_promotion("standard"):
            return jinit.jit_init(init)(KEY, *inputs)[0]

    return draw


HAIKU = {
    "mlp": haiku(lambda x: hk.nets.MLP([128, 64, 10])(x), STATES),
    "resnet": haiku(lambda x: hk.nets.ResNet18(10)(x, True), IMAGES),
    "mobilenet": haiku(lambda x: hk.nets.MobileNetV1(num_classes=10)(x, True), IMAGES),
    "attention": haiku(
        lambda x: hk.MultiHeadAttention(4, 16, w_init=fan_in())(x, x, x), STATES
    ),
    "recurrent": haiku(
        lambda x: hk.dynamic_unroll(hk.LSTM(64), x, hk.LSTM(64).initial_state(None))[0],
        STATES[0],
    ),
    "embedding": haiku(lambda x: hk.Linear(100)(hk.Embed(100, 64)(x)), WORDS),
}


EQUINOX = {
    "mlp": lambda: eqx.nn.MLP(64, 10, 128, 3, key=KEY),
    "convolution": lambda: [eqx.nn.Conv2d(32, 64, 3, key=KEY)],
    "gru": lambda: eqx.nn.GRUCell(64, 64, key=KEY),
    "lstm": lambda: eqx.nn.LSTMCell(64, 64, key=KEY),
    "attention": lambda: eqx.nn.MultiheadAttention(4, 64, key=KEY),
    "embedding": lambda: [
        eqx.nn.Embedding(100, 64, key=KEY),
        eqx.nn.Linear(64, 99, key=KEY),
    ],
}


def bert():
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(**sizes, intermediate_size=128, vocab_size=500)
    return transformers.BertModel(config)


def gpt2():
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 500}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **ends))


def of_torch(build):
    def draw():
        torch.manual_seed(0)
        return {k: w.detach().numpy() for k, w in build().state_dict().items()}

    return draw


TORCHVISION = ("resnet18", "squeezenet1_1", "mobilenet_v3_small", "efficientnet_b0")
TORCHVISION += ("shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf")
TIMM = ("vit_tiny_patch16_224", "resmlp_12_224", "gmlp_ti16_224", "convnext_atto")
TIMM += ("levit_128s", "pvt_v2_b0", "xcit_nano_12_p16_224", "tinynet_e", "lcnet_050")
TORCH = {
    "transformer": lambda: torch.nn.Transformer(64, 4, 1, 1, 128, batch_first=True),
    "bert": bert,
    "gpt2": gpt2,
    **{name: lambda n=name: torchvision.models.get_model(n) for name in TORCHVISION},
    **{name: lambda n=name: timm.create_model(n) for name in TIMM},
}

# Of each: what draws it, and the rules that know it, if any do.
MODELS = {
    **{f"linen {name}": (draw, "flax") for name, draw in LINEN.items()},
    **{f"nnx {name}": (draw, "flax") for name, draw in NNX.items()},
    **{f"haiku {name}": (draw, None) for name, draw in HAIKU.items()},
    **{f"equinox {name}": (draw, None) for name, draw in EQUINOX.items()},
    **{f"torch {name}": (of_torch(draw), None) for name, draw in TORCH.items()},
}


def test_there_are_forty():
    assert len(MODELS) >= 40


# Faults: of a kernel in the layout of Flax, with a pattern of the cause.


def zeros(w, rng):
    return np.zeros_like(w)


def standard(w, rng):
    return rng.standard_normal(w.shape, np.float32)


def coarse(w, rng):
    return w.astype(jnp.bfloat16).astype(np.float32)


def clipped(w, rng):
    return np.clip(w, -w.std(), w.std())


def copied(w, rng):
    half = w[..., : w.shape[-1] // 2]
    return np.concatenate([half, half], -1)


def not_a_number(w, rng):
    w = np.array(w)
    w.flat[w.size // 2] = np.nan
    return w


FAULTS = {
    zeros: "it was not initialized",
    standard: r"that of N\(0, 1\)",
    coarse: "drawn or stored in it, and widened",
    clipped: "clipped, where a truncated distribution was meant",
    copied: "drawn from one key|copies of one another",
    not_a_number: "",
}


# A weight without a bias may be a table, which N(0, 1) is right for.
MISSED = [
    ("equinox attention", "standard"),
    ("equinox embedding", "standard"),
    ("torch levit_128s", "standard"),
]


def target(leaves):
    """The path of the largest kernel, of those that are not tables or heads."""
    sizes = {
        path: w.size
        for path, w in leaves.items()
        if jnp.issubdtype(w.dtype, jnp.floating)
        and w.ndim > 1
        and sorted(w.shape)[-2] >= 8
        and not re.search("emb|pos|token|head[./]|wte|wpe|gate", path, re.IGNORECASE)
    }
    return max(sizes, key=sizes.__getitem__)


def planted(tree, fault, of_torch):
    """The tree with one fault, and the path of the leaf that has it."""
    arrays, others = eqx.partition(tree, eqx.is_array)
    leaves, treedef = named_leaves(arrays)
    path = target(dict(leaves))
    rng = np.random.default_rng(0)

    def wrong(w):
        if not of_torch:
            return fault(np.asarray(w), rng)
        w = fault(np.moveaxis(np.asarray(w), (1, 0), (-2, -1)), rng)
        return np.moveaxis(w, (-2, -1), (1, 0))

    changed = [wrong(w) if name == path else w for name, w in leaves]
    return eqx.combine(treedef.unflatten(changed), others), path


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_as_its_library_draws_it_has_no_finding_and_a_fault_has_its_cause(name):
    draw, rules = MODELS[name]
    tree = draw()
    assert audit(tree, rules).findings == ()

    turn = list(MODELS).index(name)
    for n in (turn, turn + 1):  # one after another over the models
        fault, cause = list(FAULTS.items())[n % len(FAULTS)]
        of_torch = name.startswith(("torch", "equinox"))
        wrong, path = planted(tree, fault, of_torch)
        findings = audit(wrong, rules).findings
        if (name, fault.__name__) in MISSED:
            assert findings == ()
            continue
        (finding,) = findings
        assert finding.path == path, fault
        assert re.search(cause, finding.cause), (fault, finding)
