"""jinit's initializers in the layers of flax.linen and flax.nnx.

`linen` and `built` are the two adapters: each makes of a layer a function of the dtype
and the initializers that returns its parameters, as nested dicts.
"""

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
from flax import nnx
from helpers import as_double, check_mean, check_std, check_units

import jinit

KURTOSIS_OF_UNIFORM = 1.8
BOTH = ["linen", "nnx"]

Parameters = Callable[..., Mapping[str, Any]]  # of the dtype and the initializers


def linen(layer: Callable[..., nn.Module], *shapes: Any, of: Any = None) -> Parameters:
    def parameters(dtype=jnp.float32, seed=0, **inits):
        module = layer(dtype=dtype, param_dtype=dtype, **inits)
        inputs = [jnp.ones(shape, of or dtype) for shape in shapes]
        with jax.numpy_dtype_promotion("standard"):  # which norms of bfloat16 need
            return module.init(jax.random.key(seed), *inputs)["params"]

    return parameters


def built(layer: Callable[..., nnx.Module]) -> Parameters:
    def parameters(dtype=jnp.float32, seed=0, **inits):
        return pure(layer(param_dtype=dtype, rngs=nnx.Rngs(seed), **inits))

    return parameters


def pure(module: nnx.Module) -> Mapping[str, Any]:
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


class Case(NamedTuple):
    """A layer, and the fans of the shape that it passes to `kernel_init`."""

    linen: Parameters
    nnx: Parameters
    fan_in: int
    fan_out: int
    options: Mapping[str, Any] = MappingProxyType({})  # of jinit, for the axes
    within: str | None = None  # the layer that has the kernel

    def kernel(self, library, *args, **inits):
        found = getattr(self, library)(*args, **inits)
        return (found if self.within is None else found[self.within])["kernel"]


