"""Every sampler, found by itself, keeps the contract under every process it is defined for.

A new file in `samplers` is tested here, and a new process too: over the whole row, and in blocks of
every process that runs in blocks.
"""

import dataclasses
import re
from functools import cache

import jax
import numpy as np
import pytest

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.processes import facets
from dlm_jax.processes.facets import Continuous, HasMask, RevealsOnce
from dlm_jax.samplers import base, loops
from dlm_jax.samplers.base import Corrects, Request
from tests.contract import test_processes as contract
from tests.samplers import drawing

SAMPLERS = resolve.names(base.PACKAGE)
# Each with one defined oracle; blocks of 2 with every inner process.
PROCESSES = [
  *(name for name in resolve.names(contract.PACKAGE) if name != "block"),
  *(f"blocks_of_{inner}" for inner in contract.IN_BLOCKS),
]
V, LENGTH = contract.JOINT.vocab_size, contract.JOINT.length
STEPS = 6
SHAPE = (5, LENGTH)
# These may mask again what is revealed.
REMASKING = {"psi", "remdm"}
INFILLING = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
PROMPTS = np.arange(LENGTH) < np.array([[1], [3], [0], [2], [0]])
TOKENS = np.ones(SHAPE, np.int32)


@cache
def process_of(name):
  return contract.make(name)


def is_defined(sampler, name):
  try:
    drawing.make(sampler).check(process_of(name))
  except UserError:
    return False
  return True


PAIRS = [(s, p) for s in SAMPLERS for p in PROCESSES if is_defined(s, p)]
# The others say little more of a sampler, and are left out of a quick run.
QUICK = {"absorbing", "uniform", "gaussian", "autoregressive", "blocks_of_absorbing"}
UNDEFINED = [(s, p) for s in SAMPLERS for p in PROCESSES if not is_defined(s, p)]


@cache
def drawn(sampler, name):
  """The jitted draw `(keys, tokens) -> SampleResult` of a pair, with what is given."""
  process = process_of(name)
  given = INFILLING if process.pattern == FULL else PROMPTS
  denoise = contract.oracle(name)
  if process.pattern != FULL:
    denoise = drawing.padded(denoise, LENGTH)

  def run(keys, tokens):
    request = Request(
      keys=keys, length=LENGTH, steps=STEPS, tokens=tokens, given=given, trajectory=True
    )
    return loops.sample(drawing.make(sampler), process, denoise, request)

  return jax.jit(run), given


def first_token(process):
  """Something that is given: the mask itself, where there is one, is never taken for noise."""
  return process.mask_id if isinstance(process, HasMask) else 0


def test_samplers_are_found():
  assert {"ancestral", "first_hitting", *REMASKING} <= set(SAMPLERS)


@pytest.mark.parametrize(
  ("sampler", "name"),
  [pytest.param(s, p, marks=[] if p in QUICK else pytest.mark.slow) for s, p in PAIRS],
)
def test_result_and_trajectory(sampler, name):
  process = process_of(name)
  run, given = drawn(sampler, name)
  tokens = TOKENS.copy()
  tokens[:, 0] = first_token(process)
  keys = jax.random.split(jax.random.key(0), SHAPE[0])
  result = jax.device_get(run(keys, tokens))
  assert result.tokens.shape == SHAPE and result.tokens.dtype == np.int32
  free = result.tokens[~given]
  assert np.all((free >= 0) & (free < V))
  evaluations = result.num_evaluations
  assert evaluations.shape == () and evaluations.dtype == np.int32

  frames = result.trajectory
  np.testing.assert_array_equal(frames[-1], result.tokens)
  np.testing.assert_array_equal(frames[:, given], [tokens[given]] * len(frames))
  if isinstance(process, Continuous):
    # One evaluation reads the state at the end.
    assert evaluations == 1 + STEPS * (2 if isinstance(drawing.make(sampler), Corrects) else 1)
  else:
    assert 1 <= evaluations <= STEPS
  if isinstance(process, RevealsOnce):
    np.testing.assert_array_equal(frames[0], np.where(given, tokens, process.mask_id))
    before, after = frames[:-1], frames[1:]
    revealed = before != process.mask_id
    if sampler in REMASKING:
      revealed &= after != process.mask_id
    np.testing.assert_array_equal(after[revealed], before[revealed])

  # What row i draws depends on its own key alone: the others may change.
  others = jax.random.split(jax.random.key(1), SHAPE[0]).at[2].set(keys[2])
  again = jax.device_get(run(others, tokens))
  np.testing.assert_array_equal(again.tokens[2], result.tokens[2])
  np.testing.assert_array_equal(again.trajectory[:, 2], frames[:, 2])


