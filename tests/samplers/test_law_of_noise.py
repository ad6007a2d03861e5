"""Samplers follow the exact denoiser's distribution under every noise they are defined for.

Chi-square over the 27 sequences of the toy joint, at a level of 0.1% for a fixed seed.
"""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, duo, generalized_absorbing, hybrid, score_entropy, uniform
from dlm_jax.samplers import ancestral, euler, first_hitting, psi, remdm
from tests import toy

ALPHA = 1e-3
ROWS = 5_000
STEPS = 96
JOINT = toy.joint()
LENGTH, V = JOINT.length, JOINT.vocab_size
PROMPT = np.array([0, 2, 0])
PROMPTED = np.array([False, True, False])


def mixture(process):
  """The process, and its exact denoiser as a function of the positions given."""
  return process, partial(toy.mixture_denoiser, JOINT, process.uniform_fraction, process.noised)


def uniform_score(process):
  return process, partial(toy.uniform_score_denoiser, JOINT, process.noised)


def masked(denoiser):
  """An unmasked token is certain anyway."""
  return lambda given: denoiser(JOINT)


EXPONENTS = np.array([0.5, 1.0, 2.0], np.float32)
GENERALIZED = generalized_absorbing.make(vocab_size=V)

CASES = {
  "absorbing": (absorbing.make(vocab_size=V), masked(toy.absorbing_denoiser)),
  "uniform": mixture(uniform.make(vocab_size=V, schedule={"name": "cosine"})),
  "duo": mixture(duo.make(vocab_size=V)),
  "hybrid": mixture(hybrid.make(vocab_size=V, p_u=0.2)),
  "score_entropy": (score_entropy.make(vocab_size=V), masked(toy.score_denoiser)),
  "generalized_absorbing": (
    dataclasses.replace(GENERALIZED, learned=EXPONENTS),
    masked(partial(toy.generalized_denoiser, exponents=EXPONENTS)),
  ),
  "score_entropy_uniform": uniform_score(score_entropy.make(vocab_size=V, noise="uniform")),
}


def draw(sampler, case, steps=STEPS, given=None, **settings):
  process, denoiser = CASES[case]
  denoise = denoiser(given=given)
  if given is not None:
    settings |= {"given": np.broadcast_to(given, (ROWS, LENGTH))}
    settings |= {"tokens": np.broadcast_to(PROMPT, (ROWS, LENGTH))}
  sample = jax.jit(
    lambda key: sampler(key, process, denoise, (ROWS, LENGTH), steps=steps, **settings).tokens
  )
  return np.asarray(sample(jax.random.key(1)))


SAMPLERS = {
  "ancestral": ancestral.sample,
  "ancestral_cosine": partial(ancestral.sample, grid="cosine"),
  "euler": euler.sample,
  "first_hitting": first_hitting.sample,
  "psi": partial(psi.sample, kappa=0.95),
  "remdm_cap": partial(remdm.sample, eta=0.01),
  "remdm_rescale": partial(remdm.sample, strategy="rescale", eta=0.01),
  "remdm_loop": partial(remdm.sample, strategy="loop"),
}
# Reveal each token once: the only ones that `first_hitting` and `remdm` are defined for.
MASKED = {"absorbing", "score_entropy"}
# Where noise depends on the token, `psi` cannot noise what it does not know.
PAIRS = {
  (sampler, case)
  for sampler in SAMPLERS
  for case in CASES
  if not (sampler.startswith(("first_hitting", "remdm")) and case not in MASKED)
  if (sampler, case) != ("psi", "generalized_absorbing")
}


@pytest.mark.proves("law", process="{case}", sampler="{sampler}")
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_follows_the_joint(sampler, case):
  if (sampler, case) not in PAIRS:
    with pytest.raises(UserError, match=r"not defined for the process.*: absorbing"):
      draw(SAMPLERS[sampler], case)
    return
  assert JOINT.p_value(draw(SAMPLERS[sampler], case)) > ALPHA


@pytest.mark.proves("prompt", process="{case}", sampler="{sampler}")
@pytest.mark.parametrize(
  ("sampler", "case"),
  sorted(p for p in PAIRS if p[0] in ("ancestral", "euler", "psi", "first_hitting", "remdm_cap")),
)
def test_with_a_prompt_follows_the_conditional(sampler, case):
  """Nothing in z tells a given token from noise: the exact denoiser is told which they are."""
  tokens = draw(SAMPLERS[sampler], case, given=PROMPTED)
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, PROMPTED)) > ALPHA


@pytest.mark.parametrize("case", CASES)
def test_too_few_steps_are_told_apart(case):
  assert JOINT.p_value(draw(ancestral.sample, case, steps=1)) < 1e-6
