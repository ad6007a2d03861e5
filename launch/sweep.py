"""Runs one training for each point of a sweep over any fields of a config, all else equal.

  python launch/sweep.py --config=configs/stdlib_docs.py --workdir=runs/noise \\
    --set process.schedule.name=linear,cosine --set seed=0,1,2 --dry-run

runs six trainings, every schedule with every seed. Two points of one seed see the same tokens,
times and noise, because all randomness derives from the seed and the step. A value that holds
commas, such as a tuple, is written in brackets: `--set "process.clip=(0,1),(0.3,1)"`.

Each point has a directory of the workdir named after its values, so that a sweep that was stopped
goes on where it was. What follows `--` is passed on to every run. The exit code is that of the
first run that did not succeed, which ends the sweep.
"""

import argparse
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
MISTAKE = 2

Point = dict[str, str]


def points(settings: Sequence[str]) -> list[Point]:
  """Every combination of the values of `name=value,value` settings, the last one fastest.

  Raises:
    ValueError: a setting has no name or no value, or a name or value stands twice.
  """
  axes: dict[str, list[str]] = {}
  for setting in settings:
    name, equals, text = setting.partition("=")
    values = values_of(text)
    if not name or not equals or not all(values):
      raise ValueError(f"--set takes a field and its values, as in seed=0,1,2, got {setting!r}.")
    if name in axes or len(set(values)) < len(values):
      raise ValueError(f"--set {setting!r} repeats a field or a value: two runs would be the same.")
    axes[name] = values
  return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def values_of(text: str) -> list[str]:
  """The values between the commas that stand outside of brackets and quotes."""
  pieces = re.findall(r"""(?:\([^)]*\)|\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+|(?<=,)(?=,|$)""", text)
  return [piece.strip("\"'") for piece in pieces] or [""]


def name_of(point: Point) -> str:
  """The directory of a run: `process.schedule.name=cosine,seed=0`."""
  return ",".join(f"{name}={value}" for name, value in point.items()).replace("/", "_")


def command(options: argparse.Namespace, point: Point) -> list[str]:
  """The command that trains at `point`."""
  return [
    *shlex.split(options.launcher),
    f"--config={options.config}",
    f"--workdir={options.workdir}/{name_of(point)}",
    *(f"--config.{name}={value}" for name, value in point.items()),
    *options.arguments,
  ]


def check(options: argparse.Namespace, swept: Sequence[Point]) -> None:
  """Raises `ValueError` unless the config of every point can be read."""
  sys.path.insert(0, str(ROOT))
  from dlm_jax import configuration  # noqa: PLC0415  imports JAX, which --help need not wait for

  for point in swept:
    configuration.load(options.config, point)


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", required=True, help="the config that all runs share")
  parser.add_argument("--workdir", required=True, help="each run gets a directory of it")
  parser.add_argument(
    "--set",
    action="append",
    required=True,
    metavar="FIELD=VALUE,VALUE",
    help="a field of the config and the values to try; given again, every combination is run",
  )
  parser.add_argument("--launcher", default="bash launch/local.sh", help="what runs a point")
  parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")
  parser.add_argument("arguments", nargs="*", help="passed on to dlm_jax.train, after --")
  return parser.parse_args()


def main() -> int:
  options = parse()
  try:
    swept = points(options.set)
    check(options, swept)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    return MISTAKE
  for point in swept:
    words = command(options, point)
    print(shlex.join(words), flush=True)
    if options.dry_run:
      continue
    code = subprocess.run(words, cwd=ROOT).returncode
    if code:
      return code
  return 0


if __name__ == "__main__":
  sys.exit(main())
