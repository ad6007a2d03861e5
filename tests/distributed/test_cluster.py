"""Runs of several processes: equal to one process, stopped, killed, restarted, started by Slurm."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.core.exit_codes import RESUMABLE
from dlm_jax.distributed import cluster
from dlm_jax.runs import checkpoint
from dlm_jax.runs.metrics import read_rows
from tests import waiting

ROOT = Path(__file__).parent.parent.parent
STEPS = 24
FIELDS = {
  "optimizer.name": "adamw",
  "training.steps": STEPS,
  "training.evaluate_every": STEPS,
  "checkpoint.save_every": 6,
}
ENDLESS = {"training.steps": 100_000, "training.evaluate_every": 100_000}


def free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def environment(devices, **more):
  flags = os.environ["XLA_FLAGS"].split()
  flags = [flag for flag in flags if "device_count" not in flag]
  # Most of the time goes into compiling: only process 0 has the use of the cache.
  flags.append("--xla_backend_optimization_level=0")
  flags.append(f"--xla_force_host_platform_device_count={devices}")
  return {**os.environ, "XLA_FLAGS": " ".join(flags), "PYTHON": sys.executable, **more}


def popen(command, env):
  return subprocess.Popen(
    [str(word) for word in command], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
  )


def arguments(data, workdir, fields):
  config = ROOT / "tests" / "distributed" / "tiny_config.py"
  words = [f"--config={config}:{data}", f"--workdir={workdir}"]
  return words + [f"--config.{name}={value}" for name, value in {**FIELDS, **fields}.items()]


def start(data, workdir, devices=2, more=(), env=(), **fields):
  command = [sys.executable, "-m", "dlm_jax.train", *arguments(data, workdir, fields), *more]
  return popen(command, environment(devices, **dict(env)))


def start_pair(data, workdir, **fields):
  """Two processes of two devices."""
  place = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
  return [start(data, workdir, more=[*place, f"--process_id={i}"], **fields) for i in range(2)]


def end(*started, seconds=400):
  """Exit codes, and what was written to stderr."""
  errors = [process.communicate(timeout=seconds)[1] for process in started]
  return [process.returncode for process in started], errors


def losses(workdir):
  return {row["step"]: row["loss"] for row in read_rows(workdir) if "loss" in row}


def last_state(workdir):
  """The last step of a run, and the fingerprints of the bits of its whole state."""
  step = checkpoint.steps(workdir / "checkpoints")[-1]
  record = workdir / "checkpoints" / str(step) / "record" / "metadata"
  return step, json.loads(record.read_text())["leaves"]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
  """A run of 2 processes x 2 devices that nothing interrupted, as Slurm would start its tasks."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  port = {"JAX_COORDINATOR_PORT": str(free_port())}
  slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
  tasks = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
  codes, errors = end(*(start(data, workdir, env={**slurm, **port, **task}) for task in tasks))
  assert codes == [0, 0], errors
  return workdir


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(whole, data, tmp_path):
  codes, errors = end(start(data, tmp_path / "run", devices=4))
  assert codes == [0], errors
  ours, one = losses(whole), losses(tmp_path / "run")
  assert list(ours) == list(one) == list(range(2, STEPS + 1, 2))
  # Rounding grows from step to step: sums are in another order.
  for step in range(2, 11, 2):
    assert ours[step] == pytest.approx(one[step], rel=1e-4), step
  assert json.loads((whole / "environment.json").read_text())["process_count"] == 2
  bounds = [row["validation_bound"] for row in read_rows(whole) if "validation_bound" in row]
  assert len(bounds) == 1


@pytest.mark.slow
def test_sigterm_to_one_saves_everywhere_and_one_process_resumes(data, tmp_path):
  pair = start_pair(data, tmp_path / "run", **ENDLESS)
  waiting.for_step(pair[0], tmp_path / "run", 4)
  pair[1].send_signal(signal.SIGTERM)
  codes, errors = end(*pair)
  assert codes == [RESUMABLE, RESUMABLE], errors
  step, _ = last_state(tmp_path / "run")
  assert step >= 4 and max(losses(tmp_path / "run")) in (step, step - 1)
  more = {**ENDLESS, "training.steps": step + 2}
  codes, errors = end(start(data, tmp_path / "run", devices=4, **more))
  assert codes == [0], errors
  assert last_state(tmp_path / "run")[0] == step + 2


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_all_are_restarted(whole, data, tmp_path):
  workdir = tmp_path / "run"
  command = ["bash", "launch/multiprocess.sh", "--processes=2", "--restarts=1"]
  launcher = popen([*command, *arguments(data, workdir, {})], environment(2))
  waiting.for_step(launcher, workdir, 8)
  children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
  os.kill(int(children[1]), signal.SIGKILL)
  killed, lines = time.monotonic(), []
  for line in launcher.stderr:
    lines.append(line)
    if "starting all 2 again" in line:
      break
  # The other one ended by itself or, where it noticed too late, by the launcher's hand.
  assert time.monotonic() - killed < 45 and "starting all 2 again" in lines[-1], lines
  codes, errors = end(launcher)
  assert codes == [0], errors
  assert last_state(workdir) == last_state(whole)
  assert losses(workdir) == losses(whole)


