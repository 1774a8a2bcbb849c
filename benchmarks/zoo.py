"""Small models by many hands, on which jinit's reading of models is measured.

`CASES` holds them by name. Calling one returns a model, written as the users of its
library write, its parameters as that library draws them by default, and inputs.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

Case = tuple[Any, Any, tuple[jax.Array, ...]]
VOCAB = 256


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.float32(np.random.default_rng(seed).standard_normal(shape))


def tokens(*shape: int, seed: int = 0, below: int = VOCAB) -> jax.Array:
    return jnp.int32(np.random.default_rng(seed).integers(below, size=shape))


def drawn(init: Callable[..., Any], *inputs: jax.Array) -> Any:
    """Compiled once without optimization, which takes half the time and less."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(init, compiler_options=options)(jax.random.key(1), *inputs)


def of_linen(model: nn.Module, *inputs: jax.Array) -> Case:
    return model, drawn(model.init, *inputs), inputs


def of_nnx(model: nnx.Module, *inputs: jax.Array) -> Case:
    return model, nnx.state(model, nnx.Param), inputs


def of_haiku(model: Any, *inputs: jax.Array) -> Case:
    return model, drawn(model.init, *inputs), inputs


def of_equinox(model: Any, *inputs: jax.Array) -> Case:
    import equinox as eqx

    class Batched(eqx.Module):
        model: Any

        def __call__(self, *batch):
            return jax.vmap(self.model)(*batch)

    model = Batched(model)
    return model, eqx.filter(model, eqx.is_array), inputs


# Linen.


def linen_mlp_silu():
    class MLP(nn.Module):
        features: Sequence[int]

        @nn.compact
        def __call__(self, x):
            for feat in self.features[:-1]:
                x = nn.silu(nn.Dense(feat)(x))
            return nn.Dense(self.features[-1])(x)

    return of_linen(MLP([128] * 7 + [10]), normal(16, 64))


def linen_mlp_tanh():
    layers = [layer for _ in range(5) for layer in (nn.Dense(96), jnp.tanh)]
    return of_linen(nn.Sequential([*layers, nn.Dense(1)]), normal(16, 64))


def linen_rezero():
    class ReZero(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(96, name="embed")(x)
            for i in range(6):
                y = nn.Dense(96, name=f"fc{i}")(x)
                y = nn.Dense(96, name=f"proj{i}")(nn.relu(y))
                x = x + self.param(f"alpha{i}", nn.initializers.zeros, ()) * y
            return nn.Dense(10, name="head")(x)

    return of_linen(ReZero(), normal(16, 64))


def linen_highway():
    class Highway(nn.Module):
        def setup(self):
            self.first, self.last = nn.Dense(64), nn.Dense(10)
            self.transforms = [nn.Dense(64) for _ in range(6)]
            self.gates = [nn.Dense(64) for _ in range(6)]

        def __call__(self, inputs):
            h = self.first(inputs)
            for transform, gate in zip(self.transforms, self.gates, strict=True):
                t = nn.sigmoid(gate(h))
                h = t * nn.relu(transform(h)) + (1.0 - t) * h
            return self.last(h)

    return of_linen(Highway(), normal(16, 32))


def linen_ensemble():
    class Ensemble(nn.Module):
        members: int = 4

        @nn.compact
        def __call__(self, x):
            h = jnp.broadcast_to(x, (self.members, *x.shape))
            for _ in range(3):
                h = nn.gelu(nn.DenseGeneral(64, axis=-1, batch_dims=(0,))(h))
            return nn.DenseGeneral(10, axis=-1, batch_dims=(0,))(h).mean(0)

    return of_linen(Ensemble(), normal(16, 64))


def linen_actor_critic():
    class ActorCritic(nn.Module):
        @nn.compact
        def __call__(self, obs):
            z = nn.tanh(nn.Dense(128, name="torso_0")(obs))
            z = nn.tanh(nn.Dense(128, name="torso_1")(z))
            actor, critic = nn.tanh(nn.Dense(64)(z)), nn.tanh(nn.Dense(64)(z))
            logits = nn.Dense(6, name="policy")(actor)
            return nn.log_softmax(logits), nn.Dense(1)(critic).squeeze(-1)

    return of_linen(ActorCritic(), normal(16, 24))


def linen_vae():
    class VAE(nn.Module):
        def setup(self):
            self.encoder = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(128)])
            self.mean, self.logvar = nn.Dense(16), nn.Dense(16)
            self.decoder = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(64)])

        def __call__(self, x, eps):
            h = nn.relu(self.encoder(x))
            mu, logvar = self.mean(h), self.logvar(h)
            z = mu + jnp.exp(0.5 * logvar) * eps
            return nn.sigmoid(self.decoder(z)), mu, logvar

    return of_linen(VAE(), normal(16, 64), normal(16, 16, seed=2))


def linen_resnet_v1():
    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, images):
            conv = partial(nn.Conv, use_bias=False)
            norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.9)
            x = nn.relu(norm()(conv(64, (3, 3))(images)))
            for width, s in [(64, 1), (64, 1), (96, 2), (96, 1)]:
                out = nn.relu(norm()(conv(width, (3, 3), (s, s))(x)))
                out = norm()(conv(width, (3, 3))(out))
                if out.shape != x.shape:
                    x = norm()(conv(width, (1, 1), (s, s), name="projection")(x))
                x = nn.relu(out + x)
            return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))

    return of_linen(ResNet(), normal(8, 12, 12, 3))


