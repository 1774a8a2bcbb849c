"""Reads and plans models of 405 B and 1 T parameters: `python benchmarks/large.py`.

Nothing is drawn: the shapes of the largest Llama 3.1, and of a mixture of 384 experts
like Kimi K2's, are read by `jinit.roles`, planned by what it found, and compiled for a
mesh of 4,096 devices, which takes neither these nor their memory. For each it prints

- read, plan, compile: seconds for the roles, the plan, and the trace and compilation;
- programs: how many were compiled, and how many of them communicate;
- a device: bytes that it will hold, the most that one program needs there, and the
  share: the bytes of all parameters over the number of devices.

Then the same of models of fewer layers, and for meshes of fewer devices. With `PICTURE`
as an argument it draws how the seconds grow.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _record import recorded
from jax.sharding import NamedSharding, PartitionSpec
from matplotlib.figure import Figure

import jinit

DEVICES = 4096
COMMUNICATION = re.compile(r"all-(gather|reduce|to-all)|collective|reduce-scatter")
Tree = Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder; with experts, those of all layers but the first."""

    width: int
    layers: int
    heads: int
    groups: int  # of queries, each with a key and a value
    head: int
    hidden: int
    words: int
    experts: int = 0
    expert_hidden: int = 0


LLAMA = Sizes(16384, 126, 128, 8, 128, 53248, 128256)
EXPERTS = Sizes(7168, 61, 64, 64, 128, 18432, 163840, 384, 2048)
MODELS = {"Llama 3.1, 405 B": LLAMA, "384 experts, 1 T": EXPERTS}


def shapes(sizes: Sizes) -> Tree:
    """The parameters, as shapes in bfloat16."""
    s = sizes
    attention = {
        "q": (s.width, s.heads, s.head),
        "k": (s.width, s.groups, s.head),
        "v": (s.width, s.groups, s.head),
        "o": (s.heads, s.head, s.width),
    }

    def perceptron(hidden: int, *stack: int) -> dict[str, tuple[int, ...]]:
        up, down = (*stack, s.width, hidden), (*stack, hidden, s.width)
        return {"gate": up, "up": up, "down": down}

    def layer(number: int) -> Tree:
        tree = {"attention": attention, "norms": [(s.width,)] * 2}
        if not s.experts or not number:
            return tree | {"perceptron": perceptron(s.hidden)}
        experts = perceptron(s.expert_hidden, s.experts)
        shared = perceptron(s.expert_hidden)
        router = (s.width, s.experts)
        return tree | {"experts": experts, "perceptron": shared, "router": router}

    tree = {
        "embed": (s.words, s.width),
        "layers": list(map(layer, range(s.layers))),
        "norm": (s.width,),
        "head": (s.width, s.words),
    }
    of = partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16)
    return jax.tree.map(of, tree, is_leaf=lambda node: isinstance(node, tuple))


def model(params: Tree, words: jax.Array) -> jax.Array:
    """The logits of a decoder with such parameters."""
    x = params["embed"][words]
    for layer in params["layers"]:
        first, second = layer["norms"]
        x += attend(layer["attention"], norm(first, x))
        h = norm(second, x)
        x += perceptron(layer["perceptron"], h)
        if "experts" in layer:
            x += mixture(layer["router"], layer["experts"], h)
    return norm(params["norm"], x) @ params["head"]


