"""Models of torch and their Flax twins start from the same weights, and train alike."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_units

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

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


def torch_mlp():
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(256, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 5),
    )


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


def torch_lenet():
    n = torch.nn
    convolutions = [n.Conv2d(1, 4, 3), n.ReLU(), n.MaxPool2d(2)]
    convolutions += [n.Conv2d(4, 6, 3), n.ReLU(), n.MaxPool2d(2)]
    dense = [n.Flatten(), n.Linear(24, 12), n.Tanh(), n.Linear(12, 5)]
    return n.Sequential(*convolutions, *dense)


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


class TorchViT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(1, 8, 4, 4)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 8))
        self.places = torch.nn.Parameter(torch.empty(1, 17, 8))
        torch.nn.init.trunc_normal_(self.places, std=0.02)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(8, 2, 16, **options) for _ in range(2)
        )
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


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


class TorchBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = torch.nn.LayerNorm(WIDTH)
        self.c_attn = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.attn_proj = torch.nn.Linear(WIDTH, WIDTH)
        self.ln_2 = torch.nn.LayerNorm(WIDTH)
        self.c_fc = torch.nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp_proj = torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        heads = *x.shape[:2], HEADS, WIDTH // HEADS
        parts = self.c_attn(self.ln_1(x)).split(WIDTH, -1)
        q, k, v = (part.view(heads).transpose(1, 2) for part in parts)
        attend = torch.nn.functional.scaled_dot_product_attention
        h = attend(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.attn_proj(h)
        h = torch.nn.functional.gelu(self.c_fc(self.ln_2(x)))
        return x + self.mlp_proj(h)


class TorchGPT(torch.nn.Module):
    """First built, then drawn again: N(0, 0.02²), and less for the projections."""

    def __init__(self):
        super().__init__()
        self.wte = torch.nn.Embedding(WORDS, WIDTH)
        self.wpe = torch.nn.Embedding(LENGTH, WIDTH)
        self.h = torch.nn.ModuleList(TorchBlock() for _ in range(DEPTH))
        self.ln_f = torch.nn.LayerNorm(WIDTH)
        self.lm_head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.wte.weight = self.lm_head.weight
        self.apply(self.draw)
        for name, parameter in self.named_parameters():
            if name.endswith("_proj.weight"):
                torch.nn.init.normal_(parameter, std=0.02 / (2 * DEPTH) ** 0.5)

    def draw(self, module):
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            torch.nn.init.zeros_(module.bias)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(LENGTH))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


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
    "MLP": (MLP(), torch_mlp, MLP_LAYERS, IMAGES, LABELS),
    "LeNet": (LeNet(), torch_lenet, LENET_LAYERS, IMAGES, LABELS),
    "ViT": (ViT(), TorchViT, VIT_LAYERS, IMAGES, LABELS),
    "GPT": (GPT(), TorchGPT, list(gpt_layers()), TOKENS, (TOKENS + 1) % WORDS),
}


def flax_losses(model, params, x, labels):
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


def torch_losses(model, x, labels):
    x, labels = torch.tensor(x), torch.tensor(labels)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    outputs, losses = model(x).detach(), []
    for _ in range(STEPS):
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outputs.numpy(), losses


@pytest.mark.parametrize("name", MODELS)
def test_twins_start_from_the_same_weights_and_train_alike(name):
    model, build, layers, x, labels = MODELS[name]
    torch.manual_seed(SEED)
    theirs = build()
    after = torch.empty(4).uniform_().numpy()
    tree = jax.eval_shape(model.init, jax.random.key(0), x)
    stream = jinit.torch.manual_seed(SEED)
    params = jinit.torch.like(tree, layers, stream)
    check_units(stream.uniform_((4,)), after)  # as many numbers were drawn
    if name in ("MLP", "LeNet"):
        first = params["params"]["Dense_0"]["kernel"]
        weights = [m.weight for m in theirs if isinstance(m, torch.nn.Linear)]
        check_units(first, weights[0].detach().numpy().T)

    outputs, losses = flax_losses(model, params, x, labels)
    expected, curve = torch_losses(theirs, x, labels)

    np.testing.assert_allclose(outputs, expected, rtol=0, atol=5e-6)
    np.testing.assert_allclose(losses, curve, rtol=2e-5)
    assert losses[-1] < losses[0]
