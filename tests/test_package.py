"""What the package promises as a package."""

import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata, resources

import pytest
from helpers import check_std

import jinit
from jinit import _fan_scaled

ROOT = pathlib.Path(__file__).parent.parent

FAMILY = {
    *("constant", "zeros", "ones", "uniform", "normal", "trunc_normal", "eye", "dirac"),
    *("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
    *("orthogonal", "sparse", "calculate_gain"),
}


def python(code):
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_the_torch_family_is_complete():
    assert set(dir(jinit)) >= FAMILY


def test_importing_jinit_imports_neither_flax_nor_what_the_extras_need():
    loaded = python("import sys, jinit; print(*sys.modules)").split()

    absent = {"flax", "matplotlib", "optax", "sklearn", "scipy", "torch", "chex"}
    assert not absent & set(loaded)


def test_the_version_is_written_once():
    assert metadata.version("jinit") == jinit.__version__


def test_the_package_is_typed():
    assert resources.files(jinit).joinpath("py.typed").is_file()


def of_the_guide():
    """The class that the contributing guide shows, word for word."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(class small_normal.*?)```", guide, re.DOTALL)
    scope = vars(_fan_scaled) | {"__name__": "jinit._fan_scaled"}
    exec(code, scope)
    return scope["small_normal"]


small_normal = of_the_guide()


def test_the_initializer_that_the_contributing_guide_adds_works(key, monkeypatch):
    init = small_normal(groups=2)

    check_std(init(key, (400, 500), "bfloat16"), (2 / (5 * 400)) ** 0.5)
    assert repr(init) == "small_normal(groups=2)"
    assert jinit.deserialize(jinit.serialize(init)) == init
    with pytest.raises(ValueError, match="fan_in="):
        init(key, (3,))
