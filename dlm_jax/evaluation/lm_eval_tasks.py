"""Tasks of lm-evaluation-harness on a trained model, and the record of their results."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
from rich.console import Console
from rich.table import Table

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.storage import write_or_print
from dlm_jax.core.types import Record
from dlm_jax.evaluation.decoded_answers import HarnessDecoder
from dlm_jax.evaluation.evaluation_settings import HarnessSettings
from dlm_jax.evaluation.journal import Journal, identity
from dlm_jax.interop.opening import load
from dlm_jax.model.model import Model
from dlm_jax.runs import provenance

# A task of lm-evaluation-harness, which has no types, or a group of tasks.
Task: TypeAlias = Any


def run_tasks(settings: HarnessSettings) -> Record:
  """Runs the tasks and returns the record written to `<workdir>/harness/`.

  Raises:
    UserError: the harness is not installed, or there is no such run or task.
  """
  if importlib.util.find_spec("lm_eval") is None:
    raise UserError("the package lm_eval is not installed: pip install lm_eval.")
  # Optional, and slow to import.
  from lm_eval import simple_evaluate  # noqa: PLC0415
  from lm_eval.tasks import TaskManager, get_task_dict  # noqa: PLC0415

  from dlm_jax.evaluation.lm_eval_model import HarnessModel  # noqa: PLC0415

  own = None if settings.task_path is None else str(storage.expand(settings.task_path))
  manager = TaskManager(include_path=own)
  for name in settings.tasks:
    if name not in manager.all_tasks:
      raise UserError(
        f"the harness has no task {name!r}: {nearest(name, manager.all_tasks)}Give the directory "
        "of its file as --task_path."
      )
  model = load(settings.workdir, step=settings.step, weights=settings.weights)
  decoder = HarnessDecoder.of(settings, model)
  step, weights = model.provenance.step, model.provenance.weights
  directory = storage.local(settings.workdir) / "harness"
  tasks = get_task_dict(list(settings.tasks), manager)
  journal = Journal(directory / f"scores-step{step}-{weights}.jsonl", identity(model))
  answering = HarnessModel(
    model,
    samples=settings.samples,
    batch_size=settings.batch_size,
    seed=settings.seed,
    journal=journal,
    greedy_tasks={name for name, task in _leaves(tasks) if _reads_greedy(task)},
    decoder=decoder,
  )
  with journal.stoppable("scores and continuations"):
    found = simple_evaluate(
      model=answering,
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
    "refused": {
      task: {"requests": len(reasons), "first": reasons[0]}
      for task, reasons in answering.refused.items()
    },
    "protocol": protocol(settings, model, found, decoder),
  }
  if jax.process_index() == 0:
    write_or_print(record_path(settings, step, weights), record)
  return record


def _leaves(tasks: Mapping[str, Task]) -> Iterator[tuple[str, Task]]:
  """The tasks by name, those of groups too."""
  for name, task in tasks.items():
    if isinstance(task, Mapping):
      yield from _leaves(task)
    else:
      yield name, task


def _reads_greedy(task: Task) -> bool:
  """Whether a metric of the task reads the flag of greedy decoding.

  In the harness these are the accuracy of tasks whose answer is one likelihood, and the exact match
  of multiple choice.
  """
  metrics = {entry.get("metric") for entry in task.config.metric_list or ()}
  return task.OUTPUT_TYPE == "loglikelihood" or "exact_match" in metrics


def protocol(
  settings: HarnessSettings, model: Model, found: Record, decoder: HarnessDecoder | None
) -> Record:
  """What the numbers depend on."""
  exact = model.evaluation_process.exact
  return {
    "likelihood": "exact" if exact else "lower bound",
    "network_evaluations_per_request": 1 if exact else settings.samples,
    "answers": "by the sampler" if decoder is None else decoder.protocol(model),
    "seed": settings.seed,
    "limit": settings.limit,
    "shots": found.get("n-shot"),
    "task_versions": found.get("versions"),
    "lm_eval": provenance.version("lm_eval"),
    **provenance.protocol(model.provenance),
  }


def record_path(settings: HarnessSettings, step: int, weights: str) -> Path:
  """Where the record goes; its name holds the settings that change the numbers.

  Args:
    settings: of the harness.
    step, weights: of the model, as its provenance has them.
  """
  parts = ["-".join(settings.tasks), f"step{step}", weights, f"samples{settings.samples}"]
  parts += [f"seed{settings.seed}"]
  parts += [f"limit{settings.limit}"] * (settings.limit is not None)
  parts += [f"shots{settings.shots}"] * (settings.shots is not None)
  parts += [f"preset-{settings.preset}"] * (settings.preset is not None)
  parts += [f"{name}{value}" for name, value in sorted(settings.decoder_settings.items())]
  return storage.local(settings.workdir) / "harness" / f"{'-'.join(parts)}.json"


def show(console: Console, record: Record) -> None:
  """Prints the metrics of each task."""
  table = Table("task", "metric", "value")
  for task, metrics in record["results"].items():
    for name, value in metrics.items():
      if isinstance(value, float):
        table.add_row(task, name.replace(",none", ""), f"{value:.4f}")
  console.print(table)
  for task, refused in record["refused"].items():
    console.print(
      f"{task}: requests that were refused: {refused['requests']}, the first because "
      f"{refused['first']}",
      soft_wrap=True,
      highlight=False,
    )


def main(settings: HarnessSettings) -> None:
  """The command `harness`."""
  record = run_tasks(settings)
  if jax.process_index() == 0:
    show(Console(markup=False), record)
