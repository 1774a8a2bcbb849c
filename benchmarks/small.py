"""Times small draws and first ones, beside the peers: `python benchmarks/small.py`.

- first: milliseconds of the first draw of a process, of 256 x 256 normals, imports and
  key not counted; the median of five fresh processes.
- shapes: milliseconds a draw of 20 distinct small shapes, each for the first time and
  then again, one after the other; and of a plan of two leaves of each shape, where that
  of JAX is one jitted function of all of them. The median of three fresh processes.
- call: microseconds of a warm call for 8 x 8 normals, and those of a jitted function
  that does no more than draw them.

They read no compiled program from a cache.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from _fresh import python
from _record import recorded
from _timing import peer_torch

import jinit

CALLS = 2000
SHAPES = [(8 + n, 16) for n in range(20)]
theirs = jax.nn.initializers.normal(1.0)
LEAVES = {f"{n}": jax.ShapeDtypeStruct(s, "float32") for n, s in enumerate(2 * SHAPES)}


def seconds(draw: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(draw())
    return time.perf_counter() - start


def first(who: str) -> list[float]:
    key = jax.block_until_ready(jax.random.key(0))
    if who == "torch":
        torch = peer_torch()
        return [seconds(lambda: torch.nn.init.normal_(torch.empty(256, 256)))]
    init = {"jinit": jinit.normal(), "jax": theirs}[who]
    return [seconds(lambda: init(key, (256, 256), jnp.float32))]


def shapes(who: str) -> list[float]:
    """A draw of each shape, for the first time and again."""
    key = jax.block_until_ready(jax.random.key(0))
    if who == "torch":
        torch = peer_torch()
        draws = [lambda s=s: torch.nn.init.normal_(torch.empty(s)) for s in SHAPES]
    else:
        init = {"jinit": jinit.normal(), "jax": theirs}[who]
        draws = [lambda s=s: init(key, s, jnp.float32) for s in SHAPES]
    return [seconds(lambda: [d() for d in draws]) / len(SHAPES) for _ in range(2)]


def plan(who: str) -> list[float]:
    """All leaves at once, for the first time and again."""
    key = jax.block_until_ready(jax.random.key(0))
    if who == "jinit":
        init = jinit.plan(LEAVES, {"**": jinit.normal()}).init
    else:

        @jax.jit
        def init(key: jax.Array) -> dict[str, jax.Array]:
            keys = jax.random.split(key, len(LEAVES))
            pairs = zip(LEAVES.items(), keys, strict=True)
            return {
                path: theirs(k, leaf.shape, leaf.dtype) for (path, leaf), k in pairs
            }

    return [seconds(lambda: init(key)) / len(LEAVES) for _ in range(2)]


def call(who: str) -> list[float]:
    """A warm eager draw."""
    key = jax.random.key(0)
    if who == "torch":
        torch = peer_torch()
        array = torch.empty(8, 8)
        return each(lambda: torch.nn.init.normal_(array))
    init = theirs if who == "jax" else jinit.normal()
    if who == "jitted":
        jitted = jax.jit(lambda key: init(key, (8, 8), jnp.float32))
        return each(lambda: jitted(key))
    return each(lambda: init(key, (8, 8), jnp.float32))


def each(draw: Callable[[], Any]) -> list[float]:
    return [min(timeit.repeat(draw, number=CALLS, repeat=5)) / CALLS]


TASKS = {"first": first, "shapes": shapes, "plan": plan, "call": call}
ROWS = {
    "first draw, ms": ("first", 0, 1e3, 5),
    "20 shapes, ms each": ("shapes", 0, 1e3, 3),
    "the same again": ("shapes", 1, 1e3, 3),
    "a plan of 40 leaves, ms each": ("plan", 0, 1e3, 3),
    "the same plan again": ("plan", 1, 1e3, 3),
    "a warm call, µs": ("call", 0, 1e6, 3),
}
WHO = {"plan": ("jinit", "jax"), "call": ("jinit", "jitted", "jax", "torch")}


def in_child(task: str, who: str) -> list[float]:
    return json.loads(python(__file__, "--child", task, who))


def main() -> None:
    columns = "jinit", "jax", "torch", "jitted"
    print("| normals | jinit | `jax.nn.initializers` | torch | jitted |")
    print("|---|--:|--:|--:|--:|")
    found: dict[tuple[str, str], list[list[float]]] = {}
    for label, (task, number, unit, rounds) in ROWS.items():
        cells = []
        for who in columns:
            if who not in WHO.get(task, columns[:3]):
                cells.append("-")
                continue
            if (task, who) not in found:
                found[task, who] = [in_child(task, who) for _ in range(rounds)]
            times = [unit * each[number] for each in found[task, who]]
            cells.append(f"{statistics.median(times):.3g}")
        print(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(json.dumps(TASKS[sys.argv[2]](sys.argv[3])))
    else:
        with recorded("small", "Small draws and first ones", "torch"):
            main()
