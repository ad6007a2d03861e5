"""The numbers of runs of the recipes, to stand beside those of papers that measured the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from dlm_jax.core import storage
from dlm_jax.core.records import is_exact
from dlm_jax.core.types import Record
from dlm_jax.evaluation.bound import DEFAULTS
from dlm_jax.runs.config_changes import changes
from dlm_jax.runs.workdir import plain
from experiments.paper_tables import rows
from experiments.paper_tables.published import Published

# What a run may have otherwise than its recipe without being another one, as prefixes of fields.
FREE = (
  "seed",
  "mesh",
  "checkpoint",
  "wandb_project",
  "replaced",
  "data.directory",
  "data.workers",
  "data.checks",
  "training.accumulate",
  "training.log_every",
  "training.evaluate_every",
  "training.steps",  # stands beside the number
  "evaluation.rows",
  "evaluation.samples",
  "evaluation.batch_size",
  *rows.ORIGINS,
)


@dataclass(frozen=True)
class Ours:
  """A number of a run of a recipe.

  Attributes:
    row: of the table.
    zero_shot: the corpus that was scored where it is not that of training.
    kind: as of `Published`.
    flow_steps: of a flow bound.
    split, scored: that were scored.
    results: of the record of `evaluate`, by unit.
    step, steps: the run was trained for, and the recipe says.
    differs: fields of the config that are not as in the recipe.
  """

  row: str
  zero_shot: str | None
  kind: str
  flow_steps: int | None
  split: str | None
  scored: str
  results: Record
  step: int
  steps: int
  differs: tuple[str, ...]


def read_all(directory: str) -> list[Ours]:
  """The evaluations of the runs that lie in `directory` under the names of their rows.

  The newest step comes first, and of one step the newest evaluation.
  """
  found = []
  for row in rows.names():
    files = storage.expand(f"{directory}/{row}").glob("evaluations/step*.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    records = [record for record in records if "nats_per_token" in record.get("results", {})]
    records.sort(key=_newest, reverse=True)
    found += [_ours(row, record, directory) for record in records]
  return found


def _newest(record: Record) -> tuple[int, str]:
  return record["protocol"]["step"], record["protocol"]["environment"]["date"]


def _ours(row: str, record: Record, directory: str) -> Ours:
  protocol = record["protocol"]
  recipe = rows.stages(row, directory)[-1].config
  zero_shot = protocol["zero_shot"]
  found = changes(plain(recipe), protocol["config"])
  flow = protocol["bound"] == "flow"
  return Ours(
    row=row,
    zero_shot=zero_shot.get("name") if zero_shot else None,
    kind="exact" if is_exact(protocol) else "flow_bound" if flow else "nelbo",
    flow_steps=protocol.get("flow_steps"),
    split=zero_shot.get("split") if zero_shot else protocol["split"],
    scored=protocol.get("scored", "all"),
    results=record["results"],
    step=protocol["step"],
    steps=recipe.training.steps,
    differs=tuple(f for f in found if not f.startswith(FREE)),
  )


def row_of(number: Published) -> str | None:
  """The row whose recipe a published number names."""
  return next((row for row, recipe in rows.names().items() if recipe == number.recipe), None)


def text(number: Published, found: Sequence[Ours]) -> str:
  """The newest of our numbers that measured what the published one did; empty without one."""
  row = row_of(number)
  corpus = number.corpus if number.trained_on else None
  wanted = (row, corpus, number.kind, number.scored, number.flow_steps)
  for ours in found:
    measured = (ours.row, ours.zero_shot, ours.kind, ours.scored, ours.flow_steps)
    # A zero-shot corpus has one protocol, and with it one split.
    if measured == wanted and (corpus or ours.split == number.split):
      value = ours.results[number.metric]
      bound = "" if ours.kind == "exact" else "≤ "
      trained = f"{ours.step:,} of {ours.steps:,} steps"
      others = f"; differs in {', '.join(ours.differs)}" if ours.differs else ""
      return f"{bound}{value['value']:.4g} ± {value['standard_error']:.1g} ({trained}{others})"
  return ""


def kind_text(number: Published) -> str:
  """What a published number is, in words, with all that one of this kind depends on."""
  words = [number.kind.replace("_", " ")]
  words += [f"{number.flow_steps} steps"] if number.flow_steps else []
  words += [f"{number.draws} draws"] if number.draws else []
  words += [f"{number.sampler_steps} steps"] if number.sampler_steps else []
  words += ["first token not scored"] if number.scored == "after_first" else []
  return ", ".join(words)


def protocol_text(config: ConfigDict) -> str:
  """The protocol of a recipe: what is scored, of which text, and how."""
  evaluation = config.evaluation
  bound = evaluation.get("bound") or DEFAULTS["bound"]
  if bound == "flow":
    bound += f" in {evaluation.get('flow_steps') or DEFAULTS['flow_steps']} steps"
  data, split = config.data, evaluation.get("split") or DEFAULTS["split"]
  padding = [f"padding {data.get('padding') or 'ignored'}"] if "padded" in data.packing else []
  return ", ".join(
    [
      f"packing {data.packing}",
      f"rows of {data.length}",
      f"{data.get('windows') or 'disjoint'} windows",
      f"scored {data.get('scored') or 'all'}",
      *padding,
      f"{split} split",
      f"bound {bound}",
    ]
  )
