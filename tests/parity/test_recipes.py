"""Recipes beside the code that they stand for: the mup package, GPT-2 and Haiku."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_std
from published import haiku as hk
from published import mup, torch, transformers

import jinit
from jinit import recipes

KEY = jax.random.key(0)
INIT = jinit.haiku(jinit.zeros)
BASE, X = 32, np.ones((2, 8), "f4")


def roles_of(width):
    layers = nn.Dense(width), nn.relu, nn.Dense(width), nn.relu, nn.Dense(3)
    model = nn.Sequential(layers)
    return jinit.roles(model, jax.eval_shape(model.init, KEY, X), X)


def of_mup(width):
    """The same model by the mup package, its inputs' fans as of jinit's."""

    def model(width):
        hidden = torch.nn.Linear(8, width), torch.nn.Linear(width, width)
        return torch.nn.Sequential(*hidden, mup.MuReadout(width, 3))

    made = model(width)
    mup.set_base_shapes(made, model(BASE), delta=model(2 * BASE))
    return made


@pytest.mark.parametrize("width", [64, 256])
def test_multipliers_are_those_of_the_mup_package(width):
    """Whose readout divides the logits by m, and keeps its std and rates for that."""
    table, model = roles_of(width).mup(roles_of(BASE)), of_mup(width)
    m = width / BASE
    rates = {}
    for name, make in (("adam", mup.MuAdam), ("sgd", mup.MuSGD)):
        groups = make(model.parameters(), lr=1.0, weight_decay=1.0).param_groups
        rates[name] = {id(p): group for group in groups for p in group["params"]}
    for entry in table.entries:
        number, name = entry.path.split("/")[-2][-1], entry.path.split("/")[-1]
        layer = model[int(number) // 2]
        parameter = layer.weight if name == "kernel" else layer.bias
        folded = name == "kernel" and isinstance(layer, mup.MuReadout)
        adam, sgd = (rates[each][id(parameter)] for each in ("adam", "sgd"))
        assert entry.adam == pytest.approx(adam["lr"] / (m if folded else 1))
        # The gradient has the factor too, and so does what is added to the logits.
        assert entry.sgd == pytest.approx(sgd["lr"] / (m**2 if folded else 1))
        decay = adam["lr"] * adam["weight_decay"]
        assert entry.adam * entry.decay == pytest.approx(decay)
        if name == "kernel":
            mup.init.normal_(parameter, std=1.0)
            std = entry.std * (m if folded else 1)
            check_std(parameter.detach().numpy(), std)


class Decoder(nn.Module):
    """GPT-2's, in sizes that are quick to read."""

    @nn.compact
    def __call__(self, words):
        x = nn.Embed(500, 64, name="wte")(words)
        x = x + self.param("wpe", nn.initializers.zeros, (1, 8, 64))
        for n in range(3):
            h = nn.MultiHeadDotProductAttention(4, name=f"attn_{n}")(nn.LayerNorm()(x))
            x = x + h
            h = nn.gelu(nn.Dense(256, name=f"up_{n}")(nn.LayerNorm()(x)))
            x = x + nn.Dense(64, name=f"down_{n}")(h)
        return nn.LayerNorm()(x)


def test_deviations_are_those_of_transformers_gpt2():
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 8}
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = transformers.GPT2Config(vocab_size=500, **sizes, **ends)
    theirs = transformers.GPT2Model(config).state_dict()
    words = np.zeros((1, 8), "int32")
    params = jax.eval_shape(Decoder().init, KEY, words)
    plan = dict(jinit.roles(Decoder(), params, words).rules(recipes.gpt2()))
    names = {
        "wte/embedding": "wte.weight",
        "wpe": "wpe.weight",
        **{f"attn_{n}/query/kernel": f"h.{n}.attn.c_attn.weight" for n in range(3)},
        **{f"attn_{n}/out/kernel": f"h.{n}.attn.c_proj.weight" for n in range(3)},
        **{f"up_{n}/kernel": f"h.{n}.mlp.c_fc.weight" for n in range(3)},
        **{f"down_{n}/kernel": f"h.{n}.mlp.c_proj.weight" for n in range(3)},
    }
    for ours, name in names.items():
        std = plan[f"params/{ours}"].law((4, 16, 64)).std
        check_std(theirs[name].numpy(), std)


def test_a_transformer_of_haiku_has_the_deviations_of_the_formula():
    def forward(x):
        for _ in range(3):
            h = hk.LayerNorm(-1, True, True)(x)
            x = x + hk.MultiHeadAttention(4, 8, w_init=INIT)(h, h, h)
            h = jax.nn.gelu(hk.Linear(128)(hk.LayerNorm(-1, True, True)(x)))
            x = x + hk.Linear(32)(h)
        return x

    model, x = hk.transform(forward), jnp.ones((2, 8, 32))
    params = jax.eval_shape(model.init, KEY, x)
    roles = jinit.roles(model, params, x)
    stds = {
        path: init.law((8, 8)).std
        for path, init in roles.rules(recipes.gpt2())
        if path.endswith("/w")
    }
    writers = {p for p in stds if p.startswith(("linear_1/", "linear_3/", "linear_5/"))}
    writers |= {path for path in stds if path.endswith("/linear/w") and "multi" in path}
    assert len(writers) == 6
    for path, std in stds.items():
        assert std == pytest.approx(0.02 / 6**0.5 if path in writers else 0.02)
