"""One of two processes that initialize a global array: see `test_jit_init.py`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit


def init(key):
    return {
        "w": jinit.normal()(key, (16, 32)),
        "zeros": jnp.zeros((8, 4)),
        "u": jinit.uniform()(jax.random.fold_in(key, 1), (4, 8, 6)),
    }


def main(port, process):
    jax.distributed.initialize(f"localhost:{port}", 2, int(process))
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    specs = {"w": ("x", "y"), "zeros": (), "u": (None, "x", "y")}
    places = {
        name: NamedSharding(mesh, PartitionSpec(*axes)) for name, axes in specs.items()
    }
    ours = jinit.jit_init(init, out_shardings=places)(jax.random.key(0))
    alone = jinit.jit_init(init)(jax.random.key(0))
    for name, whole in alone.items():
        assert ours[name].sharding == places[name]
        for shard in ours[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, whole[shard.index])

    automatic = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    place = NamedSharding(automatic, PartitionSpec("x", "y"))

    def constrained(key):
        """A model of which one array is constrained to the mesh, by its metadata."""
        arrays = init(key)
        w = jax.lax.with_sharding_constraint(arrays["w"], place)
        return arrays | {"w": w}

    theirs = jax.jit(constrained)(jax.random.key(0))
    for name, w in jinit.jit_init(constrained)(jax.random.key(0)).items():
        assert w.sharding.is_equivalent_to(theirs[name].sharding, w.ndim), name
        assert w.is_fully_addressable == theirs[name].is_fully_addressable, name
        assert w.committed == theirs[name].committed, name
    print(jax.process_count(), len(jax.devices()))


if __name__ == "__main__":
    main(*sys.argv[1:])
