"""jinit's initializers in the layers of flax.nnx."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_double, check_mean, check_std

import jinit

KURTOSIS_OF_UNIFORM = 1.8


class Case(NamedTuple):
    """A layer, and the fans of the shape that it passes to `kernel_init`."""

    layer: Callable[..., nnx.Module]
    fan_in: int
    fan_out: int
    options: Mapping[str, Any] = MappingProxyType({})  # of jinit, for the axes
    path: tuple[str, ...] = ("kernel",)

    def parameter(self, dtype=jnp.float32, **inits):
        found = self.layer(param_dtype=dtype, rngs=nnx.Rngs(0), **inits)
        for name in self.path:
            found = getattr(found, name)
        return found[...]


attention = partial(
    nnx.MultiHeadAttention, 4, 48, qkv_features=96, out_features=64, decode=False
)
LAYERS = {
    # (64, 96)
    "Linear": Case(partial(nnx.Linear, 64, 96), 64, 96),
    # (3, 3, 8, 32): *spatial, in, out
    "Conv": Case(partial(nnx.Conv, 8, 32, (3, 3)), 9 * 8, 9 * 32),
    # (3, 3, 8 / 4, 128): the inputs of one group, and the outputs of all
    "Conv of groups": Case(
        partial(nnx.Conv, 8, 128, (3, 3), feature_group_count=4),
        *(9 * 8 // 4, 9 * 128 // 4),
        options={"groups": 4},
    ),
    # (3, 3, 8, 32), as for Conv
    "ConvTranspose": Case(partial(nnx.ConvTranspose, 8, 32, (3, 3)), 9 * 8, 9 * 32),
    # (3, 3, 32, 8): the outputs come first
    "ConvTranspose of a transposed kernel": Case(
        partial(nnx.ConvTranspose, 8, 32, (3, 3), transpose_kernel=True),
        *(9 * 8, 9 * 32),
        options={"in_axis": -1, "out_axis": -2},
    ),
    # (64, 4, 32): not flattened
    "Einsum": Case(
        partial(nnx.Einsum, "btd,dhk->bthk", (64, 4, 32)),
        *(64, 4 * 32),
        options={"in_axis": 0, "out_axis": (1, 2)},
    ),
    # (6 · 8, 4 · 32): flattened to a matrix
    "LinearGeneral": Case(
        partial(nnx.LinearGeneral, (6, 8), (4, 32), axis=(-2, -1)), 6 * 8, 4 * 32
    ),
    # (3 · 32, 64): flattened with the batch axis among the inputs, which jinit cannot
    # know; so the fan is given
    "LinearGeneral with batch_axis": Case(
        partial(nnx.LinearGeneral, 32, 64, batch_axis={0: 3}),
        *(32, 64),
        options={"fan_in": 32},
    ),
    # (48, 4 · 24): flattened, with the features of all heads
    "query of attention": Case(attention, 48, 4 * 24, path=("query", "kernel")),
    # (4 · 24, 64)
    "output of attention": Case(attention, 4 * 24, 64, path=("out", "kernel")),
}
INPUTS, HIDDEN = 40, 24

parametrize_layers = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
parametrize_dtypes = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


@parametrize_layers
def test_kaiming_normal_has_the_fan_in_of_the_layer(case):
    init = jinit.kaiming_normal(nonlinearity="relu", **case.options)
    check_std(case.parameter(kernel_init=init), math.sqrt(2 / case.fan_in))


@parametrize_layers
def test_kaiming_uniform_has_the_fan_out_of_the_layer(case):
    init = jinit.kaiming_uniform(mode="fan_out", **case.options)
    std = math.sqrt(2 / case.fan_out)
    check_std(case.parameter(kernel_init=init), std, KURTOSIS_OF_UNIFORM)


@parametrize_layers
def test_xavier_normal_has_both_fans_of_the_layer(case):
    init = jinit.xavier_normal(gain="tanh", **case.options)
    std = 5 / 3 * math.sqrt(2 / (case.fan_in + case.fan_out))
    check_std(case.parameter(kernel_init=init), std)


@parametrize_layers
def test_a_bfloat16_layer_has_the_weights_of_a_float32_one_rounded(case):
    inits = {"kernel_init": jinit.kaiming_normal(**case.options)}
    narrow = case.parameter(jnp.bfloat16, **inits)
    assert narrow.dtype == jnp.bfloat16
    rounded = case.parameter(**inits).astype(jnp.bfloat16)
    np.testing.assert_array_equal(narrow, rounded)


def test_a_linear_general_layer_has_an_orthogonal_kernel_over_all_its_axes():
    # Passes (6 · 8, 4 · 16).
    layer = nnx.LinearGeneral(
        *((6, 8), (4, 16)),
        axis=(-2, -1),
        kernel_init=jinit.orthogonal(),
        rngs=nnx.Rngs(0),
    )
    rows = as_double(layer.kernel[...]).reshape(6 * 8, 4 * 16)
    np.testing.assert_allclose(rows @ rows.T, np.eye(48), atol=1e-5)


@parametrize_dtypes
def test_an_embedding_has_the_std_given(dtype):
    # Passes (200, 64).
    init = jinit.normal(std=0.02)
    embed = nnx.Embed(200, 64, param_dtype=dtype, embedding_init=init, rngs=nnx.Rngs(0))
    assert embed.embedding.dtype == dtype
    check_std(embed.embedding[...], 0.02)


@pytest.mark.parametrize(
    "layer", [nnx.LayerNorm, nnx.RMSNorm, partial(nnx.GroupNorm, num_groups=2)]
)
def test_a_normalization_layer_takes_ones_uncalled(layer):
    # Passes (8,).
    layer = layer(
        num_features=8,
        scale_init=jinit.ones,
        param_dtype=jnp.bfloat16,
        rngs=nnx.Rngs(0),
    )
    chex.assert_trees_all_equal(layer.scale[...], jnp.ones(8, jnp.bfloat16))


# Biases


@pytest.mark.parametrize("zeros", [jinit.zeros, jinit.zeros()])
@parametrize_dtypes
def test_zeros_is_a_bias_init_called_and_uncalled(zeros, dtype):
    layer = nnx.Linear(4, 8, bias_init=zeros, param_dtype=dtype, rngs=nnx.Rngs(0))
    chex.assert_trees_all_equal(layer.bias[...], jnp.zeros(8, dtype))


@parametrize_dtypes
def test_a_uniform_bias_has_the_bounds_given(dtype):
    # Passes (2000,).
    init = jinit.uniform(a=-0.5, b=1.0)
    layer = nnx.Linear(1, 2000, bias_init=init, param_dtype=dtype, rngs=nnx.Rngs(0))
    assert layer.bias.dtype == dtype
    check_mean(layer.bias[...], 0.25, 1.5 / math.sqrt(12))
    check_std(layer.bias[...], 1.5 / math.sqrt(12), KURTOSIS_OF_UNIFORM, mean=0.25)


def test_a_bias_takes_the_fan_in_of_its_kernel_as_a_number():
    # Passes (4 · 500,), flattened: a shape that has no fan_in. torch's default is
    # U[±1 / sqrt(fan_in)].
    init = jinit.kaiming_uniform(a=math.sqrt(5), fan_in=12)
    layer = nnx.LinearGeneral(12, (4, 500), bias_init=init, rngs=nnx.Rngs(0))
    assert layer.bias.shape == (4, 500)
    check_std(layer.bias[...], 1 / math.sqrt(3 * 12), KURTOSIS_OF_UNIFORM)


def test_the_bias_of_an_einsum_takes_the_fan_in_of_its_kernel_as_a_number():
    # Passes (4, 500), as given, whose axes are both outputs.
    layer = nnx.Einsum(
        *("btd,dhk->bthk", (12, 4, 500), (4, 500)),
        bias_init=jinit.kaiming_normal(fan_in=12),
        rngs=nnx.Rngs(0),
        kernel_init=jinit.zeros,
    )
    check_std(layer.bias[...], math.sqrt(2 / 12))


def test_a_bias_without_a_fan_asks_for_it():
    init = jinit.kaiming_uniform()
    with pytest.raises(ValueError, match="fan_in="):
        nnx.Linear(4, 8, bias_init=init, rngs=nnx.Rngs(0))


# Recurrent cells


def cell_of(cell, **options):
    return cell(INPUTS, HIDDEN, rngs=nnx.Rngs(0), **options)


def test_each_gate_of_an_lstm_has_its_own_fans():
    # Every gate has a kernel of its own: passes (40, 24).
    cell = cell_of(nnx.LSTMCell, kernel_init=jinit.xavier_uniform())
    kernels = [gate.kernel[...] for gate in (cell.ii, cell.if_, cell.ig, cell.io)]
    std = math.sqrt(2 / (INPUTS + HIDDEN))
    check_std(jnp.stack(kernels), std, KURTOSIS_OF_UNIFORM)


@pytest.mark.parametrize(
    ("cell", "gates"), [(nnx.OptimizedLSTMCell, 4), (nnx.GRUCell, 3)]
)
def test_packed_gates_count_together_as_outputs(cell, gates):
    # All gates are one kernel: passes (40, gates · 24), unlike in flax.linen. The fan
    # of one gate has to be given.
    packed = cell_of(cell, kernel_init=jinit.xavier_uniform())
    std = math.sqrt(2 / (INPUTS + gates * HIDDEN))
    check_std(packed.dense_i.kernel[...], std, KURTOSIS_OF_UNIFORM)
    single = cell_of(cell, kernel_init=jinit.xavier_uniform(fan_out=HIDDEN))
    std = math.sqrt(2 / (INPUTS + HIDDEN))
    check_std(single.dense_i.kernel[...], std, KURTOSIS_OF_UNIFORM)


def recurrent_kernels(cell):
    if isinstance(cell, nnx.LSTMCell):
        # Passes (24, 24) for each gate.
        return [gate.kernel[...] for gate in (cell.hi, cell.hf, cell.hg, cell.ho)]
    # Passes (24, gates · 24), of which the rows are orthonormal.
    return [cell.dense_h.kernel[...]]


parametrize_cells = pytest.mark.parametrize(
    "cell", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell]
)


@parametrize_cells
def test_recurrent_kernels_are_orthogonal(cell):
    for kernel in recurrent_kernels(
        cell_of(cell, recurrent_kernel_init=jinit.orthogonal())
    ):
        rows = as_double(kernel)
        np.testing.assert_allclose(rows @ rows.T, np.eye(HIDDEN), atol=1e-5)


@parametrize_cells
def test_recurrent_kernels_are_orthogonal_in_bfloat16_up_to_rounding(cell):
    # Rounding moves an element by at most 2^-9 of itself, and so an element of QQᵀ,
    # the product of two unit vectors, by at most 2 · 2^-9 and the square of it.
    options = {"recurrent_kernel_init": jinit.orthogonal(), "param_dtype": jnp.bfloat16}
    for kernel in recurrent_kernels(cell_of(cell, **options)):
        assert kernel.dtype == jnp.bfloat16
        rows = as_double(kernel)
        np.testing.assert_allclose(rows @ rows.T, np.eye(HIDDEN), atol=2**-7.9)


def test_a_carry_starts_as_the_initializer_says():
    init = jinit.constant(0.5)
    carry = cell_of(nnx.GRUCell).initialize_carry((2, INPUTS), nnx.Rngs(0), init)
    np.testing.assert_array_equal(carry, np.full((2, HIDDEN), 0.5))


# Partitioning


@pytest.fixture(params=["Auto", "Explicit"])
def mesh(request):
    """The eight devices that conftest.py asks for, along one axis."""
    kind = jax.sharding.AxisType[request.param]
    mesh = jax.make_mesh((8,), ("model",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        yield mesh


def partitioned():
    init = nnx.with_partitioning(jinit.xavier_normal(), (None, "model"))
    return nnx.Linear(4, 16, kernel_init=init, rngs=nnx.Rngs(0)).kernel


@pytest.mark.parametrize("transform", [lambda create: create, nnx.jit])
def test_with_partitioning_lays_the_kernel_out_over_the_mesh(mesh, transform):
    kernel = transform(partitioned)()[...]
    spec = jax.sharding.PartitionSpec(None, "model")
    assert kernel.sharding.is_equivalent_to(
        jax.sharding.NamedSharding(mesh, spec), ndim=2
    )


@pytest.mark.parametrize("transform", [lambda create: create, nnx.jit])
def test_with_partitioning_changes_no_weight(mesh, transform):
    plain = nnx.Linear(4, 16, kernel_init=jinit.xavier_normal(), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(transform(partitioned)()[...], plain.kernel[...])


# Construction under transforms


class Model(nnx.Module):
    """Every initializer in one model; `init` is kept as an attribute."""

    def __init__(self, init, rngs):
        self.init = init
        self.table = nnx.Param(init(rngs.params(), (8, 8), jnp.bfloat16))
        self.scale = nnx.Param(jinit.ones(rngs.params(), (8,)))
        self.conv = nnx.Conv(
            *(3, 8, (3, 3)),
            kernel_init=jinit.xavier_uniform(),
            bias_init=jinit.zeros,
            rngs=rngs,
        )
        self.identity = nnx.Conv(8, 8, (3, 3), kernel_init=jinit.dirac(), rngs=rngs)
        self.layers = nnx.List()
        truncated = jinit.trunc_normal(std=0.02, a=-0.04, b=0.04)
        for kernel_init, bias_init in [
            (jinit.xavier_normal(gain="relu"), jinit.uniform(a=-0.1, b=0.1)),
            (jinit.kaiming_normal(), jinit.kaiming_uniform(a=2.0, fan_in=8)),
            (truncated, jinit.trunc_normal(a=3, b=4)),
            (jinit.sparse(0.5, std=0.3), jinit.normal(mean=1.0, std=0.3)),
            (jinit.eye(gain=0.3), jinit.constant(0.1)),
            (jinit.orthogonal(gain="tanh"), jinit.zeros()),
        ]:
            inits = {"kernel_init": kernel_init, "bias_init": bias_init}
            self.layers.append(nnx.Linear(8, 8, **inits, rngs=rngs))


def create(seed=0, **options):
    return Model(jinit.normal(**options), nnx.Rngs(seed))


def parameters(model):
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@pytest.mark.slow
def test_construction_under_jit_equals_eager_construction_bit_for_bit():
    chex.assert_trees_all_equal(parameters(nnx.jit(create)()), parameters(create()))


def test_eval_shape_gives_the_shapes_of_construction():
    abstract = parameters(nnx.eval_shape(create))
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, parameters(create()))


def ensemble(init, size=3, features=64):
    """`size` kernels drawn at once, each from its own key."""

    @nnx.split_rngs(splits=size)
    @nnx.vmap
    def create(rngs):
        return nnx.Linear(features, features, kernel_init=init, rngs=rngs)

    return nnx.jit(create)(nnx.Rngs(0)).kernel[...]


def test_each_member_of_an_ensemble_has_the_fans_of_one_layer():
    # Passes (64, 64), not (3, 64, 64).
    kernels = ensemble(jinit.kaiming_normal())
    assert kernels.shape == (3, 64, 64)
    check_std(kernels, math.sqrt(2 / 64))


def test_members_of_an_ensemble_draw_independently_of_each_other():
    first, second, third = ensemble(jinit.normal())
    # The difference of two independent normals has twice their variance.
    for difference in (first - second, second - third, third - first):
        check_std(difference, math.sqrt(2))


def test_members_of_an_ensemble_are_each_orthogonal():
    for kernel in as_double(ensemble(jinit.orthogonal(), features=16)):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(16), atol=1e-5)


def test_an_ensemble_equals_a_loop_over_its_keys_bit_for_bit():
    init = jinit.kaiming_uniform()
    each = nnx.split_rngs(splits=3)(nnx.vmap(lambda rngs: rngs.params()))
    loop = [init(key, (64, 64)) for key in each(nnx.Rngs(0))]
    np.testing.assert_array_equal(ensemble(init), np.stack(loop))


def test_a_sweep_of_models_is_one_vmap():
    def kernel(std):
        init = jinit.normal(std=std)
        return nnx.Linear(4, 8, kernel_init=init, rngs=nnx.Rngs(0)).kernel[...]

    stds = [0.5, 1.0, 3.0]
    swept = jax.vmap(kernel)(jnp.array(stds))
    chex.assert_trees_all_close(swept, jnp.stack([*map(kernel, stds)]), rtol=1e-6)


# Modules that hold an initializer


def test_graphs_of_modules_built_alike_are_equal():
    assert nnx.graphdef(create(std=0.5)) == nnx.graphdef(create(std=0.5))


def test_graphs_of_modules_built_alike_hash_alike():
    first, second = (nnx.graphdef(create(std=0.5)) for _ in range(2))
    assert hash(first) == hash(second)


def test_graphs_differ_where_an_option_differs():
    assert nnx.graphdef(create(std=0.5)) != nnx.graphdef(create(std=0.25))


def test_a_rebuilt_module_is_not_traced_again():
    traces = []

    @nnx.jit
    def total(model):
        traces.append(model)
        return model.table[...].sum()

    for seed in range(3):
        total(create(seed, std=0.5))
    assert len(traces) == 1


def test_a_module_of_other_options_is_traced_again():
    traces = []

    @nnx.jit
    def total(model):
        traces.append(model)
        return model.table[...].sum()

    for std in (0.5, 0.25, 0.5):
        total(create(std=std))
    assert len(traces) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("constant", "uniform", "normal", "trunc_normal", "eye", "dirac"),
        *("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
        *("orthogonal", "sparse"),
    ],
)
def test_an_uncalled_factory_says_to_call_it(name):
    with pytest.raises(TypeError, match=rf"call it: kernel_init=jinit\.{name}\("):
        nnx.Linear(3, 4, kernel_init=getattr(jinit, name), rngs=nnx.Rngs(0))
