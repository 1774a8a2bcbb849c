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
from jinit.gains._gain import resolve_gain
from jinit.laws import truncation

_MOST = 0.15  # by what share a cause may miss the deviation that was measured


def cause_of_std(
    init: Any, shape: Shape, std: float, error: float, kernel: Shape | None = None
) -> str:
    """Names the mistakes that would give a standard deviation, the likeliest first."""
    planned = _std(init, shape) if isinstance(init, Initializer) else 0.0
    off = abs(math.log(std / planned)) if planned else math.inf
    allowed = min(max(5 * error, 0.005), _MOST, off / 2)
    others = chain(_known(shape, kernel), _squares(planned))
    for guesses in (_slips(init, shape), others):
        texts = dict.fromkeys(
            text
            for guess, text in guesses
            if guess > 0 and abs(math.log(std / guess)) < allowed
        )
        if texts:
            return "; or ".join(list(texts)[:2])
    return ""


def _slips(init: Any, shape: Shape) -> Iterator[tuple[float, str]]:
    """What the initializer that was meant gives with one option or axis wrong."""
    planned = None
    if isinstance(init, Initializer):
        planned = _std(init, shape)
        yield from _of_blocks(init, shape)
        inner, within = _unwrapped(init, shape)
        if isinstance(inner, FanInitializer):
            yield from _of_fans(inner, within)
            yield from _of_gain(inner, within)
    if planned:
        yield (
            planned * truncation(-2, 2).std,
            ("truncated at two standard deviations, and not corrected for it"),
        )


def _squares(planned: float) -> Iterator[tuple[float, str]]:
    yield planned**2, "the variance was taken for the standard deviation"
    yield math.sqrt(planned), "the standard deviation was taken for the variance"


def _unwrapped(init: Any, shape: Shape) -> tuple[Any, Shape]:
    """The initializer within stacks and blocks, and the shape that it draws."""
    while isinstance(init, Combinator):
        init, shape = init.init, init._within(shape)[1]
    return init, shape


def _of_blocks(init: Any, shape: Shape) -> Iterator[tuple[float, str]]:
    """Blocks that were drawn as one kernel, and a kernel that is one of several."""
    if isinstance(init, blocks | stack) and isinstance(init.init, Initializer):
        kind = "packed blocks were" if isinstance(init, blocks) else "a stack was"
        yield _std(init.init, shape), f"{kind} drawn as one kernel, with its fans"
    if isinstance(init, FanInitializer) and len(shape) > 1:
        for n in (2, 3, 4):
            packed = (*shape[:-1], n * shape[-1])
            yield (
                _std(init, packed),
                (f"the fan_out is that of {n} packed projections, not of one"),
            )
            if shape[-1] % n == 0:
                within = (*shape[:-1], shape[-1] // n)
                yield (
                    _std(init, within),
                    (f"drawn as {n} packed projections, each with its own fan_out"),
                )


def _of_fans(init: FanInitializer, shape: Shape) -> Iterator[tuple[float, str]]:
    """Fans that were counted by other axes."""
    if init.groups > 1:
        yield _std(replace(init, groups=1), shape), "the groups were not counted"
    ins = init.in_axis
    if ins is None:
        ins = -1 if init.out_axis in (-2, len(shape) - 2) else -2
    exchanged = replace(init, in_axis=init.out_axis, out_axis=ins)
    if init.fan_in is None and init.fan_out is None:
        mode = getattr(init, "mode", "fan_in")
        other = "fan_in for fan_out" if mode == "fan_out" else "fan_out for fan_in"
        yield (
            _std(exchanged, shape),
            (
                f"inputs and outputs are exchanged: {other}, as of another "
                "layout, or of a transposed layer"
            ),
        )
    else:
        counted = replace(init, fan_in=None, fan_out=None)
        yield _std(counted, shape), "the fans were counted by the shape, not as given"
    options = {option.name for option in fields(init)}
    for mode in ("fan_in", "fan_out", "fan_avg") if "mode" in options else ():
        chosen: Any = {"mode": mode}
        yield _std(replace(init, **chosen), shape), f"scaled by {mode}"
    yield from _of_axes(init, shape)


def _of_axes(init: FanInitializer, shape: Shape) -> Iterator[tuple[float, str]]:
    plain = replace(init, in_axis=None, out_axis=-1, batch_axis=())
    if (plain.in_axis, plain.out_axis) != (init.in_axis, init.out_axis):
        yield (
            _std(plain, shape),
            (
                "the fans are those of the last two axes, as JAX counts them, not of "
                "the equation"
            ),
        )
    if init.batch_axis != ():
        every = replace(init, batch_axis=())
        yield (
            _std(every, shape),
            ("a batch axis was counted into the fans, as a receptive field"),
        )
    named = {axis % len(shape) for axis in (-1, -2)} if len(shape) > 1 else set()
    spare = [axis for axis in range(len(shape)) if axis not in named]
    if plain == init and spare:
        yield (
            _std(replace(init, batch_axis=tuple(spare)), shape),
            ("the receptive field was not counted into the fans"),
        )
        for axis in spare:
            fewer = (*shape[:axis], 1, *shape[axis + 1 :])
            yield _std(init, fewer), f"axis {axis} was not counted into the fans"


def _of_gain(init: FanInitializer, shape: Shape) -> Iterator[tuple[float, str]]:
    std = _std(init, shape)
    for option in ("gain", "nonlinearity"):
        if not hasattr(init, option):
            continue
        given = getattr(init, option)
        gain = _number(init, option)
        if gain <= 0 or gain == 1:
            continue
        yield std / gain, f"the gain of {gain:.4g} ({given!r}) is missing"
        yield std * gain, f"the gain of {gain:.4g} ({given!r}) was applied twice"
        yield std / math.sqrt(gain), "the gain was taken for a factor of the variance"
    yield std * math.sqrt(2), "a gain of sqrt(2), that of ReLU, was applied"


def _number(init: FanInitializer, option: str) -> float:
    value = getattr(init, option)
    if option == "nonlinearity" and value == "leaky_relu":
        return math.sqrt(2 / (1 + getattr(init, "a", 0.0) ** 2))
    return float(resolve_gain(value))


def _known(shape: Shape, kernel: Shape | None) -> Iterator[tuple[float, str]]:
    """Defaults of libraries and habits, that leave out what was planned."""
    if kernel is not None:
        bound = 1 / math.sqrt(max(math.prod(kernel[: len(kernel) - len(shape)]), 1))
        yield bound / math.sqrt(3), "that of torch's default bias, U(±1 / sqrt(fan_in))"
    yield 1.0, "that of N(0, 1)"
    for std in (0.02, 0.01):
        yield std, f"that of N(0, {std}²)"
    if len(shape) < 2:
        return
    fan_in, fan_out = fans(shape)
    instead = "was drawn instead, or drawn over it"
    yield 1 / math.sqrt(fan_in), f"Flax's default, lecun_normal, {instead}"
    yield 1 / math.sqrt(3 * fan_in), f"torch's default, U(±1 / sqrt(fan_in)), {instead}"
    yield math.sqrt(2 / fan_in), f"Kaiming's, sqrt(2 / fan_in), {instead}"
    yield math.sqrt(2 / (fan_in + fan_out)), f"Xavier's {instead}"
    yield 1 / math.sqrt(fan_out), f"that of 1 / sqrt(fan_out) {instead}"


def _std(init: Initializer, shape: Shape) -> float:
    """The deviation of a guess; 0, which none is, where it does not fit the shape."""
    try:
        law = init.law(shape)
    except ValueError:
        return 0.0
    return 0.0 if law is None else float(law.std)
