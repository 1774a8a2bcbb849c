"""`jit_init` returns what `jax.jit` returns, and compiles each distinct draw once."""

import math
import os
import pathlib
import re
import socket
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import io_callback
from jax.experimental.layout import Format, Layout
from jax.sharding import (
    AxisType,
    NamedSharding,
    PartitionSpec,
    SingleDeviceSharding,
)

import jinit
from jinit import distributions
from jinit.model import _jit_init

KEY = jax.random.key(0)
IMAGES = jnp.ones((2, 8, 8, 3))
SEQUENCES = jnp.ones((2, 5, 16))


def numbers(x):
    """An array as NumPy has it; of keys their data."""
    key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if key else x)


def check_equal(ours, jaxs):
    """Asserts the same pytree: bits, dtypes, weak types and shardings."""
    assert jax.tree.structure(ours) == jax.tree.structure(jaxs)
    for (path, x), (_, y) in zip(
        jax.tree_util.tree_leaves_with_path(ours),
        jax.tree_util.tree_leaves_with_path(jaxs),
        strict=True,
    ):
        where = jax.tree_util.keystr(path)
        assert (x.shape, x.dtype) == (y.shape, y.dtype), where
        assert getattr(x, "weak_type", None) == getattr(y, "weak_type", None), where
        assert x.sharding.is_equivalent_to(y.sharding, x.ndim), where
        np.testing.assert_array_equal(numbers(x), numbers(y), err_msg=where)


def check_same(fn, *args, options=None, **kwargs):
    options = options or {}
    ours = jinit.jit_init(fn, **options)(*args, **kwargs)
    check_equal(ours, jax.jit(fn, **options)(*args, **kwargs))
    return ours


