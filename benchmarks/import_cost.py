"""Prints what `import jinit` costs: `python benchmarks/import_cost.py`.

Over `import jax`, that is, in a fresh process each round; of nine, the median and the
extremes are printed.
"""

import statistics
import subprocess
import sys

from _record import recorded

CODE = """
import time
import jax
start = time.perf_counter()
import jinit
print(time.perf_counter() - start)
"""


def main() -> None:
    command = [sys.executable, "-c", CODE]
    seconds = [
        float(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(9)
    ]
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(
        f"import jinit: {middle * 1e3:.0f} ms over import jax "
        f"({low * 1e3:.0f}-{high * 1e3:.0f})"
    )


if __name__ == "__main__":
    with recorded("import_cost", "What `import jinit` costs"):
        main()
