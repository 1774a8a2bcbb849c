"""jinit's initializers in the layers of flax.linen."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_mean, check_std

import jinit

KURTOSIS_OF_UNIFORM = 1.8


class Case(NamedTuple):
    """A layer, and the fans of the shape that it passes to `kernel_init`."""

    layer: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    options: Mapping[str, Any] = MappingProxyType({})  # of jinit, for the axes
    path: tuple[str, ...] = ("kernel",)

    def parameter(self, key, dtype=jnp.float32, **inits):
        layer = self.layer(param_dtype=dtype, dtype=dtype, **inits)
        params = layer.init(key, jnp.ones(self.input_shape, dtype))["params"]
        for name in self.path:
            params = params[name]
        return params


attention = partial(
    nn.MultiHeadDotProductAttention, 4, qkv_features=96, out_features=64
)
LAYERS = {
    # (64, 96)
    "Dense": Case(partial(nn.Dense, 96), (1, 64), 64, 96),
    # (3, 3, 8, 32): *spatial, in, out
    "Conv": Case(partial(nn.Conv, 32, (3, 3)), (1, 4, 4, 8), 9 * 8, 9 * 32),
    # (3, 3, 8 / 4, 128): the inputs of one group, and the outputs of all
    "Conv of groups": Case(
        partial(nn.Conv, 128, (3, 3), feature_group_count=4),
        *((1, 4, 4, 8), 9 * 8 // 4, 9 * 128 // 4),
        options={"groups": 4},
    ),
    # (3, 3, 8, 32), as for Conv
    "ConvTranspose": Case(
        partial(nn.ConvTranspose, 32, (3, 3)), (1, 4, 4, 8), 9 * 8, 9 * 32
    ),
    # (3, 3, 32, 8): the outputs come first
    "ConvTranspose of a transposed kernel": Case(
        partial(nn.ConvTranspose, 32, (3, 3), transpose_kernel=True),
        *((1, 4, 4, 8), 9 * 8, 9 * 32),
        options={"in_axis": -1, "out_axis": -2},
    ),
    # (64, 4, 32): not flattened
    "Einsum": Case(
        partial(nn.Einsum, (64, 4, 32), "btd,dhk->bthk", use_bias=False),
        *((1, 2, 64), 64, 4 * 32),
        options={"in_axis": 0, "out_axis": (1, 2)},
    ),
    # (6 · 8, 4 · 32): flattened to a matrix
    "DenseGeneral": Case(
        partial(nn.DenseGeneral, (4, 32), axis=(-2, -1)), (1, 6, 8), 6 * 8, 4 * 32
    ),
    # (3 · 32, 64): flattened with the batch axis among the inputs, which jinit cannot
    # know; so the fan is given
    "DenseGeneral with batch_dims": Case(
        partial(nn.DenseGeneral, 64, batch_dims=0),
        *((3, 2, 32), 32, 64),
        options={"fan_in": 32},
    ),
    # (48, 4 · 24): flattened, with the features of all heads
    "query of attention": Case(
        attention, (1, 2, 48), 48, 4 * 24, path=("query", "kernel")
    ),
    # (4 · 24, 64)
    "output of attention": Case(
        attention, (1, 2, 48), 4 * 24, 64, path=("out", "kernel")
    ),
}
CELLS = [nn.LSTMCell, nn.OptimizedLSTMCell, nn.GRUCell]
GATES = {nn.LSTMCell: "ifgo", nn.OptimizedLSTMCell: "ifgo", nn.GRUCell: "rzn"}
INPUTS, HIDDEN = 40, 24

parametrize_layers = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
parametrize_cells = pytest.mark.parametrize("cell", CELLS)


def cell_parameters(key, cell, dtype=jnp.float32, **inits):
    carry = jnp.ones((1, HIDDEN), dtype)
    return cell(HIDDEN, dtype=dtype, param_dtype=dtype, **inits).init(
        key,
        carry if cell is nn.GRUCell else (carry, carry),
        jnp.ones((1, INPUTS), dtype),
    )["params"]


@parametrize_layers
def test_kaiming_normal_has_the_fan_in_of_the_layer(case, key):
    init = jinit.kaiming_normal(nonlinearity="relu", **case.options)
    check_std(case.parameter(key, kernel_init=init), math.sqrt(2 / case.fan_in))


@parametrize_layers
def test_kaiming_uniform_has_the_fan_out_of_the_layer(case, key):
    init = jinit.kaiming_uniform(mode="fan_out", **case.options)
    std = math.sqrt(2 / case.fan_out)
    check_std(case.parameter(key, kernel_init=init), std, KURTOSIS_OF_UNIFORM)


@parametrize_layers
def test_xavier_normal_has_both_fans_of_the_layer(case, key):
    init = jinit.xavier_normal(gain="tanh", **case.options)
    std = 5 / 3 * math.sqrt(2 / (case.fan_in + case.fan_out))
    check_std(case.parameter(key, kernel_init=init), std)


@parametrize_layers
def test_a_bfloat16_layer_has_the_weights_of_a_float32_one_rounded(case, key):
    inits = {"kernel_init": jinit.kaiming_normal(**case.options)}
    narrow = case.parameter(key, jnp.bfloat16, **inits)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        narrow, case.parameter(key, **inits).astype(jnp.bfloat16)
    )


def test_a_dense_general_layer_has_an_orthogonal_kernel_over_all_its_axes(key):
    # Passes (6 · 8, 4 · 16).
    layer = nn.DenseGeneral((4, 16), axis=(-2, -1), kernel_init=jinit.orthogonal())
    kernel = layer.init(key, jnp.ones((1, 6, 8)))["params"]["kernel"]
    rows = as_double(kernel).reshape(6 * 8, 4 * 16)
    np.testing.assert_allclose(rows @ rows.T, np.eye(48), atol=1e-5)


def test_a_delta_convolution_passes_its_input_on(key):
    # Passes (3, 3, 4, 4).
    layer = nn.Conv(4, (3, 3), kernel_init=jinit.dirac())
    x = jnp.arange(64.0).reshape(1, 4, 4, 4)
    y, _ = layer.init_with_output(key, x)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_embedding_has_the_std_given(dtype, key):
    # Passes (200, 64).
    init = jinit.normal(std=0.02)
    embed = nn.Embed(200, 64, param_dtype=dtype, embedding_init=init)
    embedding = embed.init(key, jnp.zeros(1, int))["params"]["embedding"]
    assert (embedding.dtype, embedding.shape) == (dtype, (200, 64))
    check_std(embedding, 0.02)


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm, nn.RMSNorm, partial(nn.GroupNorm, num_groups=2)]
)
def test_a_normalization_layer_takes_ones_uncalled(layer, key):
    # Passes (8,), for RMSNorm too.
    layer = layer(scale_init=jinit.ones)
    scale = layer.init(key, jnp.ones((1, 8)))["params"]["scale"]
    chex.assert_trees_all_equal(scale, jnp.ones(8))


# Biases


@pytest.mark.parametrize("zeros", [jinit.zeros, jinit.zeros()])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_zeros_is_a_bias_init_called_and_uncalled(zeros, dtype, key):
    layer = nn.Dense(8, bias_init=zeros, param_dtype=dtype, dtype=dtype)
    bias = layer.init(key, jnp.ones((1, 4), dtype))["params"]["bias"]
    chex.assert_trees_all_equal(bias, jnp.zeros(8, dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_uniform_bias_has_the_bounds_given(dtype, key):
    # Passes (2000,).
    init = jinit.uniform(a=-0.5, b=1.0)
    layer = nn.Dense(2000, bias_init=init, param_dtype=dtype, dtype=dtype)
    bias = layer.init(key, jnp.ones((1, 1), dtype))["params"]["bias"]
    assert bias.dtype == dtype
    check_mean(bias, 0.25, 1.5 / math.sqrt(12))
    check_std(bias, 1.5 / math.sqrt(12), KURTOSIS_OF_UNIFORM, mean=0.25)


def test_a_bias_takes_the_fan_in_of_its_kernel_as_a_number(key):
    # Passes (4 · 500,), flattened: a shape that has no fan_in. torch's default is
    # U[±1 / sqrt(fan_in)].
    init = jinit.kaiming_uniform(a=math.sqrt(5), fan_in=12)
    layer = nn.DenseGeneral((4, 500), bias_init=init)
    bias = layer.init(key, jnp.ones((1, 12)))["params"]["bias"]
    assert bias.shape == (4, 500)
    check_std(bias, 1 / math.sqrt(3 * 12), KURTOSIS_OF_UNIFORM)


def test_a_bias_without_a_fan_asks_for_it(key):
    layer = nn.Dense(8, bias_init=jinit.kaiming_uniform())
    with pytest.raises(ValueError, match="fan_in="):
        layer.init(key, jnp.ones((1, 4)))


# Recurrent cells


@parametrize_cells
def test_each_gate_has_its_own_fans(cell, key):
    # Every gate has a kernel of its own: passes (40, 24).
    inits = {"kernel_init": jinit.xavier_uniform(), "bias_init": jinit.zeros}
    params = cell_parameters(key, cell, **inits)
    kernels = [params[f"i{gate}"]["kernel"] for gate in GATES[cell]]
    std = math.sqrt(2 / (INPUTS + HIDDEN))
    check_std(jnp.stack(kernels), std, KURTOSIS_OF_UNIFORM)


@parametrize_cells
def test_recurrent_kernels_are_orthogonal(cell, key):
    # Passes (24, 24) for each gate.
    params = cell_parameters(key, cell, recurrent_kernel_init=jinit.orthogonal())
    for gate in GATES[cell]:
        kernel = as_double(params[f"h{gate}"]["kernel"])
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(HIDDEN), atol=1e-5)


@parametrize_cells
def test_recurrent_kernels_are_orthogonal_in_bfloat16_up_to_rounding(cell, key):
    init = jinit.orthogonal()
    params = cell_parameters(key, cell, jnp.bfloat16, recurrent_kernel_init=init)
    # Rounding moves an element by at most 2^-9 of itself, and so an element of QQᵀ,
    # the product of two unit vectors, by at most 2 · 2^-9 and the square of it.
    for gate in GATES[cell]:
        assert params[f"h{gate}"]["kernel"].dtype == jnp.bfloat16
        kernel = as_double(params[f"h{gate}"]["kernel"])
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(HIDDEN), atol=2**-7.9)


def test_an_identity_is_a_recurrent_kernel(key):
    init = jinit.eye(gain=0.5)
    params = cell_parameters(key, nn.GRUCell, recurrent_kernel_init=init)
    np.testing.assert_array_equal(params["hr"]["kernel"], np.eye(HIDDEN) / 2)


# Parameters and their metadata


def test_with_partitioning_boxes_the_same_array(key):
    init, x = jinit.kaiming_normal(), jnp.ones((1, 4))
    boxed_init = nn.with_partitioning(init, ("embed", "mlp"))
    boxed = nn.Dense(8, kernel_init=boxed_init).init(key, x)
    assert boxed["params"]["kernel"].names == ("embed", "mlp")
    plain = nn.Dense(8, kernel_init=init).init(key, x)
    chex.assert_trees_all_equal(nn.unbox(boxed), plain)


def test_with_partitioning_boxes_what_dense_general_flattens(key):
    # Passes (4, 2 · 3), and names the axes of (4, 2, 3).
    init = nn.with_partitioning(jinit.xavier_normal(), ("embed", "heads", "kv"))
    layer = nn.DenseGeneral((2, 3), kernel_init=init)
    specs = nn.get_partition_spec(layer.init(key, jnp.ones((1, 4))))
    assert specs["params"]["kernel"] == jax.sharding.PartitionSpec(
        "embed", "heads", "kv"
    )


class Scaled(nn.Module):
    table_init: jinit.Initializer = jinit.trunc_normal(std=0.02, a=-0.04, b=0.04)

    @nn.compact
    def __call__(self, x):
        table = self.param("table", self.table_init, (300, x.shape[-1]), jnp.bfloat16)
        scale = self.param("scale", jinit.constant(0.1), (x.shape[-1],))
        gate = self.param("gate", jinit.ones, ())
        return table.astype(x.dtype) @ x.mT * scale.sum() * gate


def test_a_custom_module_draws_its_parameters(key):
    params = Scaled().init(key, jnp.ones((1, 40)))["params"]
    assert params["table"].dtype == jnp.bfloat16
    # The std of a standard normal within ±2: sqrt(1 - 4 φ(2) / (2 Φ(2) - 1)); its
    # kurtosis is below 3.
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    truncated = math.sqrt(1 - 4 * density / math.erf(math.sqrt(2)))
    check_std(params["table"], 0.02 * truncated)


def test_a_custom_module_has_the_default_dtype(key):
    params = Scaled().init(key, jnp.ones((1, 40)))["params"]
    scalars = {name: params[name] for name in ("scale", "gate")}
    expected = {"scale": jnp.full(40, 0.1), "gate": jnp.ones(())}
    chex.assert_trees_all_equal(scalars, expected)


def test_raw_keys_give_what_typed_keys_give():
    layer, x = nn.Dense(8, kernel_init=jinit.kaiming_normal()), jnp.ones((1, 4))
    typed, raw = jax.random.key(3), jax.random.PRNGKey(3)
    chex.assert_trees_all_equal(layer.init(typed, x), layer.init(raw, x))


# Modules are values

INITS = {
    "constant": lambda: jinit.constant([0.5, 1.0]),
    "zeros": lambda: jinit.zeros(),
    "uniform": lambda: jinit.uniform(a=-1),
    "normal": lambda: jinit.normal(std=0.02),
    "trunc_normal": lambda: jinit.trunc_normal(std=0.5),
    "eye": lambda: jinit.eye(),
    "dirac": lambda: jinit.dirac(groups=2),
    "xavier_uniform": lambda: jinit.xavier_uniform(gain="tanh"),
    "xavier_normal": lambda: jinit.xavier_normal(in_axis=[0, 1]),
    "kaiming_uniform": lambda: jinit.kaiming_uniform(a=math.sqrt(5)),
    "kaiming_normal": lambda: jinit.kaiming_normal(),
    "orthogonal": lambda: jinit.orthogonal(gain=np.float32(2)),
    "sparse": lambda: jinit.sparse(0.9),
}
parametrize_inits = pytest.mark.parametrize("make", INITS.values(), ids=INITS)


@parametrize_inits
def test_modules_built_alike_are_equal(make):
    assert nn.Dense(4, kernel_init=make()) == nn.Dense(4, kernel_init=make())


@parametrize_inits
def test_modules_built_alike_hash_alike(make):
    first, second = (nn.Dense(4, kernel_init=make()) for _ in range(2))
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (jinit.kaiming_normal(), jinit.kaiming_normal(mode="fan_out")),
        (jinit.kaiming_normal(), jinit.kaiming_uniform()),
        (jinit.xavier_normal(), jinit.xavier_normal(gain="relu")),
        (jinit.normal(std=0.02), jinit.normal(std=0.01)),
        (jinit.constant(0.0), jinit.zeros()),
        (jinit.sparse(0.9), jinit.sparse(0.8)),
    ],
)
def test_modules_differ_where_an_option_differs(one, other):
    assert nn.Dense(4, kernel_init=one) != nn.Dense(4, kernel_init=other)


def test_a_rebuilt_module_is_not_traced_again(key):
    traces = []

    @partial(jax.jit, static_argnums=0)
    def init(module, key):
        traces.append(module)
        return module.init(key, jnp.ones((1, 3)))

    for _ in range(3):
        inits = {"kernel_init": jinit.kaiming_normal(), "bias_init": jinit.uniform()}
        init(nn.Dense(4, **inits), key)
    assert len(traces) == 1


def test_a_module_of_other_options_is_traced_again(key):
    traces = []

    @partial(jax.jit, static_argnums=0)
    def init(module, key):
        traces.append(module)
        return module.init(key, jnp.ones((1, 3)))

    for std in (0.01, 0.02, 0.01):
        init(nn.Dense(4, kernel_init=jinit.normal(std=std)), key)
    assert len(traces) == 2


def test_a_module_prints_its_initializer():
    module = nn.Dense(4, kernel_init=jinit.kaiming_normal(mode="fan_out"))
    assert "kernel_init = kaiming_normal(mode='fan_out')" in repr(module)


@pytest.mark.parametrize("name", [name for name in INITS if name != "zeros"])
def test_an_uncalled_factory_says_to_call_it(name, key):
    module = nn.Dense(4, kernel_init=getattr(jinit, name))
    with pytest.raises(TypeError, match=rf"call it: kernel_init=jinit\.{name}\("):
        module.init(key, jnp.ones((1, 3)))


# Lifted transforms


class Block(nn.Module):
    kernel_init: jinit.Initializer

    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(x.shape[-1], kernel_init=self.kernel_init)(x), None


def scanned(init):
    split, axes = {"params": True}, {"params": 0}
    return nn.scan(Block, variable_axes=axes, split_rngs=split, length=3)(init)


def mapped(init):
    return nn.vmap(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(None, None),
        axis_size=3,
    )(init)


parametrize_lifted = pytest.mark.parametrize("lifted", [scanned, mapped])


@parametrize_lifted
def test_each_lifted_layer_has_the_fans_of_one_layer(lifted, key):
    # Passes (64, 64), not (3, 64, 64).
    params = lifted(jinit.xavier_normal()).init(key, jnp.ones((1, 64)), None)["params"]
    kernel = params["Dense_0"]["kernel"]
    assert kernel.shape == (3, 64, 64)
    check_std(kernel, math.sqrt(2 / 128))


@parametrize_lifted
def test_lifted_layers_draw_independently_of_each_other(lifted, key):
    params = lifted(jinit.normal()).init(key, jnp.ones((1, 64)), None)["params"]
    first, second, third = params["Dense_0"]["kernel"]
    # The difference of two independent normals has twice their variance.
    for difference in (first - second, second - third, third - first):
        check_std(difference, math.sqrt(2))


@parametrize_lifted
def test_lifted_layers_are_each_orthogonal(lifted, key):
    params = lifted(jinit.orthogonal()).init(key, jnp.ones((1, 16)), None)["params"]
    for kernel in as_double(params["Dense_0"]["kernel"]):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(16), atol=1e-5)


def test_a_sweep_of_models_is_one_vmap(key):
    def kernel(std):
        layer = nn.Dense(8, kernel_init=jinit.normal(std=std))
        return layer.init(key, jnp.ones((1, 4)))["params"]["kernel"]

    stds = [0.5, 1.0, 3.0]
    swept = jax.vmap(kernel)(jnp.array(stds))
    chex.assert_trees_all_close(swept, jnp.stack([*map(kernel, stds)]), rtol=1e-6)


# jit


class Model(nn.Module):
    """Every initializer in one model."""

    @nn.compact
    def __call__(self, x):
        image = nn.Conv(
            8, (3, 3), kernel_init=jinit.xavier_uniform(), bias_init=jinit.zeros
        )(x)
        image = nn.Conv(8, (3, 3), kernel_init=jinit.dirac())(image)
        x = nn.LayerNorm(scale_init=jinit.ones)(image.mean((1, 2)))
        truncated = jinit.trunc_normal(std=0.02, a=-0.04, b=0.04)
        for kernel_init, bias_init in [
            (jinit.xavier_normal(gain="relu"), jinit.uniform(a=-0.1, b=0.1)),
            (jinit.kaiming_normal(), jinit.kaiming_uniform(a=2.0, fan_in=8)),
            (truncated, jinit.trunc_normal(a=3, b=4)),
            (jinit.sparse(0.5, std=0.3), jinit.normal(mean=1.0, std=0.3)),
            (jinit.eye(gain=0.3), jinit.constant(0.1)),
            (jinit.orthogonal(gain="tanh"), jinit.zeros()),
        ]:
            x = nn.Dense(8, kernel_init=kernel_init, bias_init=bias_init)(x)
        return x


@pytest.mark.slow
def test_init_under_jit_equals_eager_init_bit_for_bit(key):
    model, x = Model(), jnp.ones((1, 4, 4, 3))
    chex.assert_trees_all_equal(jax.jit(model.init)(key, x), model.init(key, x))


def test_eval_shape_gives_the_shapes_of_init(key):
    model, x = Model(), jnp.ones((1, 4, 4, 3))
    shapes = jax.eval_shape(model.init, key, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, model.init(key, x))
