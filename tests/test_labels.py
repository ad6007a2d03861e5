"""Labels: a model of labelled text is trained, judged, sampled and guided by them."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import synthetic_labelled
from dlm_jax.evaluation import likelihood
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.generation import draw
from dlm_jax.generation.draw import DrawSettings
from dlm_jax.model.model import load, training_data
from dlm_jax.training.run import train
from tests import tiny

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
def labelled(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp(request.param)
  fields = dict(LABELLED)
  if request.param == "uniform":
    fields |= {"process": {"name": "uniform"}, "network.time_conditioned": True}
  assert train(tiny.config(directory / "data", **fields), str(directory / "run")) == 0
  return load(str(directory / "run"), weights="raw")


def draw_labelled(restored, **fields):
  """The tokens of 64 sequences, `[64, L]`."""
  return draw.draw(DrawSettings(num=64, steps=16, **fields), restored)


def test_the_bound_is_lower_where_the_label_is_known(labelled):
  rows = training_data(labelled).rows("test")[:]
  scoring = likelihood.Scoring(batch_size=64, samples=8, mesh=labelled.mesh)
  evaluator = likelihood.evaluator(labelled.process, labelled.denoiser, scoring)
  with jax.set_mesh(labelled.mesh):
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
  if labelled.network.knows_time:
    assert (plain.num_evaluations, guided.num_evaluations) == ([16], [32])
  else:
    assert guided.num_evaluations[0] % 2 == 0


def test_evaluates_with_and_without_labels(labelled):
  workdir = labelled.provenance.workdir
  records = [
    evaluate(EvaluateSettings(workdir=workdir, samples=4, weights="raw", labels=labels))
    for labels in (True, False)
  ]
  nats = [record["results"]["nats_per_token"]["value"] for record in records]
  assert nats[0] < nats[1]
  assert [record["protocol"]["given_labels"] for record in records] == [True, False]
  assert len(list((Path(workdir) / "evaluations").iterdir())) == 2


def without_label_dropout(model):
  network = dataclasses.replace(model.network, label_dropout=0.0)
  return dataclasses.replace(model, network=network)


def test_mistakes(labelled):
  asked = DrawSettings
  with pytest.raises(UserError, match=r"--label must lie in 0\.\.1, got 2"):
    draw.check_label(asked(label=2), labelled)
  with pytest.raises(UserError, match="--guidance needs a --label"):
    asked(guidance=2.0)
  strict = without_label_dropout(labelled)
  draw.check_label(asked(label=1), strict)
  for settings, wish in (
    (asked(), "sampling without --label"),
    (asked(label=1, guidance=2.0), "--guidance"),
  ):
    draw.check_label(settings, labelled)
    with pytest.raises(UserError, match=f"{wish} needs .* network.label_dropout was 0"):
      draw.check_label(settings, strict)


def test_text_without_labels():
  model = tiny.model()
  draw.check_label(DrawSettings(), model)
  with pytest.raises(UserError, match=r"--label is 0, but .* text without labels"):
    draw.check_label(DrawSettings(label=0), model)
  with pytest.raises(UserError, match="--nolabels needs a model of labelled text"):
    model.check_unlabelled("--nolabels")
