"""Draws signals along two deep models: `python benchmarks/streams.py PICTURE`.

A GPT of 24 blocks, and a residual network of 24 blocks that normalizes nothing. For
each kernel of a block the second moment of its results is drawn, block by block: by
Flax's default, and by the rules that `jinit.roles` derives. Dotted lines are what the
rules are meant to give: 1, and 1 / L for what is added to a stream of L branches.
"""

from __future__ import annotations

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from _record import recorded
from matplotlib.figure import Figure

import jinit
from jinit.diagnostics import propagation
from jinit.diagnostics.plots import COLORS, MARKERS

DEPTH, WIDTH, HEADS, WORDS = 24, 64, 4, 256


class Block(nn.Module):
    """A block of a transformer that normalizes before its layers."""

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        """Adds attention, and a perceptron, to the stream."""
        heads = (*x.shape[:2], HEADS, WIDTH // HEADS)
        h = nn.Dense(3 * WIDTH, name="qkv")(nn.LayerNorm()(x))
        q, k, v = (part.reshape(heads) for part in jnp.split(h, 3, axis=-1))
        h = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + nn.Dense(WIDTH, name="out")(h)
        h = nn.gelu(nn.Dense(4 * WIDTH, name="up")(nn.LayerNorm()(x)))
        return x + nn.Dense(WIDTH, name="down")(h), None


class Residual(nn.Module):
    """Two convolutions that are added to what they are made of."""

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        """Adds the convolutions to the stream."""
        h = nn.relu(nn.Conv(32, (3, 3), name="first")(x))
        return x + nn.Conv(32, (3, 3), name="second")(h), None


def stack(block: Any) -> nn.Module:
    options = {"split_rngs": {"params": True}, "length": DEPTH}
    return nn.scan(block, {"params": 0}, **options)(name="blocks")


class GPT(nn.Module):
    """Blocks between words and the logits of words."""

    @nn.compact
    def __call__(self, words: jax.Array) -> jax.Array:
        """Returns the logits."""
        table = nn.Embed(WORDS, WIDTH)
        x, _ = stack(Block)(table(words), None)
        return table.attend(nn.LayerNorm()(x))


class ResNet(nn.Module):
    """Blocks between images and the logits of classes."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits."""
        x, _ = stack(Residual)(nn.Conv(32, (3, 3))(images), None)
        return nn.Dense(10)(x.mean((1, 2)))


def moments(found: Any) -> dict[str, np.ndarray]:
    """Of the kernels of blocks, by name, the second moments in the order of blocks."""
    kernels: dict[str, list[float]] = {}
    for path, moment in zip(found.layers, found.second_moment[0], strict=True):
        if "/blocks/" in path:
            kernels.setdefault(path.split("/")[2], []).append(moment)
    return {name: np.array(values) for name, values in kernels.items()}


def draw(axes: Any, found: dict[str, np.ndarray], branches: int) -> None:
    for meant in (1, 1 / branches):
        axes.axhline(meant, color="black", linestyle=":", linewidth=1.2)
    for number, (name, values) in enumerate(found.items()):
        style = {"color": COLORS[number], "marker": MARKERS[number], "markersize": 5}
        blocks = range(1, len(values) + 1)
        axes.semilogy(blocks, values, label=name, markevery=3, **style)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main(path: str) -> None:
    key = jax.random.key(0)
    words = jax.random.randint(key, (4, 32), 0, WORDS)
    images = jax.random.normal(key, (4, 16, 16, 3))
    models = {
        "GPT, norms before the layers": (GPT(), words),
        "ResNet without norms": (ResNet(), images),
    }
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    figure.suptitle(f"Second moment of the results of each kernel, {DEPTH} blocks")
    rows = figure.subplots(2, 2, sharex=True, sharey="row")
    for (title, (model, x)), row in zip(models.items(), rows, strict=True):
        params = jax.jit(model.init)(key, x)
        roles = jinit.roles(model, params, x)
        derived = jinit.plan(params, roles.rules()).init(key)
        branches = max(role.branches for role in roles)
        trees = {"Flax's default": params, "derived rules": derived}
        for axes, (way, tree) in zip(row, trees.items(), strict=True):
            found = moments(propagation(model, tree, x))
            draw(axes, found, branches)
            axes.set_title(f"{title}: {way}")
            for name, values in found.items():
                print(f"{title}, {way}, {name}: {values[0]:.2g} to {values[-1]:.2g}")
        row[0].set_ylabel("mean square")
        legend = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
        row[1].legend(frameon=False, title="kernel", **legend)
        for meant in (1, 1 / branches):
            label = "1" if meant == 1 else f"1 / {branches}"
            place = {"xycoords": ("axes fraction", "data"), "ha": "right"}
            row[0].annotate(label, (0.995, meant * 1.1), **place)
    for axes in rows[-1]:
        axes.set_xlabel("block")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    with recorded("streams", "Second moments along two residual streams"):
        main(next(iter(set(sys.argv[1:]) - {"--write"}), "streams.png"))
