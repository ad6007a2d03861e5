"""GIDD: masks, and random tokens in the middle of the time (von Rutte et al. 2025): the DiT."""

from typing import ClassVar

from dlm_jax.core.types import Record
from dlm_jax.interop import dit_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network

# Fields of the network, and what they are called in the file.
SIZES = {
  "width": "hidden_size",
  "heads": "num_attention_heads",
  "depth": "num_hidden_layers",
  "condition_width": "timestep_cond_dim",
  "vocab_rows": "vocab_size",
}


class GiddCheckpoint(CheckpointFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("DIT",)

  def describe(self, config: ConfigFile) -> Description:
    config.ignore("t_eps")  # how near to its ends training draws the time
    sizes = {ours: config.integer(theirs) for ours, theirs in SIZES.items()}
    network = {"time_conditioned": True, "time_scale": 1.0, "dropout": 0.0}
    return Description(
      family=self.name,
      vocab_size=sizes["vocab_rows"] - 1,  # the last row is the mask
      length=config.integer("max_seq_len"),
      network={"name": "transformer", **sizes, **network},
      process={"name": "gidd", "p_u": config.number("p_uniform")},
      data={"packing": "cropped", "padding": "scored"},
    )

  def config(self, description: Description) -> Record:
    return {
      "architectures": [*self.architectures],
      "model_type": "dit",
      "max_seq_len": description.length,
      **{theirs: description.network[ours] for ours, theirs in SIZES.items()},
      "p_uniform": description.process["p_u"],
      "torch_dtype": "float32",
    }

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("")


def make() -> GiddCheckpoint:
  """The family."""
  return GiddCheckpoint()
