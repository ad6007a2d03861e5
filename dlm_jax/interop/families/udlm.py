"""UDLM: uniform diffusion (Schiff et al. 2024); without labels."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, DitFamily


class Udlm(DitFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("UDLM",)
  model_type: ClassVar[str] = "udlm"
  # Of LM1B: a sentence a row, the rest of which is noised like text.
  data: ClassVar[Fields] = {"packing": "wrapped_padded", "padding": "noised_unscored"}

  def process(self, config: ConfigFile) -> Fields:
    config.require(cfg=False)
    config.ignore("cfg_num_classes")
    return {"name": "uniform", "schedule": LOG_LINEAR}


def make() -> Udlm:
  """The family."""
  return Udlm()
