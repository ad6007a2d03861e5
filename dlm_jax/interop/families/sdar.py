"""SDAR: Qwen3 trained on in blocks, without a label shift (Cheng et al. 2025).

SDAR-Chat, TraDo, DiRL.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class Sdar(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("SDARForCausalLM",)
  model_type: ClassVar[str] = "sdar"
  in_blocks: ClassVar[bool] = True
  network_fields: ClassVar[Fields] = {"qk_norm": True}
  mask_tokens: ClassVar[tuple[str, ...]] = (
    "<|MASK|>",
    "<|mask|>",
  )

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.blocks(config, config.integer("block_size"))


def make() -> Sdar:
  """The family."""
  return Sdar()
