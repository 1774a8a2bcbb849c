"""Times torch's stream beside torch: `python benchmarks/torch_stream.py`.

Each draws 16.8 M numbers, into an array of its own, from a stream that goes on. Times
are medians of nine turns, in which all take part one after another. The last column is
torch's time over ours: over 1 we are faster.

Then a ResNet-50 as torchvision builds it, of which every convolution is drawn twice, in
a fresh process: compiled first, without the imports, and again. Medians of five.
`--write` puts both into `benchmarks/results/`, with the date.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import torch
from _record import recorded

import jinit
from jinit.torch import Stream

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


def convolutions() -> list[tuple[str, int, int, int]]:
    """Those of ResNet-50: path, inputs, outputs and kernel size."""
    layers, inputs = [("conv1", 3, 64, 7)], 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            path, out = f"layer{stage + 1}/{block}", 4 * width
            sizes = (inputs, width, 1), (width, width, 3), (width, out, 1)
            layers += [(f"{path}/conv{n + 1}", *size) for n, size in enumerate(sizes)]
            if block == 0:
                layers.append((f"{path}/downsample", inputs, out, 1))
            inputs = out
    return layers


def resnet_of_torch() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(*sizes, bias=False) for _, *sizes in convolutions()]
    torch.nn.Linear(2048, 1000)
    for layer in layers:
        torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def resnet_of_jinit() -> None:
    own = partial(Stream.kaiming_normal_, mode="fan_out", nonlinearity="relu")
    convs = [
        (path, partial(Stream.conv, in_features=i, out_features=o, kernel_size=(k, k)))
        for path, i, o, k in convolutions()
    ]
    layers = [(path, partial(conv, bias=False)) for path, conv in convs]
    layers.append(("fc", partial(Stream.linear, in_features=2048, out_features=1000)))
    layers += [(path, partial(conv, bias=False, kernel_=own)) for path, conv in convs]
    struct = partial(jax.ShapeDtypeStruct, dtype="float32")
    tree = {path: {"kernel": struct((k, k, i, o))} for path, i, o, k in convolutions()}
    tree["fc"] = {"kernel": struct((2048, 1000)), "bias": struct((1000,))}
    jax.block_until_ready(jinit.torch.like(tree, layers, 0))


MODELS = {"torch": resnet_of_torch, "jinit": resnet_of_jinit}


def first_and_second(name: str) -> list[float]:
    """The times of a model in a fresh process, in seconds."""
    program = [sys.executable, __file__, "--model", name]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return [float(seconds) for seconds in done.stdout.split()]


def model_table() -> str:
    times: dict[str, list[list[float]]] = {name: [] for name in MODELS}
    for _ in range(5):
        for name, found in times.items():
            found.append(first_and_second(name))
    rows = ["| ResNet-50, s | torch | jinit | torch / jinit |", "|---|--:|--:|--:|"]
    for row, turn in (("first", 0), ("second", 1)):
        theirs, ours = (
            statistics.median(each[turn] for each in times[name]) for name in MODELS
        )
        rows.append(f"| {row} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.2f}x |")
    return "\n".join(rows)


def report() -> str:
    """The tables."""
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
    return "\n".join([*rows, "", model_table()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/")
    parser.add_argument("--model", choices=MODELS, help="times one, in this process")
    options = parser.parse_args()
    if options.model:
        for _ in range(2):
            start = time.perf_counter()
            MODELS[options.model]()
            print(time.perf_counter() - start)
        return
    with recorded("torch_stream", "torch's stream", "torch"):
        print(report())


if __name__ == "__main__":
    main()
