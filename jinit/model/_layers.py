"""Layers: what a parameter is, by the names that Flax gives and the shapes beside it.

Every layer may be one of a stack: of `nn.scan`, `nn.vmap`, an ensemble. Then all of its
parameters have the axes of the stack in front. A scale, an embedding, or a bias beside
its kernel shows how many these are; what does not show it goes by what is around it:

    ScanBlock_0/Conv_0/kernel   (6, 3, 3, 16, 16)    a stack, or a volume?
    ScanBlock_0/Norm_0/scale    (6, 16)              a stack: all within are 6

The names of axes in a box show it too, wherever `nn.scan` or `nn.vmap` put the axis:

    blocks/wi/kernel    (32, 6, 64), of the names "embed", "layers", "mlp"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from jinit._checks import Shape
from jinit.model._paths import steps

Shapes = Mapping[str, Shape]
Names = Mapping[str, tuple[Any, ...]]
"""Of the axes of a parameter, by its path."""

_ATTENTION = {"query", "key", "value", "out"}
_PACKED = {"dense_i", "dense_h"}  # the cells of flax.nnx that have all gates in one
_CELLS = {
    "lstm": {"ii", "ig", "io", "hi", "hf", "hg", "ho"},
    "gru": {"ir", "iz", "in", "hr", "hz", "hn"},
    "mgu": {"if", "in", "hf", "hn"},
    "rnn": {"i", "h"},
}
_VECTORS = ("scale", "mean", "var")  # of normalizations
# What people call the axis of a stack, and no other: "layers", "moe_layers".
_STACK = re.compile("(.*_)?(layers?|stages?|experts?|blocks|stack|scan|ensemble)", re.I)


class Unknown(ValueError):
    """What a parameter is, is not known; the message says why."""


class Layers:
    """The parameters of a model by path, and the layers that they make.

    Attributes:
      given: The shapes as they are.
      stacked: The axes that have the name of a stack, of the leaves that have one.
      shapes: The shapes with these axes in front.
    """

    def __init__(self, given: Shapes, names: Names) -> None:
        self.given, self.stacked = given, dict[str, Shape]()
        for path, of_axes in names.items():
            named = (n for n, name in enumerate(of_axes) if _STACK.fullmatch(str(name)))
            if axes := tuple(named):
                self.stacked[path] = axes
        self.shapes = {path: self._in_front(path) for path in given}
        self._children: dict[str, set[str]] = {}
        for path in given:
            for parent, name in steps(path):
                self._children.setdefault(parent, set()).add(name)

    def _in_front(self, path: str) -> Shape:
        """A shape with the axes of a stack in front; a bias has its kernel's."""
        shape, kernel = self.given[path], f"{path.removesuffix('bias')}kernel"
        front = self.stacked.get(path) or self.stacked.get(kernel, ())
        front = tuple(axis for axis in front if axis < len(shape))
        rest = (size for axis, size in enumerate(shape) if axis not in front)
        return (*(shape[axis] for axis in front), *rest)

    def layer(self, path: str) -> Layer:
        """The layer that has the parameter of a path."""
        return Layer(self, path.rpartition("/")[0])

    def children(self, path: str) -> set[str]:
        """The names right below a path."""
        return self._children.get(path, set())

    @cached_property
    def normalized(self) -> set[str]:
        """The kernels that have a norm of their own, without the collection."""
        ends = ("/scale", "/sigma", "/u")
        paths = (path.rpartition("/")[0] for path in self.shapes if path.endswith(ends))
        return {p.partition("/")[2] for p in paths if p.endswith("kernel")}

    def stack_around(self, path: str) -> int | None:
        """How many axes of a stack all layers around have, the nearest that show it."""
        while path:
            path = path.rpartition("/")[0]
            shown, sizes = self._around[path]
            if shown:
                return min(shown) if len(sizes) == 1 else 0
        return None

    @cached_property
    def _around(self) -> dict[str, tuple[set[int], set[int]]]:
        """For each module the stacks that its layers show, and their first axes."""
        found: dict[str, tuple[set[int], set[int]]] = {}
        for path, shape in self.shapes.items():
            shown = self.layer(path).stack_shown
            for parent, _ in steps(path):
                stacks, sizes = found.setdefault(parent, (set(), set()))
                stacks.update(() if shown is None else (shown,))
                sizes.add(shape[0] if shape else -1)
        return found


