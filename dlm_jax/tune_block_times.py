"""Proposes the interval of times that block diffusion trains on, `process.clip`.

  python -m dlm_jax.tune_block_times --workdir=W [--batches=100]

Extreme times add variance to the gradient and teach little (BD3-LM, Arriola et al. 2025, section
5.2). The command prints the variance of the loss of a training batch under each interval of a grid,
at the weights of the run W, names that with the smallest and writes all to W/clip-step*.json.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.evaluation import block_times
from dlm_jax.processes.block import Block
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs


@dataclass(frozen=True)
class Settings:
  """What is searched, and how.

  Attributes:
    workdir: of the run.
    batches: of the run's training batch size, drawn from `split`; every interval sees the same.
    split: of its data.
    weights: `ema` or `raw`.
    step: which checkpoint; None is the newest.
    seed: of rows, times and noise.
  """

  workdir: str
  batches: int = 100
  split: str = "validation"
  weights: str = "ema"
  step: int | None = None
  seed: int = 0


def search(settings: Settings) -> dict[str, Any]:
  """Searches and returns the record written to `<workdir>/clip-step*.json`.

  Raises:
    UserError: the run is not one of block diffusion, or there are fewer than two batches.
  """
  if settings.batches < 2:
    raise UserError(f"--batches must be at least 2 for a variance, got {settings.batches}.")
  restored = experiments.restore(settings.workdir, step=settings.step, weights=settings.weights)
  experiment = restored.experiment
  if not isinstance(experiment.process, Block):
    raise UserError(
      f"the run in {settings.workdir} is of {type(experiment.process).__name__}: only block "
      "diffusion has a process.clip."
    )
  rows = experiment.store.rows(settings.split)
  rows_held = experiment.store.num_rows(settings.split)
  shards = batch_shards(experiment.mesh)
  size = -(-experiment.training.batch_size // shards) * shards
  losses = block_times.losses(experiment.process, experiment.denoiser, experiment.times)
  generator = np.random.default_rng(settings.seed)
  table = []
  with jax.set_mesh(experiment.mesh):
    for number in _progress(range(settings.batches)):
      batch = rows[np.sort(generator.choice(rows_held, size))]
      batch = jax.device_put(batch, batch_sharding(experiment.mesh))
      key = jax.random.fold_in(jax.random.key(settings.seed), number)
      table.append(losses(restored.params, key, batch["tokens"], batch.get("given")))
  record = {
    "intervals": block_times.summarize(np.asarray(table)),
    "batches": settings.batches,
    "batch_size": size,
    "split": settings.split,
    "seed": settings.seed,
    **provenance.protocol(restored, settings.weights, workdirs.environment(experiment.store.hash)),
  }
  if jax.process_index() == 0:
    workdirs.write_record(settings.workdir, record_name(settings, restored.step), record)
  return record


def record_name(settings: Settings, step: int) -> str:
  return f"clip-step{step}-{settings.weights}-seed{settings.seed}.json"


def _progress(batches: range) -> Any:
  console = Console(stderr=True)
  shown = console.is_terminal and jax.process_index() == 0
  return track(batches, "searching", console=console, transient=True, disable=not shown)


def show(console: Console, record: dict[str, Any]) -> None:
  """Prints the intervals, the best first, and what to set."""
  shown = Table("from", "to", "loss (nats a token)", "variance")
  for row in record["intervals"]:
    first, last = row["clip"]
    shown.add_row(f"{first:.1f}", f"{last:.1f}", f"{row['loss']:.4f}", f"{row['variance']:.3e}")
  console.print(shown)
  first, last = record["intervals"][0]["clip"]
  console.print(f"--config.process.clip='({first:.1f}, {last:.1f})'", highlight=False)


def define_flags() -> None:
  command_line.define_cluster()
  flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
  flags.DEFINE_integer("batches", 100, "Batches whose losses are compared.")
  flags.DEFINE_string("split", "validation", "Split of the data: train, validation or test.")
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights, or those last trained.")
  flags.DEFINE_integer("step", None, "Checkpoint to take; the newest by default.")
  flags.DEFINE_integer("seed", 0, "Seed of rows, times and noise.")


def main() -> None:
  fields = [field.name for field in dataclasses.fields(Settings)]
  record = search(Settings(**{name: flags.FLAGS[name].value for name in fields}))
  if jax.process_index() == 0:
    show(Console(), record)


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
