"""Recipes: of models by different hands the formulas of the papers."""

import dataclasses
import functools
import importlib
import json
import math
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from widths import check

import jinit
from jinit import recipes
from jinit.recipes import Recipe

KEY = jax.random.key(0)
WORDS = np.zeros((2, 8), "int32")
D, HEADS, LAYERS, VOCAB = 32, 4, 3, 50
SIZE, BRANCHES = D // HEADS, 2 * LAYERS


# One transformer, by four hands. Of each: what its leaves are, in words of the papers.


class WithLayers(nn.Module):
    """Flax's own attention, and a head of its own."""

    @nn.compact
    def __call__(self, words):
        x = nn.Embed(VOCAB, D, name="table")(words)
        x += self.param("places", nn.initializers.normal(), (1, 8, D))
        for n in range(LAYERS):
            attention = nn.MultiHeadDotProductAttention(HEADS, name=f"attention_{n}")
            x = x + attention(nn.LayerNorm()(x))
            h = nn.gelu(nn.Dense(4 * D, name=f"up_{n}")(nn.LayerNorm()(x)))
            x = x + nn.Dense(D, name=f"down_{n}")(h)
        return nn.Dense(VOCAB, name="head")(nn.LayerNorm()(x))


class Block(nn.Module):
    """Attention of einsums, with kernels of three axes."""

    @nn.compact
    def __call__(self, x, _=None):
        def kernel(name, *shape):
            return self.param(name, nn.initializers.normal(), shape)

        h = nn.LayerNorm()(x)
        query, key, value = (
            jnp.einsum("btd,dhk->bthk", h, kernel(name, D, HEADS, SIZE))
            for name in ("query", "key", "value")
        )
        weights = jnp.einsum("bqhk,bshk->bhqs", query, key) / SIZE**0.5
        h = jnp.einsum("bhqs,bshk->bqhk", nn.softmax(weights), value)
        x = x + jnp.einsum("bqhk,hkd->bqd", h, kernel("out", HEADS, SIZE, D))
        h = nn.gelu(nn.LayerNorm()(x) @ kernel("up", D, 4 * D))
        return x + h @ kernel("down", 4 * D, D), None


class WithEinsums(nn.Module):
    scan: bool = False

    @nn.compact
    def __call__(self, words):
        x = nn.Embed(VOCAB, D, name="table")(words)
        x += self.param("places", nn.initializers.normal(), (1, 8, D))
        if self.scan:
            axes, split = {"params": 0}, {"params": True}
            loop = nn.scan(
                nn.remat(Block), variable_axes=axes, split_rngs=split, length=LAYERS
            )
            x, _ = loop()(x, None)
        else:
            for _ in range(LAYERS):
                x, _ = Block()(x)
        return nn.Dense(VOCAB, name="head")(nn.LayerNorm()(x))


