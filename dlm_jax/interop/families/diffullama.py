"""DiffuLLaMA: LLaMA 2 trained on with full attention, with its label shift (Gong et al. 2024)."""

from collections.abc import Mapping
from typing import ClassVar

from dlm_jax.core.types import Fields, Json
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily
from dlm_jax.interop.decoder_names import DecoderNames


class DiffuLlama(DecoderFamily):
  """See the module."""

  names: ClassVar[DecoderNames] = DecoderNames(
    embedding="embed_tokens", layer="denoise_model.layers.{}", final_norm="denoise_model.norm"
  )
  network_fields: ClassVar[Fields] = {"label_shift": True}
  default_rotary_base: ClassVar[float] = 1e4
  mask_tokens: ClassVar[tuple[str, ...]] = ("[MASK]", "<|mask|>", "<mask>")

  def recognises(self, config: Mapping[str, Json]) -> bool:
    stated = config.get("architectures"), config.get("model_type")
    return stated == (["DiscreteDiffusionModel"], "llama")

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.absorbing(config)


def make() -> DiffuLlama:
  """The family."""
  return DiffuLlama()
