"""Every leaf has a natural path, patterns read it, and its key follows from it."""

import dataclasses
import hashlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinit.model._paths import fold_path, matcher, named_leaves


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Linear:
    weight: jax.Array
    bias: jax.Array


class Boxed(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), ("x", None))
        return nn.Dense(3, kernel_init=init, name="dense")(x)


class Stacked(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, 2, use_bias=False, rngs=rngs)])


def paths_of(tree):
    return [path for path, _ in named_leaves(tree)[0]]


def test_linen_variables_have_the_paths_of_their_modules_without_boxes():
    tree = jax.eval_shape(Boxed().init, jax.random.key(0), jnp.ones((1, 2)))

    assert type(tree["params"]["dense"]["kernel"]) is nn.Partitioned
    assert paths_of(tree) == ["params/dense/bias", "params/dense/kernel"]


def test_an_nnx_state_and_its_module_have_the_same_paths():
    module = Stacked(nnx.Rngs(0))

    assert paths_of(nnx.state(module)) == ["layers/0/kernel"]
    assert paths_of(module) == ["layers/0/kernel"]


def test_attributes_and_places_are_segments():
    model = {"mlp": (Linear(1, 2), Linear(3, 4)), "head": Linear(5, 6)}

    assert paths_of(model) == [
        *("head/weight", "head/bias"),
        *("mlp/0/weight", "mlp/0/bias", "mlp/1/weight", "mlp/1/bias"),
    ]


def test_slashes_in_module_names_are_kept():
    assert paths_of({"mlp/~/linear_0": {"w": 1}}) == ["mlp/~/linear_0/w"]


def test_a_key_named_value_is_a_name():
    assert paths_of({"attn": {"value": 1}}) == ["attn/value"]


def test_a_tree_that_is_a_leaf_has_the_empty_path():
    assert paths_of(1.0) == [""]


def test_leaves_come_in_order_with_their_treedef():
    tree = {"b": [1, 2], "a": 3}
    leaves, treedef = named_leaves(tree)

    assert [leaf for _, leaf in leaves] == jax.tree.leaves(tree)
    assert treedef == jax.tree.structure(tree)


def test_a_path_that_two_leaves_have_is_refused():
    with pytest.raises(ValueError, match="two are 'a/b'; rename one"):
        named_leaves({"a/b": 1, "a": {"b": 2}})


def test_a_tuple_is_several_keys():
    leaves, _ = named_leaves({"scales": {("Dense_0", "kernel"): 1.0, ("Embed",): 2.0}})
    assert leaves == [("scales/Dense_0/kernel", 1.0), ("scales/Embed", 2.0)]


