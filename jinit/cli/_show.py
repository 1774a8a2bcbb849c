"""Initializers on the command line: all of them by family, and one by what it draws."""

from __future__ import annotations

import ast
import inspect
import math
import reprlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import MISSING, dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from jinit import _text
from jinit._checks import Shape, check_shape, nearest
from jinit._config import every_initializer, to_plain
from jinit._initializer import Initializer
from jinit.audit._statistics import Statistics, measure, real_parts
from jinit.laws import Law

MOST_WEIGHTS = 2**24  # of a draw that is made to be looked at
_BINS = 15
_WIDTH = 48  # characters of the tallest bar
_WIDE = ("float64", "complex128", "int64", "uint64")
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Summary:
    """An initializer in a list."""

    name: str  # after `jinit.`, such as "torch.triangular"
    summary: str  # what it is for, in a sentence
    options: tuple[dict[str, Any], ...]  # "name" and, if it has one, "default"


@dataclass(frozen=True)
class Shown:
    """An initializer, the distribution that it draws from, and one draw."""

    init: Initializer
    law: Law | None
    shape: Shape
    dtype: str
    fans: tuple[float | None, float | None] | None  # fan_in and fan_out, if it has them
    measured: Statistics
    edges: tuple[float, ...]  # of a histogram; complex numbers count with both parts
    counts: tuple[int, ...]

    def text(self, blocks: bool = False) -> str:
        """A page for the terminal, its histogram in block characters or in ASCII."""
        rows = [f"{name:<14}{value}" for name, value in self._rows() if value]
        page = [repr(self.init), "", *rows, "", *self._bars(blocks)]
        return "\n".join(page).rstrip()

    def to_json(self) -> str:
        """All of it as a JSON object, in which null stands for what is not known."""
        law, found = self.law, self.measured
        return _text.to_json(
            "show",
            initializer=repr(self.init),
            law=law and repr(law),
            shape=self.shape,
            dtype=self.dtype,
            fans=self.fans and dict(zip(("in", "out"), self.fans, strict=True)),
            bounds=law
            and [[b.real, b.imag] if isinstance(b, complex) else b for b in law.bounds],
            expected_std=law and float(law.std),
            std=found.std,
            mean=found.mean,
            min=found.minimum,
            max=found.maximum,
            histogram={"edges": self.edges, "counts": self.counts},
        )

    def _rows(self) -> Iterator[tuple[str, str]]:
        """What is known, and how it prints."""
        yield "shape", f"{self.shape}, {math.prod(self.shape)} weights"
        yield "dtype", self.dtype
        if self.fans is not None:
            fan_in, fan_out = (_digits(fan) or "unknown" for fan in self.fans)
            yield "fans", f"{fan_in} in, {fan_out} out"
        if self.law is not None:
            yield "law", repr(self.law)
            if np.isfinite(self.law.bounds).any():
                yield "bounds", " to ".join(map(_digits, self.law.bounds))
            yield "expected std", _digits(float(self.law.std))
        yield "std", _digits(self.measured.std)
        yield "mean", _digits(self.measured.mean)
        yield "min", _digits(self.measured.minimum)
        yield "max", _digits(self.measured.maximum)

    def _bars(self, blocks: bool) -> Iterator[str]:
        """A line for each bin: its middle, and a bar as long as it is high."""
        for (low, high), count in zip(pairwise(self.edges), self.counts, strict=True):
            eighths = math.ceil(8 * _WIDTH * count / max(self.counts))
            bar = "#" * round(eighths / 8)
            if blocks:
                bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8]
            digits = 2 - math.floor(math.log10(high - low))
            middle = round((low + high) / 2, digits) + 0.0  # no -0
            yield f"{middle:>12.4g}  {bar}".rstrip()


def families() -> dict[str, list[Summary]]:
    """All initializers that are public, by family."""
    found = dict[str, list[Summary]]()
    for name, init in _names().items():
        family = _sentence(sys.modules[init.__module__]).partition(":")[0]
        options = tuple(
            {"name": option.name}
            if option.default is MISSING
            else {"name": option.name, "default": to_plain(option.name, option.default)}
            for option in init._fields()
        )
        found.setdefault(family, []).append(Summary(name, _sentence(init), options))
    return found


def parse(text: str) -> Initializer:
    """The initializer of a text like `normal(std=0.02)`, which is never evaluated."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in strings
            return _initializer(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(
            "an initializer must be given as the call that makes it, such as "
            f"\"xavier_uniform(gain='relu')\", got {reprlib.repr(text)}."
        ) from None


def show(init: Initializer, shape: Any, dtype: Any = None, seed: int = 0) -> Shown:
    """Draws an array, and puts beside it what it was drawn from."""
    shape = check_shape(shape)
    if math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(
            f"shape must have at most {MOST_WEIGHTS} weights, got {shape} with "
            f"{math.prod(shape)}; give a smaller one, and fan_in= for the same scale."
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and 2**32 - 1, got {seed!r}.")
    wide = (init._dtype if dtype is None else dtype) in _WIDE
    with jax.enable_x64(True) if wide else nullcontext():
        weights = np.asarray(init(jax.random.key(seed), shape, dtype))
        law = init.law(shape, weights.dtype)
    drawn = shape, weights.dtype.name, init._fans(shape), measure(weights)
    return Shown(init, law, *drawn, *_histogram(weights))


def _names() -> dict[str, type[Initializer]]:
    """The initializers by their names after `jinit.`, those of namespaces last."""
    known = every_initializer().values()
    named = {init._full_name().removeprefix("jinit."): init for init in known}
    return dict(sorted(named.items(), key=lambda item: item[0].rpartition(".")[0]))


def _sentence(documented: Any) -> str:
    """The first line of a docstring, which is a sentence."""
    return (inspect.getdoc(documented) or "").partition("\n")[0].rstrip(".")


def _initializer(node: ast.expr, hint: str = "") -> Initializer:
    """The initializer that a call, or a bare name, stands for."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    name, known = ast.unparse(call.func).removeprefix("jinit."), _names()
    if not all(part.isidentifier() for part in name.split(".")):
        raise SyntaxError
    known |= {name.rpartition(".")[2]: init for name, init in known.items()}
    if name not in known:
        near = nearest(name, known)
        raise ValueError(f"there is no initializer {name!r}{near}{hint}")
    factory, args = known[name], [_value(arg) for arg in call.args]
    options = {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    # "None" is what a dict is given under: **options.
    if "None" in options or len(options) < len(call.keywords):
        raise ValueError(f"the options of {name} must each have a name of their own.")
    if not factory._fields() and (args or options):  # which would go to its call
        raise TypeError(f"{name} has no options; write {name}().")
    return factory(*args, **options)


def _value(node: ast.expr) -> Any:
    """The value of an option: a literal, infinity or an initializer."""
    text = ast.unparse(node)
    if text in ("inf", "-inf"):
        return float(text)
    if isinstance(node, ast.Tuple | ast.List):  # which may hold initializers
        return tuple(map(_value, node.elts))
    if isinstance(node, ast.Call | ast.Name | ast.Attribute):
        return _initializer(node, " An option that is a name needs quotes.")
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(
            f"options must be numbers, strings, tuples or initializers, got {text}."
        ) from None


def _histogram(weights: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Edges and counts, which are empty where there are not two different weights."""
    parts = real_parts(weights).astype(np.float64)
    parts = parts[np.isfinite(parts)]
    if not parts.size or parts.min() == parts.max():
        return (), ()
    counts, edges = np.histogram(parts, _BINS)
    return tuple(edges.tolist()), tuple(counts.tolist())


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
