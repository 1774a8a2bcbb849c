"""What is drawn stays what it was, against golden/draws.json (golden/make_draws.py)."""

import json

import pytest
from golden.make_draws import FILE, draws

GOLDEN = json.loads(FILE.read_text())


def test_every_draw_has_the_sums_that_were_recorded():
    drawn = dict(draws())
    assert drawn.keys() == GOLDEN.keys()
    for case, sums in drawn.items():
        # Processors and versions of JAX differ in last bits, which bfloat16 shows.
        narrow = case.endswith("bfloat16")
        close = {"rel": 1e-3, "abs": 1e-2} if narrow else {"rel": 1e-5, "abs": 1e-4}
        assert sums == pytest.approx(GOLDEN[case], **close), case
