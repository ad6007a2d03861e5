"""Every decoder writes what the reference code writes, token for token at every step."""

import dataclasses

import numpy as np
import pytest

from dlm_jax.core.patterns import FULL, BlockCausal
from tests.decoding import trajectories

MASK = {
  "llada": 127,
  "dream": 134,
  "qwen3_sdar": 135,
  "fast_dllm_v2": 131,
  "qwen3_a2d": 124,
  "llada2_moe": 139,
}
# Of the attention, where it is causal over blocks.
BLOCK = {"qwen3_sdar": 4, "fast_dllm_v2": 8, "llada2_moe": 4}
BLOCKS = {"length": 16, "block": 8}
LLADA = {**BLOCKS, "rule": {"name": "top_n", "steps": 4}}
THRESHOLD = {"name": "threshold", "threshold": 0.3, "inclusive": True}
FACTOR = {"name": "factor", "factor": 2.4}
DREAM = {"length": 13, "rule": {"name": "top_n", "steps": 8, "schedule": "linear"}}
FAST_DREAM = {**BLOCKS, "rule": {**THRESHOLD, "threshold": 0.25}, "first": True}
LEAST_OF_STEPS = {"name": "threshold", "steps": 4}
FAST_V2 = {"rule": {"name": "threshold", "threshold": 0.25}, "sub_block": 4, "first": True}
RUNS = {
  ("llada", "blocks"): LLADA,
  ("llada", "oneblock"): {"length": 12, "rule": {"name": "top_n", "steps": 5}},
  ("llada", "cfg"): {**LLADA, "guidance": 1.5},
  ("llada", "logits_eos_inf"): {**LLADA, "suppressed": (129,)},
  ("llada", "confidence_eos_eot_inf"): {**LLADA, "doubted": (129, 130)},
  ("llada", "fast_nocache_threshold"): {**BLOCKS, "rule": THRESHOLD},
  ("llada", "fast_nocache_topn"): LLADA,
  ("llada", "fast_nocache_factor"): {**BLOCKS, "rule": FACTOR},
  ("llada", "fast_prefix_threshold"): {**BLOCKS, "rule": THRESHOLD, "cache": {"name": "prefix"}},
  ("llada", "fast_prefix_topn"): {**LLADA, "cache": {"name": "prefix"}},
  ("llada", "fast_prefix_factor"): {**BLOCKS, "rule": FACTOR, "cache": {"name": "prefix"}},
  ("llada", "fast_dual_threshold"): {**BLOCKS, "rule": THRESHOLD, "cache": {"name": "dual"}},
  ("llada", "fast_dual_topn"): {**LLADA, "cache": {"name": "dual"}},
  ("dream", "maskgit_plus"): DREAM,
  ("dream", "topk_margin"): {**DREAM, "score": "margin"},
  ("dream", "entropy"): {**DREAM, "score": "negative_entropy"},
  ("dream", "fast_prefix_threshold"): {**FAST_DREAM, "cache": {"name": "prefix"}},
  ("dream", "fast_dual_threshold"): {**FAST_DREAM, "cache": {"name": "dual"}},
  ("qwen3_sdar", "static"): {"length": 14, "rule": {"name": "top_n", "schedule": "whole"}},
  ("qwen3_sdar", "static_2steps"): {
    "length": 12,
    "rule": {"name": "top_n", "steps": 2, "schedule": "whole"},
  },
  ("qwen3_sdar", "dynamic"): {"length": 14, "rule": {"name": "threshold", "threshold": 0.25}},
  ("qwen3_sdar", "dynamic_block8"): {
    "length": 19,
    "rule": {"name": "threshold", "threshold": 0.25},
  },
  ("qwen3_sdar", "sequential"): {
    "length": 14,
    "score": "left_to_right",
    "rule": {"name": "top_n", "schedule": "whole"},
  },
  ("fast_dllm_v2", "short_prompt"): {**FAST_V2, "length": 11},
  ("fast_dllm_v2", "long_prompt"): {**FAST_V2, "length": 13},
  ("fast_dllm_v2", "aligned_prompt"): {**FAST_V2, "length": 16},
  ("fast_dllm_v2", "block_cache"): {**FAST_V2, "length": 13, "cache": {"name": "sub_block"}},
  ("llada2_moe", "threshold"): {"length": 14, "rule": {**LEAST_OF_STEPS, "threshold": 0.25}},
  ("llada2_moe", "threshold_2steps"): {
    "length": 12,
    "rule": {**LEAST_OF_STEPS, "threshold": 0.35, "steps": 2},
  },
  ("llada2_moe", "edit"): {
    "length": 14,
    "rule": {"name": "threshold", "threshold": 0.25},
    "revision": {"name": "edit", "threshold": 0.3},
  },
  ("llada2_moe", "edit_bounded"): {
    "length": 18,
    "rule": {"name": "threshold", "threshold": 0.25},
    "revision": {"name": "edit", "threshold": 0.15, "most_after": 2},
  },
}


