"""Stacks and blocks are so many single draws; mirrored kernels are linear networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinit


def custom(key, shape, dtype):
    """An initializer of the user's own."""
    return jax.random.gumbel(key, shape, dtype)


EXACT = [
    *(jinit.normal(std=0.02), jinit.uniform(a=-1.0), jinit.trunc_normal(a=3.0, b=4.0)),
    *(jinit.xavier_uniform(), jinit.sparse(0.5), jinit.eye(), jinit.constant(0.5)),
    jinit.stack(jinit.normal(), 1),
]
ROUNDED = [jinit.orthogonal(), jinit.spectral_orthogonal()]
CASES = [(0, "threefry2x32"), (-1, "threefry2x32"), (1, "rbg"), (0, "unsafe_rbg")]
exact = pytest.mark.parametrize("init", EXACT, ids=str)


def singles(init, key, n, shape):
    return [init(k, shape, jnp.float32) for k in jax.random.split(key, n)]


@pytest.mark.parametrize(("axis", "implementation"), CASES)
@exact
def test_a_stack_is_so_many_draws_from_the_split_keys(init, axis, implementation):
    key = jax.random.key(4, impl=implementation)
    shape = [4, 4]
    shape.insert(axis if axis >= 0 else 2, 3)

    w = jinit.stack(init, axis)(key, shape)

    np.testing.assert_array_equal(w, np.stack(singles(init, key, 3, (4, 4)), axis))


@pytest.mark.parametrize(("axis", "implementation"), CASES)
@exact
def test_blocks_are_so_many_draws_from_the_split_keys(init, axis, implementation):
    key = jax.random.key(5, impl=implementation)
    shape = (12, 4) if axis == 0 else (4, 12)

    w = jinit.blocks(init, 3, axis)(key, shape)

    each = singles(init, key, 3, (4, 4))
    np.testing.assert_array_equal(w, np.concatenate(each, axis))


@pytest.mark.slow
@pytest.mark.parametrize("init", ROUNDED, ids=str)
def test_orthogonal_kernels_are_the_same_up_to_rounding(init, key):
    w = jinit.stack(init)(key, (3, 8, 6))
    np.testing.assert_allclose(w, singles(init, key, 3, (8, 6)), atol=1e-6)
    w = jinit.blocks(init, 3)(key, (8, 18))
    each = np.concatenate(singles(init, key, 3, (8, 6)), 1)
    np.testing.assert_allclose(w, each, atol=1e-6)


def test_every_block_is_orthogonal_by_itself(key):
    w = np.asarray(jinit.blocks(jinit.orthogonal(), 4)(key, (16, 64)))
    for gate in np.split(w, 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(16), atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("init", [custom, jax.nn.initializers.he_normal()])
def test_any_function_of_key_shape_and_dtype_is_stacked(init, key):
    w = jinit.stack(init)(key, (3, 5, 4))
    np.testing.assert_array_equal(w, singles(init, key, 3, (5, 4)))


def test_an_initializer_that_does_not_hash_is_stacked(key):
    class Unhashable:
        __hash__ = None

        def __call__(self, key, shape, dtype):
            return jax.random.normal(key, shape, dtype)

    w = jinit.stack(Unhashable())(key, (3, 4))
    np.testing.assert_array_equal(w, singles(Unhashable(), key, 3, (4,)))


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_stack_of_any_shape_is_split_and_joined_right(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    within = shape.copy()
    n = within.pop(axis)
    key = jax.random.key(0)

    w = jinit.stack(jinit.normal(), axis)(key, shape)

    each = singles(jinit.normal(), key, n, within)
    np.testing.assert_array_equal(w, np.stack(each, axis))


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_blocks_of_any_shape_are_split_and_joined_right(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = data.draw(st.integers(1, 3))
    whole = shape.copy()
    whole[axis] *= n
    key = jax.random.key(0)

    w = jinit.blocks(jinit.normal(), n, axis)(key, whole)

    each = singles(jinit.normal(), key, n, shape)
    np.testing.assert_array_equal(w, np.concatenate(each, axis))


@pytest.mark.slow
def test_the_fans_are_those_of_one_kernel(key):
    """The ratio to standard normals of the same keys is the standard deviation."""
    std = 24**-0.5
    init, normal = jinit.kaiming_normal(nonlinearity="linear"), jinit.normal()
    for combine, shape in [
        (jinit.stack, (5, 24, 7)),
        (lambda init: jinit.blocks(init, 5), (24, 35)),
        (lambda init: jinit.blocks(init, 5, 0), (120, 7)),
    ]:
        ratio = combine(init)(key, shape) / combine(normal)(key, shape)
        np.testing.assert_allclose(ratio, std, rtol=1e-6)


def test_deterministic_kernels_need_no_key_and_keep_their_dtypes():
    w = jinit.stack(jinit.eye())(None, (2, 3, 3), "int32")
    np.testing.assert_array_equal(w, [np.eye(3)] * 2)
    w = jinit.blocks(jinit.zeros, 2)(None, (4,), bool)
    assert w.dtype == bool


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "complex64"])
def test_a_stack_is_drawn_in_every_dtype(dtype, key):
    w = jinit.stack(jinit.normal())(key, (2, 3), dtype)
    each = [jinit.normal()(k, (3,), dtype) for k in jax.random.split(key)]
    assert w.dtype == dtype
    np.testing.assert_array_equal(w, np.stack(each))


@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (jinit.stack(jinit.normal()), (0, 3)),
        (jinit.stack(jinit.lecun_normal()), (3, 0, 2)),
        (jinit.blocks(jinit.lecun_normal(), 3), (2, 0)),
        (jinit.looks_linear(), (0, 4)),
    ],
)
def test_empty_arrays_stay_empty(init, shape, key):
    assert init(key, shape).shape == shape


