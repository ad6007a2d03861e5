"""Training from end to end: exact resume, kills, signals, meshes, and mistakes."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from dlm_jax import experiment as experiments
from dlm_jax.core.errors import UserError
from dlm_jax.core.exit_codes import RESUMABLE
from dlm_jax.runs import checkpoint
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training import run
from dlm_jax.training.run import train
from tests import tiny, waiting

ROOT = Path(__file__).parent.parent
# Runs a tiny config in a process of its own: python -c SCRIPT data workdir '{"training.steps": 9}'
SCRIPT = """
import json, sys
from dlm_jax.training.run import train
from tests import tiny
data, workdir, fields = sys.argv[1:]
sys.exit(train(tiny.config(data, **json.loads(fields)), workdir))
"""


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
  """The workdir of a run that nothing interrupted."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  assert train(tiny.config(data), str(workdir)) == 0
  return workdir


def state_at(workdir, data, step=12):
  """The checkpoint of a step as host arrays, by name."""
  abstract = experiments.build(tiny.config(data)).abstract_state
  state, _ = checkpoint.restore(str(workdir / "checkpoints"), abstract, step=step)
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def shown(workdir):
  """The record of the run without what depends on the clock."""
  timed = {"seconds_per_step", "tokens_per_second", "flops_per_second", "mfu"}
  return [{k: v for k, v in row.items() if k not in timed} for row in read_rows(workdir)]


def start(data, workdir, **fields):
  command = [sys.executable, "-c", SCRIPT, str(data), str(workdir), json.dumps(fields)]
  return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_run_leaves_what_the_readme_promises(whole):
  names = {path.name for path in whole.iterdir()}
  assert names >= {"config.json", "environment.json", "metrics.jsonl", "loss_curve.png"}
  assert (whole / "loss_curve.png").read_bytes().startswith(b"\x89PNG")
  assert list((whole / "tensorboard").iterdir())
  rows = read_rows(whole)
  assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8, 10, 12]
  assert [row["step"] for row in rows if "validation_bound" in row] == [6, 12]
  assert checkpoint.steps(str(whole / "checkpoints")) == [4, 8, 12]
  assert all(row["tokens_per_second"] > 0 for row in rows if row["step"] == 12 and "loss" in row)


def test_stopping_and_resuming_is_bitwise_the_same(whole, data, tmp_path):
  workdir = tmp_path / "run"
  with ThreadPoolExecutor(1) as pool:  # as a notebook's server may run it
    half = pool.submit(train, tiny.config(data, **{"training.steps": 6}), str(workdir))
    assert half.result() == 0
  assert train(tiny.config(data), str(workdir)) == 0
  assert_same(state_at(workdir, data), state_at(whole, data))
  assert shown(workdir) == shown(whole)


def test_a_finished_run_has_nothing_to_do(whole, data, capsys):
  before = (whole / "metrics.jsonl").read_text()
  assert train(tiny.config(data), str(whole)) == 0
  assert "nothing to do" in capsys.readouterr().out
  assert (whole / "metrics.jsonl").read_text() == before


def test_a_signal_before_the_first_step_is_resumable(data, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(run, "build", lambda config: os.kill(os.getpid(), signal.SIGTERM))
  assert train(tiny.config(data), str(tmp_path / "run")) == RESUMABLE
  assert "start the same command again to resume (exit code 75)" in capsys.readouterr().out
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_kill_and_resume_is_bitwise_the_same(data, tmp_path):
  """Killed by SIGKILL anywhere after the first save, in another process; 400 steps against 400."""
  fields = {"training.steps": 400, "training.evaluate_every": 400, "checkpoint.save_every": 20}
  reference, workdir = tmp_path / "reference", tmp_path / "run"
  assert train(tiny.config(data, **fields), str(reference)) == 0
  process = start(data, workdir, **fields)
  waiting.for_step(process, workdir, 40)
  process.kill()
  process.wait()
  kept = checkpoint.steps(str(workdir / "checkpoints"))
  assert kept and kept[-1] < 400
  assert train(tiny.config(data, **fields), str(workdir)) == 0
  assert_same(state_at(workdir, data, 400), state_at(reference, data, 400))
  assert shown(workdir) == shown(reference)


@pytest.mark.slow
def test_sigterm_saves_and_exits_resumable(data, tmp_path):
  fields = {"training.steps": 100_000, "checkpoint.save_every": 100_000}
  workdir = tmp_path / "run"
  process = start(data, workdir, **fields)
  waiting.for_step(process, workdir, 4)
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=60) == RESUMABLE == 75
  (saved,) = checkpoint.steps(str(workdir / "checkpoints"))
  assert saved >= 4
  more = {**fields, "training.steps": saved + 2}
  assert train(tiny.config(data, **more), str(workdir)) == 0
  assert checkpoint.steps(str(workdir / "checkpoints"))[-1] == saved + 2


