"""What propagation measures of signals and gradients, beside plain arithmetic."""

import json
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import STANDARD_ERRORS

import jinit
from jinit.signal._propagation import propagation

modules = partial(propagation, layers="**")


class Perceptron(nn.Module):
    """Dense layers with ReLUs between them, and what else the tests vary."""

    widths: tuple[int, ...] = (32, 16, 8)
    kernel_init: jinit.Initializer = jinit.he_normal()
    bias_init: jinit.Initializer = jinit.normal(std=0.1)
    dtype: str | None = None

    @nn.compact
    def __call__(self, x):
        for n, width in enumerate(self.widths):
            x = nn.relu(x) if n else x
            init = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
            x = nn.Dense(width, name=f"layer_{n}", dtype=self.dtype, **init)(x)
        return x


class NnxPerceptron(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(6, 32, rngs=rngs)
        self.second = nnx.Linear(32, 8, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="conv")(x)
        return nn.Dense(3, name="out")(jnp.tanh(x).mean((1, 2)))


class Whole(nn.Module):
    """A network with dropout and batch normalization."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dropout(0.5, deterministic=not train, name="drop")(x)


X = np.random.default_rng(0).standard_normal((5, 6), np.float32)


def variables(model, x=X, seed=0):
    return model.init(jax.random.key(seed), x)


def projection(shape, member=0):
    """The fixed projection of what the model returns."""
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), member), shape)


def check_close(measured, expected):
    np.testing.assert_allclose(measured, expected, rtol=2e-5, atol=1e-8)


# What is measured


def test_a_perceptron_is_measured_layer_by_layer():
    params = variables(Perceptron())
    found = modules(Perceptron(), params, X)

    outputs, h = [], X.astype(float)
    for name in ("layer_0", "layer_1", "layer_2"):
        layer = jax.tree.map(np.float64, params["params"][name])
        outputs.append(h @ layer["kernel"] + layer["bias"])
        h = np.maximum(outputs[-1], 0)
    assert found.layers == ("layer_0", "layer_1", "layer_2", "")
    outputs.append(outputs[-1])
    check_close(found.second_moment, [[np.mean(y**2) for y in outputs]])
    check_close(found.mean, [[y.mean() for y in outputs]])


def test_gradients_are_those_by_hand():
    params = variables(Perceptron())
    found = modules(Perceptron(), params, X)

    gradient = np.float64(projection((5, 8)))
    expected, h = [gradient], X.astype(float)
    masks = []
    for name in ("layer_0", "layer_1"):
        layer = jax.tree.map(np.float64, params["params"][name])
        h = h @ layer["kernel"] + layer["bias"]
        masks.append(h > 0)
        h = np.maximum(h, 0)
    for name, mask in zip(("layer_2", "layer_1"), reversed(masks), strict=True):
        kernel = np.float64(params["params"][name]["kernel"])
        expected.append(expected[-1] @ kernel.T * mask)
    means = [np.mean(g**2) for g in reversed(expected)]
    check_close(found.gradient, [[*means, means[-1]]])


@pytest.mark.slow
def test_a_convolution_is_measured():
    x = np.random.default_rng(1).standard_normal((3, 5, 5, 2), np.float32)
    params = variables(Convolution(), x)
    found = modules(Convolution(), params, x)

    leaves = params["params"]
    conv = jax.lax.conv_general_dilated(
        x,
        leaves["conv"]["kernel"],
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

    def rest(conv):
        out = jnp.tanh(conv).mean((1, 2)) @ leaves["out"]["kernel"]
        return (out * projection((3, 3))).sum()

    assert found.layers == ("conv", "out", "")
    check_close(found.second_moment[0, 0], np.mean(np.float64(conv) ** 2))
    check_close(found.gradient[0, 0], np.mean(np.float64(jax.grad(rest)(conv)) ** 2))


@pytest.mark.slow
def test_an_nnx_model_is_measured_and_left_as_it_is():
    model = NnxPerceptron(nnx.Rngs(0))
    state = nnx.state(model)
    before = jax.tree.map(np.array, state)
    found = modules(model, state, X)

    first = X @ np.asarray(model.first.kernel[...])
    kernel = np.asarray(model.second.kernel[...])
    gradient = projection((5, 8)) @ kernel.T * (1 - np.tanh(first) ** 2)
    assert found.layers == ("first", "second", "")
    check_close(found.second_moment[0, 0], np.mean(np.float64(first) ** 2))
    check_close(found.gradient[0, 0], np.mean(np.float64(gradient) ** 2))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)
    assert type(model.first) is nnx.Linear


@pytest.mark.slow
def test_a_function_can_apply_dropout_and_batch_normalization():
    params = Whole().init(jax.random.key(0), X, train=False)

    def apply(params, x):
        key = jax.random.key(1)
        return Whole().apply(
            params, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )[0]

    found = modules(apply, params, X)

    normal = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    dropped = apply(params, X)
    assert found.layers == ("norm", "drop", "")
    check_close(
        found.second_moment[0], [np.mean(y**2) for y in (normal, *[dropped] * 2)]
    )
    kept = np.asarray(dropped) != 0
    check_close(
        found.gradient[0, 0], np.mean((2 * kept * np.asarray(projection(X.shape))) ** 2)
    )


@pytest.mark.slow
def test_dead_units_are_those_that_are_zero_for_the_whole_batch():
    model = nn.Sequential([nn.Dense(8), lambda x: nn.Dropout(0.0)(x, True), nn.relu])
    params = variables(model)
    params["params"]["layers_0"]["kernel"] = jnp.ones((6, 8)).at[:, 2:5].set(-1.0)
    x = np.ones((5, 6), np.float32)
    x[0, :] = 0  # zero once is not dead

    found = modules(model, params, x)
    assert found.dead.tolist() == [[0.0, 0.0, 3 / 8]]


@pytest.mark.slow
def test_dead_units_of_images_are_channels():
    model = nn.Conv(4, (1, 1), use_bias=False)
    params = {"params": {"kernel": jnp.ones((1, 1, 2, 4)).at[..., 1].set(0.0)}}

    assert propagation(model, params, np.ones((2, 3, 3, 2), "float32")).dead == 0.25


# Depth


WIDTH, DEPTH, MEMBERS = 256, 12, 48


def deep(init):
    model = Perceptron((WIDTH,) * DEPTH, init, jinit.zeros())
    x = jax.random.normal(jax.random.key(5), (16, WIDTH))
    keys = jax.random.split(jax.random.key(6), MEMBERS)
    draw = jinit.jit_init(model.init)
    return propagation(model, lambda key: draw(key, x), x, keys=keys)


def check_factor(moments, factor):
    """Asserts that each layer multiplies the mean over the members by the factor."""
    ratio = moments[:, 1:DEPTH] / moments[:, :1] / factor ** np.arange(1, DEPTH)
    error = ratio.std(axis=0, ddof=1) / math.sqrt(MEMBERS)
    assert (error < 0.15).all()
    assert (abs(ratio.mean(axis=0) - 1) < STANDARD_ERRORS * error).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "factor"),
    [(jinit.he_normal(), 1.0), (jinit.normal(std=0.01), WIDTH * 0.01**2 / 2)],
    ids=["he_normal", "small"],
)
def test_a_deep_network_keeps_or_loses_signal_and_gradient_as_theory_says(init, factor):
    found = deep(init)

    check_factor(found.second_moment, factor)
    check_factor(found.gradient[:, DEPTH - 1 :: -1], factor)


def test_a_second_moment_can_leave_the_range_of_its_dtype():
    model = Perceptron((4, 4), jinit.constant(1.0), jinit.zeros())
    params = variables(model, X[:, :4])
    params["params"]["layer_0"]["kernel"] = jnp.full((4, 4), 1e-25)
    x = np.ones((2, 4), "float32")

    check_close(propagation(model, params, x).second_moment[0, 0] * 1e48, 16 * 1e-2)


def test_double_precision_is_kept(x64):
    x = X.astype(float)
    params = {"params": {"kernel": np.full((6, 4), 1 + 2**-40), "bias": np.ones(4)}}
    found = propagation(nn.Dense(4), params, x)

    expected = np.mean((x.sum(1) * (1 + 2**-40) + 1) ** 2)
    np.testing.assert_allclose(found.second_moment[0, 0], expected, rtol=1e-13)


@pytest.mark.slow
def test_half_precision_is_measured():
    model = Perceptron((8,), dtype="bfloat16")
    found = propagation(model, variables(model), X)

    wide = propagation(Perceptron((8,)), variables(model), X)
    np.testing.assert_allclose(found.second_moment, wide.second_moment, rtol=0.03)


def test_an_overflow_is_a_result():
    model = Perceptron((6,) * 20, jinit.constant(1e3), jinit.zeros())
    found = propagation(model, variables(model), X)

    assert np.isfinite(found.second_moment[0, :10]).all()
    first = np.flatnonzero(~np.isfinite(found.second_moment[0]))[0]
    rows = str(found).splitlines()
    assert rows[1 + first].split()[:2] == [f"params/layer_{first}/kernel", "inf"]
    assert json.loads(found.to_json())["second_moment"][0][first] == "inf"


# Several keys


KEYS = jax.random.split(jax.random.key(3), 5)


@pytest.mark.slow
def test_each_member_is_what_its_parameters_give():
    model = Perceptron()
    found = modules(model, lambda key: model.init(key, X), X, keys=KEYS)

    for n in (0, 4):
        alone = modules(model, model.init(KEYS[n], X), X)
        np.testing.assert_array_equal(found.second_moment[n], alone.second_moment[0])
    check_close(found.gradient[4, 2], np.mean(np.float64(projection((5, 8), 4)) ** 2))


def test_a_model_is_traced_no_more_for_more_keys():
    traces = []

    def apply(params, x):
        traces.append(x.shape)
        return Perceptron().apply(params, x)

    modules(apply, lambda key: Perceptron().init(key, X), X, keys=KEYS)
    assert len(traces) == 2  # to see the layers, and to compile


@pytest.mark.slow
def test_the_states_of_nnx_models_can_be_made_of_keys():
    def state(key):
        return nnx.state(NnxPerceptron(nnx.Rngs(params=key)))

    model = NnxPerceptron(nnx.Rngs(0))
    found = propagation(model, state, X, keys=KEYS[:2])

    second = propagation(model, state(KEYS[1]), X)
    np.testing.assert_array_equal(found.second_moment[1], second.second_moment[0])


# Predictions


@pytest.mark.slow
def test_the_prediction_starts_from_the_first_layer_and_follows_the_map():
    model = nn.Sequential([nn.LayerNorm(), nn.Dense(8), nn.tanh, nn.Dense(8)])
    found = modules(model, variables(model), X, activation="tanh")

    q = found.second_moment[0, 1]
    expected = [math.nan, q, jinit.variance_map("tanh")(q), math.nan]
    np.testing.assert_array_equal(found.predicted, expected)


def test_a_map_of_other_weights_can_be_given():
    step = jinit.variance_map("relu", gain=1.0, bias_var=0.01)
    found = propagation(Perceptron(), variables(Perceptron()), X, activation=step)

    assert found.predicted[2] == step(step(found.second_moment[0, 0]))


def test_a_wide_network_is_as_predicted():
    init = jinit.kaiming_normal(nonlinearity="tanh")
    layers = [nn.Dense(1024, kernel_init=init) for _ in range(4)]
    model = nn.Sequential([f for layer in layers for f in (layer, nn.tanh)])
    # Rows of one length: the map speaks of each input, not of their average.
    x = np.random.default_rng(2).choice([-1.0, 1.0], (4, 1024)).astype("float32")
    found = propagation(model, variables(model, x), x, activation="tanh")

    share = found.second_moment[0, :4] / found.predicted[:4]
    # In one layer the share strays by at most sqrt(2 / width) for one input.
    assert (abs(share - 1) < STANDARD_ERRORS * math.sqrt(2 / 1024)).all()


def test_the_kernel_of_a_model_that_is_one_layer_is_its_own():
    model = nn.Dense(3)
    found = propagation(model, variables(model), X, activation="relu")

    assert found.layers == ("params/kernel",)
    np.testing.assert_array_equal(found.predicted, found.second_moment[0])
    assert modules(model, variables(model), X, activation="relu").layers == ("",)


def test_a_prediction_that_overflows_is_infinite():
    step = jinit.variance_map("relu", gain=1e100)
    found = propagation(Perceptron(), variables(Perceptron()), X, activation=step)

    assert found.predicted[2] == math.inf


# Tables and JSON


def test_it_prints_as_a_table():
    model = nn.Dense(2, use_bias=False, name="dense")
    params = {"params": {"kernel": jnp.eye(2)}}
    x = np.array([[3.0, 0.0], [1.0, 0.0]], "float32")
    found = modules(lambda p, x: model.apply(p, x), params, x, activation="relu")

    gradient = np.mean(np.float64(projection((2, 2))) ** 2)
    assert str(found).splitlines() == [
        "layer    second moment  mean  dead  gradient  predicted",
        f"(model)  2.5            1     0.5   {gradient:<8.4g}  2.5",
    ]


def test_several_members_print_as_median_and_quartiles():
    def params(key):
        seed = jax.random.key_data(key)[1].astype("float32")
        return {"params": {"kernel": jnp.eye(2) * seed}}

    keys = jax.vmap(jax.random.key)(jnp.arange(1, 6))
    x = np.ones((2, 2), "float32")
    found = propagation(nn.Dense(2, use_bias=False), params, x, keys=keys)

    cells = str(found).splitlines()[1].split("  ")
    assert [cell for cell in cells if cell][1:4] == ["9 [4, 16]", "3 [2, 4]", "0"]


def test_quartiles_of_infinities_are_infinite():
    def params(key):
        big = jnp.where(jax.random.key_data(key)[1] > 1, 3e38, 1)
        return {"params": {"kernel": jnp.eye(2) * big}}

    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    x = np.full((2, 2), 2.0, "float32")
    found = propagation(nn.Dense(2, use_bias=False), params, x, keys=keys)

    assert "[4, inf]" in str(found)


@pytest.mark.slow
def test_json_has_what_was_measured():
    found = modules(Perceptron(), variables(Perceptron()), X, activation="relu")
    config = json.loads(found.to_json())

    assert config.pop("jinit_propagation") == 1
    assert config.pop("layers") == ["layer_0", "layer_1", "layer_2", ""]
    assert config.pop("predicted") == [*found.predicted[:3], None]
    assert config == {name: getattr(found, name).tolist() for name in config}
    assert set(config) == {"second_moment", "mean", "dead", "gradient"}


@pytest.mark.slow
def test_layers_can_be_selected():
    found = modules(Perceptron(), variables(Perceptron()), X, activation="relu")
    some = found.select("layer_[12]")

    assert some.layers == ("layer_1", "layer_2")
    for name in ("second_moment", "mean", "dead", "gradient", "predicted"):
        chosen = getattr(found, name)[..., 1:3]
        np.testing.assert_array_equal(getattr(some, name), chosen)


def test_a_pattern_that_selects_nothing_is_refused():
    found = modules(nn.Dense(2), variables(nn.Dense(2)), X)

    with pytest.raises(ValueError, match="pattern must match a layer, got 'x'"):
        found.select("x")


# Layers of the program


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.Dense(6)(nn.relu(nn.Dense(8)(x))), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            nn.remat(Block),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=4,
        )
        return blocks(name="blocks")(x, None)[0], jnp.arange(3)


@pytest.mark.slow
def test_layers_of_a_loop_are_those_of_the_blocks_written_out():
    params = variables(Scanned())
    found = propagation(Scanned(), params, X)

    def one(params, x):
        for n in range(4):
            x = Block().apply({"params": params[n]}, x, None)[0]
        return x

    layers = [
        jax.tree.map(lambda leaf, n=n: leaf[n], params["params"]["blocks"])
        for n in range(4)
    ]
    alone = propagation(one, layers, X)
    assert found.layers[:2] == (
        "params/blocks/Dense_1/kernel/0",
        "params/blocks/Dense_0/kernel/0",
    )
    assert alone.layers[:2] == ("0/Dense_1/kernel", "0/Dense_0/kernel")
    for name in ("second_moment", "mean", "dead", "gradient"):
        wanted = getattr(alone, name)
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-4, atol=1e-7)


def test_models_are_measured_where_nothing_is_compiled():
    params = variables(Perceptron())
    with jax.disable_jit():
        eager = propagation(Perceptron(), params, X)
    check_close(eager.gradient, propagation(Perceptron(), params, X).gradient)


def test_an_equinox_like_model_is_no_function_of_a_key():
    @jax.tree_util.register_pytree_node_class
    class Model:
        def __init__(self, w):
            self.w = w

        def __call__(self, x):
            return x @ self.w

        def tree_flatten(self):
            return [self.w], None

        @classmethod
        def tree_unflatten(cls, _, leaves):
            return cls(*leaves)

    found = propagation(lambda model, x: model(x), Model(np.ones((6, 2), "f4")), X)
    assert found.second_moment.shape == (1, 1)


def test_experts_and_kernels_of_any_name_are_measured():
    def model(params, x):
        h = jnp.einsum("bd,edf->ebf", x, params["experts"])
        return jnp.einsum("ebf,ef->b", jax.nn.relu(h), params["readout"])

    params = {"experts": np.ones((3, 6, 4), "f4"), "readout": np.ones((3, 4), "f4")}
    found = propagation(model, params, X)

    assert found.layers == ("experts", "readout")
    check_close(found.second_moment[0, 0], np.mean(np.square(X.sum(1, dtype=float))))


# What is refused

DENSE = nn.Dense(2)
PARAMS = {"params": {"kernel": np.ones((6, 2), "float32"), "bias": np.zeros(2, "f4")}}
BAD = np.array([[np.nan, np.nan], [np.inf, 0]], "float32")


@pytest.mark.parametrize(
    ("model", "params", "batch", "options", "error", "message"),
    [
        (DENSE, {"w": BAD}, X, {}, ValueError, "params at 'w' must .* 2 NaN and 1 inf"),
        (
            DENSE,
            PARAMS,
            BAD,
            {},
            ValueError,
            "inputs at '0' must be finite, but has 2 NaN",
        ),
        (DENSE, PARAMS, {"x": BAD}, {}, ValueError, "inputs at '0/x' must be finite"),
        (DENSE, PARAMS, X[:0], {}, ValueError, r"inputs at '0' must have .*\(0, 6\)"),
        (DENSE, PARAMS, "x", {}, TypeError, "inputs at '0' must be an array, got 'x'"),
        (
            DENSE,
            {"w": 0.5},
            X,
            {},
            TypeError,
            "params at 'w' must be an array, got 0.5",
        ),
        (DENSE, {}, X, {}, ValueError, "params must hold arrays, got {}"),
        (
            DENSE,
            PARAMS,
            X[:, :3],
            {},
            ValueError,
            r"inputs of shape \(5, 3\), but raised Scope",
        ),
        (DENSE, {"a": X}, X, {}, ValueError, "model must run on these params"),
        (0.5, PARAMS, X, {}, TypeError, "model must be a module .*, got 0.5"),
        (
            lambda p, x: x,
            PARAMS,
            X,
            {},
            ValueError,
            "must have parameters that are con",
        ),
        (
            lambda p, x: x,
            *(PARAMS, X, {"layers": "**"}, ValueError, "model must call modules"),
        ),
        (DENSE, PARAMS, X, {"layers": "a"}, ValueError, "layers must match modules"),
        (
            lambda p, x: DENSE.apply(p, x).astype(int),
            *(PARAMS, X, {}, ValueError, "must return floats, got .*int32"),
        ),
        (DENSE, PARAMS, X, {"keys": KEYS}, ValueError, "keys must be left out"),
        (DENSE, lambda key: PARAMS, X, {}, ValueError, "keys must be given"),
        (DENSE, lambda key: PARAMS, X, {"keys": 3}, TypeError, "key must be a JAX"),
        (DENSE, lambda key: PARAMS, X, {"keys": KEYS[0]}, ValueError, "of one axis"),
        (DENSE, lambda key: PARAMS, X, {"keys": KEYS[:0]}, ValueError, "of one axis"),
        (DENSE, PARAMS, X, {"activation": "rely"}, ValueError, "did you mean relu"),
        (
            nn.LayerNorm(),
            {"params": {"scale": np.ones(6, "f4"), "bias": np.ones(6, "f4")}},
            X,
            {"activation": "relu", "layers": "**"},
            *(ValueError, "left out for .* without kernels"),
        ),
    ],
)
def test_a_mistake_is_refused(model, params, batch, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        propagation(model, params, batch, **options)


def test_a_gradient_that_does_not_exist_is_refused():
    def apply(params, x):
        y = DENSE.apply(params, x)
        return jax.lax.while_loop(lambda y: (y < 1).all(), lambda y: y * 2, y)

    with pytest.raises(ValueError, match=r"model .*while_loop"):
        propagation(apply, PARAMS, X)


def test_trees_of_different_shapes_are_refused():
    widths = iter((2, 3))

    def params(key):
        return nn.Dense(next(widths)).init(key, X)

    def apply(params, x):
        return nn.Dense(params["params"]["bias"].size).apply(params, x)

    with pytest.raises(ValueError, match="arrays of the same shapes of every key"):
        propagation(apply, params, X, keys=KEYS[:2])


def test_what_is_traced_is_refused():
    with pytest.raises(
        TypeError, match=r"inputs at '0' is traced.*call outside of jit"
    ):
        jax.jit(lambda x: propagation(DENSE, PARAMS, x).second_moment)(X)


def test_the_inputs_are_left_as_they_are():
    params, x = jax.tree.map(np.array, (PARAMS, X))
    propagation(DENSE, params, x)

    jax.tree.map(np.testing.assert_array_equal, (params, x), (PARAMS, X))
