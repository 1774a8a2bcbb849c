"""Prints what a layer makes of inputs of variance 1: `python benchmarks/fans.py`.

Each row is the mean square of the outputs of one real Flax layer without bias, drawn
with an initializer of `jax.nn.initializers`, which counts fans by the kernel's shape
alone, and with the same one of jinit, spelled as the row says. Right is 1.00.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from _record import recorded
from flax import nnx

import jinit
from jinit import jaxnn

peers = jax.nn.initializers
WIDTH, HEADS, EXPERTS, LAYERS = 256, 8, 8, 12


class Layers(nn.Module):
    """Many layers whose kernels are stacked in one parameter."""

    init: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The outputs of the first layer."""
        return x @ self.param("kernels", self.init, (LAYERS, WIDTH, WIDTH))[0]


def linear_general(init: Callable) -> Callable:
    """An nnx layer as a function of its inputs."""
    rngs = nnx.Rngs(0)
    options = {"batch_axis": {0: EXPERTS}, "kernel_init": init, "use_bias": False}
    return nnx.LinearGeneral(WIDTH, WIDTH, axis=-1, rngs=rngs, **options)


def apply(layer: nn.Module) -> Callable:
    """A linen layer as a function of its inputs."""
    return lambda x: layer.init_with_output(jax.random.key(0), x)[0]


Row = tuple[str, str, Callable, str, tuple[int, ...]]
ROWS: list[Row] = [
    (
        '`Einsum("btd,dhk->bthk")`',
        'jinit.lecun_normal(**jinit.einsum_axes("btd,dhk->bthk"))',
        lambda init: apply(
            nn.Einsum(
                (WIDTH, HEADS, WIDTH // HEADS),
                "btd,dhk->bthk",
                use_bias=False,
                kernel_init=init,
            )
        ),
        "lecun_normal",
        (4, 64, WIDTH),
    ),
    (
        f"`DenseGeneral(batch_dims=(0,))` of {EXPERTS}",
        f"jinit.blocks(jinit.lecun_normal(), {EXPERTS}, axis=0)",
        lambda init: apply(
            nn.DenseGeneral(WIDTH, batch_dims=(0,), use_bias=False, kernel_init=init)
        ),
        "lecun_normal",
        (EXPERTS, 64, WIDTH),
    ),
    (
        f"`nnx.LinearGeneral(batch_axis={{0: {EXPERTS}}})`",
        f"jinit.blocks(jinit.lecun_normal(), {EXPERTS}, axis=0)",
        linear_general,
        "lecun_normal",
        (EXPERTS, 64, WIDTH),
    ),
    (
        f"depthwise `Conv` of {WIDTH} channels",
        f"jinit.glorot_uniform(groups={WIDTH})",
        lambda init: apply(
            nn.Conv(
                WIDTH,
                (3, 3),
                feature_group_count=WIDTH,
                padding="VALID",
                use_bias=False,
                kernel_init=init,
            )
        ),
        "glorot_uniform",
        (4, 16, 16, WIDTH),
    ),
    (
        "`ConvTranspose(transpose_kernel=True)`, 256 to 64",
        "jinit.lecun_normal(transposed=True)",
        lambda init: apply(
            nn.ConvTranspose(
                64,
                (3, 3),
                padding="CIRCULAR",
                transpose_kernel=True,
                use_bias=False,
                kernel_init=init,
            )
        ),
        "lecun_normal",
        (4, 16, 16, WIDTH),
    ),
    (
        "`Dense` of packed q, k and v",
        "jinit.blocks(jinit.glorot_uniform(), 3)",
        lambda init: apply(nn.Dense(3 * WIDTH, use_bias=False, kernel_init=init)),
        "glorot_uniform",
        (64, WIDTH),
    ),
    (
        f"one of {LAYERS} layers stacked in one parameter",
        "jinit.stack(jinit.lecun_normal())",
        lambda init: apply(Layers(init)),
        "lecun_normal",
        (64, WIDTH),
    ),
]


def main() -> None:
    print(f"| layer | spelling | `jax.nn`, jax {jax.__version__} | jinit |")
    print("|---|---|--:|--:|")
    for name, spelling, make, default, shape in ROWS:
        x = jax.random.normal(jax.random.key(1), shape)
        ours = eval(spelling, {"jinit": jinit})
        squares = []
        for init in (getattr(peers, default)(), getattr(jaxnn, default)(), ours):
            squares.append(f"{jnp.mean(make(init)(x) ** 2):.2f}")
        if squares[0] != squares[1]:
            raise AssertionError(f"{name}: the drop-in differs from its peer")
        print(f"| {name} | `{spelling}` | {squares[0]} | {squares[2]} |")


if __name__ == "__main__":
    with recorded("fans", "Outputs of real layers for inputs of variance 1"):
        main()
