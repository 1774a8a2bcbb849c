"""The size of signals in models by many hands: by default, by `roles`, and by `lsuv`.

    python benchmarks/roles.py [--write] [NAME ...]

For each contraction with a parameter the second moment of its result is measured, and
set beside what is meant: 1, or 1 / L of what is added to a stream of L branches. Left
out are recurrent kernels, which are orthogonal, and those that pass through a function
before they are used, so that their size has another effect or none. A cell is the
median, the lowest and the highest share, and how many are within a factor of 2.
`--write` puts the table into `benchmarks/results/`, with the date and the versions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from _record import recorded
from zoo import CASES

import jinit
from jinit.diagnostics import propagation

WAYS = "default", "roles", "lsuv"


def measured(name: str) -> tuple[dict[str, np.ndarray], float]:
    """The shares of a model for each way to draw it, and the seconds of `roles`."""
    model, params, inputs = CASES[name]()
    start = time.perf_counter()
    found = jinit.roles(model, jax.eval_shape(lambda: params), *inputs)
    seconds = time.perf_counter() - start
    meant = {
        role.path: 1 / max(role.branches, 1)
        for role in found
        if role.kind == "contraction" and not role.recurrent and not role.functions
    }
    drawn = jinit.plan(params, found.rules()).init(jax.random.key(0))
    scaled, _ = jinit.lsuv(model, drawn, *inputs)
    trees = zip(WAYS, (params, drawn, scaled), strict=True)
    return {way: shares(model, tree, inputs, meant) for way, tree in trees}, seconds


def shares(
    model: Any, params: Any, inputs: Any, meant: Mapping[str, float]
) -> np.ndarray:
    """The second moment of each contraction, as a share of what is meant."""
    seen = propagation(model, params, *inputs)
    found = []
    for name, moment in zip(seen.layers, seen.second_moment[0], strict=True):
        path = name if name in meant else name.rpartition("/")[0]  # one of a stack
        if path in meant:
            found.append(moment / meant[path])
    return np.array(found)


def cell(values: np.ndarray) -> str:
    if not values.size:
        return ""
    numbers = np.median(values), values.min(), values.max()
    median, low, high = (f"{number:.2g}" for number in numbers)
    return f"{median} ({low} to {high}), {within_two(values):.0%}"


def within_two(values: np.ndarray) -> float:
    return float(np.mean((values > 0.5) & (values < 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--write", action="store_true", help="keep the table")
    options = parser.parse_args()
    every: dict[str, list[float]] = {way: [] for way in WAYS}
    print("| model | kernels | read in | default | roles | lsuv |")
    print("|---|--:|--:|---|---|---|")
    for name in options.names or CASES:
        columns, seconds = measured(name)
        for way, values in columns.items():
            every[way] += values.tolist()
        count = columns["roles"].size
        cells = " | ".join(map(cell, columns.values()))
        print(f"| {name} | {count} | {seconds:.1f} s | {cells} |")
    cells = " | ".join(cell(np.array(values)) for values in every.values())
    print(f"| all | {len(every['roles'])} | | {cells} |")


if __name__ == "__main__":
    with recorded("roles", "The size of signals"):
        main()
