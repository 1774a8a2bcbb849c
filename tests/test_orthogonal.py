import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_mean, check_std

import jinit


def gram(m):
    """The smaller of MᴴM and MMᴴ, in double precision."""
    m = as_double(m)
    return m.conj().T @ m if m.shape[0] >= m.shape[1] else m @ m.conj().T


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 5), (7, 3), (3, 7), (1, 9), (9, 1), (600, 600), (1100, 1030)]
)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_matrices_are_semi_orthogonal_both_ways(shape, dtype, key):
    w = jinit.orthogonal()(key, shape, dtype)

    assert w.shape == shape
    assert w.dtype == dtype
    np.testing.assert_allclose(gram(w), np.eye(min(shape)), atol=5e-6)


@pytest.mark.slow
def test_a_large_matrix_is_as_orthogonal(key):
    w = jinit.orthogonal()(key, (2048, 2048))
    np.testing.assert_allclose(gram(w), np.eye(2048), atol=5e-6)


@pytest.mark.parametrize("shape", [(6, 24), (24, 6), (3, 2, 24), (5, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_factors_for_the_shape_are_those_of_the_definitions(shape, dtype, key):
    rows, columns = math.prod(shape[:-1]), shape[-1]
    for init, expected in [
        (jinit.scaled_orthogonal(gain=0.5), 0.5 * max(1, (columns / rows) ** 0.5)),
        (jinit.spectral_orthogonal(gain=0.5), 0.5 * (columns / rows) ** 0.5),
    ]:
        w = as_double(init(key, shape, dtype)).reshape(rows, columns)
        singular_values = np.linalg.svd(w, compute_uv=False)
        rtol = 5e-3 if dtype == "bfloat16" else 1e-5
        np.testing.assert_allclose(singular_values, expected, rtol=rtol)


def test_a_scaled_orthogonal_layer_keeps_the_size_of_each_output(key):
    x = jnp.ones((16,))
    y = x @ jinit.scaled_orthogonal()(key, (16, 256))
    np.testing.assert_allclose(jnp.mean(y**2), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (32, 32)], ids=str)
def test_a_spectral_layer_has_outputs_of_root_mean_square_one_at_most(shape, key):
    w = as_double(jinit.spectral_orthogonal()(key, shape))
    y = w.T @ np.ones(shape[0])
    if shape[0] <= shape[1]:
        np.testing.assert_allclose(np.mean(y**2), 1, rtol=1e-5)
    else:
        assert np.mean(y**2) < 1


def test_out_axis_alone_names_the_layout_of_a_matrix(key):
    w = jinit.orthogonal(out_axis=0)(key, (4, 6))
    np.testing.assert_array_equal(
        w, jinit.orthogonal(in_axis=1, out_axis=0)(key, (4, 6))
    )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_double_precision_is_used_where_asked_for(dtype, x64):
    w = jinit.orthogonal()(jax.random.key(0), (40, 30), dtype)

    np.testing.assert_allclose(gram(w), np.eye(30), atol=1e-14)


@pytest.mark.parametrize(("dtype", "atol"), [("bfloat16", 5e-3), ("float16", 6e-4)])
def test_half_precision_keeps_the_singular_values(dtype, atol, key):
    w = jinit.orthogonal()(key, (256, 128), dtype)

    assert w.dtype == dtype
    singular_values = np.linalg.svd(as_double(w), compute_uv=False)
    np.testing.assert_allclose(singular_values, 1, atol=atol)


def test_gain_is_the_singular_value(key):
    w = jinit.orthogonal(gain="relu")(key, (20, 20))

    np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False), 2**0.5, rtol=1e-5)


def test_a_convolution_is_flattened_to_spatial_and_inputs_by_outputs(key):
    w = jinit.orthogonal()(key, (3, 3, 4, 10))

    np.testing.assert_allclose(gram(w.reshape(36, 10)), np.eye(10), atol=2e-6)


def test_the_torch_layout_is_flattened_to_outputs_by_the_rest(key):
    w = jinit.orthogonal(in_axis=1, out_axis=0)(key, (10, 4, 3, 3))

    np.testing.assert_allclose(gram(w.reshape(10, 36)), np.eye(10), atol=2e-6)


