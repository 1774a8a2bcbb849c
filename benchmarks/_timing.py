"""Draws timed beside those of the peers, in turns in one process.

So whatever slows the machine down for a while slows all of them down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import jinit


@dataclass(frozen=True)
class Case:
    """One of our initializers, and what the peers call it; None where they have none.

    Attributes:
      ours: The initializer.
      jax: The function of `jax.nn.initializers` with the same purpose.
      torch: The name of the function in `torch.nn.init`.
      torch_options: What that takes beside the tensor.
    """

    ours: jinit.Initializer
    jax: Callable[..., Any] | None
    torch: str | None
    torch_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """Quartiles of a peer's time over ours: above 1 we are faster."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f}-{self.high:.1f})"


def contenders(
    case: Case, side: int, dtype: str, impl: str | None = None
) -> dict[str, Callable[[], Any]]:
    """Functions that draw a square matrix once and wait for it.

    "ours", "jax", "zeros" (`jnp.zeros`, the floor) and "torch", as far as they exist.
    Those of JAX are compiled and return a new array; torch fills one that exists. The
    key is of the implementation, by default JAX's.
    """
    shape = (side, side)
    programs = {"ours": case.ours, "jax": case.jax, "zeros": _zeros}
    draws = {
        name: _waiting(program, shape, dtype, jax.random.key(0, impl=impl))
        for name, program in programs.items()
        if program is not None
    }
    if case.torch is not None and (draw := torch_draw(case, shape, dtype)):
        draws["torch"] = draw
    return draws


def torch_draw(case: Case, shape: Any, dtype: str) -> Callable[[], Any] | None:
    """A draw of torch's on the kind of device that JAX is on, if torch has that."""
    torch, on_gpu = peer_torch(), jax.default_backend() == "gpu"
    if torch is None or (on_gpu and not torch.cuda.is_available()):
        return None
    place = "cuda" if on_gpu else "cpu"
    buffer = torch.empty(shape, dtype=getattr(torch, dtype), device=place)
    fill = getattr(torch.nn.init, case.torch)

    def draw() -> Any:
        fill(buffer, **case.torch_options)
        if on_gpu:
            torch.cuda.synchronize()
        return buffer

    return draw


def interleave(
    draws: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each draw in each round; a draw that its library refuses drops out."""
    seconds: dict[str, list[float]] = {}
    for name, draw in draws.items():
        try:
            draw()  # compiles
        except (NotImplementedError, RuntimeError, TypeError):  # half precision
            continue
        seconds[name] = []
    for _ in range(rounds):
        for name in seconds:
            start = time.perf_counter()
            draws[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], peer: str) -> Ratio | None:
    """The peer's time over ours, round by round; None where the peer did not draw."""
    if not seconds.get(peer):
        return None
    pairs = zip(seconds[peer], seconds["ours"], strict=True)
    return Ratio(*statistics.quantiles([theirs / ours for theirs, ours in pairs], n=4))


def peer_torch() -> ModuleType | None:
    """torch, where it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def _zeros(key: Any, shape: Any, dtype: Any) -> jax.Array:
    """Zeros, in the form of an initializer."""
    return jnp.zeros(shape, dtype)


def _waiting(
    init: Callable[..., Any], shape: Any, dtype: Any, key: jax.Array
) -> Callable[[], Any]:
    """A compiled draw that returns when the array is there."""
    program = jax.jit(lambda key: init(key, shape, dtype))
    return lambda: program(key).block_until_ready()
