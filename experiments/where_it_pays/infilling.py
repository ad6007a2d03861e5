"""Infilling: what does a hidden middle cost when both sides of it are there to be read?

Masked and uniform diffusion read both sides by nature. Next-token prediction reads the left one,
unless it was trained on text whose middles stand at the end (`fill_in_the_middle`). Bits a hidden
character of the same middles of the same windows; a bound of diffusion, exact of the others.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax.core.spread import evenly_spread
from dlm_jax.data.corpora import fill_in_the_middle
from dlm_jax.data.tokenizers import letters
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.likelihood import Scoring
from dlm_jax.model.model import load
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, cells, interval, sized

LENGTH = 64
MOVED = "next token, middle last"
_ALPHABET = letters.ALPHABET + fill_in_the_middle.SIGN
METHODS = {
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
# How much of a window is hidden.
HIDDEN = (0.1, 0.3, 0.5)


def config(arm: Arm, scale: Scale) -> ConfigDict:
  return sized(stdlib_docs.get_config(arm.method), scale, {"data.length": LENGTH, **arm.fields})


def windows(count: int) -> list[str]:
  """Windows of held-out text, the same for all arms."""
  # Middles of no interest: the windows are put together again.
  parts = [text.split("|") for text in fill_in_the_middle.make(characters=LENGTH).documents("test")]
  whole = [before + middle + after for before, after, middle in parts]
  return [whole[index] for index in evenly_spread(len(whole), count)]


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """Bits of the hidden characters, at each share."""
  model, rows = load(run), []
  scoring = Scoring(batch_size=256, samples=1 if model.process.exact else 16, mesh=model.mesh)
  draw = likelihood.drawer(model.evaluation_process, model.denoiser, scoring)
  texts = windows(scale.rows)
  for share in HIDDEN:
    size, rng = round(share * LENGTH), np.random.default_rng(round(100 * share))
    first = rng.integers(LENGTH - size + 1, size=len(texts))
    if arm == MOVED:
      texts_read = [
        fill_in_the_middle.moved(t, f, f + size) for t, f in zip(texts, first, strict=True)
      ]
      first = np.full(len(texts), LENGTH + 2 - size)
    else:
      texts_read = texts
    tokens = np.array([model.tokenizer.encode(text) for text in texts_read])
    place = np.arange(tokens.shape[1])
    hidden = (place >= first[:, None]) & (place < first[:, None] + size)
    with jax.set_mesh(model.mesh):
      found = draw(model.params, tokens, ~hidden).bound
    rows.append({"hidden": share, "bits": found.bits_per_token.value})
  return rows


def table(rows: Sequence[Row]) -> str:
  """A row an arm, a column a share."""
  shares = sorted({row["hidden"] for row in rows})
  columns = ("bits a hidden character", *(f"{share:.0%} hidden" for share in shares))
  lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
  for (arm,), group in cells(rows, "arm").items():
    of_share = cells(group, "hidden")
    found = [interval([row["bits"] for row in of_share[share,]]) for share in shares]
    lines.append(f"| {' | '.join((arm, *(f'{m:.3f} ± {h:.3f}' for m, h in found)))} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """Bits of a hidden character against how much is hidden."""
  drawn = Figure(figsize=(7, 4), layout="constrained")
  axes = drawn.subplots()
  for (arm,), group in cells(rows, "arm").items():
    points = [
      (100 * share, *interval([row["bits"] for row in same]))
      for (share,), same in cells(group, "hidden").items()
    ]
    shares, means, halves = zip(*points, strict=True)
    axes.errorbar(shares, means, yerr=halves, fmt="o-", ms=4, capsize=3, label=arm)
  axes.set(xlabel="% of the window hidden", ylabel="bits a hidden character, lower is better")
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  drawn.savefig(path, dpi=120)


FINDING = Finding("infilling", METHODS, config, measure, table, figure)
