"""When first-hitting sampling reveals what, and what it asks of the network."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing
from dlm_jax.processes.block import Block
from tests import toy
from tests.samplers import drawing

JOINT = toy.joint(length=5)
LENGTH = JOINT.length
PROCESS = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": "cosine"})


def run(denoise, rows=4, **settings):
  settings = {"steps": LENGTH} | settings
  return drawing.draw(drawing.make("first_hitting"), PROCESS, denoise, (rows, LENGTH), **settings)


@pytest.mark.parametrize("steps, evaluations", [(LENGTH, 5), (100, 5), (4, 3), (2, 2), (1, 1)])
def test_evaluations_stay_within_steps(steps, evaluations):
  assert run(toy.absorbing_denoiser(JOINT), steps=steps).num_evaluations == evaluations


def test_one_token_a_step_and_one_evaluation_a_masked_token():
  given = np.zeros((4, LENGTH), bool)
  given[:, 1:3] = True
  known = {"tokens": np.zeros(given.shape, np.int32), "given": given}
  result = run(toy.absorbing_denoiser(JOINT), trajectory=True, **known)
  assert result.num_evaluations == LENGTH - 2
  masked = np.sum(result.trajectory == PROCESS.mask_id, axis=-1)
  np.testing.assert_array_equal(masked[:, 0], [3, 2, 1, 0, 0, 0])


def test_times_are_those_at_which_independent_positions_are_revealed():
  """The i-th token is revealed at the time the i-th largest of L uniform masked fractions names."""
  times = []

  def denoise(z, t):
    jax.debug.callback(lambda t: times.append(np.asarray(t)), t, ordered=True)
    return jnp.zeros((*z.shape, JOINT.vocab_size))

  run(denoise, rows=2000)
  jax.effects_barrier()
  fractions = np.asarray(PROCESS.masked(jnp.stack(times)))
  for i, fraction in enumerate(fractions):
    assert stats.kstest(fraction, stats.beta(LENGTH - i, i + 1).cdf).pvalue > 1e-3
  # The time, not the fraction, is what the network is given.
  assert np.abs(fractions - np.stack(times)).max() > 0.1


def test_each_position_is_as_likely_to_be_next():
  result = run(toy.absorbing_denoiser(JOINT), rows=2000, trajectory=True)
  for before, after in itertools.pairwise(result.trajectory[:-1]):
    revealed = np.argmax(before != after, axis=-1)
    assert stats.chisquare(np.bincount(revealed, minlength=LENGTH)).pvalue > 1e-3


def test_each_block_begins_at_the_masked_fraction_1():
  """The first of two tokens is revealed at the larger of two uniform draws, of mean 2 / 3."""
  times = []

  def denoise(z, t):
    jax.debug.callback(lambda t: times.append(np.asarray(t)), t, ordered=True)
    return jnp.zeros((*z.shape, 3))

  process = Block(inner=absorbing.make(vocab_size=3), block_size=2)
  drawing.draw(drawing.make("first_hitting"), process, denoise, (500, 4), steps=4)
  jax.effects_barrier()
  np.testing.assert_allclose(np.mean(times, axis=1), [2 / 3, 1 / 3, 2 / 3, 1 / 3], atol=0.05)


def test_takes_no_grid():
  with pytest.raises(UserError, match="takes no grid, got 'cosine': leave --grid out"):
    run(None, grid="cosine")