@pytest.mark.parametrize("key", [(1, 2.5), (), 1.5, frozenset()], ids=str)
def test_a_key_that_has_no_lasting_name_is_refused(key):
    with pytest.raises(TypeError, match="keys of tree must be strings, integers or"):
        named_leaves({key: 1})


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("a/b", ["a/b"], ["a", "a/b/c", "x/a/b", "a/bb", "A/b"]),
        ("*", ["a", "b.c", ""], ["a/b"]),
        ("h_*/w", ["h_0/w", "h_/w", "h_12/w"], ["h_0/x/w", "h0/w", "h_0/ww"]),
        ("h_?", ["h_0", "h_x"], ["h_", "h_10", "h_/"]),
        ("[abc]", ["a", "c"], ["d", "ab"]),
        ("[a-c0-9]x", ["bx", "7x"], ["-x", "dx"]),
        ("[!a-c]", ["d", "!", "-"], ["a", "/", ""]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[+-0]", ["+", ".", "0"], ["/"]),  # a slash lies between
        ("[[]", ["["], ["]"]),
        ("[!]", ["!"], ["a"]),
        ("a]", ["a]"], ["a"]),
        ("[^a]", ["^", "a"], ["b"]),
        (r"a.b\d+", [r"a.b\d+"], ["axb1", "a.b1"]),
        ("**", ["", "a", "a/b/c"], []),
        ("**/w", ["w", "a/w", "a/b/w"], ["a/w/b", "aw", "a/xw"]),
        ("a/**", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("a/**/w", ["a/w", "a/b/w", "a/b/c/w"], ["aw", "w", "b/a/w"]),
        ("**/h/**/w", ["h/w", "a/h/b/w", "h/h/w/w"], ["w", "h", "w/h"]),
        ("**/**", ["", "a", "a/b"], []),
        ("**/*", ["a", "a/b"], []),
        ("mlp/~/linear_*/w", ["mlp/~/linear_0/w"], ["mlp/linear_0/w"]),
        ("日本/*", ["日本/語"], ["日/語"]),
        (re.compile("a|b"), ["a", "b"], ["ab", "a/b", "xa"]),
        (re.compile(r"(.*/)?w"), ["w", "a/b/w"], ["ww", "w/a"]),
        (re.compile("W", re.IGNORECASE), ["w", "W"], ["v"]),
    ],
    ids=str,
)
def test_a_pattern_matches_whole_paths(pattern, matched, others):
    match = matcher(pattern)

    assert [path for path in [*matched, *others] if match(path)] == matched


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("", ValueError, "none of them empty"),
        ("/a", ValueError, "got the segment ''"),
        ("a/", ValueError, "got the segment ''"),
        ("a//b", ValueError, "pattern 'a//b' must be segments"),
        ("a/[b", ValueError, r"closed .* got the segment '\[b'"),
        ("[a/b]", ValueError, r"got the segment '\[a'"),
        ("[]", ValueError, "closed"),
        ("[c-a]", ValueError, "from low to high"),
        ("a**", ValueError, r"\*\* alone in its segment"),
        ("**a/b", ValueError, r"\*\* alone"),
        ("***", ValueError, r"\*\* alone"),
        (None, TypeError, "a pattern must be a string, such as"),
        (b"a", TypeError, "got b'a'"),
        (re.compile(b"a"), TypeError, "compiled of one"),
        (("a", "b"), TypeError, "a pattern must be a string"),
    ],
    ids=str,
)
def test_a_malformed_pattern_is_refused(pattern, error, message):
    with pytest.raises(error, match=message):
        matcher(pattern)


def test_a_long_pattern_takes_no_longer_than_it_must():
    match = matcher("/".join(["**", "*a*"] * 6))

    assert not match("/".join(["a" * 8] * 10 + ["b"]))


@pytest.mark.parametrize(
    ("path", "golden"),
    [
        ("params/dense/kernel", [3212227211, 2432513382]),
        ("", [2913400841, 3281639429]),
        ("日本", [2960766015, 3881265534]),
    ],
)
def test_the_key_of_a_path_is_the_same_everywhere(path, golden, key):
    np.testing.assert_array_equal(jax.random.key_data(fold_path(key, path)), golden)


def test_the_key_folds_in_the_first_eight_bytes_of_the_hash(key):
    digest = hashlib.sha256(b"params/w").hexdigest()
    expected = jax.random.fold_in(key, int(digest[:8], 16))
    expected = jax.random.fold_in(expected, int(digest[8:16], 16))

    assert fold_path(key, "params/w") == expected


def test_keys_are_mapped_over_and_traced(key):
    keys = jax.random.split(key, 3)
    mapped = jax.jit(jax.vmap(lambda key: fold_path(key, "a")))(keys)

    assert list(mapped) == [fold_path(key, "a") for key in keys]


def test_raw_keys_and_other_generators_have_keys_of_paths_too():
    raw = jax.random.PRNGKey(0)
    same = jax.random.wrap_key_data(fold_path(raw, "a"))

    assert same == fold_path(jax.random.key(0), "a")
    rbg = fold_path(jax.random.key(0, impl="rbg"), "a")
    assert jax.random.key_impl(rbg) == "rbg"
