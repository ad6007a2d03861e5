"""Samplers follow the exact denoiser's distribution under every noise they are defined for.

Chi-square over the 27 sequences of the toy joint, at a level of 0.1% for a fixed seed. Over the
whole row, and in blocks of two tokens, of which the last is cut short.
"""

import dataclasses
from functools import partial

import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes import (
  absorbing,
  duo,
  generalized_absorbing,
  gidd,
  hybrid,
  score_absorbing,
  score_uniform,
  uniform,
)
from dlm_jax.processes.block import Block
from tests import toy
from tests.samplers import drawing

ALPHA = 1e-3
ROWS = 5_000
STEPS = 96
JOINT = toy.joint()
LENGTH, V = JOINT.length, JOINT.vocab_size
PROMPT = np.array([0, 2, 0])
PROMPTED = np.array([False, True, False])
EXPONENTS = np.array([0.5, 1.0, 2.0], np.float32)


def mixture(process):
  """The process, and its exact denoiser as a function of the positions given and of the blocks."""
  share = lambda t: process.level(t).p_u  # noqa: E731
  return process, partial(toy.mixture_denoiser, JOINT, share, process.noised)


def uniform_score(process):
  return process, partial(toy.uniform_score_denoiser, JOINT, process.noised)


def masked(process, denoiser):
  """An unmasked token is certain anyway."""
  return process, lambda given, block_size=None: denoiser(JOINT, block_size=block_size)


GENERALIZED = dataclasses.replace(generalized_absorbing.make(vocab_size=V), learned=EXPONENTS)
CASES = {
  "absorbing": masked(absorbing.make(vocab_size=V), toy.absorbing_denoiser),
  "uniform": mixture(uniform.make(vocab_size=V, schedule={"name": "cosine"})),
  "duo": mixture(duo.make(vocab_size=V)),
  "hybrid": mixture(hybrid.make(vocab_size=V, p_u=0.2)),
  "gidd": mixture(gidd.make(vocab_size=V, p_u=0.2)),
  "score_absorbing": masked(score_absorbing.make(vocab_size=V), toy.score_denoiser),
  "generalized_absorbing": masked(
    GENERALIZED, partial(toy.generalized_denoiser, exponents=EXPONENTS)
  ),
  "score_uniform": uniform_score(score_uniform.make(vocab_size=V)),
}
SAMPLERS = {
  "ancestral": drawing.make("ancestral"),
  # An order that knows nothing of the candidates keeps the law; that of their probability does not.
  "confidence_margin": drawing.make("confidence", score="margin"),
  "confidence_random": drawing.make("confidence", score="random"),
  "euler": drawing.make("euler"),
  "first_hitting": drawing.make("first_hitting"),
  "psi": drawing.make("psi", kappa=0.95),
  "remdm_cap": drawing.make("remdm", eta=0.01),
  "remdm_rescale": drawing.make("remdm", strategy="rescale", eta=0.01),
  "remdm_loop": drawing.make("remdm", strategy="loop"),
  "remdm_corrector": drawing.make("remdm", preset="forward_backward"),
}


def is_a_pair(sampler, case):
  try:
    SAMPLERS[sampler].check(CASES[case][0])
  except UserError:
    return False
  return True


def marked(pairs, quick):
  """The parameters of a test, slow but for the processes named `quick`."""
  slow = pytest.mark.slow
  return [pytest.param(*p, marks=[] if p[1] in quick else slow) for p in pairs]


PAIRS = [(sampler, case) for sampler in SAMPLERS for case in CASES if is_a_pair(sampler, case)]
ONE_OF_EACH = (
  "ancestral",
  "confidence_random",
  "euler",
  "psi",
  "first_hitting",
  "remdm_cap",
)
# In blocks, every rule under one noise of masks and one of tokens, and one rule under every noise.
BLOCKS = [pair for pair in PAIRS if pair[1] in ("absorbing", "uniform") or pair[0] == "ancestral"]


