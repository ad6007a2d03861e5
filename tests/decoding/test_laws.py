"""What holds of every decoder: rows do not know of each other, and exact caches change nothing."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import BlockCausal
from dlm_jax.decoding import decoders
from dlm_jax.networks.base import Inputs
from tests.decoding import trajectories

MASK, END = 127, 129
PROMPTS = [[5, 9, 33, 7, 60, 2, 11, 80, 4], [17, 3, 90, 41, 8], [12, 71, 6]]
BLOCKS = {"length": 16, "block": 8}
THRESHOLD = {"name": "threshold", "threshold": 0.3}
WARM = {"temperature": 0.7, "top_p": 0.95}


def model(shift=0, **fields):
  masked = trajectories.model("llada", MASK, **fields)
  network = dataclasses.replace(masked.network, label_shift=bool(shift))
  return dataclasses.replace(masked, network=network)


CAUSAL = {"length": 14, "pattern": BlockCausal(4), **WARM}
ROWS = {
  "dual": {**BLOCKS, "rule": THRESHOLD, "cache": {"name": "dual"}, **WARM},
  "guided": {
    **BLOCKS,
    "score": "random",
    "rule": {"name": "top_n", "steps": 3},
    "guidance": 0.5,
    **WARM,
  },
  "block_causal": {**CAUSAL, "cache": {"name": "block"}},
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_its_prompt_gives_alone(name):
  """For any neighbours, any place in the batch and any room behind the prompt."""
  fields = dict(ROWS[name])
  masked = model(**{key: fields.pop(key) for key in ("shift", "pattern") if key in fields})
  keys = jax.random.split(jax.random.key(3), 3)
  together = trajectories.run(masked, PROMPTS, keys=keys, end_id=END, **fields)
  order = np.array([2, 0, 1])
  turned = trajectories.run(
    masked, [PROMPTS[i] for i in order], keys=keys[order], end_id=END, **fields
  )
  np.testing.assert_array_equal(turned.answers, together.answers[order])
  np.testing.assert_array_equal(turned.num_evaluations, together.num_evaluations[order])
  # Each prompt that has other room is a program more, so that one decoder alone has both.
  for row in (1, 2) if name == "dual" else (1,):
    alone = trajectories.run(
      masked, PROMPTS[row : row + 1], keys=keys[row][None], end_id=END, **fields
    )
    np.testing.assert_array_equal(alone.answers[0], together.answers[row])
    assert alone.num_evaluations[0] == together.num_evaluations[row]
    assert alone.lengths[0] == together.lengths[row]
  if "temperature" in fields:
    other = trajectories.run(masked, PROMPTS, keys=keys[order], end_id=END, **fields)
    assert np.any(other.answers != together.answers)


def test_a_cache_that_is_renewed_at_every_step_changes_nothing():
  """In the loop; that its logits are those of a full pass, see `test_caches`."""
  fields = {**BLOCKS, "rule": THRESHOLD}
  plain = trajectories.run(model(), PROMPTS, **fields)
  found = trajectories.run(model(), PROMPTS, cache={"name": "dual", "refresh_every": 1}, **fields)
  np.testing.assert_array_equal(trajectories.states(found), trajectories.states(plain))


def test_a_cache_that_is_not_renewed_is_another_decoder():
  fields = {**BLOCKS, "rule": THRESHOLD}
  found = [
    trajectories.run(model(), PROMPTS, cache={"name": "dual", "refresh_every": every}, **fields)
    for every in (0, 1)
  ]
  assert np.any(found[0].answers != found[1].answers)


@pytest.mark.parametrize(
  ("cache", "fields"),
  [
    ({"name": "block"}, {}),
    ({"name": "block"}, {"shift": 1, "first": True}),
    ({"name": "sub_block", "refresh_every": 1}, {"shift": 1, "sub_block": 2}),
  ],
)
def test_the_cache_of_blocks_changes_nothing(cache, fields):
  """Prompts that end within a block, at its end, and in the first one."""
  fields = {"shift": 0, **fields}
  masked = model(pattern=BlockCausal(4), shift=fields.pop("shift"))
  prompts = [*PROMPTS, PROMPTS[0][:8]]
  fields = {"length": 11, "rule": THRESHOLD, **fields}
  plain = trajectories.run(masked, prompts, **fields)
  cached = trajectories.run(masked, prompts, cache=cache, **fields)
  np.testing.assert_array_equal(cached.answers, plain.answers)


def test_rows_of_one_prompt_share_what_the_cache_holds_of_it():
  masked = model(pattern=BlockCausal(4))
  prompts = [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
  fields = {"length": 8, "cache": {"name": "block"}, "guidance": 0.5, **WARM}
  shared = trajectories.run(masked, prompts, copies=2, **fields)
  alone = trajectories.run(masked, prompts, **fields)
  np.testing.assert_array_equal(shared.answers, alone.answers)
  assert np.any(shared.answers[0] != shared.answers[1])


def greedy(masked, prompts, length):
  """The likeliest token after all before it, one after the other, without a cache."""

  @jax.jit
  def best(params, tokens):
    inputs = Inputs(tokens=tokens, time=jnp.zeros(len(tokens)), pattern=BlockCausal(1))
    logits = masked.network.head(params, masked.network.hidden(params, inputs))
    return jnp.argmax(logits.at[..., MASK].set(-jnp.inf), axis=-1)

  tokens, lengths = map(np.array, trajectories.ragged(prompts))
  tokens = np.pad(tokens, ((0, 0), (0, length)))
  rows = np.arange(len(prompts))
  for place in range(length):
    tokens[rows, lengths + place] = best(masked.params, tokens)[rows, lengths + place - 1]
  return np.array([row[n : n + length] for row, n in zip(tokens, lengths, strict=True)])


def test_verified_drafts_are_the_greedy_causal_answer():
  """Whatever the drafts are; and where they are that answer, one evaluation a block accepts them.

  A model whose positions do not read each other drafts from left to right what it verifies with.
  """
  masked = model(shift=1)
  fields = {**BLOCKS, "score": "left_to_right", "revision": {"name": "verify"}}
  fields["cache"] = {"name": "dual"}
  wanted = greedy(masked, PROMPTS, 16)
  end = int(wanted[0, 10])  # a draft with it does not end an answer
  ends = np.cumsum(wanted == end, axis=1) - (wanted == end) > 0
  found = trajectories.run(masked, PROMPTS, end_id=end, **fields)
  np.testing.assert_array_equal(found.answers, np.where(ends, end, wanted))
  assert np.all(found.num_evaluations > 1 + 2 * (8 + 1))
  params = jax.tree.map_with_path(
    lambda path, a: a * 0 if path[-1].key == "out" else a, masked.params
  )
  apart = dataclasses.replace(masked, params=params)
  wanted = greedy(apart, PROMPTS, 16)
  assert end not in wanted
  found = trajectories.run(apart, PROMPTS, end_id=end, **fields)
  np.testing.assert_array_equal(found.answers, wanted)
  # The prompts, and in each of two blocks eight of the drafts and one that verifies them.
  assert found.num_evaluations.tolist() == [1 + 2 * (8 + 1)] * 3


def test_verified_draws_do_not_depend_on_the_drafts():
  fields = {"length": 8, "block": 4, "revision": {"name": "verify"}, **WARM}
  one = trajectories.run(model(), PROMPTS, rule={"name": "threshold", "threshold": 0.0}, **fields)
  other = trajectories.run(model(), PROMPTS, cache={"name": "dual"}, **fields)
  np.testing.assert_array_equal(one.answers, other.answers)
  assert np.any(one.num_evaluations < other.num_evaluations)


def test_the_cache_is_written_in_place():
  """The compiled loop copies no array of the size of a layer's keys; only what is before it may."""
  masked = model()
  made = decoders.make(**BLOCKS, rule=THRESHOLD, cache={"name": "dual"})
  run = trajectories.program(made, dataclasses.replace(masked, params=None), END, False)
  inputs = (masked.params, trajectories.ragged(PROMPTS), jax.random.split(jax.random.key(0), 3))
  text = run.lower(*inputs).compile().as_text()
  loops, _, _ = text.partition("ENTRY")
  shape = "9,25,8"  # three rows of three heads, nine tokens of a prompt and sixteen of its answer
  assert f"f32[{shape}]" in loops
  assert not re.findall(rf".*f32\[{shape}\]\S* (?:copy|transpose)\(.*", loops)


