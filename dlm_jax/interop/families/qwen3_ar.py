"""Qwen3 as it was trained, autoregressively: a control, and a start."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class Qwen3Autoregressive(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("Qwen3ForCausalLM",)
  model_type: ClassVar[str] = "qwen3"
  process_name: ClassVar[str] = "autoregressive"
  network_fields: ClassVar[Fields] = {"qk_norm": True}

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.autoregressive(config)


def make() -> Qwen3Autoregressive:
  """The family."""
  return Qwen3Autoregressive()
