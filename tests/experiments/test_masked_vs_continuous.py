"""Masked against continuous: arms alike but for the process, and what is made of their records."""

import json

import pytest

from dlm_jax.core import resolve
from dlm_jax.runs.workdir import plain
from dlm_jax.training.config import TrainingConfig
from dlm_jax.training.run import train
from experiments.masked_vs_continuous import run

POINTS = [{"step": 50, "seconds": 10.0, "bits": 4.0}, {"step": 100, "seconds": 20.4, "bits": 3.5}]
RECORD = {
  "parameters": 1280000,
  "curve": POINTS,
  "test": {"value": 3.45, "standard_error": 0.01},
  "samples": ["one two"],
  "nfe": 64,
}


@pytest.mark.parametrize("arm", run.ARMS)
def test_arms_share_all_but_the_process(arm):
  made, masked = (plain(run.config(name, 60, 32)) for name in (arm, "absorbing"))
  for section in ("data", "checkpoint"):
    assert made[section] == masked[section]
  ours, theirs = (resolve.build(TrainingConfig, c["training"]) for c in (made, masked))
  assert ours == theirs
  # Of the network, only what it is given differs: the time, and how the state enters.
  for network in (made["network"], masked["network"]):
    network.pop("time_conditioned", None)
    network.pop("identity_input", None)
  assert made["network"] == masked["network"]
  assert made["optimizer"]["learning_rate"] == masked["optimizer"]["learning_rate"]


def test_the_curve_counts_seconds_of_steps_alone(tmp_path):
  rows = [
    {"step": 10, "seconds_per_step": 0.5},
    {"step": 30, "seconds_per_step": 0.25, "validation_bits_per_character": 4.0},
    {"step": 40, "validation_bits_per_character": 3.0},
  ]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert run.curve(str(tmp_path)) == [
    {"step": 30, "seconds": 10.0, "bits": 4.0},
    {"step": 40, "seconds": 10.0, "bits": 3.0},
  ]


def test_the_report_and_the_figure(tmp_path):
  flow = {"flow": {"value": 3.4, "standard_error": 0.1}, "flow_evaluations": 33}
  results = {"absorbing": RECORD, "plaid": RECORD | flow}
  lines = run.report(results, 100, 32).splitlines()
  assert "| absorbing | 1,280,000 | 3.450 ± 0.010 | - | 20 |" in lines
  assert "| plaid | 1,280,000 | 3.450 ± 0.010 | 3.400 ± 0.100, 33 evaluations | 20 |" in lines
  assert lines.count("one two") == 2
  run.draw_figure(results, tmp_path / "bounds.png")
  assert (tmp_path / "bounds.png").stat().st_size > 5000


@pytest.mark.slow
def test_an_arm_is_trained_and_measured(tmp_path):
  config = run.config("langflow", 2, 8)
  config.data.update(length=8, directory=str(tmp_path / "data"))
  config.data.corpus = {"name": "synthetic_markov"}
  config.network.update(width=16, depth=1)
  config.process.width = 4
  config.evaluation.update(rows=8, batch_size=8)
  workdir = str(tmp_path / "langflow")
  assert train(config.lock(), workdir) == 0
  record = run.measure("langflow", workdir, rows=8, flow=run.Flow(2, 4), steps=2)
  # The flow: two a Heun step and one to decode, all twice, since it is self-conditioned. Samples
  # carry their last prediction along: one a step and one to decode.
  assert record["flow_evaluations"] == 2 * (2 * 2 + 1) and record["nfe"] == 2 + 1
  assert [point["step"] for point in record["curve"]] == [1, 2]
  assert len(record["samples"]) == 3 and record["test"]["value"] > 0