IMAGE, HEADS = (1, 4, 4, 8), {"qkv_features": 96, "out_features": 64}
attention = (
    linen(partial(nn.MultiHeadDotProductAttention, 4, **HEADS), (1, 2, 48)),
    built(partial(nnx.MultiHeadAttention, 4, 48, **HEADS, decode=False)),
)
LAYERS = {
    # (64, 96)
    "Dense": Case(
        linen(partial(nn.Dense, 96), (1, 64)),
        built(partial(nnx.Linear, 64, 96)),
        *(64, 96),
    ),
    # (3, 3, 8, 32): *spatial, in, out
    "Conv": Case(
        linen(partial(nn.Conv, 32, (3, 3)), IMAGE),
        built(partial(nnx.Conv, 8, 32, (3, 3))),
        *(9 * 8, 9 * 32),
    ),
    # (3, 3, 8 / 4, 128): the inputs of one group, and the outputs of all
    "Conv of groups": Case(
        linen(partial(nn.Conv, 128, (3, 3), feature_group_count=4), IMAGE),
        built(partial(nnx.Conv, 8, 128, (3, 3), feature_group_count=4)),
        *(9 * 8 // 4, 9 * 128 // 4),
        options={"groups": 4},
    ),
    # (3, 3, 8, 32), as for Conv
    "ConvTranspose": Case(
        linen(partial(nn.ConvTranspose, 32, (3, 3)), IMAGE),
        built(partial(nnx.ConvTranspose, 8, 32, (3, 3))),
        *(9 * 8, 9 * 32),
    ),
    # (3, 3, 32, 8): the outputs come first
    "ConvTranspose of a transposed kernel": Case(
        linen(partial(nn.ConvTranspose, 32, (3, 3), transpose_kernel=True), IMAGE),
        built(partial(nnx.ConvTranspose, 8, 32, (3, 3), transpose_kernel=True)),
        *(9 * 8, 9 * 32),
        options={"in_axis": -1, "out_axis": -2},
    ),
    # (64, 4, 32): not flattened
    "Einsum": Case(
        linen(
            partial(nn.Einsum, (64, 4, 32), "btd,dhk->bthk", use_bias=False),
            (1, 2, 64),
        ),
        built(partial(nnx.Einsum, "btd,dhk->bthk", (64, 4, 32))),
        *(64, 4 * 32),
        options={"in_axis": 0, "out_axis": (1, 2)},
    ),
    # (6 · 8, 4 · 32): flattened to a matrix
    "DenseGeneral": Case(
        linen(partial(nn.DenseGeneral, (4, 32), axis=(-2, -1)), (1, 6, 8)),
        built(partial(nnx.LinearGeneral, (6, 8), (4, 32), axis=(-2, -1))),
        *(6 * 8, 4 * 32),
    ),
    # (3 · 32, 64): flattened with the batch axis among the inputs, which jinit cannot
    # know; so the fan is given
    "DenseGeneral of a batch": Case(
        linen(partial(nn.DenseGeneral, 64, batch_dims=0), (3, 2, 32)),
        built(partial(nnx.LinearGeneral, 32, 64, batch_axis={0: 3})),
        *(32, 64),
        options={"fan_in": 32},
    ),
    # (48, 4 · 24): flattened, with the features of all heads
    "query of attention": Case(*attention, 48, 4 * 24, within="query"),
    # (4 · 24, 64)
    "output of attention": Case(*attention, 4 * 24, 64, within="out"),
}

parametrize_layers = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
parametrize_libraries = pytest.mark.parametrize("library", BOTH)
parametrize_dtypes = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


@parametrize_libraries
@parametrize_layers
def test_kaiming_normal_has_the_fan_in_of_the_layer(case, library):
    init = jinit.kaiming_normal(nonlinearity="relu", **case.options)
    check_std(case.kernel(library, kernel_init=init), math.sqrt(2 / case.fan_in))


@parametrize_libraries
@parametrize_layers
def test_kaiming_uniform_has_the_fan_out_of_the_layer(case, library):
    init = jinit.kaiming_uniform(mode="fan_out", **case.options)
    kernel = case.kernel(library, kernel_init=init)
    check_std(kernel, math.sqrt(2 / case.fan_out), KURTOSIS_OF_UNIFORM)


@parametrize_libraries
@parametrize_layers
def test_xavier_normal_has_both_fans_of_the_layer(case, library):
    init = jinit.xavier_normal(gain="tanh", **case.options)
    std = 5 / 3 * math.sqrt(2 / (case.fan_in + case.fan_out))
    check_std(case.kernel(library, kernel_init=init), std)


@parametrize_libraries
@parametrize_layers
def test_a_bfloat16_layer_has_the_weights_of_a_float32_one_rounded(case, library):
    inits = {"kernel_init": jinit.kaiming_normal(**case.options)}
    narrow = case.kernel(library, jnp.bfloat16, **inits)
    assert narrow.dtype == jnp.bfloat16
    wide = case.kernel(library, **inits)
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


@parametrize_libraries
def test_a_general_layer_has_an_orthogonal_kernel_over_all_its_axes(library):
    kernel = LAYERS["DenseGeneral"].kernel(library, kernel_init=jinit.orthogonal())
    rows = as_double(kernel).reshape(6 * 8, 4 * 32)
    np.testing.assert_allclose(rows @ rows.T, np.eye(48), atol=1e-5)


def test_a_delta_convolution_passes_its_input_on(key):
    # Passes (3, 3, 4, 4).
    layer = nn.Conv(4, (3, 3), kernel_init=jinit.dirac())
    x = jnp.arange(64.0).reshape(1, 4, 4, 4)
    y, _ = layer.init_with_output(key, x)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    "embed",
    [
        linen(partial(nn.Embed, 200, 64), (1,), of=int),
        built(partial(nnx.Embed, 200, 64)),
    ],
    ids=BOTH,
)
@parametrize_dtypes
def test_an_embedding_has_the_std_given(embed, dtype):
    # Passes (200, 64).
    embedding = embed(dtype, embedding_init=jinit.normal(std=0.02))["embedding"]
    assert (embedding.dtype, embedding.shape) == (dtype, (200, 64))
    check_std(embedding, 0.02)


NORMS = {
    "LayerNorm of linen": linen(nn.LayerNorm, (1, 8)),
    "LayerNorm of nnx": built(partial(nnx.LayerNorm, 8)),
    "RMSNorm of linen": linen(nn.RMSNorm, (1, 8)),
    "RMSNorm of nnx": built(partial(nnx.RMSNorm, 8)),
    "GroupNorm of linen": linen(partial(nn.GroupNorm, num_groups=2), (1, 8)),
    "GroupNorm of nnx": built(partial(nnx.GroupNorm, 8, num_groups=2)),
}


@pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)
@parametrize_dtypes
def test_a_normalization_layer_takes_ones_uncalled(layer, dtype):
    # Passes (8,).
    scale = layer(dtype, scale_init=jinit.ones)["scale"]
    chex.assert_trees_all_equal(scale, jnp.ones(8, dtype))


# Biases

WIDE = {
    "linen": linen(partial(nn.Dense, 2000), (1, 4)),
    "nnx": built(partial(nnx.Linear, 4, 2000)),
}
parametrize_wide = pytest.mark.parametrize("wide", WIDE.values(), ids=WIDE)


@pytest.mark.parametrize(
    "zeros", [jinit.zeros, jinit.zeros()], ids=["uncalled", "called"]
)
@parametrize_wide
@parametrize_dtypes
def test_zeros_is_a_bias_init_called_and_uncalled(zeros, wide, dtype):
    bias = wide(dtype, bias_init=zeros)["bias"]
    chex.assert_trees_all_equal(bias, jnp.zeros(2000, dtype))


@parametrize_wide
@parametrize_dtypes
def test_a_uniform_bias_has_the_bounds_given(wide, dtype):
    bias = wide(dtype, bias_init=jinit.uniform(a=-0.5, b=1.0))["bias"]
    assert bias.dtype == dtype
    check_mean(bias, 0.25, 1.5 / math.sqrt(12))
    check_std(bias, 1.5 / math.sqrt(12), KURTOSIS_OF_UNIFORM, mean=0.25)


@pytest.mark.parametrize(
    "layer",
    [
        # Pass (4 · 500,), flattened: a shape that has no fan_in.
        linen(partial(nn.DenseGeneral, (4, 500)), (1, 12)),
        built(partial(nnx.LinearGeneral, 12, (4, 500))),
        # Passes (4, 500), as given, whose axes are both outputs.
        built(partial(nnx.Einsum, "btd,dhk->bthk", (12, 4, 500), (4, 500))),
    ],
    ids=[*BOTH, "Einsum"],
)
def test_a_bias_takes_the_fan_in_of_its_kernel_as_a_number(layer):
    # torch's default is U[±1 / sqrt(fan_in)].
    init = jinit.kaiming_uniform(a=math.sqrt(5), fan_in=12)
    bias = layer(bias_init=init, kernel_init=jinit.zeros)["bias"]
    assert bias.shape == (4, 500)
    check_std(bias, 1 / math.sqrt(3 * 12), KURTOSIS_OF_UNIFORM)


@parametrize_wide
def test_a_bias_without_a_fan_asks_for_it(wide):
    with pytest.raises(ValueError, match="fan_in="):
        wide(bias_init=jinit.kaiming_uniform())


# Recurrent cells

INPUTS, HIDDEN = 40, 24


def carried(cell: Callable[..., nn.Module]) -> Parameters:
    carry = (1, HIDDEN) if cell is nn.GRUCell else ((1, HIDDEN),) * 2

    def parameters(dtype=jnp.float32, **inits):
        module = cell(HIDDEN, dtype=dtype, param_dtype=dtype, **inits)
        ones = partial(jnp.ones, dtype=dtype)
        state = ones(carry) if cell is nn.GRUCell else tuple(map(ones, carry))
        return module.init(jax.random.key(0), state, ones((1, INPUTS)))["params"]

    return parameters


def of_nnx(cell: Callable[..., nnx.Module]) -> Parameters:
    return built(partial(cell, INPUTS, HIDDEN))


class Cell(NamedTuple):
    """A recurrent cell, and the names of the kernels of its inputs and of its state."""

    parameters: Parameters
    inputs: tuple[str, ...]
    state: tuple[str, ...]


