"""Findings, and how their arms are run: each is an ordinary training run and what it measures.

A job is one arm under one seed. Its rows are kept in a file of its own, so that a command that was
stopped goes on: a job that is done is not done again, and a run that was stopped resumes.
"""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import puzzles
from dlm_jax import configuration
from dlm_jax.core.types import Record
from dlm_jax.evaluation.bound import evaluate
from dlm_jax.evaluation.evaluation_settings import EvaluateSettings
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs
from dlm_jax.training.run import train

Row = dict[str, object]
# The seed of shared arms, which no other run has.
_SHARED_SEED = 1000


@dataclass(frozen=True)
class Scale:
  """The size of the experiment; the same for all arms.

  Attributes:
    steps: of training of each arm.
    batch_size: rows of a step.
    width, depth: of every network.
    seeds: runs of each arm.
    rows: prompts of the test split that are answered at each point.
    train_pairs: puzzles that are trained on.
    grid: digits of a Sudoku, 4 or 6.
    points: checkpoints that answer, in equal steps.
    text: a text file that `infilling` reads; the embedded corpus if empty.
  """

  steps: int = 1500
  batch_size: int = 64
  width: int = 64
  depth: int = 3
  seeds: int = 3
  rows: int = 500
  train_pairs: int = 50_000
  grid: int = 4
  points: int = 4
  text: str = ""


# Everything is run and nothing is learned.
FAST = Scale(steps=2, batch_size=8, width=16, depth=1, seeds=1, rows=8, train_pairs=200, points=1)


@dataclass(frozen=True)
class Arm:
  """A run: a method of `configs/`, and fields of the config that are set otherwise.

  Attributes:
    method: a name of `configs/methods`.
    fields: by their dotted names.
    teacher: of a student: the arm that it is distilled from, under the same seed.
    shared: whether one run of it serves all seeds of the others, which start when it is done.
  """

  method: str
  fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
  teacher: str = ""
  shared: bool = False


@dataclass(frozen=True)
class Finding:
  """A question, and how its answer is measured, tabled and drawn.

  Attributes:
    name: of it and its files.
    arms: by their names in the tables.
    config: `(arm, scale) -> config`; the seed is set by the lab.
    measure: `(name of the arm, directory of its run, scale) -> rows`.
    table: `rows -> Markdown`.
    figure: `(rows, path)`, draws the figure.
    scale: its size where the command line does not say another.
    runs: the finding whose runs are measured; its own if empty.
    alone: whether jobs must not share the machine, since they measure time.
    seeds: at most so many; None is all.
  """

  name: str
  arms: Mapping[str, Arm]
  config: Callable[[Arm, Scale], ConfigDict]
  measure: Callable[[str, str, Scale], list[Row]]
  table: Callable[[Sequence[Row]], str]
  figure: Callable[[Sequence[Row], Path], None]
  _: dataclasses.KW_ONLY
  scale: Scale = Scale()
  runs: str = ""
  alone: bool = False
  seeds: int | None = None


@dataclass(frozen=True)
class Job:
  """One arm under one seed."""

  finding: Finding
  arm: str
  seed: int
  scale: Scale
  workdir: Path

  @property
  def name(self) -> str:
    return f"{self.finding.name}:{self.arm}:{self.seed}"

  @property
  def run(self) -> str:
    """The directory of its run."""
    return str(self.workdir / (self.finding.runs or self.finding.name) / _stem(self.arm, self.seed))

  @property
  def config(self) -> ConfigDict:
    arm = self.finding.arms[self.arm]
    fields: dict[str, object] = {"seed": self.seed}
    if arm.teacher:
      fields["distillation.teacher"] = dataclasses.replace(self, arm=arm.teacher).run
    config = self.finding.config(arm, self.scale)
    return configuration.override(config, fields).lock()

  @property
  def rows(self) -> Path:
    """The file that holds what was measured."""
    return self.workdir / self.finding.name / f"{_stem(self.arm, self.seed)}.json"

  def result(self) -> Record | None:
    """What was measured at this scale, of any number of seeds, if it was."""
    if not self.rows.exists():
      return None
    found = json.loads(self.rows.read_text(encoding="utf-8"))
    scale = {**found["scale"], "seeds": self.scale.seeds}
    return found if scale == dataclasses.asdict(self.scale) else None

  def do(self) -> int:
    """Trains and measures unless that is done; returns the exit code."""
    if self.result() is not None:
      return 0
    code = train(self.config, self.run)
    if code == 0:
      rows = self.finding.measure(self.arm, self.run, self.scale)
      found = {
        "scale": dataclasses.asdict(self.scale),
        "rows": [{"arm": self.arm, "seed": self.seed, **row} for row in rows],
        "environment": provenance.environment(workdirs.read_dataset(self.run)["hash"]),
        "config": self.config.to_dict(),
      }
      self.rows.parent.mkdir(parents=True, exist_ok=True)
      workdirs.write_json(self.rows, found)
      print(f"{self.name} is done", flush=True)
    return code


