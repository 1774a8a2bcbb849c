"""Times the initialization of whole models: `python benchmarks/models.py`.

Every number is the median of three fresh processes, which read no compiled program from
a cache. Imports, the start of JAX and the inputs, which are small, are not counted. It
prints, for each model and each way to initialize it,

- cold: seconds from the first call to the last array, with tracing and compiling;
- warm: seconds of a second call, after the first result was deleted;
- memory: how far the resident memory of the process rose during the first call, over
  the bytes of the result (VmHWM, set back before the call, less VmRSS, of Linux). It
  includes the result, all else that is drawn meanwhile, the trace and the compiler.

The last column is cold `jax.jit` over cold `jit_init`: over 1 we are faster. torch,
where it is installed, builds layers of the sizes of GPT-2, with draws of its own; the
last line is our time over torch's.

`--check` times nothing, and fails unless `jit_init` has the bits of `jax.jit`.
`--write` puts the table into `benchmarks/results/`, with the date and the device, in a
file named after the version of JAX and its backend.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import pathlib
import re
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from _fresh import python
from _record import recorded
from flax import nnx

import jinit

ROUNDS = 3
WIDTH, LAYERS, HEADS = 768, 12, 12
peers = jax.nn.initializers


def normal(std: float) -> jinit.Initializer:
    return jinit.normal(std=std)


class Block(nn.Module):
    """Attention and a perceptron, each in a residual branch."""

    normal: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The outputs, of the shape of the inputs."""
        dense = partial(nn.Dense, kernel_init=self.normal(0.02))
        last = partial(dense, kernel_init=self.normal(0.02 / (2 * LAYERS) ** 0.5))
        h = nn.LayerNorm()(x)
        heads = *x.shape[:2], HEADS, WIDTH // HEADS
        q, k, v = (dense(WIDTH, name=name)(h).reshape(heads) for name in "qkv")
        h = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x += last(WIDTH)(h)
        return x + last(WIDTH)(nn.gelu(dense(4 * WIDTH)(nn.LayerNorm()(x))))


class GPT2(nn.Module):
    """GPT-2 small, given an initializer of each standard deviation."""

    normal: Callable

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """The logits."""
        words = nn.Embed(50257, WIDTH, embedding_init=self.normal(0.02))
        places = nn.Embed(1024, WIDTH, embedding_init=self.normal(0.02))
        x = words(tokens) + places(jnp.arange(tokens.shape[1]))
        for _ in range(LAYERS):
            x = Block(self.normal)(x)
        return words.attend(nn.LayerNorm()(x))


