"""Few data, many epochs: when text runs out, which of the two goes on learning?

Next-token prediction and masked diffusion train for equal steps on 1, 4 and 16 % of the embedded
corpus (Prabhudesai et al. 2025; Ni et al. 2025). The bound on held-out text, exact for next-token
prediction, is read against the epochs that a model has seen.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax.model.model import load, training_data
from dlm_jax.runs.metrics import read_rows
from experiments.where_it_pays.intervals import cells, interval, number
from experiments.where_it_pays.lab import Arm, Finding, Row, Scale, sized

SHARES = (0.01, 0.04, 0.16)
METHODS = {"next token": "autoregressive", "masked": "absorbing"}
SCALE = Scale(steps=1200, batch_size=16, rows=256, points=1)
# Validations of a run.
POINTS = 12


def config(arm: Arm, scale: Scale) -> ConfigDict:
  points = min(POINTS, scale.steps)
  fields = {"training.evaluate_every": scale.steps // points, "evaluation.samples": 4}
  return sized(stdlib_docs.get_config(arm.method), scale, {**fields, **arm.fields})


def measure(arm: str, run: str, scale: Scale) -> list[Row]:
  """The validation bounds of a run, in bits a character, with the epochs seen until then."""
  model = load(run)
  share = model.provenance.config["data"]["share"]
  an_epoch = share * training_data(model).num_rows("train")
  return [
    {
      "method": arm.split(",")[0],
      "share": share,
      "step": row["step"],
      "epochs": row["step"] * scale.batch_size / an_epoch,
      "bits": row["validation_bits_per_character"],
    }
    for row in read_rows(Path(run))
    if "validation_bits_per_character" in row
  ]


def _bounds(rows: Sequence[Row]) -> dict[tuple[object, ...], tuple[float, float, float]]:
  """By method and share of the text: the best bound of a run, its epoch, and the last bound."""
  found = {}
  for key, group in cells(rows, "method", "share", "seed").items():
    best = min(group, key=lambda row: row["bits"])
    found[key] = best["bits"], best["epochs"], group[-1]["bits"]
  return found


def table(rows: Sequence[Row]) -> str:
  """A row a share of the text and a method."""
  columns = ("text", "method", "best bound, bits/char", "at epoch", "last bound", "last epoch")
  lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
  bounds = _bounds(rows)
  for (share, method), group in cells(rows, "share", "method").items():
    mine = [values for (name, part, _), values in bounds.items() if (name, part) == (method, share)]
    best, at, last = ([values[k] for values in mine] for k in range(3))
    shown = (number(best), f"{interval(at)[0]:.0f}", number(last))
    end = max(row["epochs"] for row in group)
    lines.append(f"| {' | '.join((f'{share:.0%}', method, *shown, f'{end:.0f}'))} |")
  return "\n".join(lines) + "\n"


def figure(rows: Sequence[Row], path: Path) -> None:
  """The bound against epochs, a panel a share of the text."""
  groups = cells(rows, "share")
  drawn = Figure(figsize=(11, 3.6), layout="constrained")
  panels = drawn.subplots(1, len(groups), sharey=True, squeeze=False)[0]
  for axes, ((share,), of_share) in zip(panels, groups.items(), strict=True):
    for (method,), group in cells(of_share, "method").items():
      points = [
        (epochs, *interval([row["bits"] for row in same]))
        for (epochs,), same in cells(group, "epochs").items()
      ]
      epochs, means, halves = zip(*points, strict=True)
      axes.errorbar(epochs, means, yerr=halves, fmt="o-", ms=3, capsize=2, label=method)
    axes.set(xscale="log", xlabel="epochs", title=f"{share:.0%} of the text")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
  panels[0].set_ylabel("bound on held-out text, bits a character")
  panels[0].legend(fontsize=8)
  drawn.savefig(path, dpi=120)


ARMS = {
  f"{name}, {share:.0%}": Arm(method, {"data.share": share})
  for share in SHARES
  for name, method in METHODS.items()
}
FINDING = Finding("epochs", ARMS, config, measure, table, figure, scale=SCALE)
