"""Layers get the variance that they are to have, or the report says why not."""

import json
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import jinit
from jinit import LsuvReport, lsuv, weight_norm_init
from jinit.model._paths import named_leaves

SMALL = jinit.normal(std=0.01)
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def dense(features, **options):
    return nn.Dense(features, kernel_init=SMALL, **options)


def outputs(model, params, batch):
    """What each linen layer returns, by path, as Flax itself captures it."""
    apply = jax.jit(partial(model.apply, capture_intermediates=True))
    _, kept = apply(params, batch)
    leaves, _ = named_leaves(kept["intermediates"])
    return {path.removesuffix("/__call__/0"): np.asarray(y) for path, y in leaves}


def check_all_but_kernels_kept(params, old):
    leaves = dict(named_leaves(params)[0])
    for path, leaf in named_leaves(old)[0]:
        assert leaves[path].dtype == leaf.dtype
        if not path.endswith("kernel"):
            np.testing.assert_array_equal(leaves[path], leaf)


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for n in range(30):
            bias = jinit.normal(std=0.3)
            x = nn.Conv(6, (3, 3), name=f"conv_{n}", bias_init=bias)(x)
            x = nn.relu(x)
        return x


class Perceptron(nn.Module):
    bias: bool = False
    depth: int = 3

    @nn.compact
    def __call__(self, x):
        for n in range(self.depth):
            bias = jinit.normal(std=0.4)
            x = dense(16, use_bias=self.bias, bias_init=bias, name=f"h_{n}")(x)
            x = nn.relu(x)
        return x


class Zoo(nn.Module):
    """A layer of each kind that has a kernel, an embedding and a norm."""

    @nn.compact
    def __call__(self, tokens):
        init = jinit.normal(std=0.3)
        x = nn.Embed(11, 8, name="embed")(tokens)
        x = nn.Conv(8, (3,), feature_group_count=4, bias_init=init, name="grouped")(x)
        x = nn.LayerNorm(name="norm")(x)
        x = nn.MultiHeadDotProductAttention(2, bias_init=init, name="attention")(x)
        x = nn.DenseGeneral((2, 6), bias_init=init, name="general")(x)
        x = nn.DenseGeneral(5, (-2, -1), bias_init=init, name="contracts")(x)
        return nn.Einsum((5, 2, 3), "abc,cde->abde", bias_init=init, name="einsum")(x)


MODEL = Perceptron()
PARAMS = jax.jit(MODEL.init)(jax.random.key(0), X)


# What it promises


@pytest.mark.slow
def test_thirty_convolutions_have_variance_one(key):
    model, batch = Deep(), jax.random.normal(key, (4, 8, 8, 3))
    old = jinit.jit_init(model.init)(key, batch)
    params, report = lsuv(model, old, batch)

    assert report.converged
    assert len(report.layers) == 30
    assert max(row.tries for row in report.layers) <= 10
    seen = outputs(model, params, batch)
    for n in range(30):
        assert abs(seen[f"conv_{n}"].var() - 1) < 0.1
    check_all_but_kernels_kept(params, old)


def test_layers_without_bias_take_one_pass():
    params, report = lsuv(MODEL, PARAMS, X)

    assert [row.tries for row in report.layers] == [1, 1, 1]
    seen = outputs(MODEL, params, X)
    for n in range(3):
        assert abs(seen[f"h_{n}"].var() - 1) < 1e-3


def test_each_kernel_is_multiplied_by_its_scale():
    params, report = lsuv(MODEL, PARAMS, X)

    signal = X  # layer by layer, as the paper has it
    for n, row in enumerate(report.layers):
        kernel = np.asarray(PARAMS["params"][f"h_{n}"]["kernel"])
        assert row.path == f"params/h_{n}/kernel"
        assert row.before == pytest.approx((signal @ kernel).var(), rel=1e-4)
        assert row.scale == pytest.approx((signal @ kernel).std() ** -1, rel=1e-4)
        new = params["params"][f"h_{n}"]["kernel"]
        np.testing.assert_allclose(new, kernel * row.scale, rtol=1e-6)
        signal = np.maximum(signal @ new, 0)


