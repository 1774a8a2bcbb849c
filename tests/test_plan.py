"""A plan gives each leaf its initializer and its key, or says what is wrong with it."""

import dataclasses
import hashlib
import json
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit
from jinit.model._paths import named_leaves
from jinit.model._plan import Plan, plan, reinit

ONES = {"**": jinit.ones()}
RULES = {"**/kernel": jinit.he_normal(), "**/bias": jinit.zeros(), "**": jinit.normal()}


def shapes(**leaves):
    return {k: jax.ShapeDtypeStruct(shape, "float32") for k, shape in leaves.items()}


TREE = {
    "dense": shapes(kernel=(8, 4), bias=(4,)),
    "embed": jax.ShapeDtypeStruct((16, 8), "bfloat16"),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Linear:
    kernel: jax.Array
    bias: jax.Array


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), ("x", None))
        return nn.Dense(2, name="out")(nn.Dense(4, kernel_init=init, name="in_")(x))


class Module(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 2, rngs=rngs)])
        self.out = nnx.Linear(2, 8, rngs=rngs)


def drawn_alone(init, key, path, shape, dtype="float32"):
    """A leaf as it is drawn by hand: from its own key, outside of jit."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    for word in (digest[:8], digest[8:16]):
        key = jax.random.fold_in(key, int(word, 16))
    return init(key, shape, dtype)


def check_equal(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def mesh_of(axis_type=AxisType.Auto):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(axis_type,) * 2)


# What a rule decides


def decided(tree, rules, *args, **kwargs):
    return {e.path: (e.rule, e.init) for e in plan(tree, rules, *args, **kwargs)}


def test_the_first_pattern_that_matches_holds():
    assert decided(TREE, RULES) == {
        "dense/bias": ("**/bias", jinit.zeros()),
        "dense/kernel": ("**/kernel", jinit.he_normal()),
        "embed": ("**", jinit.normal()),
    }


def test_pairs_and_a_mapping_are_the_same_rules():
    assert plan(TREE, list(RULES.items())) == plan(TREE, RULES)


def test_the_default_draws_what_no_pattern_matches():
    rules = {"**/kernel": jinit.ones()}

    assert decided(TREE, rules, jinit.normal()) == {
        "dense/bias": (None, jinit.normal()),
        "dense/kernel": ("**/kernel", jinit.ones()),
        "embed": (None, jinit.normal()),
    }


def test_a_rule_can_be_a_regular_expression():
    rules = {re.compile("dense/.*"): jinit.ones(), "embed": jinit.zeros()}

    assert decided(TREE, rules)["dense/bias"] == (
        "re.compile('dense/.*')",
        jinit.ones(),
    )


def test_a_rule_can_be_a_function_of_path_and_shape():
    def by_depth(path, shape):
        layer = int(path.split("/")[0].removeprefix("h_"))
        return jinit.normal(std=1 / (shape[0] * (layer + 1)))

    tree = {f"h_{n}": shapes(w=(2, 3)) for n in range(2)}

    assert decided(tree, {"**": by_depth}) == {
        "h_0/w": ("**", jinit.normal(std=0.5)),
        "h_1/w": ("**", jinit.normal(std=0.25)),
    }


def test_a_function_of_path_and_shape_can_leave_a_leaf_as_it_is():
    rules = {"**": lambda path, shape: None if path == "embed" else jinit.ones}

    assert decided(TREE, rules)["embed"] == ("**", None)
    assert decided(TREE, rules)["dense/bias"] == ("**", jinit.ones())


def test_zeros_can_be_given_uncalled():
    assert plan(TREE, {"**": jinit.zeros}) == plan(TREE, {"**": jinit.zeros()})


# What a plan is


def test_plans_made_alike_are_equal_and_hash_alike():
    assert plan(TREE, RULES) == plan(TREE, dict(RULES))
    assert hash(plan(TREE, RULES)) == hash(plan(TREE, dict(RULES)))


def test_plans_made_differently_are_unequal():
    plans = {
        plan(TREE, RULES),
        plan(TREE, {**RULES, "**": jinit.normal(std=2.0)}),
        plan(TREE, {"**": jinit.normal()}),
        plan(TREE, {}, jinit.normal()),
        plan({**TREE, "embed": jnp.ones((16, 8))}, RULES),
        plan(TREE["dense"], {"*": jinit.normal()}),
    }

    assert len(plans) == 6


def test_a_plan_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan(TREE, RULES).entries = ()


def test_a_plan_has_an_entry_for_each_leaf():
    made = plan(TREE, RULES)

    assert len(made) == 3
    assert list(made) == list(made.entries)
    assert [(e.shape, e.dtype) for e in made] == [
        ((4,), jnp.float32),
        ((8, 4), jnp.float32),
        ((16, 8), jnp.bfloat16),
    ]


def test_a_plan_prints_as_a_table():
    tree = {
        "bias": jnp.zeros(3),
        "kernel": jax.ShapeDtypeStruct((50, 3), "bfloat16"),
        "qkv": jax.ShapeDtypeStruct((2, 6), "float32"),
        "scale": np.ones(3, "float32"),
        "step": np.int32(0),
    }
    rules = {
        "bias": jinit.lecun_normal(fan_in=50),
        "kernel": jinit.he_normal(),
        "qkv": jinit.blocks(jinit.xavier_normal(), 3),
        "scale": jax.nn.initializers.ones,
        "step": None,
    }

    lines = [
        "path    shape    dtype     rule    initializer                 fans   std",
        "bias    (3,)     float32   bias    lecun_normal(fan_in=50.0)   50, -  0.1414",
        "kernel  (50, 3)  bfloat16  kernel  he_normal()                 50, 3  0.2",
        "qkv     (2, 6)   float32   qkv     blocks(xavier_normal(), 3)  2, 2   0.7071",
        "scale   (3,)     float32   scale   ones",
        "step    ()       int32     step    (left as it is)",
    ]
    assert str(plan(tree, rules)).splitlines() == lines
    assert repr(plan(tree, rules)).splitlines() == lines


def test_a_table_has_all_rows():
    made = plan({f"w{n:03}": jnp.ones(2) for n in range(200)}, {}, jinit.zeros())

    assert len(str(made).splitlines()) == 201
    assert "default" in str(made)


# What is drawn


def test_every_leaf_is_drawn_from_the_key_of_its_path_in_its_dtype(key):
    check_equal(
        plan(TREE, RULES).init(key),
        {
            "dense": {
                "bias": jnp.zeros(4),
                "kernel": drawn_alone(jinit.he_normal(), key, "dense/kernel", (8, 4)),
            },
            "embed": drawn_alone(jinit.normal(), key, "embed", (16, 8), "bfloat16"),
        },
    )


def test_leaves_that_are_added_change_no_other(key):
    more = {"other": shapes(kernel=(8, 4)), **TREE}
    drawn = plan(more, RULES).init(key)

    check_equal({name: drawn[name] for name in TREE}, plan(TREE, RULES).init(key))
    assert not np.array_equal(drawn["other"]["kernel"], drawn["dense"]["kernel"])


def test_the_order_of_rules_that_do_not_overlap_makes_no_difference(key):
    rules = {"**/bias": jinit.zeros(), "**/kernel": jinit.ones(), "embed": jinit.eye()}
    turned = dict(reversed(rules.items()))

    check_equal(plan(TREE, rules).init(key), plan(TREE, turned).init(key))


def test_raw_keys_draw_as_typed_ones_do(key):
    made = plan(TREE, RULES)

    check_equal(made.init(jax.random.PRNGKey(0)), made.init(key))


def test_jit_makes_no_difference(key):
    made = plan(TREE, RULES)

    check_equal(jax.jit(made.init)(key), made.init(key))


def test_linen_variables_keep_their_boxes(key):
    tree = jax.eval_shape(Perceptron().init, key, jnp.ones((1, 8)))
    drawn = plan(tree, RULES, allow_unused=True).init(key)

    assert jax.tree.structure(drawn) == jax.tree.structure(tree)
    kernel = drawn["params"]["in_"]["kernel"]
    assert kernel.names == ("x", None)
    np.testing.assert_array_equal(
        kernel.value, drawn_alone(jinit.he_normal(), key, "params/in_/kernel", (8, 4))
    )


def test_an_nnx_state_can_be_put_back(key):
    graph, state = nnx.split(nnx.eval_shape(lambda: Module(nnx.Rngs(0))))
    module = nnx.merge(
        graph, plan(state, {"**/bias": jinit.ones()}, jinit.normal()).init(key)
    )

    np.testing.assert_array_equal(module.out.bias[...], jnp.ones(8))
    np.testing.assert_array_equal(
        module.layers[0].kernel[...],
        drawn_alone(jinit.normal(), key, "layers/0/kernel", (4, 2)),
    )


def test_tuples_and_dataclasses_come_back_as_they_are(key):
    layer = Linear(*shapes(kernel=(2, 3), bias=(3,)).values())
    drawn = plan((layer, layer), RULES, allow_unused=True).init(key)

    expected = [
        Linear(
            drawn_alone(jinit.he_normal(), key, f"{n}/kernel", (2, 3)),
            jnp.zeros(3),
        )
        for n in range(2)
    ]
    check_equal(drawn, tuple(expected))


def test_a_tree_can_be_a_leaf_or_empty(key):
    leaf = jax.ShapeDtypeStruct((2, 3), "float32")
    drawn = plan(leaf, {"**": jinit.normal()}).init(key)

    np.testing.assert_array_equal(drawn, drawn_alone(jinit.normal(), key, "", (2, 3)))
    assert plan({}, {}).init(key) == {}


def test_initializers_of_others_draw(key):
    init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    drawn = plan(shapes(w=(4, 5)), {"w": init}).init(key)

    np.testing.assert_array_equal(
        drawn["w"], jax.jit(lambda key: drawn_alone(init, key, "w", (4, 5)))(key)
    )


def test_an_initializer_without_a_hash_draws(key):
    @dataclasses.dataclass
    class Half:
        def __call__(self, key, shape, dtype):
            return jnp.full(shape, 0.5, dtype)

    check_equal(plan(shapes(w=(2,)), {"w": Half()}).init(key), {"w": jnp.full(2, 0.5)})


def test_a_traced_option_can_be_planned(key):
    def draw(std):
        return plan(shapes(w=(2, 3)), {"w": jinit.normal(std=std)}).init(key)

    expected = plan(shapes(w=(2, 3)), {"w": jinit.normal(std=2.0)}).init(key)
    check_equal(jax.jit(draw)(2.0), expected)


def test_an_equal_plan_is_not_traced_again(key):
    traces = []

    def counted(key, shape, dtype):
        traces.append(shape)
        return jnp.zeros(shape, dtype)

    for _ in range(3):
        plan(shapes(w=(2,)), {"w": counted}).init(key)

    assert len(traces) == 3 + 1  # each plan checks it, one program draws it


# Several keys


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_each_member_of_a_stack_is_what_its_key_gives(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 3)
    made = plan({**TREE, "step": jnp.arange(2)}, {"step": None, **RULES})
    stacked = made.init(keys)

    members = [made.init(key) for key in keys]
    check_equal(stacked, jax.tree.map(lambda *each: jnp.stack(each), *members))


def test_raw_keys_stack_too():
    keys = jax.random.split(jax.random.PRNGKey(0), 3)

    assert plan(shapes(w=(2,)), RULES, allow_unused=True).init(keys)["w"].shape == (
        3,
        2,
    )


def test_init_can_be_mapped_over_keys(key):
    keys = jax.random.split(key, 3)
    made = plan(TREE, RULES)

    check_equal(jax.vmap(made.init)(keys), made.init(keys))


# Leaves that are left as they are


def test_a_leaf_without_an_initializer_keeps_its_array(key):
    tree = {"kernel": jnp.ones((2, 3)), "step": np.int32(7), "rng": jax.random.key(3)}
    drawn = plan(tree, {"kernel": jinit.zeros(), "*": None}).init(key)

    assert drawn["step"] == tree["step"]
    assert drawn["rng"] == tree["rng"]
    np.testing.assert_array_equal(drawn["kernel"], jnp.zeros((2, 3)))


def test_what_is_done_with_a_result_does_no_harm_to_the_plan(key):
    tree = {"w": jnp.ones(3), "kept": jnp.ones(3), "array": np.ones(3, np.float32)}
    made = plan(tree, {"w": jinit.zeros(), "*": None})
    first = made.init(key)
    first["array"][:] = 7
    first["kept"].delete()
    check_equal(made.init(key), {**tree, "w": jnp.zeros(3)})
    check_equal(jinit.reinit(key, tree, {"*": None}), tree)


def test_a_leaf_that_is_no_array_can_be_left_as_it_is(key):
    tree = {"w": jnp.ones(3), "step": 0, "activation": jax.nn.relu}
    rules = {"w": jinit.zeros(), "*": None}
    made = plan(tree, rules)
    check_equal(made.init(key), {**tree, "w": jnp.zeros(3)})
    assert Plan.from_json(made.to_json(), tree) == made
    assert made.init(jax.random.split(key, 2))["step"] == 0


def test_plans_are_equal_only_if_their_results_are(key):
    rules = {"w": jinit.zeros(), "scale": None}
    ones, sevens = ({"w": jnp.ones(2), "scale": jnp.full(2, v)} for v in (1.0, 7.0))
    init = jax.jit(lambda made, key: made.init(key)["scale"], static_argnums=0)
    assert plan(ones, rules) == plan(ones, rules)
    assert hash(plan(ones, rules)) == hash(plan(ones, rules))
    for tree in (ones, sevens):
        np.testing.assert_array_equal(init(plan(tree, rules), key), tree["scale"])

    class Named(NamedTuple):
        w: jax.ShapeDtypeStruct

    named = Named(jax.ShapeDtypeStruct((2,), "float32"))
    assert plan(named, ONES) != plan({"w": named.w}, ONES)
    elsewhere = jax.device_put(ones["w"], jax.devices()[3])
    assert plan({"w": elsewhere}, ONES) != plan({"w": ones["w"]}, ONES)


@pytest.mark.slow
def test_fifty_thousand_leaves_come_back_from_json_as_few_initializers():
    tree = {f"l{n}": jax.ShapeDtypeStruct((2, 2), "float32") for n in range(50_000)}
    again = Plan.from_json(plan(tree, ONES).to_json())
    assert len({id(entry.init) for entry in again}) == 1


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("device", [None, 2])
def test_every_leaf_is_drawn_anew_where_it_lies(donate, device, key):
    if device is not None:
        key = jax.device_put(key, jax.devices()[device])
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    over = NamedSharding(mesh, PartitionSpec("x"))
    places = {"mesh": over, "third": jax.devices()[3], "free": None}
    tree = {
        name: jnp.ones(4) if at is None else jax.device_put(jnp.ones(4), at)
        for name, at in places.items()
    }
    kinds = {name: (w.sharding, w.committed) for name, w in tree.items()}
    drawn = jinit.reinit(key, tree, {"*": jinit.normal()}, donate=donate)
    if device is not None:  # where JAX chooses, it follows the key
        del drawn["free"], kinds["free"]
    assert {name: (w.sharding, w.committed) for name, w in drawn.items()} == kinds


def test_a_leaf_of_shapes_cannot_be_left_as_it_is(key):
    made = plan(TREE, {"embed": None, "**": jinit.zeros()})

    with pytest.raises(ValueError, match="rule 'embed' leaves 'embed' as it is, but"):
        made.init(key)


# Meshes


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    return mesh_of(request.param)


def layouts(mesh):
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("x"))
    return {
        "one": rows,
        "prefix": {"dense": everywhere, "embed": rows},
        "with none": {"dense": {"kernel": rows, "bias": None}, "embed": None},
        "function": lambda path, leaf: rows if leaf.ndim == 2 else None,
    }


@pytest.mark.parametrize("form", ["one", "prefix", "with none", "function"])
def test_the_mesh_makes_no_difference_to_the_weights(form, mesh, key):
    made = plan(TREE, RULES)
    drawn = made.init(key, layouts(mesh)[form])

    check_equal(drawn, made.init(key))
    asked = PartitionSpec() if form == "prefix" else PartitionSpec("x")
    assert drawn["dense"]["kernel"].sharding.is_equivalent_to(
        NamedSharding(mesh, asked), 2
    )


def test_linen_says_where_its_variables_lie(key):
    tree = jax.eval_shape(Perceptron().init, key, jnp.ones((1, 8)))
    made = plan(tree, RULES, allow_unused=True)
    drawn = made.init(key, nn.get_sharding(tree, mesh_of()))

    check_equal(drawn, made.init(key))
    wanted = NamedSharding(mesh_of(), PartitionSpec("x"))
    kernel = drawn["params"]["in_"]["kernel"].value
    assert kernel.sharding.is_equivalent_to(wanted, 2)


@pytest.mark.parametrize("kind", ["nnx", "tuple"])
def test_every_kind_of_tree_can_be_sharded(kind, key):
    if kind == "nnx":
        tree = nnx.state(nnx.eval_shape(lambda: Module(nnx.Rngs(0))))
    else:
        tree = (Linear(*shapes(kernel=(4, 2), bias=(8,)).values()), [TREE["embed"]])
    columns = NamedSharding(mesh_of(), PartitionSpec(None, "y"))
    made = plan(tree, RULES, allow_unused=True)
    drawn = made.init(key, lambda path, leaf: columns if leaf.ndim == 2 else None)

    check_equal(drawn, made.init(key))
    matrices = [leaf for leaf in jax.tree.leaves(drawn) if leaf.ndim == 2]
    assert all(leaf.sharding.is_equivalent_to(columns, 2) for leaf in matrices)


@pytest.mark.bits
def test_a_partition_spec_means_the_mesh_that_is_set(mesh, key):
    made = plan(TREE, RULES)
    with jax.set_mesh(mesh):
        drawn = made.init(key, PartitionSpec("x"))

    check_equal(drawn, made.init(key))
    wanted = NamedSharding(mesh, PartitionSpec("x"))
    assert drawn["embed"].sharding.is_equivalent_to(wanted, 2)


def test_arrays_are_drawn_in_the_sharding_that_they_have(key):
    mesh = mesh_of()
    sharding = NamedSharding(mesh, PartitionSpec("x", "y"))
    old = {"w": jax.device_put(jnp.ones((8, 4)), sharding), "b": jnp.ones(4)}
    made = plan(old, {"*": jinit.normal()})

    drawn, stacked = made.init(key), made.init(jax.random.split(key, 3))
    assert drawn["w"].sharding.is_equivalent_to(sharding, 2)
    wanted = NamedSharding(mesh, PartitionSpec(None, "x", "y"))
    assert stacked["w"].sharding.is_equivalent_to(wanted, 3)
    everywhere = NamedSharding(mesh, PartitionSpec())
    asked = made.init(key, lambda path, leaf: everywhere)
    assert asked["w"].sharding.is_equivalent_to(everywhere, 2)
    check_equal(asked, drawn)


def test_the_function_of_a_sharding_sees_what_is_drawn(key):
    seen = {}
    plan(TREE, RULES).init(jax.random.split(key, 3), seen.__setitem__)

    assert seen == {
        "dense/bias": jax.ShapeDtypeStruct((3, 4), "float32"),
        "dense/kernel": jax.ShapeDtypeStruct((3, 8, 4), "float32"),
        "embed": jax.ShapeDtypeStruct((3, 16, 8), "bfloat16"),
    }


def test_a_leaf_that_is_left_as_it_is_goes_where_it_is_asked_to(key):
    sharding = NamedSharding(mesh_of(), PartitionSpec("x"))
    drawn = plan({"w": jnp.arange(8.0)}, {"w": None}).init(key, sharding)

    assert drawn["w"].sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_array_equal(drawn["w"], jnp.arange(8.0))


# JSON


@pytest.mark.parametrize(
    "tree",
    [
        TREE,
        (Linear(*TREE["dense"].values()), [TREE["embed"]] * 12),
        {"mlp/~/linear": shapes(w=(2, 3))},
        TREE["embed"],
        {},
    ],
    ids=["dict", "tuple", "haiku", "leaf", "empty"],
)
def test_a_plan_comes_back_from_json(tree, key):
    made = plan(tree, RULES, allow_unused=True)
    alone, with_tree = (
        Plan.from_json(made.to_json()),
        Plan.from_json(made.to_json(), tree),
    )

    assert with_tree == made
    assert alone.entries == made.entries
    check_equal(with_tree.init(key), made.init(key))
    check_equal(
        dict(named_leaves(alone.init(key))[0]), dict(named_leaves(made.init(key))[0])
    )


def test_a_plan_without_a_tree_draws_nested_dicts(key):
    tree = {"mlp/~/linear": shapes(w=(2, 3)), "out": (TREE["embed"],)}
    text = plan(tree, {"**": jinit.normal()}).to_json()

    drawn = Plan.from_json(text).init(key)
    assert jax.tree.map(jnp.shape, drawn, is_leaf=lambda x: hasattr(x, "shape")) == {
        "mlp": {"~": {"linear": {"w": (2, 3)}}},
        "out": {"0": (16, 8)},
    }


def test_a_leaf_left_as_it_is_comes_from_the_tree_that_is_given(key):
    tree = {"scale": jnp.full(3, 2.0)}
    text = plan(tree, {"scale": None}).to_json()

    check_equal(Plan.from_json(text, tree).init(key), tree)
    with pytest.raises(ValueError, match="made of shapes"):
        Plan.from_json(text).init(key)


def test_the_json_says_what_the_plan_is():
    made = plan({"w": jnp.ones((2, 3))}, {"w": jinit.normal(std=2.0)})

    assert json.loads(made.to_json()) == {
        "jinit_plan": 1,
        "leaves": [
            {
                "path": "w",
                "shape": [2, 3],
                "dtype": "float32",
                "rule": "w",
                "init": {"jinit": 1, "name": "normal", "options": {"std": 2.0}},
            }
        ],
    }


# Drawing anew


def old_parameters(mesh):
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    return {
        "dense": {"kernel": jnp.ones((8, 4), "bfloat16"), "bias": jnp.ones(4)},
        "embed": jax.device_put(jnp.ones((16, 8)), sharding),
    }


def test_reinit_is_the_plan_of_the_parameters(key):
    old = old_parameters(mesh_of())
    new = reinit(key, old, RULES)

    check_equal(new, plan(old, RULES).init(key))
    assert jax.tree.map(lambda w: w.dtype, new) == jax.tree.map(lambda w: w.dtype, old)
    assert new["embed"].sharding.is_equivalent_to(old["embed"].sharding, 2)


def test_donated_arrays_are_given_up_and_the_new_ones_equal(key):
    expected = reinit(key, old_parameters(mesh_of()), RULES)
    old = old_parameters(mesh_of())
    places = [s.data.unsafe_buffer_pointer() for s in old["embed"].addressable_shards]
    new = reinit(key, old, RULES, donate=True)

    check_equal(new, expected)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
    reused = [s.data.unsafe_buffer_pointer() for s in new["embed"].addressable_shards]
    assert reused == places
    assert new["embed"].sharding.is_equivalent_to(expected["embed"].sharding, 2)


def test_an_array_that_was_given_up_is_refused(key):
    old = {"w": jnp.ones((3, 4))}
    reinit(key, old, {"w": jinit.normal()}, donate=True)
    with pytest.raises(ValueError, match=r"'w' was given up \(donated\)"):
        reinit(key, old, {"w": jinit.normal()})


def test_the_key_itself_is_not_given_up(key):
    old = {"w": jnp.ones(3), "key": key}
    rules = {"w": jinit.normal(), "key": lambda key, shape, dtype: key}
    new = reinit(key, old, rules, donate=True)
    assert new["key"].dtype == key.dtype
    assert not key.is_deleted()


def test_a_rule_that_raises_is_named_with_the_leaf():
    with pytest.raises(ValueError, match=r"rule '\*\*' .*ZeroDivisionError for 'w'"):
        plan(shapes(w=(3,)), {"**": lambda path, shape: 1 / 0})


def test_what_is_left_as_it_is_or_tied_to_it_is_not_donated(key):
    kept, tied = jnp.ones(3), jnp.zeros(3)
    old = {"a": kept, "b": kept, "c": tied, "d": tied, "e": np.ones(3, "float32")}
    new = reinit(key, old, {"a": None, "*": jinit.normal()}, donate=True)

    assert new["a"] is kept
    assert not kept.is_deleted()
    assert tied.is_deleted()
    check_equal(new["e"], drawn_alone(jinit.normal(), key, "e", (3,)))


def test_nothing_is_donated_within_jit(key):
    old = {"w": jnp.ones((2, 3))}
    new = jax.jit(lambda old: reinit(key, old, {"w": jinit.normal()}, donate=True))(old)

    check_equal(new, reinit(key, old, {"w": jinit.normal()}))


# Mistakes

FLAT = shapes(**{f"w{n}": (2, 3) for n in range(8)})


@pytest.mark.parametrize(
    ("tree", "rules", "options", "error", "message"),
    [
        (FLAT, {"x": jinit.zeros()}, {}, ValueError, "'w0'.*'w4' and 3 more; add a"),
        (TREE, {"**/kernel": jinit.zeros()}, {}, ValueError, "'dense/bias', 'embed'"),
        (
            FLAT,
            {"*": jinit.zeros(), "b*": jinit.zeros()},
            {},
            ValueError,
            "none for 'b\\*' among 'w0'.*and 3 more; correct",
        ),
        (
            FLAT,
            {"*": jinit.zeros(), "w0": jinit.ones()},
            {},
            ValueError,
            "first to match .*'w0'.*before wider ones",
        ),
        (
            TREE,
            {"**": jinit.he_normal()},
            {},
            ValueError,
            r"'dense/bias' has shape \(4,\) .*he_normal\(\), given by rule '\*\*', ref",
        ),
        (
            TREE,
            {},
            {"default": jinit.lecun_normal()},
            ValueError,
            "'dense/bias' .*lecun_normal.*given by default, refuses: shape",
        ),
        (
            {"n": jnp.arange(3)},
            {"n": jinit.normal()},
            {},
            ValueError,
            "'n' has shape .*int32.*draw in float32",
        ),
        (
            {"k": jax.random.key(0)},
            {"k": jinit.zeros()},
            {},
            ValueError,
            "'k' .*key<fry>, which zeros.*numeric dtype",
        ),
        (
            FLAT,
            {"*": lambda key, shape, dtype: jnp.ones(shape[::-1], dtype)},
            {},
            ValueError,
            "'w0' .*<lambda>, given by .*does not draw: it returns .*3, 2",
        ),
        (
            FLAT,
            {"*": lambda key, shape, dtype: jnp.ones(shape, "bfloat16")},
            {},
            ValueError,
            "does not draw: .*bfloat16",
        ),
        (FLAT, {"*": lambda key: None}, {}, ValueError, "refuses: .*positional"),
        (FLAT, {"*": lambda key, shape, dtype: 1 / 0}, {}, ValueError, "by zero"),
        ({"a": {"b": 0.5}}, ONES, {}, TypeError, "got 0.5 at 'a/b'; make it an array"),
        ({"f": jnp.tanh}, ONES, {}, TypeError, "at 'f'.*a rule .* that gives None"),
        (FLAT, {"*": jinit.he_normal}, {}, TypeError, r"rules\['\*'\].*he_normal\(\)"),
        (FLAT, {"*": 0.5}, {}, TypeError, r"rules\['\*'\] must be an initializer"),
        (
            FLAT,
            {"*": lambda path, shape: 0.5},
            {},
            TypeError,
            r"what rule '\*' gives for 'w0' must be an initializer, got 0.5",
        ),
        (FLAT, {"*": jinit.zeros()}, {"default": 1}, TypeError, "default must be an"),
        (FLAT, {"w**": jinit.zeros()}, {}, ValueError, "pattern 'w\\*\\*' must be"),
        (FLAT, {0: jinit.zeros()}, {}, TypeError, "a pattern must be a string"),
        (FLAT, jinit.zeros(), {}, TypeError, "rules must be a mapping"),
        (FLAT, "w*", {}, TypeError, "rules must be a mapping"),
        (FLAT, ["w*"], {}, TypeError, "a sequence of such pairs"),
        (FLAT, [("*", jinit.zeros(), 1)], {}, TypeError, "a sequence of such pairs"),
        ({"a/b": 1, "a": {"b": 1}}, RULES, {}, ValueError, "two are 'a/b'"),
    ],
)
def test_a_mistake_is_refused_when_the_plan_is_made(
    tree, rules, options, error, message
):
    with pytest.raises(error, match=f"(?s){message}"):
        plan(tree, rules, **options)


def test_a_rule_that_matches_nothing_can_be_allowed():
    rules = {**RULES, "encoder/**": jinit.zeros()}

    assert plan(TREE, dict(reversed(rules.items())), allow_unused=True).entries


def test_nothing_is_drawn_when_a_plan_is_made():
    huge = jax.ShapeDtypeStruct((2**20, 2**20), "float32")

    assert len(plan({"w": huge}, {"w": jinit.normal()})) == 1


ROWS = NamedSharding(mesh_of(), PartitionSpec("x"))


@pytest.mark.parametrize(
    ("keys", "out_shardings", "error", "message"),
    [
        (0, None, TypeError, "key must be a JAX random key"),
        (jax.random.split(jax.random.key(0), (2, 2)), None, ValueError, "one axis"),
        (None, {"w": ROWS, "b": ROWS}, ValueError, "out_shardings must be a sharding"),
        (None, "x", TypeError, "PartitionSpecs or None, got 'x' for 'w'"),
        (None, lambda path, leaf: 1, TypeError, "got 1 for 'w'"),
        (None, ROWS, ValueError, "out_shardings does not fit 'w': .*3"),
        (None, PartitionSpec("x"), ValueError, r"'w': .*jax\.set_mesh"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_drawn(
    keys, out_shardings, error, message
):
    made = plan(shapes(w=(3,)), {"w": jinit.normal()})

    with pytest.raises(error, match=f"(?s){message}"):
        made.init(jax.random.key(0) if keys is None else keys, out_shardings)


def test_several_keys_do_not_fit_into_donated_arrays(key):
    old = {"w": jnp.ones(3)}

    with pytest.raises(ValueError, match="key must be one key, got keys of shape"):
        reinit(jax.random.split(key), old, {"w": jinit.normal()}, donate=True)
    assert not old["w"].is_deleted()


STACKED = jinit.stack(jax.nn.initializers.ones)


@pytest.mark.parametrize(
    ("tree", "init", "error", "message"),
    [
        ({"a": {"b": jnp.ones(3)}}, jax.nn.initializers.ones, TypeError, "'a/b': init"),
        ({"w": jnp.ones(3)}, STACKED, TypeError, "'w': init must be"),
        (
            {"w": jnp.ones((3, 3))},
            jinit.he_normal(gain=lambda x: x * jnp.tanh(x)),
            ValueError,
            "'w': gain must be a number",
        ),
        ({"k": jax.random.key(0)}, None, TypeError, "'k': dtype must be a numeric"),
    ],
    ids=range(4),
)
def test_what_has_no_name_is_not_written_down(tree, init, error, message):
    with pytest.raises(error, match=message):
        plan(tree, {"**": init}).to_json()


LEAF = {"path": "w", "shape": [2], "dtype": "float32", "rule": "*", "init": None}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "must be the JSON of a plan"),
        ("[" * 10**5, "must be the JSON of a plan"),
        ("[]", "entries 'jinit_plan' and 'leaves'"),
        ({"jinit_plan": 1}, "entries 'jinit_plan' and 'leaves'"),
        ({"jinit_plan": 1, "leaves": [], "x": 1}, "entries 'jinit_plan'"),
        ({"jinit_plan": 2, "leaves": []}, "version 1, got 2; read it with"),
        ({"jinit_plan": True, "leaves": []}, "version 1, got True"),
        ({"jinit_plan": 1, "leaves": {}}, "leaves of the plan must be a list"),
        ([[]], "leaves of the plan must be objects with path, shape"),
        ([{**LEAF, "x": 1}], "must be objects with path"),
        ([{**LEAF, "path": 1}], "path must be a string"),
        ([{**LEAF, "rule": 1}], "rule one or null"),
        ([{**LEAF, "shape": "ab"}], "leaf 'w': shape must be a sequence"),
        ([{**LEAF, "shape": [1.5]}], "leaf 'w': shape must be a sequence"),
        ([{**LEAF, "shape": [-1]}], "leaf 'w': shape must not have negative"),
        ([{**LEAF, "dtype": "float"}], "leaf 'w': dtype must be the name"),
        ([{**LEAF, "dtype": "f4,,"}], "leaf 'w': dtype must be the name"),
        ([{**LEAF, "dtype": None}], "leaf 'w': dtype must be the name"),
        ([{**LEAF, "init": {}}], "leaf 'w': config must have the entries"),
        ([{**LEAF, "init": "normal"}], "leaf 'w': config must be a dict"),
        ([{**LEAF, "init": jinit.serialize(jinit.eye())}], "'w' .*eye.*refuses"),
        ([LEAF, LEAF], "a path each, but 'w' repeats"),
        ([LEAF, {**LEAF, "path": "w/b"}], "cannot hold 'w/b'"),
        ([{**LEAF, "path": "w/b"}, LEAF], "cannot hold 'w' and a leaf within"),
        ([LEAF, {**LEAF, "path": "w/b/c"}], "cannot hold 'w/b/c'"),
    ],
    ids=lambda value: str(value)[:80],
)
def test_malformed_json_is_refused(config, message):
    if isinstance(config, list):
        config = {"jinit_plan": 1, "leaves": config}
    text = config if isinstance(config, str) else json.dumps(config)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Plan.from_json(text)


def test_only_a_string_is_read():
    with pytest.raises(TypeError, match="text must be a string"):
        Plan.from_json({"jinit_plan": 1, "leaves": []})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (shapes(v=(2,)), r"'w', 'v' differ: 'w' has \(\(2,\), 'float32'\) pl.*None fo"),
        (shapes(w=(3,)), r"'w' differ.*\(\(3,\), 'float32'\) found"),
        ({"w": jnp.ones(2, "bfloat16")}, "'bfloat16'"),
        (shapes(**{f"v{n}": (2,) for n in range(8)}), "and 4 more differ"),
    ],
)
def test_a_tree_with_other_leaves_is_refused(tree, message):
    text = plan(shapes(w=(2,)), {"w": jinit.normal()}).to_json()

    with pytest.raises(ValueError, match=f"tree must have the leaves .*{message}"):
        Plan.from_json(text, tree)


def test_tied_parameters_stay_tied(key):
    table, other = jnp.ones((8, 4)), jnp.ones((8, 4))
    tree = {"table": table, "head": {"kernel": table}, "other": other}
    rules = {"**": jinit.normal()}
    plan = jinit.plan(tree, rules)
    for drawn in (plan.init(key), jinit.reinit(key, tree, rules)):
        assert drawn["table"] is drawn["head"]["kernel"]
        assert (drawn["table"] != drawn["other"]).any()
    read = jinit.Plan.from_json(plan.to_json(), tree)
    assert read == plan
    assert read != jinit.plan(jax.tree.map(jnp.copy, tree), rules)
    given_up = jinit.reinit(key, tree, rules, donate=True)
    np.testing.assert_array_equal(given_up["table"], given_up["head"]["kernel"])
    members = plan.init(jax.random.split(key, 3))
    assert members["table"] is members["head"]["kernel"]


def test_tied_parameters_of_two_initializers_are_refused():
    table = jnp.ones((8, 4))
    rules = {"a": jinit.normal(), "b": jinit.uniform()}
    with pytest.raises(ValueError, match=r"'a' and 'b', which are one array.*untie"):
        jinit.plan({"a": table, "b": table}, rules)
    untied = {"a": table, "b": jnp.copy(table)}
    assert len(jinit.plan(untied, rules)) == 2
