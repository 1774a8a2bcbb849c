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
        ((3, 3, 16, 8), {"transposed": True}, (72, 144)),  # from 8 channels to 16
        ((3, 3, 2, 8), {"transposed": True, "groups": 4}, (18, 18)),
        ((1000, 64), {"out_axis": 0}, (64, 1000)),  # the inputs are the other axis
        ((3, 1000, 64), {"out_axis": 1}, (192, 3000)),
        ((3, 1000, 64), {"out_axis": -2}, (192, 3000)),
        ((1000, 64), {"out_axis": (0,)}, (64, 1000)),
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


@given(shapes, sizes)
def test_a_transposed_kernel_exchanges_its_fans(shape, groups):
    *rest, outputs = shape
    kernel = (*rest, outputs * groups)
    for each in (1, groups):
        there = fans(kernel, groups=each)
        assert fans(kernel, groups=each, transposed=True) == there[::-1]


@pytest.mark.parametrize("out_axis", [1, -2, (1,)])
def test_an_initializer_has_the_fans_of_its_outputs_alone(out_axis, key):
    there, named = (
        jinit.lecun_normal(out_axis=out_axis),
        jinit.lecun_normal(in_axis=2, out_axis=1),
    )
    np.testing.assert_array_equal(there(key, (3, 5, 4)), named(key, (3, 5, 4)))


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        ("bi,io->bo", (64, 32), (64, 32)),
        ("btd,dhk->bthk", (64, 4, 16), (64, 64)),
        ("bthk,hkd->btd", (4, 16, 64), (64, 64)),
        ("ebd,edf->ebf", (8, 64, 32), (64, 32)),
        ("...d,df->...f", (64, 32), (64, 32)),
        ("b...d, dh -> b...h", (64, 32), (64, 32)),
        ("bd,d->b", (64,), (64, 1)),
        ("bd,df->bdf", (64, 32), (1, 32)),  # d is a batch of products
        ("b,kf->bf", (5, 32), (5, 32)),  # k is summed over the kernel alone
    ],
)
def test_the_fans_of_an_equation_are_those_of_its_sums(spec, shape, expected):
    assert fans(shape, **jinit.einsum_axes(spec)) == expected


@given(st.permutations("dhkxe"), st.data())
def test_the_variance_of_an_equation_is_the_number_of_terms_in_its_sums(letters, data):
    """With all ones for the weights each output is the sum of fan_in inputs of one."""
    size = dict(zip("dhkxe", (2, 3, 4, 5, 6), strict=True))
    split = data.draw(st.integers(1, 4))
    kernel, spare = letters[:split], letters[split:]
    shared = [i for i in kernel if data.draw(st.booleans())]
    outputs = [i for i in kernel if data.draw(st.booleans()) or i not in shared]
    inputs = ["b", *shared, *spare[:1]]
    spec = f"{''.join(inputs)},{''.join(kernel)}->b{''.join([*spare[:1], *outputs])}"
    size["b"] = 7
    shape = [size[i] for i in kernel]

    y = np.einsum(spec, np.ones([size[i] for i in inputs]), np.ones(shape))

    assert fans(shape, **jinit.einsum_axes(spec)).fan_in == y.flat[0]


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


def test_fans_of_any_size_are_averaged(key):
    init = jinit.kaiming_normal(
        mode="fan_geo_avg", nonlinearity=1e-200, fan_in=1e-200, fan_out=1e-200
    )
    np.testing.assert_array_equal(init(key, (3,)), np.zeros(3))


def test_axes_may_be_an_array():
    assert fans((3, 4, 5), in_axis=np.array([0, 1])) == (12, 5)


@pytest.mark.parametrize("mode", MODES)
def test_fans_given_as_numbers_serve_a_bias(mode, key):
    init = jinit.kaiming_normal(mode=mode, nonlinearity="linear", fan_in=12, fan_out=30)

    ratio = init(key, (7,)) / jinit.normal()(key, (7,))

    np.testing.assert_allclose(ratio, MODES[mode](12, 30) ** -0.5, rtol=1e-6)


INITIALIZERS = [
    *(jinit.zeros, jinit.ones(), jinit.constant(2), jinit.uniform(), jinit.normal()),
    *(jinit.trunc_normal(), jinit.truncated_normal(corrected=True)),
]
FAN_BASED = [
    *(jinit.xavier_uniform(), jinit.xavier_normal(), jinit.kaiming_uniform()),
    *(jinit.kaiming_normal(), jinit.orthogonal(), jinit.lecun_normal()),
    *(jinit.glorot_uniform(), jinit.spectral_orthogonal()),
]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=4).map(tuple))
@pytest.mark.parametrize("init", INITIALIZERS, ids=str)
def test_every_shape_comes_back_scalars_and_empty_ones_included(init, shape):
    w = init(jax.random.key(0), shape)

    assert w.shape == shape
    assert np.isfinite(w).all()


@settings(max_examples=8, deadline=None)
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
        (jinit.spectral_orthogonal(), (0, 4)),
        (jinit.delta_orthogonal(), (3, 0, 4)),
        (jinit.convolution_orthogonal(), (0, 2, 4)),
        (jinit.variance_scaling(1.0, "fan_geo_avg", "uniform"), (0, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_empty_shapes_give_empty_arrays(init, shape, dtype, key):
    w = init(key, shape, dtype)

    assert w.shape == shape
    assert w.dtype == dtype