def linen_resnet_v1_plain():
    class BasicBlock(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.Conv(x.shape[-1], kernel_size=(3, 3))(x))
            return nn.relu(x + nn.Conv(x.shape[-1], kernel_size=(3, 3))(h))

    class PlainResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(64, kernel_size=(3, 3))(x))
            x = BasicBlock()(BasicBlock()(x))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
            x = BasicBlock()(BasicBlock()(x))
            return nn.Dense(10)(x.reshape((x.shape[0], -1)))

    return of_linen(PlainResNet(), normal(8, 12, 12, 3))


def linen_resnet_v2():
    class PreActBlock(nn.Module):
        channels: int
        stride: int = 1

        @nn.compact
        def __call__(self, x):
            conv, s = (
                partial(nn.Conv, self.channels, use_bias=False),
                (self.stride,) * 2,
            )
            act = nn.relu(nn.GroupNorm(num_groups=8)(x))
            if x.shape[-1] != self.channels:
                x = conv((1, 1), s, name="proj")(act)
            y = nn.relu(nn.GroupNorm(num_groups=8)(conv((3, 3), s)(act)))
            return x + conv((3, 3))(y)

    blocks = PreActBlock(64), PreActBlock(64), PreActBlock(128, stride=2)
    pool = partial(jnp.mean, axis=(1, 2))
    head = nn.GroupNorm(num_groups=8), nn.relu, pool, nn.Dense(10)
    root = nn.Conv(64, (3, 3), use_bias=False)
    return of_linen(nn.Sequential([root, *blocks, *head]), normal(8, 12, 12, 3))


def linen_depthwise():
    class MobileNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(32, (3, 3), strides=(2, 2))(x))
            for out in (32, 64, 64):
                wide = 4 * x.shape[-1]
                y = nn.relu(nn.Conv(wide, (1, 1), feature_group_count=4)(x))
                y = nn.relu(nn.Conv(wide, (3, 3), feature_group_count=wide)(y))
                y = nn.Conv(out, (1, 1), feature_group_count=4)(y)
                x = x + y if x.shape == y.shape else y
            return nn.Dense(10)(nn.relu(x).mean((1, 2)))

    return of_linen(MobileNet(), normal(8, 16, 16, 3))


def linen_deconvolution():
    class Generator(nn.Module):
        @nn.compact
        def __call__(self, z):
            x = nn.Dense(4 * 4 * 128)(z).reshape((z.shape[0], 4, 4, 128))
            for features in (128, 64):
                x = nn.leaky_relu(x, 0.2)
                x = nn.ConvTranspose(features, (4, 4), strides=(2, 2))(x)
            return jnp.tanh(nn.ConvTranspose(3, (3, 3))(nn.leaky_relu(x, 0.2)))

    return of_linen(Generator(), normal(8, 64))


def linen_unet():
    def double_conv(x, ch):
        x = nn.relu(nn.Conv(ch, (3, 3), padding="SAME")(x))
        return nn.relu(nn.Conv(ch, (3, 3), padding="SAME")(x))

    class UNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            skips = []
            for w in (64, 96):
                skips.append(double_conv(x, w))
                x = nn.max_pool(skips[-1], (2, 2), strides=(2, 2))
            x = double_conv(x, 128)
            for w in (96, 64):
                x = nn.ConvTranspose(w, (2, 2), strides=(2, 2))(x)
                x = double_conv(jnp.concatenate([skips.pop(), x], axis=-1), w)
            return nn.Conv(1, (1, 1))(x)

    return of_linen(UNet(), normal(8, 12, 12, 3))


def linen_wavenet():
    class WaveNet(nn.Module):
        @nn.compact
        def __call__(self, audio):
            h, skips = nn.Conv(64, (1,))(audio), 0.0
            for i in range(6):
                conv = partial(nn.Conv, 64, (2,), padding="CAUSAL")
                z = jnp.tanh(conv(kernel_dilation=2**i, name=f"filter_{i}")(h))
                z *= nn.sigmoid(conv(kernel_dilation=2**i, name=f"gate_{i}")(h))
                skips += nn.Conv(64, (1,), name=f"skip_{i}")(z)
                h += nn.Conv(64, (1,), name=f"res_{i}")(z)
            return nn.Conv(VOCAB, (1,))(nn.relu(nn.Conv(64, (1,))(nn.relu(skips))))

    return of_linen(WaveNet(), normal(8, 64, 1))


def linen_squeeze_excite():
    class SENet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.swish(nn.Conv(64, (3, 3))(x))
            for _ in range(4):
                y = nn.Conv(64, (3, 3))(nn.swish(nn.Conv(64, (3, 3))(x)))
                s = jnp.mean(y, axis=(1, 2), keepdims=True)
                s = nn.Dense(64)(nn.relu(nn.Dense(16)(s)))
                x = x + y * nn.sigmoid(s)
            return nn.Dense(10)(x.mean(axis=(-3, -2)))

    return of_linen(SENet(), normal(8, 12, 12, 3))