@pytest.mark.slow
def test_options_within_may_be_traced(key):
    def draw(std):
        init = jinit.normal(std=std)
        return jinit.blocks(jinit.stack(init, 1), 2)(key, (4, 3, 2))

    swept = jax.vmap(draw)(jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(swept, [draw(0.5), draw(2.0)])


def test_a_mirrored_network_of_crelus_is_an_isometry_at_any_depth(key):
    x = x0 = jnp.ones(16)
    for k in jax.random.split(key, 30):
        w = jinit.looks_linear()(k, (32, 16))
        x = jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)]) @ w
    np.testing.assert_allclose(jnp.linalg.norm(x), jnp.linalg.norm(x0), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_mirrored_kernels_have_their_form(dtype, key):
    init, n = jinit.lecun_normal(), 4

    def mirrored(mirror, shape):
        return np.asarray(jinit.looks_linear(init, mirror=mirror)(key, shape, dtype))

    w = np.asarray(init(key, (n, n), dtype))
    np.testing.assert_array_equal(mirrored("inputs", (8, 4)), np.block([[w], [-w]]))
    np.testing.assert_array_equal(mirrored("outputs", (4, 8)), np.block([[w, -w]]))
    both = np.block([[w, -w], [-w, w]])
    np.testing.assert_array_equal(mirrored("both", (8, 8)), both)


_FAR = [(0.9, jinit.normal(mean=-0.1, std=0.05)), (0.1, jinit.constant(0.9))]


@pytest.mark.parametrize(
    "init",
    [jinit.uniform(), jinit.normal(mean=0.5), jinit.distributions.mixture(_FAR)],
)
def test_half_of_a_mirrored_skewed_law_is_that_of_the_negatives(init):
    law, mirrored = init.law(()), jinit.looks_linear(init).law((2, 1))
    x = np.linspace(-1.03, 1.03, 8)
    expected = (law.cdf(x) + 1 - law.cdf(-x)) / 2  # P(w <= x or -w <= x), by halves
    np.testing.assert_allclose(mirrored.cdf(x), expected, atol=1e-12)
    assert mirrored.std == pytest.approx(np.hypot(law.std, law.mean))


@pytest.mark.parametrize("mirror", ["inputs", "outputs", "both"])
def test_a_mirrored_kernel_in_the_torch_layout_is_the_transposed_one(mirror, key):
    flax = jinit.looks_linear(mirror=mirror)(key, (3, 8, 12))
    torch = jinit.looks_linear(mirror=mirror, in_axis=1, out_axis=0)(key, (12, 8, 3))
    np.testing.assert_array_equal(torch, np.transpose(flax, (2, 1, 0)))


@pytest.mark.slow
def test_a_dtype_of_its_own_holds_through_a_combinator(key):
    init = jinit.with_dtype(jinit.normal(), "bfloat16")
    for whole in (jinit.stack(init), jinit.blocks(init, 2), jinit.looks_linear(init)):
        assert whole(key, (4, 4)).dtype == "bfloat16"
        assert whole(key, (4, 4), "float32").dtype == "float32"


def test_with_dtype_holds_where_the_call_names_none(key):
    init = jinit.with_dtype(jinit.normal(), "float16")
    assert init(key, (3,)).dtype == "float16"
    assert init(key, (3,), "float32").dtype == "float32"
    np.testing.assert_array_equal(init(key, (3,)), jinit.normal()(key, (3,), "float16"))
    assert jinit.with_dtype(jinit.normal(), float)(key, (3,)).dtype == "float32"