class CNN(nn.Module):
    """Parameters, batch statistics and dropout; kernels of jinit and of Flax."""

    @nn.compact
    def __call__(self, x, train=True):
        for _ in range(2):
            x = nn.Conv(8, (3, 3), kernel_init=jinit.kaiming_normal())(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(10)(x)


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(16, kernel_init=jinit.normal(std=0.1))(x), None


class Scanned(nn.Module):
    """Layers that are scanned, rematerialized and partitioned."""

    @nn.compact
    def __call__(self, x):
        scan = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x, _ = nn.scan(Step, length=3, **scan)()(x, None)
        x, _ = nn.scan(nn.remat(Step), length=2, **scan)()(x, None)
        init = nn.with_partitioning(jinit.he_normal(), ("a", "b"))
        return nn.Dense(16, kernel_init=init)(nn.remat(nn.Dense)(16)(x))


def nnx_state(key):
    rngs = nnx.Rngs(key)
    layers = [
        nnx.Linear(8, 16, rngs=rngs),
        nnx.BatchNorm(16, rngs=rngs),
        nnx.Dropout(0.1, rngs=rngs),
        nnx.LSTMCell(16, 8, rngs=rngs),
    ]
    return nnx.state(nnx.Sequential(*layers))


def nested(key):
    """Jitted functions in jitted functions, with several results."""

    @jax.jit
    def pair(key):
        return jinit.ones()(key, (2,)), jinit.normal()(key, (2,))

    @jax.jit
    def outer(key):
        return {
            "a": jinit.uniform()(key, (3, 4)),
            "b": pair(jax.random.fold_in(key, 1)),
        }

    return outer(key)


def derived(key, x):
    """Arrays that are made of one another, and of the data."""
    w = jinit.normal()(key, (3, 4))
    y = x.reshape(-1, 3) @ w + jnp.arange(24.0).reshape(6, 4)[:1]
    return {"w": w / 2, "copy": w, "mean": y.mean(0), "u": jinit.uniform()(key, (4,))}


def given(key, x, seed):
    """Results that nothing draws."""
    literals = {"f": jnp.float32(3), "weak": 2.0, "i": 5, "zeros": jnp.zeros((2, 3))}
    keys = jax.random.split(key, 3)
    return {"key": key, "x": x, "again": x, "keys": keys, "s": seed * 2, **literals}


def table(key):
    big = np.arange(5000, dtype=np.float32)
    init = jinit.constant(big)
    return {
        "c": init(key, (5000,)),
        "e": jnp.asarray(big) + jinit.normal()(key, (5000,)),
    }


def branch(key):
    draws = [lambda k: jinit.normal()(k, (3,)), lambda k: jinit.uniform()(k, (3,))]
    return jax.lax.cond(jax.random.bits(key) > 5, *draws, key)


def foreign(key):
    inits = jax.nn.initializers
    keys = jax.random.split(key, 3)
    return [
        inits.he_normal()(keys[0], (8, 8)),
        inits.uniform()(keys[1], (8, 8)),
        inits.orthogonal()(keys[2], (8, 8)),
    ]


def random_functions(key):
    """What JAX draws its random bits for, of all widths and of several keys."""
    draws = {
        "uniform": jax.random.uniform(key, (3, 4), minval=-1.0, maxval=2.0),
        "truncated": jax.random.truncated_normal(key, -1.0, 2.0, (3, 4)),
        "complex": jax.random.normal(key, (5,), "complex64"),
        "half": jax.random.normal(key, (5,), "bfloat16"),
        "integers": jax.random.randint(key, (5,), -3, 100),
        "bool": jax.random.bernoulli(key, 0.3, (5,)),
        "permutation": jax.random.permutation(key, 7),
        "gamma": jax.random.gamma(key, 2.0, (3,)),
        "categorical": jax.random.categorical(key, jnp.arange(5.0), shape=(3,)),
        "empty": jax.random.normal(key, (0, 3)),
        "members": jax.vmap(jax.random.normal)(jax.random.split(key, 3)),
    }
    bits = {n: jax.random.bits(key, (5,), f"uint{n}") for n in (8, 16, 32)}
    return draws | {"bits": bits}


def narrow(key):
    names = ("bfloat16", "float16", "complex64", "float8_e4m3fn")
    return {name: jinit.normal()(key, (5,), name) for name in names}


CALLS = {
    "linen": (CNN().init, {"params": KEY, "dropout": jax.random.PRNGKey(1)}, IMAGES),
    "linen with output": (
        CNN().init_with_output,
        {"params": KEY, "dropout": KEY},
        IMAGES,
    ),
    "linen scan": (Scanned().init, KEY, SEQUENCES),
    "linen vmap": (
        nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})(
            5
        ).init,
        KEY,
        SEQUENCES,
    ),
    "linen rnn": (nn.RNN(nn.LSTMCell(8)).init, KEY, SEQUENCES),
    "linen attention": (nn.MultiHeadDotProductAttention(4).init, KEY, SEQUENCES),
    "nnx": (nnx_state, KEY),
    "nested jit": (nested, KEY),
    "data": (derived, KEY, IMAGES),
    "given": (given, KEY, IMAGES, 3),
    "constants": (table, KEY),
    "branch": (branch, KEY),
    "initializers of JAX": (foreign, KEY),
    "random functions of JAX": (random_functions, KEY),
    "those of another generator": (random_functions, jax.random.key(3, impl="rbg")),
    "dtypes": (narrow, KEY),
    "a raw key": (lambda key: jinit.normal()(key, (3,)), jax.random.PRNGKey(3)),
    "another generator": (
        lambda key: jinit.normal()(key, (3,)),
        jax.random.key(3, impl="rbg"),
    ),
    "nothing": (lambda key: {}, KEY),
    "an empty array": (lambda key: jinit.normal()(key, (0, 3)), KEY),
}


@pytest.mark.bits
@pytest.mark.parametrize("name", CALLS)
def test_it_returns_what_jit_returns(name):
    fn, *args = CALLS[name]
    check_same(fn, *args)


