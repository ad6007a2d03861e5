"""The share of prompts whose answer a model writes exactly, decoded by any sampler."""

import dataclasses
import math

import numpy as np
from rich.console import Console
from rich.table import Table

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.core.spread import evenly_spread
from dlm_jax.core.types import Record
from dlm_jax.data.store import Rows
from dlm_jax.distributed import progress
from dlm_jax.evaluation.estimates import Estimate
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings
from dlm_jax.generation.draw import Samples, draw_batches, join
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompts import Prompt
from dlm_jax.model.model import Model
from dlm_jax.runs import provenance

KIND = "exact_match"


def score(settings: EvaluateSettings, model: Model, rows: Rows) -> Record:
  """The record: how many answers are right to their last token, and what the number depends on.

  An answer is every position of a row that is scored, the end symbol included where it is learned.

  Args:
    settings: the rows, the sampler, its steps and the temperature.
    model: what answers.
    rows: of a split of prompts and answers.

  Raises:
    UserError: the rows have no prompts, or the model cannot draw so.
  """
  if rows.prompts is None:
    raise UserError(
      "--metric=exact_match compares answers, and the rows of this data have no prompt: it needs a "
      "run of a corpus of pairs, see configs/my_pairs.py."
    )
  index = evenly_spread(len(rows), settings.rows)
  tokens, is_answer = rows[index]["tokens"], ~rows[index]["given"]
  given = ~is_answer
  if model.process.pattern != FULL:
    # What is drawn from left to right cannot be given what stands to its right.
    given = np.arange(tokens.shape[1]) < rows.prompts[index][:, None]
  samples = _drawn(settings, model, tokens, given)
  right = (samples.tokens == tokens) | ~is_answer
  return {
    "kind": KIND,
    "results": {
      "exact_match": dataclasses.asdict(_share(right.all(axis=1))),
      "tokens": dataclasses.asdict(_share(right[is_answer])),
    },
    "answers": len(tokens),
    "right": int(right.all(axis=1).sum()),
    "protocol": {
      "quantity": "share of answers that are exactly right",
      "standard_error": "of independent rows",
      "split": settings.split,
      "rows": settings.rows,
      "padding": rows.positions.padding,
      "settings": {
        "sampler": settings.sampler_name,
        **dict(settings.sampler_settings),
        "steps": settings.steps,
        "temperature": settings.answer_temperature,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
      },
      "network_evaluations": samples.num_evaluations,
      "seconds_without_compilation": samples.seconds,
      **provenance.protocol(model.provenance),
    },
  }


def _drawn(
  settings: EvaluateSettings, model: Model, tokens: np.ndarray, given: np.ndarray
) -> Samples:
  """The rows with what is not given drawn anew; as many steps as open positions if none are set."""
  how = DrawSettings(
    num=len(tokens),
    steps=settings.steps or int((~given).sum(axis=1).max()),
    sampler=settings.sampler_name,
    sampler_settings=settings.sampler_settings,
    temperature=settings.answer_temperature,
    batch_size=settings.batch_size or len(tokens),
    seed=settings.seed,
  )
  # What all rows share is a constant of the program: prompts of one length are read at once.
  where = given[0] if (given == given[0]).all() else given
  batches = []
  with progress.Progress("answering", len(tokens), "prompts") as shown:
    for batch in draw_batches(how, model, Prompt(tokens, where)):
      batches.append(batch)
      shown.advance(len(batch.tokens))
  return join(batches)


def _share(right: np.ndarray) -> Estimate:
  share = float(np.mean(right))
  return Estimate(share, math.sqrt(share * (1 - share) / max(len(right) - 1, 1)))


def record_name(settings: EvaluateSettings, step: int, weights: str) -> str:
  """Where in the workdir the record goes; it holds every setting that changes the numbers.

  Args:
    settings: of the evaluation.
    step, weights: of the model, as its provenance has them.
  """
  name = f"step{step}-{settings.split}-{weights}-exact_match-{settings.sampler_name}"
  name += "".join(f"-{key}_{value}" for key, value in sorted(settings.sampler_settings.items()))
  name += "" if settings.steps is None else f"-steps{settings.steps}"
  name += f"-temperature{settings.answer_temperature:g}-seed{settings.seed}"
  name += "" if settings.rows is None else f"-rows{settings.rows}"
  return f"evaluations/{name}.json"


def show(console: Console, record: Record) -> None:
  """Prints the results."""
  protocol, how = record["protocol"], record["protocol"]["settings"]
  title = f"{protocol['split']} split, step {protocol['step']}, {protocol['weights']} weights"
  table = Table("", "exactly right", "standard error", title=title)
  for name, estimate in record["results"].items():
    unit = "answers" if name == "exact_match" else name
    table.add_row(unit, f"{estimate['value']:.4f}", f"{estimate['standard_error']:.4f}")
  console.print(table)
  evaluations = np.mean(protocol["network_evaluations"])
  console.print(
    f"{record['right']:,} of {record['answers']:,} answers, sampler {how['sampler']}, "
    f"{evaluations:.4g} network evaluations each",
    highlight=False,
  )