LSTM = ("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")
LSTM_OF_NNX = ("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")
GRU, PACKED = (("ir", "iz", "in"), ("hr", "hz", "hn")), (("dense_i",), ("dense_h",))
CELLS = {
    "LSTMCell of linen": Cell(carried(nn.LSTMCell), *LSTM),
    "OptimizedLSTMCell of linen": Cell(carried(nn.OptimizedLSTMCell), *LSTM),
    "GRUCell of linen": Cell(carried(nn.GRUCell), *GRU),
    "LSTMCell of nnx": Cell(of_nnx(nnx.LSTMCell), *LSTM_OF_NNX),
    "OptimizedLSTMCell of nnx": Cell(of_nnx(nnx.OptimizedLSTMCell), *PACKED),
    "GRUCell of nnx": Cell(of_nnx(nnx.GRUCell), *PACKED),
}
parametrize_cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


@pytest.mark.parametrize("cell", [c for c in CELLS if CELLS[c].inputs != ("dense_i",)])
def test_each_gate_has_its_own_fans(cell):
    # Every gate has a kernel of its own: passes (40, 24).
    cell = CELLS[cell]
    params = cell.parameters(kernel_init=jinit.xavier_uniform())
    kernels = jnp.stack([params[name]["kernel"] for name in cell.inputs])
    check_std(kernels, math.sqrt(2 / (INPUTS + HIDDEN)), KURTOSIS_OF_UNIFORM)


@pytest.mark.parametrize(
    ("cell", "gates"), [("OptimizedLSTMCell of nnx", 4), ("GRUCell of nnx", 3)]
)
def test_packed_gates_count_together_as_outputs(cell, gates):
    # All gates are one kernel: passes (40, gates · 24), unlike in flax.linen. The fan
    # of one gate has to be given.
    for init, outputs in [
        (jinit.xavier_uniform(), gates * HIDDEN),
        (jinit.xavier_uniform(fan_out=HIDDEN), HIDDEN),
    ]:
        kernel = CELLS[cell].parameters(kernel_init=init)["dense_i"]["kernel"]
        check_std(kernel, math.sqrt(2 / (INPUTS + outputs)), KURTOSIS_OF_UNIFORM)


# Rounding to bfloat16 moves an element by at most 2^-9 of itself, and so an element of
# QQᵀ, the product of two unit vectors, by at most 2 · 2^-9 and the square of it.
@pytest.mark.parametrize(
    ("dtype", "off"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7.9)]
)
@parametrize_cells
def test_recurrent_kernels_are_orthogonal_up_to_rounding(cell, dtype, off):
    # Passes (24, 24) for each gate; packed, (24, gates · 24) with orthonormal rows.
    params = cell.parameters(dtype, recurrent_kernel_init=jinit.orthogonal())
    for name in cell.state:
        assert params[name]["kernel"].dtype == dtype
        rows = as_double(params[name]["kernel"])
        np.testing.assert_allclose(rows @ rows.T, np.eye(HIDDEN), atol=off)


def test_an_identity_is_a_recurrent_kernel():
    init = jinit.eye(gain=0.5)
    params = CELLS["GRUCell of linen"].parameters(recurrent_kernel_init=init)
    np.testing.assert_array_equal(params["hr"]["kernel"], np.eye(HIDDEN) / 2)


def test_a_carry_starts_as_the_initializer_says():
    cell = nnx.GRUCell(INPUTS, HIDDEN, rngs=nnx.Rngs(0))
    carry = cell.initialize_carry((2, INPUTS), nnx.Rngs(0), jinit.constant(0.5))
    np.testing.assert_array_equal(carry, np.full((2, HIDDEN), 0.5))


# Partitioning


def test_with_partitioning_boxes_the_same_array(key):
    init, x = jinit.kaiming_normal(), jnp.ones((1, 4))
    boxed_init = nn.with_partitioning(init, ("embed", "mlp"))
    boxed = nn.Dense(8, kernel_init=boxed_init).init(key, x)
    assert boxed["params"]["kernel"].names == ("embed", "mlp")
    plain = nn.Dense(8, kernel_init=init).init(key, x)
    chex.assert_trees_all_equal(nn.unbox(boxed), plain)


def test_with_partitioning_boxes_what_dense_general_flattens(key):
    # Passes (4, 2 · 3), and names the axes of (4, 2, 3).
    axes = "embed", "heads", "kv"
    init = nn.with_partitioning(jinit.xavier_normal(), axes)
    layer = nn.DenseGeneral((2, 3), kernel_init=init)
    specs = nn.get_partition_spec(layer.init(key, jnp.ones((1, 4))))
    assert specs["params"]["kernel"] == jax.sharding.PartitionSpec(*axes)


