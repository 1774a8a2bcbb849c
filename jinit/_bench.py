"""Draws timed beside those of the peers, in turns in one process.

So whatever slows the machine down for a while slows all of them down.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import jinit

MOST_SIDE = 8192
"""The largest side of the matrices that `bench` draws."""

_ROUNDS = 11
_FEWEST = 3  # of which there are quartiles
_SECONDS = 2.0  # for the rounds of one initializer


@dataclass(frozen=True)
class Case:
    """One of our initializers, JAX's with the same purpose, and torch's name.

    Attributes:
      ours: The initializer.
      jax: The function of `jax.nn.initializers`, if there is one.
      torch: The name of the function in `torch.nn.init`, if there is one.
      torch_options: What that takes beside the tensor.
    """

    ours: jinit.Initializer
    jax: Callable[..., Any] | None
    torch: str | None
    torch_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """A peer's time over ours, over the rounds: above 1 we are faster.

    Attributes:
      low: The lower quartile.
      median: The median.
      high: The upper quartile.
    """

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f}-{self.high:.1f})"


@dataclass(frozen=True)
class Timing:
    """How long one initializer takes, and how much longer the peers.

    Attributes:
      name: Its name.
      dtype: The dtype of the draw.
      milliseconds: The median of our time.
      jax: The ratio of JAX's to it, if JAX draws this.
      torch: That of torch's, if torch is there and does.
      rounds: The number of rounds.
    """

    name: str
    dtype: str
    milliseconds: float
    jax: Ratio | None
    torch: Ratio | None
    rounds: int


def contenders(case: Case, side: int, dtype: str) -> dict[str, Callable[[], Any]]:
    """Makes functions that draw a square matrix once and wait for it.

    Those of JAX are compiled and return a new array; torch fills one that exists.

    Args:
      case: What is drawn.
      side: The side of the matrix.
      dtype: Its dtype.

    Returns:
      The functions by "ours", "jax", "zeros" (`jnp.zeros`, the floor) and "torch", but
      for those that there are not.

    Example:
      >>> import jinit
      >>> from jinit._bench import Case, contenders
      >>> case = Case(jinit.normal(), None, None)
      >>> {name: draw().shape for name, draw in contenders(case, 8, "float32").items()}
      {'ours': (8, 8), 'zeros': (8, 8)}
    """
    shape = (side, side)
    programs = {"ours": case.ours, "jax": case.jax, "zeros": _zeros}
    draws = {
        name: _waiting(program, shape, dtype)
        for name, program in programs.items()
        if program is not None
    }
    torch = peer_torch()
    if torch is not None and case.torch is not None:
        buffer = torch.empty(shape, dtype=getattr(torch, dtype))
        fill = getattr(torch.nn.init, case.torch)
        draws["torch"] = lambda: fill(buffer, **case.torch_options)
    return draws


def interleave(
    draws: Mapping[str, Callable[[], Any]], rounds: int, budget: float = math.inf
) -> dict[str, list[float]]:
    """Times draws in turns.

    Args:
      draws: Functions that draw once; one that refuses what it is to draw drops out.
      rounds: How often each draws.
      budget: Seconds after which no round but the first three begins.

    Returns:
      Seconds of each draw in each round.

    Example:
      >>> from jinit._bench import interleave
      >>> [len(seconds) for seconds in interleave({"ours": dict}, rounds=3).values()]
      [3]
    """
    seconds: dict[str, list[float]] = {}
    for name, draw in draws.items():
        try:
            draw()  # compiles
        except (NotImplementedError, RuntimeError, TypeError):  # half precision
            continue
        seconds[name] = []
    began = time.perf_counter()
    for done in range(rounds):
        if done >= _FEWEST and time.perf_counter() - began > budget:
            break
        for name in seconds:
            start = time.perf_counter()
            draws[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], peer: str) -> Ratio | None:
    """The peer's time over ours, round by round.

    Args:
      seconds: What `interleave` returned.
      peer: The name of the peer.

    Returns:
      The median and the quartiles of the ratios; None where the peer did not draw.

    Example:
      >>> from jinit._bench import ratio
      >>> print(ratio({"ours": [1.0, 1.0, 2.0], "jax": [3.0, 4.0, 10.0]}, "jax"))
      4.0x (3.0-5.0)
    """
    if not seconds.get(peer):
        return None
    pairs = zip(seconds[peer], seconds["ours"], strict=True)
    return Ratio(*statistics.quantiles([theirs / ours for theirs, ours in pairs], n=4))


def bench(side: int) -> Iterator[Timing]:
    """Times some initializers beside their peers, on square matrices.

    Args:
      side: The side of the matrices.

    Yields:
      A `Timing` for each initializer, as it is measured.

    Example:
      >>> from jinit._bench import bench
      >>> next(bench(8)).name
      'uniform'
    """
    peers = jax.nn.initializers
    truncated = peers.truncated_normal(1.0)
    for dtype, case in (
        ("float32", Case(jinit.uniform(), peers.uniform(1.0), "uniform_")),
        ("float32", Case(jinit.normal(), peers.normal(1.0), "normal_")),
        ("float32", Case(jinit.trunc_normal(), truncated, "trunc_normal_")),
        ("float32", Case(jinit.lecun_normal(), peers.lecun_normal(), None)),
        ("bfloat16", Case(jinit.he_normal(), peers.he_normal(), "kaiming_normal_")),
        ("float32", Case(jinit.orthogonal(), peers.orthogonal(), "orthogonal_")),
    ):
        seconds = interleave(contenders(case, side, dtype), _ROUNDS, _SECONDS)
        yield Timing(
            type(case.ours).__name__,
            dtype,
            1e3 * statistics.median(seconds["ours"]),
            ratio(seconds, "jax"),
            ratio(seconds, "torch"),
            len(seconds["ours"]),
        )


def table(timings: Sequence[Timing], side: int) -> str:
    """Timings as a table, with a sentence on how to read it.

    Args:
      timings: What `bench` gave.
      side: The side of the matrices.

    Returns:
      The lines of the table.

    Example:
      >>> from jinit._bench import Ratio, Timing, table
      >>> timing = Timing("normal", "float32", 1.234, Ratio(2.9, 3.0, 3.2), None, 11)
      >>> print(table([timing], 64).splitlines()[-1])
      normal             float32        1.23  3.0x (2.9-3.2)    -
    """
    torch = peer_torch()
    beside = "torch" if torch is None else f"torch {torch.__version__}"
    rows = [("", "", "ours, ms", f"  jax {jax.__version__}", beside)]
    for t in timings:
        ours = f"{t.milliseconds:.2f}"
        rows.append((t.name, t.dtype, ours, f"  {t.jax or '-'}", f"{t.torch or '-'}"))
    device = jax.devices()[0].device_kind
    lines = [
        f"{side} x {side} weights on {device}. Of the peers, their time over ours:",
        f"median and quartiles of up to {_ROUNDS} rounds. Over 1x jinit is faster.",
        "",
    ]
    lines += [f"{a:<19}{b:<10}{c:>9}{d:<20}{e}".rstrip() for a, b, c, d, e in rows]
    return "\n".join(lines)


def to_json(timings: Sequence[Timing], side: int) -> str:
    """Timings as a JSON object, with what they were measured on.

    Args:
      timings: What `bench` gave.
      side: The side of the matrices.

    Returns:
      The JSON.

    Example:
      >>> import json
      >>> from jinit._bench import to_json
      >>> json.loads(to_json([], 64))["shape"]
      [64, 64]
    """
    torch = peer_torch()
    config = {
        "shape": [side, side],
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "torch": None if torch is None else torch.__version__,
        "timings": list(map(asdict, timings)),
    }
    return json.dumps(config, indent=2)


def peer_torch() -> ModuleType | None:
    """torch, where it is installed.

    Returns:
      The module, or None.

    Example:
      >>> from jinit._bench import peer_torch
      >>> peer_torch() is peer_torch()
      True
    """
    try:
        import torch
    except ImportError:
        return None
    return torch


def _zeros(key: Any, shape: Any, dtype: Any) -> jax.Array:
    return jnp.zeros(shape, dtype)


def _waiting(init: Callable[..., Any], shape: Any, dtype: Any) -> Callable[[], Any]:
    """A compiled draw that returns when the array is there."""
    program, key = jax.jit(lambda key: init(key, shape, dtype)), jax.random.key(0)
    return lambda: program(key).block_until_ready()
