"""The audit finds what was planted, with its cause, and nothing where all is right."""

import functools
import json
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import FAULTS
from flax import nnx
from scipy import stats

import jinit
from jinit.audit._expected import expected
from jinit.audit._statistics import measure
from jinit.diagnostics import audit

SEEDS = 50


@pytest.fixture(scope="module", params=FAULTS)
def planned(request):
    """A fault, and the params of its model over all seeds, drawn as planned."""
    fault = FAULTS[request.param]
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return fault, fault.plan().init(keys)


def member(params, seed):
    return {path: np.asarray(array)[seed] for path, array in params.items()}


def test_a_model_as_planned_has_no_finding(planned):
    fault, params = planned
    plan = fault.plan()
    for seed in range(SEEDS):
        report = audit(member(params, seed), plan)
        assert report.findings == (), (seed, report)
        assert report.exit_status == 0


def test_a_fault_is_found_and_its_cause_named(planned):
    fault, params = planned
    plan = fault.plan()
    keys = jax.random.split(jax.random.key(1), SEEDS)
    params = params | jax.jit(jax.vmap(fault.wrong))(keys, params)
    for seed in range(SEEDS):
        report = audit(member(params, seed), plan)
        assert report.exit_status == 1
        found = [f for f in report.findings if f.kind == fault.kind]
        assert [f.path for f in found] == [fault.path], (seed, report)
        assert re.search(fault.cause, found[0].cause), (seed, report)


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(16, (3, 3))(x)))
        x = nn.relu(nn.Conv(16, (3, 3), feature_group_count=4)(x))
        return nn.Dense(10)(x.mean((1, 2)))


class Attending(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(64, 32)(tokens)
        x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))
        x = nn.RNN(nn.LSTMCell(24))(x)
        return nn.DenseGeneral((3, 5))(x)