@pytest.fixture(params=["Auto", "Explicit"])
def mesh(request):
    """The eight devices that conftest.py asks for, along one axis."""
    kind = jax.sharding.AxisType[request.param]
    mesh = jax.make_mesh((8,), ("model",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        yield mesh


@pytest.mark.parametrize("transform", [lambda create: create, nnx.jit])
def test_with_partitioning_lays_out_the_same_kernel_over_the_mesh(mesh, transform):
    def kernel(init):
        return nnx.Linear(4, 16, kernel_init=init, rngs=nnx.Rngs(0)).kernel

    init, axes = jinit.xavier_normal(), (None, "model")
    laid = transform(lambda: kernel(nnx.with_partitioning(init, axes)))()[...]
    wanted = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    assert laid.sharding.is_equivalent_to(wanted, ndim=2)
    # JAX 0.12 rounds erf_inv by the loop it is in.
    check_units(laid, kernel(init)[...], 2)


# Modules of users


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


# Modules that hold an initializer are values


class Holder(nnx.Module):
    def __init__(self, init):
        self.init = init
        self.table = nnx.Param(jnp.zeros((8, 8)))


HOLDERS = {
    "linen": lambda init: nn.Dense(4, kernel_init=init),
    "nnx": lambda init: nnx.graphdef(Holder(init)),
}
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
parametrize_holders = pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)


@parametrize_holders
@pytest.mark.parametrize("make", INITS.values(), ids=INITS)
def test_modules_built_alike_are_equal_and_hash_alike(holder, make):
    one, other = holder(make()), holder(make())
    assert one == other
    assert hash(one) == hash(other)


@parametrize_holders
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
def test_modules_differ_where_an_option_differs(holder, one, other):
    assert holder(one) != holder(other)


def traced_by_linen(traces):
    @partial(jax.jit, static_argnums=0)
    def init(module, key):
        traces.append(module)
        return module.init(key, jnp.ones((1, 3)))

    return lambda init_: init(nn.Dense(4, kernel_init=init_), jax.random.key(0))


def traced_by_nnx(traces):
    @nnx.jit
    def total(model):
        traces.append(model)
        return model.table[...].sum()

    return lambda init: total(Holder(init))


@pytest.mark.parametrize("traced_by", [traced_by_linen, traced_by_nnx])
def test_a_rebuilt_module_is_traced_again_only_for_other_options(traced_by):
    traces = []
    call = traced_by(traces)
    for std, count in [(0.5, 1), (0.5, 1), (0.25, 2), (0.5, 2)]:
        call(jinit.normal(std=std))
        assert len(traces) == count


def test_a_module_prints_its_initializer():
    module = nn.Dense(4, kernel_init=jinit.kaiming_normal(mode="fan_out"))
    assert "kernel_init = kaiming_normal(mode='fan_out')" in repr(module)


@parametrize_wide
@pytest.mark.parametrize("name", [name for name in INITS if name != "zeros"])
def test_an_uncalled_factory_says_to_call_it(wide, name):
    with pytest.raises(TypeError, match=rf"call it: kernel_init=jinit\.{name}\("):
        wide(kernel_init=getattr(jinit, name))


# Lifted transforms: three layers at once, each from its own key


class Block(nn.Module):
    kernel_init: jinit.Initializer

    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(x.shape[-1], kernel_init=self.kernel_init)(x), None


OF_EACH = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}


def _kernels(model, features):
    x = jnp.ones((1, features))
    params = model.init(jax.random.key(0), x, None)["params"]
    return params["Dense_0"]["kernel"]


def scanned(init, features=64):
    return _kernels(nn.scan(Block, **OF_EACH, length=3)(init), features)


def mapped(init, features=64):
    lifted = nn.vmap(Block, **OF_EACH, in_axes=(None, None), axis_size=3)
    return _kernels(lifted(init), features)


def ensemble(init, features=64):
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def create(rngs):
        return nnx.Linear(features, features, kernel_init=init, rngs=rngs)

    return nnx.jit(create)(nnx.Rngs(0)).kernel[...]


