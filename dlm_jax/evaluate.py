"""Scores a trained model: the bound on -log p of a held-out split.

  python -m dlm_jax.evaluate --workdir=W [--split=test] [--samples=16] [--bound=flow]
  python -m dlm_jax.evaluate --workdir=W --corpus=other.txt     zero-shot, see data.zero_shot

prints nats a token, bits a character and perplexity a token, each an upper bound (exact for an
autoregressive model) with its standard error, and writes them with everything they depend on to
W/evaluations/.
"""

import dataclasses
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.data import zero_shot
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.probability_flow import ProbabilityFlow
from dlm_jax.processes.base import Process
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs

BOUND = "upper bound on the negative log-likelihood"
EXACT = "negative log-likelihood"


@dataclass(frozen=True)
class Settings:
  """What is evaluated, and how.

  Attributes:
    workdir: of the run.
    split: of its data.
    samples: times and noises a sequence. Where the likelihood is exact there is one, whatever is
      asked for.
    weights: `ema` or `raw`.
    step: which checkpoint; None is the newest.
    batch_size: sequences at once; None is the run's `evaluation.batch_size`. Changes no number.
    seed: of times and noise.
    bound: `variational`, the process's own; `flow`, through the probability flow of a continuous
      process (see `evaluation.probability_flow`).
    flow_steps: of the flow, two network evaluations each.
    rows: at most so many sequences, spread evenly over the split; None is all.
    labels: tell the model the labels of labelled text: the bound is then on -log p(x | label). If
      not it is on -log p(x), for which the model must have learned to do without.
    times: how they are chosen, a name of `likelihood.TIMINGS`.
    corpus: another one than that of training, in place of `split`: a name of
      `data.zero_shot.PROTOCOLS`, or UTF-8 files.
  """

  workdir: str
  split: str = "test"
  samples: int = 16
  weights: str = "ema"
  step: int | None = None
  batch_size: int | None = None
  seed: int = 0
  bound: str = "variational"
  flow_steps: int = 64
  rows: int | None = None
  labels: bool = True
  times: str = "stratified"
  corpus: str | None = None

  def __post_init__(self) -> None:
    if self.times not in likelihood.TIMINGS:
      known = likelihood.TIMINGS
      raise UserError(
        f"--times is {self.times!r}: {nearest(self.times, known)}"
        f"The known ones are {', '.join(known)}."
      )


def evaluate(settings: Settings) -> dict[str, Any]:
  """Evaluates the run and returns the record written to `<workdir>/evaluations/`.

  Raises:
    UserError: there is no run, checkpoint or split, or a setting is out of range.
  """
  restored = experiments.restore(settings.workdir, step=settings.step, weights=settings.weights)
  experiment = restored.experiment
  store = experiment.store
  if experiment.evaluation_process.exact:
    settings = dataclasses.replace(settings, samples=1)
  batch_size = settings.batch_size
  if batch_size is None:
    batch_size = experiment.evaluation.batch_size
  process, evaluations = _scored(settings, experiment.evaluation_process)
  draw = likelihood.drawer(
    process,
    experiment.denoiser,
    batch_size=batch_size,
    samples=settings.samples,
    seed=settings.seed,
    times=likelihood.TIMINGS[settings.times],
    mesh=experiment.mesh,
    watch=_progress,
  )
  if not settings.labels:
    experiment.check_unlabelled("--nolabels")
  foreign = _foreign(settings, restored)
  if foreign is None:
    held, per_token = store.rows(settings.split), store.characters_per_token(settings.split)
  else:
    held, per_token = foreign.rows, foreign.characters_per_token
  rows = held[_chosen(settings.rows, len(held))]
  labels = rows.get("label") if settings.labels else None
  with jax.set_mesh(experiment.mesh):
    draws = draw(restored.params, rows["tokens"], rows.get("given"), labels)
  # What is no integral over the times of the process has no integrand.
  integrated = settings.bound == "variational" and not process.exact
  record = {
    "results": results(draws.bound, per_token),
    "bound": dataclasses.asdict(draws.bound),
    "by_time": draws.by_time() if integrated else [],
    "by_position": draws.by_position(),
    "protocol": protocol(settings, restored, evaluations, foreign),
  }
  if jax.process_index() == 0:
    workdirs.write_record(settings.workdir, record_name(settings, restored.step), record)
  return record


def _foreign(settings: Settings, restored: experiments.Restored) -> zero_shot.Foreign | None:
  """The corpus asked for in place of the model's own, as its tokenizer reads it."""
  if settings.corpus is None:
    return None
  store = restored.experiment.store
  return zero_shot.prepare(
    zero_shot.protocol(settings.corpus),
    store.tokenizer,
    length=restored.experiment.length,
    trained_packing=store.manifest["packing"],
  )


def _scored(settings: Settings, process: Process) -> tuple[Any, int]:
  """What gives the bound, and its network evaluations a sequence."""
  if settings.bound == "flow":
    flow = ProbabilityFlow(process, settings.flow_steps)
    return flow, settings.samples * flow.evaluations
  return process, settings.samples * process.num_evaluations


