"""Models initialized wrongly, most as it has happened, beside what was meant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.nn import initializers as peers

import jinit

F32 = "float32"


@dataclass(frozen=True)
class Fault:
    """A tree, its rules, what draws one leaf wrongly, and what is to be said of it."""

    shapes: dict[str, tuple[int, ...]]
    rules: dict[str, object]
    wrong: Callable  # of the key and the params drawn rightly; returns what differs
    path: str
    kind: str
    cause: str
    dtype: str = F32
    others: dict[str, str] = field(default_factory=dict)

    def plan(self) -> jinit.Plan:
        tree = {
            path: jax.ShapeDtypeStruct(shape, self.dtype)
            for path, shape in self.shapes.items()
        }
        return jinit.plan(tree, self.rules)


def drawn(path: str, init: Callable) -> Callable:
    """Draws one leaf by another initializer."""
    return lambda key, params: {path: init(key, params[path].shape, params[path].dtype)}


def one(shape, init, wrong, kind, cause, dtype=F32) -> Fault:
    """A fault of a single kernel."""
    if isinstance(wrong, jinit.Initializer):
        wrong = drawn("kernel", wrong)
    shapes, rules = {"kernel": shape}, {"kernel": init}
    return Fault(shapes, rules, wrong, "kernel", kind, cause, dtype)


def two(wrong, kind, cause, shape=(48, 32), **rules) -> Fault:
    """A fault of the second of two kernels of one shape."""
    shapes = {"a/kernel": shape, "b/kernel": shape}
    given = rules or {"**/kernel": jinit.lecun_normal()}
    return Fault(shapes, given, wrong, "b/kernel", kind, cause)


def with_bias(wrong, kind, cause) -> Fault:
    shapes = {"dense/kernel": (64, 256), "dense/bias": (256,)}
    rules = {"**/kernel": jinit.lecun_normal(), "**/bias": jinit.zeros()}
    return Fault(shapes, rules, drawn("dense/bias", wrong), "dense/bias", kind, cause)


def clipped(key, params):
    w = params["kernel"]
    std = 1 / math.sqrt(w.shape[0])
    return {"kernel": jnp.clip(std * jax.random.normal(key, w.shape), -std, std)}


def widened(key, params):
    return {"kernel": params["kernel"].astype("bfloat16").astype("float32")}


def low_rank(key, params):
    w = params["kernel"]
    a, b = jax.random.split(key)
    left = jax.random.normal(a, (w.shape[0], 4))
    right = jax.random.normal(b, (4, w.shape[1]))
    return {"kernel": (left @ right) / (2 * math.sqrt(w.shape[0]))}


def copied_members(key, params):
    w = params["kernel"]
    return {"kernel": jnp.broadcast_to(w[:1], w.shape)}


def copied_outputs(key, params):
    w = params["kernel"]
    return {"kernel": w.at[:, ::2].set(w[:, 1::2])}


def of_jax(init: Callable) -> Callable:
    """A peer's initializer, at the dtype of the leaf."""
    return drawn("kernel", init)


HEADS = jinit.einsum_axes("btd,dhk->bthk")

