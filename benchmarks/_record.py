"""Records: what a benchmark prints, kept with its date, versions and processor."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import io
import os
import pathlib
import platform
import sys
from collections.abc import Iterator

import jax

RESULTS = pathlib.Path(__file__).parent / "results"


class _Tee(io.StringIO):
    """Prints as well what it keeps."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)
        sys.__stdout__.flush()
        return super().write(text)


@contextlib.contextmanager
def recorded(name: str, title: str, *peers: str) -> Iterator[None]:
    """Keeps what is printed within it in `benchmarks/results/`, with `--write`.

    The file is that of the benchmark, the version of JAX and the backend. Beside those
    of JAX and Flax it names the versions of peers.
    """
    if "--write" not in sys.argv:
        yield
        return
    with contextlib.redirect_stdout(_Tee()) as printed:
        yield
    packages = "jax", "flax", *peers
    versions = (f"{each} {importlib.metadata.version(each)}" for each in packages)
    device = jax.devices()[0].device_kind
    head = [
        f"# {title}",
        "",
        f"Made by `python benchmarks/{name}.py --write`, which says how to read it.",
        "",
        f"{datetime.date.today()}, {device}, {len(os.sched_getaffinity(0))} cores of "
        f"{_processor()}; Python {platform.python_version()}, {', '.join(versions)}.",
    ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-jax{jax.__version__}-{jax.default_backend()}.md"
    path.write_text("\n".join([*head, "", printed.getvalue().strip(), ""]))


def _processor() -> str:
    """Its model, where the system says it."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()