class Perceptron(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(48, 32, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)
        self.last = nnx.Linear(32, 8, rngs=rngs)


MODELS = {
    "convolutional": lambda key: Convolutional().init(key, jnp.ones((1, 8, 8, 3))),
    "attending": lambda key: Attending().init(key, jnp.ones((1, 6), int)),
    "nnx": lambda key: nnx.state(Perceptron(nnx.Rngs(key)), nnx.Param),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_with_the_defaults_of_flax_have_no_finding(name):
    keys = jax.random.split(jax.random.key(2), SEEDS)
    params = jax.tree.map(np.asarray, jax.jit(jax.vmap(MODELS[name]))(keys))
    for seed in range(SEEDS):
        one = jax.tree.map(lambda w, seed=seed: w[seed], params)
        assert audit(one, "flax").findings == ()
        assert audit(one).findings == ()
    kernels = [leaf for leaf in audit(one, "flax").leaves if "kernel" in leaf.path]
    assert sum(leaf.expected_std is not None for leaf in kernels) >= len(kernels) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_with_the_defaults_of_torch_have_no_finding(name):
    shapes = jax.eval_shape(MODELS[name], jax.random.key(0))
    rules = jinit.torch.default_rules()
    keys = jax.random.split(jax.random.key(3), SEEDS)
    params = jax.tree.map(np.asarray, jinit.plan(shapes, rules).init(keys))
    for seed in range(SEEDS):
        one = jax.tree.map(lambda w, seed=seed: w[seed], params)
        assert audit(one, "torch").findings == ()
    assert audit(one, "flax").exit_status == 1  # torch's are not Flax's


OTHERS = {
    "Flax's default": (lambda: attending(), "torch"),
    "torch's default": (
        lambda: redrawn(jinit.torch.default_rules()),
        "flax",
    ),
    "xavier_uniform": (
        lambda: redrawn({"**/kernel": jinit.xavier_uniform(), "**": None}),
        "flax",
    ),
}


@functools.cache
def attending():
    return MODELS["attending"](jax.random.key(5))


def redrawn(rules):
    return jinit.reinit(jax.random.key(6), attending(), rules)


@pytest.mark.parametrize("name", OTHERS)
def test_one_mistake_of_a_whole_model_has_one_cause(name):
    made, rules = OTHERS[name]
    findings = audit(made(), rules).findings
    assert len(findings) > 8
    assert {finding.cause.split(",")[0].split(" was")[0] for finding in findings} <= {
        name,
        "Keras's default",  # which is Xavier's
    }


def test_two_facts_count_more_than_one():
    key = jax.random.key(7)
    for planned, drawn, cause in [
        (jinit.he_uniform(), jinit.lecun_normal(), "Flax's default"),
        (jinit.he_normal(), jinit.kaiming_uniform(a=math.sqrt(5)), "torch's default"),
        (jinit.he_normal(), jinit.lecun_normal(), "the gain of 1.414"),
    ]:
        (found,) = audit({"kernel": drawn(key, (256, 200))}, {"*": planned}).findings
        assert found.cause.startswith(cause)


def test_what_is_zero_or_large_by_method_is_no_fault():
    key = jax.random.key(8)
    params = {
        "cls": jnp.zeros((1, 1, 64)),
        "lora_b": jnp.zeros((8, 64)),
        "head": {"kernel": jnp.zeros((64, 10))},
        "pos_embed": jax.random.normal(key, (64, 64)),
        "codebook": jax.random.normal(jax.random.key(9), (512, 64)),
    }
    assert audit(params).findings == ()
    left = {"zero": jnp.zeros((64, 64))}
    assert audit(left).findings
    assert audit(left, {"zero": None}).findings == ()


INITS = [
    jinit.normal(std=0.3),
    jinit.uniform(a=-2.0, b=1.0),
    jinit.trunc_normal(std=0.5, a=-1.0, b=1.0),
    jinit.truncated_normal(std=0.2),
    jinit.he_uniform(),
    jinit.lecun_normal(),
    jinit.orthogonal(gain=2.0),
    jinit.kaiming_normal(mode="fan_out"),
    jinit.sparse(0.5),
    jinit.eye(),
    jinit.ones(),
    jinit.constant(0.5),
    jinit.blocks(jinit.xavier_normal(), 2),
    jinit.looks_linear(jinit.he_normal()),
    jinit.torch.triangular(0.5),
    jinit.torch.zero_row(jinit.normal(), 3),
]


CASES = [
    *(
        (init, dtype)
        for init in INITS
        for dtype in ("float32", "bfloat16", "complex64")
    ),
    (jinit.orthogonal(), "float16"),
    (jax.nn.initializers.he_uniform(), "float32"),  # wrong in others
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_an_initializer_draws_is_what_it_is_expected_to(number):
    init, dtype = CASES[number]
    shape = (120, 80)
    params = {"kernel": init(jax.random.key(number), shape, dtype)}
    tree = {"kernel": jax.ShapeDtypeStruct(shape, dtype)}
    report = audit(params, jinit.plan(tree, {"kernel": init}))
    assert report.findings == ()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_a_draw_in_float8_is_compared_with_one(dtype):
    init = jinit.lecun_normal()
    params = {"kernel": init(jax.random.key(5), (200, 60), dtype)}
    tree = {"kernel": jax.ShapeDtypeStruct((200, 60), dtype)}
    assert audit(params, jinit.plan(tree, {"kernel": init})).findings == ()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "complex64"])
def test_statistics_are_those_of_numpy_and_scipy(dtype):
    rng = np.random.default_rng(0)
    w = rng.normal(0.5, 2.0, (300, 701)).astype(dtype)  # more than one chunk
    if dtype == "complex64":
        w = w + np.complex64(1j) * rng.normal(0.5, 2.0, w.shape).astype(np.float32)
    found, real = measure(w), w.real.ravel().astype(np.float64)
    assert (found.size, found.zeros) == (w.size, 0)
    np.testing.assert_allclose(found.mean, real.mean(), rtol=1e-10)
    wide = w.astype(np.result_type(dtype, "float64"))
    np.testing.assert_allclose(found.std, wide.std(ddof=1), rtol=1e-9)
    np.testing.assert_allclose(found.kurtosis, stats.kurtosis(real) + 3, rtol=1e-8)
    assert found.minimum == min(w.real.min(), w.imag.min() if w.imag.any() else 9)
    assert found.maximum == max(w.real.max(), w.imag.max())


def test_a_large_mean_does_not_hide_the_deviation():
    w = 1e6 + np.random.default_rng(0).normal(size=5000)
    np.testing.assert_allclose(measure(w).std, w.std(ddof=1), rtol=1e-9)


def test_what_is_not_finite_is_counted_and_left_out():
    w = np.array([[1.0, np.nan, 3.0], [np.inf, -np.inf, 2.0]], np.float32)
    found = measure(w)
    assert (found.nonfinite, found.mean, found.maximum) == (3, 2.0, 3.0)
    nothing = measure(np.full((2, 2), np.nan, np.float32))
    assert nothing.nonfinite == 4
    assert (nothing.mean, nothing.std, nothing.minimum) == (None, None, None)
    assert nothing == measure(np.full((2, 2), np.nan, np.float32))


@pytest.mark.parametrize("bound", [0.1, 0.5, 0.7, 2.0, 3.0, 9.0, 12.0])
def test_the_kurtosis_of_a_truncated_normal_is_that_of_scipy(bound):
    init = jinit.trunc_normal(a=-bound, b=bound)
    moments = expected(init, (10,), np.dtype("float32"))
    exact = 3 + stats.truncnorm(-bound, bound).stats("k") if bound > 0.3 else 1.8
    assert abs(moments.kurtosis - exact) < 0.04


@pytest.mark.parametrize("n", [4, 16, 100, 5000])
def test_z_scores_are_standard_normal_and_reject_a_wrong_deviation(n):
    w = np.asarray(jinit.normal(std=0.1)(jax.random.key(7), (400, n)))
    plan = jinit.plan({"b": jax.ShapeDtypeStruct((n,), "float32")}, {"b": NORMAL})
    leaves = [audit({"b": row}, plan).leaves[0] for row in w]
    for scores in ([x.z_std for x in leaves], [x.z_mean for x in leaves]):
        assert stats.kstest(scores, "norm").pvalue > 1e-6
        assert stats.kstest(np.multiply(scores, 2), "norm").pvalue < 1e-6


NORMAL = jinit.normal(std=0.1)


def test_without_a_plan_what_is_wrong_by_itself_is_found():
    rng = np.random.default_rng(0)
    w = rng.normal(0, 0.1, (64, 32)).astype(np.float32)
    params = {
        "copy": w,
        "good": w,
        "head": rng.normal(0, 1, (784, 10)).astype(np.float32),
        "nan": np.where(w > 0.2, np.nan, w),
        "ones": np.ones((8, 8), np.float32),
        "zero": np.zeros((8, 8), np.float32),
        "bias": np.zeros(32, np.float32),
        "step": np.int32(3),
    }
    params["copy"] = w.copy()
    found = {finding.path: finding.kind for finding in audit(params).findings}
    assert found == {
        "good": "equal",
        "head": "std",
        "nan": "nonfinite",
        "ones": "constant",
        "zero": "dead",
    }


def test_a_tied_parameter_is_no_copy():
    w = jinit.lecun_normal()(jax.random.key(0), (32, 32))
    assert audit({"embedding": w, "head": {"kernel": w}}).findings == ()


def of_layers(*names, seed=0):
    """The weights of layers that share their draws."""
    rng, bias = np.random.default_rng(seed), np.zeros(64, np.float32)
    drawn = {w: rng.normal(0, 0.1, (64, 64)).astype("f4") for w in ("q", "k", "v")}
    return {f"{n}.{w}": a.copy() for n in names for w, a in drawn.items()} | {
        f"{n}.bias": bias for n in names
    }


COPIED = {
    "two of torch": (
        *(of_layers("layers.0", "layers.1"), "layers.1"),
        *("equals layers.0 in 3 leaves", "TransformerEncoder"),
    ),
    "four": (
        *(of_layers(*(f"a/h_{n}" for n in range(4))), "a/h_1"),
        *("equals a/h_0 in 3 leaves, as do 'a/h_2', 'a/h_3'", "one key"),
    ),
    "networks": (
        *(of_layers("actor/h", "critic/h"), "critic"),
        *("equals actor in 3 leaves", "one key"),
    ),
    "one leaf": (
        {f"h_{n}/kernel": of_layers("a")["a.q"] for n in range(3)},
        *("h_1/kernel", "equals h_0/kernel, as does 'h_2/kernel'", "one key"),
    ),
}


@pytest.mark.parametrize("name", COPIED)
def test_layers_that_are_copies_of_one_have_one_finding(name):
    tree, path, message, cause = COPIED[name]
    (found,) = audit(tree).findings
    assert (found.path, found.kind, found.message) == (path, "equal", message)
    assert cause in found.cause


def test_each_set_of_equal_layers_has_a_line_and_a_broken_leaf_its_own():
    tree = {}
    for seed, name in enumerate("abc"):
        tree |= of_layers(*(f"{name}.layers.{n}" for n in range(3)), seed=seed)
    tree["a.layers.2.q"][0, 0] = np.nan
    lines = [line for line in str(audit(tree)).splitlines() if line[0:1] == "-"]
    assert [line.split(" equals ")[0] for line in lines] == [
        "- a.layers.1: equal:",
        "- a.layers.2.q: nonfinite: 1 of 4096 weights are NaN or infinite.",
        "- b.layers.1: equal:",
        "- c.layers.1: equal:",
    ]


def test_findings_of_one_cause_are_one_line_of_a_report():
    tree = {f"h_{n}": {"kernel": np.zeros((8, 8), np.float32)} for n in range(7)}
    report = audit(tree)
    assert len(report.findings) == 7
    assert str(report).splitlines()[-2:] == [
        "7 findings",
        "- dead in 7 leaves, 'h_0/kernel', 'h_1/kernel', 'h_2/kernel', 'h_3/kernel', "
        "'h_4/kernel' and 2 more: all weights are zero. "
        "Likely: it was not initialized.",
    ]
    plan = jinit.plan(tree, {"**": jinit.normal()})
    lines = str(audit({"model": tree}, plan)).splitlines()
    assert [line.split(",")[0] for line in lines if line[0:1] == "-"] == [
        "- dead in 7 leaves",
        "- unexpected in 7 leaves",
        "- missing in 7 leaves",
    ]


class Tied(nnx.Module):
    """A table that is a head, and a layer that comes twice, under the names given."""

    def __init__(self, first, last, init, rngs):
        embed = nnx.Embed(200, 64, embedding_init=init, rngs=rngs)
        head = nnx.Linear(64, 200, use_bias=False, rngs=rngs)
        head.kernel = embed.embedding
        setattr(self, first, embed), setattr(self, last, head)
        self.one = self.again = nnx.Linear(64, 64, rngs=rngs)


@pytest.mark.parametrize("names", [("embed", "head"), ("table", "a_head")])
@pytest.mark.parametrize("std", [1.0, 0.5, 2.0])
def test_a_tied_parameter_is_wrong_where_it_is_at_all_of_its_paths(std, names):
    init = jinit.normal(std=std / 8)
    model = Tied(*names, init, nnx.Rngs(0))
    found = {(f.path.partition("/")[0], f.kind) for f in audit(model, "flax").findings}
    wrong = set() if std == 1 else {(name, "std") for name in names}
    assert found == wrong


def test_equal_arrays_that_are_not_one_are_no_tied_parameter():
    w = jinit.normal(std=1 / 8)(jax.random.key(0), (200, 64))
    tree = {"embed": {"embedding": w}, "head": {"kernel": w.copy()}}
    (found,) = audit(tree, "flax").findings
    assert (found.path, found.kind) == ("head/kernel", "equal")


def test_leaves_of_another_shape_dtype_or_place_are_found():
    plan = jinit.plan(
        {
            "a": jax.ShapeDtypeStruct((16, 8), "float32"),
            "b": jax.ShapeDtypeStruct((16, 8), "bfloat16"),
            "c": jax.ShapeDtypeStruct((4,), "float32"),
        },
        {"*": jinit.normal()},
    )
    keys = jax.random.split(jax.random.key(0))
    params = {
        "a": jinit.normal()(keys[0], (8, 16)),
        "b": jinit.normal()(keys[1], (16, 8)),
    }
    found = {finding.path: finding for finding in audit(params, plan).findings}
    assert {path: finding.kind for path, finding in found.items()} == {
        "a": "shape",
        "b": "dtype",
        "c": "missing",
    }
    assert found["a"].cause == "axes in another order"


@pytest.mark.parametrize("init", [jinit.normal(), jinit.ones(), jinit.orthogonal()])
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "bool"])
@pytest.mark.parametrize("array", [np.ones, jnp.ones], ids=["numpy", "jax"])
def test_whole_numbers_where_fractions_were_planned_are_found(array, dtype, init):
    kinds = {name: jax.ShapeDtypeStruct((64, 64), "float32") for name in "ab"}
    plan = jinit.plan(kinds, {"a": init, "b": None})
    tree = {name: array((64, 64), dtype) for name in "ab"}
    (found,) = audit(tree, plan).findings
    message = f"dtype {dtype}, planned float32"
    assert (found.path, found.kind, found.message) == ("a", "dtype", message)


