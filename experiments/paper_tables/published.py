"""The numbers of the papers, as published.json holds them.

A table of the file is one of a paper (`source`): what it states of all its rows stands there once,
what it states of one row stands in the row. A zero-shot table has a value for each of `corpora`.
`papers` says where each paper is to be read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_jax.core import resolve
from dlm_jax.core.errors import require_known

FILE = Path(__file__).parent / "published.json"
# What a number is. A bound is printed with its sign, and no two kinds are the same quantity.
BOUNDS = ("nelbo", "flow_bound", "importance_weighted")
KINDS = (*BOUNDS, "exact", "gen_ppl", "mauve")
UNITS = {
  "bits_per_character": "bits/char",
  "perplexity": "perplexity",
  "generative_perplexity": "generative perplexity",
  "mauve": "MAUVE",
}


@dataclass(frozen=True, kw_only=True)
class Published:
  """A number of a paper.

  Attributes:
    source: the paper, and the table where it is known.
    link: to the paper.
    method: what the table calls it, with what it is not by default.
    value: as printed.
    spread: as printed behind it.
    kind: one of `KINDS`.
    metric: one of `UNITS`.
    corpus: what is scored, or whose samples are judged.
    trained_on: what was trained on where that is another corpus: zero-shot.
    length: tokens of a row.
    packing: how text became rows: packed, unpacked, stream, cropped, or in words.
    split: of the corpus; zero-shot it depends on the corpus, as in `dlm_jax.data.zero_shot`.
    scored: `all` positions, or those `after_first`; None where nothing is scored.
    trained_by: `authors` of the method, the paper that trained it anew, or `not stated`.
    steps, batch, tokens: of the training, where they are known.
    flow_steps: of the probability flow, of a flow bound.
    draws: of an importance-weighted bound.
    judge, sampler_steps, top_p: of samples.
    samplers: of samples, those here that draw as the paper did, with their settings, such as
      `remdm preset=paper_cap`; None is not stated, and an empty list that there is none.
    recipe: METHOD,CORPUS of `config.recipes`.
    why_no_recipe: where there is none of that name, or no name.
    note: what else has to be known.
  """

  source: str
  link: str
  method: str
  value: str
  kind: str
  metric: str
  corpus: str
  length: int
  packing: str
  trained_by: str
  recipe: str | None = None
  why_no_recipe: str | None = None
  spread: str | None = None
  trained_on: str | None = None
  split: str | None = None
  scored: str | None = None
  steps: int | None = None
  batch: int | None = None
  tokens: float | None = None
  flow_steps: int | None = None
  draws: int | None = None
  judge: str | None = None
  sampler_steps: int | None = None
  top_p: float | None = None
  samplers: tuple[str, ...] | None = None
  note: str | None = None

  def __post_init__(self) -> None:
    require_known("kind of a published number", self.kind, KINDS)
    require_known("metric of a published number", self.metric, UNITS)

  @property
  def cited(self) -> str:
    """The source as markdown, which leads to the paper."""
    return f"[{self.source}]({self.link})"

  @property
  def text(self) -> str:
    """The number as a table prints it."""
    spread = f" ± {self.spread}" if self.spread else ""
    return f"{'≤ ' if self.kind in BOUNDS else ''}{self.value}{spread}"

  @property
  def trains(self) -> str:
    """The corpus of training, and whether that is what is scored."""
    if self.trained_on:
      return f"{self.trained_on} zero-shot"
    return f"{self.corpus} {self.packing}"

  @property
  def column(self) -> tuple[str, ...]:
    """What was measured: numbers that differ in it stand in different tables."""
    words = [self.corpus if self.trained_on is None else f"{self.trained_on}, zero-shot"]
    words += [self.packing, f"rows of {self.length}"]
    words += [f"{self.split} split"] if self.split else []
    words += [f"judge {self.judge}"] if self.judge else []
    words += [f"top-p {self.top_p}"] if self.top_p else []
    return (*words, UNITS[self.metric])


def load() -> tuple[Published, ...]:
  """All numbers of published.json, in its order."""
  read = json.loads(FILE.read_text(encoding="utf-8"))
  return tuple(n for table in read["tables"] for n in _numbers(table, read["papers"]))


def _numbers(table: dict[str, Any], papers: dict[str, str]) -> list[Published]:
  shared = {name: value for name, value in table.items() if name not in ("rows", "corpora")}
  (shared["link"],) = (link for paper, link in papers.items() if table["source"].startswith(paper))
  found = []
  for row in table["rows"]:
    row = shared | row
    values = row.pop("values", None)
    if values is None:
      found.append(resolve.build(Published, row))
      continue
    pairs = zip(table["corpora"], values, strict=True)
    found += [
      resolve.build(Published, row | {"corpus": corpus, "value": value})
      for corpus, value in pairs
      if value != "-"  # a cell that the table leaves empty
    ]
  return found
