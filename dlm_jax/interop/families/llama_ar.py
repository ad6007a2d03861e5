"""LLaMA as it was trained, autoregressively: a control, and a start (Touvron et al. 2023)."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import decoder_family
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.decoder_family import DecoderFamily


class LlamaAutoregressive(DecoderFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("LlamaForCausalLM",)
  model_type: ClassVar[str] = "llama"
  process_name: ClassVar[str] = "autoregressive"
  default_rotary_base: ClassVar[float] = 1e4  # as of LLaMA 1 and 2

  def process(self, config: ConfigFile) -> Fields:
    return decoder_family.autoregressive(config)


def make() -> LlamaAutoregressive:
  """The family."""
  return LlamaAutoregressive()
