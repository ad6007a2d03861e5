"""GIDD: masks, and random tokens in the middle of the time (von Rutte et al. 2025): the DiT."""

from typing import ClassVar

from dlm_jax.interop import dit_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network


class GiddCheckpoint(CheckpointFamily):
  """See the module."""

  architectures: ClassVar[tuple[str, ...]] = ("DIT",)

  def describe(self, config: ConfigFile) -> Description:
    config.ignore("t_eps")  # how near to its ends training draws the time
    rows = config.integer("vocab_size")
    network = {
      "name": "transformer",
      "width": config.integer("hidden_size"),
      "heads": config.integer("num_attention_heads"),
      "depth": config.integer("num_hidden_layers"),
      "condition_width": config.integer("timestep_cond_dim"),
      "vocab_rows": rows,
      "time_conditioned": True,
      "time_scale": 1.0,
      "dropout": 0.0,
    }
    return Description(
      family=self.name,
      vocab_size=rows - 1,  # the last row is the mask
      length=config.integer("max_seq_len"),
      network=network,
      process={"name": "gidd", "p_u": config.number("p_uniform")},
      data={"packing": "cropped", "padding": "scored"},
    )

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("")


def make() -> GiddCheckpoint:
  """The family."""
  return GiddCheckpoint()
