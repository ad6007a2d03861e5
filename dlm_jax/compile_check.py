"""Compiles the training step of a config for devices that need not be here: what does it take?

  python -m dlm_jax.compile_check --topology=v5e-256 \\
    --config=configs/openwebtext_at_scale.py:absorbing,preset=7b

Prints the memory of a device, the collectives and their dtypes, and how long compiling took. The
topology is a number of TPU chips (`v5e-256`, `v6e-64`, `v5p-128`; needs the extra `tpu`), of CPU
devices (`cpu:8`), or `here`. No data is prepared: the vocabulary is that of the config's tokenizer,
or `--vocab_size` where that tokenizer would have to be fetched first.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_collections
from rich.console import Console
from rich.table import Table

from dlm_jax import command_line
from dlm_jax.data import preparation
from dlm_jax.distributed import ahead
from dlm_jax.distributed.ahead import Collective, Cost, Topology
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.experiment import Experiment, build

GIB = 2**30
# Shown are collectives of at least so many bytes.
LARGE = 1 << 16


@dataclass(frozen=True)
class Report:
  """What was compiled, for what, and what it costs."""

  experiment: Experiment
  topology: Topology
  cost: Cost


def check(config: ml_collections.ConfigDict, topology: Topology, vocab_size: int) -> Report:
  """Compiles the step that `config` describes for a vocabulary; runs nothing, prepares nothing.

  Raises:
    UserError: the config is wrong, or the step needs more memory than the compiler has.
  """
  experiment = build(config, devices=topology.devices, vocab_size=vocab_size)
  with compiling_for(topology.platform), jax.set_mesh(experiment.mesh):
    lowered = experiment.compile_step().lower(experiment.abstract_state, _batch(experiment))
    return Report(experiment, topology, ahead.cost(lowered, topology))


def _batch(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
  shape = (experiment.training.batch_size, experiment.length)
  where = batch_sharding(experiment.mesh)
  batch = {"tokens": jax.ShapeDtypeStruct(shape, jnp.int32, sharding=where)}
  if experiment.config.data.packing == "padded":
    batch["given"] = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=where)
  return batch


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
  console.print(f"compiled in {report.cost.seconds:.0f} s\n")
  console.print(_memory_table(report))
  console.print(_collectives_table(report.cost.collectives))


def _memory_table(report: Report) -> Table:
  table = Table(title="memory of a device")
  table.add_column("")
  table.add_column("GiB", justify="right")
  table.add_row("state and batch", f"{report.cost.arguments / GIB:.2f}")
  table.add_row("temporary", f"{report.cost.temporary / GIB:.2f}")
  table.add_row("together", f"{report.cost.memory / GIB:.2f}")
  there = report.topology.memory_gib
  table.add_row("of", "unknown" if there is None else f"{there:.2f}")
  return table


def _collectives_table(found: Sequence[Collective]) -> Table:
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


@dataclass(frozen=True, kw_only=True)
class CompileSettings:
  """What is compiled, and for which devices.

  Attributes:
    config: file in configs/, its method and its arguments; a field is set by
      --config.<field>=<value>.
    topology: devices to compile for: v5e-256 (TPU chips), cpu:8 (CPU devices), or here.
    vocab_size: number of symbols of the data. The default is that of the config's tokenizer.
  """

  config: ml_collections.ConfigDict
  topology: str = "here"
  vocab_size: int | None = None


def main(settings: CompileSettings) -> None:
  topology = ahead.find(settings.topology)
  data = settings.config.data
  vocab_size = settings.vocab_size or preparation.fitted_tokenizer(data).vocab_size
  show(check(settings.config, topology, vocab_size), Console())


if __name__ == "__main__":
  command_line.run(main, CompileSettings)
