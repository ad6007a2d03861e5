"""Infilling: what does a hidden middle cost when both sides of it are there to be read?

Masked and uniform diffusion read both sides by nature. Next-token prediction reads the left one,
unless it was trained on text whose middles stand at the end (`fill_in_the_middle`). All fill the
same middles of the same windows, three ways: bits a hidden character (a bound of diffusion, exact
of the others), middles that the likeliest filling gets exactly, and what a judge says of a drawn
filling: a next-token predictor that reads the whole window from left to right, and trained on the
same text for longer under a seed of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax import configuration
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL
from dlm_jax.core.spread import evenly_spread
from dlm_jax.data.corpora import fill_in_the_middle
from dlm_jax.data.tokenizers import letters
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.evaluation import judges, likelihood
from dlm_jax.evaluation.likelihood import Scoring
from dlm_jax.generation.draw import draw
from dlm_jax.generation.draw_settings import DrawSettings
from dlm_jax.generation.prompts import Prompt
from dlm_jax.model.model import Model, load
from dlm_jax.processes.facets import RevealsOnce
from experiments.where_it_pays.intervals import cells, interval, number, share
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, shared_run, sized

LENGTH = 64
JUDGE = "judge"
MOVED = "next token, middle last"
_ALPHABET = letters.ALPHABET + fill_in_the_middle.SIGN
METHODS = {
  JUDGE: Arm("autoregressive", shared=True),
  "masked": Arm("absorbing"),
  "uniform": Arm("uniform"),
  "next token, left side": Arm("autoregressive"),
  MOVED: Arm(
    "autoregressive",
    {
      "data.corpus.name": "fill_in_the_middle",
      "data.tokenizer.name": "character",
      "data.tokenizer.alphabet": _ALPHABET,
      "data.packing": "padded",
      "data.length": LENGTH + 2,
    },
  ),
}
SCALE = Scale(steps=1200, batch_size=16, rows=200, points=1)
# How much of a window is hidden.
HIDDEN = (0.1, 0.3, 0.5)
# Of the steps of the other arms, those of the judge.
_JUDGE_STEPS = 2


@dataclass(frozen=True)
class Middles:
  """Windows of which a middle is hidden, and where.

  Attributes:
    texts: the windows.
    first: where the middle begins, int `[N]`.
    size: its characters.
  """

  texts: Sequence[str]
  first: np.ndarray
  size: int

  @classmethod
  def of(cls, texts: Sequence[str], hidden: float) -> Self:
    """The same middles for all arms."""
    size, rng = round(hidden * LENGTH), np.random.default_rng(round(100 * hidden))
    return cls(texts, rng.integers(LENGTH - size + 1, size=len(texts)), size)

  def filled(self, middles: Sequence[str]) -> list[str]:
    """The windows with other middles."""
    return [
      text[:first] + middle + text[first + self.size :]
      for text, first, middle in zip(self.texts, self.first, middles, strict=True)
    ]

  def read(self, tokenizer: Tokenizer, middle_is_last: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a model reads: tokens int32 `[N, L]`, and which of them are hidden."""
    texts, first = self.texts, self.first
    if middle_is_last:
      texts = [
        fill_in_the_middle.moved(text, start, start + self.size)
        for text, start in zip(texts, first, strict=True)
      ]
      first = np.full(len(texts), LENGTH + 2 - self.size)
    tokens = np.array([tokenizer.encode(text) for text in texts])
    place = np.arange(tokens.shape[1])
    return tokens, (place >= first[:, None]) & (place < first[:, None] + self.size)


def config(arm: Arm, scale: Scale) -> ConfigDict:
  """An arm on the embedded corpus or on the text of the scale, folded to its 27 symbols."""
  fields: dict[str, object] = {"data.length": LENGTH}
  if scale.text:
    fields |= {"data.corpus.name": "text_files", "data.corpus.paths": (scale.text,)}
  made = sized(stdlib_docs.get_config(arm.method), scale, {**fields, **arm.fields})
  if not arm.shared:
    return made
  steps = _JUDGE_STEPS * scale.steps
  return configuration.override(made, {"training.steps": steps, "training.evaluate_every": steps})


def windows(count: int, text: str = "") -> list[str]:
  """Windows of held-out text, the same for all arms.

  Raises:
    UserError: no window of the text is held out.
  """
  corpus = fill_in_the_middle.make(characters=LENGTH, paths=text or ())
  # Middles of no interest: the windows are put together again.
  parts = [document.split("|") for document in corpus.documents("test")]
  whole = [before + middle + after for before, after, middle in parts]
  if not whole:
    raise UserError(
      f"the text that {text} holds out has fewer than {LENGTH} letters: --text needs a longer one."
    )
  return [whole[index] for index in evenly_spread(len(whole), count)]


