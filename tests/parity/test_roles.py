"""Roles of models of Haiku and Equinox, whose layouts and names are their own."""

import os

import jax
import jax.numpy as jnp
import pytest

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import equinox as eqx
    import haiku as hk
else:
    eqx = pytest.importorskip("equinox")
    hk = pytest.importorskip("haiku")

KEY = jax.random.key(0)
X = jnp.ones((16,))


def kernels(model, params, *inputs):
    found = jinit.roles(model, params, *inputs)
    return found, [role for role in found if role.kind == "contraction"]


def test_a_transformed_function_of_haiku_is_read():
    def function(x):
        x = jax.nn.gelu(hk.Linear(32)(x))
        x = x + hk.MultiHeadAttention(2, 16, w_init=hk.initializers.Constant(0))(
            x, x, x
        )
        return hk.Conv1D(8, 3)(x)

    model, x = hk.transform(function), jnp.ones((2, 6, 16))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params = jax.eval_shape(model.init, KEY, x)
        found, roles = kernels(model, params, x)
    assert {role.path: (role.axes, role.fan_in, role.branches) for role in roles} == {
        "linear/w": (("in", "out"), 16, 0),
        "multi_head_attention/query/w": (("in", "out"), 32, 0),
        "multi_head_attention/key/w": (("in", "out"), 32, 0),
        "multi_head_attention/value/w": (("in", "out"), 32, 0),
        "multi_head_attention/linear/w": (("in", "out"), 32, 1),
        "conv1_d/w": (("space", "in", "out"), 96, 0),
    }
    assert all(role.kind == "shift" for role in found if role.path.endswith("b"))


def test_a_module_of_equinox_is_read():
    model = eqx.nn.MLP(16, 4, 32, 2, activation=jax.nn.silu, key=KEY)
    params = eqx.filter(model, eqx.is_array)
    found, roles = kernels(model, params, X)
    assert [role.axes for role in roles] == [("out", "in")] * 3
    assert [role.fan_in for role in roles] == [16, 32, 32]
    assert [role.activation for role in roles] == [None, "silu", "silu"]
    drawn = jinit.plan(params, found.rules()).init(KEY)
    assert jax.tree.structure(drawn) == jax.tree.structure(params)
    out = jax.vmap(eqx.combine(drawn, model))(jax.random.normal(KEY, (512, 16)))
    assert jnp.square(out).mean() == pytest.approx(1.0, rel=0.5)


def test_a_convolution_of_equinox_is_read():
    model = eqx.nn.Conv2d(4, 8, 3, groups=2, key=KEY)
    params = eqx.filter(model, eqx.is_array)
    _, (role,) = kernels(model, params, jnp.ones((4, 8, 8)))
    assert role.axes == ("out", "in", "space", "space")
    assert (role.fan_in, role.fan_out) == (18, 36)
