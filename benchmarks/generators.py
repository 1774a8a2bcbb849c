"""Times draws by generator and backend: `python benchmarks/generators.py`.

16.8 M numbers on JAX's default device, from keys of each implementation, in turns in
one process: ours, those of `jax.nn.initializers`, and of torch's own generator on a
device of that kind. "of a copy" is the time that a copy of the array takes over ours,
where 1 is as fast as memory goes. It is the benchmark for a GPU, beside `sampling.py`:
what `--write` records is named after the backend.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
from _record import recorded
from _timing import Case, contenders, interleave, peer_torch, ratio

import jinit

SIDE, ROUNDS = 4096, 11
CASES = {
    "uniform": Case(jinit.uniform(), jax.nn.initializers.uniform(1.0), "uniform_"),
    "normal": Case(jinit.normal(), jax.nn.initializers.normal(1.0), "normal_"),
}


def copy(dtype: str) -> Callable[[], jax.Array]:
    """Copies an array of that many numbers."""
    array = jnp.ones((SIDE, SIDE), dtype)
    return lambda: jnp.copy(array).block_until_ready()


def main() -> None:
    print("| initializer | keys | dtype | ours, ms | of a copy | jax | torch |")
    print("|---|---|---|--:|--:|--:|--:|")
    for name, case in CASES.items():
        for impl in ("threefry2x32", "rbg"):
            for dtype in ("float32", "bfloat16"):
                draws = contenders(case, SIDE, dtype, impl) | {"copy": copy(dtype)}
                seconds = interleave(draws, ROUNDS)
                ours, copied = (statistics.median(seconds[w]) for w in ("ours", "copy"))
                beside = [ratio(seconds, peer) or "-" for peer in ("jax", "torch")]
                cells = f"{ours * 1e3:.2f} | {copied / ours:.2f}"
                row = [name, impl, dtype, cells, *map(str, beside)]
                print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    with recorded("generators", "Generators", *(["torch"] * bool(peer_torch()))):
        main()
