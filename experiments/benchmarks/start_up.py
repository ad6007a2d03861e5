"""How long a command takes to start.

  python -m experiments.benchmarks.start_up

The `--help` of each command, the import of the package, and the quickstart until its first line of
progress, which comes after its second step: with no compiled program kept, and with all of them.
Each is a process of its own. CPU seconds compare; the wall clock depends on what else the machine
does, and the fastest of several runs counts.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line

_RUNS = flags.DEFINE_integer("runs", 3, "Times that each is started.")

FILES = sorted(Path(command_line.__file__).parent.glob("*.py"))
COMMANDS = [file.stem for file in FILES if "\n  command_line.run(" in file.read_text("utf-8")]


def seconds(
  arguments: Sequence[str], until: str | None = None, environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
  """Seconds on the wall clock and of CPU that `python` with these arguments takes.

  Args:
    arguments: of the interpreter.
    until: ends it at the first line that begins so; at its own end if None.
    environment: variables beside those here.
  """
  before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
  with subprocess.Popen(
    [sys.executable, "-u", *arguments],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    env={**os.environ, **(environment or {})},
  ) as process:
    reached = any(until is not None and line.startswith(until) for line in process.stdout)
    wall = time.perf_counter() - start
    process.kill()
  if until is not None and not reached:
    sys.exit(f"error: {' '.join(arguments)} ended before a line that begins with {until!r}.")
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_steps(directory: Path, cache: Path) -> tuple[float, float]:
  """Seconds until the quickstart has made two steps, in a new workdir, its data being prepared."""
  return seconds(
    [
      *("-m", "dlm_jax.train", "--config=configs/stdlib_docs.py", "--config.training.log_every=1"),
      f"--config.data.directory={directory / 'data'}",
      f"--workdir={tempfile.mkdtemp(dir=directory)}",
    ],
    until="step ",
    environment={"JAX_COMPILATION_CACHE_DIR": "", "DLM_JAX_CACHE": str(cache)},
  )


def main() -> None:
  table = Table()
  table.add_column("what", no_wrap=True)
  for column in ("wall clock, s", "CPU, s"):
    table.add_column(column, justify="right")

  def add(name: str, runs: Sequence[tuple[float, float]]) -> None:
    table.add_row(name, *(f"{min(values):.2f}" for values in zip(*runs, strict=True)))

  times = range(_RUNS.value)
  for command in COMMANDS:
    add(f"{command} --help", [seconds(["-m", f"dlm_jax.{command}", "--help"]) for _ in times])
  add("import dlm_jax", [seconds(["-c", "import dlm_jax"]) for _ in times])
  add("import jax", [seconds(["-c", "import jax"]) for _ in times])
  with tempfile.TemporaryDirectory() as name:
    directory = Path(name)
    first_steps(directory, directory / "first")  # prepares the data
    add("train, nothing compiled", [first_steps(directory, directory / str(i)) for i in times])
    add("train, all compiled", [first_steps(directory, directory / "first") for _ in times])
  Console().print(table)


if __name__ == "__main__":
  command_line.run(main)
