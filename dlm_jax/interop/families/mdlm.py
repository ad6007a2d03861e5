"""MDLM: masked diffusion of the whole row, with or without the time (Sahoo et al. 2024)."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, DitFamily


class Mdlm(DitFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("MDLM",)
  model_type: ClassVar[str] = "mdlm"
  has_mask: ClassVar[bool] = True

  def process(self, config: ConfigFile) -> Fields:
    return {"name": "absorbing", "schedule": LOG_LINEAR}


def make() -> Mdlm:
  """The family."""
  return Mdlm()
