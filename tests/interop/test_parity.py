"""The logits of each family against its fixture: rows, padded rows, positions, two streams."""

import numpy as np
import pytest

from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal
from tests.interop import parity

CAUSAL = Causal(begin=0)
# Of each fixture: the pattern under which the reference made an array of logits, and its inputs.
CASES = {
  "llada": {
    "logits": ("input_ids", FULL),
    "leftpad_logits": ("leftpad_input_ids", FULL),
    "rightpad_logits": ("rightpad_input_ids", FULL),
  },
  "dream": {
    "logits": ("input_ids", FULL),
    "leftpad_logits": ("leftpad_input_ids", FULL),
  },
  "qwen3_sdar": {
    "block_causal_logits": ("input_ids", BlockCausal(4)),
    "full_logits": ("input_ids", FULL),
    "causal_logits": ("clean_input_ids", CAUSAL),
    "train_logits": ("train_input_ids", Blocks(4)),
  },
  "qwen3_a2d": {
    "logits": ("input_ids", FULL),
    "block4_causal_logits": ("input_ids", BlockCausal(4)),
    "causal_logits": ("clean_input_ids", CAUSAL),
    "leftpad_positions_logits": ("leftpad_input_ids", FULL),
    "rightpad_logits": ("rightpad_input_ids", FULL),
  },
  "fast_dllm_v2": {
    "logits": ("input_ids", BlockCausal(8)),
    "train_logits": ("train_input_ids", Blocks(8)),
  },
  "qwen3_moe_sdar": {
    "block_causal_logits": ("input_ids", BlockCausal(4)),
    "causal_logits": ("clean_input_ids", CAUSAL),
  },
  "llada_moe": {
    "logits": ("input_ids", FULL),
    "leftpad_logits": ("leftpad_input_ids", FULL),
  },
  "llada_moe_options": {
    "logits": ("input_ids", FULL),
    "leftpad_logits": ("leftpad_input_ids", FULL),
  },
  "llada2_moe": {
    "logits": ("input_ids", BlockCausal(4)),
    "full_logits": ("input_ids", FULL),
    "train_logits": ("train_input_ids", Blocks(4)),
  },
  "ar_qwen2": {
    "causal_logits": ("input_ids", CAUSAL),
    "leftpad_causal_logits": ("leftpad_input_ids", CAUSAL),
  },
  "ar_gpt2": {
    "causal_logits": ("input_ids", CAUSAL),
    "leftpad_causal_logits": ("leftpad_input_ids", CAUSAL),
  },
  "diffugpt": {"logits": ("input_ids", FULL)},
}


@pytest.mark.parametrize(
  "name", [pytest.param(name, marks=pytest.mark.opens("parity", name)) for name in CASES]
)
def test_logits(name):
  arrays = parity.expected(name)
  for wanted, (inputs, pattern) in CASES[name].items():
    tokens, fields = arrays[inputs], {}
    if isinstance(pattern, Blocks):
      tokens, fields["clean"] = np.split(tokens, 2, axis=1)
    side = inputs.removesuffix("_input_ids")
    valid = arrays.get(f"{side}_attention_mask")
    if valid is not None:
      fields = {"valid": valid.astype(bool), "positions": arrays.get(f"{side}_position_ids")}
    parity.assert_close(parity.logits(name, tokens, pattern, **fields), arrays[wanted], valid)
