"""The scaled table: every method alike but for its process, and what was published beside it."""

import pytest

from configs import stdlib_docs
from dlm_jax.core import resolve
from dlm_jax.runs.workdir import plain
from dlm_jax.training.config import TrainingConfig
from experiments.paper_tables import scaled

RUN = {
  "parameters": 1000,
  "seconds_of_training": 12.4,
  "exact": False,
  "value": 2.5,
  "standard_error": 0.01,
}


@pytest.mark.parametrize("preset", scaled.PRESETS)
def test_a_preset_differs_in_its_process_alone(preset):
  """And in what the process asks of the network: the time, and the rate of its schedule."""
  made, control = (plain(scaled.config(name, 100)) for name in (preset, "absorbing"))
  for section in ("data", "checkpoint"):
    assert made[section] == control[section]
  ours, theirs = (resolve.build(TrainingConfig, c["training"]) for c in (made, control))
  assert ours == theirs
  for section, asked in {
    "network": {"conditioning", "time_conditioned"},
    "optimizer": {"schedule_learning_rate"},
  }.items():
    names = made[section].keys() | control[section].keys()
    assert {n for n in names if made[section].get(n) != control[section].get(n)} <= asked
  assert made["training"]["steps"] == 100


def test_a_curriculum_shrinks_with_the_steps():
  preset = stdlib_docs.get_config("duo")
  share = preset.process.curriculum_steps / preset.training.steps
  assert scaled.config("duo", 100).process.curriculum_steps == 100 * share > 0


def test_the_table_is_sorted_and_marks_bounds():
  exact = RUN | {"exact": True, "value": 1.8}
  text = scaled.table({"results": {"absorbing": RUN, "autoregressive": exact, "cdcd": RUN}})
  first, second, third = text.splitlines()[2:]
  assert first == "| AR | `autoregressive` | 1.800 ± 0.010 | 1,000 | 12 | 1.23 |"
  assert second == "| MDLM | `absorbing` | ≤ 2.500 ± 0.010 | 1,000 | 12 | ≤ 1.40 |"
  assert third.endswith("| 12 |  |")