def linen_convnext():
    class ConvNeXtBlock(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            dim = inputs.shape[-1]
            x = nn.Conv(dim, (7, 7), feature_group_count=dim, name="dwconv")(inputs)
            x = nn.gelu(nn.Dense(4 * dim, name="pwconv1")(nn.LayerNorm()(x)))
            x = nn.Dense(dim, name="pwconv2")(x)
            return inputs + x * self.param("gamma", nn.initializers.ones, (dim,))

    class ConvNeXt(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.LayerNorm()(nn.Conv(64, (2, 2), strides=(2, 2), name="stem")(x))
            x = ConvNeXtBlock()(ConvNeXtBlock()(x))
            x = nn.Conv(96, (2, 2), strides=(2, 2), name="down")(nn.LayerNorm()(x))
            x = ConvNeXtBlock()(ConvNeXtBlock()(x))
            return nn.Dense(10)(nn.LayerNorm()(x.mean((1, 2))))

    return of_linen(ConvNeXt(), normal(8, 16, 16, 3))


def linen_gpt_einsum():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, h=4):
            einsum, d = partial(nn.Einsum, use_bias=False), x.shape[-1]
            qkv = einsum((3, d, h, d // h), "btd,sdhk->sbthk", name="c_attn")
            q, k, v = qkv(nn.LayerNorm(name="ln_1")(x))
            att = jnp.einsum("bqhk,bshk->bhqs", q, k) / math.sqrt(d // h)
            mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
            att = nn.softmax(jnp.where(mask, att, jnp.finfo(att.dtype).min))
            y = jnp.einsum("bhqs,bshk->bqhk", att, v)
            x = x + einsum((h, d // h, d), "bthk,hkd->btd", name="attn_proj")(y)
            y = nn.gelu(nn.Dense(4 * d, name="c_fc")(nn.LayerNorm(name="ln_2")(x)))
            return x + nn.Dense(d, name="c_proj")(y)

    class GPT(nn.Module):
        def setup(self):
            self.wte, self.wpe = nn.Embed(VOCAB, 64), nn.Embed(64, 64)
            self.h, self.ln_f = [Block() for _ in range(4)], nn.LayerNorm()

        def __call__(self, idx):
            x = self.wte(idx) + self.wpe(jnp.arange(idx.shape[1]))
            for block in self.h:
                x = block(x)
            return self.wte.attend(self.ln_f(x))

    return of_linen(GPT(), tokens(8, 32))


def linen_gpt_attention():
    class LanguageModel(nn.Module):
        @nn.compact
        def __call__(self, words, train=False):
            drop = partial(nn.Dropout, 0.1, deterministic=not train)
            init = nn.initializers.normal(stddev=0.02)
            x = nn.Embed(VOCAB, 96)(words)
            x = x + self.param("pos_embedding", init, (1, words.shape[1], 96))
            mask = nn.make_causal_mask(words)
            for _ in range(4):
                y = nn.LayerNorm()(x)
                y = nn.MultiHeadDotProductAttention(num_heads=4)(y, mask=mask)
                x = x + drop()(y)
                y = nn.gelu(nn.Dense(384)(nn.LayerNorm()(x)))
                x = x + drop()(nn.Dense(96)(y))
            return nn.Dense(VOCAB, use_bias=False, name="lm_head")(nn.LayerNorm()(x))

    return of_linen(LanguageModel(), tokens(8, 32))


def linen_post_ln():
    class EncoderLayer(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            attended = nn.SelfAttention(num_heads=4)(x, mask)
            x = nn.LayerNorm(name="attention_norm")(x + attended)
            y = nn.gelu(nn.Dense(256, name="intermediate")(x), approximate=False)
            return nn.LayerNorm(name="norm")(x + nn.Dense(64, name="output")(y))

    class Bert(nn.Module):
        @nn.compact
        def __call__(self, input_ids):
            positions = jnp.arange(input_ids.shape[-1])[None]
            x = nn.Embed(VOCAB, 64, name="word_embeddings")(input_ids)
            x = x + nn.Embed(64, 64, name="position_embeddings")(positions)
            x = nn.LayerNorm(name="embeddings_norm")(x)
            mask = nn.make_attention_mask(input_ids > 0, input_ids > 0)
            for i in range(4):
                x = EncoderLayer(name=f"layer_{i}")(x, mask)
            pooled = nn.tanh(nn.Dense(64, name="pooler")(x[:, 0]))
            return nn.Dense(2, name="classifier")(pooled)

    return of_linen(Bert(), tokens(8, 32))


def linen_parallel():
    class Parallel(nn.Module):
        @nn.compact
        def __call__(self, x):
            normed = nn.LayerNorm(use_bias=False)(x)
            dense, split = partial(nn.Dense, use_bias=False), (*x.shape[:2], 4, 16)
            q, k, v = (dense(64, name=name)(normed).reshape(split) for name in "qkv")
            attn = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            mlp = nn.Dense(64)(nn.gelu(nn.Dense(256)(normed)))
            return x + dense(64, name="o")(attn.reshape(x.shape)) + mlp

    trunk = [Parallel() for _ in range(5)]
    layers = [nn.Embed(VOCAB, 64), *trunk, nn.LayerNorm(), nn.Dense(VOCAB)]
    return of_linen(nn.Sequential(layers), tokens(8, 32))


def linen_gpt_scan():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            attention = nn.MultiHeadDotProductAttention(num_heads=4, use_bias=False)
            x = x + attention(nn.LayerNorm()(x), mask=mask)
            y = nn.gelu(nn.Dense(256, name="up")(nn.LayerNorm()(x)))
            return x + nn.Dense(64, name="down")(y), None

    class ScannedGPT(nn.Module):
        @nn.compact
        def __call__(self, ids):
            wte = nn.Embed(VOCAB, 64, name="wte")
            x = wte(ids) + nn.Embed(64, 64, name="wpe")(jnp.arange(ids.shape[-1]))
            blocks = nn.scan(
                nn.remat(Block, prevent_cse=False),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=nn.broadcast,
                length=6,
            )
            x, _ = blocks(name="blocks")(x, nn.make_causal_mask(ids))
            return wte.attend(nn.LayerNorm(name="ln_f")(x))

    return of_linen(ScannedGPT(), tokens(8, 32))


def linen_llama():
    def rope(x):
        half = x.shape[-1] // 2
        angles = jnp.outer(jnp.arange(x.shape[1]), 1e4 ** (-jnp.arange(half) / half))
        sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
        x1, x2 = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)

    class LlamaBlock(nn.Module):
        @nn.compact
        def __call__(self, h):
            proj, z = partial(nn.DenseGeneral, use_bias=False), nn.RMSNorm()(h)
            q, k = rope(proj((8, 8), name="wq")(z)), rope(proj((2, 8), name="wk")(z))
            k, v = (jnp.repeat(a, 4, axis=2) for a in (k, proj((2, 8), name="wv")(z)))
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(8)
            future = jnp.triu(jnp.full(scores.shape[-2:], -1e9), k=1)
            o = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores + future), v)
            h = h + proj(64, axis=(-2, -1), name="wo")(o)
            z = nn.RMSNorm()(h)
            z = nn.silu(proj(172, name="w1")(z)) * proj(172, name="w3")(z)
            return h + proj(64, name="w2")(z)

    blocks = [LlamaBlock() for _ in range(4)]
    output = nn.RMSNorm(), nn.Dense(VOCAB, use_bias=False)
    return of_linen(
        nn.Sequential([nn.Embed(VOCAB, 64), *blocks, *output]), tokens(8, 32)
    )


def linen_encoder_decoder():
    def sinusoids(length, dim):
        angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, dim, 2) / dim)
        return np.concatenate([np.sin(angle), np.cos(angle)], 1).astype("float32")

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, memory=None, mask=None):
            attention = partial(nn.MultiHeadDotProductAttention, num_heads=4)
            x = x + attention(name="self")(nn.LayerNorm()(x), mask=mask)
            if memory is not None:
                x = x + attention(name="cross")(nn.LayerNorm()(x), memory)
            return x + nn.Dense(64)(nn.relu(nn.Dense(256)(nn.LayerNorm()(x))))

    class Seq2Seq(nn.Module):
        def setup(self):
            self.shared = nn.Embed(VOCAB, 64)
            self.encoder, self.decoder = ([Layer() for _ in range(3)] for _ in "ed")
            self.encoder_norm, self.decoder_norm = nn.LayerNorm(), nn.LayerNorm()

        def __call__(self, src, tgt):
            x = self.shared(src) * 8.0 + sinusoids(src.shape[1], 64)
            y = self.shared(tgt) * 8.0 + sinusoids(tgt.shape[1], 64)
            for layer in self.encoder:
                x = layer(x)
            for layer in self.decoder:
                y = layer(y, self.encoder_norm(x), nn.make_causal_mask(tgt))
            return self.shared.attend(self.decoder_norm(y))

    return of_linen(Seq2Seq(), tokens(8, 24), tokens(8, 16, seed=2))


def linen_switch():
    class SwitchBlock(nn.Module):
        @nn.compact
        def __call__(self, x, experts=4):
            mask = nn.make_causal_mask(x[..., 0])
            x = x + nn.SelfAttention(4, use_bias=False)(nn.RMSNorm()(x), mask)
            flat = nn.RMSNorm()(x).reshape(-1, x.shape[-1])
            capacity = 5 * flat.shape[0] // (4 * experts)
            gates = nn.softmax(nn.Dense(experts, use_bias=False, name="router")(flat))
            chosen = jax.nn.one_hot(jnp.argmax(gates, axis=-1), experts)
            place = jnp.sum((jnp.cumsum(chosen, axis=0) - 1) * chosen, axis=-1)
            slots = jax.nn.one_hot(place.astype(jnp.int32), capacity)
            dispatch = jnp.einsum("te,tc->tec", chosen, slots)
            combine = dispatch * jnp.max(gates, axis=-1)[:, None, None]
            init = nn.initializers.lecun_normal()
            wi = self.param("wi", init, (experts, flat.shape[-1], 128))
            wo = self.param("wo", init, (experts, 128, flat.shape[-1]))
            h = jnp.einsum("tec,td->ecd", dispatch, flat)
            h = nn.relu(jnp.einsum("ecd,edf->ecf", h, wi))
            y = jnp.einsum("ecf,efd->ecd", h, wo)
            return x + jnp.einsum("tec,ecd->td", combine, y).reshape(x.shape)

    layers = [nn.Embed(VOCAB, 64), *(SwitchBlock() for _ in range(3)), nn.RMSNorm()]
    return of_linen(nn.Sequential([*layers, nn.Dense(VOCAB)]), tokens(8, 32))


def linen_dit():
    def modulate(x, shift, scale):
        x = nn.LayerNorm(use_bias=False, use_scale=False)(x)
        return x * (1 + scale[:, None]) + shift[:, None]

    class DiT(nn.Module):
        @nn.compact
        def __call__(self, x, t, y):
            b, h, w, ch = x.shape
            x = nn.Conv(64, (2, 2), strides=(2, 2), name="patchify")(x)
            x, init = x.reshape(b, -1, 64), nn.initializers.normal(0.02)
            x = x + self.param("pos_embed", init, (1, x.shape[1], 64))
            args = t[:, None] * jnp.exp(-math.log(1e4) * jnp.arange(64) / 64)
            temb = jnp.concatenate([jnp.cos(args), jnp.sin(args)], axis=-1)
            temb = nn.Dense(64)(nn.silu(nn.Dense(64)(temb)))
            c = nn.silu(temb + nn.Embed(10, 64, name="label_embed")(y))
            for i in range(4):
                ada = jnp.split(nn.Dense(6 * 64, name=f"adaLN_{i}")(c), 6, axis=-1)
                z = nn.MultiHeadDotProductAttention(4)(modulate(x, ada[0], ada[1]))
                x = x + ada[2][:, None] * z
                z = nn.gelu(nn.Dense(256)(modulate(x, ada[3], ada[4])))
                x = x + ada[5][:, None] * nn.Dense(64)(z)
            x = modulate(x, *jnp.split(nn.Dense(128, name="adaLN_out")(c), 2, -1))
            x = nn.Dense(4 * ch, name="final")(x).reshape(b, h // 2, w // 2, 2, 2, ch)
            return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, ch)

    times, labels = tokens(8, below=1000), tokens(8, seed=2, below=10)
    return of_linen(DiT(), normal(8, 8, 8, 4), times, labels)


def linen_mixer():
    def mlp(x, mlp_dim):
        return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(mlp_dim)(x)))

    class MlpMixer(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            x = nn.Conv(64, (4, 4), strides=(4, 4), name="stem")(inputs)
            x = x.reshape(x.shape[0], -1, x.shape[-1])
            for _ in range(4):
                y = mlp(jnp.swapaxes(nn.LayerNorm()(x), 1, 2), 64)
                x = x + jnp.swapaxes(y, 1, 2)
                x = x + mlp(nn.LayerNorm()(x), 256)
            return nn.Dense(10, name="head")(jnp.mean(nn.LayerNorm()(x), axis=1))

    return of_linen(MlpMixer(), normal(8, 24, 24, 3))


def linen_perceiver():
    def attend(latents, context, heads):
        q, kv = nn.LayerNorm()(latents), nn.LayerNorm()(context)
        latents += nn.MultiHeadDotProductAttention(heads)(q, kv)
        h = nn.gelu(nn.Dense(192)(nn.LayerNorm()(latents)))
        return latents + nn.Dense(96)(h)

    class Perceiver(nn.Module):
        @nn.compact
        def __call__(self, context):
            init = nn.initializers.truncated_normal(0.02)
            z = self.param("latents", init, (16, 96))
            z = jnp.tile(z, (context.shape[0], 1, 1))
            for _ in range(2):
                z = attend(z, context, heads=1)
                z = attend(z, z, heads=4)
            return nn.Dense(10)(nn.LayerNorm()(z).mean(axis=1))

    return of_linen(Perceiver(), normal(8, 48, 64))


def linen_lstm():
    class Tagger(nn.Module):
        @nn.compact
        def __call__(self, words):
            x = nn.Embed(VOCAB, 64)(words)
            forward, backward, top = (nn.OptimizedLSTMCell(64) for _ in range(3))
            x = nn.Bidirectional(nn.RNN(forward), nn.RNN(backward))(x)
            return nn.Dense(16)(nn.RNN(top)(x))

    return of_linen(Tagger(), tokens(8, 20))


def linen_gru():
    class Forecaster(nn.Module):
        @nn.compact
        def __call__(self, series):
            h = nn.RNN(nn.GRUCell(features=64), name="gru_1")(series)
            h = nn.RNN(nn.GRUCell(features=64), name="gru_2")(h)
            return nn.Dense(1)(h[:, -1])

    return of_linen(Forecaster(), normal(16, 20, 8))


def linen_lru():
    def nu_init(key, shape, r_min=0.4, r_max=0.99):
        u = jax.random.uniform(key, shape)
        return jnp.log(-0.5 * jnp.log(u * (r_max**2 - r_min**2) + r_min**2))

    def combine(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    class LRUBlock(nn.Module):
        @nn.compact
        def __call__(self, x, n=64):
            d, u, init = x.shape[-1], nn.LayerNorm()(x), nn.initializers.normal
            nu = self.param("nu_log", nu_init, (n,))
            theta = self.param("theta_log", nn.initializers.uniform(1.0), (n,))
            b = [self.param(k, init((2 * d) ** -0.5), (n, d)) for k in ("B_re", "B_im")]
            c = [self.param(k, init(n**-0.5), (d, n)) for k in ("C_re", "C_im")]
            lam = jnp.exp(-jnp.exp(nu) + 1j * jnp.exp(theta))
            gamma = jnp.sqrt(1 - jnp.abs(lam) ** 2)
            bu = u @ ((b[0] + 1j * b[1]) * gamma[:, None]).T
            lam = jnp.broadcast_to(lam, bu.shape)
            _, states = lax.associative_scan(combine, (lam, bu), axis=1)
            y = (states @ (c[0] + 1j * c[1]).T).real
            y = y + self.param("D", init(1.0), (d,)) * u
            return x + nn.glu(nn.Dense(2 * d)(nn.gelu(y)))

    layers = [nn.Dense(64), *(LRUBlock() for _ in range(4)), partial(jnp.mean, axis=1)]
    return of_linen(nn.Sequential([*layers, nn.Dense(10)]), normal(8, 32, 8))


# NNX.


def nnx_llama():
    def rotate(x):
        position, frequency = jnp.arange(x.shape[1]), 1e4 ** -jnp.arange(0, 1, 1 / 4)
        phase = jnp.repeat(jnp.outer(position, frequency), 2, axis=-1)[:, None]
        swapped = jnp.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
        return x * jnp.cos(phase) + swapped * jnp.sin(phase)

    class Layer(nnx.Module):
        def __init__(self, dim, rngs):
            linear = partial(nnx.Linear, use_bias=False, rngs=rngs)
            self.qkv, self.out = linear(dim, (8 + 2 * 2) * 8), linear(dim, dim)
            self.gate_up, self.down = linear(dim, 2 * 160), linear(160, dim)
            self.attention_norm = nnx.RMSNorm(dim, rngs=rngs)
            self.ffn_norm = nnx.RMSNorm(dim, rngs=rngs)

        def __call__(self, x):
            qkv = self.qkv(self.attention_norm(x)).reshape(*x.shape[:2], 12, 8)
            q, k, v = jnp.split(qkv, [8, 10], axis=2)
            o = jax.nn.dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            x = x + self.out(o.reshape(x.shape))
            gate, up = jnp.split(self.gate_up(self.ffn_norm(x)), 2, axis=-1)
            return x + self.down(nnx.silu(gate) * up)

    rngs = nnx.Rngs(1)
    layers = [nnx.Embed(VOCAB, 64, rngs=rngs), *(Layer(64, rngs) for _ in range(4))]
    head = nnx.RMSNorm(64, rngs=rngs), nnx.Linear(64, VOCAB, use_bias=False, rngs=rngs)
    return of_nnx(nnx.Sequential(*layers, *head), tokens(8, 32))


def nnx_cnn():
    class CNN(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs):
            self.conv1 = nnx.Conv(1, 64, kernel_size=(3, 3), rngs=rngs)
            self.batch_norm1 = nnx.BatchNorm(64, rngs=rngs)
            self.conv2 = nnx.Conv(64, 96, kernel_size=(3, 3), rngs=rngs)
            self.dropout = nnx.Dropout(rate=0.025, rngs=rngs)
            self.linear1 = nnx.Linear(3 * 3 * 96, 128, rngs=rngs)
            self.linear2 = nnx.Linear(128, 10, rngs=rngs)

        def __call__(self, x):
            pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
            x = pool(nnx.relu(self.batch_norm1(self.conv1(x))))
            x = pool(nnx.relu(self.conv2(x)))
            x = nnx.relu(self.dropout(self.linear1(x.reshape(x.shape[0], -1))))
            return self.linear2(x)

    return of_nnx(CNN(rngs=nnx.Rngs(1)), normal(8, 12, 12, 1))


def nnx_lstm():
    class CharRNN(nnx.Module):
        def __init__(self, hidden: int, *, rngs: nnx.Rngs):
            self.embed = nnx.Embed(VOCAB, hidden, rngs=rngs)
            self.rnn = nnx.RNN(nnx.LSTMCell(hidden, hidden, rngs=rngs), rngs=rngs)
            self.rnn2 = nnx.RNN(nnx.LSTMCell(hidden, hidden, rngs=rngs), rngs=rngs)
            self.head = nnx.Linear(hidden, VOCAB, rngs=rngs)

        def __call__(self, chars):
            return self.head(self.rnn2(self.rnn(self.embed(chars))))

    return of_nnx(CharRNN(64, rngs=nnx.Rngs(1)), tokens(8, 20))


def nnx_gemma():
    class RMSNorm(nnx.Module):
        def __init__(self, dim, *, rngs):
            self.scale = nnx.Param(nnx.initializers.zeros(rngs.params(), (dim,)))

        def __call__(self, x):
            var = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
            return x * lax.rsqrt(var + 1e-6) * (1 + self.scale[...])

    class Block(nnx.Module):
        def __init__(self, d, *, rngs):
            self.q_einsum = nnx.Einsum("BTD,NDH->BTNH", (4, d, 16), rngs=rngs)
            self.kv_einsum = nnx.Einsum("BSD,CKDH->CBSKH", (2, 2, d, 16), rngs=rngs)
            self.attn_vec_einsum = nnx.Einsum("BTNH,NHD->BTD", (4, 16, d), rngs=rngs)
            linear = partial(nnx.Linear, use_bias=False, rngs=rngs)
            self.gate_proj, self.up_proj = linear(d, 4 * d), linear(d, 4 * d)
            self.down_proj = linear(4 * d, d)
            self.norms = nnx.List([RMSNorm(d, rngs=rngs) for _ in range(4)])

        def attend(self, x):
            q, (k, v) = self.q_einsum(x) * 16**-0.5, self.kv_einsum(x)
            q = q.reshape(*q.shape[:2], 2, 2, 16)
            logits = jnp.einsum("BTKGH,BSKH->BKGTS", q, k)
            causal = jnp.tri(x.shape[1], dtype=bool)
            probs = jax.nn.softmax(jnp.where(causal, logits, -2.3819763e38), axis=-1)
            encoded = jnp.einsum("BKGTS,BSKH->BTKGH", probs, v)
            return self.attn_vec_einsum(encoded.reshape(*x.shape[:2], 4, 16))

        def __call__(self, x):
            x = x + self.norms[1](self.attend(self.norms[0](x)))
            y = self.norms[2](x)
            y = self.down_proj(nnx.gelu(self.gate_proj(y)) * self.up_proj(y))
            return x + self.norms[3](y)

    class Gemma(nnx.Module):
        def __init__(self, d, *, rngs):
            init = nnx.initializers.normal()
            self.input_embedding = nnx.Param(init(rngs.params(), (VOCAB, d)))
            self.layers = nnx.List([Block(d, rngs=rngs) for _ in range(4)])
            self.final_norm = RMSNorm(d, rngs=rngs)

        def __call__(self, ids):
            table = self.input_embedding[...]
            x = table[ids] * jnp.sqrt(table.shape[1]).astype(table.dtype)
            for layer in self.layers:
                x = layer(x)
            return 30.0 * jnp.tanh(self.final_norm(x) @ table.T / 30.0)

    return of_nnx(Gemma(64, rngs=nnx.Rngs(1)), tokens(8, 32))


def nnx_vit():
    class EncoderBlock(nnx.Module):
        def __init__(self, dim, rngs):
            self.norm1 = nnx.LayerNorm(dim, rngs=rngs)
            self.attn = nnx.MultiHeadAttention(4, dim, decode=False, rngs=rngs)
            self.norm2 = nnx.LayerNorm(dim, rngs=rngs)
            self.linear1 = nnx.Linear(dim, 4 * dim, rngs=rngs)
            self.linear2 = nnx.Linear(4 * dim, dim, rngs=rngs)

        def __call__(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.linear2(nnx.gelu(self.linear1(self.norm2(x))))

    class VisionTransformer(nnx.Module):
        def __init__(self, dim, *, rngs: nnx.Rngs):
            self.patches = nnx.Conv(3, dim, (4, 4), strides=(4, 4), rngs=rngs)
            self.cls_token = nnx.Param(jnp.zeros((1, 1, dim)))
            init = nnx.initializers.truncated_normal(0.02)
            self.pos = nnx.Param(init(rngs.params(), (1, 17, dim)))
            self.encoder = nnx.Sequential(*[EncoderBlock(dim, rngs) for _ in range(4)])
            self.norm = nnx.LayerNorm(dim, rngs=rngs)
            self.head = nnx.Linear(dim, 10, rngs=rngs)

        def __call__(self, images):
            x = self.patches(images).reshape(images.shape[0], 16, -1)
            cls = jnp.tile(self.cls_token[...], (x.shape[0], 1, 1))
            x = jnp.concatenate([cls, x], axis=1) + self.pos[...]
            return self.head(self.norm(self.encoder(x))[:, 0])

    return of_nnx(VisionTransformer(64, rngs=nnx.Rngs(1)), normal(8, 16, 16, 3))


def nnx_scan():
    class Block(nnx.Module):
        def __init__(self, width: int, *, rngs: nnx.Rngs):
            self.norm = nnx.LayerNorm(width, rngs=rngs)
            self.fc1 = nnx.Linear(width, 2 * width, rngs=rngs)
            self.fc2 = nnx.Linear(2 * width, width, rngs=rngs)
            self.dropout = nnx.Dropout(0.1, rngs=rngs)

        def __call__(self, x):
            return x + self.dropout(self.fc2(nnx.gelu(self.fc1(self.norm(x)))))

    class Stack(nnx.Module):
        def __init__(self, width: int, depth: int, *, rngs: nnx.Rngs):
            @nnx.split_rngs(splits=depth)
            @nnx.vmap(in_axes=(0,), out_axes=0)
            def create(rngs):
                return Block(width, rngs=rngs)

            self.embed, self.blocks = nnx.Linear(32, width, rngs=rngs), create(rngs)
            self.head = nnx.Linear(width, 10, rngs=rngs)

        def __call__(self, x):
            @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            def forward(x, block):
                return block(x)

            return self.head(forward(self.embed(x), self.blocks))

    return of_nnx(Stack(96, 6, rngs=nnx.Rngs(1)), normal(16, 32))


# Haiku.


def haiku_convnet():
    import haiku as hk

    def forward(images):
        x = jax.nn.relu(hk.Conv2D(64, 3, stride=2)(images))
        x = hk.max_pool(jax.nn.relu(hk.Conv2D(64, 3)(x)), (2, 2, 1), (2, 2, 1), "VALID")
        return hk.nets.MLP([128, 128, 10])(hk.Flatten()(x))

    return of_haiku(hk.transform(forward), normal(8, 16, 16, 3))


def haiku_transformer():
    import haiku as hk

    def forward(ids):
        w_init, pos_init = (
            hk.initializers.VarianceScaling(),
            hk.initializers.RandomNormal,
        )
        norm = partial(hk.LayerNorm, axis=-1, create_scale=True, create_offset=True)
        h = hk.Embed(VOCAB, 64)(ids)
        h += hk.get_parameter("pos", (ids.shape[1], 64), init=pos_init(0.02))
        mask = np.tril(np.ones((1, 1, ids.shape[1], ids.shape[1])))
        for _ in range(4):
            a = norm()(h)
            h += hk.MultiHeadAttention(4, 16, w_init=w_init)(a, a, a, mask)
            h += hk.Linear(64)(jax.nn.gelu(hk.Linear(256)(norm()(h))))
        return hk.Linear(VOCAB)(norm()(h))

    return of_haiku(hk.transform(forward), tokens(8, 32))


def haiku_lstm():
    import haiku as hk

    def unroll(sequence):
        core = hk.DeepRNN([hk.LSTM(64), jax.nn.relu, hk.LSTM(64)])
        state = core.initial_state(sequence.shape[1])
        outputs, _ = hk.dynamic_unroll(core, sequence, state)
        return hk.BatchApply(hk.Linear(4))(outputs)

    return of_haiku(hk.transform(unroll), normal(20, 8, 16))


# Equinox.


def equinox_mlp():
    import equinox as eqx

    mlp = eqx.nn.MLP(64, 1, width_size=128, depth=4, key=jax.random.key(1))
    return of_equinox(mlp, normal(16, 64))


def equinox_transformer():
    import equinox as eqx

    class Block(eqx.Module):
        norms: list[eqx.nn.LayerNorm]
        attention: eqx.nn.MultiheadAttention
        linear1: eqx.nn.Linear
        linear2: eqx.nn.Linear

        def __init__(self, size, key):
            k1, k2, k3 = jax.random.split(key, 3)
            self.norms = [eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size)]
            self.attention = eqx.nn.MultiheadAttention(4, size, key=k1)
            self.linear1 = eqx.nn.Linear(size, 4 * size, key=k2)
            self.linear2 = eqx.nn.Linear(4 * size, size, key=k3)

        def __call__(self, x):
            y = jax.vmap(self.norms[0])(x)
            x = x + self.attention(y, y, y, mask=jnp.tri(x.shape[0], dtype=bool))
            y = jax.vmap(self.linear1)(jax.vmap(self.norms[1])(x))
            return x + jax.vmap(self.linear2)(jax.nn.gelu(y))

    class Model(eqx.Module):
        embedding: eqx.nn.Embedding
        blocks: list[Block]
        head: eqx.nn.Linear

        def __init__(self, size, depth, *, key):
            ekey, hkey, *bkeys = jax.random.split(key, depth + 2)
            self.embedding = eqx.nn.Embedding(VOCAB, size, key=ekey)
            self.blocks = [Block(size, k) for k in bkeys]
            self.head = eqx.nn.Linear(size, VOCAB, use_bias=False, key=hkey)

        def __call__(self, ids):
            x = jax.vmap(self.embedding)(ids)
            for block in self.blocks:
                x = block(x)
            return jax.vmap(self.head)(x)

    return of_equinox(Model(64, 4, key=jax.random.key(1)), tokens(8, 24))


def equinox_cnn():
    import equinox as eqx

    keys = iter(jax.random.split(jax.random.key(1), 4))
    layers = [
        eqx.nn.Conv2d(3, 64, kernel_size=3, key=next(keys)),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.MaxPool2d(kernel_size=2, stride=2),
        eqx.nn.Conv2d(64, 64, kernel_size=3, key=next(keys)),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(64 * 4 * 4, 128, key=next(keys)),
        eqx.nn.Lambda(jax.nn.sigmoid),
        eqx.nn.Linear(128, 10, key=next(keys)),
    ]
    return of_equinox(eqx.nn.Sequential(layers), normal(8, 3, 14, 14))


# Functions.


def plain_mlp():
    def predict(params, x):
        *hidden, last = params.values()
        for layer in hidden:
            x = jax.nn.relu(jnp.dot(x, layer["w"]) + layer["b"])
        return jnp.dot(x, last["w"]) + last["b"]

    params = {}
    for i, (m, n) in enumerate(itertools.pairwise([64, 96, 96, 96, 10])):
        w = np.sqrt(2 / m) * normal(m, n, seed=i + 1)
        params[f"layer{i}"] = {"w": w, "b": jnp.zeros(n)}
    return predict, params, (normal(16, 64),)


def layer_norm(x, g, b):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return g * (x - mean) / jnp.sqrt(var + 1e-5) + b


def gpt_block(x, p):
    b, t, d = x.shape
    qkv = layer_norm(x, p["ln1_g"], p["ln1_b"]) @ p["w_qkv"]
    q, k, v = qkv.reshape(b, t, 3, 4, d // 4).transpose(2, 0, 3, 1, 4)
    att = q @ k.swapaxes(-1, -2) / np.sqrt(d // 4)
    att = jax.nn.softmax(jnp.where(np.tri(t, dtype=bool), att, -1e10))
    x = x + (att @ v).transpose(0, 2, 1, 3).reshape(b, t, d) @ p["w_o"]
    h = layer_norm(x, p["ln2_g"], p["ln2_b"]) @ p["w_up"] + p["b_up"]
    return x + jax.nn.gelu(h) @ p["w_down"] + p["b_down"]


def gpt_params(layers=4, d=64):
    widths = {"w_qkv": (d, 3 * d), "w_o": (d, d), "w_up": (d, 4 * d)}
    widths |= {"w_down": (4 * d, d)}
    sizes = enumerate(widths.items())
    blocks = {k: 0.02 * normal(layers, *s, seed=n) for n, (k, s) in sizes}
    blocks |= {k: jnp.ones((layers, d)) for k in ("ln1_g", "ln2_g")}
    blocks |= {k: jnp.zeros((layers, d)) for k in ("ln1_b", "ln2_b", "b_down")}
    blocks["b_up"] = jnp.zeros((layers, 4 * d))
    wte, wpe = 0.02 * normal(VOCAB, d, seed=8), 0.01 * normal(64, d, seed=9)
    return {"wte": wte, "wpe": wpe, "blocks": blocks}


def plain_gpt_scan():
    def gpt(params, ids):
        x = params["wte"][ids] + params["wpe"][: ids.shape[1]]
        x, _ = lax.scan(lambda x, p: (gpt_block(x, p), None), x, params["blocks"])
        return x @ params["wte"].T

    return gpt, gpt_params(), (tokens(8, 32),)


def plain_gpt_loop():
    def gpt(params, ids):
        x, p = params["wte"][ids], params["blocks"]
        x = x + params["wpe"][jnp.arange(ids.shape[1])]
        for i in range(p["w_qkv"].shape[0]):
            x = gpt_block(x, {name: p[name][i] for name in p})
        return x @ params["wte"].T

    return gpt, gpt_params(), (tokens(8, 32),)


LIBRARIES = "linen_", "nnx_", "haiku_", "equinox_", "plain_"
CASES: dict[str, Callable[[], Case]] = {
    name: build for name, build in dict(globals()).items() if name.startswith(LIBRARIES)
}
