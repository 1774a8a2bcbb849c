"""Initializers on the command line: all of them by family, and one by what it draws.

An initializer is given as text that looks like the call that makes it. The text is
taken apart, never evaluated.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import reprlib
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import MISSING, Field, dataclass, fields
from itertools import pairwise
from typing import Any

import jax
import numpy as np

import jinit  # for the names that it makes public
from jinit._arguments import Shape, check_shape
from jinit._basic import trunc_normal, truncated_normal, uniform
from jinit._combine import _Combinator, blocks, stack, with_dtype
from jinit._config import _public, _to_json
from jinit._fans import FanInitializer
from jinit._initializer import Initializer
from jinit._options import nearest
from jinit._scaling import kaiming_uniform, xavier_uniform
from jinit._truncation import truncated_std
from jinit._variance_scaling import _VarianceScaling
from jinit.diagnostics._statistics import Statistics, measure, real_parts
from jinit.torch import triangular

MOST_WEIGHTS = 2**24
"""The number of weights up to which a draw is made to be looked at."""

_BINS = 15
_WIDTH = 48  # characters of the tallest bar
_WIDE = ("float64", "complex128", "int64", "uint64")
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Summary:
    """An initializer in a list.

    Attributes:
      name: Its name after `jinit.`, such as "torch.triangular".
      summary: What it is for, in a sentence.
      options: Each with its "name" and, unless it must be given, its "default", as JSON
        can hold it.
    """

    name: str
    summary: str
    options: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Shown:
    """An initializer, the distribution that it draws from, and one draw.

    Attributes:
      init: The initializer.
      formula: The lines of the formula in its documentation.
      shape: The shape of the draw.
      dtype: The name of its dtype.
      fans: fan_in and fan_out, None where one is not known; None of an initializer that
        does not scale by them.
      bounds: The bounds of the distribution; None where it has none.
      expected_std: The standard deviation of the distribution, if it is known.
      measured: The statistics of the draw.
      edges: The edges of a histogram of it; of complex numbers, of both their parts.
      counts: How many weights lie between these.
    """

    init: Initializer
    formula: tuple[str, ...]
    shape: Shape
    dtype: str
    fans: tuple[float | None, float | None] | None
    bounds: tuple[float, float] | None
    expected_std: float | None
    measured: Statistics
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def text(self, blocks: bool = False) -> str:
        """A page for the terminal, its histogram in block characters or in ASCII."""
        formula = [f"    {line}".rstrip() for line in self.formula]
        rows = [f"{name:<14}{value}" for name, value in self._rows() if value]
        page = [repr(self.init), "", *formula, "", *rows, "", *self._bars(blocks)]
        return "\n".join(page).rstrip()

    def to_json(self) -> str:
        """All of it as a JSON object; null is what is not known or not finite."""
        config = {
            "initializer": repr(self.init),
            "formula": list(self.formula),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "fans": self.fans and dict(zip(("in", "out"), self.fans, strict=True)),
            "bounds": self.bounds and list(map(_finite, self.bounds)),
            "expected_std": self.expected_std,
            "std": _finite(self.measured.std),
            "mean": _finite(self.measured.mean),
            "min": _finite(self.measured.minimum),
            "max": _finite(self.measured.maximum),
            "histogram": {"edges": list(self.edges), "counts": list(self.counts)},
        }
        return json.dumps(config, indent=2, allow_nan=False)

    def _rows(self) -> Iterator[tuple[str, str]]:
        """What is known, and how it prints."""
        yield "shape", f"{self.shape}, {math.prod(self.shape)} weights"
        yield "dtype", self.dtype
        if self.fans is not None:
            fan_in, fan_out = (_text(fan) or "unknown" for fan in self.fans)
            yield "fans", f"{fan_in} in, {fan_out} out"
        if self.bounds is not None:
            yield "bounds", " to ".join(map(_text, self.bounds))
        yield "expected std", _text(self.expected_std)
        if self.measured.size:
            yield "std", _text(self.measured.std)
            yield "mean", _text(self.measured.mean)
            yield "min", _text(self.measured.minimum)
            yield "max", _text(self.measured.maximum)

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
    """All initializers that are public, by family.

    Returns:
      Lists of `Summary` by what the initializers of one file have in common.

    Example:
      >>> from jinit._show import families
      >>> [each.name for each in families()["Sparse initialization"]]
      ['sparse']
    """
    found = dict[str, list[Summary]]()
    for name, init in _names().items():
        family = _sentence(sys.modules[init.__module__]).partition(":")[0]
        options = tuple(map(_option, fields(init)))
        found.setdefault(family, []).append(Summary(name, _sentence(init), options))
    return found


def parse(text: str) -> Initializer:
    """Makes the initializer that a text describes.

    Args:
      text: A call of an initializer, or its name: "xavier_uniform(gain='relu')". Its
        options are numbers, strings, tuples and lists, or initializers.

    Returns:
      The initializer.

    Raises:
      TypeError: An option that does not exist, or is not of its type.
      ValueError: The text is no such call, there is no such initializer, or an option
        is missing or out of its range.

    Example:
      >>> from jinit._show import parse
      >>> parse("jinit.stack(he_normal)")
      stack(he_normal())
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in strings
            return _initializer(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(
            "an initializer must be given as the call that makes it, such as "
            f"\"xavier_uniform(gain='relu')\", got {reprlib.repr(text)}."
        ) from None


def show(init: Initializer, shape: Any, dtype: Any = None, seed: int = 0) -> Shown:
    """Draws an array, and puts beside it what it was drawn from.

    Args:
      init: The initializer.
      shape: The shape of the array.
      dtype: Its dtype; 64 bits are drawn as such, whatever JAX is set to.
      seed: The seed of the key, between 0 and 2**32 - 1.

    Returns:
      A `Shown`.

    Raises:
      TypeError: The shape or the dtype is none, or not one that the initializer draws.
      ValueError: The shape does not fit, or has too many weights; a seed out of range.

    Example:
      >>> import jinit
      >>> from jinit._show import show
      >>> shown = show(jinit.he_normal(), (200, 300))
      >>> print(f"{shown.measured.std:.2f}, {shown.expected_std:.2f}, {shown.fans}")
      0.10, 0.10, (200, 300)
    """
    shape = check_shape(shape)
    if math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(
            f"shape must have at most {MOST_WEIGHTS} weights, got {shape} with "
            f"{math.prod(shape)}; give a smaller one, with fan_in= and fan_out= if the "
            "scale is to stay."
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and 2**32 - 1, got {seed!r}.")
    wide = (init._dtype if dtype is None else dtype) in _WIDE
    with jax.enable_x64(True) if wide else nullcontext():
        weights = np.asarray(init(jax.random.key(seed), shape, dtype))
    counts, edges = _histogram(weights)
    return Shown(
        init=init,
        formula=_formula(init),
        shape=shape,
        dtype=weights.dtype.name,
        fans=_fans(init, shape),
        bounds=None if np.iscomplexobj(weights) else _bounds(init, shape),
        expected_std=init.expected_std(shape),
        measured=measure(weights),
        edges=edges,
        counts=counts,
    )


def _names() -> dict[str, type[Initializer]]:
    """The initializers by their names after `jinit.`, those of torch's layers last."""
    public = _public().items()
    ours = {name: init for name, init in public if hasattr(jinit, name)}
    return ours | {f"torch.{name}": init for name, init in public if name not in ours}


def _option(option: Field[Any]) -> dict[str, Any]:
    if option.default is MISSING:
        return {"name": option.name}
    return {"name": option.name, "default": _to_json(option.name, option.default)}


def _sentence(documented: Any) -> str:
    """The first line of a docstring, which is a sentence."""
    return (inspect.getdoc(documented) or "").partition("\n")[0].rstrip(".")


def _formula(init: Initializer) -> tuple[str, ...]:
    """The lines of a docstring that are indented, up to its sections."""
    description = (inspect.getdoc(type(init)) or "").partition("\nArgs:")[0]
    description = description.partition("\nReturns:")[0]
    lines = [line for line in description.splitlines() if line.startswith("    ")]
    return tuple(textwrap.dedent("\n".join(lines)).splitlines())


def _initializer(node: ast.expr, hint: str = "") -> Initializer:
    """The initializer that a call, or a bare name, stands for."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    name, known = ast.unparse(call.func).removeprefix("jinit."), _names()
    if not all(part.isidentifier() for part in name.split(".")):
        raise SyntaxError
    known |= {name.removeprefix("torch."): init for name, init in known.items()}
    if name not in known:
        near = nearest(name, known)
        raise ValueError(f"there is no initializer {name!r}{near}{hint}")
    factory, args = known[name], [_value(arg) for arg in call.args]
    options = {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    # "None" is what a dict is given under: **options.
    if "None" in options or len(options) < len(call.keywords):
        raise ValueError(f"the options of {name} must each have a name of their own.")
    _check_given(name, factory, args, options)
    return factory(*args, **options)


def _value(node: ast.expr) -> Any:
    """The value of an option: a literal, infinity or an initializer."""
    text = ast.unparse(node)
    if text in ("inf", "-inf"):
        return float(text)
    if isinstance(node, ast.Call | ast.Name | ast.Attribute):
        return _initializer(node, " An option that is a name needs quotes.")
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(
            f"options must be numbers, strings, tuples or initializers, got {text}."
        ) from None


def _check_given(
    name: str, factory: type[Initializer], args: list[Any], options: dict[Any, Any]
) -> None:
    """Refuses what is missing, and arguments of what has no options."""
    known = fields(factory)
    if not known and (args or options):  # it would take them for those of its call
        raise TypeError(f"{name} has no options; write {name}().")
    positional = [option.name for option in known if not option.kw_only]
    given = {*positional[: len(args)], *options}
    missing = [o.name for o in known if o.default is MISSING and o.name not in given]
    if missing:
        raise ValueError(f"{name} must be given {', '.join(missing)}.")


def _fans(init: Any, shape: Shape) -> tuple[float | None, float | None] | None:
    if isinstance(init, _Combinator):
        return _fans(init.init, init._within(shape)[1])
    if not isinstance(init, FanInitializer):
        return None
    return _fan(init, shape, "fan_in"), _fan(init, shape, "fan_out")


def _fan(init: FanInitializer, shape: Shape, side: str) -> float | None:
    try:
        return init._side(shape, side)
    except ValueError:  # of a vector, of which the other alone is given
        return None


def _bounds(init: Any, shape: Shape) -> tuple[float, float] | None:
    """The interval that real weights are drawn from."""
    if isinstance(init, stack | blocks | with_dtype):
        return _bounds(init.init, init._within(shape)[1])
    if isinstance(init, uniform | trunc_normal):
        return float(init.a), float(init.b)
    if isinstance(init, truncated_normal):
        unit = truncated_std(init.lower, init.upper) if init.corrected else 1.0
        std, mean = float(init.std / unit), float(init.mean)
        return mean + std * float(init.lower), mean + std * float(init.upper)
    bound = None if 0 in shape else _bound(init, shape)
    return None if bound is None else (-bound, bound)


def _bound(init: Any, shape: Shape) -> float | None:
    """The greatest weight of a distribution that is symmetric about zero."""
    if isinstance(init, triangular):
        return float(init.bound)
    distribution = getattr(init, "distribution", None)
    if isinstance(init, xavier_uniform | kaiming_uniform) or distribution == "uniform":
        return math.sqrt(3) * init._std(shape)
    if isinstance(init, _VarianceScaling) and distribution == "truncated_normal":
        return 2 * init._std(shape) / truncated_std(-2.0, 2.0)
    return None


def _histogram(weights: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Counts and edges; of equal weights and of none there are none."""
    parts = real_parts(weights).astype(np.float64)
    parts = parts[np.isfinite(parts)]
    if not parts.size or parts.min() == parts.max():
        return (), ()
    counts, edges = np.histogram(parts, _BINS)
    return tuple(counts.tolist()), tuple(edges.tolist())


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