class Layer:
    """The parameters side by side at one path."""

    def __init__(self, layers: Layers, path: str) -> None:
        self.layers, self.path = layers, path
        self.parent, _, self.name = path.rpartition("/")

    def shape(self, name: str) -> Shape | None:
        """That of one of its parameters."""
        return self.layers.shapes.get(f"{self.path}/{name}".removeprefix("/"))

    def beside(self, name: str) -> Layer:
        """Another layer, in the same module."""
        return Layer(self.layers, f"{self.parent}/{name}".removeprefix("/"))

    @property
    def is_normalized(self) -> bool:
        """Whether its kernel is: by `WeightNorm`, `SpectralNorm` or their like."""
        within = f"{self.path}/kernel".partition("/")[2]
        return within in self.layers.normalized

    @property
    def is_scale(self) -> bool:
        """Whether it is of the norms that `nnx.WeightNorm` keeps by a kernel's path."""
        of_norm = (parent for parent, name in steps(self.path) if name == "scales")
        return any("layer_instance" in self.layers.children(p) for p in of_norm)

    @property
    def is_conv(self) -> bool:
        return "conv" in self.name.lower()

    @property
    def is_conv_transpose(self) -> bool:
        return "convtranspose" in self.name.lower().replace("_", "")

    @property
    def is_attention(self) -> bool:
        return self._is_among(_ATTENTION)

    @property
    def is_packed(self) -> bool:
        return self._is_among(_PACKED)

    @property
    def cell(self) -> str | None:
        """The recurrent cell that it is a gate of."""
        around = self.layers.children(self.parent)
        cells = (cell for cell, names in _CELLS.items() if names <= around)
        return next((c for c in cells if self.name in _CELLS[c] | {"if", "if_"}), None)

    def _is_among(self, names: set[str]) -> bool:
        return self.name in names and self.layers.children(self.parent) >= names

    @property
    def axes(self) -> dict[str, Any]:
        """The axes of a stack, and those of the matrix where these are not the last."""
        batch = self.named or tuple(range(self.stack))
        if batch == tuple(range(len(batch))):
            return {"batch_axis": batch}
        rest = set(range(len(self.shape("kernel") or ()))).difference(batch)
        *_, in_axis, out_axis = sorted(rest)
        return {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch}

    @cached_property
    def stack(self) -> int:
        """How many axes in front are those of a stack."""
        if self.named and not self._agrees:
            raise self._unknown_axes()
        if self.stack_shown is not None:
            return self.stack_shown
        around = self.layers.stack_around(self.path)
        if around is None and any(n.startswith(("Scan", "Vmap")) for n in self._names):
            around = 1
        kernel = self.shape("kernel") or ()
        if around is not None and self._fits(around):
            return around
        if len(kernel) > 2 and not self.is_conv:
            raise self._unknown_axes()
        return 0

    @cached_property
    def stack_shown(self) -> int | None:
        """Likewise, where the names of its axes show it, or its own shapes."""
        return len(self.named) or self._shown

    @property
    def named(self) -> Shape:
        """The axes of its kernel that have the name of a stack."""
        return self.layers.stacked.get(f"{self.path}/kernel".removeprefix("/"), ())

    @property
    def _agrees(self) -> bool:
        """Whether its shapes allow a stack of the names, and those beside no more."""
        named = len(self.named)
        beside = (
            self.beside(name)._shown for name in self.layers.children(self.parent)
        )
        too_many = len(self.shape("kernel") or ()) < named + 2
        if too_many or any(shown and shown > named for shown in beside):
            return False
        if self._shown is None:
            return self._fits(named)
        return self._shown == named

    @cached_property
    def _shown(self) -> int | None:
        """How many its shapes show."""
        kernel, bias = self.shape("kernel"), self.shape("bias")
        vectors = [self.shape(name) for name in _VECTORS]
        vector = next((v for v in vectors if v is not None), None)
        table = self.shape("embedding")
        if kernel is None:
            shape, own = (vector, 1) if table is None else (table, 2)
            return None if shape is None else max(len(shape) - own, 0)
        if self.cell or self.is_packed:
            return len(kernel) - 2
        if self.is_attention:
            return max(len(kernel) - 3, 0)
        if bias is None:
            return 0 if len(kernel) < 3 else None
        if self.is_conv:
            return len(bias) - 1
        fitting = [n for n in range(len(bias)) if self._fits(n)]
        return fitting[0] if len(fitting) == 1 else None

    @property
    def outputs(self) -> int:
        """How many axes at the end of the kernel are outputs."""
        kernel, bias, stack = self.shape("kernel") or (), self.shape("bias"), self.stack
        if len(kernel) - stack < 2:  # a scale, say, that has the name of a kernel
            raise self._unknown_axes()
        if self.is_conv_transpose:  # of a transposed kernel the bias fits another axis
            return 1
        named = self.is_conv or self.is_attention
        if self.is_attention and self.name != "out":
            outputs = len(kernel) - stack - 1
        elif named or bias is None:
            outputs = 1
        else:
            outputs = len(bias) - stack
        several = len(kernel) - stack > 2 and not named  # and which are the outputs?
        fitting = *kernel[:stack], *kernel[len(kernel) - outputs :]
        unknown = several if bias is None else bias != fitting
        if unknown:
            raise self._unknown_axes()
        return outputs

    @property
    def inputs(self) -> Shape:
        """The sizes that its kernel sums over: the inputs, and the taps."""
        kernel = self.shape("kernel") or ()
        return kernel[self.stack : len(kernel) - self.outputs]

    def _fits(self, stack: int) -> bool:
        """Whether bias and kernel, if there are both, agree with such a stack."""
        kernel, bias = self.shape("kernel"), self.shape("bias")
        if kernel is None or bias is None:
            return True
        outputs = len(bias) - stack
        within = 0 < outputs < len(kernel) - stack
        return within and bias == (*kernel[:stack], *kernel[len(kernel) - outputs :])

    @property
    def _names(self) -> list[str]:
        return self.path.split("/")

    def _unknown_axes(self) -> Unknown:
        return Unknown(
            f"which axes of a kernel of shape {self.shape('kernel')} are inputs is not "
            "known"
        )


def by_layer(decide: Callable[[str, Layer], Any]) -> Callable[..., Any]:
    """A rule of `jinit.plan` from a function of a parameter's name and its layer."""
    known: list[Layers] = []

    def rule(path: str, shape: Shape, shapes: Shapes, names: Names) -> Any:
        if not known or known[0].given is not shapes:
            known[:] = [Layers(shapes, names)]
        return decide(path.rpartition("/")[2], known[0].layer(path))

    return rule


def check_size(shape: Shape | None) -> None:
    """Refuses a kernel without elements, whose fans may be zero."""
    if 0 in (shape or ()):
        raise Unknown(f"a kernel of shape {shape} has no elements to scale")
