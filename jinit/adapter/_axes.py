"""Axes: a kernel as matrices, and the shapes of a pair in its layout."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jinit import _checks
from jinit._checks import Shape
from jinit._haar import matmul


class Axes(NamedTuple):
    """A kernel as a batch of matrices: its axes by what they are."""

    shape: Shape
    batch: tuple[int, ...]
    ins: tuple[int, ...]
    space: tuple[int, ...]
    outs: tuple[int, ...]

    def size(self, axes: tuple[int, ...]) -> int:
        return math.prod(self.shape[axis] for axis in axes)

    inputs = property(lambda self: self.size(self.ins + self.space))
    outputs = property(lambda self: self.size(self.outs))

    def check_rank(self, rank: Any) -> int:
        """Returns a rank that the kernel can have."""
        rank, most = _checks.count("rank", rank), min(self.inputs, self.outputs)
        if rank > most:
            raise ValueError(
                f"rank must be at most {most}, that of a kernel of shape {self.shape} "
                f"with {self.inputs} inputs and {self.outputs} outputs, got {rank}; "
                "give a smaller one, or leave the kernel without a pair."
            )
        return rank

    def full(self, rank: int) -> tuple[Shape, Shape]:
        """The shapes of A and B with all axes of the kernel, some of size 1."""

        def instead(axes: tuple[int, ...], ones: tuple[int, ...]) -> Shape:
            sizes = [1 if n in axes + ones else m for n, m in enumerate(self.shape)]
            sizes[axes[0]] = rank
            return tuple(sizes)

        return instead(self.outs, ()), instead(self.ins, self.space)

    def shapes(self, rank: int) -> tuple[Shape, Shape]:
        """The shapes of A and B, without the axes that the rank stands for."""
        a, b = self.full(rank)
        return (
            tuple(size for n, size in enumerate(a) if n not in self.outs[1:]),
            tuple(size for n, size in enumerate(b) if n not in self.ins[1:]),
        )

    def matrices(self, w: jax.Array, columns: int) -> jax.Array:
        """A kernel, or one of a pair with all axes, as (batch, rows, columns)."""
        order = self.batch + self.ins + self.space + self.outs
        return w.transpose(order).reshape(self.size(self.batch), -1, columns)

    def kernel(self, matrices: jax.Array, shape: Shape) -> jax.Array:
        """The inverse of `matrices`, for a kernel of this shape."""
        order = self.batch + self.ins + self.space + self.outs
        sizes = [shape[axis] for axis in order]
        return matrices.reshape(sizes).transpose(np.argsort(order))

    def product(
        self, a: jax.Array, b: jax.Array, rank: int, dtype: np.dtype
    ) -> jax.Array:
        """A B, of the shape of the kernel."""
        full_a, full_b = self.full(rank)
        left = self.matrices(a.astype(dtype).reshape(full_a), rank)
        right = self.matrices(b.astype(dtype).reshape(full_b), self.outputs)
        return self.kernel(matmul(left, right), self.shape)


def axes_of(shape: Shape, in_axis: Any, out_axis: Any, batch_axis: Any) -> Axes:
    """The axes of a kernel by their names, as `jinit.fans` takes them."""
    named = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    remedy = "name the kernel's axes (in_axis=, out_axis=); a vector has no pair"
    ins, outs, batch = _checks.resolve_axes(shape, remedy, **named)
    if not ins or not outs:
        raise ValueError(
            f"in_axis and out_axis must each name an axis of shape {shape}, got "
            f"{in_axis!r} and {out_axis!r}; a kernel without one of them has no pair."
        )
    rest = (axis for axis in range(len(shape)) if axis not in ins + outs + batch)
    return Axes(shape, batch, tuple(sorted(ins)), tuple(rest), tuple(sorted(outs)))
