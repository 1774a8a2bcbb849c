"""Compiles the init of a model of 70 B parameters: `python benchmarks/large.py`.

Nothing is drawn: the plan of a model shaped like the largest Llama is compiled for a
mesh of 512 devices, which takes neither these nor their memory. It prints how long that
takes, what each device will hold of the parameters, the most that one of the programs
needs on a device, and whether any of them communicates.
"""

from __future__ import annotations

import math
import os
import re
import time
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=512"

import jax
import jax.numpy as jnp
from _record import recorded
from jax.sharding import NamedSharding, PartitionSpec

import jinit

WIDTH, HIDDEN, KEYS, WORDS, LAYERS = 8192, 28672, 1024, 128256, 80
LAYER = {
    **{
        "q": (WIDTH, WIDTH),
        "k": (WIDTH, KEYS),
        "v": (WIDTH, KEYS),
        "o": (WIDTH, WIDTH),
    },
    **{"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)},
    **{"attention_norm": (WIDTH,), "ffn_norm": (WIDTH,)},
}
residual = jinit.normal(std=0.02 / (2 * LAYERS) ** 0.5)
RULES = {
    "**/*norm": jinit.ones(),
    "layers/*/o": residual,
    "layers/*/down": residual,
    "**": jinit.normal(std=0.02),
}
COMMUNICATION = re.compile(r"all-(gather|reduce|to-all)|collective|reduce-scatter")


def model() -> dict[str, Any]:
    shapes = {
        "embed": (WORDS, WIDTH),
        "layers": [LAYER] * LAYERS,
        "final_norm": (WIDTH,),
        "head": (WIDTH, WORDS),
    }
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def main() -> None:
    mesh = jax.make_mesh((64, 8), ("data", "model"))

    def place(path: str, leaf: Any) -> NamedSharding:
        axes = ("data", "model") if len(leaf.shape) == 2 else ()
        return NamedSharding(mesh, PartitionSpec(*axes))

    start = time.perf_counter()
    plan = jinit.plan(model(), RULES)
    planned = time.perf_counter() - start
    init = jinit.jit_init(plan.init, out_shardings=place)
    programs = init.compile(jax.eval_shape(lambda: jax.random.key(0)))
    compiled = time.perf_counter() - start - planned
    parts = [place(entry.path, entry).shard_shape(entry.shape) for entry in plan]
    held = 2 * sum(map(math.prod, parts))  # in bfloat16
    needed = [program.memory_analysis() for program in programs]
    most = max(m.output_size_in_bytes + m.temp_size_in_bytes for m in needed)
    talks = any(COMMUNICATION.search(program.as_text()) for program in programs)
    size = sum(math.prod(entry.shape) for entry in plan)
    print(
        f"{size / 1e9:.1f} B parameters in {len(plan)} arrays, on {mesh.size} devices"
    )
    print(f"planned in {planned:.1f} s, traced and compiled in {compiled:.1f} s")
    print(f"{len(programs)} programs; one that communicates: {talks}")
    print(
        f"a device holds {held / 2**20:.0f} MiB; a program needs {most / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    with recorded("large", "A model of 70 B parameters, compiled for 512 devices"):
        main()
