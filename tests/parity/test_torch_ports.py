"""The record of the models of torch is what torch computes now."""

import json
import os

import numpy as np
import pytest
from ports import MODELS, PATH

if os.environ.get("JINIT_REQUIRE_PEERS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

from golden import make_torch_ports


@pytest.fixture(scope="module")
def now():
    return make_torch_ports.golden()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_record_is_what_torch_computes_now(name, now):
    """tests/test_torch_ports.py holds the twins to the record."""
    recorded = json.loads(PATH.read_text())
    assert recorded["torch"] == now["torch"]
    assert recorded[name]["after"] == now[name]["after"]
    for part in ("outputs", "losses"):
        expected = recorded[name][part]
        np.testing.assert_allclose(now[name][part], expected, rtol=1e-5, atol=2e-6)
