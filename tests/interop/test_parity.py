"""The logits of each family against its fixture: rows, padded rows, positions, two streams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal
from dlm_jax.interop import opening
from dlm_jax.networks import experts
from dlm_jax.networks.base import Inputs
from tests.interop import checkpoints, parity

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
  "ar_llama": {
    "causal_logits": ("input_ids", CAUSAL),
    "leftpad_causal_logits": ("leftpad_input_ids", CAUSAL),
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


@pytest.mark.opens("parity", "{name}")
@pytest.mark.parametrize("name", CASES)
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


def test_tokens_are_sent_to_the_experts_that_the_reference_sends_them_to(monkeypatch):
  arrays, (_, network, params) = parity.expected("llada2_moe"), parity.opened("llada2_moe")
  tokens, routed, plain = arrays["input_ids"], [], experts.route
  (rows, length), slots = tokens.shape, np.arange(tokens.shape[1])

  def route(*arguments):
    routed.append(plain(*arguments))
    return routed[-1]

  def run(params):
    # The layers of a cache are not scanned, so that what each one did can be returned.
    inputs, cache = Inputs(tokens=tokens, time=np.zeros(rows)), network.empty_cache(rows, length)
    mask = slots <= BlockCausal(4).last_seen(slots)[:, None]
    network.extend(network.unstacked(params), inputs, cache, np.int32(0), mask)
    return routed

  monkeypatch.setattr(experts, "route", route)
  for layer, (weights, chosen) in enumerate(jax.jit(run)(params)):
    chosen, weights = by_expert(chosen, weights)
    theirs = by_expert(arrays["router_topk_idx"][layer], arrays["router_topk_weight"][layer])
    np.testing.assert_array_equal(chosen, theirs[0])
    np.testing.assert_allclose(weights, theirs[1], rtol=0, atol=1e-6)


def by_expert(chosen, weights):
  """Both in the order of the numbers of the experts."""
  order = np.argsort(chosen, axis=-1)
  return tuple(np.take_along_axis(np.asarray(a), order, -1) for a in (chosen, weights))


@pytest.mark.opens("parity", "qwen3_ar")
def test_the_tensors_of_sdar_are_those_of_qwen3(tmp_path):
  """The reference made the causal logits of this fixture with Qwen3 itself."""
  model = opening.load(str(checkpoints.copy("qwen3_ar", tmp_path)))
  assert model.provenance.config["family"] == "qwen3_ar"
  assert model.process.pattern.begin == 133  # its begin symbol
  arrays = parity.expected("qwen3_sdar")
  tokens, wanted = arrays["clean_input_ids"], arrays["causal_logits"]
  inputs = Inputs(tokens=tokens, time=jnp.zeros(len(tokens)), pattern=CAUSAL)
  network, params = model.network, model.params
  found = np.asarray(network.head(params, network.hidden(params, inputs)))
  parity.assert_close(found, wanted)
  # A position reads the token before it; the first one reads the begin symbol.
  shifted = np.asarray(model.denoiser()(tokens, jnp.zeros(len(tokens))))
  moved = np.concatenate([np.full((2, 1), 133), tokens[:, :-1]], axis=1)
  read = network.hidden(params, dataclasses.replace(inputs, tokens=moved))
  parity.assert_close(shifted, np.asarray(network.head(params, read)))
