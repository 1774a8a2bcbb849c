"""A drop-in for `jax.nn.initializers`, and for those of `flax.linen` and `flax.nnx`.

    from jinit import jaxnn as initializers

Names, arguments, their order and their defaults are JAX's, and with the same key so are
the bits of everything that is drawn element by element, in float32, float64, complex64
and complex128. What the factories return are jinit's initializers: they print, compare
and pickle, and draw faster. They differ where JAX's are at fault:

| | `jax.nn.initializers` | here |
|---|---|---|
| float16, bfloat16 | drawn in the dtype: 128 values, mean off | float32 rounded once |
| float8 | NaN, or a few values | float32 rounded once |
| variance under float16's range | zeros | the right deviation |
| complex truncated normal | deviation 0.93 % high | as asked |
| complex `uniform`, `truncated_normal` | raise | drawn |
| `truncated_normal` with wide bounds | bfloat16: 1 in 128 at the lower one | none |
| `truncated_normal` far in a tail | a few values, or one | all of them |
| an axis both in and out | fans that are wrong | the other axis, or refused |
| kernels without elements | `ZeroDivisionError` in older versions | empty |
| orthogonal in half precision | raises | float32 rounded once |
| orthogonal with `out_sharding` | raises | sharded |

Two kinds of draws have no bits to agree with. Orthogonal matrices are computed in
another way. And where JAX's own bits change under `jax.jit` (`normal` before jax 0.12,
`truncated_normal` with bounds other than ±2), those here are the same with and without
it: for `normal` JAX's compiled ones, for `truncated_normal` its others. Where the last
bits of JAX's normals depend on their shape (jax 0.12, with AVX-512), those here are the
ones that JAX draws for a vector.

Refused are negative scales and deviations, arrays of them, bounds in the wrong order,
and constants that are not finite or that an integer dtype does not hold; constants too
large for a narrow dtype become its largest number, where JAX makes them infinite.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jax.nn.initializers import Initializer as Initializer

from jinit import _basic, _checks, _combine, _convolution, _fan_scaled, _orthogonal
from jinit._checks import Axis

zeros = _basic.zeros
ones = _basic.ones


class _Default(int):
    """JAX's default axis. Unlike the number typed, it gives way to `out_axis`."""


_IN = _Default(-2)


def zeros_init() -> Initializer:
    """`jinit.zeros`, as Flax names the factory."""
    return zeros()


def ones_init() -> Initializer:
    """`jinit.ones`, as Flax names the factory."""
    return ones()


def constant(value: Any, dtype: Any = None) -> Initializer:
    """`jinit.constant`."""
    return _with_dtype(_basic.constant(value), dtype)


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """`jinit.uniform` from 0 to `scale`."""
    scale = _checks.at_least_zero("scale", scale)
    return _with_dtype(_basic.uniform(a=0.0, b=scale), dtype)


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """`jinit.normal` about 0."""
    stddev = _checks.at_least_zero("stddev", stddev)
    return _with_dtype(_basic.normal(std=stddev), dtype)


def truncated_normal(
    stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0
) -> Initializer:
    """`jinit.truncated_normal` about 0, uncorrected."""
    stddev = _checks.at_least_zero("stddev", stddev)
    init = _basic.truncated_normal(std=stddev, lower=lower, upper=upper)
    return _with_dtype(init, dtype)


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axis = _IN,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: Any = None,
) -> Initializer:
    """`jinit.variance_scaling`."""
    factory = partial(_fan_scaled.variance_scaling, scale, mode, distribution)
    return _fan_based(factory, in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.lecun_uniform`."""
    return _fan_based(_fan_scaled.lecun_uniform, in_axis, out_axis, batch_axis, dtype)


def lecun_normal(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.lecun_normal`."""
    return _fan_based(_fan_scaled.lecun_normal, in_axis, out_axis, batch_axis, dtype)


def glorot_uniform(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.glorot_uniform`."""
    return _fan_based(_fan_scaled.glorot_uniform, in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.glorot_normal`."""
    return _fan_based(_fan_scaled.glorot_normal, in_axis, out_axis, batch_axis, dtype)


def he_uniform(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.he_uniform`."""
    return _fan_based(_fan_scaled.he_uniform, in_axis, out_axis, batch_axis, dtype)


def he_normal(
    in_axis: Axis = _IN, out_axis: Axis = -1, batch_axis: Axis = (), dtype: Any = None
) -> Initializer:
    """`jinit.he_normal`."""
    return _fan_based(_fan_scaled.he_normal, in_axis, out_axis, batch_axis, dtype)


# JAX's second names. Mind that torch's xavier_normal and kaiming_normal, which are
# jinit.xavier_normal and jinit.kaiming_normal, are not truncated.
xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


def orthogonal(
    scale: Any = 1.0, column_axis: int = -1, dtype: Any = None
) -> Initializer:
    """`jinit.orthogonal`, whose gain is `scale`."""
    scale = _checks.at_least_zero("scale", scale)
    column_axis = _checks.single_axis("column_axis", column_axis)
    return _with_dtype(_orthogonal.orthogonal(gain=scale, out_axis=column_axis), dtype)


def delta_orthogonal(
    scale: Any = 1.0, column_axis: int = -1, dtype: Any = None
) -> Initializer:
    """`jinit.delta_orthogonal`, whose gain is `scale`.

    Inputs and outputs are the last two axes. `column_axis` says which of them indexes
    the columns of the matrix drawn, whose distribution is the same either way.
    """
    scale = _checks.at_least_zero("scale", scale)
    if _checks.single_axis("column_axis", column_axis) not in (-2, -1, 0, 1):
        raise ValueError(
            f"column_axis must name an axis of a matrix, -1 or -2, got {column_axis!r}."
        )
    return _with_dtype(_convolution.delta_orthogonal(gain=scale), dtype)


def _fan_based(
    factory: Any, in_axis: Axis, out_axis: Axis, batch_axis: Axis, dtype: Any
) -> Initializer:
    own = None if in_axis is _IN else in_axis
    init = factory(in_axis=own, out_axis=out_axis, batch_axis=batch_axis)
    return _with_dtype(init, dtype)


def _with_dtype(init: Any, dtype: Any) -> Initializer:
    return init if dtype is None else _combine.with_dtype(init, dtype)
