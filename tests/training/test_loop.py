"""What the loop writes, validates and saves, with a step that computes nothing."""

import dataclasses
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.runs.metrics import MetricsLog, read_rows
from dlm_jax.training import loop, profiling
from dlm_jax.training.config import TrainingConfig
from dlm_jax.training.loop import Loop
from dlm_jax.training.monitor import Monitor
from dlm_jax.training.progress_line import ProgressLine
from dlm_jax.training.state import TrainState
from dlm_jax.training.stopwatch import Stopwatch
from dlm_jax.training.throughput import Meter
from tests.clock import Clock

STEP, VALIDATION, SAVE = 1, 100, 10_000  # seconds
METER = Meter(tokens_per_step=10, flops_per_token=3, devices=2, peak=5.0)


class Loss:
  """A number that the device is still working on: whoever reads it waits."""

  def __init__(self, value, clock, seconds):
    self.value, self.clock, self.seconds = value, clock, seconds

  def __float__(self):
    self.clock.time += self.seconds
    return self.value


class Saver:
  """Remembers what was saved: the step, the bound, and how many rows were on disk."""

  def __init__(self, every, workdir, clock):
    self.every, self.workdir, self.clock, self.saved = every, workdir, clock, []

  def due(self, step):
    return step % self.every == 0

  def save(self, step, state, *, bound, last):
    assert int(state.step) == step
    rows = [row["step"] for row in read_rows(self.workdir)]
    self.saved.append((step, bound, last, rows[-1]))
    self.clock.time += SAVE

  def wait(self):
    self.saved.append("waited")


def run(
  tmp_path, losses, start=0, stop_after=None, save_every=100, validation_bounds=None, **fields
):
  """The loop over steps with these losses; whether it is complete, and what was saved."""
  tmp_path.mkdir(exist_ok=True)
  config = TrainingConfig(steps=len(losses), batch_size=8, **fields)
  clock = Clock()
  saver = Saver(save_every, tmp_path, clock)

  def step(state, batch):
    number = int(state.step) + 1
    if number == stop_after:
      os.kill(os.getpid(), signal.SIGTERM)
    loss = losses[number - 1]
    bad = 0 if np.isfinite(loss) else int(state.skipped_in_a_row) + 1
    skipped = state.skipped + (bad > 0)
    state = dataclasses.replace(
      state, step=jnp.int32(number), skipped=skipped, skipped_in_a_row=bad
    )
    loss = Loss(loss, clock, 50 if number == start + 1 else STEP)  # the first one compiles
    metrics = {"loss": loss, "gradient_norm": 1.0, "skipped": skipped, "skipped_in_a_row": bad}
    return state, metrics

  def validate(params):
    assert params == "the average"
    clock.time += VALIDATION
    return {"validation_bound": 2.0 if validation_bounds is None else next(validation_bounds)}

  monitor = Monitor(
    config=config,
    learning_rate=lambda count: 0.1 * count,
    meter=METER,
    log=MetricsLog(tmp_path, start, {}),
    line=ProgressLine(start, config.steps),
    stopwatch=Stopwatch(clock),
  )
  parts = Loop(
    step=step,
    batches=iter([{"tokens": np.zeros((8, 1), np.int32)}] * len(losses)),
    validate=validate,
    monitor=monitor,
    saver=saver,
    profiler=profiling.parse("", tmp_path),
    mesh=make_mesh({"data": -1}),
    config=config,
  )
  state = TrainState(
    step=jnp.int32(start),
    params="the last",
    ema="the average",
    opt_state=None,
    skipped=0,
    skipped_in_a_row=0,
  )
  try:
    return loop.train(parts, state), saver.saved
  finally:
    monitor.log.close()


def training_rows(workdir):
  return [row for row in read_rows(workdir) if "loss" in row]


def test_a_row_holds_the_mean_loss_and_the_learning_rate_of_its_step(tmp_path):
  complete, _ = run(tmp_path, [1.0, 2.0, 6.0, 4.0, 8.0], log_every=3)
  assert complete
  rows = training_rows(tmp_path)
  assert [(row["step"], row["loss"]) for row in rows] == [(3, 3.0), (5, 6.0)]
  # An update is made at the rate of the updates before it.
  assert [row["learning_rate"] for row in rows] == [pytest.approx(0.2), pytest.approx(0.4)]


def test_steps_that_are_left_out_do_not_move_the_learning_rate(tmp_path):
  run(tmp_path, [1.0, np.nan, 2.0, np.nan, np.nan, 3.0], log_every=1)
  rates = [row["learning_rate"] for row in read_rows(tmp_path) if "learning_rate" in row]
  assert rates == [pytest.approx(0.1 * updates) for updates in (0, 1, 1, 2, 2, 2)]


def test_compiling_validating_and_saving_are_no_training_time(tmp_path):
  run(tmp_path, [1.0] * 8, log_every=4, evaluate_every=2, save_every=3)
  rows = training_rows(tmp_path)
  assert [row["seconds_per_step"] for row in rows] == [STEP, STEP]
  assert rows[1]["tokens_per_second"] == 10 / STEP
  assert rows[1]["mfu"] == 10 / STEP * 3 / (2 * 5.0)


def test_validates_and_saves_when_due_and_at_the_end(tmp_path):
  _, saved = run(tmp_path, [1.0] * 7, log_every=2, evaluate_every=3, save_every=4)
  bounds = [row["step"] for row in read_rows(tmp_path) if "validation_bound" in row]
  assert bounds == [3, 6, 7]
  # The rows up to a step are on disk before the step is saved.
  assert saved == [(4, None, False, 4), (7, 2.0, True, 7), "waited"]


def test_a_stop_ends_the_run_after_the_step_and_saves(tmp_path):
  complete, saved = run(tmp_path, [1.0] * 9, stop_after=5, log_every=1)
  assert not complete
  assert saved == [(5, None, True, 5), "waited"]


def test_goes_on_from_the_step_of_the_state(tmp_path):
  complete, saved = run(tmp_path, [1.0] * 6, start=4, log_every=1)
  assert complete and saved[0][0] == 6
  assert [row["step"] for row in training_rows(tmp_path)] == [5, 6]


def test_losses_that_are_not_finite_are_left_out_until_there_are_too_many(tmp_path):
  bad = float("nan")
  run(tmp_path / "some", [1.0, bad, 3.0, 5.0], log_every=4, max_skipped=2)
  assert training_rows(tmp_path / "some")[0]["loss"] == 3.0
  with pytest.raises(UserError, match="not finite in 2 steps in a row, from step 2 on"):
    run(tmp_path / "many", [1.0, bad, bad, 3.0], log_every=4, max_skipped=2)
  with pytest.raises(UserError, match="not finite in 3 steps in a row, from step 1 on"):
    run(tmp_path / "all", [bad, bad, bad], log_every=1)
  # No row says that the loss was 0, and a strict reader of JSON can read them all.
  rows = (tmp_path / "all" / "metrics.jsonl").read_text()
  assert '"step": 2' in rows and '"loss"' not in rows and "NaN" not in rows


def test_a_last_bound_that_is_not_a_number_is_a_mistake_and_the_state_is_saved(tmp_path, capsys):
  bounds = iter([2.0, float("nan")])
  with pytest.raises(UserError, match="not a number at the last step, 4: they are saved"):
    run(tmp_path, [1.0] * 4, log_every=2, evaluate_every=2, validation_bounds=bounds)
  assert "step 4  validation_bound is not a number" in capsys.readouterr().out
  assert [row["step"] for row in read_rows(tmp_path) if "validation_bound" in row] == [2]
