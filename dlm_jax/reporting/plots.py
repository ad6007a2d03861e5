"""Figures of a run."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def loss_curve(rows: Sequence[dict[str, float]], path: Path) -> None:
  """Draws training loss and validation bound, both in bits a token, against steps.

  Args:
    rows: of `metrics.jsonl`.
    path: PNG to write.
  """
  figure = Figure(figsize=(7, 4), layout="constrained")
  axes = figure.subplots()
  curves = {
    "loss": ("training loss", "-", 1.0),
    "validation_bound": ("validation bound", "o-", 2.0),
  }
  for name, (label, style, width) in curves.items():
    points = [(row["step"], row[name] / math.log(2)) for row in rows if name in row]
    if points:
      axes.plot(*zip(*points, strict=True), style, label=label, linewidth=width, markersize=4)
  axes.set(xlabel="step", ylabel="bits per token")
  axes.grid(alpha=0.3)
  axes.legend()
  figure.savefig(path, dpi=120)
