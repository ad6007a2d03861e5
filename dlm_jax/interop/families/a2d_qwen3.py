"""A2D: Qwen3 trained on as a masked model, of whole rows or in blocks, without a label shift.

The Qwen3-0.6B-diffusion-mdlm and -bd3lm of the dLLM project. Nothing in their `config.json` tells
them apart: a model of blocks is one with the field `block_size`, which is added by hand.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class A2dQwen3(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("A2DQwen3LMHeadModel",)
  model_type: ClassVar[str] = "a2d-qwen3"
  network_fields: ClassVar[Fields] = {"qk_norm": True}
  mask_tokens: ClassVar[tuple[str, ...]] = ("<|mask|>",)

  def process(self, config: ConfigFile) -> Fields:
    block_size = config.integer("block_size", 0)
    if block_size:
      return decoder_family.blocks(config, block_size)
    return decoder_family.absorbing(config)


def make() -> A2dQwen3:
  """The family."""
  return A2dQwen3()
