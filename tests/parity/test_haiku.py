"""Beside Haiku itself: the same distributions, by the calls that the README names."""

import inspect
import os

import jax
import numpy as np
import pytest
from helpers import as_double, check_mean, check_same_distribution, check_std

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import haiku
else:
    haiku = pytest.importorskip("haiku")

hk = haiku.initializers

DENSE, CONV, STACK = (300, 400), (3, 3, 96, 128), (40, 60, 50)
VECTOR = (100_000,)
MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


def draw_haiku(init, shape, dtype="float32", seed=1, draws=None):
    """What Haiku draws, once or stacked; it promotes dtypes and ranks silently."""
    transformed = haiku.transform(lambda: init(shape, dtype))
    key = jax.random.key(seed)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        if draws is None:
            return as_double(transformed.apply({}, key))
        keys = jax.random.split(key, draws)
        return as_double(jax.vmap(lambda key: transformed.apply({}, key))(keys))


def draw_jinit(init, shape, dtype="float32", seed=2, draws=None):
    """What jinit draws, once or stacked."""
    key = jax.random.key(seed)
    if draws is None:
        return as_double(init(key, shape, dtype))
    keys = jax.random.split(key, draws)
    return as_double(jax.vmap(lambda key: init(key, shape, dtype))(keys))


def named(cases):
    return [pytest.param(*case, id=name) for name, case in cases.items()]


PLAIN = {
    "RandomNormal": (hk.RandomNormal(), jinit.normal(), DENSE),
    "RandomNormal with mean": (
        hk.RandomNormal(0.02, 0.1),
        jinit.normal(mean=0.1, std=0.02),
        DENSE,
    ),
    "RandomUniform": (hk.RandomUniform(), jinit.uniform(), DENSE),
    "RandomUniform with bounds": (
        hk.RandomUniform(-0.3, 0.1),
        jinit.uniform(a=-0.3, b=0.1),
        DENSE,
    ),
    "TruncatedNormal": (hk.TruncatedNormal(), jinit.truncated_normal(), DENSE),
    "TruncatedNormal with mean": (
        hk.TruncatedNormal(0.02, 0.1),
        jinit.truncated_normal(mean=0.1, std=0.02),
        DENSE,
    ),
    "TruncatedNormal with bounds": (
        hk.TruncatedNormal(0.5, -1.0, -1.0, 3.0),
        jinit.truncated_normal(mean=-1.0, std=0.5, lower=-1.0, upper=3.0),
        DENSE,
    ),
    "UniformScaling of a matrix": (
        hk.UniformScaling(),
        jinit.variance_scaling(1.0, "fan_in", "uniform"),
        DENSE,
    ),
    "UniformScaling of a convolution": (
        hk.UniformScaling(1.43),
        jinit.variance_scaling(1.43**2, "fan_in", "uniform"),
        CONV,
    ),
}
SCALED = {
    f"VarianceScaling by {mode}, {distribution}, of {name}": (
        hk.VarianceScaling(scale, mode, distribution),
        jinit.variance_scaling(scale, mode, distribution),
        shape,
    )
    for mode in MODES
    for distribution in DISTRIBUTIONS
    for name, scale, shape in [
        ("a matrix", 1.0, DENSE),
        ("a convolution", 0.3, CONV),
    ]
}
DEFAULTS = {
    "VarianceScaling by default": (
        hk.VarianceScaling(),
        jinit.variance_scaling(1.0, "fan_in", "truncated_normal"),
        DENSE,
    ),
}
AXES = {
    f"VarianceScaling by {mode} of a stack, inputs {ins}": (
        hk.VarianceScaling(2.0, mode, "truncated_normal", ins),
        jinit.variance_scaling(
            2.0, mode, "truncated_normal", in_axis=ins, out_axis=outs
        ),
        STACK,
    )
    for mode in MODES
    for ins, outs in [((0, 1), (2,)), ((0,), (1, 2)), ((1,), (0, 2))]
}
IGNORED_AXES = {
    "VarianceScaling of a matrix, whatever its axes": (
        hk.VarianceScaling(1.0, "fan_in", "uniform", (1,)),
        jinit.variance_scaling(1.0, "fan_in", "uniform"),
        DENSE,
    ),
}
VECTORS = {
    f"VarianceScaling by {mode} of a vector": (
        hk.VarianceScaling(2.0, mode),
        jinit.variance_scaling(
            2.0, mode, "truncated_normal", fan_in=VECTOR[0], fan_out=VECTOR[0]
        ),
        VECTOR,
    )
    for mode in MODES
}
NAMES = {
    name: (hk.VarianceScaling(*options), getattr(jinit, name)(), shape)
    for name, options, shape in [
        ("glorot_uniform", (1, "fan_avg", "uniform"), DENSE),
        ("glorot_normal", (1, "fan_avg", "truncated_normal"), CONV),
        ("lecun_uniform", (1, "fan_in", "uniform"), CONV),
        ("lecun_normal", (1, "fan_in", "truncated_normal"), DENSE),
        ("he_uniform", (2, "fan_in", "uniform"), DENSE),
        ("he_normal", (2, "fan_in", "truncated_normal"), CONV),
    ]
}
RANDOM = PLAIN | SCALED | DEFAULTS | AXES | IGNORED_AXES | VECTORS | NAMES


@pytest.mark.parametrize(("theirs", "ours", "shape"), named(RANDOM))
def test_distribution_is_that_of_haiku(theirs, ours, shape):
    check_same_distribution(draw_jinit(ours, shape), draw_haiku(theirs, shape))


