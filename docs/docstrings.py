"""Docstrings as Sphinx reads them: what they share with Markdown is made reST.

In them, as in Markdown, an indented block is a formula, rows between bars are a table,
and `*`, `|` and `_` are what they are.
"""

from __future__ import annotations

import re

_KEPT = re.compile(r"`[^`]*`|\\|\*|\||_(?!\w)")
_NAME = re.compile(r"`[\w.]+`")  # to be linked; anything else is code


def to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Changes the lines of a docstring in place, before napoleon sees them."""
    blocks = _blocks(lines)
    lines[:] = [line for kind, block in blocks for line in _MAKERS[kind](block)]


def _blocks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The lines in runs of one kind: prose, examples, formulas and tables."""
    blocks: list[tuple[str, list[str]]] = []
    base = 0
    for line in lines:
        kind = _kind(line, base, blocks[-1] if blocks else ("prose", [""]))
        if kind == "prose" and line.strip():
            base = _indent(line)
        if blocks and blocks[-1][0] == kind:
            blocks[-1][1].append(line)
        else:
            blocks.append((kind, [line]))
    return blocks


def _kind(line: str, base: int, before: tuple[str, list[str]]) -> str:
    kind, block = before
    if line.lstrip().startswith(">>>"):
        return "example"
    if not line.strip():  # ends an example; a formula may have several parts
        return "formula" if kind == "formula" else "prose"
    if kind == "example":
        return "example"
    if line.lstrip().startswith("|"):
        return "table"
    if _indent(line) >= base + 4 and (kind == "formula" or not block[-1].strip()):
        return "formula"
    return "prose"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _prose(block: list[str]) -> list[str]:
    def escaped(match: re.Match[str]) -> str:
        if not match[0].startswith("`"):
            return f"\\{match[0]}"
        quoted = " ".join(match[0].split())
        return quoted if _NAME.fullmatch(quoted) else f"`{quoted}`"

    return _KEPT.sub(escaped, "\n".join(block)).split("\n")


def _formula(block: list[str]) -> list[str]:
    margin = " " * (_indent(block[0]) - 4)
    return [f"{margin}.. code-block:: text", "", *block, *([""] if block[-1] else [])]


def _table(block: list[str]) -> list[str]:
    rows = [
        [_prose([cell.strip()])[0] for cell in row.strip().strip("|").split(" | ")]
        for row in block
        if set(row) - set("|- ")
    ]
    cells = [
        f"   {'* -' if n == 0 else '  -'} {cell}"
        for row in rows
        for n, cell in enumerate(row)
    ]
    return [".. list-table::", "   :header-rows: 1", "", *cells, ""]


_MAKERS = {
    "prose": _prose,
    "example": list,
    "formula": _formula,
    "table": _table,
}