class OfNNX(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.table = nnx.Embed(VOCAB, D, rngs=rngs)
        self.places = nnx.Param(jnp.zeros((1, 8, D)))
        make = {"decode": False, "rngs": rngs}
        attention = [nnx.MultiHeadAttention(HEADS, D, **make) for _ in range(LAYERS)]
        self.attention = nnx.List(attention)
        up = [nnx.Linear(D, 4 * D, rngs=rngs) for _ in range(LAYERS)]
        down = [nnx.Linear(4 * D, D, rngs=rngs) for _ in range(LAYERS)]
        norms = [nnx.LayerNorm(D, rngs=rngs) for _ in range(2 * LAYERS + 1)]
        self.up, self.down, self.norms = nnx.List(up), nnx.List(down), nnx.List(norms)
        self.head = nnx.Linear(D, VOCAB, rngs=rngs)

    def __call__(self, words):
        x = self.table(words) + self.places[...]
        for n in range(LAYERS):
            x = x + self.attention[n](self.norms[2 * n](x))
            x = x + self.down[n](nnx.gelu(self.up[n](self.norms[2 * n + 1](x))))
        return self.head(self.norms[-1](x))


def of_linen(model):
    return model, jax.eval_shape(model.init, KEY, WORDS)


MODELS = {
    "layers": lambda: of_linen(WithLayers()),
    "einsums": lambda: of_linen(WithEinsums()),
    "scanned": lambda: of_linen(WithEinsums(scan=True)),
    "nnx": lambda: (model := OfNNX(), nnx.state(model, nnx.Param)),
}
PARTS = "query", "key", "value", "out", "up", "down", "head", "table", "places"


@functools.cache
def roles_in(name):
    model, params = MODELS[name]()
    return params, jinit.roles(model, params, WORDS)


def drawn(name, recipe, **options):
    """For each part the standard deviations that a recipe gives, in order."""
    params, roles = roles_in(name)
    found = {part: [] for part in PARTS}
    for entry in jinit.plan(params, roles.rules(recipe, **options)).entries:
        part = next((p for p in PARTS if p in entry.path), None)
        if part is not None and "bias" not in entry.path:
            law = entry.init.law(entry.shape)
            found[part].append(float(law.std))
    return found


N = LAYERS
XAVIER = {
    **dict.fromkeys(("query", "key", "value", "out"), math.sqrt(1 / D)),
    **dict.fromkeys(("up", "down"), math.sqrt(2 / (5 * D))),
    "head": math.sqrt(2 / (D + VOCAB)),
}
LECUN = dict.fromkeys(("query", "key", "value", "out", "up", "head"), D**-0.5)
LECUN["down"] = (4 * D) ** -0.5
SMALL = ("value", "out", "up", "down")


def xavier(gain):
    return XAVIER | {part: gain * XAVIER[part] for part in SMALL}


# Of each recipe the deviations that its paper has, by hand.
FORMULAS = {
    recipes.gpt2(): {
        **dict.fromkeys(PARTS, 0.02),
        **dict.fromkeys(("out", "down"), 0.02 / math.sqrt(2 * N)),
    },
    recipes.gpt2(std=0.01): {"query": 0.01, "down": 0.01 / math.sqrt(2 * N)},
    recipes.small_init(): {
        **dict.fromkeys(("query", "key", "value", "up"), math.sqrt(2 / (5 * D))),
        **dict.fromkeys(("out", "down"), 2 / (N * math.sqrt(D))),
        "table": math.sqrt(2 / (5 * D)),
    },
    recipes.deepnorm(): xavier((8 * N) ** -0.25),
    recipes.subln(): xavier(math.sqrt(math.log(2 * N))),
    recipes.t_fixup(): {**xavier(0.67 * N**-0.25), "table": 0.67 * N**-0.25 * D**-0.5},
    recipes.fixup(): {
        **dict.fromkeys(("query", "key", "value", "up"), math.sqrt(2 / D / (2 * N))),
        **dict.fromkeys(("out", "down", "head"), 0.0),
    },
    recipes.zero_residual(): {"out": 0.0, "down": 0.0},
    recipes.vit(): {**XAVIER, "head": 0.0, "places": D**-0.5},
    recipes.t5(): {**LECUN, "query": (D * SIZE) ** -0.5, "table": 1.0},
    recipes.griffin(): {
        **LECUN,
        "out": math.sqrt(2 / N / D),
        "down": math.sqrt(2 / N / (4 * D)),
    },
    recipes.nanochat(): {
        **dict.fromkeys(("query", "key", "value"), D**-0.5),
        **{"up": 0.4 * D**-0.5, "out": 0.0, "down": 0.0, "head": 0.001, "table": 0.8},
    },
    recipes.spectral(): {**LECUN, "down": (4 * D) ** -0.5 / 2},
    recipes.torch(): {p: std / math.sqrt(3) for p, std in LECUN.items()} | {"table": 1},
    recipes.flax(): {**LECUN, "table": D**-0.5},
    recipes.ntk(w_std=1.5): {p: 1.5 * s for p, s in LECUN.items()} | {"table": 1.0},
    recipes.mup(base=8): {  # the models are four times as wide
        **dict.fromkeys(("query", "key", "value", "up"), 0.02 / 2),
        **dict.fromkeys(("out", "down"), 0.02 / 2 / math.sqrt(2 * N)),
        **{"head": 0.02 / 4, "table": 0.02, "places": 0.02},
    },
    recipes.completep(base=8, std=0.1): {
        **dict.fromkeys(("query", "value", "up", "out", "down"), 0.1 / 2),
        **{"head": 0.1 / 4, "table": 0.1},
    },
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("recipe", FORMULAS, ids=repr)
def test_deviations_are_those_of_the_formula(recipe, name):
    found = drawn(name, recipe)
    for part, std in FORMULAS[recipe].items():
        assert found[part]
        np.testing.assert_allclose(found[part], std, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["layers", "einsums", "nnx"])
def test_writers_are_divided_by_their_own_depth(name):
    found = drawn(name, recipes.by_depth())
    expected = [0.02 / math.sqrt(2 * (n + 1)) for n in range(LAYERS)]
    np.testing.assert_allclose(found["out"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["down"], expected, rtol=1e-6)

    found = drawn(name, recipes.olmo())
    cut = jinit.trunc_normal(std=1.0, a=-3.0, b=3.0).law((1,)).std
    expected = [cut / math.sqrt(2 * 4 * D * (n + 1)) for n in range(LAYERS)]
    np.testing.assert_allclose(found["down"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["up"], cut * D**-0.5, rtol=1e-6)


def test_the_rules_of_a_user_go_first_and_the_rest_is_left_to_the_roles():
    params, roles = roles_in("layers")
    rules = [("**/head/kernel", jinit.zeros()), *roles.rules(recipes.gpt2())]
    plan = {e.path: e.init for e in jinit.plan(params, rules).entries}
    assert repr(plan["params/head/kernel"]) == "zeros()"
    assert repr(plan["params/LayerNorm_0/scale"]) == "ones()"
    assert repr(plan["params/up_0/bias"]) == "zeros()"


def test_agents_have_orthogonal_kernels_and_small_heads():
    class Agent(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.tanh(nn.Dense(16, name="a")(nn.tanh(nn.Dense(16, name="b")(x))))
            return nn.Dense(3, name="policy")(h), nn.Dense(1, name="value")(h)

    x = np.ones((2, 8), "f4")
    params = jax.eval_shape(Agent().init, KEY, x)
    rules = jinit.roles(Agent(), params, x).rules(recipes.rl(head_gain=0.1))
    gains = {path: init.gain for path, init in rules if "kernel" in path}
    assert gains == {
        **{f"params/{name}/kernel": math.sqrt(2) for name in "ab"},
        **{f"params/{name}/kernel": 0.1 for name in ("policy", "value")},
    }


def test_a_scale_that_ends_a_branch_has_its_value_and_the_writer_before_it_stays():
    """LayerScale's, SkipInit's of one number, and a norm's."""

    class Scaled(nn.Module):
        kind: str

        @nn.compact
        def __call__(self, x):
            for n in range(2):
                h = nn.gelu(nn.Dense(64)(nn.LayerNorm()(x)))
                h = nn.Dense(D, name=f"down_{n}")(h)
                if self.kind == "norm":
                    h = nn.LayerNorm(use_bias=False, name=f"end_{n}")(h)
                else:
                    shape = (1, 1, D) if self.kind == "layer" else ()
                    h = h * self.param(f"end_{n}", nn.initializers.ones, shape)
                x = x + h
            return x

    x = np.ones((2, 8, D), "f4")
    for kind, value in (("layer", 1e-5), ("skip", 0.0), ("norm", 0.0)):
        params = jax.eval_shape(Scaled(kind).init, KEY, x)
        recipe = recipes.zero_residual(scale=value)
        rules = jinit.roles(Scaled(kind), params, x).rules(recipe)
        for path, init in rules:
            if "end" in path:
                assert init.law((4,)) == jinit.laws.Point(value)
            if "down" in path and "kernel" in path:
                assert init.law((4, 4)).std > 0


def test_the_gates_of_a_branch_are_zero_and_not_its_writers():
    class Modulated(nn.Module):
        @nn.compact
        def __call__(self, x, c):
            gate = nn.Dense(D, name="gate")(nn.silu(c))[:, None]
            h = nn.Dense(D, name="down")(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))
            return x + gate * h

    inputs = np.ones((2, 8, D), "f4"), np.ones((2, 6), "f4")
    params = jax.eval_shape(Modulated().init, KEY, *inputs)
    rules = dict(
        jinit.roles(Modulated(), params, *inputs).rules(recipes.zero_residual())
    )
    assert repr(rules["params/gate/kernel"]) == "zeros()"
    assert repr(rules["params/down/kernel"]) != "zeros()"


@pytest.mark.parametrize(("scale", "growth"), [("gpt2", 2.0), ("by_depth", 4.8)])
def test_the_variance_of_a_stream_in_depth_is_that_of_the_formula(scale, growth):
    """Of 24 layers: 1 + 48 / 48, or 1 + the sum of 1 / (l + 1); without, 49."""
    layers = 24

    def model(params, x):
        for n in range(2 * layers):
            x = x + x / x.size**0 @ params["w"][f"{n:02}"]
        return x

    shapes = {"w": {f"{n:02}": jax.ShapeDtypeStruct((8, 8), "f4") for n in range(48)}}
    roles = jinit.roles(model, shapes, jax.ShapeDtypeStruct((1, 8), "f4"))
    recipe = getattr(recipes, scale)(std=1.0)
    added = sum(init.law((8, 8)).std ** 2 for _, init in roles.rules(recipe))
    assert 1 + added == pytest.approx(growth, abs=0.05)


# Recipes as values


@pytest.mark.parametrize("name", sorted(Recipe.known))
def test_a_recipe_is_a_value(name):
    recipe = recipes.named(name)()
    assert eval(repr(recipe), vars(recipes)) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert dataclasses.replace(recipe) == recipe
    assert hash(recipe) == hash(recipes.named(name)())


def test_a_recipe_that_does_not_fit_says_what_it_looked_for():
    params = {"w": jax.ShapeDtypeStruct((8, 8), "f4")}
    x = jax.ShapeDtypeStruct((1, 8), "f4")
    roles = jinit.roles(lambda p, x: jnp.tanh(x @ p["w"]), params, x)
    message = (
        r"gpt2\(std=0.02\) is for a model with stream.* no stream was found, only 1"
    )
    with pytest.raises(ValueError, match=message):
        roles.rules(recipes.gpt2())
    with pytest.raises(ValueError, match="no attention was found"):
        roles.rules(recipes.t5())


def test_an_encoder_and_a_decoder_in_one_are_refused_where_constants_are_of_one():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, memory, x):
            attend = nn.MultiHeadDotProductAttention
            for n in range(2):
                memory = memory + attend(2, name=f"encoder_{n}")(memory)
            for n in range(2):
                x = x + attend(2, name=f"self_{n}")(x)
                x = x + attend(2, name=f"cross_{n}")(x, memory)
            return x

    x = np.ones((2, 4, 8), "f4")
    roles = jinit.roles(Two(), jax.eval_shape(Two().init, KEY, x, x), x, x)
    for recipe in (recipes.deepnorm(), recipes.subln()):
        with pytest.raises(ValueError, match=r"of one stream.*cross_0/value/kernel"):
            roles.rules(recipe)
    assert roles.rules(recipes.gpt2())


def test_layers_of_a_loop_cannot_differ_by_depth():
    _, roles = roles_in("scanned")
    with pytest.raises(ValueError, match=r"by_depth.* in a loop, as .* drawn alike"):
        roles.rules(recipes.by_depth())


def test_the_recipe_that_the_contributing_guide_adds_works():
    guide = (pathlib.Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(@dataclass.*?)```", guide, re.DOTALL)
    module = importlib.import_module("jinit.recipes._recipe")
    scope = vars(importlib.import_module("jinit.recipes._fixup")) | vars(module)
    exec("from __future__ import annotations\n" + code, scope)
    recipe = scope["xavier_by_role"]()

    assert (
        Recipe.from_dict(recipe.to_dict())
        == recipe
        == recipes.named(repr(recipe)[:-2])()
    )
    del Recipe.known["xavier_by_role"]
    found = drawn("layers", recipe)
    assert found["head"] == [0.0]
    np.testing.assert_allclose(found["up"], XAVIER["up"], rtol=1e-6)


def test_a_recipe_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="recipe must be one of by_depth, completep"):
        recipes.named("gpt3")


# muP


class Perceptron(nn.Module):
    width: int
    heads: int = 0

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width, name="input")(x))
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        if self.heads:
            x = nn.MultiHeadDotProductAttention(self.heads, name="attend")(x)
        return nn.Dense(3, name="output")(x)


X = np.ones((2, 5, 8), "f4")


def roles_of(width, heads=0):
    model = Perceptron(width, heads)
    return jinit.roles(model, jax.eval_shape(model.init, KEY, X), X)


TABLE_3 = {  # std, rate of Adam, rate of SGD, as multiples, for m times the width
    "input": lambda m: (1, 1, m),
    "hidden": lambda m: (m**-0.5, 1 / m, 1),
    "output": lambda m: (1 / m, 1 / m, 1 / m),
}


@pytest.mark.parametrize("width", [64, 128, 256])
def test_mup_scales_as_table_3_has_it(width):
    base, m = roles_of(32), width / 32
    table = roles_of(width).mup(base)
    rules, small = dict(table.rules), dict(base.rules())
    for entry in table.entries:
        name = entry.path.split("/")[1]
        if "bias" in entry.path:
            wider = 1 if name == "output" else m
            assert (entry.std, entry.adam, entry.sgd) == (1, 1, wider)
            continue
        assert (entry.std, entry.adam, entry.sgd) == TABLE_3[name](m)
        shapes = {role.path: role.shape for role in base}
        std = small[entry.path].law(shapes[entry.path]).std * entry.std
        assert rules[entry.path].law((7, 7)).std == pytest.approx(std, rel=1e-9)


class Grouped(nn.Module):
    width: int
    groups: int
    last: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.width, (3,))(x))
        x = nn.Conv(self.width, (3,), feature_group_count=self.groups, name="grouped")(
            x
        )
        x = nn.relu(nn.Dense(self.last, name="last")(nn.relu(x)))
        return nn.Dense(3)(x)


@pytest.mark.parametrize(
    ("groups", "grouped"),
    [  # of the base and the wide model; std, rates of Adam and of SGD
        ((16, 64), (1, 1, 4)),  # by channel: fan_in is 3
        ((2, 8), (1, 1, 4)),  # blocks of 8 channels
        ((2, 2), (1 / 2, 1 / 4, 1)),  # two blocks, which grow
    ],
)
def test_mup_counts_units_that_are_beside_each_other(groups, grouped):
    """As MuSGD does, of parameters with one or two dimensions that grow."""

    def roles_of(*sizes):
        model = Grouped(*sizes)
        return jinit.roles(model, jax.eval_shape(model.init, KEY, X), X)

    table = roles_of(64, groups[1], 32).mup(roles_of(16, groups[0], 16))
    found = {e.path.split("/", 1)[1]: (e.std, e.adam, e.sgd) for e in table.entries}
    assert found["grouped/kernel"] == grouped
    assert found["last/kernel"] == (1 / 2, 1 / 4, 2 / 4)


@pytest.mark.slow
def test_training_does_not_change_with_the_width():
    """Of a transformer, whose layers grow with it by the standard parametrization."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = {mup: check((64, 256), mup) for mup in (False, True)}
    hidden = [n for n, name in enumerate(found[True].layers) if "_" in name]
    assert abs(found[True].slopes[-1][hidden]).max() < 0.2
    assert found[False].slopes[-1][hidden].max() > 1


def test_heads_of_attention_are_reported():
    table = roles_of(128, 2).mup(roles_of(32, 2))
    (note,) = table.notes
    assert "multiply the logits by 0.5" in note
    assert str(table).endswith(note)


def test_updates_are_scaled_in_a_chain_of_optax():
    optax = pytest.importorskip("optax")
    model = Perceptron(64)
    params = model.init(KEY, X)
    table = roles_of(64).mup(roles_of(32))
    tx = optax.chain(optax.scale(-1.0), table.scale())
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(grads, tx.init(params), params)
    assert float(updates["params"]["hidden"]["kernel"][0, 0]) == -0.5
    assert float(updates["params"]["input"]["kernel"][0, 0]) == -1.0
    assert table.multipliers("adam")["params"]["output"]["kernel"] == 0.5


def test_updates_of_what_is_no_number_are_left_alone():
    """The state of an nnx model may hold keys and counters beside its weights."""

    class Dropped(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.linear, self.drop = (
                nnx.Linear(8, 4, rngs=rngs),
                nnx.Dropout(0.1, rngs=rngs),
            )

        def __call__(self, x):
            return self.drop(self.linear(x))

    model = Dropped()
    state = nnx.state(model)
    scale = jinit.roles(model, state, X).mup(jinit.roles(model, state, X)).scale()
    updates, _ = scale.update(state, scale.init(state))
    assert jax.tree.structure(updates) == jax.tree.structure(state)


def test_a_recipe_must_say_what_it_draws():
    class silent(Recipe):
        pass

    del Recipe.known["silent"]
    with pytest.raises(TypeError, match="abstract"):
        silent()


class Residual(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, _):
        h = nn.relu(nn.Dense(2 * self.width, name="up")(nn.LayerNorm()(x)))
        return x + nn.Dense(self.width, name="down")(h), None


class Deep(nn.Module):
    width: int
    depth: int

    @nn.compact
    def __call__(self, x):
        axes, split = {"params": 0}, {"params": True}
        loop = nn.scan(
            Residual, variable_axes=axes, split_rngs=split, length=self.depth
        )
        x = nn.Dense(self.width, name="input")(x)
        x, _ = loop(self.width, name="blocks")(x, None)
        return nn.Dense(3, name="output")(x)


def test_completep_scales_in_depth_too():
    def roles(width, depth):
        model = Deep(width, depth)
        return jinit.roles(model, jax.eval_shape(model.init, KEY, X), X)

    table = roles(64, 12).completep(roles(16, 3))
    kernels = {e.path.split("/")[-2]: e for e in table.entries if "kernel" in e.path}
    m, deeper = 4, 4
    for name in ("up", "down"):
        entry = kernels[name]
        assert (entry.std, entry.adam) == (m**-0.5, 1 / m)
        assert (entry.eps, entry.decay) == (1 / (m * deeper), m)
    assert (kernels["input"].adam, kernels["input"].eps) == (1, 1 / m)
    assert (kernels["output"].eps, kernels["output"].decay) == (1, m)
    scale = next(e for e in table.entries if e.path.endswith("scale"))
    assert (scale.adam, scale.eps, scale.decay) == (1, 1 / (m * deeper), 1)
    assert "multiply each by 0.25" in table.notes[0]


def test_a_base_of_another_model_is_refused():
    with pytest.raises(ValueError, match="base must be the roles of the same model"):
        roles_of(64).mup(roles_of(64, 2))
    with pytest.raises(ValueError, match="of must be 'adam' or 'sgd'"):
        roles_of(64).mup(roles_of(32)).scale("lion")


class OfHeads(nn.Module):
    """Attention whose heads grow: biases of two axes, and of a transposed table."""

    heads: int

    @nn.compact
    def __call__(self, words):
        table = self.param("table", nn.initializers.normal(), (8 * self.heads, VOCAB))
        x = nn.LayerNorm()(table.T[words])
        x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x))
        return nn.Dense(VOCAB)(nn.LayerNorm()(x))


def test_what_is_no_kernel_has_the_multiplier_of_its_units_in_any_layout():
    def roles_of(heads):
        model = OfHeads(heads)
        return jinit.roles(model, jax.eval_shape(model.init, KEY, WORDS), WORDS)

    table = roles_of(8).mup(roles_of(2))
    wide = {entry.path: entry.sgd for entry in table.entries}
    attention = "params/MultiHeadDotProductAttention_0"
    grown = [f"{attention}/{name}/bias" for name in ("query", "key", "value", "out")]
    grown += ["params/table", "params/LayerNorm_0/scale", "params/LayerNorm_0/bias"]
    assert {path: wide[path] for path in grown} == dict.fromkeys(grown, 4.0)
    assert wide["params/Dense_0/bias"] == 1.0
