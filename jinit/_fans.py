"""Fans: to how many inputs and outputs one unit of a layer connects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinit import _options
from jinit._arguments import Shape, check_shape
from jinit._initializer import Initializer
from jinit._options import Axis, Number, sqrt

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")


class Fans(NamedTuple):
    """The number of connections of one output unit, and of one input unit."""

    fan_in: int
    fan_out: int


def fans(
    shape: Any,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    groups: int = 1,
) -> Fans:
    """Counts the fans of a kernel.

        fan_in  = |in_axis|  · |receptive field|
        fan_out = |out_axis| · |receptive field| / groups

    The receptive field is what is left of the shape: the spatial axes of a convolution.

    Args:
      shape: Shape of the kernel; in Flax's layout (*spatial, in, out).
      in_axis: Axis or axes of the inputs; in torch's layout 1.
      out_axis: Axis or axes of the outputs; in torch's layout 0.
      batch_axis: Axes along which kernels are stacked; they count for nothing.
      groups: Groups of a grouped convolution, whose kernel holds `in / groups` inputs
        and all outputs: each input feeds only `out / groups` of them.

    Returns:
      `Fans(fan_in, fan_out)`.

    Raises:
      TypeError: The shape, an axis or `groups` is not made of integers.
      ValueError: An axis that is not there or has two roles; groups that do not divide
        the outputs.

    Example:
      >>> import jinit
      >>> jinit.fans((3, 3, 64, 128))
      Fans(fan_in=576, fan_out=1152)
      >>> jinit.fans((3, 3, 1, 64), groups=64)  # depthwise
      Fans(fan_in=9, fan_out=9)

    References:
      `torch.nn.init` and `jax.nn.initializers` do not divide by groups, and torch has
      no axes (`benchmarks/peers.py` prints a case).
    """
    groups = _options.count("groups", groups)
    shape = check_shape(shape)
    remedy = (
        "name the kernel's axes (in_axis=, out_axis=) or, for a bias or another "
        "parameter that has none, give the fans as numbers (fan_in=, fan_out=)"
    )
    ins, outs, batch = _options.resolve_axes(
        shape, remedy, in_axis=in_axis, out_axis=out_axis, batch_axis=batch_axis
    )
    inputs, outputs = (math.prod(shape[axis] for axis in side) for side in (ins, outs))
    if outputs % groups:
        raise ValueError(
            f"groups must divide the {outputs} outputs of shape {shape}, got "
            f"groups={groups}."
        )
    spatial = set(range(len(shape))).difference(ins, outs, batch)
    receptive_field = math.prod(shape[axis] for axis in spatial)
    return Fans(inputs * receptive_field, outputs * receptive_field // groups)


@dataclass(frozen=True, kw_only=True, repr=False)
class FanInitializer(Initializer):
    """An initializer whose scale follows from the fans, counted or given."""

    in_axis: Axis = -2
    out_axis: Axis = -1
    batch_axis: Axis = ()
    groups: int = 1
    fan_in: Number | None = None
    fan_out: Number | None = None

    def __post_init__(self) -> None:
        self._set(
            **_options.distinct_axes(
                in_axis=self.in_axis,
                out_axis=self.out_axis,
                batch_axis=self.batch_axis,
            )
        )
        self._set(groups=_options.count("groups", self.groups))
        for name in ("fan_in", "fan_out"):
            if getattr(self, name) is not None:
                self._set(**{name: _options.positive(name, getattr(self, name))})

    def _fans(self, shape: Shape) -> tuple[Any, Any]:
        return self._fan(shape, "fan_in"), self._fan(shape, "fan_out")

    def _fan(self, shape: Shape, mode: str) -> Any:
        """The fan of one mode; axes are counted only where no number was given."""
        if mode == "fan_avg":
            return sum(self._fans(shape)) / 2
        if mode == "fan_geo_avg":
            fan_in, fan_out = self._fans(shape)
            return sqrt(fan_in) * sqrt(fan_out)
        given = getattr(self, mode)
        if given is not None:
            return given
        axes = (self.in_axis, self.out_axis, self.batch_axis)
        return getattr(fans(shape, *axes, self.groups), mode)