@pytest.mark.parametrize("name", ["absorbing", "blocks_of_absorbing", "autoregressive", "gaussian"])
def test_rows_draw_the_same_in_another_batch_and_without_a_trajectory(name):
  process, keys = process_of(name), jax.random.split(jax.random.key(0), 5)
  denoise = contract.oracle(name)
  if process.pattern != FULL:
    denoise = drawing.padded(denoise, LENGTH)
  ancestral = drawing.make("ancestral")
  whole = drawing.draw(ancestral, process, denoise, (5, LENGTH), key=keys, steps=STEPS)
  part = drawing.draw(
    ancestral, process, denoise, (2, LENGTH), key=keys[1:3], steps=STEPS, trajectory=True
  )
  assert whole.trajectory is None
  np.testing.assert_array_equal(part.tokens, whole.tokens[1:3])
  assert np.any(whole.tokens != whole.tokens[0])


@pytest.mark.parametrize(("sampler", "name"), UNDEFINED)
def test_a_refusal_names_the_processes_that_are_defined(sampler, name):
  with pytest.raises(UserError, match="is not defined for the process") as refusal:
    drawing.make(sampler).check(process_of(name))
  named = set(re.findall(r"\w+", str(refusal.value).partition(": ")[2])) & set(PROCESSES)
  assert named and all(is_defined(sampler, other) for other in named)
  assert {other for other in PROCESSES if is_defined(sampler, other)} - named <= {
    f"blocks_of_{other}" for other in named
  }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_is_a_frozen_dataclass_of_its_settings(sampler):
  made = drawing.make(sampler)
  assert made.name == sampler
  assert dataclasses.replace(made) == made and hash(made) == hash(drawing.make(sampler))
  with pytest.raises(UserError, match="has no field 'etta'"):
    drawing.make(sampler, etta=1)


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"temperature": -1.0}, "temperature must be at least 0"),
    ({"top_k": -1}, "top_k must be at least 0"),
    ({"top_p": 0.0}, "top_p must lie in"),
    ({"top_p": 1.5}, "top_p must lie in"),
    ({"given": INFILLING}, "needs both tokens and given"),
    ({"grid": "cosin"}, "did you mean 'cosine'"),
  ],
)
def test_a_request_out_of_range_is_refused(settings, message):
  with pytest.raises(UserError, match=message):
    drawing.request(None, LENGTH, **{"steps": STEPS} | settings)


@pytest.mark.parametrize("forbidden, message", [((V,), "0..2, got 3"), ((0, 1, 2), "every token")])
def test_forbidden_tokens_out_of_range_are_refused(forbidden, message):
  with pytest.raises(UserError, match=message):
    drawing.draw(
      drawing.make("ancestral"),
      process_of("absorbing"),
      contract.oracle("absorbing"),
      SHAPE,
      steps=1,
      forbidden=forbidden,
    )


def test_a_wrapper_is_defined_where_what_it_wraps_is():
  """All steps of the inner process run in blocks."""
  for sampler in SAMPLERS:
    for inner in contract.IN_BLOCKS:
      assert is_defined(sampler, f"blocks_of_{inner}") == is_defined(sampler, inner)
  assert all(facets.of(process_of(f"blocks_of_{p}")) for p in contract.IN_BLOCKS)