FAULTS = {
    "packed query, key and value": one(
        (64, 192),
        jinit.blocks(jinit.xavier_uniform(), 3),
        jinit.xavier_uniform(),
        "std",
        "packed blocks were drawn as one kernel",
    ),
    "a projection with the fan of a packed one": one(
        (96, 96),
        jinit.xavier_normal(),
        jinit.xavier_normal(fan_in=96, fan_out=3 * 96),
        "std",
        "the fan_out is that of 3 packed projections",
    ),
    "batch dimensions of DenseGeneral": one(
        (8, 48, 32),
        jinit.stack(jinit.lecun_normal()),
        jinit.lecun_normal(),
        "std",
        "a stack was drawn as one kernel",
    ),
    "experts as a receptive field": one(
        (6, 32, 48),
        jinit.he_normal(batch_axis=0),
        jinit.he_normal(),
        "std",
        "JAX counts them|batch axis was counted",
    ),
    "heads of an einsum": one(
        (64, 4, 16),
        jinit.lecun_normal(**HEADS),
        jinit.lecun_normal(),
        "std",
        "last two axes, as JAX counts them",
    ),
    "layers that are copies": two(
        lambda key, params: {"b/kernel": params["a/kernel"]},
        "equal",
        "one key was used for both, or the layer was copied",
    ),
    "one key for layers of two deviations": two(
        lambda key, params: {"b/kernel": 0.5 * params["a/kernel"]},
        "equal",
        "one key was used for both",
        **{
            "a/kernel": jinit.normal(std=0.1),
            "b/kernel": jinit.normal(std=0.05),
        },
    ),
    "an ensemble of one key": one(
        (5, 24, 16), jinit.stack(jinit.lecun_normal()), copied_members, "equal", "key"
    ),
    "float8 that is NaN": one(
        (64, 64),
        jinit.lecun_normal(),
        of_jax(peers.lecun_normal()),
        "nonfinite",
        "float8",
        "float8_e4m3fn",
    ),
    "drawn in bfloat16": one(
        (128, 128),
        jinit.lecun_normal(),
        of_jax(peers.lecun_normal()),
        "precision",
        "drawn in bfloat16",
        "bfloat16",
    ),
    "a head of N(0, 1)": one(
        (256, 10), jinit.xavier_uniform(), jinit.normal(), "std", r"that of N\(0, 1\)"
    ),
    "Flax's default over the one asked for": one(
        (96, 64), jinit.he_normal(), jinit.lecun_normal(), "std", "gain|Flax's default"
    ),
    "torch's default over the one asked for": one(
        (96, 64),
        jinit.xavier_normal(),
        jinit.kaiming_uniform(a=math.sqrt(5)),
        "std",
        "torch's default",
    ),
    "swapped axes": one(
        (256, 32),
        jinit.kaiming_normal(),
        jinit.kaiming_normal(in_axis=-1, out_axis=-2),
        "std",
        "inputs and outputs are exchanged: fan_out for fan_in",
    ),
    "a transposed convolution": one(
        (3, 3, 8, 64),
        jinit.lecun_normal(transposed=True),
        jinit.lecun_normal(),
        "std",
        "of a transposed layer",
    ),
    "a depthwise convolution": one(
        (3, 3, 1, 64),
        jinit.glorot_uniform(groups=64),
        jinit.glorot_uniform(),
        "std",
        "the groups were not counted",
    ),
    "a missing gain": one(
        (96, 64),
        jinit.xavier_normal(gain="relu"),
        jinit.xavier_normal(),
        "std",
        r"the gain of 1.414 \('relu'\) is missing",
    ),
    "a gain for a scale": one(
        (96, 64),
        jinit.xavier_normal(gain=3.0),
        jinit.xavier_normal(gain=math.sqrt(3)),
        "std",
        "factor of the variance",
    ),
    "a gain applied twice": one(
        (96, 64),
        jinit.xavier_normal(gain=5 / 3),
        jinit.xavier_normal(gain=25 / 9),
        "std",
        "applied twice",
    ),
    "a truncation that is not corrected": one(
        (96, 64),
        jinit.lecun_normal(),
        jinit.truncated_normal(std=96**-0.5),
        "std",
        "not corrected",
    ),
    "another distribution": one(
        (96, 64),
        jinit.xavier_normal(),
        jinit.xavier_uniform(),
        "distribution",
        "drawn from the uniform distribution, not the normal one",
    ),
    "torch's bias": with_bias(
        jinit.uniform(a=-1 / 8, b=1 / 8), "std", "torch's default bias"
    ),
    "a layer that was forgotten": one(
        (32, 32), jinit.lecun_normal(), jinit.zeros(), "dead", "not initialized"
    ),
    "units that are all alike": one(
        (32, 32), jinit.lecun_normal(), jinit.constant(0.1), "constant", "filled"
    ),
    "a variance that float16 rounds to zero": one(
        (64, 64),
        jinit.variance_scaling(1e-4, "fan_in", "normal"),
        of_jax(lambda key, shape, dtype: jnp.zeros(shape, dtype)),
        "dead",
        "not initialized",
        "float16",
    ),
    "independent weights for orthogonal ones": one(
        (64, 64), jinit.orthogonal(), jinit.lecun_normal(), "spectrum", "independent"
    ),
    "clipped for truncated": one(
        (64, 64), jinit.lecun_normal(), clipped, "saturated", "clipped"
    ),
    "stored in bfloat16": one(
        (64, 64), jinit.lecun_normal(), widened, "precision", "drawn or stored in it"
    ),
    "a residual branch without its depth": one(
        (96, 96),
        jinit.normal(std=0.02 / math.sqrt(24)),
        jinit.normal(std=0.02),
        "std",
        r"that of N\(0, 0.02²\)",
    ),
    "a variance for a deviation": one(
        (96, 64),
        jinit.he_normal(),
        jinit.normal(std=2 / 96),
        "std",
        "the variance was taken for the standard deviation",
    ),
    "an embedding of another library": one(
        (300, 64),
        jinit.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
        jinit.normal(),
        "std",
        r"that of N\(0, 1\)",
    ),
    "a product of narrow matrices": one(
        (64, 64), jinit.lecun_normal(), low_rank, "rank", "product of narrower ones"
    ),
    "outputs that are copies": one(
        (64, 64), jinit.lecun_normal(), copied_outputs, "rank", "copies of one another"
    ),
    "a receptive field that was not counted": one(
        (3, 3, 32, 32),
        jinit.lecun_normal(),
        jinit.lecun_normal(batch_axis=(0, 1)),
        "std",
        "the receptive field was not counted",
    ),
}