# Haiku truncates a complex number part by part, each with the std that was given.
COMPLEX = {
    "RandomNormal": (hk.RandomNormal(0.5), jinit.normal(std=0.5)),
    "TruncatedNormal": (
        hk.TruncatedNormal(0.5),
        jinit.truncated_normal(std=2**0.5 * 0.5),
    ),
}
PARTS = {"real": np.real, "imag": np.imag, "abs": abs}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("theirs", "ours"), named(COMPLEX))
def test_complex_distribution_is_that_of_haiku(theirs, ours, part):
    x, y = draw_jinit(ours, DENSE, "complex64"), draw_haiku(theirs, DENSE, "complex64")
    check_same_distribution(PARTS[part](x), PARTS[part](y))


ARRAY = np.array([[0.1], [-2.5]])
DETERMINISTIC = {
    "zeros": (hk.Constant(0), jinit.zeros(), (3, 4)),
    "ones": (hk.Constant(1), jinit.ones(), (3, 4)),
    "Constant": (hk.Constant(0.1), jinit.constant(0.1), (3, 4)),
    "Constant of an array": (hk.Constant(ARRAY), jinit.constant(ARRAY), (3, 2, 5)),
    "Identity": (hk.Identity(), jinit.eye(), (4, 4)),
    "Identity of a wide matrix": (hk.Identity(0.3), jinit.eye(gain=0.3), (3, 5)),
    "Identity of a tall matrix": (hk.Identity(-2.0), jinit.eye(gain=-2.0), (5, 3)),
    "Identity of a stack": (
        hk.Identity(0.3),
        jinit.eye(gain=0.3, batch_axis=0),
        (2, 3, 5),
    ),
    "Identity of stacks": (
        hk.Identity(0.3),
        jinit.eye(gain=0.3, batch_axis=(0, 1)),
        (2, 7, 4, 3),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize(("theirs", "ours", "shape"), named(DETERMINISTIC))
def test_deterministic_values_are_those_of_haiku(theirs, ours, shape, dtype):
    ours, theirs = draw_jinit(ours, shape, dtype), draw_haiku(theirs, shape, dtype)
    np.testing.assert_array_equal(ours, theirs)


# Where the axis of the outputs is longer than all others together, and where not.
ORTHOGONAL = [
    *(((3, 7), axis) for axis in (0, -1)),
    *(((13, 2, 5), axis) for axis in (0, 1, 2)),
    *(((3, 3, 4, 5), axis) for axis in (0, -1)),
]


@pytest.mark.parametrize("library", ["jinit", "haiku"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [pytest.param(*case, id=f"{case[0]}, axis {case[1]}") for case in ORTHOGONAL],
)
def test_orthogonal_has_one_singular_value(shape, axis, library):
    if library == "jinit":
        kernel = draw_jinit(jinit.orthogonal(gain=2.0, out_axis=axis), shape)
    else:
        kernel = draw_haiku(hk.Orthogonal(2.0, axis), shape)
    matrix = np.moveaxis(kernel, axis, 0).reshape(shape[axis], -1)
    singular_values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(singular_values, 2.0, rtol=1e-5)


DRAWS = 10_000


def traces(shape, axis):
    """Of the leading squares of many matrices, drawn by either library."""
    kernels = {
        "jinit": draw_jinit(jinit.orthogonal(out_axis=axis), shape, draws=DRAWS),
        "haiku": draw_haiku(hk.Orthogonal(axis=axis), shape, draws=DRAWS),
    }
    return {name: np.trace(k, axis1=1, axis2=2) for name, k in kernels.items()}


@pytest.fixture(scope="module")
def square_traces():
    return traces((6, 6), -1)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["jinit", "haiku"])
def test_trace_of_an_orthogonal_matrix_has_mean_zero_and_std_one(
    square_traces, library
):
    # Diaconis and Shahshahani (1994): its moments are those of a normal distribution.
    check_mean(square_traces[library], 0, 1)
    check_std(square_traces[library], 1)


def test_trace_of_an_orthogonal_matrix_is_distributed_as_in_haiku(square_traces):
    check_same_distribution(square_traces["jinit"], square_traces["haiku"])


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, -1])
def test_trace_within_a_tall_matrix_is_distributed_as_in_haiku(axis):
    both = traces((6, 4), axis)
    check_same_distribution(both["jinit"], both["haiku"])


def test_every_initializer_of_haiku_has_a_counterpart():
    classes = [each for each in vars(hk).values() if inspect.isclass(each)]
    tested = {type(case[0]) for case in [*RANDOM.values(), *DETERMINISTIC.values()]}
    assert set(classes) - {hk.Initializer} == tested | {hk.Orthogonal}


def test_a_model_of_haiku_is_initialized_as_by_jit():
    def network(x):
        init = haiku.initializers.VarianceScaling(2.0)
        return haiku.Sequential(
            [haiku.Linear(5), jax.nn.relu, haiku.Linear(3, w_init=init)]
        )(x)

    init, x = haiku.transform(network).init, np.ones((2, 4), np.float32)
    ours = jinit.jit_init(init)(jax.random.PRNGKey(0), x)
    theirs = jax.jit(init)(jax.random.PRNGKey(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_haiku_takes_an_initializer_and_gives_it_the_key_of_its_own():
    def model(w_init, b_init):
        def call(x):
            x = haiku.Linear(8, w_init=w_init, b_init=b_init)(x)
            return haiku.Linear(4, w_init=w_init, b_init=b_init)(x)

        return haiku.transform(call).init(jax.random.key(0), np.ones((1, 16), "f4"))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours = model(jinit.haiku(jinit.normal(std=0.5)), jinit.haiku(jinit.zeros))
        theirs = model(hk.RandomNormal(0.5), hk.Constant(0.0))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