def _stem(arm: str, seed: int) -> str:
  return f"{re.sub(r'[^a-z0-9%]+', '_', arm)}-{seed}"


def shared_run(run: str, arm: str) -> str:
  """The directory of the run of a shared arm, beside that of another arm."""
  return str(Path(run).with_name(_stem(arm, _SHARED_SEED)))


def jobs(finding: Finding, scale: Scale, workdir: Path) -> list[Job]:
  """All jobs of a finding: its shared arms, and then one seed of every other after the other."""
  seeds = scale.seeds if finding.seeds is None else min(scale.seeds, finding.seeds)
  shared = [(arm, _SHARED_SEED) for arm, how in finding.arms.items() if how.shared]
  others = [(a, seed) for seed in range(seeds) for a, how in finding.arms.items() if not how.shared]
  return [Job(finding, arm, seed, scale, workdir) for arm, seed in (*shared, *others)]


def do_all(wanted: Sequence[Job], command: Sequence[str], parallel: int) -> int:
  """Does the jobs, `parallel` at once in processes of their own; returns the first bad exit code.

  Shared arms come before all others.

  Args:
    wanted: the jobs.
    command: the command line that does one job, less its name.
    parallel: 1 does them in this process.
  """
  if parallel == 1:
    return next((code for job in wanted if (code := job.do())), 0)

  def start(job: Job) -> int:
    if job.result() is not None:
      return 0
    return subprocess.run([*command, f"--job={job.name}"]).returncode

  is_shared = [job.finding.arms[job.arm].shared for job in wanted]
  with ThreadPoolExecutor(parallel) as pool:
    return next(
      (
        code
        for first in (True, False)
        for code in pool.map(start, itertools.compress(wanted, (s is first for s in is_shared)))
        if code
      ),
      0,
    )


def record(finding: Finding, done: Sequence[Job], command: str) -> Record:
  """The record of a finding, from the files of its jobs."""
  results = [result for job in done if (result := job.result()) is not None]
  return {
    "kind": f"where_it_pays_{finding.name}",
    "results": {"rows": [row for result in results for row in result["rows"]]},
    "protocol": {
      "command": command,
      "scale": dataclasses.asdict(done[0].scale),
      "environment": results[0]["environment"],
      "configs": {job.arm: job.config.to_dict() for job in reversed(done)},
    },
  }


def sized(config: ConfigDict, scale: Scale, fields: Mapping[str, object]) -> ConfigDict:
  """The config with the shapes that all arms share, and then with `fields`."""
  part = max(scale.steps // scale.points, 1)
  rows = max(scale.rows, 16)
  sizes = {
    "network.width": scale.width,
    "network.depth": scale.depth,
    "network.heads": 4,
    "optimizer.warmup_steps": max(scale.steps // 10, 1),
    "training.steps": scale.steps,
    "training.batch_size": scale.batch_size,
    "training.log_every": part,
    "training.evaluate_every": scale.steps,
    "evaluation.rows": rows,
    "evaluation.batch_size": rows,
    "checkpoint.save_every": part,
    "checkpoint.keep_latest": scale.points,
  }
  return configuration.override(config, {**sizes, **fields})


def puzzle_config(arm: Arm, scale: Scale, task: str, fields: Mapping[str, object]) -> ConfigDict:
  """The run of an arm on a task of `configs/puzzles.py`."""
  pairs = {
    "data.corpus.train_pairs": scale.train_pairs,
    "data.corpus.validation_pairs": max(scale.rows, 16),
    "data.corpus.test_pairs": max(scale.rows, 16),
  }
  config = puzzles.get_config(f"{arm.method},task={task}")
  return sized(config, scale, {**pairs, **fields, **arm.fields})


def answered(run: str, rows: int, batch_size: int | None = None, **how: object) -> Row:
  """What `evaluate --metric=exact_match` says of a run, with the time an answer took.

  Args:
    run: its directory.
    rows: prompts.
    batch_size: answered at once; None is all.
    **how: `sampler`, `sampler_settings`, `steps`, and `step` of the checkpoint.
  """
  settings = EvaluateSettings(
    workdir=run, metric="exact_match", rows=rows, batch_size=batch_size or rows, **how
  )
  found = evaluate(settings)
  protocol = found["protocol"]
  return {
    "step": protocol["step"],
    "exact": found["results"]["exact_match"]["value"],
    "tokens": found["results"]["tokens"]["value"],
    "evaluations": float(np.mean(protocol["network_evaluations"])),
    "seconds": protocol["seconds_without_compilation"],
    "answers": found["answers"],
  }


def child_command(flags: Sequence[str]) -> list[str]:
  """The command line of this program in another process."""
  return [sys.executable, "-m", "experiments.where_it_pays.run", *flags]
