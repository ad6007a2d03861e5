"""Every decoder writes what the reference code writes, token for token at every step."""

import numpy as np
import pytest

from tests.decoding import trajectories

MASK = {"llada": 127}
BLOCKS = {"length": 16, "block": 8}
LLADA = {**BLOCKS, "rule": {"name": "top_n", "steps": 4}}
THRESHOLD = {"name": "threshold", "threshold": 0.3, "inclusive": True}
FACTOR = {"name": "factor", "factor": 2.4}
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
}


@pytest.mark.parametrize(("family", "name"), RUNS)
def test_states(family, name):
  arrays, _ = trajectories.reference(family, name)
  model = trajectories.model(family, MASK[family])
  decoded = trajectories.run(model, arrays["prompt_ids"], **RUNS[family, name])
  np.testing.assert_array_equal(trajectories.states(decoded), arrays["states"])


@pytest.mark.parametrize(("family", "fields"), [("llada", LLADA)])
def test_a_padded_batch_gives_what_the_reference_gives_each_prompt_alone(family, fields):
  arrays, _ = trajectories.reference(family, "leftpad")
  prompts = [arrays[f"row{row}_prompt_ids"][0] for row in (0, 1)]
  decoded = trajectories.run(trajectories.model(family, MASK[family]), prompts, **fields)
  for row, prompt in enumerate(prompts):
    wanted = arrays[f"row{row}_final"][0]
    np.testing.assert_array_equal(decoded.tokens[row, : len(wanted)], wanted)
    np.testing.assert_array_equal(decoded.answers[row], wanted[len(prompt) :])
