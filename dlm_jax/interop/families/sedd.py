"""SEDD: score entropy under absorbing or uniform noise (Lou et al. 2024).

Its `config.json` is the config of the authors' training, in sections.
"""

from collections.abc import Mapping

from dlm_jax.core.types import Fields, Json
from dlm_jax.interop import dit_names
from dlm_jax.interop.config_file import ConfigFile
from dlm_jax.interop.dit_family import LOG_LINEAR, SIGMA
from dlm_jax.interop.family import CheckpointFamily, Description
from dlm_jax.interop.name_map import NameMap
from dlm_jax.networks.base import Network

SECTIONS = ("model", "graph", "noise")
# By the name of the graph: the process, whether the network's output is scaled by sigma, and
# whether there is a row for the mask.
GRAPHS = {"absorb": ("score_absorbing", True, True), "uniform": ("score_uniform", False, False)}


class Sedd(CheckpointFamily):
  """See the module."""

  def recognises(self, config: Mapping[str, Json]) -> bool:
    return all(isinstance(config.get(section), Mapping) for section in SECTIONS)

  def describe(self, config: ConfigFile) -> Description:
    config.ignore("data", "eval", "hydra", "ngpus", "optim", "sampling", "training")
    model, graph, noise = (config.section(name) for name in SECTIONS)
    graph.ignore("file", "report_all")
    graph.require(type=tuple(GRAPHS))
    process, scaled, has_mask = GRAPHS[graph.text("type")]
    model.require(type="ddit", scale_by_sigma=scaled)
    model.ignore("name")
    tokens = config.integer("tokens")
    network = {
      "width": model.integer("hidden_size"),
      "heads": model.integer("n_heads"),
      "depth": model.integer("n_blocks"),
      "condition_width": model.integer("cond_dim"),
      "vocab_rows": tokens + has_mask,
      "time_conditioned": True,
      "dropout": model.number("dropout"),
    }
    description = Description(
      family=self.name,
      vocab_size=tokens,
      length=model.integer("length"),
      network={"name": "transformer", **network, **SIGMA},
      process={"name": process, "schedule": _schedule(noise)},
      data={"packing": "wrapped"},
    )
    for section in (model, graph, noise):
      section.finish()
    return description

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("")


def _schedule(noise: ConfigFile) -> Fields:
  noise.require(type=("loglinear", "geometric"))
  if noise.text("type") == "loglinear":
    noise.ignore("sigma_min", "sigma_max")
    return LOG_LINEAR
  ends = {name: noise.number(name) for name in ("sigma_min", "sigma_max")}
  return {"name": "geometric", **ends}


def make() -> Sedd:
  """The family."""
  return Sedd()
