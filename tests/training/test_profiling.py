"""A trace holds the steps that were asked for, and nothing is traced otherwise."""

import jax
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.training import profiling
from dlm_jax.training.run import train
from tests import tiny


def traced_steps(directory):
  """The numbers of the training steps in the only trace under `directory`."""
  (path,) = directory.rglob("*.xplane.pb")
  planes = jax.profiler.ProfileData.from_file(str(path)).planes
  events = (event for plane in planes for line in plane.lines for event in line.events)
  return {dict(event.stats)["step_num"] for event in events if event.name == "train"}


def test_traces_the_steps_and_changes_nothing_else(tmp_path):
  config = tiny.config(tmp_path / "data", **{"training.steps": 6})
  assert train(config, str(tmp_path / "run"), profile="3:4") == 0
  assert traced_steps(tmp_path / "run" / "profile") == {3, 4}


def test_a_restarted_run_traces_what_is_left(tmp_path):
  with profiling.parse("2:9", tmp_path / "profile") as profiler:
    for step in (7, 8):
      profiler.before(step)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        pass
      profiler.after(step, None)
  assert traced_steps(tmp_path / "profile") == {7, 8}
  with profiling.parse("2:9", tmp_path / "late") as profiler:
    profiler.before(10)
  assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("steps", ["10", "0:3", "5:4", "a:b", "1:2:3", "-1:2"])
def test_mistakes_are_named(steps, tmp_path):
  with pytest.raises(UserError, match="--profile is"):
    profiling.parse(steps, tmp_path)
