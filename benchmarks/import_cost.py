"""Prints what `import jinit` costs: `python benchmarks/import_cost.py`.

Over `import jax`, that is, in a fresh process each round; of nine, the median and the
extremes are printed.
"""

from statistics import median

from _fresh import python
from _record import recorded

CODE = """
import time
start = time.perf_counter()
import jax
middle = time.perf_counter()
import jinit
print(middle - start, time.perf_counter() - middle)
"""


def main() -> None:
    runs = [python("-c", CODE) for _ in range(9)]
    pairs = [tuple(map(float, run.split())) for run in runs]
    low, middle, high = (1e3 * f(p[1] for p in pairs) for f in (min, median, max))
    jax, share = 1e3 * median(p[0] for p in pairs), median(p[1] / p[0] for p in pairs)
    print(f"import jax: {jax:.0f} ms")
    print(f"import jinit: {middle:.0f} ms more ({low:.0f}-{high:.0f}), {share:.0%}")


if __name__ == "__main__":
    with recorded("import_cost", "What `import jinit` costs"):
        main()