@pytest.mark.bits
def test_it_returns_what_jit_returns_in_double_precision(x64):
    check_same(lambda key: jinit.normal()(key, (3, 4)), KEY)
    check_same(lambda key: jax.random.normal(key, (3, 4)), KEY)


def draws_of_keys(key):
    """Draws of keys by all the ways that there are to them."""
    first, second, third = jax.random.split(key, 3)
    folded = jax.random.fold_in(jax.random.fold_in(first, 2**32 - 1), 7)
    impl = jax.random.key_impl(second)
    wrapped = jax.random.wrap_key_data(jax.random.key_data(second), impl=impl)
    keys = [folded, wrapped, *jax.random.split(third, (2, 3))[1, 1:]]
    return [jinit.uniform()(key, (3,)) for key in keys]


KEYS = {
    "threefry": (jax.random.key(3), True),
    "raw": (jax.random.PRNGKey(2**32 - 1), True),
    "rbg": (jax.random.key(3, impl="rbg"), False),
    "on a device": (jax.device_put(KEY, jax.devices()[0]), False),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_threefry_are_worked_out_without_a_program(kind, compilations):
    key, is_known = KEYS[kind]
    ours = jinit.jit_init(draws_of_keys)(key)
    assert (len(compilations) == 1) == is_known  # the draw
    check_equal(ours, jax.jit(draws_of_keys)(key))


def test_keys_may_be_worked_out_while_a_caller_traces():
    init = jinit.jit_init(lambda key: jinit.normal()(jax.random.fold_in(key, 1), (3,)))
    check_equal(jax.jit(lambda: init(KEY))(), init(KEY))


def test_random_bits_of_jax_are_drawn_without_its_loop():
    fn = jax.nn.initializers.normal(0.1)
    init = jinit.jit_init(lambda key: fn(key, (30, 40)))
    (program,) = init.compile(KEY)
    assert "while" not in program.as_text()
    assert "while" in jax.jit(lambda key: fn(key, (30, 40))).lower(KEY).as_text()


def init_cnn(key, x, train):
    return CNN().init({"params": key, "dropout": key}, x, train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "args", "kwargs"),
    [
        ({"static_argnums": 2}, (KEY, IMAGES, True), {}),
        ({"static_argnums": (-1,)}, (KEY, IMAGES, True), {}),
        ({"static_argnums": 2}, (KEY, IMAGES), {"train": True}),
        ({"static_argnames": "train"}, (KEY, IMAGES, False), {}),
        (
            {"static_argnums": None, "static_argnames": "train"},
            (KEY, IMAGES, False),
            {},
        ),
        ({"static_argnames": ["train"]}, (KEY,), {"train": False, "x": IMAGES}),
    ],
    ids=range(6),
)
def test_static_arguments_are_those_of_jit(options, args, kwargs):
    check_same(init_cnn, *args, options=options, **kwargs)


def test_effects_happen_once_and_the_rest_is_still_taken_apart():
    seen = []

    def init(key):
        jax.debug.callback(seen.append, jax.random.bits(key))
        number = jax.pure_callback(
            lambda: np.float32(2), jax.ShapeDtypeStruct((), np.float32)
        )
        return {"w": jinit.normal()(key, (3,)), "number": number}

    ours = jinit.jit_init(init)(KEY)
    jax.effects_barrier()
    assert len(seen) == 1
    check_equal(ours, jax.jit(init)(KEY))


def test_none_is_no_result():
    check_same(lambda key: {"w": jinit.normal()(key, (3,)), "b": None}, KEY)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_number_from_a_callback_is_asked_for_once(ordered):
    def init(key):
        number = io_callback(
            lambda: next(numbers), jax.ShapeDtypeStruct((), "float32"), ordered=ordered
        )
        scaled = [
            jinit.normal()(jax.random.fold_in(key, i), (i + 2,)) for i in range(3)
        ]
        return [w * number for w in scaled], number, 2 * number

    numbers = iter(np.float32(range(1, 9)))
    kernels, number, twice = jinit.jit_init(init)(KEY)
    assert (number, twice) == (1, 2)
    assert next(numbers) == 2
    drawn = jinit.normal()(jax.random.fold_in(KEY, 0), (2,))
    np.testing.assert_array_equal(kernels[0], drawn)


