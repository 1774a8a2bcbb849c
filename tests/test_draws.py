"""What is drawn stays what it was, against golden/draws.json (golden/make_draws.py)."""

import json

import pytest
from golden.make_draws import CALLS, FILE, draws

GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("call", CALLS)
def test_a_draw_has_the_sums_that_were_recorded(call):
    drawn = dict(draws(call))
    assert drawn.keys() == GOLDEN[call].keys()
    for case, sums in drawn.items():
        # Processors and versions of JAX differ in last bits, which bfloat16 shows.
        narrow = case.endswith("bfloat16")
        close = {"rel": 1e-3, "abs": 1e-2} if narrow else {"rel": 1e-5, "abs": 1e-4}
        assert sums == pytest.approx(GOLDEN[call][case], **close), case


def test_a_draw_that_is_slightly_different_is_noticed():
    (case, sums), *_ = draws("normal(mean=1.0, std=0.02)")
    with pytest.raises(AssertionError):
        assert [sum_ * 1.0001 for sum_ in sums] == pytest.approx(
            GOLDEN["normal(mean=1.0, std=0.02)"][case], rel=1e-5, abs=1e-4
        )
