"""Every sampler, found by itself, keeps the contract. A new file in `samplers` is tested here.

With absorbing noise, unless it is defined for other processes alone: see `CASES`.
"""

import inspect

import jax
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.processes import absorbing, autoregressive, block
from dlm_jax.samplers import ancestral
from tests import toy

PACKAGE = "dlm_jax.samplers"
JOINT = toy.joint(length=4)
V = JOINT.vocab_size
PLAIN = (absorbing.make(vocab_size=V), toy.absorbing_denoiser(JOINT))
CONTINUOUS = (toy.gaussian_process(V), toy.gaussian_denoiser(JOINT))
# Process and exact denoiser of the samplers that are defined for no other.
CASES = {
  "left_to_right": (autoregressive.make(vocab_size=V), toy.autoregressive_denoiser(JOINT)),
  "block_by_block": (block.make(vocab_size=V, block_size=2), toy.block_denoiser(JOINT, 2)),
  "ddim": CONTINUOUS,
  "heun": CONTINUOUS,
  "churn": CONTINUOUS,
}
FROM_THE_LEFT = ("left_to_right", "block_by_block")
MASK = V
STEPS = 6
# These may mask again what is revealed.
REMASKING = {"psi", "remdm"}
SHAPE = (5, JOINT.length)
GIVEN = np.random.default_rng(0).random(SHAPE) < 0.4
GIVEN[:2, 0] = True
PROMPTS = np.arange(SHAPE[1]) < np.array([[1], [3], [0], [2], [1]])
# What is given is never changed, whatever it is: the first of each row is the mask itself.
TOKENS = np.broadcast_to(np.where(np.arange(SHAPE[1]) == 0, MASK, 1), SHAPE)
TOKENS = TOKENS.astype(np.int32)


def name_of(sampler):
  return sampler.__name__.rpartition(".")[2]


def case(sampler):
  return CASES.get(name_of(sampler), PLAIN)


def known(sampler):
  """What is given: anywhere, or prompts of different lengths."""
  # A continuous state has an embedding for each token, and none for the mask.
  tokens = TOKENS % V if case(sampler) is CONTINUOUS else TOKENS
  return {"tokens": tokens, "given": PROMPTS if name_of(sampler) in FROM_THE_LEFT else GIVEN}


@pytest.fixture(params=resolve.names(PACKAGE, entry="sample"))
def sampler(request):
  return resolve.module(PACKAGE, request.param, entry="sample")


def run(sampler, key, shape=SHAPE, **settings):
  settings = {"steps": STEPS} | settings
  process, denoise = case(sampler)
  sample = jax.jit(lambda key: sampler.sample(key, process, denoise, shape, **settings))
  return jax.device_get(sample(key))


def test_samplers_are_found():
  assert {"ancestral", "first_hitting", *REMASKING} <= set(resolve.names(PACKAGE, entry="sample"))


def test_signature(sampler):
  expected = inspect.signature(ancestral.sample).parameters
  found = inspect.signature(sampler.sample).parameters
  # A sampler may have settings of its own, by keyword, after those that all share.
  assert list(found)[: len(expected)] == list(expected)
  for name, parameter in expected.items():
    assert (found[name].kind, found[name].default) == (parameter.kind, parameter.default)


def test_result_and_trajectory(sampler):
  tokens, given = known(sampler).values()
  result = run(sampler, jax.random.key(0), trajectory=True, **known(sampler))
  assert result.tokens.shape == SHAPE and result.tokens.dtype == np.int32
  drawn = result.tokens[~given]
  assert np.all((drawn >= 0) & (drawn < JOINT.vocab_size))
  assert result.nfe.shape == () and result.nfe.dtype == np.int32

  frames = result.trajectory
  assert len(frames) <= 1 + STEPS
  np.testing.assert_array_equal(frames[-1], result.tokens)
  np.testing.assert_array_equal(frames[:, given], [tokens[given]] * len(frames))
  if case(sampler) is CONTINUOUS:
    # One evaluation reads the state at the end; Heun's method takes two a step.
    assert result.nfe == 1 + STEPS * (2 if name_of(sampler) == "heun" else 1)
    assert np.all((frames >= 0) & (frames < V))
  else:
    assert 1 <= result.nfe <= STEPS
    np.testing.assert_array_equal(frames[0], np.where(given, tokens, MASK))
    before, after = frames[:-1], frames[1:]
    revealed = before != MASK
    if name_of(sampler) in REMASKING:
      revealed &= after != MASK
    np.testing.assert_array_equal(after[revealed], before[revealed])

  plain = run(sampler, jax.random.key(0), **known(sampler))
  assert plain.trajectory is None
  np.testing.assert_array_equal(plain.tokens, result.tokens)


def test_a_row_depends_on_its_own_key_alone(sampler):
  key = jax.random.key(0)
  whole = run(sampler, key)
  part = run(sampler, jax.random.split(key, SHAPE[0])[1:3], (2, SHAPE[1]))
  np.testing.assert_array_equal(part.tokens, whole.tokens[1:3])
  assert np.any(whole.tokens != whole.tokens[0])


def test_temperature_zero_draws_nothing(sampler):
  settings = {"steps": 1, "temperature": 0.0}
  result = run(sampler, jax.random.key(0), **settings)
  if case(sampler) is CONTINUOUS:
    pytest.skip("the state at t = 1 is drawn, and with it all that follows")
  if case(sampler) is PLAIN:
    best = np.argmax(PLAIN[1](np.full((1, SHAPE[1]), MASK), None), axis=-1)
  else:
    best = run(sampler, jax.random.key(1), **settings).tokens[:1]
  np.testing.assert_array_equal(result.tokens, np.broadcast_to(best, SHAPE))


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"temperature": -1.0}, "temperature must be at least 0"),
    ({"top_p": 0.0}, "top_p must lie in"),
    ({"top_p": 1.5}, "top_p must lie in"),
    ({"given": GIVEN}, "needs both tokens and given"),
    ({"grid": "cosin"}, "cosin"),
  ],
)
def test_mistakes_are_told_before_anything_is_compiled(sampler, settings, message):
  with pytest.raises(UserError, match=message):
    sampler.sample(None, *case(sampler), SHAPE, **{"steps": STEPS} | settings)


@pytest.mark.parametrize("other", [*FROM_THE_LEFT, "ddim"])
def test_a_process_of_another_kind_is_refused_by_name(sampler, other):
  everything = other == "ddim" and name_of(sampler) == "ancestral"
  if case(sampler) is not CASES[other] and not everything:
    with pytest.raises(UserError, match=r"the sampler '\w+' is not defined for the process"):
      sampler.sample(None, *CASES[other], SHAPE, steps=STEPS)
