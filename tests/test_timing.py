"""How the benchmarks time draws: in turns, and compared round by round."""

import numpy as np
import pytest
from _timing import Case, contenders, interleave, ratio

import jinit


def test_draws_take_turns_and_one_that_refuses_drops_out():
    turns = []

    def refuse():
        raise NotImplementedError

    draws = {
        "ours": lambda: turns.append("ours"),
        "torch": refuse,
        "jax": lambda: turns.append("jax"),
    }
    seconds = interleave(draws, rounds=3)

    assert turns == ["ours", "jax"] * 4  # the first time it compiles
    assert list(seconds) == ["ours", "jax"]
    assert list(map(len, seconds.values())) == [3, 3]


def test_a_ratio_is_that_of_the_times_of_one_round():
    ours, theirs = np.random.default_rng(0).uniform(1, 2, (2, 9))
    found = ratio({"ours": list(ours), "jax": list(theirs)}, "jax")

    expected = np.quantile(theirs / ours, [0.25, 0.5, 0.75], method="weibull")
    assert [found.low, found.median, found.high] == pytest.approx(expected)
    assert ratio({"ours": list(ours)}, "torch") is None


def test_torch_fills_a_tensor_of_its_own_where_it_is_installed():
    torch = pytest.importorskip("torch")
    case = Case(jinit.sparse(0.5), None, "sparse_", {"sparsity": 0.5})
    draws = contenders(case, 8, "float32")

    assert list(draws) == ["ours", "zeros", "torch"]
    assert ((draws["torch"]() == 0).sum(dim=0) == torch.full((8,), 4)).all()
    assert draws["zeros"]().shape == (8, 8)
