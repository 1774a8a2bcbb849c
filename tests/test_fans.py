"""Fans are integer algebra: its laws hold for every shape."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jinit
from jinit import Fans, fans

sizes = st.integers(1, 6)
shapes = st.lists(sizes, min_size=2, max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((784, 256), {}, (784, 256)),
        ((3, 3, 64, 128), {}, (576, 1152)),
        ((128, 64, 3, 3), {"in_axis": 1, "out_axis": 0}, (576, 1152)),
        ((3, 3, 1, 64), {"groups": 64}, (9, 9)),  # depthwise
        ((64, 4, 16), {"in_axis": 0, "out_axis": (1, 2)}, (64, 64)),  # queries
        ((4, 16, 64), {"in_axis": (0, 1), "out_axis": 2}, (64, 64)),  # their output
        ((8, 64, 32), {"batch_axis": 0}, (64, 32)),  # experts
        ((0, 4), {}, (0, 4)),
    ],
)
def test_fans_of_known_layers(shape, options, expected):
    assert fans(shape, **options) == Fans(*expected)


@given(shapes)
def test_fans_are_those_of_the_definition(shape):
    *spatial, inputs, outputs = shape
    field = math.prod(spatial)

    assert fans(shape) == (inputs * field, outputs * field)


@given(shapes, st.randoms())
def test_fans_follow_their_axes_through_a_transposition(shape, random):
    order = list(range(len(shape)))
    random.shuffle(order)
    transposed = tuple(shape[axis] for axis in order)

    axes = {
        "in_axis": order.index(len(shape) - 2),
        "out_axis": order.index(len(shape) - 1),
    }
    assert fans(transposed, **axes) == fans(shape)


@given(shapes, sizes)
def test_a_stack_has_the_fans_of_its_layers(shape, count):
    assert fans((count, *shape), batch_axis=0) == fans(shape)


@given(shapes, sizes)
def test_groups_divide_the_outputs_that_an_input_feeds(shape, groups):
    *rest, outputs = shape

    grouped = fans((*rest, outputs * groups), groups=groups)

    assert grouped == fans(shape)


@given(shapes, st.integers(-9, 9))
def test_an_axis_is_found_from_either_end_or_refused(shape, axis):
    rank = len(shape)
    if not -rank <= axis < rank or axis % rank == rank - 1:
        with pytest.raises(ValueError, match="axis"):
            fans(shape, in_axis=axis)
    else:
        assert fans(shape, in_axis=axis) == fans(shape, in_axis=axis % rank)


MODES = {
    "fan_in": lambda i, o: i,
    "fan_out": lambda i, o: o,
    "fan_avg": lambda i, o: (i + o) / 2,
    "fan_geo_avg": lambda i, o: (i * o) ** 0.5,
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_average_the_fans(mode, key):
    init = jinit.kaiming_normal(mode=mode, nonlinearity="linear")

    ratio = init(key, (3, 4, 10)) / jinit.normal()(key, (3, 4, 10))

    expected = MODES[mode](12, 30) ** -0.5
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_fans_given_as_numbers_serve_a_bias(mode, key):
    init = jinit.kaiming_normal(mode=mode, nonlinearity="linear", fan_in=12, fan_out=30)

    ratio = init(key, (7,)) / jinit.normal()(key, (7,))

    np.testing.assert_allclose(ratio, MODES[mode](12, 30) ** -0.5, rtol=1e-6)


INITIALIZERS = [
    *(jinit.zeros, jinit.ones(), jinit.constant(2), jinit.uniform(), jinit.normal()),
    jinit.trunc_normal(),
]
FAN_BASED = [
    *(jinit.xavier_uniform(), jinit.xavier_normal(), jinit.kaiming_uniform()),
    *(jinit.kaiming_normal(), jinit.orthogonal()),
]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=4).map(tuple))
@pytest.mark.parametrize("init", INITIALIZERS, ids=str)
def test_every_shape_comes_back_scalars_and_empty_ones_included(init, shape):
    w = init(jax.random.key(0), shape)

    assert w.shape == shape
    assert np.isfinite(w).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4).map(tuple))
@pytest.mark.parametrize("init", FAN_BASED, ids=str)
def test_every_kernel_comes_back_empty_ones_included(init, shape):
    w = init(jax.random.key(0), shape)

    assert w.shape == shape
    assert np.isfinite(w).all()


@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (jinit.eye(), (0, 3)),
        (jinit.dirac(), (0, 2, 2)),
        (jinit.sparse(0.5), (3, 0)),
        (jinit.constant([1, 2]), (0, 2)),
        (jinit.orthogonal(), (4, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_empty_shapes_give_empty_arrays(init, shape, dtype, key):
    w = init(key, shape, dtype)

    assert w.shape == shape
    assert w.dtype == dtype
