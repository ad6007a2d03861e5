"""Does everything to a run that clusters do, and shows what was lost.

  python -m experiments.chaos.run --kills=10

A small run is trained undisturbed. Then the same run is killed at random moments, its checkpoints
are damaged, its disk fills up, its data cannot be read, and it is started again as a launcher would
start it. Sound is what resumes from the newest whole checkpoint and ends with the very state, bit
for bit, of the undisturbed run. The exit code is 1 if anything is not sound.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from rich.console import Console
from rich.table import Table

from dlm_jax.runs import checkpoint
from dlm_jax.runs.metrics import read_rows
from experiments.chaos.damage import DAMAGES

_KILLS = flags.DEFINE_integer("kills", 10, "How often the run is killed.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments at which it is killed.")
_FAULTS = flags.DEFINE_list("faults", None, "Only these faults, by name; all if not given.")

ROOT = Path(__file__).parent.parent.parent
STEPS, SAVE_EVERY = 240, 20
FIELDS = {
  "network.width": 64,
  "network.depth": 1,
  "network.dtype": "float32",
  "data.length": 32,
  "training.steps": STEPS,
  "training.batch_size": 16,
  "training.log_every": 1,
  "training.evaluate_every": STEPS,
  "evaluation.rows": 16,
  "evaluation.batch_size": 16,
  "checkpoint.save_every": SAVE_EVERY,
  "checkpoint.keep_latest": STEPS,
}
# A full disk: no file may grow beyond so many bytes, which a checkpoint does and the log does not.
FULL = 1 << 17


@dataclass(frozen=True)
class Outcome:
  """One line of the table.

  Attributes:
    fault: its name.
    happened: what the run did.
    lost: steps that had been taken and were run again.
    sound: nothing beyond the last whole save was lost, and the end is that of the undisturbed run.
  """

  fault: str
  happened: str
  lost: str
  sound: bool


@dataclass(frozen=True)
class Lab:
  """A directory with the data, the undisturbed run, and a copy of it for each fault."""

  directory: Path

  @property
  def reference(self) -> Path:
    return self.directory / "reference"

  def start(self, workdir: Path, limit: int | None = None) -> subprocess.Popen:
    """Starts training; `limit` is how large a file may grow."""
    fields = {**FIELDS, "data.directory": self.directory / "data"}
    command = [sys.executable, "-m", "dlm_jax.train", f"--workdir={workdir}"]
    command.append(f"--config={ROOT / 'configs/stdlib_docs.py'}")
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    if limit is not None:
      command = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "bash", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

  def train(self, workdir: Path, limit: int | None = None) -> subprocess.CompletedProcess:
    """Trains until the process ends of itself."""
    process = self.start(workdir, limit)
    out, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

  def halfway(self, name: str) -> tuple[Path, list[int]]:
    """A copy of the undisturbed run as it was in the middle, and the steps that it has saved."""
    workdir = self.directory / name
    shutil.copytree(self.reference, workdir)
    for step in checkpoint.steps(workdir / "checkpoints"):
      if step > STEPS // 2:
        shutil.rmtree(workdir / "checkpoints" / str(step))
    return workdir, checkpoint.steps(workdir / "checkpoints")

  def ends_the_same(self, workdir: Path) -> bool:
    """Whether the last state is bit for bit that of the undisturbed run."""
    ours, expected = (
      path / "checkpoints" / str(STEPS) / "record" / "metadata"
      for path in (workdir, self.reference)
    )
    if not ours.exists():
      return False
    return json.loads(ours.read_text())["leaves"] == json.loads(expected.read_text())["leaves"]


def resumed_from(done: subprocess.CompletedProcess) -> int:
  """The step a run says it resumed from, 0 if it began anew."""
  match = re.search(r"resuming from step (\d+)", done.stdout)
  return int(match[1]) if match else 0


def sentence(done: subprocess.CompletedProcess) -> str:
  """How a run that failed ended, in short."""
  lines = done.stderr.strip().splitlines() or [""]
  mistakes = [line for line in lines if line.startswith("error: ")]
  text = re.sub(
    r"(?<!\S)/\S*/", "", (mistakes or lines)[-1].removeprefix("error: ")
  )  # no long paths
  return f"exit {done.returncode}: {text[:120]}"


def killed(lab: Lab) -> Outcome:
  """Killed by SIGKILL at random moments: while it starts, trains, saves."""
  workdir, rng = lab.directory / "killed", np.random.default_rng(_SEED.value)
  lost, sound = [], True
  for _ in range(_KILLS.value):
    saved = newest(workdir)
    process = lab.start(workdir)
    stop_at = int(rng.integers(saved, STEPS))
    patience = time.monotonic() + (rng.uniform(0, 10) if rng.random() < 0.25 else 600)
    while process.poll() is None and reached(workdir) < stop_at and time.monotonic() < patience:
      time.sleep(0.001)
    process.kill()
    out, _ = process.communicate()
    began = resumed_from(subprocess.CompletedProcess([], 0, out, ""))
    sound &= not began or began == saved
    lost.append(max(reached(workdir) - newest(workdir), 0))
  done = lab.train(workdir)
  sound &= done.returncode == 0 and lab.ends_the_same(workdir)
  happened = f"killed {len(lost)} times, resumed each time"
  return Outcome("killed", happened, f"{sum(lost)} in all, at most {max(lost)}", sound)


def reached(workdir: Path) -> int:
  """The last step that a run has logged."""
  return max((int(row["step"]) for row in read_rows(workdir)), default=0)


def newest(workdir: Path) -> int:
  return max(checkpoint.steps(workdir / "checkpoints"), default=0)


def damaged(lab: Lab, name: str) -> Outcome:
  """The newest checkpoint is damaged; if the run refuses to go on, it is taken away."""
  workdir, saved = lab.halfway(name)
  path = workdir / "checkpoints" / str(saved[-1])
  DAMAGES[name](path)
  happened, done = "", lab.train(workdir)
  if done.returncode:
    happened = f"{sentence(done)}; taken away by hand; "
    shutil.rmtree(path)
    done = lab.train(workdir)
  began = resumed_from(done)
  sound = done.returncode == 0 and began == saved[-2] and lab.ends_the_same(workdir)
  return Outcome(name, f"{happened}resumed from step {began}", str(saved[-1] - began), sound)


def disk_full(lab: Lab) -> Outcome:
  """No checkpoint can be written; then there is room again."""
  workdir, saved = lab.halfway("disk_full")
  first = lab.train(workdir, limit=FULL)
  lost = reached(workdir) - newest(workdir)
  kept = checkpoint.steps(workdir / "checkpoints") == saved
  done = lab.train(workdir)
  began = resumed_from(done)
  sound = first.returncode != 0 and kept and done.returncode == 0 and began == saved[-1]
  happened = f"{sentence(first)}; resumed from step {began}"
  return Outcome("disk_full", happened, str(lost), sound and lab.ends_the_same(workdir))


def unreadable_data(lab: Lab) -> Outcome:
  """The file of the training tokens is cut off; then it is brought back."""
  workdir, saved = lab.halfway("unreadable_data")
  (tokens,) = (lab.directory / "data").glob("*/train.tokens")
  whole = tokens.read_bytes()
  tokens.write_bytes(whole[: len(whole) // 2])
  first = lab.train(workdir)
  tokens.write_bytes(whole)
  done = lab.train(workdir)
  began = resumed_from(done)
  sound = first.returncode == 2 and done.returncode == 0 and began == saved[-1]
  happened = f"{sentence(first)}; brought back, resumed from step {began}"
  return Outcome("unreadable_data", happened, "0", sound and lab.ends_the_same(workdir))


def faults() -> dict[str, Callable[[Lab], Outcome]]:
  damages = {name: lambda lab, name=name: damaged(lab, name) for name in DAMAGES}
  return {"killed": killed, **damages, "disk_full": disk_full, "unreadable_data": unreadable_data}


def main(_: list[str]) -> int:
  logging.set_verbosity(logging.WARNING)
  known = faults()
  chosen = _FAULTS.value or list(known)
  if unknown := set(chosen) - set(known):
    raise app.UsageError(f"no fault is called {unknown.pop()!r}: they are {', '.join(known)}.")
  table = Table(title=f"{STEPS} steps, saved every {SAVE_EVERY}")
  for column in ("fault", "what happened", "steps run again", "sound"):
    table.add_column(column)
  with tempfile.TemporaryDirectory() as directory:
    lab = Lab(Path(directory))
    done = lab.train(lab.reference)
    if done.returncode:
      sys.exit(f"the undisturbed run failed: {sentence(done)}")
    outcomes = [known[name](lab) for name in chosen]
  for outcome in outcomes:
    sound = "yes" if outcome.sound else "NO"
    table.add_row(outcome.fault, outcome.happened, outcome.lost, sound)
  Console(width=None if sys.stdout.isatty() else 140).print(table)
  return 0 if all(outcome.sound for outcome in outcomes) else 1


if __name__ == "__main__":
  app.run(main)
