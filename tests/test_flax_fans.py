"""What jinit's spellings do to a signal in Flax's layers, beside what the peers do."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_double, check_std
from jax.nn import initializers as peers

import jinit

STANDARD_ERRORS = 6.0


@pytest.fixture(autouse=True)
def full_precision():
    # Accelerators multiply float32 matrices in fewer digits by default.
    with jax.default_matmul_precision("highest"):
        yield


def check_variance(y, variance, inputs, weights):
    """Asserts the mean square of outputs that share their inputs and weights.

    With independent normal x and w, each of mean zero and used equally often, outputs
    are uncorrelated, but their squares are not: those that share an input vary with its
    square, and those that share a weight with that. Of the relative variance of the
    mean square the inputs explain 2 / inputs, the weights 2 / weights, and the rest,
    which is independent from output to output, adds 2 / outputs. Weights that are
    truncated or uniform vary less.
    """
    y = as_double(y)
    standard_error = variance * math.sqrt(2 / inputs + 2 / weights + 2 / y.size)
    error = abs(np.mean(y**2) - variance) / standard_error
    assert error < STANDARD_ERRORS, (
        f"variance {np.mean(y**2)} is {error:.1f} standard errors off {variance}"
    )


def check_factors(norms, factor, relative_variances):
    """Asserts the squared norm after every layer, from that of the input on.

    Each layer multiplies it by a factor whose variance, relative to the square of its
    mean, is given; the logarithm of the product sums them.
    """
    layers = np.arange(1, len(norms))
    errors = abs(np.log(norms[1:] / norms[0]) - layers * math.log(factor))
    errors /= np.sqrt(np.cumsum(relative_variances))
    assert errors.max() < STANDARD_ERRORS, (
        f"factors {norms[1:] / norms[:-1]} are {errors} standard errors off {factor}"
    )


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_the_check_notices_a_variance_that_is_a_fifth_off(scale):
    x_key, w_key = jax.random.split(jax.random.key(0))
    x, w = jax.random.normal(x_key, (128, 64)), jax.random.normal(w_key, (64, 256))
    y = x @ w / 8
    check_variance(y, 1.0, x.size, w.size)
    with pytest.raises(AssertionError, match="standard errors off"):
        check_variance(y, scale, x.size, w.size)


# Layers of one kernel


class Case(NamedTuple):
    """A layer in both of Flax's APIs, and the variances of its activations.

    `fan_in` is how many products of an input and a weight an output sums; no bias.
    """

    linen: Callable[..., nn.Module]
    nnx: Callable[..., nnx.Module]
    input_shape: tuple[int, ...]
    fan_in: int
    init: jinit.Initializer
    peers_variance: float
    peer: Callable[..., jax.Array] | None = None  # the layer's own default
    variance: float = 1.0
    parts: int = 1  # of each output, in the order of the weights


def einsum(spec, shape):
    return {
        "linen": partial(nn.Einsum, shape, spec, use_bias=False),
        "nnx": partial(nnx.Einsum, spec, shape),
    }


def conv(name, inputs, outputs, size, **options):
    options |= {"padding": "CIRCULAR", "use_bias": False}
    return {
        "linen": partial(getattr(nn, name), outputs, size, **options),
        "nnx": partial(getattr(nnx, name), inputs, outputs, size, **options),
    }


heads = jinit.einsum_axes("btd,dhk->bthk")
merged = jinit.einsum_axes("bthk,hkd->btd")
experts = jinit.einsum_axes("ebd,edf->ebf")
to_heads = {**einsum("btd,dhk->bthk", (64, 4, 16)), "input_shape": (4, 32, 64)}
from_heads = {**einsum("bthk,hkd->btd", (4, 16, 64)), "input_shape": (4, 32, 4, 16)}
to_experts = {**einsum("ebd,edf->ebf", (8, 32, 64)), "input_shape": (8, 64, 32)}
depthwise = {
    **conv("Conv", 128, 128, (5, 5), feature_group_count=128),
    "input_shape": (2, 8, 8, 128),
}
transposed = {
    **conv("ConvTranspose", 16, 48, (3, 3), transpose_kernel=True),
    "input_shape": (2, 8, 8, 16),
}
strided = {**conv("ConvTranspose", 16, 48, (4, 6), strides=(2, 3)), "fan_in": 16 * 4}
packed = {"input_shape": (256, 64), "fan_in": 64, "parts": 3}

CASES = {
    # (64, 4, 16): the peers take d for a receptive field, and h for the inputs.
    "Einsum to heads": Case(
        **to_heads,
        fan_in=64,
        init=jinit.lecun_normal(**heads),
        peers_variance=1 / 4,  # 64 / (64 · 4)
    ),
    # (4, 16, 64): and here h, which the fan_in counts rightly but the fan_out wrongly.
    "Einsum from heads": Case(
        **from_heads,
        fan_in=4 * 16,
        init=jinit.lecun_normal(**merged),
        peers_variance=1.0,
    ),
    "Einsum from heads, both fans": Case(
        **from_heads,
        fan_in=4 * 16,
        init=jinit.glorot_normal(**merged),
        peer=peers.glorot_normal(),
        peers_variance=64 * 2 / (64 + 4 * 64),
    ),
    # (8, 32, 64): and here the experts.
    "Einsum of experts": Case(
        **to_experts,
        fan_in=32,
        init=jinit.lecun_normal(**experts),
        peers_variance=1 / 8,
    ),
    "Einsum of a stack of experts": Case(
        **to_experts,
        fan_in=32,
        init=jinit.stack(jinit.lecun_normal()),
        peers_variance=1 / 8,
    ),
    # Passes (8 · 32, 64), the batch folded into the inputs.
    "DenseGeneral with a batch": Case(
        linen=partial(nn.DenseGeneral, 64, batch_dims=(0,), use_bias=False),
        nnx=partial(nnx.LinearGeneral, 32, 64, batch_axis={0: 8}, use_bias=False),
        input_shape=(8, 64, 32),
        fan_in=32,
        init=jinit.blocks(jinit.lecun_normal(), 8, axis=0),
        peers_variance=1 / 8,
    ),
    # (5, 5, 1, 128): each input feeds one output; the peers count all 128.
    "depthwise Conv, both fans": Case(
        **depthwise,
        fan_in=25,
        init=jinit.glorot_uniform(groups=128),
        peer=peers.glorot_uniform(),
        peers_variance=2 / (1 + 128),
    ),
    "depthwise Conv, fan_out": Case(
        **depthwise,
        fan_in=25,
        init=jinit.variance_scaling(1.0, "fan_out", "normal", groups=128),
        peer=peers.variance_scaling(1.0, "fan_out", "normal"),
        peers_variance=1 / 128,
    ),
    # (3, 3, 48, 16): the outputs come first, and the peers take them for the inputs.
    "ConvTranspose of a transposed kernel": Case(
        **transposed,
        fan_in=16 * 9,
        init=jinit.lecun_normal(transposed=True),
        peers_variance=16 / 48,
    ),
    # Of 4 · 6 taps each output sees one in 2 · 3. Without transpose_kernel the kernel
    # is (4, 6, 16, 48), whose axes the peers read rightly.
    "ConvTranspose with strides": Case(
        **strided,
        input_shape=(2, 8, 8, 16),
        init=jinit.lecun_normal(fan_in=16 * (4 * 6) / (2 * 3)),
        peers_variance=1 / (2 * 3),
    ),
    # (64, 3 · 64): the peers take q, k and v for 3 · 64 outputs of one layer.
    "packed q, k and v of Dense": Case(
        linen=partial(nn.Dense, 3 * 64, use_bias=False),
        nnx=partial(nnx.Linear, 64, 3 * 64, use_bias=False),
        **packed,
        init=jinit.blocks(jinit.xavier_normal(), 3),
        peer=peers.glorot_normal(),
        peers_variance=64 * 2 / (64 + 3 * 64),
    ),
    # Passes (64, 3 · 4 · 16), flattened.
    "packed q, k and v of DenseGeneral": Case(
        linen=partial(nn.DenseGeneral, (3, 4, 16), use_bias=False),
        nnx=partial(nnx.LinearGeneral, 64, (3, 4, 16), use_bias=False),
        **packed,
        init=jinit.blocks(jinit.xavier_normal(), 3),
        peer=peers.glorot_normal(),
        peers_variance=64 * 2 / (64 + 3 * 64),
    ),
}
parametrize_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
parametrize_apis = pytest.mark.parametrize("api", ["linen", "nnx"])


@cache
def through(case, api, init):
    """The kernel and the outputs of a layer whose inputs are standard normal."""
    inits: dict[str, Any] = {} if init is None else {"kernel_init": init}
    x = jax.random.normal(jax.random.key(1), case.input_shape)
    if api == "nnx":
        layer = case.nnx(rngs=nnx.Rngs(0), **inits)
        return layer.kernel[...], layer(x)
    y, variables = case.linen(**inits).init_with_output(jax.random.key(0), x)
    return variables["params"]["kernel"], y


def check_activations(case, api, init, variance):
    kernel, y = through(case, api, init)
    inputs, weights = math.prod(case.input_shape), kernel.size // case.parts
    for part in y.reshape(y.shape[0], case.parts, -1).swapaxes(0, 1):
        check_variance(part, variance, inputs, weights)


@parametrize_apis
@parametrize_cases
def test_activations_have_the_variance_of_the_formula(case, api):
    check_activations(case, api, case.init, case.variance)


@parametrize_apis
@parametrize_cases
def test_the_peers_activations_have_the_variance_of_the_fans_they_count(case, api):
    check_activations(case, api, case.peer, case.peers_variance)


@parametrize_apis
@parametrize_cases
def test_weights_have_the_std_that_gives_this_variance(case, api):
    kernel, _ = through(case, api, case.init)
    check_std(kernel, math.sqrt(case.variance / case.fan_in))


@parametrize_apis
@parametrize_cases
def test_the_peers_weights_have_the_std_that_gives_theirs(case, api):
    kernel, _ = through(case, api, case.peer)
    check_std(kernel, math.sqrt(case.peers_variance / case.fan_in))


@parametrize_apis
def test_each_element_of_a_batch_has_the_kernel_of_its_key(api):
    case, calls = CASES["DenseGeneral with a batch"], []

    def recording(key, shape, dtype):
        calls.append((key, shape))
        return case.init(key, shape, dtype)

    kernel, _ = through(case, api, recording)
    ((layer_key, shape),) = calls
    assert shape == (8 * 32, 64)
    keys = jax.random.split(layer_key, 8)
    each = [jinit.lecun_normal()(key, (32, 64)) for key in keys]
    np.testing.assert_array_equal(kernel, np.stack(each))


@pytest.mark.slow
@parametrize_apis
def test_a_transposed_kernel_is_that_of_the_axes_exchanged(api):
    case = CASES["ConvTranspose of a transposed kernel"]
    exchanged = jinit.lecun_normal(in_axis=-1, out_axis=-2)
    kernel, _ = through(case, api, case.init)
    np.testing.assert_array_equal(kernel, through(case, api, exchanged)[0])


# Packed gates: nnx passes (inputs, gates · hidden), and linen the kernel of each gate

HIDDEN = 64
PACKED_CELLS = [(nnx.OptimizedLSTMCell, 4), (nnx.GRUCell, 3)]
parametrize_packed_cells = pytest.mark.parametrize(("cell", "gates"), PACKED_CELLS)


def gates_of(cell, layer, gates, **inits):
    """The signal, and what each gate makes of it before its nonlinearity."""
    cell = cell(HIDDEN, HIDDEN, rngs=nnx.Rngs(0), **inits)
    x = jax.random.normal(jax.random.key(1), (256, HIDDEN))
    return x, jnp.split(getattr(cell, layer)(x), gates, axis=-1)


@parametrize_packed_cells
def test_each_of_the_packed_recurrent_gates_is_orthogonal(cell, gates):
    init = jinit.blocks(jinit.orthogonal(), gates)
    cell = cell(HIDDEN, HIDDEN, recurrent_kernel_init=init, rngs=nnx.Rngs(0))
    for q in np.split(as_double(cell.dense_h.kernel[...]), gates, axis=-1):
        np.testing.assert_allclose(q.T @ q, np.eye(HIDDEN), atol=1e-5)


@parametrize_packed_cells
def test_each_of_the_packed_recurrent_gates_keeps_norms(cell, gates):
    init = jinit.blocks(jinit.orthogonal(), gates)
    h, outputs = gates_of(cell, "dense_h", gates, recurrent_kernel_init=init)
    for output in outputs:
        np.testing.assert_allclose(
            jnp.linalg.norm(output, axis=-1), jnp.linalg.norm(h, axis=-1), rtol=1e-4
        )


@parametrize_packed_cells
def test_a_packed_orthogonal_kernel_divides_the_norm_among_the_gates(cell, gates):
    # The layer's own default. Its rows are orthonormal, so that the gates together keep
    # norms: the squares of the gates' singular values are 1 / gates on average.
    h, outputs = gates_of(cell, "dense_h", gates)
    squares = sum(jnp.sum(output**2, axis=-1) for output in outputs)
    np.testing.assert_allclose(squares, jnp.sum(h**2, axis=-1), rtol=1e-4)
    for output in outputs:
        check_variance(output, 1 / gates, h.size, HIDDEN**2)


@parametrize_packed_cells
def test_each_of_the_packed_input_gates_keeps_the_variance(cell, gates):
    init = jinit.blocks(jinit.glorot_uniform(), gates)
    x, outputs = gates_of(cell, "dense_i", gates, kernel_init=init)
    for output in outputs:
        check_variance(output, 1.0, x.size, HIDDEN**2)


@parametrize_packed_cells
def test_the_peer_counts_all_packed_gates_as_outputs(cell, gates):
    init = peers.glorot_uniform()
    x, outputs = gates_of(cell, "dense_i", gates, kernel_init=init)
    for output in outputs:
        check_variance(output, 2 / (1 + gates), x.size, HIDDEN**2)


# Layers in one parameter

DEPTH, WIDTH = 6, 64


class ScannedLinen(nn.Module):
    kernel_init: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x):
        kernels = self.param("w", self.kernel_init, (DEPTH, WIDTH, WIDTH))
        return scan(x, kernels)


class ScannedNNX(nnx.Module):
    def __init__(self, kernel_init, rngs):
        self.w = nnx.Param(kernel_init(rngs.params(), (DEPTH, WIDTH, WIDTH)))

    def __call__(self, x):
        return scan(x, self.w[...])


def scan(x, kernels):
    """The activations after each layer, from the input on."""
    _, after = jax.lax.scan(lambda h, w: (h @ w, h @ w), x, kernels)
    return jnp.concatenate([x[None], after])


def check_scan(api, init, factor):
    x = jax.random.normal(jax.random.key(1), (256, WIDTH))
    if api == "nnx":
        activations = ScannedNNX(init, nnx.Rngs(0))(x)
    else:
        activations, _ = ScannedLinen(init).init_with_output(jax.random.key(0), x)
    activations = as_double(activations)
    # Given the input X of a layer, the mean square of the outputs is a mean over WIDTH
    # independent units of wᵀMw with M = XᵀX, whose mean is proportional to tr M and
    # whose variance to 2 tr M².
    moments = activations[:-1].mT @ activations[:-1]
    squares = (moments**2).sum((1, 2)) / np.trace(moments, axis1=1, axis2=2) ** 2
    norms = (activations**2).sum((1, 2))
    check_factors(norms, factor, 2 / WIDTH * squares)


@parametrize_apis
def test_a_scan_over_a_stack_keeps_the_variance_through_its_layers(api):
    check_scan(api, jinit.stack(jinit.lecun_normal()), 1.0)


@parametrize_apis
def test_the_peer_takes_the_layers_of_a_scan_for_a_receptive_field(api):
    check_scan(api, peers.lecun_normal(), 1 / DEPTH)


# Networks that are linear at first


class CReLUNetwork(nn.Module):
    kernel_init: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x):
        activations = [x]
        for _ in range(10):
            pair = jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)
            x = nn.Dense(WIDTH, use_bias=False, kernel_init=self.kernel_init)(pair)
            activations.append(x)
        return activations


class ReLUNetwork(nnx.Module):
    def __init__(self, first, between, last, rngs):
        layer = partial(nnx.Linear, use_bias=False, rngs=rngs)
        self.layers = nnx.List(
            [
                layer(WIDTH, 2 * WIDTH, kernel_init=first),
                *(layer(2 * WIDTH, 2 * WIDTH, kernel_init=between) for _ in range(8)),
                layer(2 * WIDTH, WIDTH, kernel_init=last),
            ]
        )

    def __call__(self, x):
        *hidden, last = self.layers
        activations = [x]
        for layer in hidden:
            x = nnx.relu(layer(x))
            activations.append(x)
        return [*activations, last(x)]


def squared_norms(network):
    """Of a batch of signals, before and after each layer."""
    x = jax.random.normal(jax.random.key(1), (32, WIDTH))
    if isinstance(network, nn.Module):
        activations, _ = network.init_with_output(jax.random.key(0), x)
    else:
        activations = network(x)
    return np.stack([(as_double(h) ** 2).sum(-1) for h in activations])


def test_a_crelu_network_that_looks_linear_keeps_norms():
    norms = squared_norms(CReLUNetwork(jinit.looks_linear()))
    np.testing.assert_allclose(norms[-1], norms[0], rtol=1e-4)


def test_a_crelu_network_of_orthogonal_kernels_halves_squared_norms():
    # A Haar kernel projects on WIDTH of 2 · WIDTH dimensions. What is left of a squared
    # norm has a beta distribution with parameters WIDTH / 2; of their mean over signals
    # the variance is no greater.
    norms = squared_norms(CReLUNetwork(peers.orthogonal())).mean(-1)
    check_factors(norms, 1 / 2, np.full(10, 1 / (WIDTH + 1)))


def test_a_relu_network_that_looks_linear_keeps_norms():
    mirrors = ("outputs", "both", "inputs")
    inits = [jinit.looks_linear(mirror=mirror) for mirror in mirrors]
    norms = squared_norms(ReLUNetwork(*inits, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(norms[-1], norms[0], rtol=1e-4)


# Convolutions that are isometries


def through_convolution(api, init):
    """Eight signals of 8 channels, and what a layer of 16 makes of them."""
    layer = conv("Conv", 8, 16, (3, 3))
    case = Case(
        **layer, input_shape=(8, 6, 6, 8), fan_in=0, init=init, peers_variance=0
    )
    return jax.random.normal(jax.random.key(1), case.input_shape), through(
        case, api, init
    )[1]


@pytest.mark.slow
@parametrize_apis
@pytest.mark.parametrize(
    "init", [jinit.delta_orthogonal(), jinit.convolution_orthogonal()], ids=repr
)
def test_an_orthogonal_convolution_keeps_the_norm_of_a_signal(init, api):
    x, y = through_convolution(api, init)
    norms = [np.linalg.norm(as_double(z).reshape(8, -1), axis=-1) for z in (x, y)]
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-4)


@pytest.mark.slow
@parametrize_apis
@pytest.mark.parametrize(
    "init", [jinit.orthogonal(), peers.orthogonal()], ids=["jinit", "jax"]
)
def test_an_orthogonal_matrix_over_the_taps_does_not(init, api):
    # Each output is a projection on a unit vector, and there are twice as many.
    x, y = through_convolution(api, init)
    check_variance(y, 1.0, x.size, 9 * 8 * 16)
