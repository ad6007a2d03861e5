"""BD3-LM: masked diffusion block by block (Arriola et al. 2025).

The model of its first stage has one block of the whole length.
"""

import dataclasses
from typing import ClassVar

from dlm_jax.core.types import Fields, Record
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, DitFamily
from dlm_jax.interop.family import Description


class Bd3lm(DitFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("BD3LM",)
  model_type: ClassVar[str] = "bd3lm"
  has_mask: ClassVar[bool] = True
  # BD3-LM, table 4: windows without begin and end symbols, whose first token is given.
  data: ClassVar[Fields] = {"packing": "stream", "scored": "after_first"}

  def describe(self, config: ConfigFile) -> Description:
    config.require(adaln=True, causal=False)
    # How attention is computed, and which times training draws.
    config.ignore("attn_backend", "var_min", "sampling_eps_min", "sampling_eps_max")
    described = super().describe(config)
    if not described.network["time_conditioned"]:
      return described
    network = {**described.network, "clean_time": "noisy"}
    return dataclasses.replace(described, network=network)

  def config(self, description: Description) -> Record:
    process = description.process
    in_blocks = process["name"] == "block"
    return {
      **super().config(description),
      "block_size": process["block_size"] if in_blocks else description.length,
      "cross_attn": in_blocks,
      "adaln": True,
      "causal": False,
      "attn_backend": "sdpa",
    }

  def process(self, config: ConfigFile) -> Fields:
    inner = {"name": "absorbing", "schedule": LOG_LINEAR}
    size = config.integer("block_size")
    if not config.flag("cross_attn", True):
      return inner
    return {"name": "block", "block_size": size, "inner": inner}


def make() -> Bd3lm:
  """The family."""
  return Bd3lm()