def test_what_results_share_is_worked_out_once():
    calls = []

    def norm(x):
        calls.append(x)
        return np.float32(np.linalg.norm(x))

    def init(key):
        w = jinit.normal()(key, (5, 5))
        size = jax.pure_callback(norm, jax.ShapeDtypeStruct((), "float32"), w)
        return [w / size, jnp.ones(3) * size, jinit.uniform()(key, (2,)) / size]

    jax.block_until_ready(jinit.jit_init(init)(KEY))
    assert len(calls) == 1


def test_an_array_that_was_closed_over_may_change_afterwards():
    table = np.arange(400, dtype=np.float32)
    init = jinit.jit_init(lambda key: table + jinit.zeros()(key, (400,)))
    init(KEY)
    table[:] = -1
    assert init(KEY)[1] == 1


def test_the_sign_and_the_payload_of_a_nan_are_kept():
    def init(key):
        bits = [np.uint32(0x7FC00000), np.uint32(0xFFC00001)]
        return [
            jax.lax.select(
                jnp.zeros(4, bool), jnp.ones(4), jnp.full(4, b.view("float32"))
            )
            for b in bits
        ]

    ours, jaxs = jinit.jit_init(init)(KEY), jax.jit(init)(KEY)
    for x, y in zip(ours, jaxs, strict=True):
        np.testing.assert_array_equal(*(np.asarray(z).view("uint32") for z in (x, y)))


def mixed(key):
    """Draws of JAX under two settings of its generator."""
    first = jax.random.bits(key, (300,)), jax.random.split(key, 3)
    with jax.threefry_partitionable(False):
        return first, jax.random.bits(key, (300,)), jax.random.split(key, 3)


def test_the_settings_of_the_generator_are_those_of_each_draw():
    check_same(mixed, KEY)


@pytest.mark.slow
def test_settings_may_change_between_calls():
    init = jinit.jit_init(nested_keys)
    check_equal(init(KEY), jax.jit(nested_keys)(KEY))
    with jax.threefry_partitionable(False):
        check_equal(init(KEY), jax.jit(nested_keys)(KEY))
    with jax.default_device(jax.devices()[1]):
        check_equal(init(KEY), jax.jit(nested_keys)(KEY))


def nested_keys(key):
    return jax.random.split(key, 3), jax.random.bits(key, (6,)), jnp.zeros(2)


def test_shardings_within_the_function_are_kept(mesh):
    at = NamedSharding(mesh, PartitionSpec("x"))

    def init(key):
        draw = jax.jit(lambda key: jinit.normal()(key, (8, 4)), out_shardings=at)
        return draw(key)

    assert jinit.jit_init(init)(KEY).sharding.is_equivalent_to(at, 2)


# What is compiled


@pytest.fixture
def compilations(monkeypatch):
    """How many programs have been compiled, by a list that grows."""
    events = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


class Deep(nn.Module):
    """Many layers of few shapes."""

    layers: int = 6

    @nn.compact
    def __call__(self, x):
        for _ in range(self.layers):
            x = nn.Dense(24, kernel_init=jinit.normal(std=0.3))(nn.LayerNorm()(x))
            x = nn.Dense(16, kernel_init=jinit.normal(std=0.5))(x)
        return x


def test_each_distinct_draw_is_compiled_once(compilations):
    init = jinit.jit_init(Deep(layers=6).init)
    jax.block_until_ready(init(KEY, SEQUENCES))
    # Two kernels, and ones and zeros of two sizes.
    assert 1 <= len(compilations) <= 3
    first = len(compilations)
    jax.block_until_ready(jinit.jit_init(Deep(layers=12).init)(KEY, SEQUENCES))
    assert len(compilations) <= 2 * first


