"""The decoders that `transformers` has itself, on weights drawn anew: our logits and theirs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.patterns import Causal
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.interop import hugging_face
from dlm_jax.networks.base import Inputs

VOCAB, ROWS, LENGTH = 61, 2, 14
DECODER = {
  "vocab_size": VOCAB,
  "hidden_size": 48,
  "intermediate_size": 72,
  "num_hidden_layers": 2,
  "num_attention_heads": 6,
  "num_key_value_heads": 2,
  "max_position_embeddings": 32,
  "bos_token_id": 1,
  "eos_token_id": 2,
}
EXPERTS = {
  "moe_intermediate_size": 24,
  "num_experts": 6,
  "num_experts_per_tok": 2,
  "norm_topk_prob": True,
  "mlp_only_layers": [0],
}
# The class of `transformers`, and the fields of its config; of experts, the family is SDAR's.
MODELS = {
  "Llama": DECODER | {"rope_theta": 5e4},
  "Qwen2": DECODER | {"tie_word_embeddings": True, "rms_norm_eps": 1e-6},
  "Qwen3": DECODER | {"head_dim": 12},
  "Qwen3Moe": DECODER | EXPERTS | {"head_dim": 12},
  "GPT2": {
    "vocab_size": VOCAB,
    "n_embd": 48,
    "n_head": 4,
    "n_layer": 2,
    "n_positions": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
  },
}
IN_BLOCKS = {"architectures": ["SDARMoeForCausalLM"], "block_size": 4, "mask_token_id": VOCAB - 1}
FAMILIES = {"Qwen3Moe": IN_BLOCKS}


def drawn(name, directory):
  """A model of `transformers`, all of its parameters random, and written to the directory."""
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  torch.manual_seed(0)
  model = getattr(transformers, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
  model = model(getattr(transformers, f"{name}Config")(**MODELS[name])).eval()
  for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.3)
  model.save_pretrained(str(directory))
  path = directory / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | FAMILIES.get(name, {})))
  return model


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name, tmp_path):
  theirs = drawn(name, tmp_path)
  torch = pytest.importorskip("torch")
  tokens = np.random.default_rng(0).integers(VOCAB, size=(ROWS, LENGTH))
  with torch.no_grad():
    wanted = theirs(torch.from_numpy(tokens)).logits.numpy()
  found = hugging_face.read(str(tmp_path))
  network = found.description.build_network(dtype="float32")
  params = found.params(network, make_mesh({"data": -1}), jnp.dtype("float32"))
  inputs = Inputs(tokens=jnp.asarray(tokens), time=jnp.zeros(ROWS), pattern=Causal(begin=0))
  logits = jax.jit(lambda p: network.head(p, network.hidden(p, inputs)))(params)
  np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
