"""Leaves that come from another tree: which, from where, and in what form."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit
from jinit.diagnostics import read_checkpoint
from jinit.model import _plan
from jinit.model._paths import renamer


def shapes(dtype="float32"):
    dense = {"kernel": (6, 4), "bias": (4,)}
    tree = {"encoder": {"0": dense, "1": dense}, "head": {"kernel": (4, 2)}}
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, dtype),
        tree,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def checkpoint():
    draw = np.random.default_rng(0).normal
    layers = {f"h_{n}": {"w": draw(size=(6, 4)), "b": draw(size=4)} for n in range(2)}
    tree = {"bert": layers, "step": np.array(7)}
    return jax.tree.map(lambda w: w.astype("float32"), tree)


MAPPING = {"encoder/*/kernel": "bert/h_*/w", "encoder/*/bias": "bert/h_*/b"}
REST = [("**/kernel", jinit.lecun_normal())]


def planned(tree=None, dtype="float32"):
    tree = checkpoint() if tree is None else tree
    return jinit.plan(shapes(dtype), [*jinit.pretrained(tree, MAPPING), *REST])


def test_leaves_come_from_the_tree_and_the_rest_is_drawn_as_ever(key):
    tree = checkpoint()
    params = planned(tree).init(key)
    for n in "01":
        layer = tree["bert"][f"h_{n}"]
        np.testing.assert_array_equal(params["encoder"][n]["kernel"], layer["w"])
        np.testing.assert_array_equal(params["encoder"][n]["bias"], layer["b"])
    drawn = jinit.plan(shapes(), [*REST, ("**", jinit.zeros)]).init(key)
    np.testing.assert_array_equal(params["head"]["kernel"], drawn["head"]["kernel"])


def test_the_plan_shows_the_source_of_each_leaf():
    kernel = str(planned()).splitlines()[2].split()
    assert kernel[0] == "encoder/0/kernel"
    assert kernel[-2:] == ["encoder/*/kernel", "pretrained('bert/h_0/w')"]


@pytest.mark.parametrize(
    ("pattern", "source", "path", "expected"),
    [
        ("a/b", "c/d", "a/b", "c/d"),
        ("**", "**", "a/b", "a/b"),
        ("**", "old/**", "a/b", "old/a/b"),
        ("**", "old/**", "a", "old/a"),
        ("new/**", "**", "new/a/b", "a/b"),
        ("**/kernel", "**/w", "kernel", "w"),
        ("**/kernel", "x/**/w", "a/b/kernel", "x/a/b/w"),
        ("a/*/b_*/c", "*.*/c", "a/1/b_2/c", "1.2/c"),
        ("h_?/[kb]*", "?/[a]*", "h_3/kernel", "3/kernel"),
        (re.compile(r"h_(\d+)/(\w+)"), r"\2/\1", "h_3/w", "w/3"),
        (re.compile(r"(?P<name>.*)/kernel"), r"\g<name>.w", "a/b/kernel", "a/b.w"),
        (re.compile(".*"), "all", "a/b", "all"),
    ],
)
def test_what_a_pattern_matches_takes_its_place_in_the_source(
    pattern, source, path, expected
):
    assert renamer(pattern, source)(path) == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_floating_dtype_is_rounded_once(dtype, key):
    tree = checkpoint()
    tree["bert"]["h_0"]["b"][:] = [1e5, -1e5, 1 + 2**-9, 0.1]
    bias = planned(tree, dtype).init(key)["encoder"]["0"]["bias"]
    expected = jinit.constant(tree["bert"]["h_0"]["b"])(key, (4,), dtype)
    np.testing.assert_array_equal(as_double(bias), as_double(expected))


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_params_have_memory_of_their_own(kind, key):
    tree = jax.tree.map(kind, checkpoint())
    params = planned(tree).init(key)
    taken, given = params["encoder"]["0"]["kernel"], tree["bert"]["h_0"]["w"]
    pointer = given.ctypes.data if kind is np.asarray else given.unsafe_buffer_pointer()
    assert taken.unsafe_buffer_pointer() != pointer


def test_what_is_there_is_in_no_program(key, monkeypatch):
    monkeypatch.setattr(_plan, "draw", None)
    tree = checkpoint()
    rules = jinit.pretrained(tree, MAPPING)
    params = jinit.plan({"encoder": shapes()["encoder"]}, rules).init(key)
    bias = params["encoder"]["1"]["bias"]
    np.testing.assert_array_equal(bias, tree["bert"]["h_1"]["b"])


def test_within_jit_it_is_the_same(key):
    plan = planned()
    jitted, eager = jax.jit(plan.init)(key), plan.init(key)
    jax.tree.map(np.testing.assert_array_equal, jitted, eager)


def test_of_several_keys_each_gets_the_same(key):
    tree = checkpoint()
    params = planned(tree).init(jax.random.split(key, 3))
    bias = params["encoder"]["0"]["bias"]
    np.testing.assert_array_equal(bias, np.stack(3 * [tree["bert"]["h_0"]["b"]]))
    assert params["head"]["kernel"].shape == (3, 4, 2)


def test_it_lies_where_it_is_told_to_or_where_the_leaf_lay(key):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("x"))
    params = planned().init(key, rows)
    assert params["encoder"]["0"]["kernel"].sharding == rows
    assert params["head"]["kernel"].sharding == rows
    again = jinit.reinit(key, params, [*jinit.pretrained(checkpoint(), MAPPING), *REST])
    assert again["encoder"]["1"]["bias"].sharding == rows
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_it_goes_before_rules_that_are_read_from_the_program(key):
    params = {"a": jnp.zeros((4, 4)), "b": jnp.zeros((4, 2))}
    roles = jinit.roles(lambda p, x: x @ p["a"] @ p["b"], params, jnp.ones((1, 4)))
    old = {"a": np.eye(4, dtype="float32")}
    plan = jinit.plan(params, [*jinit.pretrained(old, {"a": "a"}), *roles.rules()])
    assert [str(entry.init) for entry in plan] == ["pretrained('a')", "lecun_normal()"]


def test_a_checkpoint_is_a_tree(key, tmp_path):
    flat = {f"h/{n}/w": np.full((6, 4), n, "float32") for n in range(2)}
    np.savez(tmp_path / "model.npz", **flat)
    tree = read_checkpoint(tmp_path / "model.npz")
    rules = jinit.pretrained(tree, {"encoder/*/kernel": "h/*/w"})
    params = jinit.plan(shapes(), rules, default=jinit.zeros()).init(key)
    assert params["encoder"]["1"]["kernel"].mean() == 1


def test_plans_of_the_same_arrays_are_equal():
    tree = checkpoint()
    assert planned(tree) == planned(tree)
    assert hash(planned(tree)) == hash(planned(tree))
    assert planned(tree) != planned(checkpoint())


def test_the_audit_finds_nothing_in_what_was_taken_and_much_in_what_was_not(key):
    plan = planned()
    params = plan.init(key)
    assert jinit.diagnostics.audit(params, plan).findings == ()
    params["encoder"]["0"]["kernel"] *= 1.1
    (finding,) = jinit.diagnostics.audit(params, plan).findings
    assert "24 of 24 weights are not pretrained('bert/h_0/w')'s" in str(finding)


def test_a_misspelt_source_is_told_before_leaves_without_a_rule():
    rules = jinit.pretrained(checkpoint(), {"encoder/0/kernel": "bert/h_00/w"})
    with pytest.raises(
        ValueError, match="source 'bert/h_00/w' is not in the tree; did"
    ):
        jinit.plan(shapes(), rules)


def test_weights_do_not_go_to_json():
    with pytest.raises(TypeError, match="'encoder/0/bias': JSON has no room for the"):
        planned().to_json()


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        (
            {"encoder/*/kernel": "bert/h*/w", "encoder/**": "**"},
            ValueError,
            "know 4 of them.*'encoder/0/kernel': its source 'bert/h0/w' is not in the "
            "tree; did you mean bert/h_0/w",
        ),
        ({"encoder/*/kernel": "bert/h_*/b"}, ValueError, "'bert/h_0/b' has shape"),
        ({"encoder/*": "bert/*"}, ValueError, r"first to match a leaf.*'encoder/\*'"),
        ({"encoder/**": "bert/*"}, ValueError, "must have the stars of"),
        ({"encoder/0": "bert/*"}, ValueError, "must have the stars of"),
        ({"a**": "b"}, ValueError, "pattern 'a\\*\\*' must be"),
        ({re.compile("a"): r"\1"}, ValueError, "must refer to groups of 'a'"),
        ({re.compile("a"): r"\g<n>"}, ValueError, "must refer to groups of 'a'"),
        ({"encoder/**": None}, TypeError, "must be the path of a leaf in the tree"),
        ({0: "a"}, TypeError, "a pattern must be a string"),
        ("encoder/**", TypeError, "mapping must be a mapping"),
        (7, TypeError, "mapping must be a mapping"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapping, error, message):
    with pytest.raises(error, match=message):
        jinit.plan(
            shapes(),
            [*jinit.pretrained(checkpoint(), mapping), ("**", jinit.zeros)],
        )


@pytest.mark.parametrize(
    ("source", "dtype", "message"),
    [
        (np.ones((4, 2), "complex64"), "float32", "has dtype complex64, which float32"),
        (np.ones((4, 2)), "int32", "has dtype float64, which int32 does not hold"),
        (np.ones((4, 2), "int64"), "int32", "has dtype int64, which int32"),
        ("text", "float32", "must have an array at 'w', got 'text'"),
    ],
)
def test_what_a_dtype_does_not_hold_is_refused(source, dtype, message):
    leaf = {"w": jax.ShapeDtypeStruct((4, 2), dtype)}
    with pytest.raises(ValueError, match=message):
        jinit.plan(leaf, jinit.pretrained({"w": source}, {"w": "w"}))
