"""SDAR of experts: Qwen3-MoE trained on in blocks, without a label shift (Cheng et al. 2025).

SDAR-30B-A3B-Chat.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_config
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.families.sdar import Sdar


class SdarMixture(Sdar):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("SDARMoeForCausalLM",)
  model_type: ClassVar[str] = ""

  def network(self, config: ConfigFile) -> Fields:
    config.require(decoder_sparse_step=1)
    config.ignore("output_router_logits", "router_aux_loss_coef")
    fields = super().network(config)
    plain = config.integers("mlp_only_layers", ())
    dense = [layer in plain for layer in range(config.integer("num_hidden_layers"))]
    return {
      **fields,
      "experts": config.integer("num_experts"),
      "experts_per_token": config.integer("num_experts_per_tok"),
      "expert_width": config.integer("moe_intermediate_size"),
      "router_renormalized": config.flag("norm_topk_prob"),
      "dense_layers": decoder_config.dense_layers(config, dense),
    }


def make() -> SdarMixture:
  """The family."""
  return SdarMixture()
