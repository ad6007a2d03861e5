"""What holds of every decoder: rows do not know of each other, and exact caches change nothing."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL, BlockCausal
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.decoding import decoders, input_rows, windows
from dlm_jax.decoding.decoding_loop import DecodingLoop
from dlm_jax.decoding.masked_model import masked_model, missing_id
from dlm_jax.decoding.passes import Passes, passes_of
from dlm_jax.networks import transformer
from dlm_jax.networks.base import Inputs
from dlm_jax.processes import absorbing, uniform
from tests.decoding import trajectories

MASK, END, VOCAB = 127, 129, 131
PROMPTS = [[5, 9, 33, 7, 60, 2, 11, 80, 4], [17, 3, 90, 41, 8], [12, 71, 6]]
BLOCKS = {"length": 16, "block": 8}
THRESHOLD = {"name": "threshold", "threshold": 0.3}
WARM = {"temperature": 0.7, "top_p": 0.95}
CANVAS = {
  "rule": {"name": "entropy_bound", "bound": 8.0},
  "revision": {"name": "canvas", "steps": 6},
  "score": "negative_entropy",
  "score_of_draw": True,
  "temperature": 0.8,
}


def model(shift=0, has_noise=False, **fields):
  """With noise it has no mask."""
  fields["has_noise"] = has_noise
  masked = trajectories.model("llada", VOCAB if has_noise else MASK, **fields)
  network = dataclasses.replace(masked.network, label_shift=bool(shift))
  return dataclasses.replace(masked, network=network)


CAUSAL = {"length": 14, "pattern": BlockCausal(4)}
ROWS = {
  "dual": {**BLOCKS, "rule": THRESHOLD, "cache": {"name": "dual"}, **WARM},
  "soft_guided": {
    **BLOCKS,
    "revision": {"name": "soft"},
    "score": "random",
    "rule": {"name": "top_n", "steps": 3},
    "guidance": 0.5,
    **WARM,
  },
  "remasked": {
    **BLOCKS,
    "rule": {"name": "factor"},
    "cache": {"name": "prefix", "refresh_every": 2},
    "revision": {"name": "remask"},
    "guidance": 0.5,
  },
  "verified": {
    **BLOCKS,
    "shift": 1,
    "cache": {"name": "vicinity", "neighbours": 3, "refresh_every": 2},
    "revision": {"name": "verify"},
    **WARM,
  },
  "block_causal": {**CAUSAL, "blocks_from": "answer", "cache": {"name": "block"}, **WARM},
  "sub_blocks": {
    **CAUSAL,
    "shift": 1,
    "sub_block": 2,
    "first": True,
    "rule": {"name": "threshold", "threshold": 0.1},
    "revision": {"name": "edit", "threshold": 0.05, "most_after": 2},
    "cache": {"name": "sub_block"},
    **WARM,
  },
  "renoise": {
    **BLOCKS,
    "has_noise": True,
    "rule": THRESHOLD,
    "revision": {"name": "renoise"},
    "cache": {"name": "dual"},
  },
  "canvas": {**CAUSAL, "has_noise": True, "cache": {"name": "block"}, **CANVAS},
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_its_prompt_gives_alone(name):
  """For any neighbours, any place in the batch and any room behind the prompt."""
  fields = dict(ROWS[name])
  of_model = ("shift", "has_noise", "pattern")
  masked = model(**{key: fields.pop(key) for key in of_model if key in fields})
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
  if "temperature" in fields or masked.has_noise:
    other = trajectories.run(masked, PROMPTS, keys=keys[order], end_id=END, **fields)
    assert np.any(other.answers != together.answers)


def test_a_cache_that_is_renewed_at_every_step_changes_nothing():
  """In the loop; that its logits are those of a full pass, see `test_caches`."""
  fields = {**BLOCKS, "rule": THRESHOLD}
  plain = trajectories.run(model(), PROMPTS, **fields)
  found = trajectories.run(model(), PROMPTS, cache={"name": "dual", "refresh_every": 1}, **fields)
  np.testing.assert_array_equal(found.answers, plain.answers)
  np.testing.assert_array_equal(found.num_evaluations, plain.num_evaluations)


def test_a_cache_that_is_not_renewed_is_another_decoder():
  fields = {**BLOCKS, "rule": THRESHOLD}
  found = [
    trajectories.run(model(), PROMPTS, cache={"name": "dual", "refresh_every": every}, **fields)
    for every in (0, 1)
  ]
  assert np.any(found[0].answers != found[1].answers)


@pytest.mark.parametrize(
  ("shift", "first", "others"),
  [
    (0, False, WARM),
    (1, False, {"sub_block": 2, "cache": {"name": "sub_block", "refresh_every": 1}}),
    (1, True, {}),
    (0, False, CANVAS),
  ],
)
def test_the_cache_of_blocks_changes_nothing(shift, first, others):
  """Prompts that end within a block, at its end, and in the first one."""
  masked = model(pattern=BlockCausal(4), shift=shift, has_noise="revision" in others)
  prompts = [*PROMPTS, PROMPTS[0][:8]]
  fields = {"length": 11, "rule": THRESHOLD, "first": first, **others}
  cached = trajectories.run(masked, prompts, **{"cache": {"name": "block"}, **fields})
  plain = trajectories.run(masked, prompts, **{**fields, "cache": {"name": "none"}})
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


def test_soft_tokens_of_no_weight_are_masks():
  """Of any other they are not; what is committed or given is seen as it is."""
  fields = {**BLOCKS, "rule": THRESHOLD, "cache": {"name": "dual"}, "guidance": 0.5}
  plain = trajectories.run(model(), PROMPTS, **fields)
  soft, mask = ({"name": "soft", "weight": weight} for weight in (1.0, 0.0))
  found = trajectories.run(model(), PROMPTS, revision=mask, **fields)
  np.testing.assert_array_equal(found.answers, plain.answers)
  np.testing.assert_array_equal(found.num_evaluations, plain.num_evaluations)
  assert np.any(
    trajectories.run(model(), PROMPTS, revision=soft, **fields).answers != plain.answers
  )
  tokens = jnp.array([[5, MASK, 7, MASK, MASK]])
  likely = SoftTokens(jnp.array([[[1, 2], [3, 4]]]), jnp.array([[[0.5, 0.25], [0.125, 0.125]]]))
  seen = input_rows.mixed(tokens, likely, jnp.array([[2, 3]]), MASK)
  np.testing.assert_array_equal(seen.weights[0, :, 0], [1, 1, 1, 0.75, 1])
  assert seen.tokens[0, 3].tolist() == [MASK, 3, 4]


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


def test_the_prefix_cache_evaluates_fewer_positions_once_half_of_the_blocks_are_written():
  masked = model()
  made = decoders.make(**BLOCKS, rule=THRESHOLD, cache={"name": "prefix"})
  run = trajectories.program(made, dataclasses.replace(masked, params=None), END, False)
  inputs = (masked.params, trajectories.ragged(PROMPTS), jax.random.split(jax.random.key(0), 3))
  text = str(jax.make_jaxpr(run)(*inputs))
  # In the layers: all nine tokens of a prompt and sixteen of an answer, then sixteen, then eight.
  for positions in (9 + 16, 16, 8):
    assert f"f32[{3 * positions},{masked.network.hidden_width}]" in text


def test_blocks_that_no_answer_reaches_are_not_evaluated():
  """Prompts that end with a block leave a block less to write than others of their length."""
  masked = model(pattern=BlockCausal(4))
  made = decoders.make(length=8, cache={"name": "block"}, rule={"name": "top_n", "steps": 1})
  where = windows.of(made, masked.pattern, jnp.array([8, 4]), 8)
  keys = jax.random.split(jax.random.key(0), 2)
  loop = DecodingLoop(made, passes_of(masked, made, where), where, keys, None)
  rows = loop.run(loop.begin(jnp.full((2, where.slots), MASK)))
  assert (int(rows.block), where.blocks) == (2, 3)


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
    ({"length": 16, "sub_block": 3}, None, "sub-block of 3 does not fit into a block of 16"),
    ({"length": 16, "doubted": (131,)}, None, r"must lie in 0..130, got 131"),
    ({"length": 16, "first": True}, None, "no output before a block says what it begins with"),
    ({"length": 16, "cache": {"name": "duel"}}, None, "did you mean 'dual'"),
    ({"length": 16, "rule": {"name": "treshold"}}, None, "did you mean 'threshold'"),
    ({"length": 16, "score": "margn"}, None, "did you mean 'margin'"),
    ({"length": 16, "revision": {"name": "renoise"}}, None, "'renoise' puts random tokens where"),
    (
      {"length": 16, "sub_block": 4, "revision": {"name": "canvas"}},
      None,
      "'canvas' judges all positions of a block",
    ),
  ],
)
def test_what_cannot_be_is_refused(fields, pattern, message):
  masked = model(**({} if pattern is None else {"pattern": pattern}))
  with pytest.raises(UserError, match=message):
    trajectories.run(masked, PROMPTS, **fields)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({}, "has no mask, which the revision 'keep' needs: choose 'renoise' or 'canvas'"),
    ({"revision": {"name": "canvas"}, "guidance": 1.0}, "guidance masks the prompt"),
  ],
)
def test_what_a_model_of_random_tokens_cannot_do_is_refused(fields, message):
  with pytest.raises(UserError, match=message):
    trajectories.run(model(has_noise=True), PROMPTS, length=16, **fields)


@pytest.mark.parametrize("fields", [{"revision": {"name": "renoise"}}, CANVAS])
def test_the_network_sees_random_tokens_where_nothing_is_committed(fields):
  """The tokens of the rows say where: they hold the size of the vocabulary there, until the end."""
  masked = model(has_noise=True)
  found = trajectories.run(masked, PROMPTS, length=8, watched=True, **fields)
  assert np.all(found.answers < VOCAB)
  states = trajectories.states(found)
  committed = [np.sum(state[0, 9:17] < VOCAB) for state in states]
  if fields is CANVAS:
    assert committed[-1] == 8 and min(committed) < 8
    # What was accepted may be rejected again.
    taken_back = (states[:-1] < VOCAB) & (states[1:] == VOCAB)
    assert np.any(taken_back) and found.num_evaluations.tolist() == [6, 6, 6]
  else:
    assert committed == list(range(1, 9))
  decoder = decoders.make(length=8, **fields)
  where = windows.of(decoder, FULL, jnp.array([3]), 3)
  passes = passes_of(masked, decoder, where)
  tokens = jnp.full((1, 11), VOCAB).at[0, 5].set(7)
  first, second = (passes.inputs(tokens, jax.random.key(n)[None]).tokens[0] for n in (0, 1))
  assert np.all(first < VOCAB) and first[5] == second[5] == 7 and np.any(first != second)


@pytest.mark.parametrize("process", [absorbing.make, uniform.make])
def test_the_time_is_that_at_which_so_large_a_fraction_is_noise(process):
  """Two of eight tokens of the answer; the prompt takes no part in it."""
  made = process(vocab_size=VOCAB, schedule={"name": "cosine"})
  where = windows.of(decoders.make(length=8), FULL, jnp.array([3]), 5)
  tokens, times = jnp.full((1, 13), missing_id(made)).at[0, 5:11].set(7), []
  for time_input in ("t", "sigma"):
    fields = {"preset": "tiny", "time_conditioned": True, "time_input": time_input}
    masked = masked_model(made, transformer.make(interface=made.interface, **fields), {})
    passes = Passes(model=masked, unstacked=None, windows=where, guidance=0.0)
    times.append(passes.inputs(tokens, jax.random.key(0)[None]).time)
  assert made.noised(times[0])[0] == pytest.approx(0.25)
  np.testing.assert_array_equal(times[1], made.sigma(times[0]))
