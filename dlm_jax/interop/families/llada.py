"""LLaDA: a LLaMA decoder with full attention under names of its own (Nie et al. 2025).

LLaDA-8B-Base and -Instruct, LLaDA-1.5, iLLaDA, and what is fine-tuned from them.
"""

from typing import ClassVar

from dlm_jax.core.types import Record
from dlm_jax.interop import decoder_names, family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_names import DecoderNames
from dlm_jax.interop.family import CheckpointFamily, Description, ModelFacts
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network
from dlm_jax.networks.llama import Llama

NAMES = DecoderNames(
  embedding="model.transformer.wte",
  layer="model.transformer.blocks.{}",
  attention_norm="attn_norm",
  query="q_proj",
  key="k_proj",
  value="v_proj",
  attention_out="attn_out",
  feedforward_norm="ff_norm",
  gate="ff_proj",
  up="up_proj",
  down="ff_out",
  final_norm="model.transformer.ln_f",
  head="model.transformer.ff_out",
)
# What a forward pass does not depend on.
_UNUSED = (
  "alibi_bias_max",
  "attention_layer_norm_with_affine",
  "embedding_dropout",
  "flash_attention",
  "init_cutoff_factor",
  "init_device",
  "init_fn",
  "init_std",
  "layer_norm_with_affine",
  "mask_token_id",
  "precision",
  "residual_dropout",
  "vocab_size",
)


class Llada(CheckpointFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("LLaDAModelLM",)

  def describe(self, config: ConfigFile) -> Description:
    config.require(
      activation_type="silu",
      alibi=False,
      attention_layer_norm=False,
      bias_for_layer_norm=False,
      block_group_size=1,
      block_type="llama",
      include_bias=False,
      input_emb_norm=False,
      layer_norm_type="rms",
      multi_query_attention=False,
      rope=True,
      rope_full_precision=True,
      scale_logits=False,
    )
    config.ignore(*_UNUSED)
    width, heads = config.integer("d_model"), config.integer("n_heads")
    inner = config.integer("mlp_ratio", 4) * width
    network = {
      "name": "llama",
      "width": width,
      "heads": heads,
      "kv_heads": config.integer("n_kv_heads", heads),
      "depth": config.integer("n_layers"),
      "feedforward_width": config.integer("mlp_hidden_size", inner),
      "rotary_base": config.number("rope_theta", 1e4),
      "epsilon": config.number("rms_norm_eps", 1e-5),
      "qkv_bias": config.flag("include_qkv_bias", False),
      "tied_head": config.flag("weight_tying"),
    }
    return Description(
      family=self.name,
      vocab_size=config.integer("embedding_size", config.integer("vocab_size")),
      length=config.integer("max_sequence_length"),
      network=network,
      process={"name": "absorbing", "mask_id": config.mask_id()},
      scored_as=family.COUNTED,
    )

  def own_config(self, model: ModelFacts) -> Record | None:
    network = model.network
    process = model.process
    whole = process.name == "absorbing" and process.block_size is None
    if not whole or not isinstance(network, Llama):
      return None
    return {
      "architectures": [self.architectures[0]],
      "model_type": "llada",
      "activation_type": "silu",
      "block_type": "llama",
      "d_model": network.width,
      "embedding_size": model.rows,
      "include_bias": False,
      "include_qkv_bias": network.qkv_bias,
      "layer_norm_type": "rms",
      "mask_token_id": process.mask_id,
      "max_sequence_length": model.length,
      "mlp_hidden_size": network.hidden_width,
      "n_heads": network.heads,
      "n_kv_heads": network.key_heads,
      "n_layers": network.depth,
      "rms_norm_eps": network.epsilon,
      "rope": True,
      "rope_full_precision": True,
      "rope_theta": network.rotary_base,
      "vocab_size": model.rows,
      "weight_tying": model.tied_head,
      **model.special,
    }

  def name_map(self, network: Network) -> NameMap:
    assert isinstance(network, Llama)
    return decoder_names.name_map(network, NAMES)


def make() -> Llada:
  """The family."""
  return Llada()