def test_several_output_axes_are_flattened_together(key):
    w = jinit.orthogonal(in_axis=0, out_axis=(1, 2))(key, (64, 4, 8))

    np.testing.assert_allclose(gram(w.reshape(64, 32)), np.eye(32), atol=2e-6)


def test_batch_axes_hold_independent_matrices(key):
    w = jinit.orthogonal(in_axis=0, out_axis=2, batch_axis=1)(key, (6, 5, 4))

    for i in range(5):
        np.testing.assert_allclose(gram(w[:, i]), np.eye(4), atol=2e-6)
    assert len({float(w[0, i, 0]) for i in range(5)}) == 5


@pytest.fixture(scope="module")
def haar_real():
    return as_double(jinit.orthogonal(batch_axis=0)(jax.random.key(1), (20_000, 6, 6)))


@pytest.fixture(scope="module")
def haar_complex():
    init = jinit.orthogonal(batch_axis=0)
    return as_double(init(jax.random.key(2), (20_000, 5, 5), "complex64"))


def test_the_trace_has_the_moments_of_haar_measure(haar_real):
    """E tr Q = 0 and Var tr Q = 1 on O(n) (Diaconis and Shahshahani 1994)."""
    trace = np.trace(haar_real, axis1=1, axis2=2)

    check_mean(trace, 0, 1)
    check_std(trace, 1)


def test_the_trace_of_the_square_has_the_moments_of_haar_measure(haar_real):
    """E tr Q² = 1 and Var tr Q² = 2 on O(n)."""
    trace = np.trace(haar_real @ haar_real, axis1=1, axis2=2)

    check_mean(trace, 1, 2**0.5)


def test_entries_have_the_moments_of_haar_measure(haar_real):
    """Var q = 1/n, and E q⁴ = 3 / (n (n + 2)), of every entry alike."""
    n = haar_real.shape[-1]
    for i in range(n):
        for j in range(n):
            entry = haar_real[:, i, j]
            check_mean(entry, 0, n**-0.5)
            check_std(entry, n**-0.5, kurtosis=3 * n / (n + 2))


def test_the_determinant_is_either_sign_alike(haar_real):
    check_mean(np.linalg.det(haar_real), 0, 1)


def test_the_trace_of_unitary_matrices_has_the_moments_of_haar_measure(haar_complex):
    """E |tr U|² = 1 and E |tr U|⁴ = 2 on U(n)."""
    trace = np.trace(haar_complex, axis1=1, axis2=2)

    check_mean(trace.real, 0, 0.5**0.5)
    check_mean(trace.imag, 0, 0.5**0.5)
    check_std(trace, 1, kurtosis=2)


def test_entries_of_unitary_matrices_have_the_moments_of_haar_measure(haar_complex):
    """E |u|² = 1/n, and E |u|⁴ = 2 / (n (n + 1)), of every entry alike."""
    n = haar_complex.shape[-1]
    for entry in haar_complex.reshape(-1, n * n).T:
        check_mean(entry.real, 0, (2 * n) ** -0.5)
        check_std(entry, n**-0.5, kurtosis=2 * n / (n + 1))


def test_the_signs_matter():
    """The Q of LAPACK's QR without a sign fix fails the test of the trace above."""
    x = np.random.default_rng(0).normal(size=(20_000, 6, 6))
    trace = np.trace(np.linalg.qr(x)[0], axis1=1, axis2=2)

    with pytest.raises(AssertionError, match="mean"):
        check_mean(trace, 0, 1)


def test_a_product_of_many_keeps_every_length(key):
    keys = jax.random.split(key, 50)
    x = jnp.ones((64,)) / 8
    for k in keys:
        x = x @ jinit.orthogonal()(k, (64, 64))

    assert math.isclose(float(jnp.linalg.norm(x)), 1, abs_tol=1e-5)


@pytest.mark.slow
def test_a_whole_batch_is_one_call_of_vmap(key):
    keys = jax.random.split(key, 4)
    init = jinit.orthogonal()

    batched = jax.jit(jax.vmap(lambda k: init(k, (9, 5))))(keys)

    one_by_one = jnp.stack([init(k, (9, 5)) for k in keys])
    np.testing.assert_allclose(batched, one_by_one, atol=1e-6)
