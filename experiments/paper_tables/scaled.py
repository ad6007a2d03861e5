"""The text8 table at a small budget: every method with the same network, data and optimizer.

  python -m experiments.paper_tables.scaled --parallel=2

trains each method of `METHODS` with each seed in a directory of its own, scores it on the test
split, and writes WORKDIR/scaled.json after each run. Started again, it goes on where it was.

  python -m experiments.paper_tables.scaled --table

prints the table of the scaled.json of this folder.
"""

import contextlib
import json
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import stdlib_docs
from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.records import is_exact
from dlm_jax.core.types import Json, Record
from dlm_jax.distributed import compiled_programs, platform
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.model.model import load
from dlm_jax.runs import provenance
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train
from experiments.paper_tables import published

NAME = "scaled.json"
RESULTS = Path(__file__).parent / NAME
# Methods of `configs/stdlib_docs.py`, on one network, optimizer, batch and corpus (in the letters
# of text8), and the names that they have in published.json. Distillation is none of them: it makes
# samples better and the bound worse.
METHODS = {
  "autoregressive": "AR",
  "absorbing": "masks counted, weight capped",
  "mdlm": "MDLM",
  "md4": "MD4",
  "generalized_absorbing": "GenMD4",
  "score_absorbing": "SEDD absorb",
  "score_uniform": "SEDD uniform",
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


@dataclass(frozen=True, kw_only=True)
class ScaledSettings:
  """What is compared.

  Attributes:
    workdir: where the runs go, a directory each, and their results.
    methods: these alone; the default is all.
    steps: of training, of each run.
    samples: times and noises a test sequence.
    seeds: runs of each method.
    parallel: how many runs train at once, each in a process of its own.
    table: print the table of the results in this folder, and run nothing.
  """

  workdir: str = "runs/scaled"
  methods: tuple[str, ...] = ()
  steps: int = 600
  samples: int = 4
  seeds: int = 3
  parallel: int = 1
  table: bool = False


class Run(NamedTuple):
  """One training."""

  method: str
  seed: int

  @property
  def name(self) -> str:
    return f"{self.method}_{self.seed}"


def main(settings: ScaledSettings) -> int:
  if settings.table:
    print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))
    return 0
  for method in settings.methods:
    require_known("method", method, METHODS)
  path = storage.expand(settings.workdir) / NAME
  record, failed = begun(path, settings), []
  # The first seed of every method comes first: a comparison that is cut off is then complete.
  runs = [
    Run(method, seed) for seed in range(settings.seeds) for method in settings.methods or METHODS
  ]
  missing = [run for run in runs if str(run.seed) not in _seeds(record, run.method)]
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes share an accelerator
  with ProcessPoolExecutor(
    settings.parallel, multiprocessing.get_context("spawn"), _start_worker
  ) as pool:
    started = {pool.submit(trained, run, settings): run for run in missing}
    for number, done in enumerate(as_completed(started), start=1):
      run, error = started[done], done.exception()
      if isinstance(error, KeyboardInterrupt):
        pool.shutdown(cancel_futures=True)
        raise error
      if error is None:
        add(record, run, done.result())
        storage.write_json(path, record)
        found = f"{_seeds(record, run.method)[str(run.seed)]['value']:.3f} bits a character"
      else:
        failed.append(run.name)
        found = f"failed: {error}"
      print(f"{number} of {len(missing)}: {run.name} {found}", flush=True)
  print(table(record))
  if failed:
    raise UserError(f"these runs failed: {', '.join(failed)}; their log.txt lies in their workdir.")
  return 0


def begun(path: Path, settings: ScaledSettings) -> Record:
  """The results so far. Raises `UserError` where they are of another budget."""
  budget = {"steps": settings.steps, "samples": settings.samples}
  if not path.exists():
    return {"kind": "scaled", "settings": budget, "results": {}}
  record = json.loads(path.read_text(encoding="utf-8"))
  if record["settings"] != budget:
    raise UserError(f"{path} is of {record['settings']}, not {budget}: give another --workdir.")
  return record


def add(record: Record, run: Run, measured: dict[str, Json]) -> None:
  """Puts the numbers of a run with those of its method; what they depend on stands there once."""
  method = record["results"].setdefault(run.method, {"seeds": {}})
  own = ("value", "standard_error", "seconds_of_training")
  method["seeds"][str(run.seed)] = {name: measured.pop(name) for name in own}
  for name, value in measured.items():
    method.setdefault(name, value)


def _seeds(record: Record, method: str) -> Mapping[str, Record]:
  return record["results"].get(method, {}).get("seeds", {})


def _start_worker() -> None:
  compiled_programs.keep_compiled_programs()
  platform.dispatch_one_step_at_a_time()


def trained(run: Run, settings: ScaledSettings) -> dict[str, Json]:
  """Trains and measures, in this process. What is printed on the way goes to `log.txt`."""
  workdir = storage.expand(settings.workdir) / run.name
  workdir.mkdir(parents=True, exist_ok=True)
  with (
    open(workdir / "log.txt", "a", encoding="utf-8") as log,
    contextlib.redirect_stdout(log),
    contextlib.redirect_stderr(log),
  ):
    if train(config(run, settings.steps).lock(), str(workdir)) != 0:
      raise KeyboardInterrupt
    return measure(workdir, settings.samples)


def config(run: Run, steps: int) -> ConfigDict:
  """The method, trained for so many steps; what it schedules over training shrinks with them."""
  made = stdlib_docs.get_config(f"{run.method},steps={steps},seed={run.seed}")
  made.training.evaluate_every = steps
  made.checkpoint.save_every = steps
  made.network.dtype = "float32"  # on an accelerator as on a CPU
  return made


def measure(workdir: Path, samples: int) -> dict[str, Json]:
  """What the run at `workdir` reached on the test split, and what it cost."""
  evaluated = evaluate(EvaluateSettings(workdir=str(workdir), samples=samples))
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


def over_seeds(method: Record) -> tuple[float, float]:
  """The mean of its runs and the standard error of it; of one run, that of its test rows."""
  runs = list(method["seeds"].values())
  values = [run["value"] for run in runs]
  if len(values) == 1:
    return values[0], runs[0]["standard_error"]
  return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def table(record: Record) -> str:
  """Markdown, the best first. What was published on text8 itself stands beside it."""
  # The first of a method is the number of its own paper, where that has one.
  known = {n.method: n.text for n in reversed(published.load()) if n.corpus == "text8"}
  lines = [
    "| method | `configs/stdlib_docs.py:` | bits/char | seeds | parameters | published on text8 |",
    "|---|---|---|---|---|---|",
  ]
  for name, method in sorted(record["results"].items(), key=lambda item: over_seeds(item[1])):
    mean, error = over_seeds(method)
    cells = (
      METHODS[name],
      f"`{name}`",
      f"{'' if method['exact'] else '≤ '}{mean:.3f} ± {error:.3f}",
      str(len(method["seeds"])),
      f"{method['parameters']:,}",
      known.get(METHODS[name], ""),
    )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  command_line.run(main, ScaledSettings)
