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

import jax
import orbax.checkpoint
from etils import epath

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree
from dlm_jax.runs.record import (
  Damaged,
  Metadata,
  Record,
  empty,
  flatten,
  lowest,
  newest_whole,
  one_line,
  payload,
  placed,
  raise_together,
  require_same_bits,
  require_same_model,
  unseal,
)


def restore(
  directory: str | os.PathLike,
  abstract_state: PyTree,
  *,
  step: int | None = None,
  partial: bool = False,
) -> tuple[PyTree, Metadata]:
  """Reads a checkpoint and changes nothing on disk; safe beside the run that writes it.

  Args:
    directory: where the steps are.
    abstract_state: a pytree of `jax.ShapeDtypeStruct`; one without a sharding goes to the first
      local device.
    step: which checkpoint; otherwise the newest that is whole, damaged ones being reported.
    partial: `abstract_state` is a part of what was saved, such as `{"params": ..., "ema": ...}`;
      only that part is read and verified.

  Returns:
    The state, and the metadata given to `Checkpointer.save`, with `step` and `bound`.

  Raises:
    UserError: there is no (such) checkpoint, it is damaged, or it is of another model.
  """
  path = absolute(directory)
  if step is None:
    return restore_newest(path, abstract_state, partial=partial)[:2]
  present = steps(directory)
  if step not in present:
    known = f"The steps there are {present}." if present else "There is none at all."
    raise UserError(f"there is no checkpoint of step {step} in {path}. {known}")
  try:
    return _read(path, step, abstract_state, partial=partial)
  except Damaged as error:
    raise UserError(
      f"the checkpoint of step {step} in {path} is damaged: {error}. The steps there are {present}."
    ) from error


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps whose save was completed, in increasing order. Empty without a directory."""
  found = orbax.checkpoint.path.step.standard_name_format().find_all(epath.Path(directory))
  return sorted(metadata.step for metadata in found)


def best_step(directory: str | os.PathLike) -> int | None:
  """The step with the lowest bound; the newest of equals. None when no step has a bound."""
  return lowest(bounds(epath.Path(directory)))


def absolute(directory: str | os.PathLike) -> epath.Path:
  """The path as Orbax wants it; what has a scheme has no place under the working directory."""
  path = epath.Path(directory)
  return path if "://" in str(path) else path.absolute()


def _read_record(path: epath.Path) -> Record:
  try:
    return unseal(orbax.checkpoint.JsonCheckpointHandler().restore(path / "record"))
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise Damaged(f"its record is unreadable ({one_line(error)})") from error


def bounds(directory: epath.Path) -> dict[int, float | None]:
  """The bound of each step whose record can be read."""
  found = {}
  for step in steps(directory):
    try:
      found[step] = _read_record(directory / str(step))["bound"]
    except Damaged:
      continue  # reported if a restore ever needs it
  return found


def restore_newest(
  directory: epath.Path, abstract_state: PyTree, *, partial: bool
) -> tuple[PyTree, Metadata, list[int]]:
  """The state and the metadata of the newest whole step, and the damaged steps that are newer."""
  present = steps(directory)
  return newest_whole(
    directory, present, lambda step: _read(directory, step, abstract_state, partial=partial)
  )


def _read(
  directory: epath.Path, step: int, abstract_state: PyTree, *, partial: bool
) -> tuple[PyTree, Metadata]:
  """Reads and verifies one step. Raises `Damaged`, on all processes when on one."""
  wanted = {name: placed(leaf) for name, leaf in flatten(abstract_state).items()}
  path = directory / str(step)
  problem = record = None
  leaves = {}
  try:
    record = _read_record(path)
  except Damaged as error:
    problem = str(error)
  raise_together(problem)
  saved = record["leaves"]
  require_same_model(path, saved, wanted, partial)
  try:
    leaves = _read_arrays(path / "state", wanted)
  except jax.errors.JaxRuntimeError:
    raise  # the device's trouble (out of memory), not the checkpoint's
  except Exception as error:  # Orbax and TensorStore raise whatever their parsers raise
    problem = f"its arrays are unreadable ({one_line(error)})"
  raise_together(problem)
  require_same_bits(leaves, saved)
  treedef = jax.tree.structure(abstract_state)
  state = jax.tree.unflatten(treedef, [leaves[name] for name in wanted])
  return state, {**record["metadata"], "step": record["step"], "bound": record["bound"]}


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
