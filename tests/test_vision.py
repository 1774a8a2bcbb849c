"""Vision: kernels that upsample or transform exactly, positions and priors."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.fft
import scipy.signal
from helpers import check_units

import jinit
from jinit.vision import (
    bilinear,
    class_prior_bias,
    dct,
    icnr,
    prior_bias,
    sinusoidal,
    stft,
)

# Upsampling


def shuffle(y, r, order):
    """Pixels from channels, as torch and as TensorFlow have them, of any rank."""
    batch, *sizes, channels = y.shape
    n, c = len(sizes), channels // r ** len(sizes)
    if order == "pixel_shuffle":
        y = y.reshape(batch, *sizes, c, *[r] * n)
        y = jnp.moveaxis(y, 1 + n, -1)
    else:
        y = y.reshape(batch, *sizes, *[r] * n, c)
    pairs = itertools.chain(*((1 + i, 1 + n + i) for i in range(n)))
    return y.transpose(0, *pairs, 1 + 2 * n).reshape(batch, *(r * s for s in sizes), c)


@pytest.mark.parametrize("order", ["pixel_shuffle", "depth_to_space"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_convolution_shuffled_at_first_repeats_pixels(order, dims, key):
    scale, kernel = 3 if dims < 3 else 2, (3,) * dims
    init = icnr(jinit.he_normal(), scale, order=order)
    layer = nn.Conv(scale**dims * 5, kernel, kernel_init=init)
    x = jax.random.normal(key, (2, *(4,) * dims, 6))

    y = shuffle(layer.init_with_output(key, x)[0], scale, order)

    corners = y[(slice(None), *(slice(None, None, scale),) * dims)]
    for axis in range(1, 1 + dims):
        corners = jnp.repeat(corners, scale, axis)
    np.testing.assert_allclose(y, corners, rtol=1e-5, atol=1e-6)
    assert float(y.std()) > 0.5


def test_a_convolution_drawn_without_it_has_a_checkerboard(key):
    layer = nn.Conv(4 * 5, (3, 3), kernel_init=jinit.he_normal())
    x = jax.random.normal(key, (2, 4, 4, 6))

    y = shuffle(layer.init_with_output(key, x)[0], 2, "pixel_shuffle")

    assert float((y[:, ::2] - y[:, 1::2]).std()) > 0.5


@pytest.mark.parametrize("order", ["pixel_shuffle", "depth_to_space"])
def test_the_kernel_copied_is_what_the_initializer_draws(order, key):
    init, shape = jinit.xavier_normal(gain=2.0), (3, 3, 16, 32)
    w = icnr(init, 2, order=order)(key, shape)

    of_pixels = {"pixel_shuffle": w[..., 2::4], "depth_to_space": w[..., 16:24]}
    np.testing.assert_array_equal(of_pixels[order], init(key, (3, 3, 16, 8)))
    assert icnr(init, 2, order=order).law(shape) == init.law((3, 3, 16, 8))


def test_a_matrix_and_a_bias_are_those_of_an_image(key):
    dense = icnr(jinit.lecun_normal(), 2)(key, (6, 8))
    bias = icnr(jinit.kaiming_uniform(a=5**0.5, fan_in=6), 2)(key, (8,))

    for w in (dense, bias):
        assert len(np.unique(w[..., :4], axis=-1).ravel()) == w[..., 0].size
        assert not np.array_equal(w[..., 3], w[..., 4])


@pytest.mark.parametrize("order", ["pixel_shuffle", "depth_to_space"])
def test_an_audit_sees_copies_that_are_not_equal_and_no_others(order, key):
    params = {"up": jnp.zeros((3, 3, 16, 64))}
    plan = jinit.plan(params, {"**": icnr(jinit.orthogonal(), 2, order=order)})
    drawn = plan.init(key)
    assert jinit.diagnostics.audit(drawn, plan).findings == ()

    moved, stretched = np.array([drawn["up"], drawn["up"]])
    moved[0, 0, 0, 63] += 0.01
    stretched[:, :, :8] *= 1.1
    for spoilt, text in ((moved, "of 4 kernels"), (stretched, "orthogonal")):
        findings = jinit.diagnostics.audit({"up": spoilt}, plan).findings
        assert any(text in finding.message for finding in findings)


def upsampled(x, size, stride, init=None):
    """What Flax's layer of this kernel's size makes of an array of one channel."""
    dims = x.ndim
    layer = nn.ConvTranspose(
        1, (size,) * dims, (stride,) * dims, use_bias=False, kernel_init=init
    )
    y, _ = layer.init_with_output(jax.random.key(0), jnp.asarray(x)[None, ..., None])
    return np.asarray(y[0, ..., 0])


@pytest.mark.parametrize(
    ("factor", "size", "dims"),
    [(2, 4, 2), (2, 4, 1), (2, 4, 3), (3, 5, 2), (4, 8, 2), (5, 9, 1)],
)
def test_bilinear_upsampling_is_that_of_an_image_resized(factor, size, dims, key):
    x = jax.random.normal(key, (6,) * dims)

    y = upsampled(x, size, factor, bilinear())

    resized = jax.image.resize(x, [6 * factor] * dims, "linear")
    inside = (slice(factor, -factor),) * dims
    np.testing.assert_allclose(y[inside], resized[inside], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7])
def test_a_ramp_stays_one_inside_with_kernels_of_any_size(size):
    factor = (size + 1) // 2
    ramp = np.arange(12.0, dtype=np.float32)

    y = upsampled(ramp, size, factor, bilinear())

    inside = y[2 * factor : -2 * factor]
    np.testing.assert_allclose(np.diff(inside), 1 / factor, rtol=1e-5)


def test_each_group_of_bilinear_upsamples_its_own_channels(key):
    x = jax.random.normal(key, (1, 5, 5, 6))
    grouped = bilinear(groups=6)(key, (4, 4, 1, 6))

    def up(kernel, groups):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            [(2, 2)] * 2,
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    one_by_one = up(bilinear()(key, (4, 4, 6, 6)), 1)
    np.testing.assert_allclose(up(grouped, 6), one_by_one, rtol=1e-6, atol=1e-6)


def test_bilinear_in_the_torch_layout(key):
    torch_layout = bilinear(in_axis=0, out_axis=1)(key, (3, 3, 4, 6))

    flax_layout = bilinear()(key, (4, 6, 3, 3))
    np.testing.assert_array_equal(torch_layout, flax_layout.transpose(2, 3, 0, 1))


# Transforms


@pytest.mark.parametrize("window", ["hann", "boxcar", ("kaiser", 8.6)])
@pytest.mark.parametrize(("steps", "size"), [(16, 16), (12, 32)])
@pytest.mark.parametrize("periodic", [False, True])
def test_stft_is_numpys_transform_of_the_windows(window, steps, size, periodic, key):
    options = {"window": window, "scaling": None, "periodic": periodic}
    real, imaginary = (
        np.asarray(stft(side, **options)(key, (steps, 1, size // 2 + 1)))[:, 0]
        for side in ("real", "imag")
    )
    x = np.random.default_rng(0).normal(size=(5, steps))

    weighted = x * scipy.signal.get_window(window, steps, fftbins=periodic)
    expected = np.fft.rfft(weighted, size)
    np.testing.assert_allclose(x @ real, expected.real, atol=2e-6)
    np.testing.assert_allclose(x @ imaginary, expected.imag, atol=2e-6)


def test_scalings_are_of_a_spectral_density_and_of_amplitudes(key):
    shape, time = (64, 1, 33), np.arange(64)
    w = {
        scaling: np.asarray(stft("real", scaling=scaling)(key, shape))[:, 0]
        for scaling in ("density", "spectrum", None)
    }
    window = scipy.signal.get_window("hann", 64, fftbins=False)

    ratio = w[None][5] / w["density"][5]
    np.testing.assert_allclose(ratio, np.sqrt((window**2).sum()), rtol=1e-6)
    # A cosine of amplitude 1 is half of it at each of two frequencies.
    wave = np.cos(2 * np.pi * 8 / 64 * time)
    np.testing.assert_allclose(wave @ w["spectrum"][:, 8], 0.5, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_waves_are_precise_where_angles_of_their_own_dtype_are_not(dtype, key):
    shape = (512, 1, 257)
    ours = stft("real", window="boxcar", scaling=None)(key, shape, dtype)
    # Keras's formula, in the dtype that is asked for.
    time, frequency = (jnp.arange(n, dtype=dtype) for n in (512, 257))
    pi = jnp.arccos(jnp.asarray(-1, dtype))
    keras = jnp.cos(-2 * time[:, None] * (frequency / 512)[None] * pi)

    exact = np.cos(2 * np.pi * np.outer(np.arange(512), np.arange(257)) / 512)
    half_unit = float(jnp.finfo(dtype).eps) / 2
    assert abs(np.asarray(ours[:, 0], float) - exact).max() <= half_unit
    assert abs(np.asarray(keras, float) - exact).max() > 500 * half_unit


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (16, 5), (500, 13)])
def test_dct_is_scipys(shape, key):
    samples, frequencies = shape
    w = dct()(key, shape)

    expected = scipy.fft.dct(np.eye(samples), norm="ortho")[:, :frequencies]
    np.testing.assert_allclose(w, expected, atol=1e-7)


def test_dct_the_other_way_round_is_its_inverse(key):
    w, inverse = dct()(key, (24, 24)), dct(in_axis=-1, out_axis=-2)(key, (24, 24))

    np.testing.assert_allclose(w @ inverse, np.eye(24), atol=1e-6)
    check_units(dct(in_axis=-1, out_axis=-2)(key, (5, 16)), dct()(key, (16, 5)).T)


# Positions


def vaswani(length, width, base=10_000.0):
    """As the paper has it, number by number."""
    table = np.empty((length, width))
    for n, i in np.ndindex(length, width // 2):
        angle = n / base ** (2 * i / width)
        table[n, 2 * i], table[n, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_positions_are_those_of_the_paper(base, key):
    table = sinusoidal(base=base)(key, (1, 50, 12))

    np.testing.assert_allclose(table[0], vaswani(50, 12, base), atol=6e-8)


def test_halves_with_the_endpoint_are_those_of_flax_examples(key):
    table = sinusoidal(layout="halves", endpoint=True)(key, (40, 16))

    rates = np.exp(np.arange(8) * -np.log(10_000.0) / 7)
    angles = np.arange(40)[:, None] * rates
    expected = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    np.testing.assert_allclose(table, expected, atol=1e-7)


@pytest.mark.parametrize("endpoint", [False, True], ids=["MAE", "big_vision"])
def test_a_grid_has_the_columns_first_and_rows_second(endpoint, key):
    init = sinusoidal(layout="halves", endpoint=endpoint, grid=(3, 5))
    table = np.asarray(init(key, (1, 15, 16)))[0].reshape(3, 5, 16)

    rates = 10_000.0 ** -(np.arange(4) / (3 if endpoint else 4))
    y, x = np.mgrid[:3, :5]
    angles = (x[..., None] * rates, y[..., None] * rates)
    parts = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(table, np.concatenate(parts, -1), atol=1e-7)


def test_a_shift_rotates_each_pair(key):
    table = np.asarray(sinusoidal()(key, (300, 32)))

    products = [table[n] @ table[n + 7] for n in (0, 100, 290)]
    np.testing.assert_allclose(products, products[0], rtol=1e-5)


def test_the_halves_are_the_tables_of_rotary_embeddings(key):
    table = sinusoidal(layout="halves")(key, (64, 8))
    sin, cos = np.split(np.asarray(table), 2, -1)
    query, other = np.random.default_rng(0).normal(size=(2, 8))

    def rotate(x, n):
        a, b = np.split(x, 2)
        return np.concatenate([a * cos[n] - b * sin[n], a * sin[n] + b * cos[n]])

    scores = [rotate(query, n + 9) @ rotate(other, n) for n in (0, 20, 50)]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    inverse = 1 / 10_000 ** (np.arange(0, 8, 2) / 8)  # as rotary embeddings have it
    np.testing.assert_allclose(sin, np.sin(np.outer(np.arange(64), inverse)), atol=1e-7)


def test_far_positions_are_precise_where_angles_of_float32_are_not(key):
    far, width = np.arange(30_000, 32_768), 64
    ours = np.asarray(sinusoidal(layout="halves")(key, (32_768, width)), float)[far]

    exact = np.sin(np.outer(far, 10_000.0 ** -(np.arange(32) / 32)))
    rates = 1 / np.float32(10_000) ** (np.arange(32, dtype=np.float32) / 32)
    angles = (far.astype(np.float32)[:, None] * rates).astype(float)
    assert abs(ours[:, :32] - exact).max() < 4e-8
    assert abs(np.sin(angles) - exact).max() == pytest.approx(0.001, rel=0.3)


# Priors


def test_a_sigmoid_begins_at_the_probability(key):
    for p in (1e-6, 0.01, 0.1, 0.5, 0.999):
        (bias,) = np.asarray(prior_bias(p)(key, (1,)), float)
        assert 1 / (1 + math.exp(-bias)) == pytest.approx(p, rel=2e-6)


def test_published_priors_are_these_numbers():
    # RetinaNet, CenterNet, and timm's head of 1000 classes ("nlhb").
    for p, bias in ((0.01, -4.59511985), (0.1, -2.19722458), (1 / 1001, -6.90775528)):
        assert prior_bias(p).law((3,)).mean == pytest.approx(bias, abs=1e-8)


def test_an_empty_place_costs_little_from_the_beginning(key):
    loss = optax.sigmoid_binary_cross_entropy
    bias = prior_bias(0.01)(key, (9,))

    np.testing.assert_allclose(loss(bias, jnp.zeros(9)), 0.01005, rtol=1e-3)
    np.testing.assert_allclose(loss(jnp.zeros(9), jnp.zeros(9)), 0.6931, rtol=1e-3)


def test_each_output_has_its_own_prior(key):
    p = np.array([0.1, 0.2, 0.9])

    bias = prior_bias(p)(key, (4, 3))

    np.testing.assert_allclose(jax.nn.sigmoid(bias), np.tile(p, (4, 1)), rtol=1e-6)


def test_a_softmax_begins_at_the_frequencies_and_the_loss_at_their_entropy(key):
    counts = np.array([700, 200, 90, 10])
    labels = np.repeat(np.arange(4), counts)
    bias = class_prior_bias(counts)(key, (4,))

    logits = jnp.broadcast_to(bias, (1000, 4))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    np.testing.assert_allclose(jax.nn.softmax(bias), counts / 1000, rtol=1e-6)
    p = counts / 1000
    assert float(loss) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    assert float(loss) < 0.61 * math.log(4)
    assert class_prior_bias(p).law((4,)).mean == pytest.approx(float(bias.mean()))


# What does not fit

GET_WINDOW = "scipy.signal.get_window"  # is named as the place to look
FACTORY = [
    (lambda: icnr(jinit.he_normal(), 0), ValueError, "scale must be at least 1"),
    (lambda: icnr(jinit.he_normal), TypeError, "needs its option scale"),
    (lambda: icnr(jinit.he_normal, 2), TypeError, r"as in jinit.vision.icnr\(jinit.he"),
    (lambda: icnr(jinit.zeros(), 2, order="NHWC"), ValueError, "pixel_shuffle, depth"),
    (lambda: bilinear(groups=0), ValueError, "groups must be at least 1"),
    (lambda: stft("both"), ValueError, "side must be one of real, imag"),
    (lambda: stft("real", window="hamn"), ValueError, GET_WINDOW),
    (lambda: stft("real", window=8.6), ValueError, GET_WINDOW),
    (lambda: stft("real", window=None), ValueError, GET_WINDOW),
    (lambda: stft("real", scaling="psd"), ValueError, "scaling must be one of density"),
    (lambda: sinusoidal(base=0), ValueError, "base must be greater than 0"),
    (lambda: sinusoidal(layout="halfs"), ValueError, "layout must be one of"),
    (lambda: sinusoidal(grid=14), TypeError, "grid must be two integers"),
    (lambda: sinusoidal(grid=(14, 0)), ValueError, "grid must be at least 1"),
    (lambda: prior_bias(0.0), ValueError, "p must be greater than 0 and less than 1"),
    (lambda: prior_bias([0.5, 1.0]), ValueError, "less than 1, got"),
    (lambda: prior_bias("0.1"), TypeError, "p must be a number or an array"),
    (lambda: class_prior_bias([3, 0]), ValueError, "counts .*add 1 to each"),
    (lambda: class_prior_bias(10), TypeError, "one real number for each class"),
    (lambda: jax.jit(prior_bias)(0.1), TypeError, "p must be known when"),
    (
        lambda: jax.jit(lambda b: sinusoidal(base=b))(2.0),
        TypeError,
        "base must be known",
    ),
]
CALL = [
    (icnr(jinit.he_normal(), 2), (3, 3, 8, 6), ValueError, "multiple of 4 channels"),
    (icnr(jinit.he_normal(), 2), (), ValueError, "has no axis -1"),
    (bilinear(), (4, 4), ValueError, "kernel of a convolution in 1 to 3"),
    (bilinear(groups=4), (4, 4, 1, 6), ValueError, "groups must divide the 6 outputs"),
    (stft("real"), (16, 2, 9), ValueError, "with T at most F"),
    (stft("real"), (17, 1, 9), ValueError, "with T at most F"),
    (stft("real"), (2, 1, 3), ValueError, "is zero at all T=2 taps"),
    (stft("real"), (4, 4, 1, 9), ValueError, "convolution in time"),
    (dct(), (4, 6), ValueError, "inverse write in_axis=-1, out_axis=-2"),
    (dct(), (4, 6, 2), ValueError, "shape of a matrix"),
    (sinusoidal(), (10, 7), ValueError, "d a multiple of 2"),
    (sinusoidal(), (10,), ValueError, r"shape \(n, d\)"),
    (sinusoidal(), (2, 10, 8), ValueError, r"\(1, n, d\)"),
    (sinusoidal(grid=(3, 4)), (12, 6), ValueError, "d a multiple of 4"),
    (sinusoidal(grid=(3, 4)), (13, 8), ValueError, "class token"),
    (prior_bias([0.1, 0.2]), (3,), ValueError, r"p of shape \(2,\).*each class"),
    (class_prior_bias([1, 2]), (), ValueError, r"counts of shape \(2,\)"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=itertools.count())
def test_an_option_that_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("init", "shape", "error", "message"), CALL)
def test_a_shape_that_does_not_fit_is_refused(init, shape, error, message, key):
    with pytest.raises(error, match=message):
        init(key, shape)
    with pytest.raises(error, match=message):
        init.law(shape)


@pytest.mark.parametrize(
    "init", [bilinear(), stft("real"), dct(), sinusoidal(), prior_bias(0.1)], ids=repr
)
def test_fractions_are_not_rounded_to_integers(init, key):
    with pytest.raises(TypeError, match="floating-point or complex dtype"):
        init(key, (4, 1, 4), "int32")


@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (icnr(jinit.he_normal(), 2), (3, 3, 8, 0)),
        (bilinear(), (4, 4, 0, 0)),
        (stft("real"), (0, 1, 9)),
        (dct(), (4, 0)),
        (sinusoidal(grid=(2, 2)), (0, 8)),
        (prior_bias(0.1), (0,)),
    ],
)
def test_an_empty_shape_is_nothing_special(init, shape, key):
    assert init(key, shape).shape == shape
    assert init.law(shape) is None


def test_double_precision_is_not_rounded_before(key, x64):
    table = sinusoidal(layout="halves")(key, (1000, 4), "float64")

    angles = np.outer(np.arange(1000), [1.0, 0.01])
    np.testing.assert_allclose(table[:, :2], np.sin(angles), rtol=0, atol=1e-14)