def _chosen(rows: int | None, total: int) -> np.ndarray | slice:
  """The rows that are scored."""
  if rows is None or rows >= total:
    return slice(None)
  if rows < 1:
    raise UserError(f"--rows must be at least 1, got {rows}.")
  return np.linspace(0, total - 1, rows).astype(int)


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


def protocol(
  settings: Settings,
  restored: experiments.Restored,
  evaluations: int,
  foreign: zero_shot.Foreign | None,
) -> dict[str, Any]:
  """What the numbers depend on."""
  environment = workdirs.environment(restored.experiment.store.hash)
  followed = {"flow_steps": settings.flow_steps} if settings.bound == "flow" else {}
  return {
    "kind": EXACT if restored.experiment.evaluation_process.exact else BOUND,
    "bound": settings.bound,
    **followed,
    "split": settings.split if foreign is None else None,
    "zero_shot": None if foreign is None else foreign.protocol,
    "rows": settings.rows,
    "times": {
      "name": settings.times,
      **dataclasses.asdict(likelihood.TIMINGS[settings.times]),
    },
    "network_evaluations_per_sequence": evaluations,
    "seed": settings.seed,
    "given_labels": settings.labels and restored.experiment.store.num_labels > 0,
    **provenance.protocol(restored, settings.weights, environment),
  }


def record_name(settings: Settings, step: int) -> str:
  """Where in the workdir the record goes; it holds every setting that changes the numbers."""
  scored = settings.split if settings.corpus is None else f"zero_shot_{_slug(settings.corpus)}"
  name = f"step{step}-{scored}-{settings.weights}"
  name += f"-samples{settings.samples}-seed{settings.seed}"
  if settings.bound == "flow":
    name += f"-flow{settings.flow_steps}"
  if settings.rows is not None:
    name += f"-rows{settings.rows}"
  name += "" if settings.labels else "-nolabels"
  name += "" if settings.times == "stratified" else f"-{settings.times}"
  return f"evaluations/{name}.json"


def _slug(corpus: str) -> str:
  """A name that a file may have, and that other paths do not share."""
  readable = re.sub(r"\W+", "_", Path(corpus).stem)
  known = corpus in zero_shot.PROTOCOLS
  return readable if known else f"{readable}_{zlib.crc32(corpus.encode()):08x}"


def table(record: dict[str, Any]) -> Table:
  """The results for a person to read."""
  protocol = record["protocol"]
  scored = "zero-shot" if protocol.get("zero_shot") else f"{protocol['split']} split"
  shown = Table(title=f"{scored}, step {protocol['step']}, {protocol['weights']} weights")
  value = "exact" if protocol.get("kind") == EXACT else "upper bound"
  for column in ("", value, "standard error"):
    shown.add_column(column, justify="left" if not column else "right")
  for unit, estimate in record["results"].items():
    digits = 1 + max(2, -math.floor(math.log10(estimate["standard_error"] or 1)))
    cells = (f"{estimate[field]:.{digits}f}" for field in ("value", "standard_error"))
    shown.add_row(unit.replace("_per_", " / "), *cells)
  return shown


def define_flags() -> None:
  command_line.define_cluster()
  flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
  flags.DEFINE_string("split", "test", "Split of the data: train, validation or test.")
  flags.DEFINE_integer(
    "samples", 16, "Times and noises drawn a sequence; more gives a smaller standard error."
  )
  flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights, or those last trained.")
  flags.DEFINE_integer("step", None, "Checkpoint to evaluate; the newest by default.")
  flags.DEFINE_integer("batch_size", None, "Sequences at once; as in training by default.")
  flags.DEFINE_integer("seed", 0, "Seed of times and noise.")
  flags.DEFINE_enum(
    "bound",
    "variational",
    ["variational", "flow"],
    "The process's own, or that of a continuous process through its probability flow.",
  )
  flags.DEFINE_integer("flow_steps", 64, "Heun steps of the probability flow.")
  flags.DEFINE_integer("rows", None, "At most so many sequences of the split; all by default.")
  flags.DEFINE_enum(
    "times",
    "stratified",
    list(likelihood.TIMINGS),
    "Stratified over all draws, independent, or at the nodes of a quadrature of --samples times.",
  )
  flags.DEFINE_string(
    "corpus",
    None,
    "Zero-shot: score this in place of --split: UTF-8 files, or one of "
    f"{', '.join(zero_shot.PROTOCOLS)}.",
  )
  flags.DEFINE_bool("labels", True, "Tell the model the labels, where the text has some.")


def main() -> None:
  fields = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: flags.FLAGS[name].value for name in fields})
  record = evaluate(settings)
  if jax.process_index() == 0:
    console = Console()
    console.print(table(record))
    samples = record["bound"]["samples"]
    name = record_name(dataclasses.replace(settings, samples=samples), record["protocol"]["step"])
    console.print(
      "{sequences:,} sequences, {tokens:,} tokens, {evaluations} network evaluations a "
      "sequence".format(
        **record["bound"], evaluations=record["protocol"]["network_evaluations_per_sequence"]
      ),
      f"written to {settings.workdir}/{name}",
      sep="\n",
      soft_wrap=True,
      highlight=False,
    )


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
