"""How far parallel commits are from the model's own distribution, and what they save.

python -m experiments.parallel_commit.run            # a minute on one core
python -m experiments.parallel_commit.run --table    # the tables and the figure, from results.json
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dlm_jax import command_line
from dlm_jax.core import resolve
from dlm_jax.core.types import Record
from dlm_jax.decoding import base
from experiments.parallel_commit.law import EnumerableModel, Law, law

HERE = Path(__file__).parent
V, LENGTH = 3, 4

# Scores under which the n best are committed together, n falling evenly.
TOP_N = ("probability", "margin", "negative_entropy", "random", "left_to_right")
# Rules of the probability, each with the values of its setting.
RULES = {
  "threshold": ("threshold", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
  "factor": ("factor", (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)),
  "entropy_bound": ("bound", (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
  "hierarchical": ("low_threshold", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
}


@dataclass(frozen=True, kw_only=True)
class RunSettings:
  """What is computed.

  Attributes:
    table: whether to make the tables and the figure from results.json alone.
  """

  table: bool = False


def models() -> dict[str, EnumerableModel]:
  """The distributions: neighbours that agree, any dependence at all, and a sum that is fixed."""
  rows = EnumerableModel("", np.ones(1), V, LENGTH).outcomes
  stays = np.prod(np.where(rows[:, 1:] == rows[:, :-1], 0.8, 0.1), axis=1) / V
  random = np.exp(np.random.default_rng(0).normal(size=len(rows)))
  parity = np.where(rows.sum(axis=1) % V == 0, 1.0, 0.0)
  probs = {"chain": stays, "random": random, "fixed sum": parity}
  return {n: EnumerableModel(n, p / p.sum(), V, LENGTH) for n, p in probs.items()}


# Scores under which a model of uniform noise commits the n best, see the revision `renoise`.
NOISY = ("negative_entropy", "random")


def decoders() -> Iterator[tuple[str, str, Record]]:
  """The label of a line of the figure, its score, and the rule of each of its points. Under labels
  that begin with `renoise` the model is given random tokens in place of masks."""
  for score in TOP_N:
    for steps in range(1, LENGTH + 1):
      yield f"top_n, {score}", score, {"name": "top_n", "steps": steps}
  for name, (setting, values) in RULES.items():
    score = "negative_entropy" if name == "entropy_bound" else "probability"
    for value in values:
      yield name, score, {"name": name, setting: value}
  for score in NOISY:
    for steps in range(1, LENGTH + 1):
      yield f"renoise, {score}", score, {"name": "top_n", "steps": steps}
  for value in RULES["entropy_bound"][1]:
    yield "renoise, entropy_bound", "negative_entropy", {"name": "entropy_bound", "bound": value}


def measure() -> list[Record]:
  """A record for each model and decoder."""
  found = []
  for model in models().values():
    for label, score, rule in decoders():
      has_noise = label.startswith("renoise")
      written = law(model, resolve.make(base.RULES, rule), score, has_noise)
      found.append({"model": model.name, "decoder": label, "rule": rule, **numbers(model, written)})
      print(json.dumps(found[-1]), flush=True)
  return found


def numbers(model: EnumerableModel, written: Law) -> Record:
  """What is reported of a law."""
  divergence = written.divergence(model)
  return {
    "tokens_per_evaluation": model.length / written.evaluations,
    "total_variation": written.total_variation(model),
    "nats": None if np.isinf(divergence) else divergence,
  }


def table(results: list[Record]) -> str:
  """The total variation of the fastest point of every decoder below each number of tokens an
  evaluation, with that number."""
  bounds = (1.0, 1.35, 2.0, 3.0, 4.0)
  names = list(dict.fromkeys(row["model"] for row in results))
  labels = list(dict.fromkeys(row["decoder"] for row in results))
  head = " | ".join(f"{bound:g}" for bound in bounds)
  lines = []
  for name in names:
    lines += [f"**{name}**", "", f"| decoder | {head} |", f"|---|{'---|' * len(bounds)}"]
    for label in labels:
      rows = [r for r in results if r["model"] == name and r["decoder"] == label]
      cells = [_cell(rows, low, high) for low, high in zip((0.0, *bounds), bounds, strict=False)]
      lines.append(f"| {label} | {' | '.join(cells)} |")
    lines.append("")
  return "\n".join(lines).rstrip()


def _cell(rows: list[Record], low: float, high: float) -> str:
  """The fastest decoder with more than `low` and up to `high` tokens an evaluation."""
  fitting = [r for r in rows if low + 1e-6 < r["tokens_per_evaluation"] <= high + 1e-6]
  if not fitting:
    return ""
  best = max(fitting, key=lambda r: r["tokens_per_evaluation"])
  return f"{best['total_variation']:.3f} ({best['tokens_per_evaluation']:.2f})"


def figure(results: list[Record], path: Path) -> None:
  """A panel for each distribution: total variation against tokens an evaluation."""
  names = list(dict.fromkeys(row["model"] for row in results))
  drawn = Figure(figsize=(4.2 * len(names), 4.2), layout="constrained")
  for axis, name in zip(drawn.subplots(1, len(names), sharey=True), names, strict=True):
    for label in dict.fromkeys(row["decoder"] for row in results):
      rows = [r for r in results if r["model"] == name and r["decoder"] == label]
      rows.sort(key=lambda r: r["tokens_per_evaluation"])
      style = "s--" if label in RULES else "^:" if label.startswith("renoise") else "o-"
      x, y = ([r[key] for r in rows] for key in ("tokens_per_evaluation", "total_variation"))
      axis.plot(x, y, style, label=label, markersize=3.5, linewidth=1.2)
    axis.set_title(f"{name}: {LENGTH} tokens of {V} symbols")
    axis.set_xlabel("tokens an evaluation")
    axis.grid(alpha=0.3)
  drawn.axes[0].set_ylabel("total variation from the model's distribution")
  drawn.axes[0].legend(fontsize=7)
  drawn.savefig(path, dpi=140)


def main(settings: RunSettings) -> None:
  """Computes all laws, unless only the table is asked for; then the table and the figure."""
  path = HERE / "results.json"
  if not settings.table:
    path.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
  results = json.loads(path.read_text(encoding="utf-8"))
  figure(results, HERE / "figure.png")
  print(table(results))


if __name__ == "__main__":
  command_line.run(main, RunSettings)
