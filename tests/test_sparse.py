import math

import jax
import numpy as np
import pytest
from helpers import check_distribution, check_probability
from scipy import stats

import jinit


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("outputs", [1, 10, 17])
def test_every_input_has_exactly_the_zeros_asked_for(sparsity, outputs, key):
    w = jinit.sparse(sparsity, std=1.0)(key, (30, outputs))

    zeros = (np.asarray(w) == 0).sum(axis=1)
    np.testing.assert_array_equal(zeros, math.ceil(sparsity * outputs))


def test_the_torch_layout_has_them_in_columns(key):
    w = jinit.sparse(0.9, std=1.0, in_axis=1, out_axis=0)(key, (50, 7))

    np.testing.assert_array_equal((np.asarray(w) == 0).sum(axis=0), 45)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_rest_is_normal(dtype, key):
    w = np.asarray(jinit.sparse(0.25, std=0.5)(key, (400, 400), dtype))

    check_distribution(w[w != 0], stats.norm(0, 0.5).cdf)


def test_every_output_is_as_likely_to_be_zero(key):
    zero = np.asarray(jinit.sparse(0.3, std=1.0)(key, (20_000, 10))) == 0

    for output in range(10):
        check_probability(zero[:, output].sum(), 20_000, 0.3)


def test_inputs_choose_their_zeros_independently(key):
    zero = np.asarray(jinit.sparse(0.5, std=1.0)(key, (20_000, 4))) == 0

    # Two rows choose 2 of 4: they agree with probability 1/6.
    agree = (zero[::2] == zero[1::2]).all(axis=1)
    check_probability(agree.sum(), 10_000, 1 / 6)


def test_pairs_of_outputs_are_chosen_alike(key):
    zero = np.asarray(jinit.sparse(0.5, std=1.0)(key, (20_000, 4))) == 0

    for first in range(4):
        for second in range(first):
            both = zero[:, first] & zero[:, second]
            check_probability(both.sum(), 20_000, 1 / 6)


def test_the_same_key_gives_the_same_matrix():
    init = jinit.sparse(0.8)

    first, again, other = (init(jax.random.key(k), (9, 9)) for k in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64"])
def test_other_dtypes_have_the_same_zeros(dtype, key):
    init = jinit.sparse(0.5, std=1.0)

    zeros = init(key, (20, 30)) == 0
    np.testing.assert_array_equal(init(key, (20, 30), dtype) == 0, zeros)


def test_the_random_words_that_choose_have_no_ties():
    """Where their high bits are equal the choice must still be exact and fair."""
    words = np.zeros((5, 8), np.uint32) | np.arange(8, dtype=np.uint32)
    for k in range(1, 9):
        smallest = jinit._sparse._kth_smallest(words, k)
        np.testing.assert_array_equal(smallest[:, 0], k - 1)
