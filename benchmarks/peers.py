"""Prints what jinit and its peers draw, side by side: `python benchmarks/peers.py`.

Each row of the table is one measurement, made with the versions that are installed; "-"
where a library has no such thing, or is not there.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from _record import recorded

import jinit

try:
    import torch
except ImportError:
    torch = None

KEY = jax.random.key(0)
torch_fans = torch and torch.nn.init._calculate_fan_in_and_fan_out
peers = jax.nn.initializers


def attempt(measure: Callable[[], object] | None) -> str:
    """The measurement as text, or what was raised instead."""
    if measure is None:
        return "-"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(measure())
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        return f"raises {type(error).__name__}"


def filled(name: str, shape: tuple, dtype: str, **options: object) -> np.ndarray:
    """What torch draws, in double precision."""
    torch.manual_seed(0)
    weight = torch.empty(shape, dtype=getattr(torch, dtype))
    getattr(torch.nn.init, name)(weight, **options)
    wide = torch.complex128 if weight.is_complex() else torch.float64
    return weight.to(wide).numpy()


def trunc(stddev: float, upper: float, lower: float | None = None) -> Callable:
    """JAX's truncated normal, with bounds in standard deviations."""
    lower = -upper if lower is None else lower
    return peers.truncated_normal(stddev, lower=lower, upper=upper)


def distinct(w: object) -> int:
    return len(np.unique(np.asarray(w)))


def std(w: object) -> str:
    return f"{np.asarray(w).astype(np.float64).std():.3g}"


def nans(w: jax.Array) -> str:
    return f"{float(jnp.isnan(w.astype(jnp.float32)).mean()):.0%}"


def agreement(init: Callable) -> str:
    """The correlation of the weights that one key gives in float32 and bfloat16."""
    wide, narrow = (init(KEY, (300, 300), d) for d in ("float32", "bfloat16"))
    pair = np.asarray(wide).ravel(), np.asarray(narrow).astype(np.float32).ravel()
    return f"{np.corrcoef(*pair)[0, 1]:.4f}"


def error_of(q: object) -> str:
    q = np.asarray(q).astype(np.float64)
    return f"{abs(q.T @ q - np.eye(q.shape[1])).max():.1g}"


def excess(w: object, variance: float) -> str:
    """E|w|² over the variance of the formula."""
    return f"{np.mean(abs(np.asarray(w)) ** 2) / variance:.2f}"


def gains(kernel: object) -> str:
    """The extreme singular values of a convolution with circular padding."""
    operator = np.fft.fft2(np.asarray(kernel), s=(16, 16), axes=(0, 1))
    values = np.linalg.svd(operator, compute_uv=False)
    return f"{values.min():.2f} to {values.max():.2f}"


def alike(init: Callable) -> str:
    module, again = (nn.Dense(4, kernel_init=make()) for make in (init, init))
    try:
        pickle.dumps(init())
    except (AttributeError, pickle.PicklingError):
        return f"equal: {module == again}, pickles: False"
    return f"equal: {module == again}, pickles: True"


