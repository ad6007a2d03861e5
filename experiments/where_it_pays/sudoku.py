"""Constraints and order: in which order should the cells of a Sudoku be filled?

One masked model is sampled in four orders at several numbers of evaluations, beside next-token
prediction from left to right and in the order of a solver, which never has to guess (Kim et al.
2025). All arms read the same prompts; the solver's order is part of the last one's.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from dlm_jax.data.corpora import sudoku as corpus
from experiments.where_it_pays.intervals import cells, interval, share
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, answered, puzzle_config

SCALE = Scale(grid=6)
MASKED = "masked"
METHODS = {
  MASKED: Arm("absorbing"),
  "next token": Arm("autoregressive"),
  "next token, solver's order": Arm("autoregressive", {"data.corpus.order": "solver"}),
}
# The scores of the sampler `confidence`, and what they are called here.
ORDERS = {
  "probability": "most certain first",
  "margin": "margin",
  "random": "random",
  "left_to_right": "left to right",
}


def config(arm: Arm, scale: Scale) -> ConfigDict:
  order = arm.fields.get("data.corpus.order", "rows")
  length = corpus.make(size=scale.grid, order=order).length
  fields = {
    "data.corpus.size": scale.grid,
    "data.length": length,
    # A cell has its place in every row: rotary positions, which tell distances, learn that slowly.
    "network.learned_positions": length,
  }
  return puzzle_config(arm, scale, "sudoku", fields)


def step_counts(scale: Scale) -> list[int]:
  """1, 2, 4, .. and the cells of a grid, of which a test takes the ends alone."""
  cells = scale.grid**2
  powers = [1 << k for k in range(cells.bit_length()) if 2 << k < cells]
  return [*(powers if scale.points > 1 else powers[:1]), cells]


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """Puzzles that are solved, in each order and at each number of evaluations."""
  if arm != MASKED:
    return [{"order": arm, **answered(run, scale.rows)}]
  rows = []
  for score, order in ORDERS.items():
    # The two orders that lie between are measured one cell at a time.
    counts = step_counts(scale) if score in ("probability", "random") else step_counts(scale)[-1:]
    for steps in counts:
      how = {"sampler": "confidence", "sampler_settings": {"score": score}, "steps": steps}
      rows.append({"order": order, **answered(run, scale.rows, **how)})
  return rows


def table(rows: Sequence[Row]) -> str:
  """A row an order and number of evaluations."""
  lines = ["| model | order | evaluations | solved, % |", "|---|---|---|---|"]
  for (arm, order, evaluations), group in cells(rows, "arm", "order", "evaluations").items():
    solved = share([row["exact"] for row in group])
    name = (
      order if arm == MASKED else order.removeprefix("next token, ").replace(arm, "left to right")
    )
    lines.append(f"| {arm.split(',')[0]} | {name} | {evaluations:.0f} | {solved} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """Solved puzzles against evaluations, an order a line."""
  drawn = Figure(figsize=(7, 4), layout="constrained")
  axes = drawn.subplots()
  for (arm, order), group in cells(rows, "arm", "order").items():
    points = [
      (evaluations, *interval([row["exact"] for row in same]))
      for (evaluations,), same in cells(group, "evaluations").items()
    ]
    counts, means, halves = zip(*points, strict=True)
    label = f"masked, {order}" if arm == MASKED else order
    marker = "o-" if arm == MASKED else "s"
    axes.errorbar(counts, means, yerr=halves, fmt=marker, ms=5, capsize=3, label=label)
  axes.set_xscale("log", base=2)
  axes.xaxis.set_major_formatter("{x:g}")
  axes.set(
    xlabel="network evaluations of a puzzle",
    ylabel="puzzles solved, exactly",
    ylim=(-0.03, 1.03),
    title="The order in which cells are filled",
  )
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  drawn.savefig(path, dpi=120)


FINDING = Finding("sudoku", METHODS, config, measure, table, figure, scale=SCALE)
