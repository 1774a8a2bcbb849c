"""JAX is strict in the tests: nothing is promoted that was not meant to be."""

import gc
import os
import sys
from importlib import metadata

# Before JAX starts: eight devices, so that sharding can be tested on any machine, and a
# compiler without threads of its own, which get in the way of the other workers.
FLAGS = [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_cpu_parallel_codegen_split_count=1",
]
# Nearly all of the time goes into compiling, so little is optimized. With `-m bits` the
# compiler is the users', for it decides on last bits; xdist's workers have that from
# their parent.
IS_QUICK = os.environ.setdefault("JINIT_QUICK", str("bits" not in sys.argv)) == "True"
QUICK = ["backend_optimization_level=0", "llvm_disable_expensive_passes=true"]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    QUICK += ["cpu_use_fusion_emitters=false"]  # which take half; later ones must
FLAGS += [f"--xla_{flag}" for flag in QUICK if IS_QUICK]
os.environ["XLA_FLAGS"] = " ".join(FLAGS)

import jax
import pytest

# What writes golden files imports torch, and has no doctests.
collect_ignore = ["golden", "published.py"]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# A twentieth of the time goes into where in the source each operation comes from.
jax.config.update("jax_traceback_in_locations_limit", 0)


def pytest_collection_finish():
    # What is loaded stays: to look for garbage in it takes a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def pytest_addoption(parser):
    text = "run every case of each test, and those marked slow; by default one of each"
    parser.addoption("--all", action="store_true", help=text)


def pytest_collection_modifyitems(config, items):
    kept = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if not config.getoption("all"):
            if "slow" not in marks:
                kept.setdefault(item.nodeid.split("[")[0], item)
        elif not IS_QUICK or "bits" not in marks:
            kept[item.nodeid] = item
    config.hook.pytest_deselected(
        items=[item for item in items if item.nodeid not in kept]
    )
    items[:] = kept.values()
