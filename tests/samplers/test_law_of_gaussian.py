"""Samplers of a continuous state follow the exact denoiser's distribution of tokens.

Chi-square over the 27 sequences of the toy joint, at a level of 0.1% for a fixed seed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.samplers.filters import Filters
from tests import toy
from tests.samplers import drawing

ALPHA = 1e-3
ROWS = 4_000
JOINT = toy.joint()
PROCESS = toy.gaussian_process(width=4)
EXACT = toy.gaussian_denoiser(JOINT, PROCESS)
PROMPT = np.array([0, 2, 0])
PROMPTED = np.array([False, True, False])
SHAPE = (ROWS, JOINT.length)
# Steps at which what the method leaves of error is far below what 4,000 draws can see.
CASES = {"ancestral": 96, "ddim": 96, "heun": 24, "churn": 96}


def draw(sampler, steps, shape=SHAPE, process=PROCESS, denoise=EXACT, given=None, **settings):
  known = {}
  if given is not None:
    known = {"given": np.broadcast_to(given, shape), "tokens": np.broadcast_to(PROMPT, shape)}
  made = drawing.make(sampler, **settings)
  return drawing.draw(made, process, denoise, shape, key=1, steps=steps, **known).tokens


@pytest.mark.proves("law", process="gaussian", sampler="{name}")
@pytest.mark.parametrize("name", CASES)
def test_samples_follow_the_joint(name):
  assert JOINT.p_value(draw(name, CASES[name])) > ALPHA


@pytest.mark.proves("prompt", process="gaussian", sampler="{name}")
@pytest.mark.parametrize("name", CASES)
def test_infilling_follows_the_conditional(name):
  tokens = draw(name, CASES[name], given=PROMPTED)
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, PROMPTED)) > ALPHA


@pytest.mark.parametrize("name", CASES)
def test_one_step_visibly_does_not(name):
  assert JOINT.p_value(draw(name, 1)) < ALPHA


def test_churn_that_does_not_go_back_is_ddim():
  shape = (64, JOINT.length)
  np.testing.assert_array_equal(draw("churn", 12, shape, back_off=0.0), draw("ddim", 12, shape))
  assert np.any(draw("churn", 12, shape) != draw("ddim", 12, shape))


def test_temperature_zero_clamps_to_an_embedding_and_temperature_sharpens():
  z, t = PROCESS.prior(jax.random.key(0), (8, JOINT.length)), jnp.full(8, 0.4)

  def predicted(temperature):
    prediction = PROCESS.predict(EXACT(z, t), z, t)
    return PROCESS.mean(Filters(temperature=temperature)(prediction))

  distance = jnp.linalg.norm(predicted(0.0)[:, :, None] - PROCESS.embeddings, axis=-1)
  np.testing.assert_allclose(distance.min(-1), 0.0, atol=1e-6)
  sizes = [float(jnp.linalg.norm(predicted(value), axis=-1).mean()) for value in (2.0, 1.0, 0.3)]
  assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", CASES)
def test_self_conditioning_is_carried_from_step_to_step(name):
  """A network that repeats what it is told, and says 1 when told nothing."""
  process = toy.gaussian_process(width=4, self_conditioning=0.5)

  def denoise(z, t, self_condition):
    told = jnp.any(self_condition != 0, axis=-1, keepdims=True)
    repeated = 50.0 * (self_condition @ process.embeddings.T)
    return jnp.where(told, repeated, 50.0 * (jnp.arange(3) == 1))

  tokens = draw(name, 4, (4, JOINT.length), process, denoise)
  np.testing.assert_array_equal(tokens, 1)
