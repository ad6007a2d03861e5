"""From what any cache keeps, a step has the logits that it has without one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.patterns import FULL, BlockCausal
from dlm_jax.decoding import caches, decoders, windows
from dlm_jax.decoding.decoding_loop import DecodingLoop
from dlm_jax.decoding.passes import passes_of
from tests.decoding import trajectories

MASK = 127
PROMPTS = [[5, 9, 33, 7, 60, 2, 11, 80, 4], [17, 3, 90, 41, 8], [12, 71, 6]]


def half_written(length, seed=1):
  """Rows with answers of which about half is masked, and no token of the prompts."""
  tokens, lengths = map(np.array, trajectories.ragged(PROMPTS))
  rng = np.random.default_rng(seed)
  answers = rng.integers(0, 100, (len(tokens), length))
  answers = np.where(rng.random(answers.shape) < 0.5, MASK, answers)
  rows = np.concatenate([tokens, np.full_like(answers, MASK)], axis=1)
  np.put_along_axis(rows, lengths[:, None] + np.arange(length), answers, axis=1)
  return jnp.asarray(rows), jnp.asarray(lengths)


# By the order: the shift of the outputs, which position sees which, the decoder, its caches.
NEAR = ("prefix", "dual", "vicinity")
ORDERS = {
  "whole": (0, FULL, {}, NEAR),
  "blocks": (1, FULL, {"block": 4}, NEAR),
  "sub_blocks": (0, FULL, {"block": 4, "sub_block": 2}, NEAR),
  "causal": (1, BlockCausal(4), {"sub_block": 2}, (*NEAR, "block", "sub_block")),
  "causal_from_answer": (
    0,
    BlockCausal(4),
    {"blocks_from": "answer", "guidance": 0.5},
    (*NEAR, "block"),
  ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_from_a_fresh_cache_a_step_has_the_logits_of_a_full_pass(order):
  """In each block, for every cache that the order can have, one after another in one program."""
  shift, pattern, fields, names = ORDERS[order]
  masked = trajectories.model("llada", MASK, pattern=pattern)
  network = dataclasses.replace(masked.network, label_shift=bool(shift))
  masked = dataclasses.replace(masked, network=network)
  tokens, lengths = half_written(8)
  keys = jax.random.split(jax.random.key(0), len(tokens))

  def logits(name, params, block):
    """Of the sub-block at hand: from the cache of `name`, and of all positions at once."""
    cache = {"name": name, "neighbours": 3}
    made = decoders.make(length=8, cache=cache, **fields)
    where = windows.of(made, pattern, lengths, tokens.shape[1] - 8)
    bound = dataclasses.replace(masked, params=params)
    loop = DecodingLoop(made, passes_of(bound, made, where), where, keys, None)
    slots = jnp.arange(where.slots) - where.begins[:, None]
    canvas = jnp.take_along_axis(tokens, jnp.clip(slots, 0, tokens.shape[1] - 1), axis=1)
    rows = dataclasses.replace(loop.begin(canvas), block=block)
    if name in ("block", "sub_block"):
      for before in range(where.blocks):
        rows = loop.enter(dataclasses.replace(rows, block=jnp.minimum(before, block)))
    else:
      rows = loop.enter(rows)
      filled = rows
      if pattern != FULL:  # what is kept of the block at hand, and of those after it, is of no use
        before = jnp.arange(where.slots) < where.starts(block)[:, None]
        filled = dataclasses.replace(rows, tokens=jnp.where(before, canvas, MASK))
      rows = dataclasses.replace(rows, cache=loop.read_all(filled)[0].cache)
    every = dataclasses.replace(made, cache=caches.make())
    stacked = dataclasses.replace(passes_of(bound, every, where), unstacked=None)
    full = DecodingLoop(every, stacked, where, keys, None)
    wanted = full.read_all(dataclasses.replace(rows, cache=None))[1]
    found = [loop.read_near(rows)[1]]
    if name == "sub_block":
      first, parts = loop.read_parts(rows)
      step = dataclasses.replace(rows.progress, step=rows.progress.step + 1)
      found += [parts, loop.read_parts(dataclasses.replace(first, progress=step))[1]]
    told = full.passes.logits
    return [told(hidden) for hidden in found], told(wanted), rows.active

  @jax.jit
  def run(params, block):
    return {name: logits(name, params, block) for name in names}

  size = 4 if order != "whole" else 8
  for block in range(8 // size):
    for name, (found, wanted, active) in run(masked.params, jnp.int32(block)).items():
      there = np.broadcast_to(np.asarray(active)[..., None], wanted.shape)
      assert np.any(there)
      for each in found:
        np.testing.assert_allclose(each[there], wanted[there], atol=1e-5, err_msg=name)
