"""How much of a training step the device waits for its input.

  python -m experiments.benchmarks.input --config=configs/stdlib_docs.py

Times the training step of a config on one batch that is there already, and fed as training feeds
it: rows read from the store by threads ahead of time, laid over the devices. What the second takes
longer is the input's share. Beside them stands what a batch costs alone, read without any device.
"""

import itertools
import time
from collections.abc import Iterator

import jax
from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line, config_flags, config_line
from dlm_jax import experiment as experiments
from dlm_jax.data.batches import Batches
from dlm_jax.distributed.sharding import to_global
from dlm_jax.experiment import Experiment

ROUNDS = 4


def seconds_of_input(batches: Batches, at_least: float) -> float:
  """Seconds to read a batch, one after the other, without threads."""
  start = time.perf_counter()
  for step in itertools.count():
    if (elapsed := time.perf_counter() - start) >= at_least and step:
      return elapsed / step
    batches(step)


def alternate(experiment: Experiment, batches: Batches, at_least: float) -> tuple[float, float]:
  """Seconds a step on a batch that is there and as training feeds it, each the best of `ROUNDS`.

  They take turns, so that what else the machine does meets both.
  """
  step = experiment.compile_step()
  layout = jax.tree.map(lambda leaf: leaf.sharding, experiment.abstract_state)
  fed = (to_global(batch, experiment.mesh) for batch in batches.iterate())
  with jax.set_mesh(experiment.mesh):
    there = itertools.repeat(next(fed))
    state = jax.jit(experiment.init_state, out_shardings=layout)()
    state, metrics = step(state, next(there))
    jax.block_until_ready(metrics)

    def timed(source: Iterator) -> float:
      nonlocal state
      start = time.perf_counter()
      for number in itertools.count(1):
        state, metrics = step(state, next(source))
        jax.block_until_ready(metrics)
        if (elapsed := time.perf_counter() - start) >= at_least:
          return elapsed / number

    pairs = [(timed(there), timed(fed)) for _ in range(ROUNDS)]
  return tuple(map(min, zip(*pairs, strict=True)))


def main() -> None:
  experiment = experiments.build(config_flags.from_flags())
  size = experiment.training.batch_size
  batches = Batches(experiment.store.rows("train"), size, experiment.config.seed)
  alone = seconds_of_input(batches, flags.FLAGS.seconds)
  there, fed = alternate(experiment, batches, flags.FLAGS.seconds / ROUNDS)
  table = Table(title=f"{jax.device_count()} {jax.devices()[0].device_kind}, {size} rows a batch")
  for column in ("reading a batch, ms", "step, ms", "step fed, ms", "input's share"):
    table.add_column(column, justify="right")
  share = max(fed - there, 0) / fed
  table.add_row(*(f"{1e3 * seconds:.2f}" for seconds in (alone, there, fed)), f"{share:.1%}")
  Console().print(table)


if __name__ == "__main__":
  config_line.define()
  flags.DEFINE_float("seconds", 10.0, "How long each is timed, at least.")
  command_line.run(main)
