"""SEDD: score entropy under absorbing or uniform noise (Lou et al. 2024).

Its `config.json` is the config of the authors' training, in sections.
"""

from collections.abc import Mapping

from dlm_jax.core.types import Fields, Json, Record
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
# Fields of the network, and what they are called in the file.
SIZES = {
  "width": "hidden_size",
  "heads": "n_heads",
  "depth": "n_blocks",
  "condition_width": "cond_dim",
}


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
      **{ours: model.integer(theirs) for ours, theirs in SIZES.items()},
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

  def config(self, description: Description) -> Record:
    network, process = description.network, description.process
    graph, (_, scaled, _) = next(item for item in GRAPHS.items() if item[1][0] == process["name"])
    return {
      "tokens": description.vocab_size,
      "graph": {"type": graph},
      "noise": _noise(process["schedule"]),
      "model": {
        "type": "ddit",
        "length": description.length,
        **{theirs: network[ours] for ours, theirs in SIZES.items()},
        "scale_by_sigma": scaled,
        "dropout": network["dropout"],
      },
    }

  def name_map(self, network: Network) -> NameMap:
    return dit_names.name_map("")


def _schedule(noise: ConfigFile) -> Fields:
  noise.require(type=("loglinear", "geometric"))
  if noise.text("type") == "loglinear":
    noise.ignore("sigma_min", "sigma_max")
    return LOG_LINEAR
  ends = {name: noise.number(name) for name in ("sigma_min", "sigma_max")}
  return {"name": "geometric", **ends}


def _noise(schedule: object) -> Record:
  """The inverse of `_schedule`."""
  assert isinstance(schedule, Mapping)
  if schedule == LOG_LINEAR:
    return {"type": "loglinear"}
  return {"type": "geometric", **{name: schedule[name] for name in ("sigma_min", "sigma_max")}}


def make() -> Sedd:
  """The family."""
  return Sedd()
