"""Families that are a DiT under the names of SEDD: MDLM, BD3-LM, UDLM, Duo."""

from typing import ClassVar

from dlm_jax.core.types import Fields, Record
from dlm_jax.interop import dit_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network

# The noise of all of them, which ends at 1e-3 of the signal.
LOG_LINEAR: Fields = {"name": "log_linear", "epsilon": 1e-3}
# What the network is given as the time is -log alpha.
SIGMA: Fields = {"time_input": "sigma", "time_scale": 1.0}
# Fields of the network, and what they are called in the file.
SIZES = {
  "width": "hidden_dim",
  "heads": "n_heads",
  "depth": "n_blocks",
  "condition_width": "cond_dim",
  "vocab_rows": "vocab_size",
}


class DitFamily(CheckpointFamily):
  """A DiT in the form that is published for `transformers`, and what its outputs mean.

  Its file has the network under `backbone.`; one without is the authors' own, and no model of
  `transformers`.

  Attributes:
    has_mask: whether the last row of the vocabulary is the mask, which is no token of a text.
    model_type: what stands under this name in the file.
    data: see `Description`.
  """

  has_mask: ClassVar[bool] = False
  model_type: ClassVar[str]
  data: ClassVar[Fields] = {"packing": "wrapped"}

  def process(self, config: ConfigFile) -> Fields:
    """The process of the family, as a config of ours has it."""
    raise NotImplementedError

  def describe(self, config: ConfigFile) -> Description:
    sizes = {ours: config.integer(theirs) for ours, theirs in SIZES.items()}
    timed = config.flag("time_conditioning")
    network = {"time_conditioned": timed, "dropout": config.number("dropout")}
    return Description(
      family=self.name,
      vocab_size=sizes["vocab_rows"] - self.has_mask,
      length=config.integer("model_length"),
      network={"name": "transformer", **sizes, **network, **(SIGMA if timed else {})},
      process=self.process(config),
      data=self.data,
    )

  def config(self, description: Description) -> Record:
    network = description.network
    return {
      "architectures": [*self.architectures],
      "model_type": self.model_type,
      "model_length": description.length,
      **{theirs: network[ours] for ours, theirs in SIZES.items()},
      "time_conditioning": network["time_conditioned"],
      "dropout": network["dropout"],
      "return_dict": False,
      "torch_dtype": "float32",
    }

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("backbone.")
