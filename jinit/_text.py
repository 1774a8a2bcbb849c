"""Text: aligned tables, short lists, and JSON of one form.

    {"jinit_<kind>": version, ...}

Numbers that JSON does not have are the strings "inf", "-inf" and "nan", which `float`
reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

VERSION = 1
"""The form of all that is written as JSON; it rises when the meaning of one changes."""


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as lines, in aligned columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def some(names: Iterable[Any], most: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def to_json(kind: str, **content: Any) -> str:
    """An object of JSON that says what it is, and of which version."""
    config = {f"jinit_{kind}": VERSION, **content}
    return json.dumps(plain(config), indent=2, allow_nan=False)


def check_version(what: str, version: Any) -> None:
    """Refuses what another version has written."""
    if type(version) is not int or version != VERSION:
        raise ValueError(
            f"{what} of version {VERSION}, got {version!r}; read it with the version "
            "of jinit that wrote it."
        )


def plain(value: Any) -> Any:
    """What JSON can hold: arrays as lists, numbers that it lacks as strings."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
