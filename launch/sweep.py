"""Runs one command for each point of a sweep: `sweep()` of a config lists what to override.

  python launch/sweep.py --config=configs/stdlib_docs/absorbing.py --workdir=runs/noise --dry-run
  python launch/sweep.py --config=... --workdir=... --launcher="bash launch/multiprocess.sh"

`sweep()` stands beside `get_config()` and returns points: dicts of a dotted name of the config and
its value. Each point is a run of its own in a directory of the workdir named after its values, so a
sweep that was stopped goes on where it was. What follows `--` is passed on to every run. The exit
code is that of the first run that did not succeed, which ends the sweep.
"""

import argparse
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def points(path: str) -> list[dict[str, Any]]:
  """The points of the sweep of a config file. Raises `SystemExit` if it is wrong."""
  file = Path(path.partition(":")[0])
  if not file.is_file():
    sys.exit(f"error: there is no config file {str(file)!r}: see configs/.")
  sys.path.insert(0, str(ROOT))  # configs import their siblings
  spec = importlib.util.spec_from_file_location("swept", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "sweep"):
    sys.exit(f"error: {file} has no sweep(): add one that returns a list of overrides.")
  found = list(module.sweep())
  argument = path.partition(":")[2]
  config = module.get_config(*([argument] if argument else []))
  for point in found:
    try:
      config.copy_and_resolve_references().lock().update_from_flattened_dict(point)
    except (KeyError, TypeError) as error:
      sys.exit(f"error: the point {point} of {file} does not fit its config: {error}.")
  names = [name_of(point) for point in found]
  if len(set(names)) != len(names):
    sys.exit(f"error: two points of {file} have the same values, or values that read the same.")
  return found


def name_of(point: dict[str, Any]) -> str:
  """Of the directory of a run: `process.schedule.name=cosine`."""
  return ",".join(f"{name}={value}" for name, value in point.items()).replace("/", "_")


def command(options: argparse.Namespace, point: dict[str, Any]) -> list[str]:
  overrides = [f"--config.{name}={value}" for name, value in point.items()]
  workdir = f"{options.workdir}/{name_of(point)}"
  launcher = shlex.split(options.launcher)
  return [
    *launcher,
    f"--config={options.config}",
    f"--workdir={workdir}",
    *overrides,
    *options.arguments,
  ]


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", required=True, help="a file that has a sweep()")
  parser.add_argument("--workdir", required=True, help="of which each run gets a directory")
  parser.add_argument("--launcher", default="bash launch/local.sh", help="what runs a point")
  parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
  parser.add_argument("arguments", nargs="*", help="of dlm_jax.train, after --")
  options = parser.parse_args()
  for point in points(options.config):
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
