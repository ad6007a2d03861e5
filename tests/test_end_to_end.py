"""Each process trains, resumes, evaluates, samples and infills through the same commands."""

import jax
import numpy as np
import pytest

from dlm_jax import evaluate, sample, train
from dlm_jax import experiment as experiments
from dlm_jax.data.corpora import synthetic_labelled
from dlm_jax.errors import UserError
from dlm_jax.evaluation import likelihood
from dlm_jax.training.metrics import read_rows
from tests import tiny

LINEAR = {"name": "linear"}
# The absorbing run is that of `test_train.py`.
CASES = {
  "uniform": {"name": "uniform", "schedule": LINEAR},
  "hybrid": {"name": "hybrid", "schedule": LINEAR, "p_u": 0.1},
  "score_entropy": {"name": "score_entropy", "noise": "absorbing"},
  "score_entropy_uniform": {"name": "score_entropy", "noise": "uniform"},
}
INFILL = "ab____ba"


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


def test_samples_and_infills(run):
  workdir, _ = run
  restored = experiments.restore(str(workdir))
  store, length = restored.experiment.store, restored.experiment.length
  settings = sample.Settings(str(workdir), num=3, steps=6, infill=INFILL, trajectory=True)
  tokens, given = sample.conditioning(store, length, None, INFILL)
  drawn = sample.draw(settings, restored, tokens, given)
  assert drawn.nfe == [6]
  for row in drawn.tokens:
    text = store.tokenizer.decode(row)
    assert len(text) == length and text[:2] == "ab" and text[6:8] == "ba"
  assert np.any(drawn.tokens[0] != drawn.tokens[1])


CORPUS = {
  "name": "synthetic_labelled",
  "num_labels": 2,
  "letters": 3,
  "concentration": 0.1,
  "characters": 16,
  "train_documents": 256,
  "validation_documents": 64,
  "test_documents": 64,
}
LABELLED = {
  "data.corpus": CORPUS,
  "data.packing": "padded",
  "training.steps": 60,
  "training.evaluate_every": 60,
  "optimizer.warmup_steps": 5,
}


@pytest.fixture(scope="module", params=["absorbing", "uniform"])
def labelled(request, data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp(request.param) / "labelled"
  fields = dict(LABELLED)
  if request.param == "uniform":
    fields |= {"process": CASES["uniform"], "network.time_conditioned": True}
  assert train.train(tiny.config(data, **fields), str(workdir)) == 0
  return experiments.restore(str(workdir), weights="raw")


def draw_labelled(restored, **fields):
  """The tokens of 64 sequences, `[64, L]`."""
  settings = sample.Settings("unused", num=64, steps=16, **fields)
  known = sample.conditioning(restored.experiment.store, restored.experiment.length, None, None)
  return sample.draw(settings, restored, *known)


def test_the_bound_is_lower_where_the_label_is_known(labelled):
  experiment = labelled.experiment
  rows = experiment.store.rows("test")[:]
  evaluator = likelihood.evaluator(
    experiment.process, experiment.denoiser, batch_size=64, samples=8, mesh=experiment.mesh
  )
  with jax.set_mesh(experiment.mesh):
    right, wrong, none = (
      evaluator(labelled.params, rows["tokens"], rows["given"], labels).nats_per_token
      for labels in (rows["label"], 1 - rows["label"], None)
    )
  assert right < none < wrong


def test_samples_follow_their_label_and_the_more_so_guided(labelled):
  corpus = synthetic_labelled.make(**{k: v for k, v in CORPUS.items() if k != "name"})
  chains = [np.log(corpus.chain(label).transitions + 0.01) for label in (0, 1)]

  def evidence(drawn):
    """Mean log-ratio of the chains' transitions, positive for label 1."""
    letters = np.clip(drawn.tokens - 1, 0, 2)
    pairs = letters[:, :-1], letters[:, 1:]
    return np.mean(chains[1][pairs] - chains[0][pairs])

  found = [
    evidence(draw_labelled(labelled, **fields))
    for fields in ({"label": 0}, {}, {"label": 1}, {"label": 1, "guidance": 2.0})
  ]
  assert found[0] < found[1] < found[2] < found[3]


def test_guidance_evaluates_twice(labelled):
  plain, guided = (draw_labelled(labelled, label=1, guidance=g) for g in (1.0, 1.5))
  if labelled.experiment.network.config.time_conditioned:
    assert (plain.nfe, guided.nfe) == ([16], [32])
  else:
    assert guided.nfe[0] % 2 == 0


def test_mistaken_labels(labelled):
  known = labelled.experiment.store.num_labels
  with pytest.raises(UserError, match=r"--label must lie in 0\.\.1, got 2"):
    sample.check_label(2, known)
  with pytest.raises(UserError, match="trained on text without labels"):
    sample.check_label(0, 0)
  with pytest.raises(UserError, match="--guidance needs a --label"):
    sample.Settings("unused", guidance=2.0)
