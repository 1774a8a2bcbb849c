"""The standard deviation that an initializer expects is that of what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_std
from scipy import stats

import jinit

BATCHED = {"in_axis": 1, "out_axis": 2, "batch_axis": 0}

# Initializer, shape, kurtosis (3 bounds that of a truncated normal) and mean.
INDEPENDENT = [
    (jinit.uniform(a=-1.0, b=3.0), (300, 200), 1.8, 1.0),
    (jinit.normal(mean=0.5, std=0.02), (300, 200), 3.0, 0.5),
    (jinit.trunc_normal(std=0.5, a=-0.5, b=0.5), (300, 200), 3.0, 0.0),
    (
        jinit.trunc_normal(a=1.0, b=4.0),
        (300, 200),
        6.0,
        stats.truncnorm(1, 4).mean(),
    ),
    (jinit.truncated_normal(std=0.1), (300, 200), 3.0, 0.0),
    (jinit.truncated_normal(std=0.1, corrected=True), (300, 200), 3.0, 0.0),
    (jinit.xavier_uniform(gain="relu"), (3, 3, 40, 50), 1.8, 0.0),
    (jinit.xavier_normal(**BATCHED), (4, 100, 150), 3.0, 0.0),
    (jinit.kaiming_uniform(a=5**0.5), (3, 3, 40, 50), 1.8, 0.0),
    (jinit.kaiming_normal(mode="fan_out", groups=5), (3, 3, 40, 50), 3.0, 0.0),
    (jinit.kaiming_uniform(fan_in=784, nonlinearity="tanh"), (20000,), 1.8, 0.0),
    (jinit.lecun_uniform(in_axis=1, out_axis=0), (100, 300), 1.8, 0.0),
    (jinit.lecun_normal(**jinit.einsum_axes("btd,dhk->bthk")), (64, 8, 60), 3.0, 0.0),
    (jinit.glorot_normal(transposed=True, gain="gelu"), (3, 40, 200), 3.0, 0.0),
    (jinit.he_normal(), (300, 100), 3.0, 0.0),
    (jinit.variance_scaling(3.0, "fan_geo_avg", "uniform"), (300, 100), 1.8, 0.0),
    (jinit.stack(jinit.lecun_normal(), axis=1), (100, 4, 80), 3.0, 0.0),
    (jinit.blocks(jinit.glorot_uniform(), 3), (100, 300), 1.8, 0.0),
    (jinit.with_dtype(jinit.he_uniform(), "bfloat16"), (300, 100), 1.8, 0.0),
]


@pytest.mark.parametrize(
    ("init", "shape", "kurtosis", "mean"),
    INDEPENDENT,
    ids=[str(c[0]) for c in INDEPENDENT],
)
def test_weights_have_the_deviation_expected(init, shape, kurtosis, mean, key):
    check_std(init(key, shape), init.expected_std(shape), kurtosis, mean)


# The squares of the weights of an isometry sum to the same for every key.
@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (jinit.orthogonal(gain=2.0), (8, 20)),
        (jinit.orthogonal(), (3, 3, 4, 8)),
        (jinit.orthogonal(**BATCHED), (5, 6, 4)),
        (jinit.scaled_orthogonal(gain="relu"), (8, 20)),
        (jinit.scaled_orthogonal(), (20, 8)),
        (jinit.spectral_orthogonal(), (20, 8)),
        (jinit.delta_orthogonal(gain=3.0), (3, 3, 4, 8)),
        (jinit.convolution_orthogonal(), (2, 4, 8)),
        (jinit.stack(jinit.orthogonal()), (5, 8, 4)),
        (jinit.blocks(jinit.orthogonal(), 4), (8, 32)),
    ],
    ids=str,
)
def test_isometries_have_exactly_the_deviation_expected(init, shape, key):
    w = as_double(init(key, shape))

    assert np.mean(w**2) ** 0.5 == pytest.approx(init.expected_std(shape), rel=1e-5)


@pytest.mark.parametrize(
    "init", [jinit.zeros(), jinit.ones(), jinit.constant(0.5), jinit.normal(std=0.0)]
)
def test_constants_do_not_deviate(init):
    assert init.expected_std((3, 4)) == 0


@pytest.mark.parametrize(
    "init",
    [
        *(jinit.eye(), jinit.sparse(0.5), jinit.constant((0, 1))),
        jinit.looks_linear(jinit.uniform()),
        jinit.stack(jax.nn.initializers.zeros),
    ],
    ids=range(5),
)
def test_a_deviation_that_is_not_known_is_none(init):
    assert init.expected_std((4, 2)) is None


def test_an_empty_kernel_has_no_deviation():
    assert jinit.lecun_normal().expected_std((0, 4)) is None


def test_a_traced_option_has_no_deviation_yet():
    def draw(std):
        assert jinit.stack(jinit.normal(std=std)).expected_std((2, 3)) is None
        return jnp.zeros(())

    jax.eval_shape(draw, 1.0)


def test_the_deviation_is_a_python_float():
    for init, shape, *_ in INDEPENDENT:
        assert type(init.expected_std(shape)) is float


@pytest.mark.parametrize(
    ("init", "shape", "error", "message"),
    [
        (jinit.lecun_normal(), (3,), ValueError, "has no axis -2"),
        (jinit.orthogonal(), (3,), ValueError, "needs an axis of inputs"),
        (jinit.blocks(jinit.normal(), 3), (4, 4), ValueError, "n must divide"),
        (jinit.normal(), 3, TypeError, "shape must be a sequence"),
    ],
    ids=str,
)
def test_a_shape_that_does_not_fit_is_refused(init, shape, error, message):
    with pytest.raises(error, match=message):
        init.expected_std(shape)
