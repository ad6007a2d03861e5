"""The bound on -log p of a split, or of another corpus, and all that the number depends on.

With `--metric=exact_match` the command scores drawn answers instead, see `exact_match`.
"""

import dataclasses
import math
import re
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
from rich.console import Console

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.records import BOUND, EXACT, SHARE
from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Record
from dlm_jax.data import zero_shot
from dlm_jax.data.store import Rows
from dlm_jax.distributed import progress
from dlm_jax.evaluation import clusters, exact_match, likelihood
from dlm_jax.evaluation.bound_table import show
from dlm_jax.evaluation.estimates import Bound, Estimate
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings
from dlm_jax.evaluation.journal import Journal, identity
from dlm_jax.evaluation.likelihood import Scoring
from dlm_jax.evaluation.probability_flow import ProbabilityFlow
from dlm_jax.generation import prompts
from dlm_jax.interop.opening import load
from dlm_jax.model.model import Model, training_data
from dlm_jax.processes.base import Process
from dlm_jax.runs import provenance, workdir

# What is scored, and how, where neither the command nor the config of the run says it.
DEFAULTS = {"split": "test", "bound": "variational", "flow_steps": 64}


@dataclass(frozen=True)
class ScoredText:
  """What is scored: rows, their characters a token, and for another corpus its protocol."""

  rows: Rows
  characters_per_token: float
  zero_shot: Record | None


def evaluate(settings: EvaluateSettings) -> Record:
  """Evaluates the run and returns the record, which is written or printed, see `output`.

  Raises:
    UserError: there is no run, checkpoint or split, or the model cannot be scored so.
  """
  model = load(settings.workdir, step=settings.step, weights=settings.weights)
  if not settings.labels:
    model.check_unlabelled("--nolabels")
  settings = complete(settings, model)
  text = _text(settings, model)
  if settings.metric == exact_match.KIND:
    record = exact_match.score(settings, model, text.rows)
    if jax.process_index() == 0:
      _write(settings, record)
    return record
  journal = _journal(settings, model, text)
  with journal.stoppable("scored batches"):
    record = score(settings, model, text, journal)
  if jax.process_index() == 0 and _write(settings, record):
    journal.remove()
  return record


def complete(settings: EvaluateSettings, model: Model) -> EvaluateSettings:
  """The settings with what they leave open as the config of the run has it."""
  config = model.provenance.config["evaluation"]
  chosen = {
    name: vars(settings)[name] or config.get(name) or default for name, default in DEFAULTS.items()
  }
  chosen["scored"] = settings.scored or model.positions.scored
  chosen["batch_size"] = settings.batch_size or config.get("batch_size")
  if model.evaluation_process.exact:
    chosen["samples"] = 1
  return dataclasses.replace(settings, **chosen)


def _write(settings: EvaluateSettings, record: Record) -> bool:
  """Writes the record, or prints it; returns whether it was written."""
  if settings.output is not None:
    return storage.write_or_print(storage.expand(settings.output), record)
  named = exact_match.record_name if settings.metric == exact_match.KIND else record_name
  protocol = record["protocol"]
  name = named(settings, protocol["step"], protocol["weights"])
  return workdir.write_record(settings.workdir, name, record)


def _journal(settings: EvaluateSettings, model: Model, text: ScoredText) -> Journal:
  """Where scored batches are kept until there is a record; of one process only."""
  if jax.process_count() > 1:
    return Journal()
  name = record_name(settings, model.provenance.step, model.provenance.weights)
  depends_on = {
    "evaluation": name,  # a file of --output may be that of another one that was stopped
    "zero_shot": text.zero_shot,
    "positions": dataclasses.asdict(text.rows.positions),
  }
  path = storage.expand(settings.output or storage.local(settings.workdir) / name)
  return Journal(path.with_suffix(".jsonl"), identity(model) | depends_on)


def score(
  settings: EvaluateSettings, model: Model, text: ScoredText, journal: Journal | None = None
) -> Record:
  """The record of an evaluation, which goes on from what the journal holds of it.

  Raises:
    UserError: the model cannot be scored so, or its bound is not a number.
  """
  if settings.bound == "flow" and "unscored" in text.rows[:1]:
    raise UserError(
      "the probability flow bounds whole rows, and data.padding 'noised_unscored' leaves padding "
      "out of the score: use --bound=variational."
    )
  process, num_evaluations = _scored(settings, model)
  draw = likelihood.drawer(
    process,
    model.denoiser,
    Scoring(
      batch_size=settings.batch_size or model.provenance.config["evaluation"]["batch_size"],
      samples=settings.samples,
      seed=settings.seed,
      times=likelihood.TIMINGS[settings.times],
      mesh=model.mesh,
      journal=journal or Journal(),
    ),
    watch=partial(progress.track, title="evaluating"),
  )
  rows = text.rows[evenly_spread(len(text.rows), settings.rows)]
  labels = rows.get("label") if settings.labels else None
  grouped = clusters.of_rows(len(rows["tokens"]), are_documents=text.rows.are_documents)
  with jax.set_mesh(model.mesh):
    masks = (rows.get("given"), labels, grouped.index, rows.get("unscored"))
    draws = draw(model.params, rows["tokens"], *masks)
  if not math.isfinite(draws.bound.nats_per_token):
    raise model.unusable(f"give a bound that is not a number ({draws.bound.nats_per_token})")
  # What is no integral over the times of the process has no integrand.
  is_integral = settings.bound == "variational" and not model.evaluation_process.exact
  return {
    "results": results(draws.bound, text.characters_per_token),
    "bound": dataclasses.asdict(draws.bound),
    "by_time": draws.by_time() if is_integral else [],
    "by_position": draws.by_position(),
    "by_cluster": draws.by_cluster(),
    "protocol": {
      "standard_error": grouped.description,
      **protocol(settings, model, num_evaluations, text),
    },
  }


