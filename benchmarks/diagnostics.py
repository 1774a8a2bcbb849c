"""Times the diagnostics of whole models: `python benchmarks/diagnostics.py`.

It prints, for GPT-2 small in float32 and bfloat16, the seconds that its audit against
the plan of its rules takes, and how far the resident memory rose over the parameters;
and the seconds that the propagation through its 12 blocks takes at width 256, the first
time, with tracing and compiling. `--write` puts the table into `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import models
from _record import recorded

import jinit
from jinit import diagnostics

RULES = {
    "**/Dense_0/kernel": jinit.normal(std=0.02 / (2 * models.LAYERS) ** 0.5),
    "**/Dense_2/kernel": jinit.normal(std=0.02 / (2 * models.LAYERS) ** 0.5),
    "**/kernel": jinit.normal(std=0.02),
    "**/embedding": jinit.normal(std=0.02),
    "**/scale": jinit.ones(),
    "**/bias": jinit.zeros(),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the table")
    parser.parse_args()
    with recorded("diagnostics", "Audits and lsuv"):
        for row in rows():
            print(row)


def rows() -> Iterator[str]:
    for dtype in ("float32", "bfloat16"):
        plan = jinit.plan(shapes(dtype), RULES)
        params = jax.block_until_ready(plan.init(jax.random.key(0)))
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        report, seconds, rise = measured(
            lambda p=params, plan=plan: diagnostics.audit(p, plan)
        )
        memory = rise / size
        yield (
            f"audit of GPT-2 small, {dtype}: {seconds:.1f} s, {memory:.2f}x the "
            f"parameters' memory beside them, {len(report.findings)} findings"
        )
        del params
    yield from propagation()


def propagation() -> Iterator[str]:
    models.WIDTH, models.HEADS = 256, 8
    model = models.GPT2(models.normal)
    tokens = jnp.zeros((4, 64), jnp.int32)
    params = jinit.jit_init(model.init)(jax.random.key(0), tokens)
    found, seconds, _ = measured(lambda: diagnostics.propagation(model, params, tokens))
    yield (
        f"propagation through 12 blocks of width 256, {len(found.layers)} layers: "
        f"{seconds:.1f} s"
    )


def shapes(dtype: str) -> object:
    model = models.GPT2(models.normal)
    tokens = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    tree = jax.eval_shape(model.init, jax.random.key(0), tokens)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), tree)


def measured(run: Callable) -> tuple:
    """What a call returns, its seconds, and how far the resident memory rose."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start, resident("VmHWM") - before


def resident(name: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
