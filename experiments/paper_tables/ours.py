"""The numbers of runs of the recipes, to stand beside those of papers that measured the same."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ml_collections import ConfigDict

from dlm_jax.core import storage
from dlm_jax.core.records import is_exact
from dlm_jax.core.types import Record
from dlm_jax.evaluation.bound import DEFAULTS
from dlm_jax.runs.config_changes import changes
from dlm_jax.runs.workdir import plain
from experiments.paper_tables import rows
from experiments.paper_tables.published import BOUNDS, Published

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


class Drawing(NamedTuple):
  """How samples were drawn, and by whom they were judged."""

  length: int
  sampler: str  # with its settings as they were given: `remdm preset=paper_cap`
  steps: int
  top_p: float
  judge: str | None
  sequences: int


@dataclass(frozen=True)
class Ours:
  """A number of a run of a recipe.

  Attributes:
    row: of the table.
    zero_shot: the corpus that was scored where it is not that of training.
    kind: as of `Published`.
    flow_steps: of a flow bound.
    split, scored: that were scored; of samples, None.
    results: by metric, the `value` and its `standard_error`, or the `low` and `high` end of its
      interval.
    step, steps: the run was trained for, and the recipe says.
    differs: fields of the config that are not as in the recipe.
    drawing: of samples; None of a likelihood.
  """

  row: str
  zero_shot: str | None
  kind: str
  flow_steps: int | None
  split: str | None
  scored: str | None
  results: Record
  step: int
  steps: int
  differs: tuple[str, ...]
  drawing: Drawing | None = None

  def is_of(self, number: Published) -> bool:
    """Whether it measured what the published number did."""
    if self.row != row_of(number) or self.kind != number.kind:
      return False
    if self.drawing is not None:
      asked = {
        "length": number.length,
        "steps": number.sampler_steps,
        "judge": number.judge,
        "top_p": number.top_p or 1.0,
      }
      told = {name: value for name, value in asked.items() if value is not None}
      return told.items() <= self.drawing._asdict().items() and (
        number.samplers is None or self.drawing.sampler in number.samplers
      )
    corpus = number.corpus if number.trained_on else None
    protocol = (self.zero_shot, self.scored, self.flow_steps)
    # A zero-shot corpus has one protocol, and with it one split.
    is_split = bool(corpus) or self.split == number.split
    return is_split and protocol == (corpus, number.scored, number.flow_steps)

  def text(self, metric: str) -> str:
    """The number with its error, and what it is of."""
    found = self.results[metric]
    words = [f"{self.step:,} of {self.steps:,} steps"]
    if self.drawing is not None:
      d = self.drawing
      words.append(f"{d.sequences} sequences, {d.sampler}, {d.steps} sampling steps")
    words += [f"differs in {', '.join(self.differs)}"] if self.differs else []
    error = ""
    if "standard_error" in found:
      error = f" ± {found['standard_error']:.1g}"
    elif "low" in found:
      error = f" [{found['low']:.4g}, {found['high']:.4g}]"
    sign = "≤ " if self.kind in BOUNDS else ""
    return f"{sign}{found['value']:.4g}{error} ({'; '.join(words)})"


def read_all(directory: str) -> list[Ours]:
  """The evaluations, and the judged samples, of the runs in `directory` that are named as rows.

  The newest step comes first, and of one step the newest evaluation.
  """
  found: list[Ours] = []
  for row in rows.names():
    workdir = storage.expand(f"{directory}/{row}")
    for pattern, read in (("evaluations/step*.json", _likelihood), ("*.judged.json", _samples)):
      records = [json.loads(path.read_text(encoding="utf-8")) for path in workdir.glob(pattern)]
      records.sort(key=_newest, reverse=True)
      found += [ours for record in records for ours in read(row, record, directory)]
  return found


def _newest(record: Record) -> tuple[int, str]:
  return record["protocol"]["step"], record["protocol"]["environment"]["date"]


def _likelihood(row: str, record: Record, directory: str) -> Iterator[Ours]:
  """That of a record of `evaluate`, unless it is of answers."""
  if "nats_per_token" not in record.get("results", {}):
    return
  protocol = record["protocol"]
  zero_shot = protocol["zero_shot"]
  flow = protocol["bound"] == "flow"
  step, steps, differs = _trained(row, protocol, directory)
  yield Ours(
    row=row,
    zero_shot=zero_shot.get("name") if zero_shot else None,
    kind="exact" if is_exact(protocol) else "flow_bound" if flow else "nelbo",
    flow_steps=protocol.get("flow_steps"),
    split=zero_shot.get("split") if zero_shot else protocol["split"],
    scored=protocol.get("scored", "all"),
    results=record["results"],
    step=step,
    steps=steps,
    differs=differs,
  )


def _samples(row: str, record: Record, directory: str) -> Iterator[Ours]:
  """Those of a record of `judge`: the generative perplexity over all tokens, and MAUVE."""
  protocol = record["protocol"]
  settings, judge = protocol["settings"], protocol["judge"]
  given = [f"{name}={value}" for name, value in settings["sampler_settings"].items()]
  drawing = Drawing(
    length=settings["length"] or protocol["config"]["data"]["length"],
    sampler=" ".join([settings["sampler"], *given]),
    steps=settings["steps"],
    top_p=settings["top_p"],
    judge=judge["name"] if judge else None,
    sequences=protocol["sequences"],
  )
  step, steps, differs = _trained(row, protocol, directory)
  measured = {
    "gen_ppl": ("generative_perplexity", record["results"].get("judge_perplexity_over_tokens")),
    "mauve": ("mauve", record["mauve"] if record["mauve"]["value"] is not None else None),
  }
  for kind, (metric, result) in measured.items():
    if result is not None:
      results = {metric: result}
      yield Ours(row, None, kind, None, None, None, results, step, steps, differs, drawing)


def _trained(row: str, protocol: Record, directory: str) -> tuple[int, int, tuple[str, ...]]:
  """The step of a run, those of the recipe, and the fields in which the two differ."""
  recipe = rows.stages(row, directory)[-1].config
  found = changes(plain(recipe), protocol["config"])
  differs = tuple(f for f in found if not f.startswith(FREE))
  return protocol["step"], recipe.training.steps, differs


def row_of(number: Published) -> str | None:
  """The row whose recipe a published number names."""
  return next((row for row, recipe in rows.names().items() if recipe == number.recipe), None)


def text(number: Published, found: Sequence[Ours]) -> str:
  """The newest of our numbers that measured what the published one did; empty without one."""
  return next((ours.text(number.metric) for ours in found if ours.is_of(number)), "")


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
