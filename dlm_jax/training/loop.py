"""The host's loop around the training step: feed, log, validate, save, and stop when asked to."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Wrapped

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Params
from dlm_jax.distributed import cluster
from dlm_jax.distributed.sharding import to_global
from dlm_jax.training.config import TrainingConfig
from dlm_jax.training.monitor import Monitor
from dlm_jax.training.preemption import StopRequest
from dlm_jax.training.profiling import Profiler
from dlm_jax.training.saving import Saver
from dlm_jax.training.state import TrainState

# The interval of times `[2]` to train on after a state, or None to keep that of the state.
SearchClip = Callable[[TrainState], np.ndarray | None]
# The validation bound of some parameters as metrics; `validation_bound` in nats/token decides which
# checkpoint is the best.
Validate = Callable[[Params], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Loop:
  """The parts of the loop.

  Attributes:
    step: the training step under `jax.jit`.
    batches: this process's rows, from the step of the first state on.
    validate: run every `evaluate_every` steps, on the averaged parameters.
    search_clip: run with it, where the train state holds an interval of times.
    monitor: writes the record of the run.
    saver: saves checkpoints.
    profiler: traces some of the steps.
    mesh: the devices.
    config: how many steps, and what happens how often.
  """

  step: Wrapped
  batches: Iterator[dict[str, np.ndarray]]
  validate: Validate
  monitor: Monitor
  saver: Saver
  profiler: Profiler
  mesh: Mesh
  config: TrainingConfig
  search_clip: SearchClip | None = None


def train(loop: Loop, state: TrainState) -> bool:
  """Trains from `state` to the last step, or to the next step after a stop is requested.

  Returns:
    Whether the run is complete. If not, it was saved and can be resumed.

  Raises:
    UserError: more steps in a row than allowed were not finite, a save failed, or the run is
      complete and saved and its validation bound is not a number.
  """
  start, steps, monitor = int(state.step), loop.config.steps, loop.monitor
  step = bound = None
  with StopRequest() as stop, jax.set_mesh(loop.mesh), loop.profiler:
    for number in range(start + 1, steps + 1):
      loop.profiler.before(number)
      with jax.profiler.StepTraceAnnotation("train", step_num=number):
        batch = to_global(next(loop.batches), loop.mesh)
        step = step or cluster.compile_together(loop.step, state, batch)
        state, metrics = step(state, batch)
      loop.profiler.after(number, metrics)
      monitor.dispatched(number, metrics)
      last = number == steps or stop.at(number)
      bound = None
      if number % loop.config.evaluate_every == 0 or number == steps:
        bound = _validate(loop, number, state)
      if number % loop.config.evaluate_every == 0 and loop.search_clip is not None:
        state = _search_clip(loop, number, state)
      if last or loop.saver.due(number):
        monitor.flush()
        with monitor.stopwatch.paused():
          loop.saver.save(number, state, bound=bound, last=last)
      if last:
        break
    loop.saver.wait()
  if bound is not None and not math.isfinite(bound):
    raise UserError(
      f"the validation bound of the averaged weights is not a number at the last step, {number}: "
      "they are saved, but no text can be drawn from them. Start again in another --workdir with a "
      "lower optimizer.learning_rate."
    )
  return int(state.step) >= steps


def _validate(loop: Loop, number: int, state: TrainState) -> float:
  """The validation bound of the averaged parameters, nats/token, logged."""
  loop.monitor.flush()
  with loop.monitor.stopwatch.paused():
    values = loop.validate(state.ema)
    loop.monitor.validated(number, values)
  return values["validation_bound"]


def _search_clip(loop: Loop, number: int, state: TrainState) -> TrainState:
  """The state with the interval of times to train on from here, logged."""
  assert loop.search_clip is not None and state.clip is not None
  with loop.monitor.stopwatch.paused():
    interval = loop.search_clip(state)
  if interval is None:
    return state
  first, last = interval.tolist()
  loop.monitor.validated(number, {"clip_from": first, "clip_to": last})
  return dataclasses.replace(state, clip=jax.device_put(interval, state.clip.sharding))
