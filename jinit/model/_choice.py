"""Choices: which initializer keeps signals at variance one, by what a parameter is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinit import _checks
from jinit._basic import constant, normal, ones, zeros
from jinit._combine import blocks
from jinit._fan_scaled import lecun_normal, variance_scaling
from jinit._fans import fans
from jinit._orthogonal import orthogonal
from jinit.gains._gain import gain, resolve_gain

if TYPE_CHECKING:
    from jinit.model._role import Role

_EXACT = 0.02  # how near to one a gain is taken for one
_NORMALIZING = {"add", "rsqrt", "sqrt", "max"}  # of a variance


@dataclass(frozen=True)
class Choice:
    """What `Roles.rules` was asked for, as a function of a role to an initializer."""

    residual: str | None
    keep: str
    head: Any
    recurrent: str | None

    def __post_init__(self) -> None:
        _one_of("residual", self.residual, ("sqrt", "zero", "fixup", None))
        _one_of("keep", self.keep, ("forward", "backward", "both"))
        _one_of("recurrent", self.recurrent, ("orthogonal", None))
        if self.head is not None and not callable(self.head):
            _checks.number("head", self.head)

    def __call__(self, role: Role) -> Any:
        if role.kind == "scale":
            return self._scale(role)
        if role.functions or role.kind in ("rate", "other", "unused"):
            return None
        if role.kind == "shift":
            return zeros()
        if role.kind == "state":  # a matrix may be a kernel that the loop changes
            return zeros() if sum(n > 1 for n in role.shape) < 2 else None
        if role.kind == "table":
            # What is looked up is the signal; what is added to it is small beside it.
            return normal(std=1 / abs(role.factor) if role.is_looked_up else 0.02)
        if role.head and callable(self.head):
            return self.head
        if role.recurrent and self.recurrent is not None:
            return _squares(role)
        return None if "" in role.axes else self._kernel(role)

    def _scale(self, role: Role) -> Any:
        if role.functions == ("add",):  # the scale is 1 + w
            return zeros()
        if not set(role.functions) <= _NORMALIZING:
            return None
        share = self._share(role) if role.branches else 1.0
        if share != 1:
            return zeros() if not share else constant(_short(math.sqrt(share)))
        return ones() if math.prod(role.shape) > 1 or role.functions else None

    def _share(self, role: Role) -> float:
        """The share of the variance that its place in a stream leaves it."""
        place, length = role.place, role.branches
        if self.residual is None:
            return 1.0
        if length:
            return 1 / length if self.residual == "sqrt" else 0.0
        if place is None or self.residual != "fixup" or place.layers < 2:
            return 1.0
        return place.branches ** (-1 / (place.layers - 1))

    def _kernel(self, role: Role) -> Any:
        share = self._share(role)
        if not share:
            return zeros()
        if role.head and self.head is not None:
            share *= float(self.head) ** 2
        axes, counted = _axes(role)
        factor = share / role.factor**2
        forward = counted.fan_in / role.fan_in / role.moment * factor
        if self.keep == "forward" or role.fan_out == 0:
            named = role.activation if share == abs(role.factor) == 1 else None
            if named is not None and abs(counted.fan_in / role.fan_in - 1) < 1e-9:
                return lecun_normal(**axes, gain=_named_gain(named))
            root = math.sqrt(forward)
            size = 1.0 if abs(root - 1) < _EXACT else _short(root)
            return lecun_normal(**axes, gain=size)
        if role.outputs:  # by the fans of a part, of which the shape says nothing
            axes |= {"fan_out": role.fan_out}
            counted = counted._replace(fan_out=role.fan_out)
        # The gain is 1 / sqrt(E f'^2); of what has no name, that of the signal.
        moved = gain(role.activation, mode="backward") if role.activation else None
        back = moved**2 if moved is not None else 1 / role.moment
        backward = counted.fan_out / role.fan_out * back * factor
        if self.keep == "backward":
            return variance_scaling(_short(backward), "fan_out", "normal", **axes)
        mean = 2 / (counted.fan_in / forward + counted.fan_out / backward)
        scale = mean * (counted.fan_in + counted.fan_out) / 2
        return variance_scaling(_short(scale), "fan_avg", "normal", **axes)


def _axes(role: Role) -> tuple[dict[str, Any], Any]:
    """The axes of a contraction as an initializer takes them, and the fans by these."""
    axes: dict[str, Any] = {
        "in_axis": role._axes("in"),
        "out_axis": role._axes("out"),
        "batch_axis": tuple(sorted(role._axes("batch", "stack"))),
    }
    counted = fans(role.shape, **axes)
    last = {"in_axis": (len(role.shape) - 2,), "out_axis": (len(role.shape) - 1,)}
    # None where they are as they are by default.
    return {} if axes == last | {"batch_axis": ()} else axes, counted


def _squares(role: Role) -> Any:
    """An orthogonal matrix, or several that are packed, as those of gates."""
    if len(role.shape) != 2 or role.shape[0] == role.shape[1]:
        return orthogonal()
    axis = role.axes.index("out")
    n = role.shape[axis] // role.shape[1 - axis]
    return blocks(orthogonal(), n, axis - len(role.shape))


def _named_gain(activation: str) -> Any:
    """The name, or the number where the name stands for torch's, as of tanh 5/3."""
    exact = gain(activation)
    same = abs(resolve_gain(activation) / exact - 1) < 1e-9
    return activation if same else float(f"{exact:.10g}")


def _one_of(name: str, value: Any, values: tuple[Any, ...]) -> None:
    if value not in values:
        known = ", ".join(map(repr, values))
        raise ValueError(f"{name} must be one of {known}, got {value!r}.")


def _short(number: float) -> float:
    return float(f"{number:.4g}")
