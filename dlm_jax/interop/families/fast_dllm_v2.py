"""Fast-dLLM v2: Qwen2.5 trained on in blocks, with its label shift (Wu et al. 2025)."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class FastDllmV2(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("Fast_dLLM_QwenForCausalLM",)
  network_fields: ClassVar[Fields] = {"qkv_bias": True, "label_shift": True}
  mask_tokens: ClassVar[tuple[str, ...]] = (
    "|<MASK>|",
    "<|MASK|>",
    "<|mask|>",
  )

  def process(self, config: ConfigFile) -> Fields:
    # Both spellings are of training alone.
    config.ignore("conplemenrary_mask", "complementary_mask")
    return decoder_family.blocks(config, config.integer("bd_size"))


def make() -> FastDllmV2:
  """The family."""
  return FastDllmV2()
