"""Writes draws.json: what every initializer draws, as two sums for each dtype.

    python tests/golden/make_draws.py

A draw is known by its sums: of the weights, and of the weights times their places. They
are the same from one version of jinit to the next, whatever becomes of its code.
"""

import contextlib
import itertools
import json
import math
from pathlib import Path

import jax
import numpy as np

import jinit
import jinit.jaxnn
import jinit.torch

CALLS = [
    "constant(0.5)",
    "constant(((1.5, 2.0), (0.0, 1.0)))",
    "ones()",
    "uniform(a=-1.0, b=2.0)",
    "normal(mean=1.0, std=0.02)",
    "trunc_normal(std=0.02, a=-0.04, b=0.04)",
    "trunc_normal(mean=1.0, std=0.5, a=0.9, b=3.0)",
    "trunc_normal(a=8.0, b=9.0)",
    "truncated_normal(std=0.5)",
    "truncated_normal(lower=-inf, upper=1.0)",
    "truncated_normal(mean=1.0, std=0.02, lower=-1.0, corrected=True)",
    "eye(gain=2.0)",
    "dirac(groups=2)",
    "xavier_uniform(gain='relu')",
    "xavier_normal(in_axis=-1, out_axis=-2, gain=1.5)",
    "kaiming_uniform(a=2.23606797749979)",
    "kaiming_normal(mode='fan_out', nonlinearity='relu')",
    "kaiming_normal(groups=8, fan_in=3.0)",
    "orthogonal(gain=2.0)",
    "orthogonal(batch_axis=0)",
    "sparse(0.3, std=0.1)",
    "sparse(0.3, in_axis=1, out_axis=0)",
    "variance_scaling(2.0, 'fan_avg', 'uniform')",
    "variance_scaling(1.0, 'fan_in', 'normal', out_axis=0)",
    "variance_scaling(1.0, 'fan_geo_avg', 'truncated_normal', gain='mish')",
    "lecun_uniform(fan_in=5.0)",
    "lecun_normal()",
    "glorot_uniform(transposed=True)",
    "glorot_normal(groups=8)",
    "he_uniform(gain='swiglu')",
    "he_normal(batch_axis=0)",
    "scaled_orthogonal(gain='relu')",
    "spectral_orthogonal()",
    "delta_orthogonal(gain=0.5)",
    "convolution_orthogonal(gain=2.0)",
    "stack(lecun_normal())",
    "stack(blocks(orthogonal(), 2), axis=1)",
    "blocks(xavier_normal(), 4)",
    "blocks(normal(), 3, axis=0)",
    "looks_linear()",
    "looks_linear(init=delta_orthogonal(), mirror='both')",
    "torch.zero_row(normal(), 3)",
    "torch.triangular(0.1)",
    "jaxnn.he_normal(dtype='bfloat16')",
]
SHAPES = [(12, 24), (3, 3, 8, 16)]
DTYPES = ("float32", "bfloat16", "complex64")
FILE = Path(__file__).with_name("draws.json")


def draws(call):
    """The two sums in each dtype, of the first shape that an initializer draws."""
    names = {**vars(jinit), "torch": jinit.torch, "jaxnn": jinit.jaxnn, "inf": math.inf}
    init = eval(call, names)
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        with contextlib.suppress(TypeError, ValueError):
            weights = init(jax.random.key(7), shape, dtype)
            yield f"{shape} {dtype}", sums(weights)
            if dtype == DTYPES[-1]:
                break


def sums(weights):
    """Of the weights, and of the weights times their places, part by part."""
    wide = np.asarray(weights).ravel()
    parts = wide.view(wide.real.dtype) if np.iscomplexobj(wide) else wide
    parts = parts.astype(np.float64)
    return [float(parts.sum()), float(parts @ np.cos(np.arange(parts.size)))]


if __name__ == "__main__":
    FILE.write_text(json.dumps({c: dict(draws(c)) for c in CALLS}, indent=0) + "\n")
