"""MDLM: masked diffusion of the whole row, with or without the time (Sahoo et al. 2024)."""

import dataclasses
from typing import ClassVar

from dlm_jax.core.types import Fields, Record
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, DitFamily
from dlm_jax.interop.family import Description, ModelFacts
from dlm_jax.networks.transformer import Transformer


class Mdlm(DitFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("MDLM",)
  model_type: ClassVar[str] = "mdlm"
  has_mask: ClassVar[bool] = True

  def process(self, config: ConfigFile) -> Fields:
    return {"name": "absorbing", "schedule": LOG_LINEAR}

  def own_config(self, model: ModelFacts) -> Record | None:
    network, process = model.network, model.process
    whole = process.name == "absorbing" and process.block_size is None
    if not whole or not isinstance(network, Transformer):
      return None
    fields = {field.name: vars(network)[field.name] for field in dataclasses.fields(network)}
    description = Description(
      family=self.name,
      vocab_size=model.rows - 1,
      length=model.length,
      network={**fields, "vocab_rows": model.rows},
      process={},
    )
    return {**self.config(description), **model.special}


def make() -> Mdlm:
  """The family."""
  return Mdlm()
