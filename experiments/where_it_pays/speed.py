"""Speed: what a solved Sudoku costs, in network evaluations and in milliseconds.

The models are those of `sudoku`; next-token prediction keeps its keys and values. Beside the masked
model stands its student, which learned to do in one step what its teacher does in two, three times
over (SDTT, Deschenaux and Gulcehre 2025).
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from dlm_jax import configuration
from experiments.where_it_pays import sudoku
from experiments.where_it_pays.intervals import cells
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, answered

BATCHES = (1, 32)
# Batches that are timed.
REPEATS = 4


STUDENT = "masked, distilled"
METHODS = {**sudoku.METHODS, STUDENT: Arm("sdtt", teacher=sudoku.MASKED)}
# The first round makes one step of two that fill a cell each, and each further round doubles it.
ROUNDS = 3


def config(arm: Arm, scale: Scale) -> ConfigDict:
  """That of `sudoku`; a student trains for a quarter of the steps."""
  made = sudoku.config(arm, scale)
  if not arm.teacher:
    return made
  per_round = max(scale.steps // 4 // ROUNDS, 1)
  fields = {
    "training.steps": ROUNDS * per_round,
    "training.evaluate_every": ROUNDS * per_round,
    "training.log_every": per_round,
    "checkpoint.save_every": per_round,
    "optimizer.warmup_steps": 1,
    "distillation.steps_per_round": per_round,
    "distillation.gap": 2 / sudoku.step_counts(scale)[-1],
  }
  return configuration.override(made, fields)


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """Accuracy at each number of evaluations, and the time of an answer in batches of each size."""
  is_masked = arm in (sudoku.MASKED, STUDENT)
  counts = sudoku.step_counts(scale) if is_masked else [None]
  how = {"sampler": "confidence"} if is_masked else {}
  rows = []
  for steps in counts:
    row = answered(run, scale.rows, steps=steps, **how)
    del row["seconds"]
    for batch in BATCHES:
      timed = answered(run, max(REPEATS * batch, 2), batch, steps=steps, **how)
      row[f"milliseconds_{batch}"] = 1000 * timed["seconds"] / timed["answers"] * batch
    rows.append(row)
  return rows


def table(rows: Sequence[Row]) -> str:
  """A row a model and number of evaluations."""
  columns = ("model", "evaluations", "solved, %", *(f"ms, batch of {b}" for b in BATCHES))
  lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
  for row in rows:
    times = [f"{row[f'milliseconds_{batch}']:.1f}" for batch in BATCHES]
    shown = (row["arm"], f"{row['evaluations']:.0f}", f"{100 * row['exact']:.1f}", *times)
    lines.append(f"| {' | '.join(shown)} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """Solved puzzles against evaluations and against time."""
  drawn = Figure(figsize=(11, 3.6), layout="constrained")
  against = {"evaluations": "network evaluations"}
  against |= {f"milliseconds_{batch}": f"ms, batch of {batch}" for batch in BATCHES}
  panels = drawn.subplots(1, len(against), sharey=True)
  for axes, (name, label) in zip(panels, against.items(), strict=True):
    for (arm,), group in cells(rows, "arm").items():
      axes.plot([row[name] for row in group], [row["exact"] for row in group], "o-", label=arm)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=label, ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
  panels[0].set_ylabel("puzzles solved, exactly")
  panels[0].legend(fontsize=8)
  drawn.savefig(path, dpi=120)


FINDING = Finding(
  "speed",
  METHODS,
  config,
  measure,
  table,
  figure,
  scale=sudoku.SCALE,
  runs=sudoku.FINDING.name,
  alone=True,
  seeds=1,
)
