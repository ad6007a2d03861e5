"""Runs tasks of lm-evaluation-harness on a trained model.

  pip install lm_eval
  python -m dlm_jax.harness --workdir=W --tasks=hellaswag,arc_easy [--samples=128] [--limit=100]

Likelihoods of a diffusion model are lower bounds, see `evaluation.conditional`. Scores are kept in
W/harness/scores-*.jsonl as they come: started again, the command goes on where it stopped. The
results are written to W/harness/ with everything they depend on. Tasks of one's own are YAML files
in --task_path.
"""

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs


@dataclass(frozen=True)
class Settings:
  """What is run.

  Attributes:
    workdir: of the run.
    tasks: names of the harness.
    task_path: a directory of task files beside those of the harness.
    samples: times and noises a request; 1 where the likelihood is exact.
    batch_size: rows at once. Changes no number.
    limit: of documents a task; None is all.
    shots: examples in the prompt; None is the task's own number.
    weights: `ema` or `raw`.
    step: which checkpoint; None is the newest.
    seed: of times, noise and continuations.
  """

  workdir: str
  tasks: tuple[str, ...]
  task_path: str | None = None
  samples: int = 128
  batch_size: int = 128
  limit: int | None = None
  shots: int | None = None
  weights: str = "ema"
  step: int | None = None
  seed: int = 0


def run(settings: Settings) -> dict[str, Any]:
  """Runs the tasks and returns the record written to `<workdir>/harness/`.

  Raises:
    UserError: the harness is not installed, or there is no such run or task.
  """
  if importlib.util.find_spec("lm_eval") is None:
    raise UserError("the package lm_eval is not installed: pip install lm_eval.")
  # Optional, and slow to import.
  from lm_eval import simple_evaluate  # noqa: PLC0415
  from lm_eval.tasks import TaskManager  # noqa: PLC0415

  from dlm_jax.evaluation import lm_eval_model  # noqa: PLC0415

  restored = experiments.restore(settings.workdir, step=settings.step, weights=settings.weights)
  directory = Path(settings.workdir) / "harness"
  directory.mkdir(exist_ok=True)
  model = lm_eval_model.HarnessModel(
    restored,
    samples=settings.samples,
    batch_size=settings.batch_size,
    seed=settings.seed,
    record=directory / f"scores-step{restored.step}-{settings.weights}.jsonl",
  )
  manager = TaskManager(include_path=settings.task_path)
  unknown = set(settings.tasks) - set(manager.all_tasks)
  if unknown:
    raise UserError(f"the harness has no task {sorted(unknown)[0]!r}: give its files --task_path.")
  found = simple_evaluate(
    model=model,
    tasks=list(settings.tasks),
    num_fewshot=settings.shots,
    limit=settings.limit,
    task_manager=manager,
    bootstrap_iters=1000,
    log_samples=False,
  )
  record = {
    "kind": "harness",
    "results": found["results"],
    "protocol": protocol(settings, restored, found),
  }
  if jax.process_index() == 0:
    workdirs.write_json(record_path(settings, restored.step), record)
  return record


def protocol(
  settings: Settings, restored: experiments.Restored, found: dict[str, Any]
) -> dict[str, Any]:
  """What the numbers depend on."""
  exact = restored.experiment.evaluation_process.exact
  return {
    "likelihood": "exact" if exact else "lower bound",
    "network_evaluations_per_request": 1 if exact else settings.samples,
    "seed": settings.seed,
    "limit": settings.limit,
    "shots": found.get("n-shot"),
    "task_versions": found.get("versions"),
    "lm_eval": provenance.version("lm_eval"),
    **provenance.protocol(
      restored, settings.weights, workdirs.environment(restored.experiment.store.hash)
    ),
  }


def record_path(settings: Settings, step: int) -> Path:
  """Where the record goes; its name holds the settings that change the numbers."""
  parts = ["-".join(settings.tasks), f"step{step}", settings.weights, f"samples{settings.samples}"]
  parts += [f"seed{settings.seed}"]
  parts += [f"limit{settings.limit}"] * (settings.limit is not None)
  parts += [f"shots{settings.shots}"] * (settings.shots is not None)
  return Path(settings.workdir) / "harness" / f"{'-'.join(parts)}.json"


def table(record: dict[str, Any]) -> Table:
  """The metrics of each task for a person to read."""
  shown = Table("task", "metric", "value")
  for task, metrics in record["results"].items():
    for name, value in metrics.items():
      if isinstance(value, float):
        shown.add_row(task, name.replace(",none", ""), f"{value:.4f}")
  return shown


def define_flags() -> None:
  flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
  flags.DEFINE_list("tasks", None, "Tasks of the harness, by name.", required=True)
  flags.DEFINE_string("task_path", None, "Directory of more task files.")
  flags.DEFINE_integer("samples", 128, "Times and noises drawn a request.")
  flags.DEFINE_integer("batch_size", 128, "Rows at once; changes no number.")
  flags.DEFINE_integer("limit", None, "Documents a task; all by default.")
  flags.DEFINE_integer("shots", None, "Examples in the prompt; the task's own by default.")
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights, or those last trained.")
  flags.DEFINE_integer("step", None, "Checkpoint to take; the newest by default.")
  flags.DEFINE_integer("seed", 0, "Seed of times, noise and continuations.")


def main() -> None:
  fields = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Settings)}
  settings = Settings(**fields | {"tasks": tuple(fields["tasks"])})
  record = run(settings)
  if jax.process_index() == 0:
    console = Console()
    console.print(table(record))
    path = record_path(settings, record["protocol"]["step"])
    console.print(f"written to {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
