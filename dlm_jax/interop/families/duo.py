"""Duo: uniform diffusion that learns from a Gaussian one (Sahoo et al. 2025)."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, DitFamily


class DuoCheckpoint(DitFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("DUO",)
  model_type: ClassVar[str] = "DUO"

  def process(self, config: ConfigFile) -> Fields:
    config.require(causal=False)
    config.ignore("var_min")  # of training
    return {"name": "duo", "schedule": LOG_LINEAR}


def make() -> DuoCheckpoint:
  """The family."""
  return DuoCheckpoint()
