"""The text8 table at a small budget: each method once, all else equal, on two cores.

  python -m experiments.paper_tables.scaled

trains each preset of `PRESETS` in a directory of its own, scores it on the test split, and writes
scaled.json here. Started again, it goes on where it was.

  python -m experiments.paper_tables.scaled --table

prints the table of scaled.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.records import is_exact
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.model.model import load
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train
from experiments.paper_tables import published

HERE = Path(__file__).parent
RESULTS = HERE / "scaled.json"
# Methods of `configs/stdlib_docs.py`, on one network, optimizer, batch and corpus (spelled as text8
# is), and the names that they have in published.json.
PRESETS = {
  "autoregressive": "AR",
  "absorbing": "MDLM",
  "generalized_absorbing": "GenMD4",
  "score_absorbing": "SEDD absorb",
  "block": "BD3-LM 16",
  "gidd": "GIDD",
  "hybrid": "hybrid noise",
  "uniform": "UDLM",
  "duo": "Duo",
  "plaid": "Plaid",
  "langflow": "LangFlow",
  "cdcd": "CDCD",
  "diffusion_lm": "Diffusion-LM",
}


def config(preset: str, steps: int, seed: int = 0) -> ConfigDict:
  """The method, trained for so many steps; what it schedules over training shrinks with them."""
  made = stdlib_docs.get_config(f"{preset},steps={steps}")
  made.training.evaluate_every = steps
  made.checkpoint.save_every = steps
  made.seed = seed
  return made


def measure(workdir: Path, samples: int) -> dict[str, Any]:
  """What the run at `workdir` reached on the test split, and what it cost."""
  settings = EvaluateSettings(workdir=str(workdir), samples=samples)
  evaluated = evaluate(settings)
  model = load(str(workdir))
  return {
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
    "seconds_of_training": seconds(workdir),
    "exact": is_exact(evaluated["protocol"]),
    **evaluated["results"]["bits_per_character"],
    "protocol": provenance.protocol(model.provenance),
  }


def seconds(workdir: Path) -> float:
  """Seconds of training steps alone, without compilation, validation and saving."""
  total, last = 0.0, 0
  for row in read_rows(workdir):
    if "seconds_per_step" in row:
      total += row["seconds_per_step"] * (row["step"] - last)
      last = row["step"]
  return total


def table(record: Mapping[str, Any]) -> str:
  """Markdown, the best first. What was published on text8 itself stands beside it."""
  # The first of a method is the number of its own paper, where that has one.
  known = {n.method: n.text for n in reversed(published.load()) if n.corpus == "text8"}
  lines = [
    "| method | preset | bits/char | parameters | seconds of training | published on text8 |",
    "|---|---|---|---|---|---|",
  ]
  for preset, run in sorted(record["results"].items(), key=lambda item: item[1]["value"]):
    method = PRESETS[preset]
    cells = (
      method,
      f"`{preset}`",
      f"{'' if run['exact'] else '≤ '}{run['value']:.3f} ± {run['standard_error']:.3f}",
      f"{run['parameters']:,}",
      f"{run['seconds_of_training']:.0f}",
      known.get(method, ""),
    )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def define_flags() -> None:
  flags.DEFINE_string("workdir", "runs/scaled", "Where the runs go, a directory each.")
  flags.DEFINE_integer("steps", 400, "Of training, of each method.")
  flags.DEFINE_integer("samples", 4, "Times and noises a test sequence.")
  flags.DEFINE_bool("table", False, "Print the table of scaled.json.")


def main() -> int:
  values = flags.FLAGS
  if not values.table:
    results = {}
    for preset in PRESETS:
      workdir = storage.expand(values.workdir) / preset
      code = train(config(preset, values.steps).lock(), str(workdir))
      if code != 0:
        return code
      results[preset] = measure(workdir, values.samples)
      print(f"{preset}: {results[preset]['value']:.3f} bits a character", flush=True)
    settings = {"steps": values.steps, "samples": values.samples}
    workdirs.write_json(RESULTS, {"kind": "scaled", "settings": settings, "results": results})
  print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))
  return 0


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