@pytest.mark.parametrize(("family", "name"), RUNS)
def test_states(family, name):
  arrays, settings = trajectories.reference(family, name)
  fields = RUNS[family, name]
  model = trajectories.model(family, MASK[family])
  if family in BLOCK:
    model = dataclasses.replace(
      model,
      pattern=BlockCausal(
        settings.get("block_length") or settings.get("block_size") or BLOCK[family]
      ),
    )
    fields = {"cache": {"name": "block"}, **fields}
  decoded = trajectories.run(model, arrays["prompt_ids"], watched=True, **fields)
  states, wanted = trajectories.states(decoded), arrays["states"]
  if family == "fast_dllm_v2":
    # The reference writes one more token, the first of the block after the last.
    wanted = wanted[:-1, :, :-1]
  if "edits" in arrays:
    # It has a state for the last evaluation of a block as well, which changes nothing.
    moves = arrays["commits"] + arrays["edits"] > 0
    wanted = wanted[moves.reshape(len(wanted))]
  np.testing.assert_array_equal(trajectories.seen(states, wanted, MASK[family]), wanted)


@pytest.mark.parametrize(("family", "fields"), [("llada", LLADA), ("dream", DREAM)])
def test_a_padded_batch_gives_what_the_reference_gives_each_prompt_alone(family, fields):
  arrays, _ = trajectories.reference(family, "leftpad")
  prompts = [arrays[f"row{row}_prompt_ids"][0] for row in (0, 1)]
  decoded = trajectories.run(trajectories.model(family, MASK[family]), prompts, **fields)
  for row, prompt in enumerate(prompts):
    wanted = arrays[f"row{row}_final"][0]
    np.testing.assert_array_equal(decoded.answers[row], wanted[len(prompt) :])


A2D = {"length": 12, "rule": {"name": "top_n", "schedule": "rounded", "steps": 3}}
A2D_WHOLE = {"length": 12, "block": 6, "rule": {**A2D["rule"], "steps": 4}}


@pytest.mark.parametrize(
  ("name", "fields", "pattern"),
  [
    ("block_ragged", {**A2D, "blocks_from": "answer"}, BlockCausal(4)),
    ("block_ragged", {**A2D, "blocks_from": "answer", "cache": {"name": "block"}}, BlockCausal(4)),
    ("mdlm_ragged", A2D_WHOLE, FULL),
  ],
)
def test_ragged_states(name, fields, pattern):
  """The answers alone: the reference has other room before or behind them."""
  arrays, _ = trajectories.reference("qwen3_a2d", name)
  lengths = arrays["prompt_lengths"]
  prompts = [ids[:n] for ids, n in zip(arrays["prompt_ids"], lengths, strict=True)]
  model = trajectories.model("qwen3_a2d", MASK["qwen3_a2d"], pattern=pattern)
  found = trajectories.states(trajectories.run(model, prompts, watched=True, **fields))
  for row, n in enumerate(lengths):
    begin = -n % 4 if name == "block_ragged" else 0
    theirs = 8 if name == "block_ragged" else n
    states = found[:, row, begin + n : begin + n + 12]
    wanted = arrays["states"][:, row, theirs : theirs + 12]
    np.testing.assert_array_equal(np.where(wanted == -1, MASK["qwen3_a2d"], wanted), states)
