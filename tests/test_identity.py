import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2)])
def test_eye_is_numpy_eye(shape, key):
    np.testing.assert_array_equal(jinit.eye()(key, shape), np.eye(*shape))


def test_eye_scales_by_its_gain_of_either_sign(key):
    np.testing.assert_array_equal(jinit.eye(gain=-0.5)(key, (3, 3)), -0.5 * np.eye(3))


@pytest.mark.parametrize("batch_axis", [0, 1, -1, (0, 2)])
def test_eye_has_one_matrix_for_each_batch_index(batch_axis, key):
    shape = (2, 3, 4) if batch_axis != (0, 2) else (2, 3, 4, 5)
    w = jinit.eye(batch_axis=batch_axis)(key, shape)

    axes = np.atleast_1d(batch_axis)
    flat = np.moveaxis(w, axes, range(len(axes)))
    matrices = flat.reshape(-1, *flat.shape[-2:])
    for matrix in matrices:
        np.testing.assert_array_equal(matrix, np.eye(*matrix.shape))


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8", "bfloat16", "complex64"])
def test_identities_come_in_any_dtype(dtype, key):
    assert jinit.eye()(key, (2, 2), dtype).dtype == dtype
    assert jinit.dirac()(key, (3, 2, 2), dtype).dtype == dtype


def convolve(x, kernel, padding, groups=1):
    """A convolution over the axes between batch and channels."""
    spatial = "DHW"[3 - (x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,) * len(spatial),
        padding,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


@pytest.mark.parametrize("kernel_size", [(3,), (5,), (3, 3), (1, 3), (3, 3, 3)])
def test_dirac_passes_every_channel_through(kernel_size, key):
    x = jax.random.normal(key, (2, *(6,) * len(kernel_size), 4))

    kernel = jinit.dirac()(key, (*kernel_size, 4, 4))

    np.testing.assert_array_equal(convolve(x, kernel, "SAME"), x)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_an_even_dirac_is_the_identity_under_the_documented_padding(size, key):
    x = jax.random.normal(key, (2, 9, 4))

    kernel = jinit.dirac()(key, (size, 4, 4))

    padding = [(size // 2, (size - 1) // 2)]
    np.testing.assert_array_equal(convolve(x, kernel, padding), x)
    shifted = convolve(x, kernel, "SAME")
    np.testing.assert_array_equal(shifted[:, :-1], x[:, 1:])


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_each_group_of_dirac_passes_its_own_channels(groups, key):
    x = jax.random.normal(key, (2, 5, 6))

    kernel = jinit.dirac(groups=groups)(key, (3, 6 // groups, 6))

    np.testing.assert_array_equal(convolve(x, kernel, "SAME", groups), x)


def test_dirac_with_more_outputs_leaves_the_rest_zero(key):
    kernel = jinit.dirac()(key, (3, 2, 5))

    np.testing.assert_array_equal(kernel[1], np.eye(2, 5))
    assert jnp.abs(kernel).sum() == 2


def test_dirac_in_the_torch_layout(key):
    torch_layout = jinit.dirac(in_axis=1, out_axis=0)(key, (6, 3, 5))

    flax_layout = jinit.dirac()(key, (5, 3, 6))
    np.testing.assert_array_equal(torch_layout, flax_layout.transpose())