@pytest.mark.slow
def test_a_second_call_neither_traces_nor_compiles(compilations):
    traces = []

    def traced(key, x):
        traces.append(x)
        return Deep().init(key, x)

    init = jinit.jit_init(traced)
    first = init(KEY, SEQUENCES)
    compiled = len(compilations)
    second = init(jax.random.key(1), 2 * SEQUENCES)
    assert len(traces) == 1
    assert len(compilations) - compiled <= 1  # the doubling
    assert not np.array_equal(*(jax.tree.leaves(p)[1] for p in (first, second)))
    check_equal(second, jax.jit(Deep().init)(jax.random.key(1), SEQUENCES))


# Two of one small piece, one of a large piece, and one of two and a bit.
SHAPES = (3, 7), (3, 5, 2), (70, 100), (2, 140_000)


def by_shape(init, dtype=np.float32):
    """Draws each shape, by a key of its own."""
    return lambda key: [
        init(jax.random.fold_in(key, n), shape, dtype) for n, shape in enumerate(SHAPES)
    ]


def heads(key, shape, dtype):
    flat = jinit.normal(std=0.1)(key, (math.prod(shape),), dtype)
    return flat.reshape(1, *shape) * jnp.float32(0.5)


ELEMENTWISE = {
    "normal": by_shape(jinit.normal(mean=1.0, std=0.02)),
    "of any fans": by_shape(jinit.lecun_uniform()),
    "truncated": by_shape(jinit.trunc_normal(std=0.5)),
    "complex": by_shape(jinit.he_normal(), np.complex64),
    "bfloat16": by_shape(jinit.uniform(a=-1.0, b=2.0), jnp.bfloat16),
    "JAX's": by_shape(jax.nn.initializers.truncated_normal(0.1)),
    "reshaped and scaled": by_shape(heads),
    "through a function": by_shape(
        distributions.through("tanh", jinit.uniform(a=-0.9, b=0.9))
    ),
}


@pytest.mark.bits
@pytest.mark.slow
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise_draws_of_any_shape_have_one_program(kind):
    init = jinit.jit_init(ELEMENTWISE[kind])
    assert len(init.compile(KEY)) == 3  # of keys, of small and of large pieces
    check_equal(init(KEY), jax.jit(ELEMENTWISE[kind])(KEY))


@pytest.mark.bits
@pytest.mark.slow
def test_pieces_have_the_settings_of_the_call(x64):
    check_same(by_shape(jinit.normal(std=0.1), np.float64), KEY)
    with jax.default_device(jax.devices("cpu")[-1]):
        check_same(by_shape(jinit.normal(std=0.1)), KEY)


