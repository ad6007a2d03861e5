"""Checkpoints that are verified: what is restored is bit for bit what was saved, or an error.

The only file of the project that imports Orbax. Orbax writes arrays asynchronously and swaps a
finished directory in atomically, but it restores flipped bits and casts dtypes without a word. So
beside the arrays of a step stands a record (JSON): what the caller wants to remember (config, git
revision, dataset hash), and for every array its shape, its dtype and the fingerprint of its bits. A
restore checks all of it.

On disk, `directory/<step>/state` holds the arrays under the names of their tree paths
(`params/layers/kernel`) and `directory/<step>/record` the record. The names are all that ties a
checkpoint to the code: the classes that make up the state can change, and a part of the state
(parameters without the optimizer) is a subset of the names.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster
from dlm_jax.runs.fingerprint import fingerprints

PyTree = Any
# Under the directory of the checkpoints: steps that failed to restore, moved out of the way.
DAMAGED = "damaged"


class _Damaged(Exception):
  """A checkpoint that does not hold what was saved."""


class Checkpointer:
  """Saves the state of a training run and resumes it. One per run: it owns its directory.

  Every process of the run constructs it and calls it in the same order. Other commands read with
  the functions `restore`, `steps` and `best_step`, which change nothing.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    save_every: int,
    keep_latest: int,
    keep_every: int | None = None,
  ):
    """Opens `directory`, made if absent; what a killed save left half-written there is removed.

    Args:
      directory: where the steps go. No other process may write to it.
      save_every: steps between saves.
      keep_latest: how many of the newest checkpoints to keep. With 1 there is nothing to fall
        back to when the newest is damaged.
      keep_every: checkpoints at multiples of this step stay for good.

    Raises:
      UserError: a cadence is not positive.
    """
    cadences = {"save_every": save_every, "keep_latest": keep_latest, "keep_every": keep_every}
    for name, value in cadences.items():
      if value is not None and value < 1:
        raise UserError(f"checkpoint.{name} must be at least 1: got {value}.")
    self._directory = _absolute(directory)
    self._save_every = save_every
    self._saving: int | None = None
    self._bounds = _bounds(self._directory)
    policies = [checkpoint_managers.LatestN(keep_latest), _Best(self._bounds)]
    if keep_every is not None:
      policies.append(checkpoint_managers.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
      preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
      cleanup_tmp_directories=True,
    )
    self._manager = ocp.CheckpointManager(self._directory, options=options)

  def latest_step(self) -> int | None:
    """The newest step, damaged or not, or being saved. None means that the run is a fresh one."""
    # From the disk: after a failed save the manager forgets the steps that were to make way for it.
    present = steps(self._directory)
    return max(present if self._saving is None else [*present, self._saving], default=None)

  def should_save(self, step: int) -> bool:
    """Whether `save(step, ...)` would save without `force`."""
    return step % self._save_every == 0

  def save(
    self,
    step: int,
    state: PyTree,
    metadata: Mapping[str, Any],
    *,
    bound: float | None = None,
    force: bool = False,
  ) -> bool:
    """Starts to save; the arrays of `state` may be donated as soon as this returns.

    Waits for the save before it and for a copy of the state, not for the disk.

    Args:
      step: the number of training steps taken.
      state: a pytree of `jax.Array`, sharded in any way.
      metadata: whatever JSON can hold: config, git revision, dataset hash.
      bound: the likelihood bound at this step, nats/token. The checkpoint with the lowest is kept;
        one without a bound, or with a NaN, is never the best.
      force: save although `step` is not a multiple of `save_every`.

    Returns:
      Whether a save was started: not when it is not due, nor when this step is already there.

    Raises:
      UserError: this save, or the one before it, failed (a full disk).
    """
    if not (force or self.should_save(step)):
      return False
    self.wait()
    if step in steps(self._directory):
      return False
    leaves = _flatten(state)
    bound = None if bound is None or not math.isfinite(bound) else float(bound)
    record = _seal(
      {"metadata": metadata, "step": step, "bound": bound, "leaves": _describe(leaves)}
    )
    self._bounds[step] = bound
    self._saving = step
    args = ocp.args.Composite(
      state=ocp.args.PyTreeSave(_payload(leaves)), record=ocp.args.JsonSave(record)
    )
    try:
      # The cadence is decided above, without Orbax's own rules on latest steps and preemption.
      self._manager.save(step, args=args, force=True)
    except OSError as error:
      raise self._failed(error) from error
    return True

  def wait(self) -> None:
    """Returns when the save in flight is complete on disk.

    Raises:
      UserError: it failed. What was saved before is intact.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._failed(error) from error
    self._saving = None

  def _failed(self, error: Exception) -> UserError:
    step, self._saving = self._saving, None
    return UserError(
      f"saving the checkpoint of step {step} in {self._directory} failed: {_one_line(error)}. The "
      "checkpoints before it are intact: see to the disk and start again to resume from them."
    )

  def restore(self, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Restores the newest checkpoint that is whole, to resume training from it.

    Newer ones that are damaged are reported and moved to `directory/damaged/<step>-<n>`, so that
    the run can save those steps again. Nothing is moved when no checkpoint can be restored.

    Args:
      abstract_state: a pytree of `jax.ShapeDtypeStruct` with shardings, of the whole state. The
        mesh can be another than at the save.

    Returns:
      The state and the metadata given to `save`, with `step` and `bound`.

    Raises:
      UserError: there is no checkpoint, all are damaged, or they are of another model.
    """
    self.wait()
    state, metadata, damaged = _restore_newest(self._directory, abstract_state, partial=False)
    if damaged:
      if jax.process_index() == 0:
        for step in damaged:
          _move_aside(self._directory, step)
      cluster.barrier("damaged checkpoints moved aside")
      self._manager.reload()
    return state, metadata

  def close(self) -> None:
    """Waits for the save in flight and stops the threads. Raises what `wait` raises."""
    try:
      self.wait()
    finally:
      self._manager.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()


