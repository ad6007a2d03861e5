"""The block mask against the formula of the paper, pair by pair."""

import numpy as np
import pytest

from dlm_jax.core.patterns import Blocks, Causal


@pytest.mark.parametrize("length, size", [(6, 1), (6, 2), (7, 3), (6, 6), (5, 8)])
def test_blocks_see_themselves_and_earlier_clean_blocks(length, size):
  index = np.arange(2 * length)
  found = Blocks(size).allowed(index[:, None], index, length)
  for q in range(2 * length):
    for k in range(2 * length):
      bq, bk, cq, ck = q % length // size, k % length // size, q >= length, k >= length
      expected = (bq == bk and cq == ck) or (bq > bk and ck and not cq) or (bq >= bk and ck and cq)
      assert found[q, k] == expected, (q, k)


def test_the_last_clean_token_seen_is_that_of_the_mask():
  length, blocks = 7, Blocks(3)
  index = np.arange(length)
  seen = blocks.allowed(index[:, None] + length, index + length, length)
  np.testing.assert_array_equal(seen, index <= blocks.last_seen(index)[:, None])
  np.testing.assert_array_equal(Causal(begin=0).last_seen(index), index)
