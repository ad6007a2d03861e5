"""Compiles the training step of a config for devices that need not be here: what does it take?

  python -m dlm_jax.compile_check --config=configs/openwebtext/at_scale.py:7b --topology=v5e-256

Prints the memory of a device, the collectives and their dtypes, and how long compiling took. The
topology is a number of TPU chips (`v5e-256`, `v6e-64`, `v5p-128`; needs the extra `tpu`), of CPU
devices (`cpu:8`), or `here`. No data is prepared: the vocabulary is that of the config's tokenizer,
or `--vocab_size` where that tokenizer would have to be fetched first.
"""

import time
from collections import defaultdict
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_collections
from absl import flags
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation
from dlm_jax.distributed import ahead as topologies
from dlm_jax.distributed.ahead import Topology
from dlm_jax.distributed.collectives import Collective, collectives
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.experiment import Experiment

GIB = 2**30
# Shown are collectives of at least so many bytes.
LARGE = 1 << 16


@dataclass(frozen=True)
class Report:
  """What the compiler says of one training step.

  Attributes:
    experiment, topology: what was compiled, and for what.
    state: bytes on a device of the train state and the batch, there throughout.
    temporary: bytes on a device that a step needs beside them.
    collectives: of the program, each once however often a loop runs it.
    seconds: that compiling took.
  """

  experiment: Experiment
  topology: Topology
  state: int
  temporary: int
  collectives: list[Collective]
  seconds: float

  @property
  def memory(self) -> int:
    """Bytes that a device must have."""
    return self.state + self.temporary


def check(config: ml_collections.ConfigDict, topology: Topology, vocab_size: int) -> Report:
  """Compiles the step that `config` describes for a vocabulary; runs nothing, prepares nothing.

  Raises:
    UserError: the config is wrong, or the step needs more memory than the compiler has.
  """
  experiment = experiments.build(config, devices=topology.devices, vocab_size=vocab_size)
  experiments.check_batches(experiment)
  start = time.perf_counter()
  with compiling_for(topology.platform), jax.set_mesh(experiment.mesh):
    lowered = experiment.compile_step().lower(experiment.abstract_state, _batch(experiment))
    try:
      compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      raise UserError(f"the step does not fit a {topology.kind}: {_first_line(error)}") from error
  seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()
  # Donated: what the state becomes lies where the state was.
  outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return Report(
    experiment,
    topology,
    state=memory.argument_size_in_bytes,
    temporary=memory.temp_size_in_bytes + outputs + memory.generated_code_size_in_bytes,
    collectives=collectives(compiled.as_text()),
    seconds=seconds,
  )


def _batch(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
  shape = (experiment.training.batch_size, experiment.length)
  where = batch_sharding(experiment.mesh)
  batch = {"tokens": jax.ShapeDtypeStruct(shape, jnp.int32, sharding=where)}
  if experiment.config.data.packing == "padded":
    batch["given"] = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=where)
  return batch


def _first_line(error: Exception) -> str:
  return str(error).strip().splitlines()[0]


def show(report: Report, console: Console) -> None:
  """Prints a report for a person to read."""
  experiment, topology = report.experiment, report.topology
  training = experiment.training
  parameters = sum(leaf.size for leaf in jax.tree.leaves(experiment.abstract_state.params))
  mesh = " x ".join(f"{axis} {size}" for axis, size in experiment.mesh.shape.items())
  tokens = training.batch_size * experiment.length
  console.print(f"{len(topology.devices)} x {topology.kind}, mesh {mesh}")
  console.print(
    f"{parameters:,} parameters, {tokens:,} tokens a step, "
    f"{tokens // len(topology.devices):,} a device"
  )
  console.print(f"compiled in {report.seconds:.0f} s\n")
  console.print(_memory_table(report))
  console.print(_collectives_table(report.collectives))


def _memory_table(report: Report) -> Table:
  table = Table(title="memory of a device")
  table.add_column("")
  table.add_column("GiB", justify="right")
  table.add_row("state and batch", f"{report.state / GIB:.2f}")
  table.add_row("temporary", f"{report.temporary / GIB:.2f}")
  table.add_row("together", f"{report.memory / GIB:.2f}")
  there = report.topology.memory_gib
  table.add_row("of", "unknown" if there is None else f"{there:.2f}")
  return table


def _collectives_table(found: list[Collective]) -> Table:
  """Kind and dtype of the large collectives; a loop's body counts once."""
  groups = defaultdict(list)
  for collective in found:
    if collective.bytes >= LARGE:
      groups[collective.kind, collective.dtype].append(collective)
  table = Table(title=f"collectives of {LARGE // 1024} KiB and more, a loop's body once")
  for column in ("kind", "dtype", "number", "largest"):
    table.add_column(column, justify="right" if column == "number" else "left")
  for (kind, dtype), group in sorted(groups.items()):
    largest = max(group, key=lambda collective: collective.bytes)
    table.add_row(kind, dtype, str(len(group)), " x ".join(map(str, largest.shape)))
  return table


def define_flags() -> None:
  command_line.define_config()
  flags.declare_key_flag("config")
  flags.DEFINE_string(
    "topology", "here", "Devices to compile for: v5e-256 (TPU chips), cpu:8, or here."
  )
  flags.DEFINE_integer(
    "vocab_size", None, "Symbols of the data; those of the config's tokenizer if not given."
  )


def main() -> None:
  config = command_line.config()
  topology = topologies.find(flags.FLAGS.topology)
  vocab_size = flags.FLAGS.vocab_size or preparation.fitted_tokenizer(config.data).vocab_size
  show(check(config, topology, vocab_size), Console())


if __name__ == "__main__":
  define_flags()
  command_line.run(main)
