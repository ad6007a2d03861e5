"""Published numbers, and ours beside them.

  python -m experiments.paper_tables.table [--runs=mdlm,text8=runs/mdlm --runs=...]

prints markdown. A run is one of a recipe of config.py, scored on its test split by
`dlm_jax.evaluate`; how far it was trained stands beside its number.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.records import is_exact
from experiments.paper_tables import config

PUBLISHED = Path(__file__).parent / "published.json"
UNITS = {"bits_per_character": "bits/char", "perplexity": "perplexity"}
# What the tables call a packing, by the name it has here.
PACKINGS = {"stream": "stream", "wrapped": "packed", "padded": "unpacked"}


@dataclass(frozen=True)
class Ours:
  """A number of a run.

  Attributes:
    recipe, corpus, packing: which cell of the tables it stands in.
    results: of the record of `evaluate`, by unit.
    step: it was trained for.
    exact: whether it is a likelihood and no bound.
  """

  recipe: str
  corpus: str
  packing: str
  results: Mapping[str, Mapping[str, float]]
  step: int
  exact: bool


def read(run: str) -> Ours:
  """The number of `METHOD,CORPUS=WORKDIR`: the newest evaluation of the test split.

  Raises:
    UserError: there is no such recipe or evaluation, or the run is not one of this recipe.
  """
  name, _, workdir = run.partition("=")
  method, _, corpus = name.partition(",")
  if (method, corpus) not in config.recipes():
    raise UserError(f"--runs {run!r} does not begin with a recipe, such as mdlm,text8=runs/mdlm.")
  files = storage.expand(workdir).glob("evaluations/*-test-*.json")
  records = [json.loads(path.read_text()) for path in files]
  if not records:
    raise UserError(f"{workdir} has no evaluation of its test split: run dlm_jax.evaluate on it.")
  record = max(records, key=lambda r: (r["protocol"]["step"], r["protocol"]["environment"]["date"]))
  protocol = record["protocol"]
  asked = config.get_config(name)
  for field, ours in {
    "process": protocol["config"]["process"]["name"],
    "data.corpus": protocol["config"]["data"]["corpus"]["name"],
  }.items():
    wanted = asked.process.name if field == "process" else asked.data.corpus.name
    if ours != wanted:
      raise UserError(f"{workdir} has {field} {ours!r}, and the recipe {name} has {wanted!r}.")
  return Ours(
    method,
    corpus,
    PACKINGS[protocol["packing"]],
    record["results"],
    protocol["step"],
    is_exact(protocol),
  )


def tables(runs: Sequence[Ours]) -> str:
  """Markdown, a table for each corpus, packing and metric: none ever mixes two."""
  rows = json.loads(PUBLISHED.read_text(encoding="utf-8"))["rows"]
  parts = []
  for corpus, packing, metric in dict.fromkeys(
    (row["corpus"], row["packing"], row["metric"]) for row in rows
  ):
    parts += [
      f"### {corpus}, {packing}, {UNITS[metric]}",
      "",
      "| method | published | ours | trained for |",
      "|---|---|---|---|",
    ]
    cell = (corpus, packing, metric)
    parts += [_line(r, runs) for r in rows if (r["corpus"], r["packing"], r["metric"]) == cell]
    parts.append("")
  return "\n".join(parts)


def _line(row: Mapping[str, Any], runs: Sequence[Ours]) -> str:
  bound = "" if row["kind"] == "exact" else "≤ "
  place = (row["recipe"], row["corpus"], row["packing"])
  ours = [run for run in runs if (run.recipe, run.corpus, run.packing) == place]
  values, trained = [], []
  for run in ours:
    value = run.results[row["metric"]]
    sign = "" if run.exact else "≤ "
    values.append(f"{sign}{value['value']:.4g} ± {value['standard_error']:.1g}")
    paper = config.get_config(f"{run.recipe},{run.corpus}").training.steps
    trained.append(f"{run.step:,} of {paper:,} steps")
  cells = (row["method"], f"{bound}{row['value']}", "; ".join(values), "; ".join(trained))
  return "| " + " | ".join(cells) + " |"


def define_flags() -> None:
  flags.DEFINE_multi_string("runs", [], "METHOD,CORPUS=WORKDIR; may be given more than once.")


def main() -> None:
  print(tables([read(run) for run in flags.FLAGS.runs]))


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
