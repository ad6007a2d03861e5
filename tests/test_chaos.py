"""The chaos command, short: a kill, a save that never ended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.chaos import run

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_nothing_is_lost_beyond_the_last_save():
  command = [sys.executable, "-m", "experiments.chaos.run", "--kills=1"]
  command.append("--faults=killed,half_written")
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  for text in ("killed 1 times", "resumed from step 100", "yes"):
    assert text in done.stdout


def test_a_loss_beyond_the_last_save_is_noticed(tmp_path):
  """A last state that is not that of the undisturbed run, or none at all."""
  lab = run.Lab(tmp_path)
  for name, leaves in (("reference", {"x": 1}), ("same", {"x": 1}), ("other", {"x": 2})):
    record = tmp_path / name / "checkpoints" / str(run.STEPS) / "record" / "metadata"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"leaves": leaves}))
  found = {name: lab.ends_the_same(tmp_path / name) for name in ("same", "other", "absent")}
  assert found == {"same": True, "other": False, "absent": False}
