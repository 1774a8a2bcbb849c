"""Prints what `import jinit` costs: `python benchmarks/import_cost.py`.

Over `import jax`, that is, in a fresh process each round; of nine, the median and the
extremes are printed. Each has the bytecode that a round before them wrote, as every
import of an installed package but its first.
"""

import os
import subprocess
import sys
import tempfile
from statistics import median

from _record import recorded

CODE = """
import time
start = time.perf_counter()
import jax
middle = time.perf_counter()
import jinit
print(middle - start, time.perf_counter() - middle)
"""


def seconds(cache: str) -> tuple[float, ...]:
    """Of jax, and of jinit after it, with their bytecode in that folder."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        check=True,
        env=environ,
        text=True,
    )
    return tuple(map(float, run.stdout.split()))


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        pairs = [seconds(cache) for _ in range(10)][1:]
    low, middle, high = (1e3 * f(p[1] for p in pairs) for f in (min, median, max))
    jax, share = 1e3 * median(p[0] for p in pairs), median(p[1] / p[0] for p in pairs)
    print(f"import jax: {jax:.0f} ms")
    print(f"import jinit: {middle:.0f} ms more ({low:.0f}-{high:.0f}), {share:.0%}")


if __name__ == "__main__":
    with recorded("import_cost", "What `import jinit` costs"):
        main()
