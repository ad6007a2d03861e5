"""Masks of blocks: what drawing them again and again would give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.processes.parts import block_masks

ROWS = 20_000


@pytest.mark.parametrize(
  ("interval", "counts"),
  [((0.3, 0.8), (2, 3, 4)), ((0.0, 0.5), (0, 1, 2)), ((1.0, 1.0), (5,)), ((0.41, 0.59), range(6))],
)
def test_the_share_of_a_block_lies_in_the_interval(interval, counts):
  """Of blocks of five; where no count does, the interval is no condition."""
  p, free = jnp.full((ROWS, 7), 0.6), jnp.ones((ROWS, 7), bool)
  masked = np.asarray(block_masks.draw(jax.random.key(0), p, free, 5, interval))
  found = np.bincount(masked[:, :5].sum(-1), minlength=6)
  expected = stats.binom.pmf(np.arange(6), 5, 0.6) * np.isin(np.arange(6), counts)
  assert not found[expected == 0].any()
  if len(counts) > 1:
    possible = expected > 0
    expected = ROWS * expected / expected.sum()
    assert stats.chisquare(found[possible], expected[possible]).pvalue > 1e-3
  np.testing.assert_allclose(masked[:, :5].mean(0), masked[:, :5].mean(), atol=0.02)


def test_only_free_positions_are_masked_and_counted():
  p, free = jnp.full((ROWS, 4), 1.0), np.array([False, True, True, True])
  free = np.broadcast_to(free, (ROWS, 4))
  masked = np.asarray(block_masks.draw(jax.random.key(0), p, free, 4, jnp.array([0.0, 1.0])))
  np.testing.assert_array_equal(masked, free)
  masked = np.asarray(block_masks.draw(jax.random.key(0), p / 2, free, 4, (0.3, 0.4)))
  assert (masked.sum(-1) == 1).all() and not masked[:, 0].any()