@pytest.mark.slow
def test_training_that_stands_still_gets_going(key):
    labels = np.argmax(X[:, :4], axis=1)
    model = nn.Sequential([Perceptron(bias=True, depth=8), dense(4)])
    still = jinit.reinit(key, model.init(key, X), {"**/bias": jinit.zeros()}, SMALL)

    def loss(params):
        logits = model.apply(params, X)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def trained(params):
        def step(_, params):
            return jax.tree.map(
                lambda p, g: p - 0.05 * g, params, jax.grad(loss)(params)
            )

        return loss(jax.lax.fori_loop(0, 200, step, params))

    assert trained(still) > 0.9 * np.log(4)
    assert trained(lsuv(model, still, X)[0]) < 0.3 * np.log(4)


@pytest.mark.slow
def test_linen_and_nnx_twins_get_the_same(key):
    linen = nn.Sequential([dense(16), nn.relu, dense(4)])
    one, two = (
        nnx.Linear(*sizes, kernel_init=SMALL, rngs=nnx.Rngs(0))
        for sizes in [(8, 16), (16, 4)]
    )
    twin = nnx.Sequential(one, nnx.relu, two)
    params = {
        f"layers_{n}": {"kernel": layer.kernel[...], "bias": layer.bias[...]}
        for n, layer in [(0, one), (2, two)]
    }
    expected, first = lsuv(linen, {"params": params}, X)
    state, second = lsuv(twin, nnx.state(twin, nnx.Param), X)

    leaves = dict(named_leaves(state)[0])
    for path, leaf in named_leaves(expected)[0]:
        twin_path = path.replace("params/layers_", "layers/")
        np.testing.assert_allclose(leaves[twin_path], leaf, rtol=1e-5)
    assert [row.scale for row in first.layers] == pytest.approx(
        [row.scale for row in second.layers], rel=1e-5
    )
    np.testing.assert_array_equal(one.kernel[...], params["layers_0"]["kernel"])
    nnx.update(twin, state)
    assert np.var(twin(X)) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_kernels_of_every_kind_are_scaled_and_nothing_else(key):
    model, tokens = Zoo(), jax.random.randint(key, (8, 5), 0, 11)
    old = jinit.jit_init(model.init)(key, tokens)
    params, report = lsuv(model, old, tokens)

    assert report.converged
    assert [row.path.removeprefix("params/") for row in report.layers] == [
        "grouped/kernel",
        *(f"attention/{name}/kernel" for name in ("query", "key", "value", "out")),
        "general/kernel",
        "contracts/kernel",
        "einsum/kernel",
    ]
    seen = outputs(model, params, tokens)
    for row in report.layers:
        layer = row.path.removeprefix("params/").removesuffix("/kernel")
        assert abs(seen[layer].var() - 1) < 1e-3
    check_all_but_kernels_kept(params, old)


def test_centered_layers_have_mean_zero(key):
    model = Perceptron(bias=True)
    params, report = lsuv(model, model.init(key, X), X, center=True)

    assert report.converged
    seen = outputs(model, params, X)
    for n in range(3):
        np.testing.assert_allclose(seen[f"h_{n}"].mean(0), 0, atol=1e-5)
        assert abs(seen[f"h_{n}"].var() - 1) < 1e-3


def test_centering_leaves_layers_without_bias_to_their_means():

    assert str(lsuv(MODEL, PARAMS, X, center=True)[1]) == str(lsuv(MODEL, PARAMS, X)[1])


def test_half_precision_is_measured_in_single(key):
    model = dense(300, dtype="bfloat16", param_dtype="bfloat16")
    old = model.init(key, X)
    params, report = lsuv(model, old, X, tolerance=0.01)

    assert report.converged
    assert params["params"]["kernel"].dtype == jnp.bfloat16
    output = np.asarray(model.apply(params, X), "float64")
    assert report.layers[0].after == pytest.approx(output.var(), rel=1e-5)