def norm(scale: jax.Array, x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * scale


def attend(kernels: Tree, x: jax.Array) -> jax.Array:
    q, k, v = (jnp.einsum("btd,dhk->bthk", x, kernels[name]) for name in "qkv")
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return jnp.einsum("bthk,hkd->btd", mixed, kernels["o"])


def perceptron(kernels: Tree, x: jax.Array) -> jax.Array:
    return (jax.nn.silu(x @ kernels["gate"]) * (x @ kernels["up"])) @ kernels["down"]


def mixture(router: jax.Array, kernels: Tree, x: jax.Array) -> jax.Array:
    """The weighted results of eight experts, written over all as is short to read."""
    scores = jax.nn.sigmoid(x @ router)
    best = jax.lax.top_k(scores, 8)[0][..., -1:]
    chosen = jnp.where(scores >= best, scores, 0)
    shares = chosen / chosen.sum(-1, keepdims=True)
    up = partial(jnp.einsum, "btd,edf->btef", x)
    h = jax.nn.silu(up(kernels["gate"])) * up(kernels["up"])
    return jnp.einsum("btef,efd,bte->btd", h, kernels["down"], shares)


def place(mesh: jax.sharding.Mesh, path: str, leaf: Any) -> NamedSharding:
    """Matrices over both axes; each expert's, of which there are many, over one."""
    axes = {2: ("data", "model"), 3: ("data", "model", None)}.get(len(leaf.shape), ())
    if path.endswith("/o"):
        axes = ("model", None, "data")
    if path.endswith(("/k", "/v")):  # of few heads
        axes = ("data", None, "model")
    return NamedSharding(mesh, PartitionSpec(*axes))


@dataclass(frozen=True)
class Measured:
    """What one model took on one mesh."""

    leaves: int
    size: int
    seconds: dict[str, float]
    programs: int
    talking: int
    held: int
    needed: int


def measure(sizes: Sizes, devices: int = DEVICES) -> Measured:
    jax.clear_caches()
    side = 2 ** (devices.bit_length() // 2)
    axes = {"data": devices // side, "model": side}
    chosen = jax.devices()[:devices]
    mesh = jax.make_mesh(tuple(axes.values()), tuple(axes), devices=chosen)
    params, words = shapes(sizes), jax.ShapeDtypeStruct((2, 16), jnp.int32)
    times = [time.perf_counter()]
    roles = jinit.roles(model, params, words)
    times.append(time.perf_counter())
    plan = jinit.plan(params, roles.rules())
    times.append(time.perf_counter())
    init = jinit.jit_init(plan.init, out_shardings=partial(place, mesh))
    programs = init.compile(jax.eval_shape(lambda: jax.random.key(0)))
    times.append(time.perf_counter())
    needed = [program.memory_analysis() for program in programs]
    parts = [place(mesh, e.path, e).shard_shape(e.shape) for e in plan]
    return Measured(
        leaves=len(plan),
        size=sum(math.prod(entry.shape) for entry in plan),
        seconds=dict(zip(("read", "plan", "compile"), np.diff(times), strict=True)),
        programs=len(programs),
        talking=sum(bool(COMMUNICATION.search(p.as_text())) for p in programs),
        held=2 * sum(map(math.prod, parts)),  # in bfloat16
        needed=max(m.output_size_in_bytes + m.temp_size_in_bytes for m in needed),
    )


LAYERS = 8, 16, 32, 64, 126
COUNTS = 16, 64, 256, 1024, 4096
COLUMNS = "", "parameters", "arrays", "devices", "read", "plan", "compile", "programs"


def row(name: str, devices: int, found: Measured) -> str:
    seconds = " | ".join(f"{each:.1f} s" for each in found.seconds.values())
    held, needed, share = (
        f"{size / 2**20:,.1f}"
        for size in (found.held, found.needed, 2 * found.size / devices)
    )
    return (
        f"| {name} | {found.size / 1e9:.1f} B | {found.leaves} | {devices} "
        f"| {seconds} | {found.programs}, {found.talking} communicate "
        f"| holds {held} MiB, share {share}, needs {needed} |"
    )


def growth(name: str, cases: dict[int, tuple[Sizes, int]]) -> dict[int, Measured]:
    """Measures and prints models that differ in one number."""
    found = {number: measure(*case) for number, case in cases.items()}
    for number, (_, devices) in cases.items():
        print(row(f"{number} {name}", devices, found[number]))
    return found


def draw(panels: dict[str, dict[int, Measured]], path: str) -> None:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    colors = {"read": "#0072b2", "plan": "#d55e00", "compile": "#009e73"}
    for each, (name, found) in zip(axes, panels.items(), strict=True):
        for step, color in colors.items():
            times = [case.seconds[step] for case in found.values()]
            each.plot(list(found), times, marker="o", color=color, label=step)
        if max(found) > 20 * min(found):
            each.set_xscale("log", base=2)
        each.set_xticks(list(found), [f"{number:,}" for number in found])
        each.set_xlabel(name)
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("seconds")
    axes[0].set_ylim(0)
    axes[-1].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(path: str | None) -> None:
    print(f"| {' | '.join((*COLUMNS, 'a device'))} |")
    print("|---" + 8 * "|--:" + "|")
    for name, sizes in MODELS.items():
        print(row(name, DEVICES, measure(sizes)))
    layers = growth("layers", {n: (replace(LLAMA, layers=n), DEVICES) for n in LAYERS})
    devices = growth("devices", {n: (replace(LLAMA, layers=32), n) for n in COUNTS})
    if path:
        draw({"layers": layers, "devices, 32 layers": devices}, path)


@contextlib.contextmanager
def both_processes() -> Iterator[None]:
    """Starts JAX over two processes, of which the second waits for the first.

    JAX gives one process at most 2048 devices of a CPU.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, __file__, "--second", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as second:
        start(address, 0)
        yield
        jax.distributed.shutdown()
        second.stdin.close()


def start(address: str, process: int) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES // 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, process)
    jax.devices()


if __name__ == "__main__":
    if "--second" in sys.argv:
        start(sys.argv[2], 1)
        jax.distributed.shutdown()  # which waits for the first
    else:
        title = "Models of 405 B and 1 T parameters, on paper and compiled"
        with both_processes(), recorded("large", title):
            main(next(iter(set(sys.argv[1:]) - {"--write"}), None))
