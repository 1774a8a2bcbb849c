"""Times torch's stream beside torch: `python benchmarks/torch_stream.py`.

Each draws 16.8 M numbers, into an array of its own, from a stream that goes on. Times
are medians of nine turns, in which all take part one after another. The last column is
torch's time over ours: over 1 we are faster. `--write` puts the table into
`benchmarks/results/`, with the date.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import jax
import torch

import jinit

VERSION = torch.__version__.split("+")[0]
ROUNDS, SIZE = 9, 1 << 24
DRAWS = {
    "`uniform_`": ("uniform_", {}),
    "`kaiming_uniform_`": ("kaiming_uniform_", {}),
    "`normal_`": ("normal_", {}),
    "`kaiming_normal_`": ("kaiming_normal_", {}),
}
DTYPES = ("float32", "bfloat16")


def cases() -> dict[tuple[str, str, str], Callable[[], object]]:
    """By row, dtype and library: a call that draws."""
    stream, shape, calls = jinit.torch.manual_seed(0), (4096, SIZE // 4096), {}
    for row, (name, options) in DRAWS.items():
        for dtype in DTYPES:
            draw, fill = getattr(stream, name), getattr(torch.nn.init, name)
            kind = getattr(torch, dtype)
            calls[row, dtype, "jinit"] = (
                lambda draw=draw, dtype=dtype, options=options: jax.block_until_ready(
                    draw(shape, **options, dtype=dtype)
                )
            )
            calls[row, dtype, "torch"] = lambda fill=fill, kind=kind, options=options: (
                fill(torch.empty(shape, dtype=kind), **options)
            )
    return calls


def measure(calls: dict) -> dict:
    """The median time of each call in milliseconds."""
    for call in calls.values():
        call()  # compiles
    times: dict = {case: [] for case in calls}
    for _ in range(ROUNDS):
        for case, call in calls.items():
            start = time.perf_counter()
            call()
            times[case].append(1000 * (time.perf_counter() - start))
    return {case: statistics.median(found) for case, found in times.items()}


def report() -> str:
    """The table, headed by when and on what it was measured."""
    found = measure(cases())
    rows = [
        "| 16.8 M numbers, ms | torch | jinit | torch / jinit |",
        "|---|--:|--:|--:|",
    ]
    for row in DRAWS:
        for dtype in DTYPES:
            theirs, ours = (found[row, dtype, who] for who in ("torch", "jinit"))
            cells = f"{theirs:.0f} | {ours:.0f} | {theirs / ours:.2f}x"
            rows.append(f"| {row}, {dtype} | {cells} |")
    cores = f"{len(os.sched_getaffinity(0))} core(s), {platform.machine()}"
    table = "\n".join(rows)
    return f"""# torch's stream

Made by `python benchmarks/torch_stream.py --write`, which says how to read it.

{datetime.date.today()}, cpu, {cores}; jax {jax.__version__}, torch {VERSION}.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/")
    write = parser.parse_args().write
    text = report()
    print(text)
    if write:
        name = f"torch_stream-jax{jax.__version__}-cpu.md"
        (pathlib.Path(__file__).parent / "results" / name).write_text(text)


if __name__ == "__main__":
    main()
