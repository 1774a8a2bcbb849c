"""Kernels: the layers of a program, each a contraction with a kernel and its bias."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jinit._checks import Shape
from jinit.model._graph import Graph, Step, Use
from jinit.model._streams import Streams
from jinit.model._views import Digit, View, covers


@dataclass(frozen=True, eq=False)
class Layer:
    """A contraction with a kernel, and the bias that is added to its result."""

    use: Use  # of the kernel
    shape: Shape  # the kernel's
    end: Step  # whose result is the layer's: the addition, or the contraction
    bias: Use | None
    target: float  # the variance that it is to have

    @property
    def path(self) -> str:
        return self.use.view.path

    @property
    def bias_path(self) -> str | None:
        return self.bias.view.path if self.bias is not None else None

    @property
    def turns(self) -> Shape:
        """How often the loops around it run, as far as that is known."""
        return tuple(n for n in self.end.turns if n is not None)

    @cached_property
    def stack(self) -> dict[int, Digit]:
        """By the number of their loop, the digits of the kernel that loops run along.

        There are none where a loop runs along a part of an axis.
        """
        along = self.along(self.use.view)
        axes = {digit.axis for digit in along.values()}
        whole = covers(along.values(), self.shape, axes)
        return along if whole else {}

    def along(self, view: View) -> dict[int, Digit]:
        """By the number of their loop, the digits of a view that loops run along."""
        known = [depth for depth, n in enumerate(self.end.turns) if n is not None]
        found = ((depth, digit) for depth, digit in view.stack if depth in known)
        return {known.index(depth): digit for depth, digit in sorted(found)}

    @property
    def indices(self) -> list[tuple[int, ...]]:
        """Those of the kernels of a stack; () of one that is in none."""
        return [*np.ndindex(*(digit.size for _, digit in sorted(self.stack.items())))]

    def each(self, seen: Any) -> dict[tuple[int, ...], Any]:
        """Of what is seen in each turn of the loops that of each kernel of a stack."""
        places = sorted(self.stack)
        first = np.moveaxis(np.asarray(seen), places, range(len(places)))
        return {index: first[index] for index in self.indices}

    def by_turn(self, values: Any) -> Any:
        """What is said of each kernel of a stack, beside the turns of the loops."""
        places = enumerate(self.turns)
        return values.reshape([n if place in self.stack else 1 for place, n in places])

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """The axes of the output along which the bias is the same."""
        assert self.bias is not None
        along = enumerate(self.bias.view.axes)
        return tuple(axis for axis, digits in along if not digits)

    @property
    def bias_digits(self) -> list[Digit]:
        """The digits of the bias: those of the loops, then those of the output."""
        assert self.bias is not None
        view = self.bias.view
        outputs = (digit for digits in view.axes for digit in digits)
        return [*self.along(view).values(), *outputs]


def layers_of(graph: Graph, found: Streams | None = None) -> dict[str, Layer]:
    """Of each kernel the contraction that decides: the first."""
    targets = found.targets() if found else {}
    shifts = {id(use.step): use for use in graph.uses if use.kind == "shift"}
    readers = graph.readers()
    layers: dict[str, Layer] = {}
    for use in graph.uses:
        kernel = use.kind == "contraction" and "in" in use.axes.values()
        if kernel and use.view.path not in layers:
            bias = _bias_of(use.step, readers, shifts)
            end = use.step if bias is None else bias.step
            target = targets.get(id(use.step), 1.0)
            shape = graph.shapes[use.view.path]
            layers[use.view.path] = Layer(use, shape, end, bias, target)
    return layers


def in_order(layers: Iterable[Layer]) -> list[tuple[Layer, tuple[int, ...]]]:
    """The layers, and each kernel of a stack, in the order in which they run."""
    kernels = [(layer, index) for layer in layers for index in layer.indices]
    return sorted(kernels, key=lambda kernel: _when(*kernel))


def _when(layer: Layer, index: tuple[int, ...]) -> tuple[int, ...]:
    """The place of the step, with the turn of each loop after the place of that."""
    turn = dict(zip(sorted(layer.stack), index, strict=True))
    when, start, known = list[int](), 0, 0
    for loop in layer.end.loops:
        when += [*layer.end.at[start : len(loop.at)], turn.get(known, 0)]
        start, known = len(loop.at), known + (loop.turns is not None)
    return (*when, *layer.end.at[start:])


def name_of(path: str, index: tuple[int, ...]) -> str:
    """How a kernel prints: its path, and its place in a stack."""
    return "/".join([path, *map(str, index)])


def _bias_of(
    step: Step, readers: Mapping[int, list[Step]], shifts: Mapping[int, Use]
) -> Use | None:
    """What is added to the result of a contraction, before all else."""
    while True:
        after = readers.get(id(step.outputs[0]), [])
        if len(after) != 1 or after[0].turns != step.turns:
            return None
        (step,) = after
        if id(step) in shifts and step.name == "add":
            return shifts[id(step)]
        if step.name not in ("reshape", "transpose", "convert_element_type", "copy"):
            return None
