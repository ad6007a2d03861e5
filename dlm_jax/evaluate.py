"""Scores a trained model: the bound on -log p of a held-out split.

  python -m dlm_jax.evaluate --workdir=W [--split=test] [--samples=16]

prints nats a token, bits a character and perplexity a token, each an upper bound (exact for an
autoregressive model) with its standard error, and writes them with everything they depend on to
W/evaluations/.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dlm_jax import commands
from dlm_jax import experiment as experiments
from dlm_jax.evaluation import likelihood, reports
from dlm_jax.processes import base
from dlm_jax.training import workdir as workdirs

BOUND = "upper bound on the negative log-likelihood"
EXACT = "negative log-likelihood"


@dataclass(frozen=True)
class Settings:
  """What is evaluated, and how.

  Attributes:
    workdir: of the run.
    split: of its data.
    samples: times and noises a sequence, each one network evaluation. Where the likelihood is exact
      there is one, whatever is asked for.
    weights: `ema` or `raw`.
    step: which checkpoint; None is the newest.
    batch_size: sequences at once; None is the run's `evaluation.batch_size`. Changes no number.
    seed: of times and noise.
  """

  workdir: str
  split: str = "test"
  samples: int = 16
  weights: str = "ema"
  step: int | None = None
  batch_size: int | None = None
  seed: int = 0


def evaluate(settings: Settings) -> dict[str, Any]:
  """Evaluates the run and returns the record written to `<workdir>/evaluations/`.

  Raises:
    UserError: there is no run, checkpoint or split, or a setting is out of range.
  """
  restored = experiments.restore(settings.workdir, step=settings.step, weights=settings.weights)
  experiment = restored.experiment
  store = experiment.store
  if base.exact(experiment.evaluation_process):
    settings = dataclasses.replace(settings, samples=1)
  batch_size = settings.batch_size
  if batch_size is None:
    batch_size = experiment.evaluation.batch_size
  score = likelihood.evaluator(
    experiment.evaluation_process,
    experiment.denoiser,
    batch_size=batch_size,
    samples=settings.samples,
    seed=settings.seed,
    mesh=experiment.mesh,
    watch=_progress,
  )
  rows = store.rows(settings.split)[:]
  with jax.set_mesh(experiment.mesh):
    bound = score(restored.params, rows["tokens"], rows.get("given"), rows.get("label"))
  record = {
    "results": results(bound, store.characters_per_token(settings.split)),
    "bound": dataclasses.asdict(bound),
    "protocol": protocol(settings, restored),
  }
  if jax.process_index() == 0:
    path = record_path(settings, restored.step)
    path.parent.mkdir(exist_ok=True)
    workdirs.write_json(path, record)
  return record


def _progress(batches: Iterable[int]) -> Iterable[int]:
  """Shows on a terminal how far the evaluation has come."""
  console = Console(stderr=True)
  shown = console.is_terminal and jax.process_index() == 0
  return track(batches, "evaluating", console=console, transient=True, disable=not shown)


def results(bound: likelihood.Bound, characters_per_token: float) -> dict[str, dict[str, float]]:
  """The bound in each unit, `{unit: {"value": ..., "standard_error": ...}}`."""
  estimates = {
    "nats_per_token": likelihood.Estimate(bound.nats_per_token, bound.standard_error),
    "bits_per_token": bound.bits_per_token,
    "bits_per_character": bound.bits_per_character(characters_per_token),
    "perplexity": bound.perplexity,
  }
  return {unit: dataclasses.asdict(estimate) for unit, estimate in estimates.items()}


def protocol(settings: Settings, restored: experiments.Restored) -> dict[str, Any]:
  """What the numbers depend on."""
  environment = workdirs.environment(restored.experiment.store.hash)
  return {
    "kind": EXACT if base.exact(restored.experiment.evaluation_process) else BOUND,
    "split": settings.split,
    "times": dataclasses.asdict(likelihood.TIMES),
    "network_evaluations_per_sequence": settings.samples,
    "seed": settings.seed,
    **reports.protocol(restored, settings.weights, environment),
  }


def record_path(settings: Settings, step: int) -> Path:
  """Where the record goes; its name holds every setting that changes the numbers."""
  name = f"step{step}-{settings.split}-{settings.weights}"
  name += f"-samples{settings.samples}-seed{settings.seed}.json"
  return Path(settings.workdir) / "evaluations" / name


def table(record: dict[str, Any]) -> Table:
  """The results for a person to read."""
  protocol = record["protocol"]
  shown = Table(
    title=f"{protocol['split']} split, step {protocol['step']}, {protocol['weights']} weights"
  )
  value = "exact" if protocol.get("kind") == EXACT else "upper bound"
  for column in ("", value, "standard error"):
    shown.add_column(column, justify="left" if not column else "right")
  for unit, estimate in record["results"].items():
    digits = 1 + max(2, -math.floor(math.log10(estimate["standard_error"] or 1)))
    cells = (f"{estimate[field]:.{digits}f}" for field in ("value", "standard_error"))
    shown.add_row(unit.replace("_per_", " / "), *cells)
  return shown


def define_flags() -> None:
  commands.define_cluster()
  flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
  flags.DEFINE_string("split", "test", "Split of the data: train, validation or test.")
  flags.DEFINE_integer(
    "samples", 16, "Times and noises drawn a sequence; more gives a smaller standard error."
  )
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights, or those last trained.")
  flags.DEFINE_integer("step", None, "Checkpoint to evaluate; the newest by default.")
  flags.DEFINE_integer("batch_size", None, "Sequences at once; as in training by default.")
  flags.DEFINE_integer("seed", 0, "Seed of times and noise.")


def main() -> None:
  fields = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: flags.FLAGS[name].value for name in fields})
  record = evaluate(settings)
  if jax.process_index() == 0:
    console = Console()
    console.print(table(record))
    samples = record["bound"]["samples"]
    path = record_path(dataclasses.replace(settings, samples=samples), record["protocol"]["step"])
    console.print(
      "{sequences:,} sequences, {tokens:,} tokens, {samples} network evaluations a sequence".format(
        **record["bound"]
      ),
      f"written to {path}",
      sep="\n",
      soft_wrap=True,
      highlight=False,
    )


if __name__ == "__main__":
  define_flags()
  commands.run(main)
