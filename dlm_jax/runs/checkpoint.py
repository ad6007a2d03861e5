"""Checkpoints that are verified: what is restored is bit for bit what was saved, or an error.

This file reads them and `checkpointer` writes them; no other imports Orbax. Orbax writes arrays
asynchronously and swaps a finished directory in atomically, but it restores flipped bits and casts
dtypes without a word. So beside the arrays of a step stands a record (JSON): what the caller wants
to remember (config, git revision, dataset hash), and for every array its shape, its dtype and the
fingerprint of its bits. A restore checks all of it.

On disk, `directory/<step>/state` holds the arrays under the names of their tree paths
(`params/layers/kernel`) and `directory/<step>/record` the record. The names are all that ties a
checkpoint to the code: the classes that make up the state can change, and a part of the state
(parameters without the optimizer) is a subset of the names.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import orbax.checkpoint
from etils import epath

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import SystemFault, reading
from dlm_jax.core.json_files import Altered, unseal
from dlm_jax.core.types import Json, PyTree, Record
from dlm_jax.runs import config_changes
from dlm_jax.runs.record import (
  Damaged,
  Metadata,
  empty,
  flatten,
  newest_whole,
  one_line,
  payload,
  placed,
  raise_together,
  require_same_bits,
  require_same_model,
)


@dataclass(frozen=True)
class Wanted:
  """What is read of a checkpoint, and what it must be of; the fields are those of `restore`."""

  abstract_state: PyTree
  partial: bool = False
  config: Mapping[str, Json] | None = None

  def check(self, metadata: Metadata) -> None:
    """Raises `UserError` where the checkpoint was saved under another config."""
    if self.config is None:
      return
    if "config" not in metadata:
      raise UserError(
        f"the checkpoint of step {metadata['step']} is of another model: it holds no config of a "
        "run. Move it away, or give another --workdir to start a new run."
      )
    config_changes.require_same(
      metadata["config"],
      self.config,
      f"the checkpoint of step {metadata['step']} was saved under another config",
      "Use the config that it was trained with, or another --workdir to start a new run.",
    )


def restore(
  directory: str | os.PathLike,
  abstract_state: PyTree,
  *,
  step: int | None = None,
  partial: bool = False,
  config: Mapping[str, Json] | None = None,
) -> tuple[PyTree, Metadata]:
  """Reads a checkpoint and changes nothing on disk; safe beside the run that writes it.

  Args:
    directory: where the steps are.
    abstract_state: a pytree of `jax.ShapeDtypeStruct`; one without a sharding goes to the first
      local device.
    step: which checkpoint; otherwise the newest that is whole, damaged ones being reported.
    partial: `abstract_state` is a part of what was saved, such as `{"params": ..., "ema": ...}`;
      only that part is read and verified.
    config: that the checkpoint must have been saved under, but for what a resumed run may change;
      None takes any.

  Returns:
    The state, and the metadata given to `Checkpointer.save`, with `step` and `bound`.

  Raises:
    UserError: there is no (such) checkpoint, it is damaged, or it is of another model or config.
  """
  path = absolute(directory)
  wanted = Wanted(abstract_state, partial, config)
  if step is None:
    return restore_newest(path, wanted)[:2]
  present = steps(directory)
  if step not in present:
    known = f"The steps there are {present}." if present else "There is none at all."
    raise UserError(f"there is no checkpoint of step {step} in {path}. {known}")
  try:
    return _read(path, step, wanted)
  except Damaged as error:
    raise UserError(
      f"the checkpoint of step {step} in {path} is damaged: {error}. The steps there are {present}."
    ) from error


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps whose save was completed, in increasing order. Empty without a directory."""
  found = orbax.checkpoint.path.step.standard_name_format().find_all(epath.Path(directory))
  return sorted(metadata.step for metadata in found)


def absolute(directory: str | os.PathLike) -> epath.Path:
  """The path as Orbax wants it; what has a scheme has no place under the working directory."""
  path = epath.Path(directory)
  return path if "://" in str(path) else path.absolute()


def _read_record(path: epath.Path) -> Record:
  try:
    with reading(path):
      return unseal(orbax.checkpoint.JsonCheckpointHandler().restore(path / "record"))
  except SystemFault:
    raise
  except Altered as error:
    raise Damaged("its record was altered after the save") from error
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise Damaged(f"its record is unreadable ({one_line(error)})") from error


def newest_metadata(directory: str | os.PathLike, step: int | None = None) -> Metadata | None:
  """What was given to `Checkpointer.save`, with `step` and `bound`; no array is read.

  Args:
    directory: where the steps are.
    step: which checkpoint; None is the newest whose record can be read and is that of a run.

  Returns:
    None where there is none: `restore` says why.
  """
  for number in reversed(steps(directory) if step is None else [step]):
    try:
      found = _metadata(_read_record(absolute(directory) / str(number)))
    except Damaged:
      continue
    if "config" in found:
      return found
  return None


def _metadata(record: Record) -> Metadata:
  return {**record["metadata"], "step": record["step"], "bound": record["bound"]}


def bounds(directory: epath.Path) -> dict[int, float | None]:
  """The bound of each step whose record can be read."""
  found = {}
  for step in steps(directory):
    try:
      found[step] = _read_record(directory / str(step))["bound"]
    except Damaged:
      continue  # reported if a restore ever needs it
  return found


def restore_newest(directory: epath.Path, wanted: Wanted) -> tuple[PyTree, Metadata, list[int]]:
  """The state and the metadata of the newest whole step, and the damaged steps that are newer."""
  return newest_whole(directory, steps(directory), lambda step: _read(directory, step, wanted))


def _read(directory: epath.Path, step: int, wanted: Wanted) -> tuple[PyTree, Metadata]:
  """Reads and verifies one step. Raises `Damaged`, on all processes when on one."""
  parts = {name: placed(leaf) for name, leaf in flatten(wanted.abstract_state).items()}
  path = directory / str(step)
  problem = record = None
  leaves = {}
  try:
    record = _read_record(path)
  except Damaged as error:
    problem = str(error)
  raise_together(problem)
  saved = record["leaves"]
  wanted.check(_metadata(record))
  require_same_model(path, saved, parts, wanted.partial)
  try:
    with reading(path):
      leaves = _read_arrays(path / "state", parts)
  except (jax.errors.JaxRuntimeError, SystemFault):
    raise  # trouble of the device (out of memory) or of the system, not of the checkpoint
  except Exception as error:  # Orbax and TensorStore raise whatever their parsers raise
    problem = f"its arrays are unreadable ({one_line(error)})"
  raise_together(problem)
  require_same_bits(leaves, saved)
  treedef = jax.tree.structure(wanted.abstract_state)
  state = jax.tree.unflatten(treedef, [leaves[name] for name in parts])
  return state, _metadata(record)


def _read_arrays(
  path: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
  stored = payload(wanted)
  # The handler alone: `CheckpointManager.restore` ends in a barrier, where the other processes
  # would wait for the one that could not read its part.
  restored = orbax.checkpoint.PyTreeCheckpointHandler().restore(
    path,
    args=orbax.checkpoint.args.PyTreeRestore(
      item=stored,
      restore_args=orbax.checkpoint.checkpoint_utils.construct_restore_args(stored),
      partial_restore=True,
    ),
  )
  sizeless = {name: empty(leaf) for name, leaf in wanted.items() if name not in stored}
  return {name: (restored | sizeless)[name] for name in wanted}
