"""Causes: which mistake would give the standard deviation that was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain
from typing import Any

from jinit._checks import Shape
from jinit._combine import Combinator, blocks, stack
from jinit._fans import FanInitializer, fans
from jinit._initializer import Initializer
from jinit.audit._statistics import Statistics
from jinit.gains._gain import resolve_gain
from jinit.laws import Truncated, Uniform

# By what share a cause may miss what was measured: less than half of log(sqrt(2)), so
# that of two mistakes that lie a factor sqrt(2) apart, one at most is named.
_MOST = 0.15
_LEAST = 0.005  # the share below which the audit finds nothing either

Guess = tuple[float, str]
"""A standard deviation, and the mistake that gives it."""
Wrong = tuple[Initializer, Shape, str]
"""An initializer and a shape that may have been drawn instead, and by what mistake."""


def cause_of_std(init: Any, shape: Shape, found: Statistics, kernel: Shape = ()) -> str:
    """Names the mistakes that would give the deviation found, the likeliest first.

    For a bias, `kernel` is the shape of the kernel beside it.
    """
    std = found.std or 0.0
    # The standard error of a standard deviation, as a share of it.
    error = math.sqrt(max((found.kurtosis or 1) - 1, 0.2) / (4 * found.size))
    planned = _std(init, shape) if isinstance(init, Initializer) else 0.0
    off = abs(math.log(std / planned)) if planned else math.inf
    # Five standard errors, and at most half the way to what was planned.
    allowed = min(max(5 * error, _LEAST), _MOST, off / 2)
    slips = _slips(init, shape, planned) if isinstance(init, Initializer) else ()
    # What fits in two ways, of which the kurtosis is one, outranks what fits in one.
    law = init.law(shape) if isinstance(init, Initializer) else None
    defaults = _defaults(shape, found, law.kurtosis if law else None)
    squares = (
        (planned**2, "the variance was taken for the standard deviation"),
        (math.sqrt(planned), "the standard deviation was taken for the variance"),
    )
    for guesses in (defaults, slips, chain(_known(shape, kernel), squares)):
        near = (
            (g > 0 and abs(math.log(std / g)) < allowed, text) for g, text in guesses
        )
        if texts := dict.fromkeys(text for fits, text in near if fits):
            return "; or ".join(list(texts)[:2])
    return ""


def _slips(init: Initializer, shape: Shape, planned: float) -> Iterator[Guess]:
    """What the initializer that was meant gives with one option or axis wrong."""
    inner, within = init, shape
    while isinstance(inner, Combinator):
        inner, within = inner.init, inner._within(within)[1]
    wrong = [_of_blocks(init, shape)]
    if isinstance(inner, FanInitializer):
        wrong += [_of_fans(inner, within), _of_axes(inner, within)]
    # What is around it may scale what it draws.
    own = _std(inner, within) if isinstance(inner, Initializer) else 0.0
    around = planned / own if own else 1.0
    guesses = ((_std(other, drawn), text) for other, drawn, text in chain(*wrong))
    if isinstance(inner, FanInitializer):
        guesses = chain(guesses, _of_gain(inner, within))
    yield from ((around * std, text) for std, text in guesses)
    truncated = "truncated at two standard deviations, and not corrected for it"
    yield planned * Truncated(0.0, 1.0, -2.0, 2.0).std, truncated


def _of_blocks(init: Initializer, shape: Shape) -> Iterator[Wrong]:
    """Blocks that were drawn as one kernel, and a kernel that is one of several."""
    if isinstance(init, blocks | stack) and isinstance(init.init, Initializer):
        kind = "packed blocks were" if isinstance(init, blocks) else "a stack was"
        yield init.init, shape, f"{kind} drawn as one kernel, with its fans"
    if isinstance(init, FanInitializer) and len(shape) > 1:
        *rows, columns = shape
        for n in (2, 3, 4):  # keys and values; queries too; the gates of an LSTM
            packed = f"{n} packed projections"
            text = f"the fan_out is that of {packed}, not of one"
            yield init, (*rows, n * columns), text
            if columns % n == 0:
                text = f"drawn as {packed}, each with its own fan_out"
                yield init, (*rows, columns // n), text


def _of_fans(init: FanInitializer, shape: Shape) -> Iterator[Wrong]:
    """Fans that were exchanged, or not counted as given."""
    if init.groups > 1:
        yield replace(init, groups=1), shape, "the groups were not counted"
    if init.fan_in is None and init.fan_out is None:
        ins = init.in_axis
        if ins is None:
            ins = -1 if init.out_axis in (-2, len(shape) - 2) else -2
        mode = getattr(init, "mode", "fan_in")
        other = "fan_in for fan_out" if mode == "fan_out" else "fan_out for fan_in"
        text = f"inputs and outputs are exchanged: {other}, as of another layout, or of"
        swapped = replace(init, in_axis=init.out_axis, out_axis=ins)
        yield swapped, shape, f"{text} a transposed layer"
    else:
        text = "the fans were counted by the shape, not as given"
        yield replace(init, fan_in=None, fan_out=None), shape, text
    if "mode" in {option.name for option in fields(init)}:
        for mode in ("fan_in", "fan_out", "fan_avg"):
            chosen: Any = {"mode": mode}
            yield replace(init, **chosen), shape, f"scaled by {mode}"


def _of_axes(init: FanInitializer, shape: Shape) -> Iterator[Wrong]:
    """Fans that were counted by other axes."""
    plain = replace(init, in_axis=None, out_axis=-1, batch_axis=())
    if (plain.in_axis, plain.out_axis) != (init.in_axis, init.out_axis):
        last = "the fans are those of the last two axes, as JAX counts them, not of the"
        yield plain, shape, f"{last} equation"
    if init.batch_axis != ():
        text = "a batch axis was counted into the fans, as a receptive field"
        yield replace(init, batch_axis=()), shape, text
    spare = range(len(shape) - 2 if len(shape) > 1 else len(shape))
    if plain == init and spare:
        text = "the receptive field was not counted into the fans"
        yield replace(init, batch_axis=tuple(spare)), shape, text
        for axis in spare:
            fewer = (*shape[:axis], 1, *shape[axis + 1 :])
            yield init, fewer, f"axis {axis} was not counted into the fans"


def _of_gain(init: FanInitializer, shape: Shape) -> Iterator[Guess]:
    std = _std(init, shape)
    for option in ("gain", "nonlinearity"):
        given = getattr(init, option, 1.0)
        gain = float(resolve_gain(given))
        if given == "leaky_relu" and option == "nonlinearity":  # torch's slope is `a`
            gain = math.sqrt(2 / (1 + getattr(init, "a", 0.0) ** 2))
        if gain > 0 and gain != 1:
            yield std / gain, f"the gain of {gain:.4g} ({given!r}) is missing"
            yield std * gain, f"the gain of {gain:.4g} ({given!r}) was applied twice"
            text = "the gain was taken for a factor of the variance"
            yield std / math.sqrt(gain), text
    yield std * math.sqrt(2), "a gain of sqrt(2), that of ReLU, was applied"


_INSTEAD = "was drawn instead, or drawn over it"


def _defaults(
    shape: Shape, found: Statistics, planned: float | None
) -> Iterator[Guess]:
    """Defaults of libraries that have the kurtosis found, which was not planned."""
    error = 5 * math.sqrt(24 / found.size)
    if len(shape) < 2 or found.kurtosis is None or error > 0.3:
        return
    fan_in = fans(shape).fan_in
    for law, std, text in (
        (Truncated(0.0, 1.0, -2.0, 2.0), 1 / math.sqrt(fan_in), _FLAX),
        (Uniform(-1.0, 1.0), 1 / math.sqrt(3 * fan_in), _TORCH),
    ):
        differs = planned is None or abs(planned - law.kurtosis) > 0.01
        if differs and abs(found.kurtosis - law.kurtosis) < error:
            yield std, f"{text}, {_INSTEAD}"


_FLAX = "Flax's default, lecun_normal"
_TORCH = "torch's default, U(±1 / sqrt(fan_in))"


def _known(shape: Shape, kernel: Shape) -> Iterator[Guess]:
    """Defaults of libraries and habits, that leave out what was planned."""
    if kernel:
        bound = 1 / math.sqrt(max(math.prod(kernel[: len(kernel) - len(shape)]), 1))
        yield bound / math.sqrt(3), "that of torch's default bias, U(±1 / sqrt(fan_in))"
    yield 1.0, "that of N(0, 1)"
    for std in (0.02, 0.01):  # of BERT and GPT-2, and of AlexNet
        yield std, f"that of N(0, {std}²)"
    if len(shape) < 2:
        return
    fan_in, fan_out = fans(shape)
    yield 1 / math.sqrt(fan_in), f"{_FLAX}, {_INSTEAD}"
    yield 1 / math.sqrt(3 * fan_in), f"{_TORCH}, {_INSTEAD}"
    yield math.sqrt(2 / fan_in), f"Kaiming's, sqrt(2 / fan_in), {_INSTEAD}"
    yield math.sqrt(2 / (fan_in + fan_out)), f"Xavier's {_INSTEAD}"
    yield 1 / math.sqrt(fan_out), f"that of 1 / sqrt(fan_out) {_INSTEAD}"


def _std(init: Initializer, shape: Shape) -> float:
    """The deviation of a guess; 0, to be skipped, where it does not fit the shape."""
    try:
        law = init.law(shape)
    except ValueError:
        return 0.0
    return 0.0 if law is None else float(law.std)
