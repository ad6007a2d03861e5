"""Saves the state of a training run and resumes it, with checkpoints that `checkpoint` verifies."""

import math
import os
from collections.abc import Mapping
from typing import Self

import jax
import orbax.checkpoint
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers

from dlm_jax.core.errors import UserError
from dlm_jax.core.faults import SystemFault, explain, writing
from dlm_jax.core.json_files import seal
from dlm_jax.core.types import Json, PyTree
from dlm_jax.distributed import cluster
from dlm_jax.runs.checkpoint import Wanted, absolute, bounds, restore_newest, steps
from dlm_jax.runs.config_changes import rate_changes
from dlm_jax.runs.record import KeepBest, Metadata, describe, flatten, one_line, payload
from dlm_jax.runs.save_logs import quiet_failures

# Under the directory of the checkpoints: steps that failed to restore, moved out of the way.
DAMAGED = "damaged"
# In the metadata of a checkpoint: at which steps the rates of the optimizer were changed.
CHANGES = "changes"


class Checkpointer:
  """Saves the state of a training run and resumes it. One per run: it owns its directory.

  Every process of the run constructs it and calls it in the same order. Other commands read with
  the functions of `checkpoint`, which change nothing.
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
      UserError: a cadence is not positive, or the directory cannot be written to.
    """
    cadences = {"save_every": save_every, "keep_latest": keep_latest, "keep_every": keep_every}
    for name, value in cadences.items():
      if value is not None and value < 1:
        raise UserError(f"checkpoint.{name} must be at least 1: got {value}.")
    self._directory = absolute(directory)
    self._save_every = save_every
    self._saving: int | None = None
    self._changes: list[Json] = []
    self._bounds = bounds(self._directory)
    policies = [checkpoint_managers.LatestN(keep_latest), KeepBest(self._bounds)]
    if keep_every is not None:
      policies.append(checkpoint_managers.EveryNSteps(keep_every))
    quiet_failures()
    options = orbax.checkpoint.CheckpointManagerOptions(
      preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
      cleanup_tmp_directories=True,
    )
    with writing(self._directory):
      self._manager = orbax.checkpoint.CheckpointManager(self._directory, options=options)

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
    metadata: Mapping[str, Json],
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
    leaves = flatten(state)
    bound = None if bound is None or not math.isfinite(bound) else float(bound)
    metadata = {**metadata, CHANGES: self._changes} if self._changes else metadata
    record = seal({"metadata": metadata, "step": step, "bound": bound, "leaves": describe(leaves)})
    self._bounds[step] = bound
    self._saving = step
    args = orbax.checkpoint.args.Composite(
      state=orbax.checkpoint.args.PyTreeSave(payload(leaves)),
      record=orbax.checkpoint.args.JsonSave(record),
    )
    try:
      # The cadence is decided above, without Orbax's own rules on latest steps and preemption.
      self._manager.save(step, args=args, force=True)
    except Exception as error:
      if explain(error) is None:
        raise
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
    what = f"saving the checkpoint of step {step} in {self._directory} failed"
    fault = explain(error)
    if fault is not None:
      return SystemFault(f"{what}: {fault}")
    return UserError(f"{what}: {one_line(error)}. The checkpoints before it are intact.")

  def restore(
    self, abstract_state: PyTree, config: Mapping[str, Json] | None = None
  ) -> tuple[PyTree, Metadata]:
    """Restores the newest checkpoint that is whole, to resume training from it.

    Newer ones that are damaged are reported and moved to `directory/damaged/<step>-<n>`, so that
    the run can save those steps again. Nothing is moved when no checkpoint can be restored. What
    `config` changes of the optimizer's rates is remembered by all later checkpoints, in their
    metadata under `changes`: `{"step": 100, "optimizer.learning_rate": "0.1 -> 0.01"}`.

    Args:
      abstract_state: a pytree of `jax.ShapeDtypeStruct` with shardings, of the whole state. The
        mesh can be another than at the save.
      config: under which the run goes on; see `checkpoint.restore`.

    Returns:
      The state and the metadata given to `save`, with `step` and `bound`.

    Raises:
      UserError: there is no checkpoint, all are damaged, or they are of another model or config.
    """
    self.wait()
    state, metadata, damaged = restore_newest(
      self._directory, Wanted(abstract_state, config=config)
    )
    self._changes = list(metadata.get(CHANGES, []))
    if config is not None and (changed := rate_changes(metadata["config"], config)):
      self._changes.append({"step": metadata["step"], **changed})
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


def _move_aside(directory: epath.Path, step: int) -> None:
  (directory / DAMAGED).mkdir(parents=True, exist_ok=True)
  taken = {path.name for path in (directory / DAMAGED).iterdir()}
  number = next(n for n in range(len(taken) + 1) if f"{step}-{n}" not in taken)
  target = directory / DAMAGED / f"{step}-{number}"
  (directory / str(step)).rename(target)
  logging.error("Moved the damaged checkpoint of step %d to %s.", step, target)