@pytest.mark.slow
def test_resuming_on_another_mesh_agrees_to_float32(whole, data, tmp_path):
  workdir = tmp_path / "run"
  first = {"training.steps": 6, "mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
  assert train(tiny.config(data, **first), str(workdir)) == 0
  assert train(tiny.config(data, **{"mesh.data": 1, "mesh.fsdp": 8}), str(workdir)) == 0
  ours, reference = shown(workdir), shown(whole)
  for row, expected in zip(ours, reference, strict=True):
    assert row.keys() == expected.keys()
    for name in row:
      assert row[name] == pytest.approx(expected[name], rel=2e-3, abs=1e-6), name


def test_steps_that_are_not_finite_end_the_run_and_it_goes_on_as_it_is_told(data, tmp_path, capsys):
  # Muon's step is as large as its rate: one of 1e30 leaves logits that are not finite.
  rates = ("optimizer.matrix_learning_rate", "optimizer.learning_rate")
  fields = {"optimizer.warmup_steps": 0, "training.max_skipped": 3, "training.evaluate_every": 99}
  workdir, sentence = tmp_path / "run", "not finite in 3 steps in a row, from step 2 on"
  for saved, save_every in (("nothing is saved", 99), ("its checkpoint of step 2", 2)):
    changes = dict.fromkeys(rates, 1e30) | {"checkpoint.save_every": save_every}
    with pytest.raises(UserError, match=sentence) as stopped:
      train(tiny.config(data, **fields, **changes), str(workdir))
    assert saved in str(stopped.value)
  assert f"--config.training.weights={workdir}" in str(stopped.value)
  smaller = dict(re.findall(r"--config\.(optimizer\.\w+)=(\S+)", str(stopped.value)))
  assert smaller.keys() == set(rates) and set(smaller.values()) == {"5e+29"}
  # The weights of step 2 are lost, so that smaller steps cannot mend them; but the run is resumed.
  with pytest.raises(UserError, match="not finite in 3 steps in a row, from step 2 on"):
    train(tiny.config(data, **fields, **smaller), str(workdir))
  assert "resuming from step 2" in capsys.readouterr().out


def test_another_config_does_not_touch_the_workdir(whole, data):
  before = {path: path.read_bytes() for path in sorted(whole.rglob("*")) if path.is_file()}
  with pytest.raises(UserError, match=r"optimizer\.momentum"):
    train(tiny.config(data, **{"optimizer.momentum": 0.5}), str(whole))
  assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"process.schedule.name": "cosin"}, "did you mean 'cosine'"),
    ({"process.name": "absorbin"}, "did you mean 'absorbing'"),
    ({"network.preset": "smal"}, "did you mean 'small'"),
    ({"data.corpus.name": "synthetic"}, "synthetic_markov"),
    ({"training.accumulate": 5}, "not a multiple of training.accumulate"),
    (
      {"training.batch_size": 12},
      "batch shards of the mesh do not divide: set it to a multiple of them",
    ),
    (
      {"training.head_chunks": 5},
      "training.head_chunks 5 does not divide data.length 16: set it to a divisor",
    ),
    ({"training.steps": 0}, "config.training.steps must be at least 1"),
    ({"mesh.data": 3}, "does not fit the 8 devices"),
    ({"data.length": 4000}, "data.length"),
  ],
  ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_one_sentence_before_any_compile(data, tmp_path, fields, sentence):
  workdir = tmp_path / "run"
  with pytest.raises(UserError, match=sentence):
    train(tiny.config(data, **fields), str(workdir))
  assert not workdir.exists()