@pytest.mark.parametrize(
  ("error", "among", "code"),
  [
    ("Gloo all-reduce failed: connection closed by peer", 2, cluster.LOST),
    ("RESOURCE_EXHAUSTED: out of memory", 2, None),
    ("anything", 1, None),
  ],
)
def test_a_failed_collective_ends_the_process_and_says_why(monkeypatch, capsys, error, among, code):
  def leave(code):
    raise SystemExit(code)

  monkeypatch.setattr(os, "_exit", leave)
  monkeypatch.setattr(cluster, "count", lambda: among)
  endings = (SystemExit, jax.errors.JaxRuntimeError)
  with pytest.raises(endings) as ended, cluster.lost_peers_end_this():
    raise jax.errors.JaxRuntimeError(error)
  assert getattr(ended.value, "code", None) == code
  said = "because one of them has died (see its log)" in capsys.readouterr().err
  assert said == (code is not None)


def test_processes_that_disagree_end_with_the_difference(data, tmp_path):
  place = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
  pair = [
    start(data, tmp_path / "run", more=[*place, f"--process_id={i}"], seed=seed)
    for i, seed in enumerate((3, 4))
  ]
  codes, errors = end(*pair)
  assert codes == [2, 2], errors
  for error in errors:
    assert "disagree: config.seed is 4 on process 1 and 3 on process 0" in error
  assert not (tmp_path / "run").exists()


# What two processes do in the script below: `python -c SCRIPT port index`.
SCRIPT = """
import sys
import jax
import numpy as np
from dlm_jax.distributed import cluster, sharding
from dlm_jax.distributed.mesh import AXES
from dlm_jax.core.errors import UserError
port, index = sys.argv[1:]
cluster.start(f"localhost:{port}", 2, int(index), stoppable=False)
assert (cluster.index(), cluster.count()) == (int(index), 2)
cluster.say("once")
assert cluster.on_first(lambda: "done", "work") == ("done" if index == "0" else None)

def refuse():
  raise UserError("there is no disk.")

def fail():
  raise KeyError("bug")

for action, expected in ((refuse, "there is no disk."), (fail, "process 0 failed at work")):
  try:
    cluster.on_first(action, "work")
  except (UserError, KeyError) as error:
    assert (expected in str(error)) == (action is refuse or index == "1"), error
  else:
    raise AssertionError

# A mesh that follows the network of chips gives a process rows that are not neighbours; the tensor
# axis may go across processes.
orders = [0, 2, 1, 3], [0, 1, 2, 3], [0, 2, 1, 3]
for order, axes in zip(orders, ((4, 1, 1), (2, 1, 2), (2, 1, 2)), strict=True):
  devices = np.array(jax.devices())[order].reshape(axes)
  mesh = jax.sharding.Mesh(devices, AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
  rows = sharding.local_rows(mesh, 8)
  batch = sharding.to_global({"x": 10 * rows[:, None]}, mesh)["x"]
  assert batch.shape == (8, 1)
  for shard in batch.addressable_shards:
    expected = 10 * np.arange(8)[shard.index[0]]
    np.testing.assert_array_equal(np.asarray(shard.data)[:, 0], expected)

cluster.barrier("both")
try:
  if index == "0":
    cluster.barrier("alone", 0.2)
except UserError as error:
  print(error)
"""


def test_waiting_and_agreeing(tmp_path):
  port = free_port()
  pair = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, str(port), str(i)],
      cwd=ROOT,
      env=environment(2),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  outputs = [process.communicate(timeout=200) for process in pair]
  assert [process.returncode for process in pair] == [0, 0], outputs
  first, second = (out for out, _ in outputs)
  assert first == "once\nprocess 1 did not come to 'alone' within 0 s: see its log.\n"
  assert second == ""


@pytest.mark.parametrize(
  ("place", "sentence"),
  [
    ((None, 2, None), "go together"),
    (("here", 2, 0), "must be host:port, got 'here'"),
    (("host:1", 2, 2), "--process_id 2 is none of 0..1"),
  ],
)
def test_a_place_that_is_none(place, sentence):
  with pytest.raises(UserError, match=sentence):
    cluster.start(*place, stoppable=True)
