"""An initializer is a value: it prints, compares, hashes, pickles and copies."""

import copy
import dataclasses
import inspect
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit

CALLS = [
    "constant(0.5)",
    "constant((1, 2, 3))",
    "constant(((1.5, 2.0), (0.0, 1.0)))",
    "zeros()",
    "ones()",
    "uniform()",
    "uniform(a=-1.0, b=2.0)",
    "normal(std=0.02)",
    "normal(mean=1.0)",
    "trunc_normal(std=0.02, a=-0.04, b=0.04)",
    "eye()",
    "eye(gain=2.0, batch_axis=0)",
    "dirac(groups=2)",
    "xavier_uniform()",
    "xavier_uniform(gain='relu', in_axis=1, out_axis=0)",
    "xavier_normal(gain=1.5, in_axis=(0, 1), out_axis=2)",
    "kaiming_uniform(a=2.23606797749979)",
    "kaiming_normal(mode='fan_out', nonlinearity='relu')",
    "kaiming_normal(groups=8, fan_in=3.0)",
    "orthogonal(gain=0.01, batch_axis=0)",
    "sparse(0.9)",
    "sparse(0.9, std=0.1)",
    "truncated_normal()",
    "truncated_normal(lower=-inf, upper=1.0)",
    "truncated_normal(std=0.02, lower=-1.0, corrected=True)",
    "variance_scaling(2.0, 'fan_avg', 'uniform')",
    "variance_scaling(1.0, 'fan_in', 'normal', out_axis=0)",
    "lecun_uniform(fan_in=5.0)",
    "lecun_normal(in_axis=(0,), out_axis=(1, 2))",
    "lecun_normal(in_axis=-2)",
    "glorot_uniform(transposed=True)",
    "glorot_normal(groups=8)",
    "he_uniform()",
    "he_normal(batch_axis=0)",
    "scaled_orthogonal(gain='relu')",
    "spectral_orthogonal()",
    "delta_orthogonal(in_axis=1, out_axis=0)",
    "convolution_orthogonal(gain=2.0)",
    "stack(lecun_normal())",
    "stack(blocks(zeros(), 2), axis=1)",
    "blocks(orthogonal(gain=2.0), 4)",
    "blocks(normal(), 3, axis=0)",
    "looks_linear()",
    "looks_linear(init=delta_orthogonal(), mirror='both')",
    "with_dtype(he_normal(), 'bfloat16')",
    "xavier_normal(gain='gelu')",
    "kaiming_uniform(nonlinearity=('elu', 0.5))",
    "orthogonal(gain=('tanh',))",
    "he_uniform(gain='swiglu')",
    "variance_scaling(1.0, 'fan_in', 'normal', gain='mish')",
]


def build(call):
    return eval(call, {**vars(jinit), "inf": math.inf})


@pytest.mark.parametrize("call", CALLS)
def test_an_initializer_prints_as_the_call_that_makes_it(call):
    assert repr(build(call)) == call


@pytest.mark.parametrize("call", CALLS)
def test_initializers_made_alike_are_equal_and_hash_alike(call):
    assert build(call) == build(call)
    assert hash(build(call)) == hash(build(call))


def test_initializers_made_differently_are_unequal():
    assert len({build(call) for call in CALLS}) == len(CALLS)


def test_the_form_in_which_an_option_is_given_makes_no_difference():
    assert jinit.normal(std=2) == jinit.normal(std=np.float32(2))
    assert jinit.normal(std=2) == jinit.normal(std=jax.numpy.array(2.0))
    assert jinit.constant([1, 2]) == jinit.constant(np.array([1, 2]))
    assert jinit.xavier_normal(in_axis=[0, 1]) == jinit.xavier_normal(in_axis=(0, 1))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "duplicate",
    [lambda init: pickle.loads(pickle.dumps(init)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_copies_are_equal(call, duplicate):
    assert duplicate(build(call)) == build(call)


def test_replace_changes_one_option():
    init = dataclasses.replace(jinit.xavier_normal(gain=2.0), gain=3.0)

    assert init == jinit.xavier_normal(gain=3.0)


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        jinit.normal().std = 2.0


def test_jit_does_not_trace_again_for_a_rebuilt_initializer(key):
    traces = []

    def draw(init, key):
        traces.append(init)
        return init(key, (4, 4))

    jitted = jax.jit(draw, static_argnums=0)
    for _ in range(3):
        jitted(jinit.kaiming_normal(nonlinearity="relu"), key)

    assert len(traces) == 1


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones_work_uncalled(name, key):
    factory = getattr(jinit, name)

    uncalled, called = factory(key, (2, 3), "int32"), factory()(key, (2, 3), "int32")

    np.testing.assert_array_equal(uncalled, called)
    assert uncalled.dtype == "int32"


def test_the_key_of_a_deterministic_initializer_is_not_looked_at():
    np.testing.assert_array_equal(jinit.ones()(None, (2,)), 1)


def test_its_own_options_come_before_those_of_axes():
    for init in (jinit.xavier_normal, jinit.kaiming_uniform, jinit.he_normal):
        names = [*inspect.signature(init).parameters]
        assert names[0] in ("gain", "a")
        assert names[-1] == "fan_out"
        assert names == [each.name for each in dataclasses.fields(init)]
    assert next(iter(inspect.signature(jinit.normal()).parameters)) == "key"


def test_axes_that_are_typed_are_taken_as_typed(key):
    assert jinit.lecun_normal(in_axis=-2) != jinit.lecun_normal()
    with pytest.raises(ValueError, match="must not both name axis -2"):
        jinit.lecun_normal(in_axis=-2, out_axis=-2)
    with pytest.raises(ValueError, match="is named twice, by in_axis"):
        jinit.fans((3, 5), in_axis=-2, out_axis=0)
    assert jinit.fans((3, 5), out_axis=0) == (5, 3)
    assert jinit.fans((2, 3, 5), out_axis=-2) == (10, 6)


@pytest.mark.parametrize("size", [3, np.int32(3), np.array(3), jnp.array(3), [3], (3,)])
def test_an_integer_is_a_shape_of_one_axis_as_for_jax(size, key):
    assert jinit.normal()(key, size).shape == (3,)
    assert jinit.jaxnn.zeros(key, size).shape == (3,)
    assert jinit.normal().law(size) is not None


def test_a_large_array_is_a_constant_and_a_value(key):
    table = np.random.default_rng(0).normal(size=(5000, 30)).astype("float32")
    init, again = jinit.constant(table), jinit.constant(table.copy())
    assert init == again
    assert hash(init) == hash(again)
    assert len(repr(init)) < 100
    np.testing.assert_array_equal(init(key, table.shape), table)
    table[0, 0] += 1  # which is the caller's
    assert jinit.constant(table) != init
    assert init.law(table.shape).std == pytest.approx(1, abs=0.02)


def test_minus_zero_is_another_constant_than_zero(key):
    for zero in (0.0, [0.0]):
        assert jinit.constant(np.negative(zero)) != jinit.constant(zero)
    tree = {"w": jax.ShapeDtypeStruct((1,), "float32")}
    for value in (0.0, -0.0):
        drawn = jinit.plan(tree, {"w": jinit.constant(value)}).init(key)["w"]
        assert np.signbit(drawn) == np.signbit(value)
