"""Prints `jinit.gain` beside what is done without it: `python benchmarks/gains.py`.

Each cell is the relative error of 1 / sqrt(E f(z)²), z ~ N(0, 1), against its closed
form, and the time taken: medians of five rounds, after one that is not counted.
"""

from __future__ import annotations

import statistics
import time
import timeit
import warnings
from collections.abc import Callable
from math import exp, pi, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from _record import recorded
from jax.scipy import special as jax_special
from scipy.integrate import IntegrationWarning, quad
from scipy.special import ndtr

import jinit

ROUNDS, CALLS, NODES, SAMPLES = 5, 10_000, 128, 1_000_000
KINK, JUMP, LOW = 0.3, 0.1234, -0.3


def phi(z: float) -> float:
    return exp(-z * z / 2) / sqrt(2 * pi)


# A quantized tanh: its levels are odd eighths, and it jumps where tanh is a quarter.
LEVELS = np.arange(-7, 8, 2) / 8
SHARES = np.diff(ndtr(np.arctanh(np.arange(-3, 4) / 4)), prepend=0, append=1)

# Each activation, written once for NumPy and JAX, and E f(z)² in closed form.
ROWS = {
    "gelu(x)": (lambda np, sp, x: x * sp.ndtr(x), 1 / 3 + 1 / (2 * pi * sqrt(3))),
    f"relu(x - {KINK})": (
        lambda np, sp, x: np.maximum(x - KINK, 0),
        (1 + KINK**2) * ndtr(-KINK) - KINK * phi(KINK),
    ),
    f"x where x > {JUMP}, else {LOW}": (
        lambda np, sp, x: np.where(x > JUMP, x, LOW),
        ndtr(-JUMP) + JUMP * phi(JUMP) + LOW**2 * ndtr(JUMP),
    ),
    "tanh(x) in 8 levels": (
        lambda np, sp, x: (np.minimum(np.floor(4 * np.tanh(x)), 3) + 0.5) / 4,
        LEVELS**2 @ SHARES,
    ),
    # At some frequencies, such as 30, the error of Gauss-Hermite is 0 by accident.
    "sin(22 x)": (lambda np, sp, x: np.sin(22 * x), (1 - exp(-2 * 22**2)) / 2),
}


def in_jax(f: Callable) -> Callable:
    """A new function each time, of which jinit and JAX have kept nothing."""
    return lambda x: f(jnp, jax_special, x)


def in_numpy(f: Callable) -> Callable:
    return lambda x: f(np, scipy.special, x)


def ours(f: Callable, seed: int) -> float:
    return jinit.gain(in_jax(f))


def adaptive(f: Callable, seed: int) -> float:
    curve = in_numpy(f)
    with warnings.catch_warnings():  # where it does not converge, the error says so
        warnings.simplefilter("ignore", IntegrationWarning)
        return quad(lambda z: curve(z) ** 2 * phi(z), -12, 12)[0] ** -0.5


# The same for every activation, and so not timed.
nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)


def gauss_hermite(f: Callable, seed: int) -> float:
    return (weights @ in_numpy(f)(nodes) ** 2 / sqrt(2 * pi)) ** -0.5


def monte_carlo(f: Callable, seed: int) -> float:
    z = jax.random.normal(jax.random.key(seed), SAMPLES, jnp.float32)
    return float(jnp.mean(in_jax(f)(z) ** 2)) ** -0.5


def cell(method: Callable, f: Callable, square: float) -> str:
    errors, times = [], []
    for seed in range(ROUNDS + 1):
        start = time.perf_counter()
        gain = method(f, seed)
        times.append(1e3 * (time.perf_counter() - start))
        errors.append(abs(gain * sqrt(square) - 1))
    error, ms = statistics.median(errors[1:]), statistics.median(times[1:])
    shown = f"{error:.0e}" if error else "0"
    return f"{shown}, {float(f'{ms:.2g}'):g} ms"


def main() -> None:
    print("| f(x) | `jinit.gain` | `scipy.integrate.quad` ", end="")
    print(f"| Gauss-Hermite, {NODES} nodes | {SAMPLES:,} float32 samples |")
    print("|---|--:|--:|--:|--:|")
    for name, row in ROWS.items():
        methods = (ours, adaptive, gauss_hermite, monte_carlo)
        print(f"| {name} |", " | ".join(cell(method, *row) for method in methods), "|")
    known = in_jax(row[0])
    jinit.gain(known)
    seconds = timeit.timeit(lambda: jinit.gain(known), number=CALLS) / CALLS
    print(f"\njinit.gain of a function that it knows: {1e6 * seconds:.1f} µs")


if __name__ == "__main__":
    with recorded("gains", "Gains, beside other ways to compute them", "scipy"):
        main()
