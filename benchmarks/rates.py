"""Does the best learning rate change with the width? The standard way beside muP.

    python benchmarks/rates.py [--write]

A transformer of two blocks learns the letters of Python's own manual, by Adam, in four
widths, at rates a factor of 2 apart. By muP, whose base is the narrowest, the best rate
is to stay where it is. `--write` records what is printed in `benchmarks/results`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _record import recorded
from widths import Transformer

import jinit

WIDTHS, BASE = (16, 32, 64, 128), 16
RATES = [2.0**-n for n in range(11, 2, -1)]
STEPS, BATCH, LENGTH, VOCAB, SEEDS = 150, 16, 32, 128, 2


def text() -> np.ndarray:
    """The letters of the manual's pages, as numbers."""
    letters = "".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    return np.frombuffer(letters, np.uint8).astype("int32")


def batches(seed: int) -> Iterator[np.ndarray]:
    letters, rng = text(), np.random.default_rng(seed)
    while True:
        starts = rng.integers(0, len(letters) - LENGTH, BATCH)
        yield letters[starts[:, None] + np.arange(LENGTH)]


def loss_of(model: Any, params: Any, words: jax.Array) -> jax.Array:
    logits = model.apply(params, words)[:, :-1]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, words[:, 1:])
    return losses.mean()


def roles_of(model: Any) -> tuple[Any, jinit.Roles]:
    words = jax.ShapeDtypeStruct((BATCH, LENGTH), "int32")
    params = jax.eval_shape(model.init, jax.random.key(0), words)
    return params, jinit.roles(model, params, words)


def losses_by_rate(width: int, mup: bool) -> np.ndarray:
    """The loss of the last 20 steps, the mean of the seeds, for each rate."""
    model = Transformer(width, VOCAB)
    params, roles = roles_of(model)
    table = roles.mup(roles_of(Transformer(BASE, VOCAB))[1])
    scale = table.scale() if mup else optax.identity()
    optimizer = optax.chain(optax.scale_by_adam(), scale)
    plan = jinit.plan(params, table.rules if mup else roles.rules())

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, words: jax.Array, rate: jax.Array) -> tuple[Any, jax.Array]:
        params, adam = state
        loss, grads = jax.value_and_grad(partial(loss_of, model))(params, words)
        updates, adam = optimizer.update(grads, adam, params)
        updates = jax.tree.map(lambda update: -rate * update, updates)
        return (optax.apply_updates(params, updates), adam), loss

    def trained(rate: float, seed: int) -> float:
        params = plan.init(jax.random.key(seed))
        state = params, optimizer.init(params)
        last = []
        for number, words in zip(range(STEPS), batches(seed), strict=False):
            share = rate * min(1.0, (number + 1) / 20)  # warmed up
            state, loss = step(state, jnp.asarray(words), jnp.float32(share))
            last.append(loss)
        return float(np.mean(last[-20:]))

    seeds = range(SEEDS)
    return np.array([np.mean([trained(rate, s) for s in seeds]) for rate in RATES])


def main() -> None:
    powers = "".join(f"{f'2^{np.log2(rate):.0f}':>7}" for rate in RATES)
    print(f"```text\n{'':18}{powers}  best")
    for mup, name in ((False, "standard"), (True, "muP")):
        best = []
        for width in WIDTHS:
            losses = losses_by_rate(width, mup)
            best.append(RATES[int(np.nanargmin(losses))])
            cells = "".join(f"{loss:7.3f}" for loss in losses)
            print(f"{name:9} {width:5}   {cells}  2^{np.log2(best[-1]):.0f}")
        print(f"{name:9} the best rate moves by a factor of {max(best) / min(best):g}")
    print("```")


if __name__ == "__main__":
    with recorded("rates", "The best learning rate, by width", "optax"):
        main()