def restore(
  directory: str | os.PathLike,
  abstract_state: PyTree,
  *,
  step: int | None = None,
  partial: bool = False,
) -> tuple[PyTree, dict[str, Any]]:
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
  path = _absolute(directory)
  if step is None:
    return _restore_newest(path, abstract_state, partial=partial)[:2]
  present = steps(directory)
  if step not in present:
    known = f"The steps there are {present}." if present else "There is none at all."
    raise UserError(f"there is no checkpoint of step {step} in {path}. {known}")
  try:
    return _read(path, step, abstract_state, partial=partial)
  except _Damaged as error:
    raise UserError(
      f"the checkpoint of step {step} in {path} is damaged: {error}. The steps there are {present}."
    ) from error


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps whose save was completed, in increasing order. Empty without a directory."""
  found = ocp.path.step.standard_name_format().find_all(epath.Path(directory))
  return sorted(metadata.step for metadata in found)


def best_step(directory: str | os.PathLike) -> int | None:
  """The step with the lowest bound; the newest of equals. None when no step has a bound."""
  return _best(_bounds(epath.Path(directory)))


def _absolute(directory: str | os.PathLike) -> epath.Path:
  """The path as Orbax wants it; what has a scheme has no place under the working directory."""
  path = epath.Path(directory)
  return path if "://" in str(path) else path.absolute()


def _flatten(tree: PyTree) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError("two leaves of the state have the same path: a key holds a '/'.")
  return named


def _payload(leaves: Mapping[str, Any]) -> dict[str, Any]:
  return {name: leaf for name, leaf in leaves.items() if leaf.size}  # Orbax refuses empty arrays


def _describe(leaves: Mapping[str, jax.Array]) -> dict[str, dict[str, Any]]:
  values = fingerprints(leaves)
  return {
    name: {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "fingerprint": values[name]}
    for name, leaf in leaves.items()
  }


def _seal(record: Mapping[str, Any]) -> dict[str, Any]:
  record = json.loads(json.dumps(record))
  return {**record, "checksum": _checksum(record)}


def _checksum(record: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _read_record(path: epath.Path) -> dict[str, Any]:
  try:
    record = ocp.JsonCheckpointHandler().restore(path / "record")
    checksum = record.pop("checksum")
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise _Damaged(f"its record is unreadable ({_one_line(error)})") from error
  if checksum != _checksum(record):
    raise _Damaged("its record was altered after the save")
  return record


def _bounds(directory: epath.Path) -> dict[int, float | None]:
  bounds = {}
  for step in steps(directory):
    try:
      bounds[step] = _read_record(directory / str(step))["bound"]
    except _Damaged:
      continue  # reported if a restore ever needs it
  return bounds


def _best(bounds: Mapping[int, float | None]) -> int | None:
  known = {step: bound for step, bound in bounds.items() if bound is not None}
  return min(known, key=lambda step: (known[step], -step), default=None)


@dataclasses.dataclass(frozen=True)
class _Best:
  """A preservation policy: the step with the lowest bound.

  Orbax's own `BestN` needs its metrics files: one that does not parse keeps a run from starting.
  """

  bounds: Mapping[int, float | None]

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    present = {c.step: self.bounds.get(c.step) for c in checkpoints}
    return [c.step == _best(present) for c in checkpoints]


def _restore_newest(
  directory: epath.Path, abstract_state: PyTree, *, partial: bool
) -> tuple[PyTree, dict[str, Any], list[int]]:
  """Returns the state and the metadata, and the damaged steps that are newer."""
  present = steps(directory)
  if not present:
    raise UserError(f"there is no checkpoint in {directory}: train first, or see to the path.")
  damaged = {}
  for step in reversed(present):
    try:
      state, metadata = _read(directory, step, abstract_state, partial=partial)
    except _Damaged as error:
      logging.error("DAMAGED CHECKPOINT: step %d in %s: %s.", step, directory, error)
      damaged[step] = error
      continue
    if damaged:
      logging.error("Going back to step %d; steps %s are damaged.", step, list(damaged))
    return state, metadata, list(damaged)
  reasons = [f"step {step}: {error}" for step, error in damaged.items()]
  raise UserError(
    f"every checkpoint in {directory} is damaged: {_listed(reasons, '; ')}. Nothing was moved or "
    "deleted: bring the files back from a copy, or start over in another --workdir."
  )


def _read(
  directory: epath.Path, step: int, abstract_state: PyTree, *, partial: bool
) -> tuple[PyTree, dict[str, Any]]:
  """Reads and verifies one step. Raises `_Damaged`, on all processes when on one."""
  wanted = {name: _placed(leaf) for name, leaf in _flatten(abstract_state).items()}
  path = directory / str(step)
  problem = record = None
  leaves = {}
  try:
    record = _read_record(path)
  except _Damaged as error:
    problem = str(error)
  _raise_together(problem)
  saved = record["leaves"]
  _require_same_model(path, saved, wanted, partial)
  try:
    leaves = _read_arrays(path / "state", wanted)
  except jax.errors.JaxRuntimeError:
    raise  # the device's trouble (out of memory), not the checkpoint's
  except Exception as error:  # Orbax and TensorStore raise whatever their parsers raise
    problem = f"its arrays are unreadable ({_one_line(error)})"
  _raise_together(problem)
  values = fingerprints(leaves)
  altered = [name for name in wanted if values[name] != saved[name]["fingerprint"]]
  if altered:
    raise _Damaged(f"the bits of {_listed(altered)} are not those that were saved")
  treedef = jax.tree.structure(abstract_state)
  state = jax.tree.unflatten(treedef, [leaves[name] for name in wanted])
  return state, {**record["metadata"], "step": record["step"], "bound": record["bound"]}


def _placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  # Without a sharding Orbax would ask for the devices that the run was saved from.
  sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  sharding.shard_shape(leaf.shape)  # raises when it does not divide: not the checkpoint's fault
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _raise_together(problem: str | None) -> None:
  """Raises `_Damaged` on every process when one has a problem, so that all try the same step."""
  if not np.all(multihost_utils.process_allgather(np.asarray(problem is None))):
    raise _Damaged(problem or "another process could not read it")


def _read_arrays(
  path: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
  payload = _payload(wanted)
  # The handler alone: `CheckpointManager.restore` ends in a barrier, where the other processes
  # would wait for the one that could not read its part.
  restored = ocp.PyTreeCheckpointHandler().restore(
    path,
    args=ocp.args.PyTreeRestore(
      item=payload,
      restore_args=ocp.checkpoint_utils.construct_restore_args(payload),
      partial_restore=True,
    ),
  )
  empty = {n: _empty(leaf) for n, leaf in wanted.items() if n not in payload}
  return {name: (restored | empty)[name] for name in wanted}


def _empty(leaf: jax.ShapeDtypeStruct) -> jax.Array:
  return jax.make_array_from_callback(
    leaf.shape,
    leaf.sharding,
    lambda _: np.zeros(leaf.sharding.shard_shape(leaf.shape), leaf.dtype),
  )


def _require_same_model(
  path: epath.Path,
  saved: Mapping[str, Mapping[str, Any]],
  wanted: Mapping[str, jax.ShapeDtypeStruct],
  partial: bool,
) -> None:
  differences = []
  for name, leaf in wanted.items():
    if name not in saved:
      differences.append(f"{name} is missing there")
    elif tuple(saved[name]["shape"]) != leaf.shape:
      differences.append(f"{name} has shape {tuple(saved[name]['shape'])} there, {leaf.shape} here")
    elif saved[name]["dtype"] != str(leaf.dtype):
      differences.append(f"{name} is {saved[name]['dtype']} there, {leaf.dtype} here")
  if not partial:
    differences += [f"{name} is there only" for name in saved if name not in wanted]
  if differences:
    raise UserError(
      f"the checkpoint {path} is of another model: {_listed(differences, '; ')}. Use the config "
      "that it was trained with, or another --workdir to start a new run."
    )


def _listed(items: Sequence[str], separator: str = ", ", most: int = 3) -> str:
  more = f"{separator}and {len(items) - most} more" if len(items) > most else ""
  return separator.join(items[:most]) + more


def _move_aside(directory: epath.Path, step: int) -> None:
  (directory / DAMAGED).mkdir(parents=True, exist_ok=True)
  taken = {path.name for path in (directory / DAMAGED).iterdir()}
  number = next(n for n in range(len(taken) + 1) if f"{step}-{n}" not in taken)
  target = directory / DAMAGED / f"{step}-{number}"
  (directory / str(step)).rename(target)
  logging.error("Moved the damaged checkpoint of step %d to %s.", step, target)


def _one_line(error: BaseException, most: int = 200) -> str:
  while error.__cause__ is not None:  # Orbax wraps what happened in pages of its own settings
    error = error.__cause__
  text = " ".join(f"{type(error).__name__}: {error}".split())
  return text if len(text) <= most else text[:most] + "…"
