"""The audit with a model: what its weights make of signals, by the program alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit.diagnostics import audit

X = np.random.default_rng(0).normal(size=(4, 6, 64)).astype("float32")
WORDS = np.arange(24).reshape(4, 6)


class Model(nn.Module):
    """An Einsum kernel, a branch with a gate, and a head."""

    einsum: object = jinit.lecun_normal(in_axis=0, out_axis=(1, 2))
    down: object = jinit.lecun_normal()
    gate: object = nn.initializers.ones

    @nn.compact
    def __call__(self, x):
        x = nn.Einsum((64, 8, 8), "btd,dhk->bthk", kernel_init=self.einsum)(x)
        x = x.reshape(*x.shape[:2], 64)
        y = nn.relu(nn.Dense(128)(nn.LayerNorm()(x)))
        y = nn.Dense(64, kernel_init=self.down)(y)
        x = x + y * self.param("gate", self.gate, (1, 1, 64))
        return nn.Dense(10, kernel_init=nn.initializers.zeros)(x)


class PostNorm(nn.Module):
    scale: float = 1.0

    @nn.compact
    def __call__(self, words):
        x = nn.Embed(100, 64)(words) * self.scale
        x = nn.LayerNorm()(x + nn.MultiHeadDotProductAttention(4)(x))
        return nn.Dense(10)(nn.LayerNorm()(x + nn.Dense(64)(nn.relu(nn.Dense(99)(x)))))


def findings(model, x, params=None):
    params = model.init(jax.random.key(0), x) if params is None else params
    return audit(params, model=model, inputs=x).findings


def test_a_model_that_is_drawn_for_its_fans_has_no_finding():
    assert findings(Model(), X) == ()


def test_a_kernel_that_is_drawn_for_other_axes_is_told_so():
    (found,) = findings(Model(einsum=nn.initializers.lecun_normal()), X)

    assert (found.path, found.kind) == ("params/Einsum_0/kernel", "signal")
    assert "drawn for a fan_in of 512; the program sums over 64" in found.message
    assert "2.8" in found.message
    assert "times too small" in found.message


def test_a_kernel_that_is_too_large_is_told_so():
    (found,) = findings(Model(einsum=jinit.normal(std=1.0)), X)

    assert "the program sums over 64: outputs are 7.93 times too large" in found.message


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_a_small_table_before_a_block_that_normalizes_last_is_found(scale):
    found = findings(PostNorm(scale), WORDS)

    assert [each.path for each in found] == ["params/Embed_0/embedding"] * (scale == 1)
    assert all("query/kernel" in each.message for each in found)


def test_a_zero_gate_is_a_method_and_two_zeros_in_a_branch_are_none():
    zeros = nn.initializers.zeros
    assert findings(Model(gate=zeros), X) == ()
    assert findings(Model(down=zeros), X) == ()
    (found,) = findings(Model(down=zeros, gate=zeros), X)

    assert found.kind == "gradient"
    assert "'params/gate'" in found.message


def test_a_leaf_that_is_not_used_is_found():
    params = {"w": np.eye(64, dtype="f4"), "spare": np.ones((3, 3), "f4")}
    found = audit(params, model=lambda p, x: x @ p["w"], inputs=X).findings

    assert ("spare", "unused") in [(each.path, each.kind) for each in found]


def test_experts_and_layers_of_a_stack_are_judged_by_their_own_fans():
    def model(params, x):
        def layer(x, w):
            return jax.nn.relu(jnp.einsum("btd,edf->btef", x, w)).sum(2) / 2, None

        return jax.lax.scan(layer, x, params["w"])[0]

    draw = jinit.he_normal(in_axis=2, batch_axis=(0, 1))
    params = {"w": draw(jax.random.key(0), (5, 4, 64, 64))}
    wrong = {"w": jinit.he_normal()(jax.random.key(0), (5, 4, 64, 64))}
    assert audit(params, model=model, inputs=X).findings == ()
    (found,) = audit(wrong, model=model, inputs=X).findings
    assert "the program sums over 64" in found.message


def test_averages_that_run_along_are_no_leaves_to_be_used():
    class Normed(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.linear, self.norm = (
                nnx.Linear(64, 8, rngs=rngs),
                nnx.BatchNorm(8, rngs=rngs),
            )

        def __call__(self, x):
            return self.norm(self.linear(x))

    model = Normed()
    assert audit(nnx.state(model), model=model, inputs=X).findings == ()


def test_what_a_plan_finds_is_not_taken_back_by_the_program():
    params = {"w": jinit.xavier_normal()(jax.random.key(0), (64, 256))}
    findings = audit(
        params, {"w": jinit.he_normal()}, model=lambda p, x: x @ p["w"], inputs=X
    ).findings
    assert [finding.kind for finding in findings] == ["std"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "inputs must be what the model is called with, got none"),
        ({"inputs": X[..., :3]}, r"model must run on these params.*\(4, 6, 3\)"),
        ({"inputs": X, "subtree": "params"}, "subtree must be left out where a model"),
    ],
)
def test_a_mistake_is_refused(options, message):
    params = Model().init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        audit(params, model=Model(), **options)