class ResNet50(nn.Module):
    """ResNet-50; the last normalization of each branch starts from zero."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits."""
        init = jinit.kaiming_normal(mode="fan_out", nonlinearity="relu")
        conv = partial(nn.Conv, use_bias=False, kernel_init=init)
        norm = partial(nn.BatchNorm, use_running_average=True)
        x = nn.relu(norm()(conv(64, (7, 7), 2)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 * 2**stage
            for block in range(blocks):
                strides = 2 if stage and not block else 1
                h = nn.relu(norm()(conv(width, (1, 1))(x)))
                h = nn.relu(norm()(conv(width, (3, 3), strides)(h)))
                h = norm(scale_init=jinit.zeros())(conv(4 * width, (1, 1))(h))
                x = x if block else norm()(conv(4 * width, (1, 1), strides)(x))
                x = nn.relu(x + h)
        return nn.Dense(1000, kernel_init=jinit.normal(std=0.01))(x.mean((1, 2)))


class Layer(nnx.Module):
    """A layer like Llama's: grouped queries, and a gated perceptron."""

    def __init__(self, depth: int, rngs: nnx.Rngs):
        init = jinit.trunc_normal(std=0.02)
        linear = partial(nnx.Linear, use_bias=False, kernel_init=init, rngs=rngs)
        last = partial(linear, kernel_init=jinit.trunc_normal(std=0.02 / depth**0.5))
        self.norms = nnx.List(nnx.RMSNorm(WIDTH, rngs=rngs) for _ in range(2))
        self.q, self.o = linear(WIDTH, WIDTH), last(WIDTH, WIDTH)
        self.k, self.v = linear(WIDTH, WIDTH // 3), linear(WIDTH, WIDTH // 3)
        self.gate, self.up = linear(WIDTH, 2048), linear(WIDTH, 2048)
        self.down = last(2048, WIDTH)


class Llama(nnx.Module):
    """The parameters; nnx draws them without a call of the model."""

    def __init__(self, rngs: nnx.Rngs):
        init = jinit.trunc_normal(std=0.02)
        linear = partial(nnx.Linear, use_bias=False, kernel_init=init, rngs=rngs)
        self.words = nnx.Embed(32000, WIDTH, embedding_init=init, rngs=rngs)
        self.layers = nnx.List(Layer(2 * n + 2, rngs) for n in range(LAYERS))
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.head = linear(WIDTH, 32000)


Problem = tuple[Callable, tuple]  # what is called, and with what


def linen(model: nn.Module, inputs: tuple[int, ...], dtype: type) -> Problem:
    return model.init, (jax.random.key(0), jnp.ones(inputs, dtype))


def llama() -> Problem:
    return lambda key: nnx.state(Llama(nnx.Rngs(key))), (jax.random.key(0),)


def torch_gpt2() -> Problem:
    from torch.nn import Embedding, ModuleList, TransformerEncoderLayer

    def build() -> list:
        sizes = WIDTH, HEADS, 4 * WIDTH
        layers = [TransformerEncoderLayer(*sizes) for _ in range(LAYERS)]
        embeddings = [Embedding(50257, WIDTH), Embedding(1024, WIDTH)]
        return list(ModuleList([*embeddings, *layers]).parameters())

    return build, ()


TORCH = "GPT-2 small, torch"
MODELS: dict[str, Callable[[], Problem]] = {
    "GPT-2 small, linen": lambda: linen(GPT2(normal), (1, 8), int),
    "the same, JAX's `normal`": lambda: linen(GPT2(peers.normal), (1, 8), int),
    "ResNet-50, linen": lambda: linen(ResNet50(), (1, 64, 64, 3), float),
    "like Llama, nnx": llama,
    TORCH: torch_gpt2,
}
WAYS = {"eager": lambda fn: fn, "jax.jit": jax.jit, "jit_init": jinit.jit_init}


def resident(kind: str) -> int:
    """Bytes of memory of this process: now (VmRSS), or at its peak (VmHWM)."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{kind}:\s+(\d+) kB", status)[1])


def measure(name: str, way: str) -> dict[str, float]:
    """What the table says of one model, and the bytes of the result."""
    fn, args = jax.block_until_ready(MODELS[name]())
    call = WAYS[way](fn)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    before, start = resident("VmRSS"), time.perf_counter()
    result = jax.block_until_ready(call(*args))
    cold, peak = time.perf_counter() - start, resident("VmHWM") - before
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(result))
    del result
    gc.collect()
    start = time.perf_counter()
    jax.block_until_ready(call(*args))
    warm = time.perf_counter() - start
    return {"cold": cold, "warm": warm, "memory": peak / size, "size": size}


def check(name: str) -> dict[str, float]:
    """How many arrays there are, and how many are those of `jax.jit` bit for bit."""
    fn, args = MODELS[name]()
    results = [jax.tree.leaves(init(fn)(*args)) for init in (jinit.jit_init, jax.jit)]
    pairs = zip(*jax.device_get(results), strict=True)
    same = [ours.tobytes() == theirs.tobytes() for ours, theirs in pairs]
    return {"arrays": len(same), "equal": sum(same)}


def in_child(*task: str) -> dict[str, float]:
    """What `measure`, or `check`, of a model returns in a fresh process."""
    print("  " + ", ".join(task), file=sys.stderr)
    return json.loads(python(__file__, "--child", *task))


def table() -> str:
    """Every model, in every way."""
    cases = [(name, way) for name in MODELS if name != TORCH for way in WAYS]
    if importlib.util.find_spec("torch"):
        cases.append((TORCH, "eager"))
    turns = [{case: in_child(*case) for case in cases} for _ in range(ROUNDS)]
    medians = {
        case: {k: statistics.median(turn[case][k] for turn in turns) for k in found}
        for case, found in turns[0].items()
    }
    ways = " | ".join(WAYS)
    rows = [f"| cold, warm, memory | parameters | {ways} | jax.jit / jit_init |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    for name in dict(cases):
        found = {way: medians[name, way] for way in WAYS if (name, way) in medians}
        cells = [name, f"{found['eager']['size'] / 4e6:.0f} M"]  # all are float32
        for way in WAYS:
            cell = "{cold:.1f} s, {warm:.2f} s, {memory:.1f}x"
            cells.append(cell.format(**found[way]) if way in found else "-")
        colds = [found[way]["cold"] for way in ("jax.jit", "jit_init") if way in found]
        cells.append(f"{colds[0] / colds[1]:.1f}x" if colds else "-")
        rows.append(f"| {' | '.join(cells)} |")
    if (TORCH, "eager") in medians:
        pair = medians["GPT-2 small, linen", "jit_init"], medians[TORCH, "eager"]
        cold, warm = (pair[0][time] / pair[1][time] for time in ("cold", "warm"))
        rows.append(f"\njit_init over torch: cold {cold:.1f}x, warm {warm:.2f}x")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--check", action="store_true", help="compare with jax.jit")
    parser.add_argument("--write", action="store_true", help="to benchmarks/results/")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        task = measure if len(args.child) == 2 else check
        print(json.dumps(task(*args.child)))
    elif args.check:
        unequal = 0
        for name in [name for name in MODELS if name != TORCH]:
            found = in_child(name)
            print("{}: {equal} of {arrays} are equal".format(name, **found))
            unequal += found["arrays"] - found["equal"]
        sys.exit(unequal > 0)
    else:
        with recorded("models", "Whole models"):
            print(table())


if __name__ == "__main__":
    main()
