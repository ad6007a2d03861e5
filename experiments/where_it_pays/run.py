"""Where diffusion pays: each finding, its arms at equal network, tokens and steps, with intervals.

  python -m experiments.where_it_pays.run --parallel=2      all findings, two runs at once
  python -m experiments.where_it_pays.run --only=planning   one of them
  python -m experiments.where_it_pays.run --fast --output=F everything, nothing learned: two minutes
  python -m experiments.where_it_pays.run --only=infilling --text=book.txt --output=mine   your text
  python -m experiments.where_it_pays.run --table           tables and figures from the records here

An arm is an ordinary run under --workdir. A command that was stopped goes on where it was. The
records, `planning.json` and so on, and the figures go to --output. Networks this small leave cores
or an accelerator idle, so that several runs share them: --parallel=2 on two cores, 6 on a GPU.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

from absl import flags

from dlm_jax import command_line
from dlm_jax.core import storage
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.data import preparation
from dlm_jax.runs import workdir as workdirs
from experiments.where_it_pays import any_order, epochs, infilling, planning, speed, sudoku
from experiments.where_it_pays.lab import (
  FAST,
  Finding,
  Job,
  Scale,
  child_command,
  do_all,
  jobs,
  record,
)

HERE = Path(__file__).parent
MODULES = (planning, sudoku, speed, infilling, epochs, any_order)
FINDINGS = {module.FINDING.name: module.FINDING for module in MODULES}


def scale_of(values: flags.FlagValues, finding: Finding) -> Scale:
  """The scale that the flags describe: that of the finding, but for what they say."""
  base = FAST if values.fast else finding.scale
  given = {f.name: values[f.name].value for f in dataclasses.fields(Scale)}
  return dataclasses.replace(base, **{n: v for n, v in given.items() if v is not None})


def prepare(wanted: list[Job]) -> None:
  """Prepares the data of the jobs, so that processes beside each other do not each do so."""
  stores = {json.dumps(job.config.data.to_dict(), sort_keys=True): job for job in wanted}
  for job in stores.values():
    preparation.prepare(job.config.data)


def write(finding: Finding, output: Path) -> None:
  """Prints the table of the record that lies in `output`, and draws its figure."""
  rows = json.loads((output / f"{finding.name}.json").read_text(encoding="utf-8"))["results"][
    "rows"
  ]
  finding.figure(rows, output / f"{finding.name}.png")
  print(f"{finding.name}:\n\n{finding.table(rows)}", flush=True)


def check(values: flags.FlagValues, output: Path) -> None:
  """Raises `UserError` for flags whose record would be that of something else."""
  if values.fast and output == HERE:
    raise UserError(
      "--fast learns nothing, and its records would replace those here: set --output."
    )
  if values.text and output == HERE:
    raise UserError(
      "--text measures your text, and its record would replace the one here: set --output."
    )
  if values.text and values.only != [infilling.FINDING.name]:
    raise UserError("--text is read by one finding: add --only=infilling.")


def define_flags() -> None:
  flags.DEFINE_string("workdir", "runs/where_it_pays", "Where the runs go.")
  flags.DEFINE_string("output", str(HERE), "Where records and figures go.")
  flags.DEFINE_list("only", None, "Findings; the default is all.")
  flags.DEFINE_bool("fast", False, "Tiny shapes and a few steps: a test of the command.")
  flags.DEFINE_bool("table", False, "Print the tables of the records and draw their figures.")
  flags.DEFINE_bool("prepare", False, "Prepare the data and end.")
  flags.DEFINE_integer("parallel", 1, "Runs at once, each in a process of its own.", lower_bound=1)
  flags.DEFINE_string("job", None, "One job alone, as finding:arm:seed.")
  flags.DEFINE_string("text", None, "A text file of your own, for --only=infilling.")
  for field in dataclasses.fields(Scale):
    if field.type is int:
      flags.DEFINE_integer(field.name, None, f"See Scale.{field.name}.")


def main() -> int:
  values = flags.FLAGS
  output, workdir = storage.expand(values.output), storage.expand(values.workdir)
  for name in values.only or ():
    require_known("finding", name, FINDINGS)
  chosen = [FINDINGS[name] for name in values.only or FINDINGS]
  if values.table:
    for finding in chosen:
      write(finding, output)
    return 0
  check(values, output)
  wanted = {finding.name: jobs(finding, scale_of(values, finding), workdir) for finding in chosen}
  if values.job:
    (job,) = [job for group in wanted.values() for job in group if job.name == values.job]
    return job.do()
  if values.parallel > 1:  # no process may take the memory of the device for itself
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  prepare([job for group in wanted.values() for job in group])
  if values.prepare:
    return 0
  child = child_command(sys.argv[1:])
  together = [job for finding in chosen if not finding.alone for job in wanted[finding.name]]
  code = do_all(together, child, values.parallel)
  places = ("--workdir", "--output", "--parallel")
  given = [argument for argument in sys.argv[1:] if not argument.startswith(places)]
  command = " ".join(["python -m experiments.where_it_pays.run", *given])
  output.mkdir(parents=True, exist_ok=True)
  for finding in chosen:
    code = code or (do_all(wanted[finding.name], child, 1) if finding.alone else 0)
    if code:
      return code
    workdirs.write_json(
      output / f"{finding.name}.json", record(finding, wanted[finding.name], command)
    )
    write(finding, output)
  return code


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
