"""The host: where what is not drawn is computed, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

import jax
import numpy as np


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a function, of NumPy or JAX, in double precision on the host.

    It runs in a new thread, which knows nothing of the trace, the mesh or the device
    that the caller is under: so a number is the same inside `jax.jit` and out of it.
    """

    def in_double(*args: Any) -> Any:
        wide, quiet = jax.enable_x64(True), np.errstate(all="ignore")
        with wide, quiet, jax.debug_nans(False), jax.default_device(_cpu()):
            return function(*args)

    @wraps(function)
    def call(*args: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(in_double, *args).result()

    return call


def _cpu() -> jax.Device | None:
    """The CPU, or JAX's default device where JAX was told to leave the CPU out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
