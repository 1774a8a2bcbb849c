"""Convolutions that are isometries, seen by their operator in the frequency domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_mean, check_std
from jax import lax

import jinit

KERNELS = [(3, 8, 16), (4, 5, 5), (3, 3, 8, 16), (5, 2, 6, 6), (2, 3, 3, 4, 8)]
BOTH = [jinit.delta_orthogonal, jinit.convolution_orthogonal]
both = pytest.mark.parametrize("factory", BOTH)


def operator(kernel, size=12):
    """The matrix that acts on each frequency of a periodic signal: (..., in, out)."""
    spatial = tuple(range(kernel.ndim - 2))
    sizes = (size,) * len(spatial)
    return np.fft.fftn(as_double(kernel), s=sizes, axes=spatial)


def singular_values(kernel):
    return np.linalg.svd(operator(kernel), compute_uv=False)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, "float32") for shape in KERNELS), (KERNELS[2], "complex64")],
    ids=str,
)
@both
def test_every_frequency_keeps_its_norm(factory, shape, dtype, key):
    w = factory()(key, shape, dtype)

    assert w.shape == shape
    assert w.dtype == dtype
    np.testing.assert_allclose(singular_values(w), 1, atol=1e-5)


@both
def test_a_flattened_orthogonal_kernel_does_not(factory, key):
    shape = (3, 3, 8, 16)
    flattened = singular_values(jinit.orthogonal()(key, shape))
    assert flattened.max() / flattened.min() > 3
    assert np.ptp(singular_values(factory()(key, shape))) < 1e-5


@both
def test_double_precision_is_used_where_asked_for(factory, x64):
    w = factory()(jax.random.key(0), (3, 3, 4, 6), "float64")
    np.testing.assert_allclose(singular_values(w), 1, atol=1e-13)


@pytest.mark.parametrize(("dtype", "atol"), [("bfloat16", 5e-3), ("float16", 1e-3)])
@both
def test_half_precision_keeps_the_singular_values(factory, dtype, atol, key):
    w = factory()(key, (3, 3, 16, 32), dtype)
    assert w.dtype == dtype
    np.testing.assert_allclose(singular_values(w), 1, atol=atol)


@both
def test_gain_is_the_singular_value(factory, key):
    w = factory(gain="relu")(key, (3, 4, 6))
    np.testing.assert_allclose(singular_values(w), 2**0.5, rtol=1e-5)


@both
def test_the_torch_layout_is_the_transposed_kernel(factory, key):
    flax = factory()(key, (3, 5, 4, 6))
    torch = factory(in_axis=1, out_axis=0)(key, (6, 4, 3, 5))
    np.testing.assert_array_equal(torch, np.transpose(flax, (3, 2, 0, 1)))


@pytest.mark.slow
@both
def test_a_convolution_keeps_the_norm_of_the_signal(factory, key):
    x = jax.random.normal(key, (1, 9, 9, 4))
    w = factory()(jax.random.key(1), (3, 3, 4, 8))
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="wrap")
    dims = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(padded, w, (1, 1), "VALID", dimension_numbers=dims)
    norms = jnp.linalg.norm(y.ravel()), jnp.linalg.norm(x.ravel())
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_the_only_tap_of_a_delta_is_in_the_middle(key):
    w = as_double(jinit.delta_orthogonal()(key, (3, 4, 1, 2, 5)))
    assert np.argwhere(w.any(axis=(-2, -1))).tolist() == [[1, 1, 0]]
    np.testing.assert_allclose(w[1, 1, 0] @ w[1, 1, 0].T, np.eye(2), atol=2e-6)


@pytest.mark.parametrize("shape", [s for s in KERNELS if s[0] > 1], ids=str)
def test_a_convolution_orthogonal_kernel_uses_all_its_taps(shape, key):
    w = as_double(jinit.convolution_orthogonal()(key, shape))
    assert (np.linalg.norm(w, axis=(-2, -1)) > 0.01).all()


def test_a_kernel_of_one_tap_is_an_orthogonal_matrix(key):
    w = jinit.convolution_orthogonal()(key, (1, 1, 4, 6))[0, 0]
    np.testing.assert_allclose(w @ w.T, np.eye(4), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_the_sum_of_the_taps_has_the_moments_of_haar_measure(dtype):
    """At frequency zero the operator is the orthogonal matrix that it began with."""
    keys = jax.random.split(jax.random.key(2), 20_000)
    init = jinit.convolution_orthogonal()
    w = jax.jit(jax.vmap(lambda k: init(k, (3, 4, 4), dtype)))(keys)
    trace = np.trace(as_double(w).sum(axis=1), axis1=1, axis2=2)
    check_mean(trace.real, 0, 1 if dtype == "float32" else 0.5**0.5)
    check_std(trace, 1, kurtosis=3 if dtype == "float32" else 2)


@pytest.mark.slow
def test_every_projection_keeps_half_of_the_channels_on_average():
    """The first of two taps is Q P: its squared norm is the rank of P."""
    keys = jax.random.split(jax.random.key(3), 5_000)
    init = jinit.convolution_orthogonal()
    w = as_double(jax.jit(jax.vmap(lambda k: init(k, (2, 8, 8))))(keys))
    rank = (w[:, 0] ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(rank, np.round(rank), atol=1e-4)
    # Binomial: variance n/4, and kurtosis 3 - 2/n.
    check_mean(rank, 4, 2**0.5)
    check_std(rank, 2**0.5, kurtosis=3 - 2 / 8, mean=4)
