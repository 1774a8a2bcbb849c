"""Beside Equinox: its modules are trees, and what jinit makes of them they compute."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_std

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import equinox as eqx
else:
    eqx = pytest.importorskip("equinox")

# Equinox's kernels are (out, in), and (out, in, *spatial).
LINEAR = jinit.he_normal(in_axis=1, out_axis=0)


def mlp(key):
    return eqx.nn.MLP(64, 64, 128, 2, key=key)


def test_a_module_is_drawn_anew_and_its_functions_are_left_as_they_are(key):
    rules = {"**/weight": LINEAR, "**/bias": jinit.zeros(), "**": None}
    drawn = jinit.reinit(key, mlp(key), rules)
    assert drawn.activation == mlp(key).activation
    check_std(drawn.layers[0].weight, (2 / 64) ** 0.5, kurtosis=2.4)
    assert not drawn.layers[1].bias.any()
    assert jnp.isfinite(drawn(jnp.ones(64))).all()


def test_the_arrays_alone_can_be_planned(key):
    arrays, static = eqx.partition(mlp(key), eqx.is_array)
    made = jinit.plan(arrays, {"**/weight": LINEAR, "**/bias": jinit.zeros()})
    whole = eqx.combine(made.init(key), static)
    assert jnp.isfinite(whole(jnp.ones(64))).all()


def test_one_leaf_is_replaced_by_tree_at(key):
    init = jinit.orthogonal(in_axis=1, out_axis=0)
    linear = eqx.nn.Linear(8, 8, key=key)
    weight = init(key, linear.weight.shape, linear.weight.dtype)
    linear = eqx.tree_at(lambda m: m.weight, linear, weight)
    np.testing.assert_allclose(linear.weight @ linear.weight.T, np.eye(8), atol=1e-5)


def test_an_ensemble_is_one_stack(key):
    models = eqx.filter_vmap(mlp)(jax.random.split(key, 3))
    rules = {"**/weight": jinit.stack(LINEAR), "**": None}
    weights = jinit.reinit(key, models, rules).layers[0].weight
    check_std(weights, (2 / 64) ** 0.5, kurtosis=2.4)


def test_a_module_is_initialized_whole(key):
    def arrays(key):
        return eqx.filter(mlp(key), eqx.is_array)

    same = jax.tree.map(np.allclose, jinit.jit_init(arrays)(key), arrays(key))
    assert all(jax.tree.leaves(same))
