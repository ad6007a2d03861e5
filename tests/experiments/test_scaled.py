"""The scaled table: every method alike but for its process, and what was published beside it."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from configs import stdlib_docs
from dlm_jax import configuration
from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.runs.workdir import plain
from dlm_jax.training.config import TrainingConfig
from experiments.paper_tables import scaled
from experiments.paper_tables.scaled import Run


def measured(value, exact=False):
  numbers = {"value": value, "standard_error": 0.01, "seconds_of_training": 12.4}
  return numbers | {"parameters": 1000, "exact": exact, "protocol": {"step": 100}}


@pytest.mark.parametrize("preset", scaled.METHODS)
def test_a_preset_differs_in_its_process_alone(preset):
  """And in what the process asks of the network: the time, and the rate of its schedule."""
  made, control = (plain(scaled.config(Run(name, 0), 100)) for name in (preset, "absorbing"))
  for section in ("data", "checkpoint"):
    assert made[section] == control[section]
  ours, theirs = (resolve.build(TrainingConfig, c["training"]) for c in (made, control))
  assert ours == theirs
  for section, asked in {
    "network": {"conditioning", "time_conditioned", "identity_input"},
    "optimizer": {"schedule_learning_rate"},
  }.items():
    names = made[section].keys() | control[section].keys()
    assert {n for n in names if made[section].get(n) != control[section].get(n)} <= asked
  assert made["training"]["steps"] == 100


def test_a_curriculum_shrinks_with_the_steps():
  preset = stdlib_docs.get_config("duo")
  share = preset.process.curriculum_steps / preset.training.steps
  assert scaled.config(Run("duo", 0), 100).process.curriculum_steps == 100 * share > 0


def test_the_table_is_sorted_marks_bounds_and_has_the_spread_of_the_seeds(tmp_path):
  record = scaled.begun(tmp_path / scaled.NAME, scaled.ScaledSettings(steps=100))
  for seed, value in enumerate((2.4, 2.5, 2.6)):
    scaled.add(record, Run("mdlm", seed), measured(value))
  scaled.add(record, Run("autoregressive", 0), measured(1.8, exact=True))
  scaled.add(record, Run("cdcd", 0), measured(2.6))
  first, second, third = scaled.table(record).splitlines()[2:]
  assert first == "| AR | `autoregressive` | 1.800 ± 0.010 | 1 | 1,000 | 1.23 |"
  assert second == "| MDLM | `mdlm` | ≤ 2.500 ± 0.058 | 3 | 1,000 | ≤ 1.40 |"
  assert third.endswith("| 1 | 1,000 |  |")


class Pool(ThreadPoolExecutor):
  """In place of processes."""

  def __init__(self, workers, *_):
    super().__init__(workers)


def test_a_comparison_goes_on_where_it_was_and_keeps_to_its_budget(tmp_path, monkeypatch, capsys):
  done, broken = [], {"uniform_1"}

  def trained(run, settings):
    done.append(run.name)
    if run.name in broken:
      raise UserError("it broke.")
    return measured(2.0 + run.seed)

  monkeypatch.setattr(scaled, "ProcessPoolExecutor", Pool)
  monkeypatch.setattr(scaled, "trained", trained)
  settings = scaled.ScaledSettings(workdir=str(tmp_path), methods=("mdlm", "uniform"), seeds=2)
  with pytest.raises(UserError, match="these runs failed: uniform_1"):
    scaled.main(settings)
  assert done == ["mdlm_0", "uniform_0", "mdlm_1", "uniform_1"]
  assert "failed: it broke." in capsys.readouterr().out
  broken.clear()
  assert scaled.main(settings) == 0 and done[4:] == ["uniform_1"]
  assert "≤ 2.500 ± 0.500 | 2 |" in capsys.readouterr().out
  with pytest.raises(UserError, match="give another --workdir"):
    scaled.main(dataclasses.replace(settings, steps=7))
  with pytest.raises(UserError, match="no method 'mldm': did you mean 'mdlm'"):
    scaled.main(scaled.ScaledSettings(methods=("mldm",)))


@pytest.mark.parametrize("path", ["README.md", "experiments/paper_tables/README.md"])
def test_the_table_that_is_shown_is_that_of_the_results(path):
  record = json.loads(scaled.RESULTS.read_text(encoding="utf-8"))
  assert scaled.table(record) in (configuration.ROOT / path).read_text(encoding="utf-8")