def draw(sampler, case, steps=STEPS, given=None, **settings):
  process, denoiser = CASES[case]
  if given is not None:
    settings |= {"given": np.broadcast_to(given, (ROWS, LENGTH))}
    settings |= {"tokens": np.broadcast_to(PROMPT, (ROWS, LENGTH))}
  return drawing.draw(
    SAMPLERS[sampler],
    process,
    denoiser(given=given),
    (ROWS, LENGTH),
    key=1,
    steps=steps,
    **settings,
  ).tokens


def draw_in_blocks(sampler, case, steps=STEPS, given=None):
  inner, denoiser = CASES[case]
  process, settings = Block(inner=inner, block_size=2), {}
  if given is not None:
    settings |= {"given": np.broadcast_to(given, (ROWS, LENGTH))}
    settings |= {"tokens": np.broadcast_to(PROMPT, (ROWS, LENGTH))}
  denoise = drawing.padded(denoiser(given=given, block_size=2), LENGTH)
  return drawing.draw(
    SAMPLERS[sampler], process, denoise, (ROWS, LENGTH), key=1, steps=2 * steps, **settings
  ).tokens


@pytest.mark.proves("law", process="{case}", sampler="{sampler}")
@pytest.mark.parametrize(("sampler", "case"), marked(PAIRS, ("absorbing", "uniform")))
def test_follows_the_joint(sampler, case):
  assert JOINT.p_value(draw(sampler, case)) > ALPHA


def test_follows_the_joint_along_another_grid():
  assert JOINT.p_value(draw("ancestral", "absorbing", grid="cosine")) > ALPHA


@pytest.mark.proves("prompt", process="{case}", sampler="{sampler}")
@pytest.mark.parametrize(
  ("sampler", "case"), marked([p for p in PAIRS if p[0] in ONE_OF_EACH], ("absorbing",))
)
def test_with_a_prompt_follows_the_conditional(sampler, case):
  """Nothing in z tells a given token from noise: the exact denoiser is told which they are."""
  tokens = draw(sampler, case, given=PROMPTED)
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, PROMPTED)) > ALPHA


@pytest.mark.proves("law", process="blocks_of_{case}", sampler="{sampler}")
@pytest.mark.parametrize(("sampler", "case"), marked(BLOCKS, ("absorbing",)))
def test_in_blocks_follows_the_joint(sampler, case):
  assert JOINT.p_value(draw_in_blocks(sampler, case)) > ALPHA


@pytest.mark.slow
@pytest.mark.proves("prompt", process="blocks_of_absorbing", sampler="{sampler}")
@pytest.mark.parametrize("sampler", ONE_OF_EACH)
def test_infilling_within_a_block_follows_the_conditional(sampler):
  tokens = draw_in_blocks(sampler, "absorbing", given=PROMPTED)
  assert JOINT.p_value(tokens, JOINT.conditional(PROMPT, PROMPTED)) > ALPHA


def test_a_prompt_changes_the_law():
  """Ignoring it would show."""
  rest = JOINT.draw(0, ROWS)
  rest[:, PROMPTED] = PROMPT[PROMPTED]
  assert JOINT.p_value(rest, JOINT.conditional(PROMPT, PROMPTED)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_too_few_steps_are_told_apart(case):
  """The test has the power to see tokens that were drawn together as if they were independent."""
  assert JOINT.p_value(draw("ancestral", case, steps=1)) < 1e-6


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_too_few_steps_in_blocks_are_told_apart(sampler):
  assert JOINT.p_value(draw_in_blocks(sampler, "absorbing", steps=1)) < 1e-6


def test_an_order_by_the_probability_of_candidates_is_told_apart():
  """One at a time, with the exact denoiser: likely tokens come sooner, and so too often."""
  process, denoiser = CASES["absorbing"]
  sampler = drawing.make("confidence", score="probability")
  tokens = drawing.draw(sampler, process, denoiser(None), (ROWS, LENGTH), key=1, steps=STEPS).tokens
  assert JOINT.p_value(tokens) < 1e-6
