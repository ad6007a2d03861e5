"""LLaDA2: a decoder of experts that is masked in blocks, routed as DeepSeek-V3 (Bie et al. 2025).

LLaDA2.0 and LLaDA2.1, -mini and -flash.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_config, decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily
from dlm_jax.interop.decoder_names import DecoderNames

# Its `config.json` says nothing of blocks, unless the field `block_size` is added by hand.
BLOCK_SIZE = 32
# Of training and of generation.
_UNUSED = (
  "embedding_dropout",
  "mtp_loss_scaling_factor",
  "norm_topk_prob",
  "output_dropout",
  "output_router_logits",
  "router_dtype",
)


class Llada2Mixture(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("LLaDA2MoeModelLM",)
  names: ClassVar[DecoderNames] = DecoderNames(
    embedding="model.word_embeddings",
    packed="attention.query_key_value",
    query_norm="attention.query_layernorm",
    key_norm="attention.key_layernorm",
    attention_out="attention.dense",
  )
  mask_tokens: ClassVar[tuple[str, ...]] = ("<|mask|>",)

  def network(self, config: ConfigFile) -> Fields:
    width = config.integer("moe_intermediate_size")
    config.require(
      moe_shared_expert_intermediate_size=width,
      norm_head=False,
      norm_softmax=False,
      num_nextn_predict_layers=0,
      score_function="sigmoid",
      use_bias=False,
      use_qkv_bias=False,
      use_rmsnorm=True,
      using_split_qkv_in_self_attention=False,
    )
    config.ignore(*_UNUSED)
    fields = decoder_config.network(config)
    depth, per_token = config.integer("num_hidden_layers"), config.integer("num_experts_per_tok")
    biased = config.flag("moe_router_enable_expert_bias", False)
    return fields | {
      "qk_norm": config.flag("use_qk_norm", False),
      "rotary_width": _rotary_width(config),
      "experts": config.integer("num_experts"),
      "experts_per_token": per_token,
      "expert_width": width,
      "shared_experts": config.integer("num_shared_experts", 0),
      "dense_layers": min(config.integer("first_k_dense_replace", 0), depth),
      "router_scores": "sigmoid",
      "router_bias": "choice" if biased else "none",
      "router_groups": config.integer("n_group", 1),
      "router_groups_kept": config.integer("topk_group", 1),
      # Weights are divided by their sum wherever there are several, whatever `norm_topk_prob` says.
      "router_renormalized": per_token > 1,
      "router_scale": config.number("routed_scaling_factor", 1.0),
    }

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.blocks(config, config.integer("block_size", BLOCK_SIZE))


def _rotary_width(config: ConfigFile) -> int:
  """How many numbers of a head are rotated, which the file may say in two ways; 0 is all."""
  heads = config.integer("num_attention_heads")
  head_width = config.integer("head_dim", config.integer("hidden_size") // heads)
  part = int(config.number("partial_rotary_factor", 1.0) * head_width)
  return config.integer("rotary_dim", part)


def make() -> Llada2Mixture:
  """The family."""
  return Llada2Mixture()