def test_a_row_ends_at_its_first_end_token():
  free = trajectories.run(model(), PROMPTS, **BLOCKS)
  # A token that some row writes in its first block, and others do not.
  end = int(free.answers[0, 3])
  stopped = trajectories.run(model(), PROMPTS, end_id=end, **BLOCKS)
  for row, answer in enumerate(free.answers):
    length = int(np.argmax(answer == end)) + 1 if end in answer else 16
    assert stopped.lengths[row] == length
    np.testing.assert_array_equal(stopped.answers[row, :length], answer[:length])
    assert np.all(stopped.answers[row, length:] == end)
  assert stopped.num_evaluations[0] <= 8 < free.num_evaluations[0] == 16


@pytest.mark.parametrize(
  ("fields", "pattern", "message"),
  [
    ({"length": 16, "block": 5}, None, "block of 5 does not fit into an answer of 16"),
    ({"length": 16, "block": 8}, BlockCausal(4), "blocks of 4 tokens, .* blocks of 8"),
    ({"length": 16, "cache": {"name": "block"}}, None, "cache 'block' is of models"),
    ({"length": 16, "cache": {"name": "sub_block"}}, None, "set sub_block, as to 8"),
    (
      {"length": 16, "block": 8, "sub_block": 3},
      None,
      "sub-block of 3 does not fit into a block of 8",
    ),
    ({"length": 16, "doubted": (131,)}, None, r"must lie in 0..130, got 131"),
    ({"length": 16, "first": True}, None, "no output before a block says what it begins with"),
    ({"length": 16, "cache": {"name": "duel"}}, None, "did you mean 'dual'"),
    ({"length": 16, "rule": {"name": "treshold"}}, None, "did you mean 'threshold'"),
    ({"length": 16, "score": "margn"}, None, "did you mean 'margin'"),
  ],
)
def test_what_cannot_be_is_refused(fields, pattern, message):
  masked = model(**({} if pattern is None else {"pattern": pattern}))
  with pytest.raises(UserError, match=message):
    trajectories.run(masked, PROMPTS, **fields)
