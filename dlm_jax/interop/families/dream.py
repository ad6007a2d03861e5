"""Dream: Qwen2.5 trained on with full attention, with its label shift (Ye et al. 2025).

Dream-v0-Base and -Instruct, Dream-Coder, DiffuCoder.
"""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class DreamCheckpoint(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("DreamModel",)
  model_type: ClassVar[str] = "Dream"
  network_fields: ClassVar[Fields] = {"qkv_bias": True, "label_shift": True}
  mask_tokens: ClassVar[tuple[str, ...]] = ("<|mask|>",)

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.absorbing(config)


def make() -> DreamCheckpoint:
  """The family."""
  return DreamCheckpoint()
