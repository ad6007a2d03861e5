"""The quickstart as a race: the least bits a character in the same seconds of training.

  python -m experiments.quickstart_race.run --seconds=240 --entries=quickstart,length_256

Each entry is the quickstart's config with some fields changed. Its training step is timed, the
number of steps that fit into the seconds is what its schedules span, and the bound on the
validation split is written to results.json here. `--table` prints what is there, the best first.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax import command_line, experiment
from dlm_jax.core import storage
from dlm_jax.core.errors import require_known
from dlm_jax.core.types import Params
from dlm_jax.data.batches import Batches
from dlm_jax.runs import provenance
from dlm_jax.training.validation import validation
from experiments.quickstart_race.entries import ENTRIES

RESULTS = Path(__file__).parent / "results.json"
# Steps that a step is timed over, after the first, which compiles.
TIMED = 100


@dataclass(frozen=True, kw_only=True)
class RaceSettings:
  """What is raced.

  Attributes:
    entries: names of `entries.ENTRIES`, or `all`.
    seconds: of training, without compilation, for each entry.
    seed: of the runs.
    data: where the corpus is prepared.
    table: only print the table of results.json.
  """

  entries: tuple[str, ...] = ("all",)
  seconds: float = 240.0
  seed: int = 0
  data: str = "data"
  table: bool = False


def config_of(entry: str, settings: RaceSettings) -> ConfigDict:
  """The config of an entry; the number of steps is still the quickstart's."""
  require_known("entry", entry, ENTRIES)
  fields = dict(ENTRIES[entry])
  config = stdlib_docs.get_config(fields.pop("method", "absorbing"))
  config.seed = settings.seed
  config.data.directory = settings.data
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def train(built: experiment.Experiment, steps: int) -> tuple[Params, float]:
  """The averaged weights after so many steps, and the seconds of one after the first."""
  compiled = built.compile_step()
  rows = built.store.rows("train")
  batches = Batches(rows, built.training.batch_size, built.config.seed).iterate()
  with jax.set_mesh(built.mesh):
    state = jax.jit(built.init_state)()
    state, _ = compiled(state, next(batches))
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(steps - 1):
      state, _ = compiled(state, next(batches))
    jax.block_until_ready(state)
  return state.ema, (time.perf_counter() - start) / (steps - 1)


def race(entry: str, settings: RaceSettings) -> tuple[dict[str, Any], str]:
  """One entry: its steps, seconds and bound, and the hash of its data."""
  config = config_of(entry, settings)
  _, seconds = train(experiment.build(config), TIMED + 1)
  config.training.steps = max(int(settings.seconds / seconds), 2)
  built = experiment.build(config)
  params, seconds = train(built, config.training.steps)
  with jax.set_mesh(built.mesh):
    values = validation(built)(params)
  result = {
    "steps": config.training.steps,
    "tokens": config.training.steps * built.training.batch_size * built.length,
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    "seconds": seconds * config.training.steps,
    "bits_per_character": values["validation_bits_per_character"],
    "changed": ENTRIES[entry],
  }
  return result, built.store.hash


def table(results: dict[str, dict[str, Any]]) -> str:
  """Markdown, the best first."""
  lines = [
    "| entry | bits/char | seconds | steps | parameters | changed |",
    "|---|---|---|---|---|---|",
  ]
  for entry, run in sorted(results.items(), key=lambda item: item[1]["bits_per_character"]):
    changed = ", ".join(f"`{name}={value}`" for name, value in run["changed"].items())
    figures = f"{run['bits_per_character']:.3f} | {run['seconds']:.0f} | {run['steps']}"
    lines.append(f"| `{entry}` | {figures} | {run['parameters']:,} | {changed} |")
  return "\n".join(lines)


def recorded() -> dict[str, Any]:
  """What results.json holds now: entries may race at once, each on cores of its own."""
  return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"results": {}}


def main(settings: RaceSettings) -> None:
  if not settings.table:
    for entry in ENTRIES if "all" in settings.entries else settings.entries:
      result, dataset_hash = race(entry, settings)
      result["environment"] = provenance.environment(dataset_hash)
      record = recorded()
      record["results"][entry] = result
      storage.write_json(RESULTS, record)
      print(table({entry: result}).splitlines()[-1], flush=True)
  print(table(recorded()["results"]))


if __name__ == "__main__":
  command_line.run(main, RaceSettings)
