"""Times every random initializer beside its peers: `python benchmarks/sampling.py`.

jinit, `jax.nn.initializers` and, where it is installed, `torch.nn.init` draw the same
number of elements in turns in one process. The JAX functions are jitted and return a
new array; torch fills a buffer that exists, which spares it the page faults of a fresh
one. Each ratio is the median over the rounds of the peer's time to ours in that round,
with its quartiles: over 1 we are faster. "zeros" is our time as a multiple of that of
`jnp.zeros`, the floor for a new array.

`--write` puts the tables into `benchmarks/results/`, with the date and the device, in a
file named after the version of JAX and its backend.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from _record import recorded
from _timing import Case, contenders, interleave, peer_torch, ratio

import jinit

peers = jax.nn.initializers


def stacked_normal(key: jax.Array, shape: tuple, dtype: object) -> jax.Array:
    """What users of JAX write for rows that are drawn each from a key of its own."""
    init = peers.normal(1.0)
    keys = jax.random.split(key, shape[0])
    return jax.vmap(lambda key: init(key, shape[1:], dtype))(keys)


CASES = {
    "uniform": Case(jinit.uniform(), peers.uniform(1.0), "uniform_"),
    "normal": Case(jinit.normal(), peers.normal(1.0), "normal_"),
    "trunc_normal": Case(
        jinit.trunc_normal(), peers.truncated_normal(1.0), "trunc_normal_"
    ),
    "xavier_uniform": Case(
        jinit.xavier_uniform(), peers.glorot_uniform(), "xavier_uniform_"
    ),
    "xavier_normal": Case(
        jinit.xavier_normal(), peers.glorot_normal(), "xavier_normal_"
    ),
    "kaiming_uniform": Case(
        jinit.kaiming_uniform(), peers.he_uniform(), "kaiming_uniform_"
    ),
    "kaiming_normal": Case(
        jinit.kaiming_normal(), peers.he_normal(), "kaiming_normal_"
    ),
    "glorot_uniform": Case(jinit.glorot_uniform(), peers.glorot_uniform(), None),
    "lecun_normal": Case(jinit.lecun_normal(), peers.lecun_normal(), None),
    "truncated_normal": Case(
        jinit.truncated_normal(), peers.truncated_normal(1.0), None
    ),
    "stack": Case(jinit.stack(jinit.normal()), stacked_normal, None),
    "sparse": Case(jinit.sparse(0.9), None, "sparse_", {"sparsity": 0.9}),
    "orthogonal": Case(jinit.orthogonal(), peers.orthogonal(), "orthogonal_"),
}
SIDES = {"64 K": 256, "1 M": 1024, "16.8 M": 4096}
# A QR decomposition of 4096 x 4096 takes the peers seconds.
ORTHOGONAL_SIDES = {"256²": 256, "1024²": 1024, "2048²": 2048}


def compile_seconds(init: Callable, side: int) -> float:
    """Seconds to trace, lower and compile a float32 draw, with empty caches."""
    jax.clear_caches()
    key = jax.random.key(0)
    start = time.perf_counter()
    jax.jit(lambda key: init(key, (side, side), jnp.float32)).lower(key).compile()
    return time.perf_counter() - start


def warm_table(dtype: str, rounds: int, names: list[str]) -> list[str]:
    """Markdown rows: every initializer at every size."""
    rows = ["| initializer | elements | ours, ms | zeros | jax | torch |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    for name in names:
        sides = ORTHOGONAL_SIDES if name == "orthogonal" else SIDES
        for label, side in sides.items():
            print(f"  {dtype} {name} {label}", file=sys.stderr)
            seconds = interleave(contenders(CASES[name], side, dtype), rounds)
            ours = statistics.median(seconds["ours"])
            floor = ours / statistics.median(seconds["zeros"])
            rows.append(
                f"| `{name}` | {label} | {ours * 1e3:.2f} | {floor:.1f} | "
                f"{ratio(seconds, 'jax') or '-'} | {ratio(seconds, 'torch') or '-'} |"
            )
    return rows


def cold_table(rounds: int, names: list[str]) -> list[str]:
    """Markdown rows: compile time of a float32 draw of every size."""
    rows = ["| initializer | elements | ours, ms | jax |", "|---|--:|--:|--:|"]
    for name in names:
        sides = ORTHOGONAL_SIDES if name == "orthogonal" else SIDES
        for label, side in sides.items():
            print(f"  compile {name} {label}", file=sys.stderr)
            seconds: dict[str, list[float]] = {"ours": [], "jax": []}
            for _ in range(rounds):
                seconds["ours"].append(compile_seconds(CASES[name].ours, side))
                if (peer := CASES[name].jax) is not None:
                    seconds["jax"].append(compile_seconds(peer, side))
            ours = statistics.median(seconds["ours"])
            beside = ratio(seconds, "jax") or "-"
            rows.append(f"| `{name}` | {label} | {ours * 1e3:.0f} | {beside} |")
    return rows


def report(rounds: int, names: list[str]) -> None:
    """Prints all tables."""
    for dtype in ("float32", "bfloat16"):
        table = "\n".join(warm_table(dtype, rounds, names))
        print(f"## Warm, {dtype}\n\n{table}\n")
    table = "\n".join(cold_table(max(3, rounds // 3), names))
    print(f"## Compile time, float32\n\n{table}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("names", nargs="*", help="initializers; all by default")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/")
    args = parser.parse_args()
    if unknown := set(args.names) - set(CASES):
        parser.error(f"unknown initializers: {', '.join(sorted(unknown))}")
    peers = [] if peer_torch() is None else ["torch"]
    with recorded("sampling", "Sampling, beside the peers", *peers):
        report(args.rounds, args.names or list(CASES))


if __name__ == "__main__":
    main()
