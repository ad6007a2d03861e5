"""Each process trains, resumes, evaluates, samples and infills through the same commands."""

import numpy as np
import pytest

from dlm_jax import evaluate, sample, train
from dlm_jax import experiment as experiments
from dlm_jax.training.metrics import read_rows
from tests import tiny

LINEAR = {"name": "linear"}
# The absorbing run is that of `test_train.py`.
CASES = {
  "uniform": {"name": "uniform", "schedule": LINEAR},
  "hybrid": {"name": "hybrid", "schedule": LINEAR, "p_u": 0.1},
  "autoregressive": {"name": "autoregressive"},
  "block": {"name": "block", "inner": "absorbing", "block_size": 8, "schedule": LINEAR},
  "block_of_uniform": {"name": "block", "inner": "uniform", "block_size": 8, "schedule": LINEAR},
  "score_entropy": {"name": "score_entropy", "noise": "absorbing"},
  "score_entropy_uniform": {"name": "score_entropy", "noise": "uniform"},
}
INFILL = "ab____ba"
# Where it is not one evaluation a step: one a token after that of the prompt, all on the left; or
# three of each of two blocks, and one to remember each.
EVALUATIONS = {"autoregressive": 1 + 14, "block": 3 + 1 + 3 + 1, "block_of_uniform": 3 + 1 + 3 + 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module", params=CASES)
def run(request, data, tmp_path_factory):
  """A run that was stopped in the middle and resumed, and the config of it."""
  workdir = tmp_path_factory.mktemp(request.param) / "run"
  fields = {"process": CASES[request.param], "network.time_conditioned": True}
  fields |= {"training.head_chunks": 2}
  half = {"training.steps": 6}
  assert train.train(tiny.config(data, **fields, **half), str(workdir)) == 0
  assert train.train(tiny.config(data, **fields), str(workdir)) == 0
  return workdir, fields


def losses(workdir):
  return [(row["step"], row["loss"]) for row in read_rows(workdir) if "loss" in row]


def test_resuming_is_bitwise_the_same(run, data, tmp_path):
  workdir, fields = run
  assert train.train(tiny.config(data, **fields), str(tmp_path / "whole")) == 0
  assert losses(workdir) == losses(tmp_path / "whole")
  assert [step for step, _ in losses(workdir)] == [2, 4, 6, 8, 10, 12]
  assert np.isfinite([loss for _, loss in losses(workdir)]).all()


def test_evaluates(run):
  workdir, _ = run
  record = evaluate.evaluate(evaluate.Settings(str(workdir), samples=2))
  nats = record["results"]["nats_per_token"]["value"]
  # Five letters of 27 symbols: after a few steps it is no worse than knowing nothing.
  assert 0.5 < nats < np.log(27) * 1.2


@pytest.mark.proves("commands", process="{run}")
def test_samples_and_infills(run):
  workdir, fields = run
  restored = experiments.restore(str(workdir))
  store, length = restored.experiment.store, restored.experiment.length
  name = next(case for case, process in CASES.items() if process == fields["process"])
  prompted = name == "autoregressive"
  known = {"prompt": INFILL[:2]} if prompted else {"infill": INFILL}
  settings = sample.Settings(str(workdir), num=3, steps=6, trajectory=True, **known)
  tokens, given = sample.conditioning(store, length, settings.prompt, settings.infill)
  drawn = sample.draw(settings, restored, tokens, given)
  assert drawn.nfe == [EVALUATIONS.get(name, 6)]
  for row in drawn.tokens:
    text = store.tokenizer.decode(row)
    assert len(text) == length and text[:2] == "ab" and (prompted or text[6:8] == "ba")
  assert np.any(drawn.tokens[0] != drawn.tokens[1])
