"""Does training change with the width? The standard parametrization beside muP.

    python benchmarks/widths.py [--write]

A transformer of two blocks is trained for 4 steps of Adam, at a rate of 0.02, in
several widths; a slope is that of log2 mean |activation| against log2 width, after
training. By muP no layer grows. Which layers are hidden is read from two traces.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from _record import recorded

import jinit

VOCAB, HEAD, BASE = 64, 16, 64
WIDTHS = 64, 128, 256, 512, 1024
WORDS = jax.random.randint(jax.random.key(0), (8, 16), 0, VOCAB)


class Transformer(nn.Module):
    """Two blocks, with heads of one size."""

    width: int
    vocabulary: int = VOCAB

    @nn.compact
    def __call__(self, words: jax.Array) -> jax.Array:
        """Logits of the next word, for each word."""
        x = nn.Embed(self.vocabulary, self.width, name="table")(words)
        for n in range(2):
            h, heads = nn.LayerNorm()(x), (self.width // HEAD, HEAD)
            query, key, value = (
                nn.DenseGeneral(heads, use_bias=False, name=f"{name}_{n}")(h)
                for name in ("query", "key", "value")
            )
            logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / HEAD**0.5
            h = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits), value)
            x = x + nn.DenseGeneral(self.width, axis=(-2, -1), name=f"out_{n}")(h)
            h = nn.gelu(nn.Dense(4 * self.width, name=f"up_{n}")(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width, name=f"down_{n}")(h)
        return nn.Dense(self.vocabulary, name="head")(nn.LayerNorm()(x))


def loss(logits: jax.Array) -> jax.Array:
    targets = WORDS[:, 1:]
    each = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], targets)
    return each.mean()


@cache
def roles_of(width: int) -> tuple[Any, jinit.Roles]:
    model = Transformer(width)
    params = jax.eval_shape(model.init, jax.random.key(0), WORDS)
    return params, jinit.roles(model, params, WORDS)


def made(width: int, key: jax.Array, mup: bool) -> tuple[Any, Any, Any]:
    """A model, its parameters and its optimizer, as `coordinate_check` takes them."""
    params, roles = roles_of(width)
    table = roles.mup(roles_of(BASE)[1])
    rules = table.rules if mup else roles.rules()
    scale = table.scale() if mup else optax.identity()
    optimizer = optax.chain(optax.scale_by_adam(), scale, optax.scale(-0.02))
    return Transformer(width), jinit.plan(params, rules).init(key), optimizer


def check(widths: tuple[int, ...], mup: bool) -> Any:
    return jinit.diagnostics.coordinate_check(
        lambda width, key: made(width, key, mup),
        widths,
        WORDS,
        loss,
        keys=jax.random.split(jax.random.key(1), 2),
    )


def main() -> None:
    standard, mup = check(WIDTHS, mup=False), check(WIDTHS, mup=True)
    print(f"{'layer':12} standard  muP   (slopes over widths {WIDTHS})")
    for layer, one, other in zip(
        standard.layers, standard.slopes[-1], mup.slopes[-1], strict=True
    ):
        print(f"{layer or '(model)':12} {one:8.2f} {other:5.2f}")


if __name__ == "__main__":
    with recorded("widths", "Activations after training, by width", "optax"):
        main()
