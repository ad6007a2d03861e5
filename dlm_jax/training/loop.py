"""The host's loop around the training step: feed, log, validate, save, and stop when asked to."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.distributed import cluster
from dlm_jax.distributed.sharding import batch_sharding, replicated, to_global
from dlm_jax.runs.checkpointer import Checkpointer
from dlm_jax.runs.metrics import MetricsLog
from dlm_jax.training.preemption import StopRequest
from dlm_jax.training.profiling import Profiler
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.state import TrainState
from dlm_jax.training.throughput import Meter

Step = Callable[[TrainState, Any], tuple[TrainState, Any]]


@dataclass(frozen=True)
class Run:
  """What the loop drives.

  Attributes:
    step: the pure training step.
    batches: this process's rows, from the step of the state on.
    validate: the validation bound of some parameters as metrics; `validation_bound` in nats/token
      decides which checkpoint is best.
    learning_rate: by step.
    metadata: what every checkpoint remembers.
    publish: copies the record of the run to where it is kept, before each save.
    steps, log_every, evaluate_every, max_skipped: see `experiment.TrainingConfig`.
  """

  step: Step
  batches: Iterator[dict[str, np.ndarray]]
  validate: Callable[[Any], dict[str, float]]
  learning_rate: Callable[[int], Any]
  metadata: dict[str, Any]
  publish: Callable[[], None]
  meter: Meter
  profiler: Profiler
  mesh: jax.sharding.Mesh
  steps: int
  log_every: int
  evaluate_every: int
  max_skipped: int


def compile_step(step: Step, abstract_state: TrainState, mesh: jax.sharding.Mesh) -> Step:
  """The step under `jax.jit`, the state donated and laid out as `abstract_state` says."""
  layout = jax.tree.map(lambda leaf: leaf.sharding, abstract_state)
  return jax.jit(
    step,
    in_shardings=(layout, batch_sharding(mesh)),
    out_shardings=(layout, replicated(mesh)),
    donate_argnums=0,
  )


def train(
  run: Run, state: TrainState, checkpointer: Checkpointer, log: MetricsLog, line: ProgressLine
) -> bool:
  """Trains from `state` to the last step, or to the next step after a stop is requested.

  The metrics of step n-1 are fetched after step n has been dispatched, so that the device never
  waits for the host.

  Returns:
    Whether the run is complete. If not, it was saved and can be resumed.

  Raises:
    UserError: more steps in a row than allowed were not finite, or a save failed.
  """
  start = int(state.step)
  monitor = _Monitor(run, log, line)
  step = None
  with StopRequest() as stop, jax.set_mesh(run.mesh), run.profiler:
    for number in range(start + 1, run.steps + 1):
      run.profiler.before(number)
      with jax.profiler.StepTraceAnnotation("train", step_num=number):
        batch = to_global(next(run.batches), run.mesh)
        step = step or cluster.compile_together(run.step, state, batch)
        state, metrics = step(state, batch)
      run.profiler.after(number, metrics)
      monitor.fetch_previous()
      monitor.pending = (number, metrics)
      last = number == run.steps or stop.at(number)
      bound = None
      if number % run.evaluate_every == 0 or number == run.steps:
        bound = monitor.validated(number, state)
      if last or checkpointer.should_save(number):
        # First the record: who resumes from this step elsewhere must find its rows.
        monitor.fetch_previous()
        with monitor.paused():
          run.publish()
          checkpointer.save(number, state, run.metadata, bound=bound, force=last)
      if last:
        break
    checkpointer.wait()
  return int(state.step) >= run.steps


@dataclass
class _Monitor:
  """Turns the metrics of steps into rows, and watches for runs that have gone wrong."""

  run: Run
  log: MetricsLog
  line: ProgressLine
  pending: tuple[int, Any] | None = None
  losses: list[float] = field(default_factory=list)
  since: float | None = None  # None until the first step, which compiles, is over
  steps_since: int = 0

  def fetch_previous(self) -> None:
    """Fetches the metrics held back, and logs a row if their step asks for one."""
    if self.pending is None:
      return
    number, metrics = self.pending
    self.pending = None
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if values["skipped_in_a_row"] >= self.run.max_skipped:
      first = number - int(values["skipped_in_a_row"]) + 1
      raise UserError(
        f"the loss or gradient was not finite in {self.run.max_skipped} steps in a row, from step "
        f"{first} on; none was applied. Lower optimizer.learning_rate or optimizer.clip, and start "
        "again: the run resumes from its last checkpoint."
      )
    self.losses.append(values["loss"])
    if self.since is None:
      self.since = time.perf_counter()
    else:
      self.steps_since += 1
    if number % self.run.log_every == 0 or number == self.run.steps:
      self._log(number, values)

  def _log(self, number: int, values: dict[str, float]) -> None:
    finite = [loss for loss in self.losses if math.isfinite(loss)]
    values["loss"] = sum(finite) / max(len(finite), 1)
    values["learning_rate"] = float(self.run.learning_rate(number - 1))
    if self.steps_since:
      seconds = time.perf_counter() - self.since
      values["seconds_per_step"] = seconds / self.steps_since
      values |= self.run.meter.rates(self.steps_since, seconds)
      self.line.update(number, values)
    self.log.write(number, values)
    self.losses, self.since, self.steps_since = [], time.perf_counter(), 0

  def validated(self, number: int, state: TrainState) -> float:
    """The validation bound of the averaged parameters, logged."""
    self.fetch_previous()
    with self.paused():
      values = self.run.validate(state.ema)
      self.log.write(number, values)
      shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
      self.line.note(f"step {number}  {shown}")
    return values["validation_bound"]

  def paused(self) -> "_Pause":
    """Leaves out of the throughput what happens while it is entered."""
    return _Pause(self)


@dataclass
class _Pause:
  monitor: _Monitor
  start: float = 0.0

  def __enter__(self) -> None:
    self.start = time.perf_counter()

  def __exit__(self, *exception: object) -> None:
    if self.monitor.since is not None:
      self.monitor.since += time.perf_counter() - self.start
