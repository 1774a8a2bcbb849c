"""The first call of everything, under whatever JAX has that traces, checks or guards.

What jinit keeps between calls is emptied before each: a draw elsewhere in the process
must not be what makes one work.
"""

import contextlib
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit


def forget():
    """Empties every cache of jinit."""
    modules = [m for name, m in sys.modules.items() if name.split(".")[0] == "jinit"]
    for each in {id(v): v for m in modules for v in vars(m).values()}.values():
        if isinstance(each, functools._lru_cache_wrapper):
            each.cache_clear()


def draws(init, shape=(4, 8)):
    return lambda key: init(key, shape)


TREE = {"w": jax.ShapeDtypeStruct((4, 8), "float32")}
CALLS = {
    "constant": draws(jinit.constant([0.5] * 8)),
    "normal": draws(jinit.normal(std=0.02)),
    "trunc_normal": draws(jinit.trunc_normal(std=0.02, a=-0.04, b=0.04)),
    "a tail": draws(jinit.truncated_normal(lower=3.0, upper=4.0, corrected=True)),
    "complex": lambda key: jinit.lecun_normal()(key, (4, 8), "complex64"),
    "eye": draws(jinit.eye()),
    "he_normal of a function": draws(jinit.he_normal(gain=lambda x: jnp.tanh(2 * x))),
    "orthogonal": draws(jinit.orthogonal()),
    "convolution_orthogonal": draws(jinit.convolution_orthogonal(), (2, 2, 2)),
    "sparse": draws(jinit.sparse(0.5)),
    "stack": draws(jinit.stack(jinit.lecun_normal()), (2, 4, 4)),
    "looks_linear": draws(jinit.looks_linear(jinit.he_normal())),
    "zero_row": draws(jinit.torch.zero_row(jinit.normal(), 1)),
    "plan": lambda key: jinit.plan(TREE, {"w": jinit.he_normal()}).init(key)["w"],
    "jit_init": lambda key: jinit.jit_init(draws(jinit.he_normal()))(key),
    "gain": lambda key: jinit.gain(jax.nn.gelu) * jnp.ones(3),
}

FEW = [CALLS[name] for name in ("trunc_normal", "orthogonal", "stack", "plan", "gain")]


def flag(name, value):
    @contextlib.contextmanager
    def set_to():
        before = getattr(jax.config, name)
        jax.config.update(name, value)
        try:
            yield
        finally:
            jax.config.update(name, before)

    return set_to


def in_mesh(kind):
    def entered():
        mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
        return jax.set_mesh(mesh)

    return entered


def eagerly(call, key):
    return call(key)


def in_jit(call, key):
    return jax.jit(call)(key)


def mapped(call, key):
    drawn = jax.vmap(call)(jnp.stack([key]))
    return jax.tree.map(lambda w: w[0], drawn)


def shard_mapped(kind):
    def run(call, key):
        mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
        explicit = jax.set_mesh(mesh) if kind is AxisType.Explicit else None
        with explicit or contextlib.nullcontext():
            part = PartitionSpec("x")
            keys = jax.device_put(jnp.stack([key] * 8), NamedSharding(mesh, part))

            def each(keys):
                return jax.tree.map(lambda w: w[None], call(keys[0]))

            draw = jax.shard_map(each, mesh=mesh, in_specs=part, out_specs=part)
            return jax.tree.map(lambda w: np.asarray(w)[0], draw(keys))

    return run


def guarded():
    return jax.transfer_guard("disallow")


plain = contextlib.nullcontext
UNDER = {
    "shard_map": (shard_mapped(AxisType.Auto), plain),
    "shard_map of explicit axes": (shard_mapped(AxisType.Explicit), plain),
    "jit": (in_jit, plain),
    "vmap": (mapped, plain),
    "an automatic mesh": (eagerly, in_mesh(AxisType.Auto)),
    "an explicit mesh": (eagerly, in_mesh(AxisType.Explicit)),
    "a guard in jit": (in_jit, guarded),
    "leaks": (in_jit, flag("jax_check_tracer_leaks", True)),
    "key reuse": (in_jit, flag("jax_debug_key_reuse", True)),
    "nans": (eagerly, flag("jax_debug_nans", True)),
    "checks": (in_jit, flag("jax_enable_checks", True)),
    "no raw keys": (eagerly, flag("jax_legacy_prng_key", "error")),
    "no 64 bits": (eagerly, flag("jax_explicit_x64_dtypes", "error")),
    "constants as arguments": (
        in_jit,
        flag("jax_use_simplified_jaxpr_constants", True),
    ),
}


@pytest.fixture(scope="module")
def expected():
    return {name: np.asarray(call(jax.random.key(0))) for name, call in CALLS.items()}


def test_a_first_truncated_normal_may_be_drawn_in_shard_map(key):
    forget()
    drawn = shard_mapped(AxisType.Auto)(CALLS["trunc_normal"], key)
    np.testing.assert_array_equal(drawn, CALLS["trunc_normal"](key))


@pytest.mark.slow
@pytest.mark.parametrize("under", UNDER)
def test_a_first_call_is_any_call(under, expected):
    """All in one program, with the caches emptied before each of its parts."""
    run, context = UNDER[under]
    wrong = {}

    def first_calls(key):
        drawn = {}
        for name, call in CALLS.items():
            forget()
            try:
                drawn[name] = call(jax.random.clone(key))
            except Exception as error:
                wrong[name] = error
        return drawn

    key = jax.random.key(0)
    with context():
        drawn = run(first_calls, key)
        for name, weights in drawn.items():
            if not np.allclose(weights, expected[name], rtol=1e-5, atol=1e-6):
                wrong[name] = weights
    assert wrong == {}
    assert drawn.keys() == CALLS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_a_first_call_takes_keys_of_other_generators(implementation):
    for call in FEW:
        forget()
        assert np.isfinite(call(jax.random.key(0, impl=implementation))).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [flag("jax_threefry_partitionable", False), flag("jax_enable_x64", True)],
    ids=["other bits", "64 bits"],
)
def test_a_first_call_heeds_settings_that_change_the_draw(settings):
    for call in FEW:
        forget()
        with settings():
            assert np.isfinite(call(jax.random.key(0))).all()


def test_caches_are_emptied():
    jinit.gain(jax.nn.gelu)
    moments = jinit.gains._moments.mean_and_square
    assert moments.cache_info().currsize
    forget()
    assert not moments.cache_info().currsize