def fill(model: Model, tokens: np.ndarray, hidden: np.ndarray, temperature: float) -> np.ndarray:
  """The tokens `[N, L]` with what is hidden drawn anew.

  As many evaluations as the longest middle has tokens. At temperature 0 a masked model commits the
  most certain place first; else the order is random, so that what it draws follows its own law.
  """
  is_masked = isinstance(model.process, RevealsOnce)
  score = "random" if temperature else "probability"
  settings = DrawSettings(
    num=len(tokens),
    steps=int(hidden.sum(axis=1).max()),
    sampler="confidence" if is_masked else "ancestral",
    sampler_settings={"score": score} if is_masked else {},
    temperature=temperature,
    batch_size=len(tokens) // len(HIDDEN),
  )
  given = ~hidden
  if model.process.pattern != FULL:
    given = np.cumsum(hidden, axis=1) == 0  # from left to right nothing stands to the right
  return draw(settings, model, Prompt(tokens, given)).tokens


def written(tokenizer: Tokenizer, tokens: np.ndarray, hidden: np.ndarray) -> list[str]:
  """The text of what is hidden: a space for each symbol that the text of a window never holds."""
  texts = []
  for row, where in zip(tokens, hidden, strict=True):
    symbols = [tokenizer.decode(row[place : place + 1]) for place in np.flatnonzero(where)]
    texts.append("".join(s if s and s in letters.ALPHABET else " " for s in symbols))
  return texts


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """Bits of the hidden characters, exact middles and judged middles, at each share."""
  if arm == JUDGE:
    return []
  model, judge = load(run), judges.trained_here(load(shared_run(run, JUDGE)))
  scoring = Scoring(batch_size=256, samples=1 if model.process.exact else 16, mesh=model.mesh)
  likelihoods = likelihood.drawer(model.evaluation_process, model.denoiser, scoring)
  texts = windows(scale.rows, scale.text)
  groups = [Middles.of(texts, part) for part in HIDDEN]
  read = [group.read(model.tokenizer, arm == MOVED) for group in groups]
  tokens, hidden = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
  # All shares in one call, which compiles one program.
  likeliest, drawn = (
    np.split(fill(model, tokens, hidden, temperature), len(HIDDEN)) for temperature in (0.0, 1.0)
  )
  true_nats, rows = judge(texts)[0], []
  for index, (part, group) in enumerate(zip(HIDDEN, groups, strict=True)):
    tokens, hidden = read[index]
    with jax.set_mesh(model.mesh):
      bits = likelihoods(model.params, tokens, ~hidden).bound.bits_per_token.value
    right = (likeliest[index] == tokens) | ~hidden
    nats = judge(group.filled(written(model.tokenizer, drawn[index], hidden)))[0] - true_nats
    judged = float(nats.mean() / group.size / np.log(2))
    exact = float(right.all(axis=1).mean())
    rows.append({"hidden": part, "bits": bits, "exact": exact, "judged": judged})
  return rows


# What is measured, and what it is called.
_MEASURES = {
  "bits": "bits a hidden character",
  "exact": "middles filled exactly, %",
  "judged": "bits a hidden character above the true text, by the judge",
}


def table(rows: Sequence[Row]) -> str:
  """A table a measure: a row an arm, a column a share."""
  shares = sorted({row["hidden"] for row in rows})
  lines = []
  for measure_, title in _MEASURES.items():
    columns = (title, *(f"{part:.0%} hidden" for part in shares))
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (arm,), group in cells(rows, "arm").items():
      of_share = cells(group, "hidden")
      shown = share if measure_ == "exact" else number
      found = [shown([row[measure_] for row in of_share[part,]]) for part in shares]
      lines.append(f"| {' | '.join((arm, *found))} |")
    lines.append("")
  return "\n".join(lines)


def figure(rows: Sequence[Row], path: Path) -> None:
  """Each measure against how much is hidden."""
  drawn = Figure(figsize=(12, 3.8), layout="constrained")
  panels = drawn.subplots(1, len(_MEASURES))
  for axes, (name, title) in zip(panels, _MEASURES.items(), strict=True):
    for (arm,), group in cells(rows, "arm").items():
      scale = 100 if name == "exact" else 1
      points = [
        (100 * part, *interval([scale * row[name] for row in same]))
        for (part,), same in cells(group, "hidden").items()
      ]
      shares, means, halves = zip(*points, strict=True)
      axes.errorbar(shares, means, yerr=halves, fmt="o-", ms=4, capsize=3, label=arm)
    axes.set(xlabel="% of the window hidden", ylabel=title.replace(", by", ",\nby"))
    axes.grid(alpha=0.3)
  panels[0].legend(fontsize=8)
  drawn.savefig(path, dpi=120)


FINDING = Finding("infilling", METHODS, config, measure, table, figure, scale=SCALE)
