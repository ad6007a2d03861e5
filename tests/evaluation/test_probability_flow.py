"""The bound through the probability flow, held to the entropy of the toy joint.

With the exact denoiser the flow carries the noisy data to the prior, so that the bound is the
entropy up to Heun's error (below 0.01 nats with these steps) and that of Monte Carlo.
"""

import jax
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.evaluation.probability_flow import ProbabilityFlow
from dlm_jax.processes import absorbing
from tests import toy

JOINT = toy.joint()
ROWS = 4096
HEUN_ERROR = 0.01
PROCESS = toy.gaussian_process(width=4)
EXACT = toy.gaussian_denoiser(JOINT, PROCESS)


def draws(denoise, steps=48, process=PROCESS, given=None):
  """Draws of the bound in nats a sequence, float64 `[ROWS]`."""
  x, flow = JOINT.draw(0, ROWS), ProbabilityFlow(process, steps)
  given = None if given is None else np.broadcast_to(given, x.shape)
  nats = jax.jit(lambda key: flow.nelbo(key, denoise, x, None, given).sum(-1))(jax.random.key(1))
  return np.asarray(nats, np.float64)


def standard_error(values):
  return values.std() / np.sqrt(len(values))


@pytest.fixture(scope="module")
def exact_draws():
  return draws(EXACT)


def test_the_bound_of_the_exact_denoiser_is_the_entropy(exact_draws):
  assert standard_error(exact_draws) < 0.06
  assert abs(exact_draws.mean() - JOINT.entropy) < 4 * standard_error(exact_draws) + HEUN_ERROR


def test_the_bound_of_another_denoiser_is_larger(exact_draws):
  excess = draws(toy.wrong_denoiser(EXACT)) - exact_draws
  assert excess.mean() > 4 * standard_error(excess) + HEUN_ERROR


def test_the_error_of_the_steps_is_as_small_as_stated(exact_draws):
  """At equal noise: twice the steps change the mean by less."""
  change = draws(EXACT, steps=96) - exact_draws
  assert abs(change.mean()) < HEUN_ERROR


def test_given_positions_condition_and_are_not_scored():
  known = np.array([True, False, True])
  nats = draws(EXACT, given=known)
  _, index = np.unique(JOINT.sequences[:, known], axis=0, return_inverse=True)
  marginal = np.bincount(index.ravel(), JOINT.probs)
  conditional = JOINT.entropy + np.sum(marginal * np.log(marginal))
  assert abs(nats.mean() - conditional) < 4 * standard_error(nats) + HEUN_ERROR


def test_evaluations_are_counted():
  calls = []

  def denoise(z, t, self_condition=None):
    calls.append(1)
    return EXACT(z, t)

  for share in (0.0, 0.5):
    process = toy.gaussian_process(width=4, self_conditioning=share)
    flow = ProbabilityFlow(process, 1)
    calls.clear()
    jax.eval_shape(lambda: flow.nelbo(jax.random.key(0), denoise, JOINT.draw(0, 2), None))  # noqa: B023
    # A scan traces its body once, here the only step.
    assert flow.num_evaluations == len(calls) == 3 * (2 if share else 1)


def test_mistakes_are_named():
  with pytest.raises(UserError, match="Absorbing has no probability flow"):
    ProbabilityFlow(absorbing.make(vocab_size=3), 8)
  with pytest.raises(UserError, match="steps must be at least 1, got 0"):
    ProbabilityFlow(PROCESS, 0)
