"""LLaDA-MoE: a decoder of experts with full attention in the layout of OLMoE (Zhu et al. 2025).

LLaDA-MoE-7B-A1B-Base and -Instruct.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_config, decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily
from dlm_jax.interop.decoder_names import DecoderNames


class LladaMixture(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("LLaDAMoEModelLM", "LLaDAMoEModel")
  names: ClassVar[DecoderNames] = DecoderNames(router_bias="mlp.expert_bias")
  mask_tokens: ClassVar[tuple[str, ...]] = ("<|mask|>",)

  def network(self, config: ConfigFile) -> Fields:
    config.require(
      moe_router_score_function="softmax",
      partial_rotary_factor=1,
      routed_scaling_factor=1,
      router_num_group=1,
      shared_expert_intermediate_size=0,
    )
    # The weights of experts are never divided by their sum, whatever the second field says.
    config.ignore("router_topk_group", "norm_topk_prob")
    config.ignore("output_router_logits", "router_aux_loss_coef")
    fields = decoder_config.network(config, feedforward_width="dense_intermediate_size")
    layers = config.integer("num_hidden_layers")
    with_experts = config.integers("moe_layer_freq", (1,) * layers)
    biased = config.flag("moe_router_enable_expert_bias", False)
    return fields | {
      "qk_norm": config.flag("qk_layernorm", False),
      "qkv_clip": config.number("clip_qkv", 0.0),
      "experts": config.integer("num_experts"),
      "experts_per_token": config.integer("num_experts_per_tok"),
      "expert_width": config.integer("expert_intermediate_size"),
      "dense_layers": decoder_config.dense_layers(config, [not layer for layer in with_experts]),
      "router_renormalized": False,
      "router_bias": "weights" if biased else "none",
    }

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.absorbing(config)


def make() -> LladaMixture:
  """The family."""
  return LladaMixture()
