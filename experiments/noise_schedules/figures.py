"""The tables and the figure of a record of the sweep."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.noise_schedules.schedules import PROCESSES, REFERENCE

COLUMNS = (
  "schedule",
  "bound, trained with it (bits/char)",
  "less that of linear, by seed",
  "bound, weights of the linear run",
  "its deviation / error, by seed",
  "gradient variance / linear",
  "variance of the loss over t",
  "judge perplexity",
  "entropy",
)


def tables(record: Mapping[str, Any]) -> str:
  """Markdown: for each process a row a schedule, means over seeds."""
  parts = []
  for process in PROCESSES:
    parts += [
      f"### {process}",
      "",
      f"| {' | '.join(COLUMNS)} |",
      "|---" * len(COLUMNS) + "|",
    ]
    rows = [row for row in record["results"]["rows"] if row["process"] == process]
    linear = {row["seed"]: row for row in rows if row["schedule"] == REFERENCE}
    for schedule in dict.fromkeys(row["schedule"] for row in rows):
      parts.append(_line(schedule, [r for r in rows if r["schedule"] == schedule], linear))
    parts.append("")
  return "\n".join(parts)


def _line(
  schedule: str, rows: Sequence[Mapping[str, Any]], linear: Mapping[int, Mapping[str, Any]]
) -> str:
  def mean(field: str) -> float:
    return float(np.mean([row[field] for row in rows]))

  paired = [(r["own_bound"] - linear[r["seed"]]["own_bound"]) / math.log(2) for r in rows]
  deviations = [deviation(row, linear[row["seed"]]) for row in rows]
  gradients = [r["gradient_variance"] / linear[r["seed"]]["gradient_variance"] for r in rows]
  cells = (
    f"{schedule}",
    f"{mean('own_bound') / math.log(2):.3f} ± {mean('own_standard_error') / math.log(2):.3f}",
    " ".join(f"{p:+.3f}" for p in paired),
    f"{mean('reference_bound') / math.log(2):.3f}",
    " ".join(f"{d:+.1f}" for d in deviations),
    f"{np.mean(gradients):.2f}",
    f"{mean('reference_variance_over_time'):.3g}",
    f"{mean('judge_perplexity'):.1f}",
    f"{mean('entropy'):.2f}",
  )
  return "| " + " | ".join(cells) + " |"


def deviation(row: Mapping[str, Any], linear: Mapping[str, Any]) -> float:
  """How far two bounds of the same weights are apart, in standard errors of the difference.

  The sequences are the same, so that only times and noise differ: the errors are of the draws.
  They leave out what stratification gains and count pairs as independent.
  """
  gap = row["reference_bound"] - linear["reference_bound"]
  error = math.hypot(row["reference_error_of_draws"], linear["reference_error_of_draws"])
  return gap / error if error else 0.0


def figure(record: Mapping[str, Any], path: Path) -> None:
  """The integrand against time at the weights of the linear run, a panel a process."""
  drawn = Figure(figsize=(4 + 4 * len(PROCESSES), 4), layout="constrained")
  panels = drawn.subplots(1, len(PROCESSES), sharey=False)
  for axes, process in zip(panels, PROCESSES, strict=True):
    for row in record["results"]["rows"]:
      if row["process"] == process and row["seed"] == 0:
        values = row["reference_loss_over_time"]
        times = (np.arange(len(values)) + 0.5) / len(values)
        axes.plot(times, values, label=row["schedule"])
    axes.set(title=process, xlabel="t", ylabel="nats a token at t", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
  drawn.savefig(path, dpi=100)
