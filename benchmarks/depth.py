"""Draws what six activations do in depth: `python benchmarks/depth.py PICTURE`.

Networks of width 512 without normalization, each layer drawn with the forward gain of
its activation, over the map of `jinit.variance_map`. It prints the variance of the
pre-activations at layer 60 beside the slope of the map.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _record import recorded
from matplotlib.figure import Figure

import jinit

WIDTH, DEPTH, NETWORKS = 512, 60, 16
NAMES = ("relu", "elu", "selu", "tanh", "gelu", "silu")
STARTS = (0.8, 1.0, 1.25)
EXTREMES = 1e-4, 1e4  # beyond these a line leaves the picture


@partial(jax.jit, static_argnums=0)
def variances(name: str, keys: jax.Array) -> jax.Array:
    """The mean square of the pre-activations by layer, one row for each key."""
    f = getattr(jax.nn, name)
    init = jinit.kaiming_normal(nonlinearity=f)

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = f(h) @ init(key, (WIDTH, WIDTH))
        return h, jnp.mean(h**2)

    def network(key: jax.Array) -> jax.Array:
        first, *rest = jax.random.split(key, DEPTH + 1)
        h = jax.random.normal(first, (WIDTH,))
        return jax.lax.scan(layer, h, jnp.stack(rest))[1]

    return jax.vmap(network)(keys)


def draw(axes: Any, name: str, measured: np.ndarray) -> None:
    step = jinit.variance_map(getattr(jax.nn, name))
    layers = range(1, DEPTH + 1)
    axes.semilogy(layers, measured.T, color="#0072b2", linewidth=0.8, alpha=0.6)
    for start in STARTS:
        predicted = step.trajectory(DEPTH, start)
        axes.semilogy(layers, predicted, color="black", linestyle="--", linewidth=1.5)
    axes.set_title(f"{name}: slope {step.slope(1.0):.2f}")
    axes.set_ylim(*EXTREMES)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main(path: str) -> None:
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle(
        f"Variance of the pre-activations of {NETWORKS} networks of width {WIDTH} "
        "(blue), and the map from 0.8, 1 and 1.25 (dashed)"
    )
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    print("| activation | slope | variance at layer 60: least, median, greatest |")
    print("|---|--:|---|")
    for axes, name in zip(panels.flat, NAMES, strict=True):
        keys = jax.random.split(jax.random.key(0), NETWORKS)
        measured = np.asarray(variances(name, keys))
        last = np.quantile(measured[:, -1], [0, 0.5, 1])
        slope = jinit.variance_map(getattr(jax.nn, name)).slope(1.0)
        print(f"| {name} | {slope:.2f} | {', '.join(f'{q:.2g}' for q in last)} |")
        draw(axes, name, measured)
    for axes in panels[-1]:
        axes.set_xlabel("layer")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    with recorded("depth", "What six activations do in depth"):
        main(next(iter(set(sys.argv[1:]) - {"--write"}), "depth.png"))
