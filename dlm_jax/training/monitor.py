"""Turns the metrics of training steps into the rows of the record, and ends runs that diverge."""

import math
from dataclasses import dataclass, field

import jax
import optax

from dlm_jax.runs.metrics import MetricsLog
from dlm_jax.training.config import TrainingConfig
from dlm_jax.training.failures import NotFinite
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.step import Metrics
from dlm_jax.training.stopwatch import Stopwatch
from dlm_jax.training.throughput import Meter


@dataclass
class LossWindow:
  """The steps since the last row of metrics.

  Attributes:
    losses: of all of them.
    timed: how many of them the stopwatch covers: the first step of a run, which compiles, is not.
  """

  losses: list[float] = field(default_factory=list)
  timed: int = 0

  @property
  def mean_loss(self) -> float:
    """Over the steps whose loss was finite; NaN if there is none."""
    finite = [loss for loss in self.losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else math.nan


@dataclass(kw_only=True)
class Monitor:
  """Receives the metrics of each step and writes a row every `log_every` steps.

  The metrics of a step are fetched when those of the next one arrive, so that the device never
  waits for the host.

  Attributes:
    config: cadence of the rows, and how many steps in a row may be skipped.
    learning_rate: by the number of updates before a step.
    meter: turns steps and seconds into rates.
    log: where rows are written.
    line: where a person sees them.
    stopwatch: runs from the end of the first step on.
  """

  config: TrainingConfig
  learning_rate: optax.Schedule
  meter: Meter
  log: MetricsLog
  line: ProgressLine
  stopwatch: Stopwatch = field(default_factory=Stopwatch)
  _pending: tuple[int, Metrics] | None = field(default=None, init=False)
  _window: LossWindow = field(default_factory=LossWindow, init=False)

  def dispatched(self, step: int, metrics: Metrics) -> None:
    """To be called when step number `step`, counted from 1, has been dispatched.

    Raises:
      NotFinite: the steps before it were not finite, more of them in a row than allowed.
    """
    self.flush()
    self._pending = (step, metrics)

  def flush(self) -> None:
    """Fetches the metrics of the last step that was dispatched. Raises as `dispatched`."""
    if self._pending is None:
      return
    step, metrics = self._pending
    self._pending = None
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    self._refuse_divergence(step, int(values["skipped_in_a_row"]))
    self._window.losses.append(values["loss"])
    if self.stopwatch.running:
      self._window.timed += 1
    else:
      self.stopwatch.restart()
    if step % self.config.log_every == 0 or step == self.config.steps:
      self._write(step, values)

  def validated(self, step: int, values: dict[str, float]) -> None:
    """Writes what validation has found after a step."""
    self.log.write(step, values)
    shown = "  ".join(
      f"{name} {value:.4f}" if math.isfinite(value) else f"{name} is not a number"
      for name, value in values.items()
    )
    self.line.note(f"step {step}  {shown}")

  def _refuse_divergence(self, step: int, skipped: int) -> None:
    # A short run that took no step at all has failed too.
    if skipped >= min(self.config.max_skipped, self.config.steps):
      raise NotFinite(
        "the loss, the gradient or the weights and moments that would follow from them were not "
        f"finite in {skipped} steps in a row, from step {step - skipped + 1} on; none was applied, "
        "and what is saved is finite."
      )

  def _write(self, step: int, values: dict[str, float]) -> None:
    timed, seconds = self._window.timed, self.stopwatch.seconds
    values["loss"] = self._window.mean_loss
    # A step that is left out makes no update, and moves the schedule no further.
    updates = step - int(values["skipped"]) - (values["skipped_in_a_row"] == 0)
    values["learning_rate"] = float(self.learning_rate(updates))
    if timed:
      values["seconds_per_step"] = seconds / timed
      values |= self.meter.rates(timed, seconds)
      self.line.update(step, values)
    self.log.write(step, values)
    self._window = LossWindow()
    self.stopwatch.restart()