def test_double_precision_is_kept(key, x64):
    model = dense(4, param_dtype="float64")
    batch = X.astype("float64")
    params, _ = lsuv(model, model.init(key, batch), batch)

    assert params["params"]["kernel"].dtype == np.float64
    assert abs(np.var(model.apply(params, batch)) - 1) < 1e-12


@pytest.mark.slow
def test_shardings_are_kept_and_make_no_difference(key):
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    model = dense(16)
    old = model.init(key, X)
    layout = {"kernel": PartitionSpec("x", "y"), "bias": PartitionSpec("y")}
    shardings = {"params": {k: NamedSharding(mesh, v) for k, v in layout.items()}}
    params, _ = lsuv(model, jax.device_put(old, shardings), X)

    for name, leaf in params["params"].items():
        assert leaf.sharding == shardings["params"][name]
    expected = lsuv(model, old, X)[0]["params"]["kernel"]
    np.testing.assert_allclose(params["params"]["kernel"], expected, rtol=1e-5)


def test_what_is_given_stays_as_it_is(key):
    model = dense(4)
    params = model.init(key, X)
    copy = jax.tree.map(np.array, params)
    lsuv(model, params, X, center=True)

    jax.tree.map(np.testing.assert_array_equal, params, copy)


def test_arrays_of_numpy_stay_what_they_are(key):
    model = dense(4)
    params = jax.tree.map(lambda leaf: np.array(leaf, "float64"), model.init(key, X))
    new, _ = lsuv(model, params, X, center=True)

    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(new))
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(new))
    assert np.var(model.apply(new, X)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_kernels_whose_squares_vanish_or_overflow_are_scaled(size, key):
    model = nn.Dense(4, kernel_init=jinit.normal(std=size))
    params, report = lsuv(model, model.init(key, X), X)

    assert report.converged
    assert abs(np.var(model.apply(params, X)) - 1) < 1e-3


def test_biases_that_go_with_the_signal_are_allowed_for(key):
    bias = 3 * X[0]  # varies more than 1, but against the signal
    assert bias.var() > 1
    params = {"params": {"kernel": np.stack([-bias, *X[1:8]]), "bias": bias}}
    batch = np.eye(8, dtype="float32")[:1].repeat(6, 0)
    new, report = lsuv(nn.Dense(8), params, batch)

    assert report.converged
    assert np.var(nn.Dense(8).apply(new, batch)) == pytest.approx(1, abs=1e-5)


def test_the_first_call_of_a_shared_layer_counts(key):
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = dense(8, name="shared")
            return layer(nn.relu(layer(x)))

    params, report = lsuv(Twice(), Twice().init(key, X), X)

    kernel = np.asarray(params["params"]["shared"]["kernel"])
    assert (X @ kernel).var() == pytest.approx(1, abs=1e-3)
    assert report.converged


def test_a_function_can_give_the_model_what_it_needs(key):
    model = nn.Sequential([dense(8), nn.Dropout(0.5, deterministic=False)])

    def apply(params, x):
        return model.apply({"params": params}, x, rngs={"dropout": key})

    params = model.init({"params": key, "dropout": key}, X)["params"]
    new, report = lsuv(apply, params, X)

    assert [row.path for row in report.layers] == ["layers_0/kernel"]
    assert (X @ np.asarray(new["layers_0"]["kernel"])).var() == pytest.approx(1)


# Which layers


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("**/h_0/*", ["h_0"]),
        (re.compile(".*h_[12].*"), ["h_1", "h_2"]),
        (["**/h_2/kernel", re.compile(".*h_0/kernel")], ["h_0", "h_2"]),
    ],
)
def test_only_the_layers_that_match_are_scaled(layers, chosen):
    params, report = lsuv(MODEL, PARAMS, X, layers=layers)

    assert [row.path.split("/")[1] for row in report.layers] == chosen
    for name, layer in params["params"].items():
        kept = np.array_equal(layer["kernel"], PARAMS["params"][name]["kernel"])
        assert kept == (name not in chosen)