def _text(settings: EvaluateSettings, model: Model) -> ScoredText:
  """The split of the model's own data, or the corpus in place of it."""
  positions = dataclasses.replace(model.positions, scored=settings.scored)
  if settings.corpus is not None:
    foreign = zero_shot.prepare(
      zero_shot.protocol(settings.corpus),
      model.tokenizer,
      length=prompts.check_length(model, settings.length),
      trained_packing=model.packing,
      positions=positions,
    )
    return ScoredText(foreign.rows, foreign.characters_per_token, foreign.protocol)
  store = dataclasses.replace(training_data(model), positions=positions)
  return ScoredText(store.rows(settings.split), store.characters_per_token(settings.split), None)


def _scored(settings: EvaluateSettings, model: Model) -> tuple[Process | ProbabilityFlow, int]:
  """What gives the bound, and its network evaluations a sequence."""
  process = model.evaluation_process
  if settings.bound == "flow":
    flow = ProbabilityFlow(process, settings.flow_steps)
    return flow, settings.samples * flow.num_evaluations
  return process, settings.samples * process.num_evaluations


def results(bound: Bound, characters_per_token: float) -> dict[str, dict[str, float]]:
  """The bound in each unit, `{unit: {"value": ..., "standard_error": ...}}`."""
  estimates = {
    "nats_per_token": Estimate(bound.nats_per_token, bound.standard_error),
    "bits_per_token": bound.bits_per_token,
    "bits_per_character": bound.bits_per_character(characters_per_token),
    "perplexity": bound.perplexity,
  }
  return {unit: dataclasses.asdict(estimate) for unit, estimate in estimates.items()}


def protocol(
  settings: EvaluateSettings,
  model: Model,
  num_evaluations: int,
  text: ScoredText,
) -> Record:
  """What the numbers depend on."""
  positions, has_padding = text.rows.positions, text.rows.lengths is not None
  quantity = EXACT if model.evaluation_process.exact else BOUND
  if quantity == BOUND and has_padding and positions.padding == "noised_unscored":
    quantity = SHARE
  flow = {"flow_steps": settings.flow_steps} if settings.bound == "flow" else {}
  return {
    "quantity": quantity,
    "bound": settings.bound,
    **flow,
    "split": settings.split if text.zero_shot is None else None,
    "zero_shot": text.zero_shot,
    "rows": settings.rows,
    "scored": positions.scored,
    "padding": positions.padding if has_padding else None,
    "times": {
      "name": settings.times,
      **dataclasses.asdict(likelihood.TIMINGS[settings.times]),
    },
    "network_evaluations_per_sequence": num_evaluations,
    "seed": settings.seed,
    "given_labels": settings.labels and model.num_labels > 0,
    **provenance.protocol(model.provenance),
  }


def record_name(settings: EvaluateSettings, step: int, weights: str) -> str:
  """Where in the workdir the record goes; it holds every setting that changes the numbers.

  Args:
    settings: of the evaluation.
    step, weights: of the model, as its provenance has them.
  """
  text = settings.split if settings.corpus is None else f"zero_shot_{_slug(settings.corpus)}"
  name = f"step{step}-{text}-{weights}"
  name += f"-samples{settings.samples}-seed{settings.seed}"
  if settings.bound == "flow":
    name += f"-flow{settings.flow_steps}"
  if settings.rows is not None:
    name += f"-rows{settings.rows}"
  name += "-after_first" if settings.scored == "after_first" else ""
  name += "" if settings.length is None else f"-length{settings.length}"
  name += "" if settings.labels else "-nolabels"
  name += "" if settings.times == "stratified" else f"-{settings.times}"
  return f"evaluations/{name}.json"


def _slug(corpus: str) -> str:
  """A name that a file may have, and that other paths do not share."""
  readable = re.sub(r"\W+", "_", Path(corpus).stem)
  is_named = corpus in zero_shot.PROTOCOLS
  return readable if is_named else f"{readable}_{zlib.crc32(corpus.encode()):08x}"


def main(settings: EvaluateSettings) -> None:
  """The command `evaluate`."""
  record = evaluate(settings)
  if jax.process_index() == 0:
    shown = exact_match.show if settings.metric == exact_match.KIND else show
    shown(Console(markup=False), record)
