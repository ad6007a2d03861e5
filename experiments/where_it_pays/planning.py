"""Planning: which training finds the one path to the goal, and after how many steps?

On a path-star graph every step but the first follows from the one before it. Trained on the true
path so far, a next-token predictor learns these and never the first (Bachmann and Nagarajan 2024):
its share of right answers stays at 1 / arms.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.where_it_pays.intervals import cells, share
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, answered, puzzle_config

ARMS, PATH, NODES = 2, 4, 8
# Edges of two nodes and what separates them, centre and goal with their signs, and the path.
LENGTH = 3 * ARMS * (PATH - 1) + 3 + PATH
# Evaluations where a method is free to choose, of the answer as a whole.
STEPS = 16

SCALE = Scale(steps=4000, batch_size=32, depth=4)
METHODS = {
  "next token": Arm("autoregressive"),
  "next token, reversed": Arm("autoregressive", {"data.corpus.reverse": True}),
  "teacherless": Arm("absorbing", {"times.epsilon": 0.999}),
  "masked": Arm("absorbing"),
  "uniform": Arm("uniform"),
  "block of 2": Arm("block,block_size=2"),
}
SAMPLERS = {
  "teacherless": {"steps": 1},
  "masked": {"sampler": "confidence"},
  "uniform": {"steps": STEPS},
  "block of 2": {"steps": 2 * LENGTH},
}


def config(arm: Arm, scale: Scale) -> ConfigDict:
  corpus = {"arms": ARMS, "path_length": PATH, "nodes": NODES}
  fields = {f"data.corpus.{name}": value for name, value in corpus.items()}
  return puzzle_config(arm, scale, "path_star", {**fields, "data.length": LENGTH})


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """The answers of the checkpoints."""
  part = max(scale.steps // scale.points, 1)
  steps = [*(part * k for k in range(1, scale.points)), scale.steps]
  return [answered(run, scale.rows, step=step, **SAMPLERS.get(arm, {})) for step in steps]


def table(rows: Sequence[Row]) -> str:
  """A row an arm, a column a checkpoint, and each seed at the end."""
  steps = sorted({row["step"] for row in rows})
  columns = ("right answers, %", *(f"step {step:,}" for step in steps), "each seed", "evaluations")
  lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
  for (arm,), group in cells(rows, "arm").items():
    by_step = cells(group, "step")
    values = [share([row["exact"] for row in by_step[step,]]) for step in steps]
    evaluations = f"{group[-1]['evaluations']:.0f}"
    seeds = ", ".join(f"{100 * row['exact']:.0f}" for row in by_step[steps[-1],])
    lines.append(f"| {' | '.join((arm, *values, seeds, evaluations))} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """Right answers against steps of training, a line a seed."""
  drawn = Figure(figsize=(8, 4), layout="constrained")
  axes = drawn.subplots()
  for number, ((arm,), group) in enumerate(cells(rows, "arm").items()):
    # A run finds all paths or none but by chance: lines of runs say more than their mean.
    for index, of_seed in enumerate(cells(group, "seed").values()):
      points = [(row["step"], row["exact"]) for row in of_seed]
      label = {} if index else {"label": arm}
      axes.plot(*zip(*points, strict=True), "o-", ms=4, color=f"C{number}", alpha=0.7, **label)
  axes.axhline(1 / ARMS, color="black", linestyle=":", label=f"1 of {ARMS} arms at random")
  axes.set(
    xlabel="steps of training; a line is a run",
    ylabel="paths found, exactly",
    ylim=(-0.03, 1.03),
    title=f"{ARMS} arms of {PATH} nodes: which one leads to the goal?",
  )
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
  drawn.savefig(path, dpi=120)


FINDING = Finding("planning", METHODS, config, measure, table, figure, scale=SCALE)
