"""Families that are a DiT under the names of SEDD: MDLM, BD3-LM, UDLM, Duo."""

from typing import ClassVar

from dlm_jax.core.types import Fields
from dlm_jax.interop import dit_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network

# The noise of all of them, which ends at 1e-3 of the signal.
LOG_LINEAR: Fields = {"name": "log_linear", "epsilon": 1e-3}
# What the network is given as the time is -log alpha.
SIGMA: Fields = {"time_input": "sigma", "time_scale": 1.0}


class DitFamily(CheckpointFamily):
  """A DiT in the form that is published for `transformers`, and what its outputs mean.

  Its file has the network under `backbone.`; one without is the authors' own, and no model of
  `transformers`.

  Attributes:
    has_mask: whether the last row of the vocabulary is the mask, which is no token of a text.
    data: see `Description`.
  """

  has_mask: ClassVar[bool] = False
  data: ClassVar[Fields] = {"packing": "wrapped"}

  def process(self, config: ConfigFile) -> Fields:
    """The process of the family, as a config of ours has it."""
    raise NotImplementedError

  def describe(self, config: ConfigFile) -> Description:
    rows = config.integer("vocab_size")
    sizes = {
      "width": config.integer("hidden_dim"),
      "heads": config.integer("n_heads"),
      "depth": config.integer("n_blocks"),
      "condition_width": config.integer("cond_dim"),
      "vocab_rows": rows,
      "time_conditioned": config.flag("time_conditioning"),
      "dropout": config.number("dropout"),
    }
    return Description(
      family=self.name,
      vocab_size=rows - self.has_mask,
      length=config.integer("model_length"),
      network={"name": "transformer", **sizes, **SIGMA},
      process=self.process(config),
      data=self.data,
    )

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("backbone.")
