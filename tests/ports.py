"""Flax models that have twins in torch, and how these are built, layer by layer."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

PATH = pathlib.Path(__file__).parent / "golden" / "torch_ports.json"

STEPS, RATE, SEED = 20, 0.05, 42
RNG = np.random.RandomState(0)
IMAGES = RNG.randn(8, 16, 16, 1).astype("float32")
LABELS = RNG.randint(0, 5, 8)
TOKENS = RNG.randint(0, 11, (4, 9))


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(5)(x)


MLP_LAYERS = [
    ("params/Dense_0", lambda s: s.linear(256, 16)),
    ("params/Dense_1", lambda s: s.linear(16, 5)),
]


class LeNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        for features in (4, 6):
            x = nn.relu(nn.Conv(features, (3, 3), padding="VALID")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1)  # in the order of torch
        x = jnp.tanh(nn.Dense(12)(x))
        return nn.Dense(5)(x)


LENET_LAYERS = [
    ("params/Conv_0", lambda s: s.conv(1, 4, (3, 3))),
    ("params/Conv_1", lambda s: s.conv(4, 6, (3, 3))),
    ("params/Dense_0", lambda s: s.linear(24, 12)),
    ("params/Dense_1", lambda s: s.linear(12, 5)),
]


class ViT(nn.Module):
    """Patches, a class token, positions, and layers that normalize first."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (4, 4), (4, 4), padding="VALID", name="patches")(x)
        x = x.reshape(len(x), -1, 8)
        token = self.param("token", nn.initializers.zeros, (1, 1, 8))
        places = self.param("places", nn.initializers.zeros, (1, 17, 8))
        token = jnp.broadcast_to(token, (len(x), 1, 8))
        x = jnp.concatenate([token, x], 1) + places
        for n in range(2):
            x = EncoderLayer(name=f"layer{n}")(x)
        return nn.Dense(5, name="head")(x[:, 0])


class EncoderLayer(nn.Module):
    """That of torch, which normalizes first, without dropout."""

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(epsilon=1e-5, name="norm1")(x)
        x += nn.MultiHeadDotProductAttention(2, name="self_attn")(h)
        h = nn.Dense(16, name="linear1")(nn.LayerNorm(epsilon=1e-5, name="norm2")(x))
        return x + nn.Dense(8, name="linear2")(nn.relu(h))


VIT_LAYERS = [
    ("params/patches", lambda s: s.conv(1, 8, (4, 4))),
    ("params/token", lambda s: s.normal_((1, 1, 8))),
    ("params/places", lambda s: s.trunc_normal_((1, 17, 8), std=0.02)),
    ("params/layer0", lambda s: s.transformer_encoder_layer(8, 2, 16)),
    ("params/layer1", lambda s: s.transformer_encoder_layer(8, 2, 16)),
    ("params/head", lambda s: s.linear(8, 5)),
]

WIDTH, HEADS, DEPTH, WORDS, LENGTH = 8, 2, 2, 11, 9


class GPT(nn.Module):
    """Like nanoGPT: the table of words is the head too, and no dropout."""

    @nn.compact
    def __call__(self, tokens):
        words = nn.Embed(WORDS, WIDTH, name="wte")
        places = nn.Embed(LENGTH, WIDTH, name="wpe")(jnp.arange(LENGTH))
        x = words(tokens) + places[None]
        for n in range(DEPTH):
            x = Block(name=f"h{n}")(x)
        return words.attend(nn.LayerNorm(epsilon=1e-5, name="ln_f")(x))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(epsilon=1e-5, name="ln_1")(x)
        packed = nn.Dense(3 * WIDTH, name="c_attn")(h)
        heads = *x.shape[:2], HEADS, WIDTH // HEADS
        q, k, v = (part.reshape(heads) for part in jnp.split(packed, 3, -1))
        h = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x += nn.Dense(WIDTH, name="attn_proj")(h)
        h = nn.LayerNorm(epsilon=1e-5, name="ln_2")(x)
        h = nn.gelu(nn.Dense(4 * WIDTH, name="c_fc")(h), approximate=False)
        return x + nn.Dense(WIDTH, name="mlp_proj")(h)


SIZES = {
    "c_attn": (WIDTH, 3 * WIDTH),
    "attn_proj": (WIDTH, WIDTH),
    "c_fc": (WIDTH, 4 * WIDTH),
    "mlp_proj": (4 * WIDTH, WIDTH),
}


def drawn_again(name, std):
    """A dense layer of nanoGPT, from a normal distribution."""
    inputs, outputs = SIZES[name]

    def draw(stream):
        kernel = stream.normal_((outputs, inputs), std=std).T
        return {"kernel": kernel, "bias": stream.zeros_((outputs,))}

    return draw


def gpt_layers():
    def table(rows, std=1.0):
        return lambda s: {"embedding": s.normal_((rows, WIDTH), std=std)}

    blocks = [(f"params/h{n}/{name}", name) for n in range(DEPTH) for name in SIZES]
    yield "params/wte", table(WORDS)
    yield "params/wpe", table(LENGTH)
    for _, name in blocks:
        yield None, lambda s, sizes=SIZES[name]: s.linear(*sizes)
    yield None, lambda s: s.linear(WIDTH, WORDS, bias=False)
    # Again: the table of words as such, and last as the head, which it is.
    yield "params/wte", table(WORDS, 0.02)
    yield "params/wpe", table(LENGTH, 0.02)
    for path, name in blocks:
        yield path, drawn_again(name, 0.02)
    yield "params/wte", table(WORDS, 0.02)
    for path, name in blocks:
        if name.endswith("_proj"):
            yield path, drawn_again(name, 0.02 / (2 * DEPTH) ** 0.5)
    norms = ["ln_f", *(f"h{n}/ln_{k}" for n in range(DEPTH) for k in (1, 2))]
    for norm in norms:
        yield f"params/{norm}", lambda s: s.layer_norm(WIDTH)


MODELS = {
    "MLP": (MLP(), MLP_LAYERS, IMAGES, LABELS),
    "LeNet": (LeNet(), LENET_LAYERS, IMAGES, LABELS),
    "ViT": (ViT(), VIT_LAYERS, IMAGES, LABELS),
    "GPT": (GPT(), list(gpt_layers()), TOKENS, (TOKENS + 1) % WORDS),
}


def losses_of(model, params, x, labels):
    """The outputs at the start, and the losses of gradient descent."""

    @jax.jit
    def step(params):
        def loss(params):
            logits = model.apply(params, x)
            rows = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(rows, labels[..., None], -1).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda w, g: w - RATE * g, params, gradient), value

    outputs, losses = model.apply(params, x), []
    for _ in range(STEPS):
        params, value = step(params)
        losses.append(float(value))
    return outputs, losses