# More than one pass


class Root(nn.Module):
    """Not linear in its kernel: the scale of the output is a root of the kernel's."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", jinit.normal(std=1e-4), (8, 8))
        return x @ (jnp.sign(kernel) * jnp.sqrt(abs(kernel)))


def test_layers_that_are_not_linear_take_several_passes(key):
    passes = []
    params, report = lsuv(
        Root(), Root().init(key, X), X, progress=lambda *seen: passes.append(seen)
    )

    assert report.converged
    assert abs(np.var(Root().apply(params, X)) - 1) < 0.1
    assert report.layers[0].tries > 1
    assert [number for number, _ in passes] == [*range(1, report.layers[0].tries + 2)]
    assert passes[0][1] == pytest.approx(1 - report.layers[0].before, rel=1e-6)
    assert passes[-1][1] == pytest.approx(abs(report.layers[0].after - 1), abs=1e-6)


def test_a_report_tells_of_tries_that_were_not_enough(key):
    params, report = lsuv(Root(), Root().init(key, X), X, max_tries=2)

    (row,) = report.layers
    assert not report.converged
    assert row.note == "not within 0.1 after 2 tries"
    assert row.after == pytest.approx(float(np.var(Root().apply(params, X))), rel=1e-5)


@pytest.mark.slow
def test_biases_on_inner_axes_settle(key):
    # Flax adds the bias of "d" to the second axis; it is taken to be of the last.
    model = nn.Einsum((8, 6), "abc,cd->adb", bias_init=jinit.normal(std=0.5))
    batch = X[:60].reshape(10, 6, 8)
    params, report = lsuv(model, model.init(key, batch), batch, tolerance=1e-3)

    assert report.converged
    assert abs(np.var(model.apply(params, batch)) - 1) < 1e-3


# What cannot be scaled


class Spare(nn.Module):
    """One kernel is not used."""

    @nn.compact
    def __call__(self, x):
        self.param("spare", SMALL, (8, 8))
        return dense(4, name="after")(x)


class Overflowing(nn.Module):
    @nn.compact
    def __call__(self, x):
        return dense(4, name="after")(jnp.exp(1e4 * nn.Dense(8, name="before")(x)))


WIDE = nn.Dense(64, bias_init=jinit.normal(std=3.0))


@pytest.mark.parametrize(
    ("model", "path", "note"),
    [
        (nn.Dense(4, kernel_init=jinit.zeros()), "kernel", "its output does not vary"),
        (WIDE, "kernel", "its biases alone vary too much"),
        (Overflowing(), "after/kernel", "its output is not finite, or it did not run"),
        (
            nn.WeightNorm(nn.Dense(4), scale_init=jinit.constant(0.1)),
            "layer_instance/kernel",
            "its output does not follow its kernel",
        ),
        (Spare(), "spare", "it is not used"),
        (
            nn.RNN(nn.SimpleCell(8)),
            "cell/h/kernel",
            "its result comes back to it, so it is left as it is",
        ),
    ],
    ids=["zero", "biases", "overflow", "normalized", "spare", "recurrent"],
)
def test_the_report_says_why_a_layer_could_not_be_scaled(model, path, note, key):
    batch = X[None] if isinstance(model, nn.RNN) else X
    old = model.init(key, batch)
    params, report = lsuv(model, old, batch)

    assert not report.converged
    row = next(row for row in report.layers if row.path == f"params/{path}")
    assert row.note == note
    assert row.scale == 1
    np.testing.assert_array_equal(
        dict(named_leaves(params)[0])[row.path], dict(named_leaves(old)[0])[row.path]
    )


def test_other_layers_are_scaled_all_the_same(key):
    _, report = lsuv(Spare(), Spare().init(key, X), X)

    assert [row.path for row in report.layers if not row.note] == [
        "params/after/kernel"
    ]
    assert report.layers[0].after == pytest.approx(1, abs=1e-3)


# In loops, and with no names


class Blocks(nn.Module):
    """Layers in a loop under remat, with a residual stream."""

    @nn.compact
    def __call__(self, x):
        def block(cell, x, _):
            h = dense(16, name="up", use_bias=True)(nn.LayerNorm()(x))
            return x + dense(8, name="down", use_bias=True)(nn.relu(h)), None

        options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        loop = nn.scan(nn.remat(block), length=3, **options)
        return loop(self, x, None)[0]


def test_each_kernel_of_a_loop_gets_a_scale_of_its_own(key):
    old = Blocks().init(key, X)
    params, report = lsuv(Blocks(), old, X)

    assert report.converged
    assert [(row.path.split("/")[-2], row.index) for row in report.layers] == [
        (name, (n,)) for n in range(3) for name in ("up", "down")
    ]
    scales = {(row.path, *row.index): row.scale for row in report.layers}
    for name in ("up", "down"):
        for n in range(3):
            scale = scales[f"params/{name}/kernel", n]
            new = params["params"][name]["kernel"][n]
            expected = old["params"][name]["kernel"][n] * scale
            np.testing.assert_allclose(new, expected, rtol=1e-6)


@pytest.mark.parametrize(("residual", "variance"), [("sqrt", 1 / 3), (None, 1.0)])
def test_what_is_added_to_a_stream_has_its_share(residual, variance, key):
    _, report = lsuv(Blocks(), Blocks().init(key, X), X, residual=residual)

    for row in report.layers:
        expected = variance if "down" in row.path else 1.0
        assert row.after == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_kernels_in_loops_are_centered_too(key):
    params, report = lsuv(Blocks(), Blocks().init(key, X), X, center=True)

    assert report.converged
    found = jinit.diagnostics.propagation(Blocks(), params, X)
    np.testing.assert_allclose(found.mean, 0, atol=1e-5)


def test_experts_of_any_name_are_scaled():
    def model(params, x):
        h = jnp.einsum("bd,edf->ebf", x, params["w"])
        return jnp.einsum("ebf,efd->bd", nn.relu(h), params["v"].transpose(0, 2, 1))

    rng = np.random.default_rng(1)
    params = {
        "w": rng.normal(0, 0.01, (3, 8, 16)).astype("float32"),
        "v": rng.normal(0, 9.0, (3, 8, 16)).astype("float32"),
    }
    new, report = lsuv(model, params, X)

    assert report.converged
    assert [row.path for row in report.layers] == ["w", "v"]
    assert np.var(model(new, X)) == pytest.approx(1, rel=1e-3)


def test_a_kernel_that_a_loop_shares_gets_one_scale_for_all_turns(key):
    model = nn.RNN(nn.SimpleCell(8))
    _, report = lsuv(model, model.init(key, X[None]), X[None])

    row = next(row for row in report.layers if row.path == "params/cell/i/kernel")
    assert row.after == pytest.approx(1, abs=0.1)
    assert row.index == ()


def test_a_tied_table_is_scaled_where_it_is_contracted():
    def model(params, words):
        x = params["table"][words]
        return jax.nn.relu(x @ params["w"]) @ params["table"].T

    rng = np.random.default_rng(1)
    params = {
        "table": rng.normal(size=(30, 8)).astype("float32"),
        "w": rng.normal(size=(8, 8)).astype("float32"),
    }
    words = rng.integers(0, 30, (16, 4))
    new, report = lsuv(model, params, words)

    assert report.converged
    assert np.var(model(new, words)) == pytest.approx(1, abs=0.1)


# The report


def test_a_report_is_a_table_and_json(key):
    _, report = lsuv(Spare(), Spare().init(key, X), X)

    heading, first, second = str(report).splitlines()
    assert heading.split() == ["path", "before", "after", "scale", "tries", "note"]
    assert first.split()[0::4] == ["params/after/kernel", "1"]
    assert second.split()[:5] == ["params/spare", "1", "0", "it", "is"]
    config = json.loads(report.to_json())
    assert config["converged"] is False
    assert config["layers"][0] == vars(report.layers[0]) | {"index": []}
    assert config["layers"][1]["after"] is None


def test_json_has_words_for_what_is_not_a_number(key):
    _, report = lsuv(Overflowing(), Overflowing().init(key, X), X)

    rows = json.loads(report.to_json(), parse_constant=pytest.fail)["layers"]
    assert rows[1]["after"] == "nan"
    assert isinstance(report, LsuvReport)


# Weight normalization


class Normed(nn.Module):
    """Wrapped layers of each kind, and where Flax puts what is wrapped."""

    def setup(self):
        self.outer = nn.Dense(6)
        self.of_outer = nn.WeightNorm(self.outer, scale_init=jinit.constant(3.0))
        self.own = nn.WeightNorm(nn.Dense(5, bias_init=jinit.normal()))

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.own(nn.relu(self.of_outer(x))))
        x = nn.WeightNorm(Perceptron(bias=True, depth=2), name="nested")(x)
        x = nn.WeightNorm(nn.DenseGeneral((2, 3)), name="general")(x)
        return nn.WeightNorm(nn.Conv(3, (2,)), name="conv")(nn.relu(x))


def perceptron(params, x):
    """The layers of the perceptron, which Flax captures none of, computed by hand."""
    layers = {}
    for name, layer in params["Perceptron_0"].items():
        scale = np.asarray(params["nested"][f"Perceptron_0/{name}/kernel/scale"])
        kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
        layers[name] = x @ (scale * kernel / np.linalg.norm(kernel, axis=0)) + bias
        x = np.maximum(layers[name], 0)
    return layers


@pytest.mark.slow
def test_normalized_features_have_mean_zero_and_variance_one(key):
    model, batch = Normed(), jax.random.normal(key, (64, 8))
    params = weight_norm_init(model, jinit.jit_init(model.init)(key, batch), batch)

    seen = outputs(model, params, batch)
    seen |= perceptron(params["params"], np.maximum(seen["own"], 0))
    for path in ("of_outer", "own", "h_0", "h_1", "conv"):
        y = seen[path]
        axes = tuple(range(y.ndim - 1))
        np.testing.assert_allclose(y.mean(axes), 0, atol=1e-4)
        np.testing.assert_allclose(y.var(axes), 1, atol=1e-3)
    # A scale for three features, biases for two times three of them.
    np.testing.assert_allclose(seen["general"].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(seen["general"].var((0, 1)), 1, atol=1e-3)


def test_scales_and_biases_are_divided_by_the_deviation(key):
    bias = jinit.normal()
    model = nn.WeightNorm(nn.Dense(4, bias_init=bias), scale_init=jinit.constant(2.0))
    old = model.init(key, X)
    new = weight_norm_init(model, old, X)["params"]

    kernel, bias = old["params"]["layer_instance"].values()
    if kernel.ndim == 1:
        kernel, bias = bias, kernel
    product = 2 * X @ (np.asarray(kernel) / np.linalg.norm(kernel, axis=0))
    mean, std = product.mean(0) + np.asarray(bias), product.std(0)
    np.testing.assert_allclose(new["layer_instance/kernel/scale"], 2 / std, rtol=1e-4)
    np.testing.assert_allclose(
        new["layer_instance"]["bias"], (bias - mean) / std, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(new["layer_instance"]["kernel"], kernel)


def normed(*sizes, **options):
    layer = nnx.Linear(*sizes, rngs=nnx.Rngs(0))
    return nnx.WeightNorm(layer, rngs=nnx.Rngs(1), **options)


@pytest.mark.slow
def test_nnx_models_are_normalized_too():
    model = nnx.Sequential(normed(8, 16), nnx.relu, normed(16, 4))
    nnx.update(model, weight_norm_init(model, nnx.state(model), X))
    hidden = model.layers[0](X)

    for output in (hidden, model.layers[2](nnx.relu(hidden))):
        np.testing.assert_allclose(output.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(output.var(0), 1, atol=1e-4)


def test_an_nnx_model_can_be_one_normalized_layer():
    model = normed(8, 4)
    nnx.update(model, weight_norm_init(model, nnx.state(model), X))

    np.testing.assert_allclose(model(X).var(0), 1, atol=1e-4)


def test_without_a_bias_the_variances_become_one(key):
    model = nn.WeightNorm(nn.Dense(4, use_bias=False))
    batch = X + 1
    params = weight_norm_init(model, model.init(key, batch), batch)

    np.testing.assert_allclose(model.apply(params, batch).var(0), 1, atol=1e-4)


def test_one_scale_for_all_features_gives_them_variance_one_together(key):
    model = nn.WeightNorm(nn.Dense(4), feature_axes=None)
    params = weight_norm_init(model, model.init(key, X), X)

    output = model.apply(params, X)
    assert np.var(output) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(output.mean(0), 0, atol=1e-5)


# Bad input

NANS = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), PARAMS)
NORM = nn.LayerNorm()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((MODEL, PARAMS, X[:, :5]), {}, ValueError, r"inputs of shape \(64, 5\)"),
        (
            (MODEL, NANS, X),
            {},
            ValueError,
            "params at 'params/h_0/kernel' must be fini",
        ),
        (
            (MODEL, PARAMS, X * np.nan),
            {},
            ValueError,
            "inputs at '0' must be finite.*NaN",
        ),
        ((MODEL, PARAMS, X[:0]), {}, ValueError, "inputs at '0' must have elements"),
        ((MODEL, PARAMS, "x"), {}, TypeError, "inputs at '0' must be an array"),
        ((MODEL, {}, X), {}, ValueError, "params must hold arrays"),
        (
            (MODEL, {"params": 1.0}, X),
            {},
            TypeError,
            "params at 'params' must be an ar",
        ),
        (
            (NORM, NORM.init(jax.random.key(0), X), X),
            {},
            ValueError,
            "with the inputs, but there are only 'params/bias', 'params/scale'",
        ),
        ((None, PARAMS, X), {}, TypeError, "model must be a module"),
        (
            (lambda p, x: x, PARAMS, X),
            {},
            ValueError,
            "params must have leaves that are",
        ),
        ((MODEL, PARAMS, X), {"tolerance": 0.0}, ValueError, "tolerance must be great"),
        ((MODEL, PARAMS, X), {"tolerance": "1"}, TypeError, "tolerance must be a real"),
        (
            (MODEL, PARAMS, X),
            {"max_tries": 0},
            ValueError,
            "max_tries must be at least",
        ),
        ((MODEL, PARAMS, X), {"max_tries": 1.5}, TypeError, "max_tries must be an int"),
        ((MODEL, PARAMS, X), {"center": 1}, TypeError, "center must be True or False"),
        ((MODEL, PARAMS, X), {"progress": 1}, TypeError, "progress must be a function"),
        ((MODEL, PARAMS, X), {"layers": 1}, TypeError, "layers must be a glob.*got 1"),
        ((MODEL, PARAMS, X), {"layers": [1]}, TypeError, "a pattern must be a string"),
        ((MODEL, PARAMS, X), {"layers": "a**"}, ValueError, "pattern 'a\\*\\*' must"),
        ((MODEL, PARAMS, X), {"layers": []}, ValueError, "no pattern matches none"),
        (
            (MODEL, PARAMS, X),
            {"layers": ["**/h_0/*", "**/bias"]},
            ValueError,
            "layers must match kernels, but '\\*\\*/bias' matches none of 'params/h_0",
        ),
    ],
)
def test_a_mistake_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        lsuv(*arguments, **options)


@pytest.mark.parametrize(
    "call",
    [
        lambda: jax.jit(lambda params: lsuv(MODEL, params, X))(PARAMS),
        lambda: jax.jit(lambda batch: lsuv(MODEL, PARAMS, batch))(X),
        lambda: jax.jit(lambda: lsuv(MODEL, PARAMS, X)[0])(),
        lambda: jax.grad(lambda params: lsuv(MODEL, params, X)[0])(PARAMS),
        lambda: jax.vmap(lambda x: lsuv(MODEL, PARAMS, X, tolerance=x))(X[0]),
        lambda: jax.jit(lambda: weight_norm_init(MODEL, PARAMS, X))(),
    ],
    ids=["params", "batch", "neither", "gradient", "tolerance", "weight_norm"],
)
def test_traced_inputs_are_refused(call):
    with pytest.raises(TypeError, match="outside of jit"):
        call()


def wrapped(**options):
    model = nn.WeightNorm(nn.Dense(8), **options)
    return model, model.init(jax.random.key(0), X)


NNX = normed(8, 4)


@pytest.mark.parametrize(
    ("model", "params", "batch", "message"),
    [
        (MODEL, PARAMS, X, "params must hold the scales of WeightNorm layers, but"),
        (*wrapped(use_scale=False), X, "must hold the scales"),
        (
            NNX,
            {"layer_instance": nnx.state(NNX.layer_instance)},
            X,
            r"give nnx\.state\(model\)",
        ),
        (
            *wrapped(variable_filter=None),
            X,
            "biases that are not normalized, but 'layer",
        ),
        (*wrapped(feature_axes=(0, 1)), X, r"'layer_instance' must have.*got \(8, 8\)"),
        (*wrapped(feature_axes=0), X, "must follow their scales and biases"),
        (*wrapped(), X[:1], "features that vary over the batch, but 'layer_instance'"),
        (*wrapped(), X[:, :5], r"batch of shape \(64, 5\)"),
        (*wrapped(), X * np.inf, "batch must be finite"),
    ],
)
def test_a_mistake_in_normalization_is_refused(model, params, batch, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        weight_norm_init(model, params, batch)


def test_scales_of_no_kernel_that_is_known_are_refused(key):
    class Borrowed(nn.Module):
        @nn.compact
        def __call__(self, x):  # Flax names the scale "Sequential_0/kernel/scale"
            return nn.WeightNorm(nn.Sequential([nn.Dense(4)]))(x)

    with pytest.raises(ValueError, match=r"must hold what .*Sequential_0"):
        weight_norm_init(Borrowed(), Borrowed().init(key, X), X)


def test_normalized_layers_that_are_not_seen_are_refused(key):
    class Within(nn.Module):
        @nn.compact
        def __call__(self, x):
            return dense(2)(nn.remat(nn.WeightNorm)(nn.Dense(4))(x))

    with pytest.raises(ValueError, match="must be called, and not within remat"):
        weight_norm_init(Within(), Within().init(key, X), X)


def test_loops_of_unknown_length_and_branches_are_run_as_they_are(key):
    def model(params, x):
        def turn(state):
            return state[0] + 1, jnp.tanh(state[1] @ params["loop"])

        _, h = jax.lax.while_loop(lambda state: state[0] < 3, turn, (0, x))
        taken, left = params["taken"], params["left"]
        return jax.lax.cond(h.sum() < 1e9, lambda: h @ taken, lambda: h @ left)

    names = "loop", "taken", "left"
    keys = zip(names, jax.random.split(key, 3), strict=True)
    params = {name: SMALL(key, (8, 8)) for name, key in keys}
    scaled, report = lsuv(model, params, X)
    notes = {layer.path: layer.note for layer in report.layers}
    assert "comes back" in notes["loop"]
    assert "did not run" in notes["left"]
    h = X
    for _ in range(3):
        h = np.tanh(h @ params["loop"])
    np.testing.assert_allclose((h @ scaled["taken"]).var(), 1, rtol=1e-4)
    np.testing.assert_array_equal(scaled["left"], params["left"])
