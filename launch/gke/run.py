"""Trains on a TPU slice of a GKE cluster, as a JobSet.

  python launch/gke/run.py --name=run1 --image=<registry>/dlm_jax [--dry-run] \\
    --accelerator=tpu-v5-lite-podslice --topology=4x4 \\
    -- --config=configs/text8.py:mdlm --workdir=gs://<bucket>/1

What follows `--` are arguments of `dlm_jax.train`. The workdir is in a bucket, which
the nodes may write to. `--dry-run` prints the manifest and the command that would apply it.
"""

import argparse
import json
import math
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parent / "jobset.yaml"
APPLY = ("kubectl", "apply", "--filename", "-")


def render(options: argparse.Namespace) -> str:
  """The manifest. Raises `SystemExit` when the name or the topology cannot be one."""
  if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", options.name):
    sys.exit(f"error: --name must be lower-case letters, digits and '-', got {options.name!r}.")
  if not re.fullmatch(r"\d+(x\d+){1,2}", options.topology):
    sys.exit(f"error: --topology must be as 4x4 or 2x2x4, got {options.topology!r}.")
  slice_chips = math.prod(map(int, options.topology.split("x")))
  if slice_chips % options.chips:
    sys.exit(f"error: {slice_chips} chips are not a multiple of {options.chips} a host.")
  return string.Template(TEMPLATE.read_text()).substitute(
    name=options.name,
    image=json.dumps(options.image),  # JSON is YAML
    accelerator=json.dumps(options.accelerator),
    topology=json.dumps(options.topology),
    chips=options.chips,
    hosts=slice_chips // options.chips,
    spot='cloud.google.com/gke-spot: "true"' if options.spot else "# no spot machines",
    restarts=options.restarts,
    arguments=json.dumps(options.arguments),
  )


def parse(arguments: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--name", required=True, help="of the JobSet")
  parser.add_argument("--image", required=True, help="built from launch/gke/Dockerfile")
  parser.add_argument("--accelerator", required=True, help="as tpu-v5-lite-podslice")
  parser.add_argument("--topology", required=True, help="of the slice, as 4x4")
  parser.add_argument("--chips", type=int, default=4, help="of a host")
  parser.add_argument("--spot", action=argparse.BooleanOptionalAction, default=True)
  parser.add_argument("--restarts", type=int, default=100)
  parser.add_argument("--dry-run", action="store_true", help="print, and run nothing")
  parser.add_argument("arguments", nargs="+", help="of dlm_jax.train, after --")
  return parser.parse_args(arguments)


def main() -> int:
  options = parse(sys.argv[1:])
  manifest = render(options)
  if options.dry_run:
    print(f"{shlex.join(APPLY)} <<'END'\n{manifest}END")
    return 0
  return subprocess.run(APPLY, input=manifest, text=True).returncode


if __name__ == "__main__":
  sys.exit(main())