parametrize_lifted = pytest.mark.parametrize("lifted", [scanned, mapped, ensemble])


@parametrize_lifted
def test_each_lifted_layer_has_the_fans_of_one_layer(lifted):
    # Passes (64, 64), not (3, 64, 64).
    kernels = lifted(jinit.xavier_normal())
    assert kernels.shape == (3, 64, 64)
    check_std(kernels, math.sqrt(2 / 128))


@parametrize_lifted
def test_lifted_layers_draw_independently_of_each_other(lifted):
    first, second, third = lifted(jinit.normal())
    # The difference of two independent normals has twice their variance.
    for difference in (first - second, second - third, third - first):
        check_std(difference, math.sqrt(2))


@parametrize_lifted
def test_lifted_layers_are_each_orthogonal(lifted):
    for kernel in as_double(lifted(jinit.orthogonal(), 16)):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(16), atol=1e-5)


@pytest.mark.bits
def test_an_ensemble_equals_a_loop_over_its_keys_bit_for_bit():
    init = jinit.kaiming_uniform()
    each = nnx.split_rngs(splits=3)(nnx.vmap(lambda rngs: rngs.params()))
    loop = [init(key, (64, 64)) for key in each(nnx.Rngs(0))]
    np.testing.assert_array_equal(ensemble(init), np.stack(loop))


@parametrize_wide
def test_a_sweep_of_models_is_one_vmap(wide):
    def kernel(std):
        return wide(kernel_init=jinit.normal(std=std))["kernel"]

    stds = [0.5, 1.0, 3.0]
    swept = jax.vmap(kernel)(jnp.array(stds))
    chex.assert_trees_all_close(swept, jnp.stack([*map(kernel, stds)]), rtol=1e-6)


# Models of every initializer

PAIRS = [
    (jinit.xavier_normal(gain="relu"), jinit.uniform(a=-0.1, b=0.1)),
    (jinit.kaiming_normal(), jinit.kaiming_uniform(a=2.0, fan_in=8)),
    (jinit.trunc_normal(std=0.02, a=-0.04, b=0.04), jinit.trunc_normal(a=3, b=4)),
    (jinit.sparse(0.5, std=0.3), jinit.normal(mean=1.0, std=0.3)),
    (jinit.eye(gain=0.3), jinit.constant(0.1)),
    (jinit.orthogonal(gain="tanh"), jinit.zeros()),
    (jinit.xavier_uniform(), jinit.zeros),
]


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        image = nn.Conv(8, (3, 3), kernel_init=jinit.dirac())(x)
        x = nn.LayerNorm(scale_init=jinit.ones)(image.mean((1, 2)))
        for kernel_init, bias_init in PAIRS:
            x = nn.Dense(8, kernel_init=kernel_init, bias_init=bias_init)(x)
        return x


class ModelOfNnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), kernel_init=jinit.dirac(), rngs=rngs)
        self.norm = nnx.LayerNorm(8, scale_init=jinit.ones, rngs=rngs)
        self.layers = nnx.List(
            nnx.Linear(8, 8, kernel_init=kernel, bias_init=bias, rngs=rngs)
            for kernel, bias in PAIRS
        )


def tree_of(made):
    return pure(made) if isinstance(made, nnx.Module) else made


MODELS = {
    "linen": (jax.jit, jax.eval_shape, linen(lambda **_: Model(), (1, 4, 4, 3))),
    "nnx": (nnx.jit, nnx.eval_shape, lambda: ModelOfNnx(nnx.Rngs(0))),
}
parametrize_models = pytest.mark.parametrize(
    ("jit", "eval_shape", "create"), MODELS.values(), ids=MODELS
)


@pytest.mark.bits
@pytest.mark.slow
@parametrize_models
def test_a_model_made_under_jit_is_the_eager_one_bit_for_bit(jit, eval_shape, create):
    chex.assert_trees_all_equal(*map(tree_of, (jit(create)(), create())))


@pytest.mark.slow
@parametrize_models
def test_eval_shape_gives_the_shapes_of_the_model(jit, eval_shape, create):
    shapes, params = map(tree_of, (eval_shape(create), create()))
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, params)
    assert len(jax.tree.leaves(params)) == 2 * (2 + len(PAIRS))