def test_leaves_that_the_plan_does_not_have_are_found():
    plan = jinit.plan({"a": np.zeros(3, np.float32)}, {"a": None})
    report = audit({"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}, plan)
    assert [(f.path, f.kind) for f in report.findings] == [("b", "unexpected")]


def test_a_report_prints_goes_to_json_and_compares():
    params = {"kernel": np.full((4, 4), np.nan, np.float32), "n": np.int32(1)}
    report = audit(params)
    assert str(report).splitlines()[0].split()[:3] == ["path", "shape", "dtype"]
    assert "1 finding\n- kernel: nonfinite: 16 of 16" in str(report)
    config = json.loads(report.to_json())
    assert config["jinit_audit"] == 1
    assert config["leaves"][0]["measured"]["mean"] is None
    assert config["findings"][0]["path"] == "kernel"
    assert report == audit(params)


W = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)
FOUND = [  # leaf, initializer, kind, message, cause
    (
        *(np.concatenate([W, W, W * W], 1), jinit.blocks(jinit.normal(), 3)),
        *("equal", "the first 2 of 3 blocks", "from one key"),
    ),
    (np.where(np.arange(16) == 3, 0, W), jinit.normal(), "dead", "1 of 16 outputs", ""),
    (np.ones(16, np.float32), jinit.zeros(), "mean", "filled with 1", ""),
    (
        *(np.clip(400 * W, -448, 448).astype("float8_e4m3fn"), jinit.normal(std=400)),
        *("saturated", "at the limit of float8_e4m3fn", ""),
    ),
]


@pytest.mark.parametrize(
    ("w", "init", "kind", "message", "cause"), FOUND, ids=[f[2] for f in FOUND]
)
def test_what_is_wrong_within_one_leaf_is_found(w, init, kind, message, cause):
    found = [f for f in audit({"w": w}, {"w": init}).findings if f.kind == kind]
    assert len(found) == 1
    assert message in found[0].message
    assert cause in found[0].cause


@pytest.mark.parametrize("zero", [(0,), (5,), (0, 1, 2), range(31), ()])
@pytest.mark.parametrize("copied", [False, True])
def test_columns_of_zeros_are_not_counted_as_low_rank(zero, copied):
    w = np.random.default_rng(0).normal(0, 0.1, (64, 32)).astype(np.float32)
    w[:, 30] = w[:, 29] if copied else w[:, 30]
    w[:, list(zero)] = 0
    kinds = [finding.kind for finding in audit({"wte.weight": w.T}).findings]
    assert kinds == (["rank"] if copied and len(zero) < 31 else [])


def test_leaves_whose_signs_alone_are_alike_are_no_copies():
    shuffled = np.random.default_rng(1).permuted(abs(W), axis=None)
    report = audit({"a": W, "b": np.copysign(shuffled, W)})
    assert [f for f in report.findings if f.kind == "equal"] == []


def test_stacked_matrices_are_not_held_to_the_spectrum_of_one():
    plan = {"w": jinit.orthogonal(batch_axis=0)}
    w = jinit.orthogonal(batch_axis=0)(jax.random.key(0), (4, 16, 16))
    assert audit({"w": w}, plan).findings == ()


def test_packed_gates_are_orthogonal_together():
    state = nnx.state(nnx.GRUCell(8, 16, rngs=nnx.Rngs(0)), nnx.Param)
    report = audit(state, "flax")
    inits = {leaf.path: leaf.init for leaf in report.leaves}
    assert inits["dense_h/kernel"] == "orthogonal()"
    assert report.findings == ()


def test_statistics_of_nothing_finite_are_equal_and_one_in_a_set():
    first, second = (measure(np.full((2, 2), np.nan, np.float32)) for _ in range(2))
    assert (first == second, first != second) == (True, False)
    assert len({first, second}) == 1


def test_params_are_not_changed():
    params = {"kernel": np.random.default_rng(0).normal(size=(40, 40))}
    before = params["kernel"].copy()
    params["kernel"].flags.writeable = False
    audit(params, {"*": jinit.normal()})
    np.testing.assert_array_equal(params["kernel"], before)


LINEAR = ({"kernel": np.ones((3, 3))}, lambda p, x: x @ p["kernel"])
TREE = {"a": {"kernel": np.ones((3, 3))}, "b": {"kernel": np.ones((3, 3))}}
BAD = [
    (lambda: audit({}), ValueError, "params must hold arrays"),
    (lambda: audit({"a": 1.0}), ValueError, "params must hold arrays, got {'a': 1.0}"),
    (lambda: audit({"a": "b"}), ValueError, "params must hold arrays"),
    (lambda: audit(TREE, subtree="c"), ValueError, "'c' must match .*'a', 'b' at its"),
    (lambda: audit(TREE, subtree="*"), ValueError, "several have 'kernel'"),
    (lambda: audit(TREE, subtree=3), TypeError, "a pattern must be a string"),
    (lambda: audit({"a": np.array([None])}), TypeError, "got objects at 'a'"),
    (lambda: audit({"a": np.ones(3)}, "keras"), ValueError, "'flax', 'torch'; got"),
    (lambda: audit({"a": np.ones(3)}, 3), TypeError, "rules must be"),
    (lambda: audit("a.npz"), ValueError, "by the command jinit audit a.npz"),
    (lambda: audit({"a": np.ones(3), 1: np.ones(3)}), TypeError, "keys of one kind"),
    (lambda: audit(TREE, inputs=np.ones(3)), ValueError, "give model=, too"),
    (lambda: audit(LINEAR[0], model=LINEAR[1]), ValueError, "jax.ShapeDtypeStruct, or"),
    (
        lambda: audit(TREE, "{" * 999),
        ValueError,
        "got .{20,40} One .* by jinit.Plan.from_json",
    ),
    (
        lambda: audit(TREE, {"**": jax.nn.initializers.he_normal}),
        *(ValueError, r"returns a function; call it first: he_normal\(\)"),
    ),
    (lambda: audit({"a": np.ones(3)}, {"a": 3}), TypeError, "must be an initializer"),
    (
        lambda: jax.jit(lambda w: audit({"a": w}))(np.ones(3, np.float32)),
        TypeError,
        "params must be known",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_was_donated_is_refused():
    w = jnp.ones((3, 3))
    w.delete()
    with pytest.raises(ValueError, match="'a' was given up"):
        audit({"a": w})


NORMAL_F4 = np.random.default_rng(2).normal(0, 0.125, (64, 64)).astype("f4")
STORED_AS = {  # one kernel of another dtype, and the kinds of what is found
    "big-endian": (NORMAL_F4.astype(">f4"), set()),
    "big-endian, too wide": (1.2 * NORMAL_F4.astype(">f8"), {"std"}),
    "wider than JAX's": (NORMAL_F4.astype(np.longdouble), set()),
    "complex, wider": (NORMAL_F4.astype(np.clongdouble), set()),
    "in reverse": (NORMAL_F4[::-1, ::-1], set()),
    "every second": (np.repeat(NORMAL_F4, 2, 1)[:, ::2], set()),
    "garbage": (NORMAL_F4.astype(np.float64) * 1e307, {"std"}),
    "infinite": (np.where(NORMAL_F4 > 0.3, np.inf, NORMAL_F4), {"nonfinite"}),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STORED_AS)
def test_a_kernel_is_judged_in_whatever_dtype_and_order_it_is(name):
    kernel, kinds = STORED_AS[name]
    report = audit({"kernel": kernel}, {"kernel": jinit.normal(std=0.125)})
    assert {finding.kind for finding in report.findings} == kinds
    assert len(str(report).splitlines()[1]) < 100


@pytest.mark.parametrize(
    "dtype", ["int8", "bool", "float8_e8m0fnu", "float6_e2m3fn", "U1"]
)
def test_what_has_no_law_is_noted(dtype):
    quantized = np.ones((64, 64), dtype)
    for rules in ("flax", None):
        report = audit({"kernel": quantized}, rules)
        assert report.findings == ()
        assert report.notes[-1].startswith("nothing was measured")
        beside = {"kernel": NORMAL_F4, "bias": np.zeros(64, "f4")}
        report = audit({"a": {"kernel": quantized}, "b": beside})
        assert report.notes == (
            "'a/kernel' are no floating-point numbers, and are not judged",
        )


@pytest.mark.parametrize("init", [jinit.normal(), jax.nn.initializers.normal(1.0)])
def test_doubles_are_measured_where_they_are_enabled_under_any_guard(init, x64):
    kernel = np.random.default_rng(0).normal(size=(64, 64))
    with jax.transfer_guard("disallow"):
        report = audit({"kernel": kernel}, {"kernel": init})
        assert report.findings == report.notes == ()
        assert audit({"kernel": 1.2 * kernel}, {"kernel": init}).findings


def test_tensors_of_torch_are_arrays():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 64))
    assert audit(model.state_dict(), "torch").findings == ()
    assert len(audit(dict(model.named_parameters()), "torch").leaves) == 4
    wide = {name: 1.5 * w for name, w in model.bfloat16().state_dict().items()}
    assert "std" in {f.kind for f in audit(wide, "torch").findings}
    with pytest.raises(TypeError, match=r"the tensor of torch\.float32 at 'a', of whi"):
        audit({"a": torch.ones(2, device="meta")})
    with pytest.raises(ValueError, match=r"got a Sequential.*give its state_dict\(\)"):
        audit(model)


@pytest.mark.parametrize("turned", [False, True])
def test_memory_that_two_leaves_share_is_one_parameter(turned):
    w = np.random.default_rng(0).normal(0, 1 / 8, (200, 64)).astype("f4")
    tree = {"embed": {"embedding": w}, "head": {"kernel": w.T if turned else w[:]}}
    assert audit(tree, "flax").findings == ()
