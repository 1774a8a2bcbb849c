"""On a mesh of eight devices: the same values, each device making its own part."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit

SHAPE = (64, 48)
ELEMENTWISE = [
    *(jinit.zeros(), jinit.ones(), jinit.constant(0.5), jinit.eye()),
    *(jinit.uniform(), jinit.normal(), jinit.trunc_normal(), jinit.sparse(0.5)),
    jinit.trunc_normal(a=4.0, b=5.0),
    *(jinit.xavier_uniform(), jinit.xavier_normal()),
    *(jinit.kaiming_uniform(), jinit.kaiming_normal()),
    *(jinit.lecun_normal(), jinit.glorot_uniform(), jinit.truncated_normal()),
    *(jinit.stack(jinit.normal()), jinit.looks_linear(jinit.he_normal())),
    *(jinit.blocks(jinit.lecun_normal(), 3), jinit.blocks(jinit.normal(), 4, axis=0)),
]
LAYOUTS = [
    PartitionSpec("x", "y"),
    PartitionSpec("y", "x"),
    PartitionSpec(("x", "y")),
    PartitionSpec(None, ("x", "y")),
    PartitionSpec("x"),
    PartitionSpec(),
]
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective", "reduce-scatter")


def mesh_of(axis_type):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(axis_type,) * 2)


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    return mesh_of(request.param)


@pytest.mark.bits
@pytest.mark.parametrize("init", ELEMENTWISE, ids=str)
def test_a_sharded_draw_is_the_draw(init, mesh, key):
    sharding = NamedSharding(mesh, PartitionSpec("x", "y"))

    w = init(key, SHAPE, None, sharding)

    assert w.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(w, init(key, SHAPE))


@pytest.mark.parametrize("spec", LAYOUTS, ids=str)
@pytest.mark.parametrize("inside_jit", [False, True])
def test_every_layout_gives_the_same_values(spec, inside_jit, mesh, key):
    init = jinit.normal()

    def draw(key):
        return init(key, SHAPE, None, spec)

    with jax.set_mesh(mesh):
        w = (jax.jit(draw) if inside_jit else draw)(key)

    assert w.sharding.is_equivalent_to(NamedSharding(mesh, spec), 2)
    np.testing.assert_array_equal(w, init(key, SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "shape"),
    [
        (jinit.orthogonal(), SHAPE),
        (jinit.scaled_orthogonal(), SHAPE),
        (jinit.stack(jinit.orthogonal()), (4, 6, 6)),
        (jinit.delta_orthogonal(), (4, 6, 6)),
        (jinit.convolution_orthogonal(), (4, 6, 6)),
    ],
    ids=str,
)
def test_orthogonal_kernels_are_the_same_up_to_rounding(init, shape, mesh, key):
    w = init(key, shape, None, NamedSharding(mesh, PartitionSpec("x", "y")))

    assert w.sharding.spec[:2] == ("x", "y")
    np.testing.assert_allclose(w, init(key, shape), atol=2e-6)


def test_a_traced_option_can_be_sharded_too(mesh, key):
    sharding = NamedSharding(mesh, PartitionSpec("x"))

    w = jax.jit(lambda std: jinit.normal(std=std)(key, SHAPE, None, sharding))(2.0)

    np.testing.assert_array_equal(w, jinit.normal(std=2.0)(key, SHAPE))


PLAIN = [jinit.uniform(), jinit.normal(), jinit.trunc_normal(), jinit.lecun_normal()]


@pytest.mark.parametrize(
    ("init", "spec"),
    [
        *((init, spec) for init in PLAIN for spec in LAYOUTS[:5]),
        *((jinit.stack(jinit.normal()), spec) for spec in LAYOUTS[:5]),
    ],
    ids=str,
)
def test_no_device_sees_more_than_its_part(init, spec, key):
    """Neither collectives nor memory for the whole array in the compiled program."""
    shape = (1024, 512)
    sharding = NamedSharding(mesh_of(AxisType.Auto), spec)

    program = jax.jit(lambda key: init(key, shape), out_shardings=sharding)
    compiled = program.lower(key).compile()

    assert not any(name in compiled.as_text() for name in COLLECTIVES)
    part = 4 * np.prod(sharding.shard_shape(shape))
    memory = compiled.memory_analysis()
    assert memory.output_size_in_bytes <= part + 1024
    assert memory.temp_size_in_bytes < part


def test_an_empty_draw_is_laid_out_too(mesh, key):
    sharding = NamedSharding(mesh, PartitionSpec("x"))

    w = jinit.xavier_normal()(key, (8, 0), None, sharding)

    assert w.shape == (8, 0)
    assert w.sharding.is_equivalent_to(sharding, 2)


@pytest.mark.parametrize(
    "init",
    [
        *(jinit.zeros(), jinit.eye(), jinit.uniform(), jinit.xavier_normal()),
        *(jinit.trunc_normal(a=4.0, b=5.0), jinit.sparse(0.5), jinit.orthogonal()),
        *(jinit.lecun_normal(), jinit.blocks(jinit.normal(), 3)),
    ],
    ids=str,
)
def test_devices_draw_from_keys_of_their_own_in_shard_map(init, key):
    keys = jax.random.split(key, 4)
    draw = jax.shard_map(
        lambda keys: init(keys[0], (12, 6))[None],
        mesh=mesh_of(AxisType.Auto),
        in_specs=PartitionSpec("x"),
        out_specs=PartitionSpec("x"),
    )

    each = [init(key, (12, 6)) for key in keys]
    np.testing.assert_allclose(draw(keys), each, atol=1e-6)


def test_a_second_sharded_draw_does_not_compile_again(mesh, key):
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    traces = []

    class Counted(jinit.Initializer):
        def _draw(self, key, shape, dtype):
            traces.append(shape)
            return jax.numpy.zeros(shape, dtype)

    for _ in range(3):
        Counted()(key, (8,), None, sharding)

    assert len(traces) == 1
