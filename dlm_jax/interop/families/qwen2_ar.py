"""Qwen2 and Qwen2.5 as they were trained, autoregressively: a control, and a start."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class Qwen2Autoregressive(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("Qwen2ForCausalLM",)
  model_type: ClassVar[str] = "qwen2"
  process_name: ClassVar[str] = "autoregressive"
  network_fields: ClassVar[Fields] = {"qkv_bias": True}

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.autoregressive(config)


def make() -> Qwen2Autoregressive:
  """The family."""
  return Qwen2Autoregressive()
