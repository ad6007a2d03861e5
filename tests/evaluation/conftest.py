"""Two small runs: an absorbing one, whose averaged and raw weights differ, and its judge."""

import pytest

from dlm_jax.training.run import train
from tests import tiny


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
  """The directory of the runs `absorbing` and `autoregressive`, with checkpoints of two steps."""
  directory = tmp_path_factory.mktemp("runs")
  for name in ("absorbing", "autoregressive"):
    process = {"name": name, "schedule": {"name": "linear"}}
    fields = {"training.steps": 4, "checkpoint.save_every": 2, "training.evaluate_every": 4}
    config = tiny.config(directory / "data", process=process, **fields)
    assert train(config, str(directory / name)) == 0
  return directory
