"""Fans: to how many inputs and outputs one unit of a layer connects."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from jinit import _checks, _types
from jinit._checks import Axis, Number, Shape, axes, or_none, positive, sqrt
from jinit._initializer import Initializer, option

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")


class Fans(NamedTuple):
    """The number of connections of one output unit, and of one input unit.

    Example:
      >>> import jinit
      >>> jinit.fans((784, 256))
      Fans(fan_in=784, fan_out=256)
    """

    fan_in: int
    fan_out: int


def fans(
    shape: _types.Shape,
    in_axis: Axis | None = None,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    groups: int = 1,
    transposed: bool = False,
) -> Fans:
    """Counts the fans of a kernel.

        fan_in  = |in_axis|  · |receptive field|
        fan_out = |out_axis| · |receptive field| / groups

    The receptive field is what is left of the shape: the spatial axes of a convolution.
    Initializers count by these rules, but for a `fan_in` or `fan_out` given to them.

    Args:
      shape: Shape of the kernel; in Flax's layout (*spatial, in, out).
      in_axis: Axis or axes of the inputs; in torch's layout 1. By default the axis
        before the last, or the last where `out_axis` takes that one: of a matrix with
        `out_axis=0` the inputs are axis 1.
      out_axis: Axis or axes of the outputs; in torch's layout 0.
      batch_axis: Axes along which kernels are stacked; they count for nothing.
      groups: Groups of a grouped convolution, whose kernel holds `in / groups` inputs
        and all outputs: each input feeds only `out / groups` of them.
      transposed: The kernel is used backwards, by the transpose of the convolution that
        its axes and groups describe: the fans change places. So it is with Flax's
        `ConvTranspose(transpose_kernel=True)`. Of strides s each output sees one tap in
        s: divide, and give the result as `fan_in`.

    Returns:
      `Fans(fan_in, fan_out)`.

    Raises:
      ValueError: The shape lacks an axis, an axis has two roles, or `groups` does not
        divide the outputs.

    Example:
      >>> import jinit
      >>> jinit.fans((3, 3, 1, 64), groups=64)  # depthwise
      Fans(fan_in=9, fan_out=9)
      >>> jinit.fans((3, 3, 16, 8), transposed=True)  # from 8 channels to 16
      Fans(fan_in=72, fan_out=144)

    References:
      `torch.nn.init` and `jax.nn.initializers` do not divide by groups, and torch has
      no axes (`benchmarks/peers.py` prints a case). Keras deduces the axes of an
      `EinsumDense`; here `jinit.einsum_axes` does.
    """
    groups = _checks.count("groups", groups)
    transposed = _checks.flag("transposed", transposed)
    sizes = _checks.check_shape(shape)
    remedy = (
        "name the kernel's axes (in_axis=, out_axis=) or, for a bias or another "
        "parameter that has none, give the fans as numbers (fan_in=, fan_out=)"
    )
    ins, outs, batch = _checks.resolve_axes(
        sizes, remedy, in_axis=in_axis, out_axis=out_axis, batch_axis=batch_axis
    )
    inputs, outputs = (math.prod(sizes[axis] for axis in side) for side in (ins, outs))
    if outputs % groups:
        raise ValueError(
            f"groups must divide the {outputs} outputs of shape {sizes}, got "
            f"groups={groups}."
        )
    spatial = set(range(len(sizes))).difference(ins, outs, batch)
    receptive_field = math.prod(sizes[axis] for axis in spatial)
    counts = inputs * receptive_field, outputs * receptive_field // groups
    return Fans(*(reversed(counts) if transposed else counts))


def einsum_axes(spec: str) -> dict[str, Any]:
    """Reads the roles of a kernel's axes from the equation that it is used in.

        an index of the kernel that the outputs lack          in_axis
        one that the outputs have, and the inputs have not    out_axis
        one that both have                                    batch_axis

    Args:
      spec: "inputs,kernel->outputs", as `flax.linen.Einsum` takes it. The inputs and
        the outputs may have an ellipsis.

    Returns:
      Keyword arguments of `jinit.fans`, of every initializer that scales by fans, and
      of `jinit.orthogonal` and its scaled forms.

    Raises:
      ValueError: `spec` is not of that form, repeats an index within an operand, or has
        an output index that no operand has.

    Example:
      >>> import jinit
      >>> jinit.einsum_axes("btd,dhk->bthk")  # d in, h heads of size k out
      {'in_axis': (0,), 'out_axis': (1, 2), 'batch_axis': ()}
      >>> jinit.lecun_normal(**jinit.einsum_axes("ebd,edf->ebf"))  # e experts
      lecun_normal(in_axis=(1,), out_axis=(2,), batch_axis=(0,))
    """
    inputs, kernel, outputs = _operands(spec)
    roles: dict[str, Any] = dict.fromkeys(("in_axis", "out_axis", "batch_axis"), ())
    for axis, index in enumerate(kernel):
        fed = "batch_axis" if index in inputs else "out_axis"
        roles[fed if index in outputs else "in_axis"] += (axis,)
    return roles


class FanInitializer(Initializer):
    """An initializer whose scale follows from the fans, counted or given."""

    in_axis: Axis | None = option(or_none(axes), default=None)
    out_axis: Axis = option(axes, default=-1)
    batch_axis: Axis = option(axes, default=())
    groups: int = option(_checks.count, default=1)
    transposed: bool = option(_checks.flag, default=False)
    fan_in: Number | None = option(or_none(positive), default=None)
    fan_out: Number | None = option(or_none(positive), default=None)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        self._fan(shape, getattr(self, "mode", "fan_in"))

    def _fans(self, shape: Shape) -> tuple[Any, Any]:
        """Both fans, None for one that a vector does not have."""
        found: dict[str, Any] = dict.fromkeys(("fan_in", "fan_out"))
        for side in found:
            with suppress(ValueError):
                found[side] = self._side(shape, side)
        return found["fan_in"], found["fan_out"]

    def _fan(self, shape: Shape, mode: str) -> Any:
        """The fan of one mode; a shape without the axes is refused."""
        if mode in ("fan_in", "fan_out"):
            return self._side(shape, mode)
        fan_in, fan_out = self._side(shape, "fan_in"), self._side(shape, "fan_out")
        if mode == "fan_avg":
            return (fan_in + fan_out) / 2
        if self.fan_in is None and self.fan_out is None:
            return (fan_in * fan_out) ** 0.5  # rounds as JAX does
        return sqrt(fan_in) * sqrt(fan_out)  # of numbers of any size

    def _side(self, shape: Shape, side: str) -> Any:
        """One fan; axes are counted only where no number was given."""
        given = getattr(self, side)
        if given is not None:
            return given
        ins, outs, batch = self._named_axes().values()
        counted = fans(shape, ins, outs, batch, self.groups, self.transposed)
        return getattr(counted, side)


def _operands(spec: str) -> list[str]:
    """The indices of the inputs, the kernel and the outputs of an equation."""
    if not isinstance(spec, str):
        raise TypeError(f"spec must be a string, such as 'bi,io->bo', got {spec!r}.")
    form = re.fullmatch(r"([^,]+),([^,]+)->([^,]+)", spec.replace(" ", ""))
    if form is None:
        raise ValueError(
            "spec must name the inputs, the kernel and the outputs, as 'bi,io->bo' "
            f"does, got {spec!r}."
        )
    inputs, kernel, outputs = form.groups()
    named = {"inputs": inputs, "kernel": kernel, "outputs": outputs}
    for name, indices in named.items():
        letters = indices if name == "kernel" else indices.replace("...", "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise ValueError(
                "spec must name every axis by a letter, and those of the kernel "
                f"without an ellipsis, got {indices!r} for the {name} in {spec!r}."
            )
        if len(set(letters)) < len(letters):
            raise ValueError(
                "spec must not repeat an index within an operand, got "
                f"{indices!r} for the {name} in {spec!r}."
            )
    if ("..." in inputs) != ("..." in outputs):
        raise ValueError(
            "spec must have an ellipsis in the inputs and in the outputs, or in "
            f"neither, got {spec!r}."
        )
    if unknown := set(outputs) - set(inputs + kernel):
        raise ValueError(
            "spec must take every index of the outputs from an operand, got "
            f"{min(unknown)!r} in the outputs of {spec!r} alone."
        )
    return [inputs, kernel, outputs]