fan_out = peers.variance_scaling(1.0, "fan_out", "normal", batch_axis=0)
NORMALS, WIDE, HALF = (2000, 2000), (1000, 1000), (256, 256)
ROWS: dict[str, tuple[Callable | None, Callable | None, Callable | None]] = {
    "distinct values of 4 M bfloat16 normals": (
        lambda: distinct(jinit.normal()(KEY, NORMALS, "bfloat16")),
        lambda: distinct(peers.normal(1.0)(KEY, NORMALS, jnp.bfloat16)),
        lambda: distinct(filled("normal_", NORMALS, "bfloat16")),
    ),
    "correlation of one key's float32 and bfloat16 weights": (
        lambda: agreement(jinit.normal()),
        lambda: agreement(peers.normal(1.0)),
        None,
    ),
    "NaN among lecun_normal weights in float8_e4m3fn": (
        lambda: nans(jinit.lecun_normal()(KEY, WIDE, "float8_e4m3fn")),
        lambda: nans(peers.lecun_normal()(KEY, WIDE, jnp.float8_e4m3fn)),
        None,
    ),
    "std of trunc_normal(std=0.02, a=-2, b=2) in bfloat16": (
        lambda: std(jinit.trunc_normal(std=0.02)(KEY, WIDE, "bfloat16")),
        lambda: std(trunc(0.02, 100)(KEY, WIDE, jnp.bfloat16)),
        lambda: std(filled("trunc_normal_", WIDE, "bfloat16", std=0.02)),
    ),
    "std of trunc_normal(a=3, b=5) in bfloat16; exact: 0.264": (
        lambda: std(jinit.trunc_normal(a=3, b=5)(KEY, WIDE, "bfloat16")),
        lambda: std(trunc(1.0, 5, 3)(KEY, WIDE, jnp.bfloat16)),
        lambda: std(filled("trunc_normal_", WIDE, "bfloat16", a=3.0, b=5.0)),
    ),
    "distinct values of 1 M float32 trunc_normal(a=8, b=9)": (
        lambda: distinct(jinit.trunc_normal(a=8, b=9)(KEY, WIDE)),
        lambda: distinct(trunc(1.0, 9, 8)(KEY, WIDE)),
        lambda: distinct(filled("trunc_normal_", WIDE, "float32", a=8.0, b=9.0)),
    ),
    "max abs(QᵀQ - I) of orthogonal in bfloat16": (
        lambda: error_of(jinit.orthogonal()(KEY, HALF, "bfloat16")),
        lambda: error_of(peers.orthogonal()(KEY, HALF, jnp.bfloat16)),
        lambda: error_of(filled("orthogonal_", HALF, "bfloat16")),
    ),
    "E abs(w)² over its variance, complex64 xavier_uniform": (
        lambda: excess(jinit.xavier_uniform()(KEY, WIDE, "complex64"), 1e-3),
        lambda: excess(peers.glorot_uniform()(KEY, WIDE, jnp.complex64), 1e-3),
        lambda: excess(filled("xavier_uniform_", WIDE, "complex64"), 1e-3),
    ),
    "E abs(w)² over its variance, complex64 lecun_normal": (
        lambda: excess(jinit.lecun_normal()(KEY, WIDE, "complex64"), 1e-3),
        lambda: excess(peers.lecun_normal()(KEY, WIDE, jnp.complex64), 1e-3),
        None,
    ),
    "singular values of a 3 x 3 layer (convolution_orthogonal; peers: orthogonal)": (
        lambda: gains(jinit.convolution_orthogonal()(KEY, (3, 3, 32, 64))),
        lambda: gains(peers.orthogonal()(KEY, (3, 3, 32, 64))),
        lambda: gains(
            filled("orthogonal_", (64, 32, 3, 3), "float32").transpose(2, 3, 1, 0)
        ),
    ),
    "fan_out of a 3 x 3 depthwise convolution, 64 channels (JAX: by variance)": (
        lambda: jinit.fans((3, 3, 1, 64), groups=64).fan_out,
        lambda: f"{1 / np.var(fan_out(KEY, (2000, 3, 3, 1, 64))):.0f}",
        lambda: torch_fans(torch.empty(64, 1, 3, 3))[1],
    ),
    "xavier_normal of shape (0, 4)": (
        lambda: jinit.xavier_normal()(KEY, (0, 4)).shape,
        lambda: peers.glorot_normal()(KEY, (0, 4)).shape,
        lambda: filled("xavier_normal_", (4, 0), "float32").shape,
    ),
    "gain of GELU": (
        lambda: f"{jinit.gain('gelu'):.6f}",
        None,
        lambda: torch.nn.init.calculate_gain("gelu"),
    ),
    "two Dense layers with rebuilt initializers": (
        lambda: alike(jinit.kaiming_normal),
        lambda: alike(peers.he_normal),
        None,
    ),
}


def main() -> None:
    versions = f"jax {jax.__version__}"
    if torch is not None:
        versions += f", torch {torch.__version__}"
    print(f"| {versions} | jinit | `jax.nn.initializers` | `torch.nn.init` |")
    print("|---|---|---|---|")
    for name, (ours, jaxs, torchs) in ROWS.items():
        measured = [ours, jaxs, torchs if torch is not None else None]
        print(f"| {name} | {' | '.join(map(attempt, measured))} |", flush=True)


if __name__ == "__main__":
    with recorded(
        "peers", "What jinit and its peers draw", *(["torch"] if torch else [])
    ):
        main()