OTHERS = {
    "across elements": by_shape(lambda *of: jinit.normal()(*of).cumsum(0)),
    "transposed": by_shape(lambda *of: jinit.normal()(*of).T),
    "of a table": by_shape(lambda *of: jinit.normal()(*of) * np.ones(of[1], of[2])),
    "in a loop": by_shape(distributions.gamma(concentration=2.0)),
    "by another generator": by_shape(
        lambda key, *of: jinit.normal()(
            jax.random.wrap_key_data(jnp.tile(jax.random.key_data(key), 2), impl="rbg"),
            *of,
        )
    ),
    "of a weak type": by_shape(lambda *of: 0.0 * jinit.normal()(*of) + 1.0),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_draws_of_another_kind_are_compiled_for_each_shape(kind):
    init = jinit.jit_init(OTHERS[kind])
    made, wanted = init(KEY), jax.eval_shape(OTHERS[kind], KEY)
    assert [w.shape for w in made] == [w.shape for w in wanted]


def test_what_is_drawn_in_pieces_may_be_given_up():
    made = jinit.jit_init(by_shape(jinit.normal()))(KEY)
    wanted = jax.tree.map(lambda w: np.asarray(w) + 1, made)
    added = jax.jit(lambda w: jax.tree.map(lambda x: x + 1, w), donate_argnums=0)(made)
    assert all(w.is_deleted() for w in made)
    jax.tree.map(np.testing.assert_array_equal, added, wanted)


def test_arguments_of_another_kind_are_traced_anew():
    init = jinit.jit_init(lambda key, x: jinit.normal()(key, x.shape))
    assert init(KEY, jnp.ones(3)).shape == (3,)
    assert init(KEY, jnp.ones((4, 5))).shape == (4, 5)
    with jax.enable_x64(True):
        assert init(KEY, jnp.ones(3)).dtype == jnp.float64


def test_what_the_parameters_do_not_depend_on_is_not_computed():
    calls = []

    def init(key, x):
        params = Deep().init(key, x)
        jax.pure_callback(asked, jax.ShapeDtypeStruct((), np.float32))
        return params

    def asked():
        calls.append("this has no bearing on the parameters")
        return np.float32(0)

    jax.block_until_ready(jinit.jit_init(init)(KEY, SEQUENCES))
    assert not calls


def test_a_compilation_that_failed_may_be_tried_again(monkeypatch):
    init = jinit.jit_init(lambda key: jinit.normal()(key, (3,)))
    with monkeypatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", no_memory)
        with pytest.raises(MemoryError):
            init(KEY)
    assert init(KEY).shape == (3,)


def no_memory(*_):
    raise MemoryError


# Batches


@pytest.mark.slow
def test_under_vmap_each_member_is_the_single_one():
    init = jinit.jit_init(CNN().init)
    keys = jax.random.split(KEY, 3)
    rngs = {"params": keys, "dropout": keys}
    members = jax.vmap(lambda rngs: init(rngs, IMAGES))(rngs)
    for i, key in enumerate(keys):
        one = init({"params": key, "dropout": key}, IMAGES)
        member = jax.tree.map(lambda leaf: leaf[i], members)  # noqa: B023
        jax.tree.map(np.testing.assert_array_equal, member["params"], one["params"])


def test_it_may_be_called_within_jit():
    init = jinit.jit_init(nested)
    check_equal(jax.jit(lambda key: init(key))(KEY), jax.jit(nested)(KEY))


def test_a_traced_value_may_be_closed_over():
    def scaled(scale):
        return jinit.jit_init(lambda key: scale * jinit.normal()(key, (3,)))(KEY)

    np.testing.assert_array_equal(jax.jit(scaled)(2.0), 2 * jinit.normal()(KEY, (3,)))
    np.testing.assert_array_equal(jax.vmap(scaled)(jnp.ones(2))[1], scaled(1.0))


def test_nan_is_found_as_by_jit():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        jinit.jit_init(lambda key: jnp.log(-jnp.ones(3)))(KEY)


@pytest.mark.slow
def test_it_runs_where_compilation_is_disabled():
    with jax.disable_jit():
        params = jinit.jit_init(Deep(layers=1).init)(KEY, SEQUENCES)
    assert params["params"]["Dense_0"]["kernel"].shape == (16, 24)


# Meshes


def tree(key):
    keys = jax.random.split(key, 3)
    return {
        "w": jinit.normal()(keys[0], (16, 32)),
        "zeros": jnp.zeros((16,)),
        "key": key,
        "pair": [jinit.uniform()(keys[1], (8,)), jinit.he_normal()(keys[2], (8, 8))],
    }


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(request.param,) * 2)


SPECS = [
    {"w": ("x", "y"), "zeros": ("x",), "key": (), "pair": ("y",)},
    {"w": (None, ("x", "y")), "zeros": (), "key": (), "pair": [("x",), (None, "x")]},
]


def is_spec(value):
    return isinstance(value, tuple)


