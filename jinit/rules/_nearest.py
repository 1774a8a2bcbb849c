"""Of several laws that layers of the same names and shapes have, the one measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinit._checks import Shape
from jinit._initializer import Initializer


def nearest(may_be: Sequence[Initializer], shape: Shape, found: Any) -> Initializer:
    """The initializer whose deviation is nearest to that of the statistics found."""

    def off(init: Initializer) -> float:
        """By what factor the deviation found is off, in either direction."""
        law = init.law(shape)
        if law is None or not found or not found.std:
            return 1.0
        return float(max(found.std / law.std, law.std / found.std))

    return min(may_be, key=off)
