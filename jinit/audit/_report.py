"""The report of an audit: what was measured, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from jinit._checks import Shape
from jinit._text import aligned, some, to_json
from jinit.audit._statistics import Statistics

Found = Iterator[tuple[str, str, str]]
"""The kind, the message and the cause of findings."""

_MANY = 3  # findings of one cause that are one line of a report


@dataclass(frozen=True)
class Leaf:
    """What was measured of one leaf, and what it was meant to be.

    Attributes:
      path: Its path in the tree.
      shape: Its shape.
      dtype: The name of its dtype.
      measured: Its statistics; None for integers, keys and the like.
      init: The initializer that it was meant to be drawn by, as it prints.
      expected_mean: The mean that this gives, if it is known.
      expected_std: Its standard deviation, if it is known.
      z_mean: By how many standard errors the mean is off.
      z_std: By how many the standard deviation is off.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> (leaf,) = jinit.diagnostics.audit({"kernel": jnp.eye(8)}).leaves
      >>> leaf.path, leaf.shape, f"{leaf.measured.mean:.3f}"
      ('kernel', (8, 8), '0.125')
    """

    path: str
    shape: Shape
    dtype: str
    measured: Statistics | None
    init: str | None = None
    expected_mean: float | None = None
    expected_std: float | None = None
    z_mean: float | None = None
    z_std: float | None = None


@dataclass(frozen=True)
class Finding:
    """What is wrong with a leaf.

    Attributes:
      path: Its path in the tree; that of the layer where this is a copy of another.
      kind: "nonfinite", "dead", "constant", "equal", "std", "mean", "distribution",
        "pattern", "spectrum", "rank", "saturated", "precision", "dtype", "shape",
        "layout", "missing" or "unexpected"; and by the program of a model "signal",
        "gradient" or "unused".
      message: What was found.
      cause: What is likely to have caused it; empty where nothing is known.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> (finding,) = jinit.diagnostics.audit({"kernel": jnp.zeros((8, 8))}).findings
      >>> finding.path, finding.kind
      ('kernel', 'dead')
    """

    path: str
    kind: str
    message: str
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.message}.{self._likely}"

    @property
    def _likely(self) -> str:
        return f" Likely: {self.cause}." if self.cause else ""


@dataclass(frozen=True, repr=False)
class Report:
    """What `jinit.diagnostics.audit` found. It prints as a table and the findings.

    Findings of one kind and cause, where they are many, are one line of it.

    Attributes:
      leaves: One `Leaf` for each of the tree, in its order.
      findings: One `Finding` for each thing that is wrong, in the order of the leaves.
      notes: What was not compared: leaves that the rules do not know, and rules that
        match no leaf.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> report = jinit.diagnostics.audit({"bias": jnp.ones(8)})
      >>> print(report.exit_status, "-", str(report).splitlines()[-1])
      0 - no findings
    """

    leaves: tuple[Leaf, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 if nothing was found, else 1: for `sys.exit` in a check."""
        return int(bool(self.findings))

    def __repr__(self) -> str:
        heading = ("path", "shape", "dtype", "mean", "std", "expected", "z", "kurtosis")
        rows = [heading, *map(_row, self.leaves)]
        count = len(self.findings)
        lines = [aligned(rows), ""]
        lines += [f"{count or 'no'} finding{'s' if count != 1 else ''}"]
        lines += [f"- {line}" for line in _lines(self.findings)]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def to_json(self) -> str:
        """An object of JSON with "leaves" and "findings"; infinity is a string.

        Example:
          >>> import json, jax.numpy as jnp, jinit
          >>> report = jinit.diagnostics.audit({"kernel": jnp.zeros((8, 8))})
          >>> json.loads(report.to_json())["findings"][0]["kind"]
          'dead'
        """
        return to_json("audit", **asdict(self))


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    """The findings, with one line for many leaves that have one cause."""
    groups = dict[tuple[str, str], list[Finding]]()
    for finding in findings:
        by_message = finding.kind == "equal" or not finding.cause  # equal to which?
        one = finding.kind, finding.message if by_message else finding.cause
        groups.setdefault(one, []).append(finding)
    for (kind, _), found in groups.items():
        if len(found) < _MANY:
            yield from map(str, found)
            continue
        first, paths = found[0], some(finding.path for finding in found)
        alike = all(finding.message == first.message for finding in found)
        which = f"{kind} in {len(found)} leaves, {paths}"
        where = "" if alike else " in the first"
        yield f"{which}: {first.message}{where}.{first._likely}"


def z_score(z: float | None) -> str:
    """Standard errors, if they are known, which of garbage would have many digits."""
    return "" if z is None else format(z, ".1f" if abs(z) < 1e6 else ".3g")


def _row(leaf: Leaf) -> tuple[str, ...]:
    found, cells = leaf.measured, (leaf.path, str(leaf.shape), leaf.dtype)
    if found is None or not found.size:
        return *cells, "", "", "", "", ""
    scores = [z for z in (leaf.z_mean, leaf.z_std) if z is not None]
    z = max(scores, key=abs, default=None)
    numbers = (found.mean, ".3g"), (found.std, ".4g"), (leaf.expected_std, ".4g")
    mean, std, meant = ("" if n is None else format(n, form) for n, form in numbers)
    kurtosis = "" if found.kurtosis is None else f"{found.kurtosis:.2f}"
    return *cells, mean, std, meant, z_score(z), kurtosis
