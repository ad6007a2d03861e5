"""Samplers follow the distribution that the exact denoiser describes.

Chi-square over the 27 sequences of the toy joint, at a level of 0.1% for a fixed seed.
"""

import jax
import numpy as np
import pytest

from dlm_jax.processes import absorbing
from dlm_jax.samplers import ancestral, first_hitting
from tests import toy

ALPHA = 1e-3
ROWS = 5_000
# Two of three tokens share a step, and so are drawn apart, with probability below 3 / STEPS.
STEPS = 128
JOINT = toy.joint()
LENGTH = JOINT.length
PROMPT = np.array([0, 2, 0])
PROMPTED = np.array([False, True, False])


def draw(sampler, schedule, **settings):
  process = absorbing.make(vocab_size=JOINT.vocab_size, schedule={"name": schedule})
  denoise = toy.absorbing_denoiser(JOINT)
  sample = jax.jit(
    lambda key: sampler.sample(key, process, denoise, (ROWS, LENGTH), **settings).tokens
  )
  return np.asarray(sample(jax.random.key(1)))


@pytest.mark.proves("law", process="absorbing", sampler="ancestral")
@pytest.mark.parametrize(
  "schedule, grid", [("linear", "uniform"), ("cosine", "uniform"), ("linear", "cosine")]
)
def test_ancestral_follows_the_joint(schedule, grid):
  tokens = draw(ancestral, schedule, steps=STEPS, grid=grid)
  assert JOINT.p_value(tokens) > ALPHA


@pytest.mark.proves("law", process="absorbing", sampler="first_hitting")
@pytest.mark.parametrize("schedule", ["linear", "geometric"])
def test_first_hitting_follows_the_joint(schedule):
  assert JOINT.p_value(draw(first_hitting, schedule, steps=LENGTH)) > ALPHA


@pytest.mark.proves("prompt", process="absorbing", sampler="{name}")
@pytest.mark.parametrize("name", ["ancestral", "first_hitting"])
def test_with_a_prompt_follows_the_conditional(name):
  known = {
    "tokens": np.broadcast_to(PROMPT, (ROWS, LENGTH)),
    "given": np.broadcast_to(PROMPTED, (ROWS, LENGTH)),
  }
  sampler = {"ancestral": ancestral, "first_hitting": first_hitting}[name]
  tokens = draw(sampler, "linear", steps=STEPS, **known)
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, PROMPTED)) > ALPHA
  # The prompt changes the law of the rest, so that ignoring it would show.
  rest = JOINT.draw(0, ROWS)
  rest[:, PROMPTED] = PROMPT[PROMPTED]
  assert JOINT.p_value(rest, JOINT.conditional(PROMPT, PROMPTED)) < ALPHA


@pytest.mark.parametrize("sampler", [ancestral, first_hitting])
def test_too_few_steps_are_told_apart(sampler):
  """The test has the power to see tokens that were drawn together as if they were independent."""
  assert JOINT.p_value(draw(sampler, "linear", steps=1)) < 1e-6
