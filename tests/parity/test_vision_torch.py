"""Beside torch's layers: what is copied, what upsamples, what complex ones draw."""

import os

import jax
import numpy as np
import pytest
from helpers import check_same_distribution

import jinit

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

F = torch.nn.functional
torch.set_num_threads(1)


def tensor(w):
    return torch.tensor(np.array(w))


def test_torch_shuffles_what_icnr_has_copied(key):
    within = jinit.he_normal(in_axis=1, out_axis=0)
    w = jinit.vision.icnr(within, 2, out_axis=0)(key, (12, 4, 3, 3))

    y = F.pixel_shuffle(F.conv2d(torch.randn(1, 4, 8, 8), tensor(w), padding=1), 2)

    repeated = y[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(y, repeated, atol=1e-5)
    assert y.std() > 0.5


@pytest.mark.parametrize(("factor", "size"), [(2, 4), (3, 5)])
def test_a_transposed_convolution_interpolates_as_torch_does(factor, size, key):
    kernel = jinit.vision.bilinear(groups=3, in_axis=1, out_axis=0)(
        key, (3, 1, size, size)
    )
    x = torch.randn(1, 3, 6, 6)

    padding = factor // 2
    y = F.conv_transpose2d(x, tensor(kernel), None, factor, padding, groups=3)

    resized = F.interpolate(x, scale_factor=factor, mode="bilinear")
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    assert torch.allclose(y[inside], resized[inside], atol=1e-5)


def test_a_complex_linear_layer_is_kaiming_uniform_of_slope_root_2():
    layer = torch.nn.Linear(64, 1000, dtype=torch.cfloat)
    w = np.asarray(
        jinit.kaiming_uniform(a=2**0.5)(jax.random.key(1), (64, 1000), "complex64")
    )

    theirs = layer.weight.detach().numpy()
    check_same_distribution(w.real, theirs.real)
    check_same_distribution(w.imag, theirs.imag)
