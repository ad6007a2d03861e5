"""Saves a run so that whoever resumes it finds all that belongs to a step."""

from collections.abc import Mapping
from dataclasses import dataclass

from dlm_jax.core.types import Json
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.workdir import Workdir
from dlm_jax.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Saver:
  """Saves the record of a run and its train state.

  Attributes:
    checkpointer: saves the state.
    workdir: holds the record: metrics, config.
    metadata: what every checkpoint remembers.
  """

  checkpointer: Checkpointer
  workdir: Workdir
  metadata: Mapping[str, Json]

  def due(self, step: int) -> bool:
    """Whether a checkpoint is saved at this step anyway."""
    return self.checkpointer.should_save(step)

  def save(self, step: int, state: TrainState, *, bound: float | None, last: bool) -> None:
    """Saves the step if it is due or the last one.

    Args:
      step: steps taken.
      state: after that step.
      bound: the validation bound at this step, nats/token, if there is one.
      last: no step follows.

    Raises:
      UserError: this save, or the one before it, failed.
    """
    # First the record: whoever resumes from this step elsewhere needs its rows.
    self.workdir.publish()
    self.checkpointer.save(step, state, self.metadata, bound=bound, force=last)

  def wait(self) -> None:
    """Returns when all is on disk. Raises `UserError` if a save failed."""
    self.checkpointer.wait()