@pytest.mark.bits
@pytest.mark.parametrize("specs", SPECS, ids=range(2))
def test_bits_do_not_depend_on_the_mesh(specs, mesh):
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, PartitionSpec(*spec)), specs, is_leaf=is_spec
    )
    sharded = jinit.jit_init(tree, out_shardings=shardings)(KEY)
    assert sharded["w"].sharding == shardings["w"]
    plain = jinit.jit_init(tree)(KEY)
    for x, y in zip(jax.tree.leaves(sharded), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(numbers(x), numbers(y))


@pytest.mark.slow
def test_a_sharding_may_follow_from_the_path(mesh):
    def place(path, leaf):
        assert isinstance(leaf, jax.ShapeDtypeStruct)
        specs = {"w": ("x", "y"), "pair/0": ("y",)}
        return NamedSharding(mesh, PartitionSpec(*specs.get(path, ())))

    by_path = jinit.jit_init(tree, out_shardings=place)(KEY)
    assert by_path["w"].sharding.spec == PartitionSpec("x", "y")
    assert by_path["pair"][0].sharding.spec == PartitionSpec("y")
    np.testing.assert_array_equal(by_path["w"], jinit.jit_init(tree)(KEY)["w"])
    members = jax.vmap(jinit.jit_init(tree, out_shardings=place))(
        jax.random.split(KEY, 2)
    )
    assert members["w"].shape == (2, 16, 32)


@pytest.mark.slow
def test_specs_are_shardings_under_a_mesh(mesh):
    specs = jax.tree.map(lambda spec: PartitionSpec(*spec), SPECS[0], is_leaf=is_spec)
    with jax.set_mesh(mesh):
        check_same(tree, jax.random.key(0), options={"out_shardings": specs})
        check_same(tree, jax.random.key(0))


@pytest.mark.parametrize("where", ["device", "mesh"])
def test_arguments_that_are_on_devices_keep_the_results_there(where, mesh):
    replicated = NamedSharding(mesh, PartitionSpec())
    place = jax.devices()[3] if where == "device" else replicated
    check_same(tree, jax.device_put(KEY, place))


COLLECTIVES = re.compile(r"all-(gather|reduce|to-all)|collective|reduce-scatter")


def test_each_device_draws_its_part_alone(mesh):
    sharding = NamedSharding(mesh, PartitionSpec("x", "y"))

    def init(key):
        return [
            jinit.normal()(key, (512, 512)),
            jinit.blocks(jinit.xavier_uniform(), 2)(key, (512, 512)),
            jinit.lecun_normal()(key, (512, 512), "bfloat16"),
            jnp.zeros((512, 512)),
        ]

    programs = jinit.jit_init(init, out_shardings=sharding).compile(KEY)
    assert len(programs) >= 4
    whole = 512 * 512 * 4
    for program in programs:
        assert not COLLECTIVES.search(program.as_text())
        memory = program.memory_analysis()
        assert memory.output_size_in_bytes + memory.temp_size_in_bytes < whole / 2


def test_it_compiles_without_drawing_for_kinds_of_arrays(compilations):
    init = jinit.jit_init(Deep().init)
    init.compile(jax.eval_shape(lambda: KEY), jax.ShapeDtypeStruct((2, 16), "float32"))
    before = len(compilations)
    jax.block_until_ready(init(KEY, jnp.ones((2, 16))))
    assert len(compilations) <= before + 1  # the ones


@pytest.mark.slow
def test_processes_initialize_one_array_that_is_that_of_a_single_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    script = pathlib.Path(__file__).parent / "processes.py"
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    both = [
        subprocess.Popen(
            [sys.executable, script, str(port), str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **devices},
        )
        for process in (0, 1)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split() == ["2", "8"]


# Mistakes


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"fn must be a function, such as model\.init"):
        jinit.jit_init({"params": 1})


def test_shardings_that_do_not_fit_the_result_are_refused(mesh):
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    with pytest.raises(ValueError, match="out_shardings"):
        jinit.jit_init(tree, out_shardings={"v": sharding})(KEY)
    with pytest.raises(ValueError, match="4"):
        jinit.jit_init(lambda key: jinit.normal()(key, (7,)), sharding)(KEY)
    with pytest.raises(
        TypeError, match=r"Shardings, PartitionSpecs or None, got 'x' for 'w'"
    ):
        jinit.jit_init(tree, lambda path, leaf: "x" if path == "w" else None)(KEY)
    with pytest.raises(TypeError, match=r"must give jax\.sharding\.Shardings"):
        jinit.jit_init(tree, out_shardings="x")(KEY)


@pytest.mark.slow
def test_what_was_compiled_long_ago_is_compiled_again(monkeypatch, key):
    monkeypatch.setattr(_jit_init, "_RECIPES", 1)
    init = jinit.jit_init(nn.Dense(3).init)
    for width in (4, 5, 4):
        kernel = init(key, jnp.ones((1, width)))["params"]["kernel"]
        expected = jax.jit(nn.Dense(3).init)(key, jnp.ones((1, width)))
        np.testing.assert_array_equal(kernel, expected["params"]["kernel"])


def weak(tree):
    return jax.tree.map(lambda leaf: leaf.weak_type, tree)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_weak_types_are_kept(depth, key):
    def fn(key, x=2.0):
        drawn = jinit.normal()(key, (2,))
        return {"t": jnp.asarray(1.0), "x": x, "twice": 2 * x, "i": 3, "w": drawn}

    for _ in range(depth):
        fn = jax.jit(fn)
    made = jinit.jit_init(lambda key: fn(key))(key)
    assert weak(made) == weak(jax.jit(lambda key: fn(key))(key))
    assert weak(made)["t"]


def mesh_of(kind):
    return jax.make_mesh((8,), ("x",), axis_types=(kind,))


def constrained(mesh):
    over = NamedSharding(mesh, PartitionSpec("x"))
    return lambda w: jax.lax.with_sharding_constraint(w, over)


def shard_mapped(mesh):
    part = PartitionSpec("x")
    return jax.shard_map(lambda w: w, mesh=mesh, in_specs=part, out_specs=part)


@pytest.mark.parametrize("layout", [constrained, shard_mapped])
def test_a_mesh_within_the_function_is_that_of_all_results(layout, key):
    mesh = mesh_of(AxisType.Auto)

    def fn(key):
        w = layout(mesh)(jinit.normal()(key, (8, 8)))
        alone = jinit.orthogonal()(key, (8, 8))
        return {"w": w, "twice": 2 * w, "alone": alone, "b": jnp.zeros(8), "key": key}

    wanted, made = jax.jit(fn)(key), jinit.jit_init(fn)(key)
    for name, leaf in wanted.items():
        assert made[name].sharding.is_equivalent_to(leaf.sharding, leaf.ndim)
        assert made[name].committed == leaf.committed


def test_the_metadata_of_one_kernel_place_the_whole_model(key):
    mesh = mesh_of(AxisType.Auto)

    def fn(key):
        init = nnx.with_partitioning(jinit.normal(), (None, "x"), mesh=mesh)
        layer = nnx.Linear(8, 16, kernel_init=init, rngs=nnx.Rngs(key))
        return nnx.to_pure_dict(nnx.state(layer, nnx.Param))

    wanted, made = jax.jit(fn)(key), jinit.jit_init(fn)(key)
    assert {n: w.sharding for n, w in made.items()} == {
        n: w.sharding for n, w in wanted.items()
    }


def test_a_layout_is_a_sharding_too(key):
    layout = Format(Layout((1, 0)), SingleDeviceSharding(jax.devices()[1]))
    made = jinit.jit_init(lambda key: jnp.ones((2, 3)), out_shardings=layout)(key)
    assert made.format.layout.major_to_minor == (1, 0)
    assert made.sharding == layout.sharding
