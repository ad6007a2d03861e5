"""The search for an interval of times: its grid, its numbers and the command."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.data.store import Rows
from dlm_jax.distributed.mesh import make_mesh
from dlm_jax.evaluation import block_times
from dlm_jax.evaluation.block_times import BlockTimesSettings
from dlm_jax.processes import block
from dlm_jax.processes.parts.times import Times
from dlm_jax.runs import checkpoint
from dlm_jax.runs import workdir as workdirs
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train
from tests import tiny, toy

JOINT = toy.joint(length=4)
PROCESS = block.make(vocab_size=JOINT.vocab_size, block_size=2)
EXACT = toy.block_denoiser(JOINT, 2)
TIMES = Times(epsilon=0.0)


def test_the_grid_is_that_of_the_paper():
  widths = np.round(np.diff(block_times.INTERVALS.astype(float))[:, 0], 3)
  assert set(widths.tolist()) == {0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
  assert len(block_times.INTERVALS) == 11 + 9 + 7 + 5 + 3 + 1
  assert block_times.INTERVALS.min() == 0 and block_times.INTERVALS.max() == 1


def table(batches=200, rows=8):
  losses = block_times.losses(PROCESS, lambda _: EXACT, TIMES)
  return np.asarray(
    [
      losses(None, jax.random.key(i), jnp.asarray(JOINT.draw(i, rows)), None)
      for i in range(batches)
    ]
  )


def test_the_whole_interval_is_the_bound_and_its_loss_that_of_training():
  found = table()
  error = found[:, -1].std() / np.sqrt(len(found))
  assert abs(found[:, -1].mean() - JOINT.entropy / JOINT.length) < 4 * error
  x, (time_key, noise_key) = jnp.asarray(JOINT.draw(0, 8)), jax.random.split(jax.random.key(0))
  t, _ = TIMES.draw(time_key, 8, PROCESS)
  for i in (3, 30):
    process = block.make(vocab_size=3, block_size=2, clip=tuple(block_times.INTERVALS[i].tolist()))
    loss = process.loss(noise_key, EXACT, x, t)
    np.testing.assert_allclose(found[0, i], loss.mean(), rtol=1e-5)
    # Padding that is noised and not scored has no part in it.
    last = jnp.broadcast_to(jnp.arange(JOINT.length) == JOINT.length - 1, x.shape)
    of_text = block_times.losses(PROCESS, lambda _: EXACT, TIMES)
    without = of_text(None, jax.random.key(0), x, None, last)
    np.testing.assert_allclose(without[i], loss[:, :-1].mean(), rtol=1e-5)


def test_the_network_sees_the_labels_that_it_was_trained_with():
  seen = []

  def denoiser(params, labels):
    seen.append(labels.shape)
    return EXACT

  losses = block_times.losses(PROCESS, denoiser, TIMES)

  def of_batch(*arguments):
    return np.zeros(jax.eval_shape(losses, *arguments).shape)

  rows = Rows(JOINT.draw(0, 8), None, labels=np.arange(8) % 2)
  batches = block_times.RandomBatches(rows, 8, (0,), make_mesh({"data": -1}))
  found = block_times.losses_of_batches(of_batch, None, batches, jax.random.key(0), [0])
  assert found.shape == (1, 36) and seen == [(8,)]


def test_the_smallest_variance_comes_first():
  losses = np.random.default_rng(0).normal(size=(50, len(block_times.INTERVALS)))
  losses[:, 4] *= 1e-3
  rows = block_times.summarize(losses)
  assert rows[0]["clip"] == [round(float(end), 2) for end in block_times.INTERVALS[4]]
  assert rows[0]["variance"] == pytest.approx(losses[:, 4].var(ddof=1))
  assert [row["variance"] for row in rows] == sorted(row["variance"] for row in rows)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  """The workdirs of two runs that search the interval: in one go, and stopped and resumed."""
  process = {"name": "block", "inner": "absorbing", "block_size": 4}
  often = {"training.evaluate_every": 2, "training.clip_batches": 3, "checkpoint.save_every": 1}
  directory = tmp_path_factory.mktemp("searched")
  for name, steps in (("whole", 4), ("parts", 3), ("parts", 4)):
    fields = often | {"training.steps": steps}
    config = tiny.config(directory / "data", process=process, **fields)
    assert train(config, str(directory / name)) == 0
  return directory


def test_the_best_interval_is_a_part_of_the_whole():
  losses = np.random.default_rng(0).normal(size=(50, len(block_times.INTERVALS)))
  losses[:, 4] *= 1e-3
  losses[:, -1] = 0.0
  np.testing.assert_array_equal(block_times.best(losses), block_times.INTERVALS[4])
  losses[3, 3] = np.nan
  assert block_times.best(losses) is None


def test_training_goes_on_within_the_interval_that_was_found(searched):
  states = []
  for name in ("whole", "parts"):
    wanted = experiment.build(workdirs.read_config(searched / name)).abstract_state
    states.append(checkpoint.restore(str(searched / name / "checkpoints"), wanted)[0])
  jax.tree.map(np.testing.assert_array_equal, *states)
  found = [row for row in read_rows(searched / "whole") if "clip_from" in row]
  assert [row["step"] for row in found] == [2, 4]
  last = [found[-1]["clip_from"], found[-1]["clip_to"]]
  np.testing.assert_array_equal(states[0].clip, np.float32(last))
  assert last[1] - last[0] < 0.95


def test_the_command(searched):
  workdir = str(searched / "whole")
  record = block_times.search(BlockTimesSettings(workdir=workdir, batches=3))
  assert (record["batch_size"], record["step"], len(record["intervals"])) == (16, 4, 36)
  assert (searched / "whole" / "clip-step4-validation-ema-batches3-seed0.json").exists()
  assert all(np.isfinite(row["variance"]) for row in record["intervals"])
  console = Console(file=io.StringIO(), width=80)
  block_times.show(console, record)
  first, last = record["intervals"][0]["clip"]
  assert f"--config.process.clip='({first:.2f}, {last:.2f})'" in console.file.getvalue()


def test_mistakes(runs, monkeypatch):
  with pytest.raises(
    UserError, match=r"is of Absorbing: only block diffusion has a process.clip, so name"
  ):
    block_times.search(BlockTimesSettings(workdir=str(runs / "absorbing")))
  with pytest.raises(UserError, match="--batches must be at least 2, got 1"):
    BlockTimesSettings(workdir="nowhere", batches=1)
  # As a checkpoint of others is, whose config has nothing of training.
  of_others = tiny.model({"name": "block", "inner": "absorbing", "block_size": 4})
  monkeypatch.setattr(block_times, "load", lambda *arguments, **fields: of_others)
  with pytest.raises(UserError, match="nowhere was trained on no data of this project"):
    block_times.search(BlockTimesSettings(model="nowhere"))
