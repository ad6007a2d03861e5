"""Does the noise schedule matter? Every schedule under every process, all else exactly equal.

  python -m experiments.noise_schedules.run

trains each (process, schedule, seed) on the embedded corpus with the same tokens, quantiles of time
and noise, measures it and writes results.json here.

  python -m experiments.noise_schedules.run --table

prints the tables of results.json and draws figure.png.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.evaluation import judges, likelihood
from dlm_jax.runs import provenance
from dlm_jax.runs import workdir as workdirs
from experiments.noise_schedules import schedules
from experiments.noise_schedules.figures import figure, tables
from experiments.noise_schedules.lab import Lab, Settings, config, model_of, provenance_of
from experiments.noise_schedules.schedules import REFERENCE, names

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def sweep(settings: Settings) -> Iterator[dict[str, Any]]:
  """Trains and measures everything; the record so far after each run."""
  control = Lab(settings, experiments.build(config(settings, "autoregressive")))
  weights = control.train(schedules.NAMES.index(REFERENCE), 0)
  judge = judges.trained_here(model_of(control, weights))
  labs = {p: Lab(settings, experiments.build(config(settings, p))) for p in schedules.PROCESSES}
  described = {name: protocol(settings, lab) for name, lab in labs.items()}
  measured = []
  for seed in range(settings.seeds):
    for process, lab in labs.items():
      linear = names(process).index(REFERENCE)
      reference = lab.train(linear, seed)
      for index, schedule in enumerate(names(process)):
        own = reference if schedule == REFERENCE else lab.train(index, seed)
        row = {"process": process, "schedule": schedule, "seed": seed}
        # A bound does not depend on the schedule it is measured under, its error does.
        row |= lab.bound(linear, own, "own") | lab.bound(index, reference, "reference")
        row |= lab.gradient(index, reference) | lab.quality(index, own, judge)
        measured.append(row)
        print(process, schedule, seed, f"{row['own_bound']:.4f} nats a token", flush=True)
        yield {
          "kind": "noise_schedules",
          "results": {"rows": measured},
          "protocol": described[process],
        }


def protocol(settings: Settings, lab: Lab) -> dict[str, Any]:
  """What the numbers depend on; the config is that of the last process."""
  return provenance.protocol(provenance_of(lab)) | {
    "settings": dataclasses.asdict(settings),
    "split": "test",
    "times": dataclasses.asdict(likelihood.TIMES),
    "sampler": f"ancestral, {settings.length} steps",
    "judge": f"autoregressive control of the same size and {settings.steps} steps",
    "command": "python -m experiments.noise_schedules.run",
  }


def define_flags() -> None:
  flags.DEFINE_bool("table", False, "Print the tables of results.json and draw figure.png.")
  for field in dataclasses.fields(Settings):
    flags.DEFINE_integer(field.name, field.default, f"See Settings.{field.name}.")


def main() -> None:
  if flags.FLAGS.table:
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    figure(record, HERE / "figure.png")
    print(tables(record))
    return
  fields = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: flags.FLAGS[name].value for name in fields})
  for record in sweep(settings):
    workdirs.write_json(RESULTS, record)


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
