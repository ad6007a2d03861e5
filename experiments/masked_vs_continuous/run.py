"""Masked and continuous diffusion, all else equal: which learns more from the same tokens?

  python -m experiments.masked_vs_continuous.run --workdir=runs/masked_vs_continuous

trains each arm on the embedded corpus with one network, one optimizer, the same rows in the same
order and as many steps, evaluates and samples it, and writes `results.md`, `results.json` and
`bounds.png` into the workdir. What is there already is not done again.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.generation.draw import DrawSettings, draw
from dlm_jax.model.model import load
from dlm_jax.runs import workdir as workdirs
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train

ARMS = ("absorbing", "plaid", "langflow")
# Embeddings of one width in both continuous arms: the networks are then of one size.
WIDTH = 16


class Flow(NamedTuple):
  """How the bound by the probability flow is found: Heun steps, and on how many test rows."""

  steps: int
  rows: int


def config(arm: str, steps: int, batch_size: int) -> ConfigDict:
  """The run of one arm. They differ in the process, and in that the masked one is told no time."""
  argument = f"langflow,width={WIDTH}" if arm == "langflow" else arm
  base = stdlib_docs.get_config(argument)
  base.network.conditioning = "adaln"
  base.training.update(
    steps=steps,
    batch_size=batch_size,
    log_every=max(steps // 30, 1),
    evaluate_every=max(steps // 6, 1),
  )
  base.evaluation.update(rows=128, batch_size=batch_size)
  base.optimizer.warmup_steps = max(steps // 10, 1)
  base.checkpoint.save_every = steps
  return base


def measure(arm: str, workdir: str, *, rows: int, flow: Flow, steps: int) -> dict[str, Any]:
  """What a trained arm reached on test rows, cost, and writes in so many steps."""
  model = load(workdir)
  test = evaluate(EvaluateSettings(workdir=workdir, samples=4, rows=rows))
  record = {
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
    "curve": curve(workdir),
    "test": test["results"]["bits_per_character"],
  }
  if arm != "absorbing":
    settings = EvaluateSettings(
      workdir=workdir, samples=1, bound="flow", flow_steps=flow.steps, rows=flow.rows
    )
    scored = evaluate(settings)
    record["flow"] = scored["results"]["bits_per_character"]
    record["flow_evaluations"] = scored["protocol"]["network_evaluations_per_sequence"]
  samples = draw(DrawSettings(num=4, steps=steps), model)
  record["samples"] = [model.tokenizer.decode(row) for row in samples.tokens[:3]]
  record["nfe"] = samples.num_evaluations[0]
  return record


def curve(workdir: str) -> list[dict[str, float]]:
  """The validation bound in bits a character, by step and by seconds of training alone."""
  points, seconds, last = [], 0.0, 0
  for row in read_rows(storage.expand(workdir)):
    if "seconds_per_step" in row:
      seconds += row["seconds_per_step"] * (row["step"] - last)
      last = row["step"]
    if "validation_bits_per_character" in row:
      bits = row["validation_bits_per_character"]
      points.append({"step": row["step"], "seconds": seconds, "bits": bits})
  return points


def draw_figure(results: dict[str, Any], path: Path) -> None:
  """The bound against steps and against seconds."""
  figure = Figure(figsize=(9, 3.6), layout="constrained")
  for axes, against in zip(figure.subplots(1, 2, sharey=True), ("step", "seconds"), strict=True):
    for arm, record in results.items():
      points = record["curve"]
      axes.plot([p[against] for p in points], [p["bits"] for p in points], "o-", label=arm)
    axes.axhline(math.log2(27), color="gray", linestyle=":", label="knowing nothing")
    axes.set(xlabel={"step": "step", "seconds": "seconds of training"}[against])
    axes.grid(alpha=0.3)
  figure.axes[0].set(ylabel="validation bound (bits a character)")
  figure.axes[0].legend()
  figure.savefig(path, dpi=120)


def report(results: dict[str, Any], steps: int, batch_size: int) -> str:
  """The table and the samples, in Markdown."""
  lines = [
    f"{steps} steps of {batch_size} rows of 64 characters; test split, averaged weights.",
    "",
    "| arm | parameters | bound (bits/char) | flow bound (bits/char) | seconds of training |",
    "|---|---|---|---|---|",
  ]
  for arm, record in results.items():
    flow = "-"
    if "flow" in record:
      flow = f"{shown(record['flow'])}, {record['flow_evaluations']} evaluations"
    seconds = record["curve"][-1]["seconds"]
    row = (arm, f"{record['parameters']:,}", shown(record["test"]), flow, f"{seconds:.0f}")
    lines.append(f"| {' | '.join(row)} |")
  for arm, record in results.items():
    lines += ["", f"{arm}, {record['nfe']} network evaluations a batch:", "", "```"]
    lines += [*record["samples"], "```"]
  return "\n".join(lines) + "\n"


def shown(estimate: dict[str, float]) -> str:
  return f"{estimate['value']:.3f} ± {estimate['standard_error']:.3f}"


def define_flags() -> None:
  flags.DEFINE_string("workdir", None, "Where runs, table and figure go.", required=True)
  flags.DEFINE_integer("steps", 1000, "Steps of each arm.")
  flags.DEFINE_integer("batch_size", 64, "Rows of a step.")
  flags.DEFINE_integer("test_rows", 1024, "Test sequences of the variational bound.")
  flags.DEFINE_integer("flow_rows", 128, "Test sequences of the bound by the probability flow.")
  flags.DEFINE_integer("flow_steps", 32, "Heun steps of that flow.")
  flags.DEFINE_integer("sampling_steps", 64, "Steps of each sampler.")


def main() -> None:
  values = flags.FLAGS
  results = {}
  for arm in ARMS:
    workdir = str(storage.expand(values.workdir) / arm)
    if train(config(arm, values.steps, values.batch_size), workdir) != 0:
      return
    results[arm] = measure(
      arm,
      workdir,
      rows=values.test_rows,
      flow=Flow(values.flow_steps, values.flow_rows),
      steps=values.sampling_steps,
    )
    print(f"{arm}: {shown(results[arm]['test'])} bits a character")
  output = storage.expand(values.workdir)
  workdirs.write_json(output / "results.json", results)
  (output / "results.md").write_text(report(results, values.steps, values.batch_size))
  draw_figure(results, output / "bounds.png")
  print(f"written to {output}/results.md and {output}/bounds.png")


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
