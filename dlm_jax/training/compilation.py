"""The training step of a config, compiled for devices that need not be here."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console
from rich.table import Table

from dlm_jax.core import resolve
from dlm_jax.data import packing, preparation
from dlm_jax.data.preparation import DataConfig
from dlm_jax.distributed import ahead
from dlm_jax.distributed.ahead import Collective, Cost, Topology
from dlm_jax.distributed.platform import compiling_for
from dlm_jax.distributed.sharding import batch_sharding
from dlm_jax.experiment import Experiment, build
from dlm_jax.training.training_settings import CompileSettings

GIB = 2**30
# Collectives of at least so many bytes are shown.
LARGE = 1 << 16


@dataclass(frozen=True)
class CompiledStep:
  """The experiment whose step was compiled, for which devices, and what the step costs there."""

  experiment: Experiment
  topology: Topology
  cost: Cost


def compile_ahead(
  config: ml_collections.ConfigDict, topology: Topology, vocab_size: int
) -> CompiledStep:
  """Compiles the step that `config` describes for a vocabulary; runs nothing, prepares nothing.

  Raises:
    UserError: the config is wrong, or the step needs more memory than the compiler has.
  """
  experiment = build(config, devices=topology.devices, vocab_size=vocab_size)
  with compiling_for(topology.platform), jax.set_mesh(experiment.mesh):
    lowered = experiment.compile_step().lower(experiment.abstract_state, _batch(experiment))
    return CompiledStep(experiment, topology, ahead.cost(lowered, topology))


def _batch(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
  shape = (experiment.training.batch_size, experiment.length)
  where = batch_sharding(experiment.mesh)
  batch = {"tokens": jax.ShapeDtypeStruct(shape, jnp.int32, sharding=where)}
  data = resolve.build(DataConfig, experiment.config.data)
  lengths = np.zeros(1) if packing.find(data.packing).truncates else None
  prompts = np.zeros(1) if data.packing == packing.PAIRS else None
  for name in data.positions.masks((1, experiment.length), lengths, prompts):
    batch[name] = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=where)
  return batch


def show(console: Console, compiled: CompiledStep) -> None:
  """Prints the devices, the memory of one of them and the collectives."""
  experiment, topology = compiled.experiment, compiled.topology
  training = experiment.training
  parameters = sum(leaf.size for leaf in jax.tree.leaves(experiment.abstract_state.params))
  mesh = " x ".join(f"{axis} {size}" for axis, size in experiment.mesh.shape.items())
  tokens = training.batch_size * experiment.length
  console.print(f"{len(topology.devices)} x {topology.kind}, mesh {mesh}")
  console.print(
    f"{parameters:,} parameters, {tokens:,} tokens a step, "
    f"{tokens // len(topology.devices):,} a device"
  )
  console.print(f"compiled in {compiled.cost.seconds:.0f} s\n")
  console.print(_memory_table(compiled))
  console.print(_collectives_table(compiled.cost.collectives))


def _memory_table(compiled: CompiledStep) -> Table:
  table = Table(title="memory of a device")
  table.add_column("")
  table.add_column("GiB", justify="right")
  table.add_row("state and batch", f"{compiled.cost.arguments / GIB:.2f}")
  table.add_row("temporary", f"{compiled.cost.temporary / GIB:.2f}")
  table.add_row("together", f"{compiled.cost.memory / GIB:.2f}")
  there = compiled.topology.memory_gib
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


def main(settings: CompileSettings) -> None:
  """The command `compile_check`."""
  topology = ahead.find(settings.topology)
  data = settings.config.data
  vocab_size = settings.vocab_size or preparation.fitted_tokenizer(data).vocab_size
  show(Console(), compile_ahead(settings.config, topology, vocab_size))
