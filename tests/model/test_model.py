"""A trained model is read from its workdir alone."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from dlm_jax import experiment
from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Full
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.model import from_config
from dlm_jax.model.model import load, training_data
from dlm_jax.networks.transformer import Transformer
from dlm_jax.runs import checkpoint
from dlm_jax.training.run import train
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """The workdir of a trained run, and the directory of its data."""
  directory = tmp_path_factory.mktemp("model")
  config = tiny.config(directory / "data", **{"network.depth": 1, "training.steps": 8})
  assert train(config, str(directory / "run")) == 0
  return directory / "run", directory / "data"


@pytest.fixture
def moved(run, tmp_path):
  """The run as it is copied to a machine that has neither corpus nor store."""
  workdir = tmp_path / "moved"
  shutil.copytree(run[0], workdir, ignore=shutil.ignore_patterns(".lock"))
  config = json.loads((workdir / "config.json").read_text())
  config["data"]["directory"] = str(tmp_path / "no_data")
  (workdir / "config.json").write_text(json.dumps(config))
  return workdir


@pytest.mark.slow
def test_a_run_without_its_data_is_loaded_and_denoises(moved, tmp_path):
  model = load(str(moved))
  assert model.tokenizer.decode(model.tokenizer.encode("abc")) == "abc"
  assert (model.length, model.packing, model.num_labels) == (16, "stream", 0)
  assert model.provenance.step == 8 and model.provenance.git_revision
  rows = batch_shards(model.mesh)
  z = model.process.prior(jax.random.key(0), (rows, model.length))
  with jax.set_mesh(model.mesh):
    assert model.denoiser()(z, np.ones(rows, np.float32)).shape == (rows, 16, 27)
  assert not (tmp_path / "no_data").exists()


def abstract(array):
  return jax.ShapeDtypeStruct(array.shape, array.dtype)


@pytest.mark.slow
def test_raw_and_averaged_weights_are_those_of_the_train_state(run):
  workdir = run[0]
  for weights, part in (("ema", "ema"), ("raw", "params")):
    model = load(str(workdir), 4, weights)
    wanted = {part: jax.tree.map(abstract, model.params)}
    saved, _ = checkpoint.restore(workdir / "checkpoints", wanted, step=4, partial=True)
    jax.tree.map(np.testing.assert_array_equal, model.params, saved[part])
    assert (model.provenance.step, model.provenance.weights) == (4, weights)
  ema, raw = (load(str(workdir), weights=weights).params for weights in ("ema", "raw"))
  same = jax.tree.map(lambda a, b: np.array_equal(a, b), ema, raw)
  assert not any(jax.tree.leaves(same))


@pytest.mark.slow
def test_weights_that_are_not_finite_are_refused_with_the_steps_there_are(run, monkeypatch):
  restore = checkpoint.restore

  def poisoned(*arguments, **settings):
    state, metadata = restore(*arguments, **settings)
    return jax.tree.map(lambda leaf: leaf / 0, state), metadata

  monkeypatch.setattr(checkpoint, "restore", poisoned)
  with pytest.raises(UserError, match=r"the raw weights of step 8 of the run .* are not finite.*4"):
    load(str(run[0]), weights="raw")


@pytest.mark.slow
def test_what_cannot_be_loaded_is_named(moved):
  with pytest.raises(UserError, match="no weights 'emma': did you mean 'ema'"):
    load(str(moved), weights="emma")
  with pytest.raises(UserError, match="no checkpoint of step 5"):
    load(str(moved), step=5)
  whole = (moved / "config.json").read_text()
  config = json.loads(whole)
  config["network"]["dropout"] = 0.5  # the shapes are the same
  (moved / "config.json").write_text(json.dumps(config))
  with pytest.raises(UserError, match=r"network\.dropout: .* -> 0\.5\. Undo the change"):
    load(str(moved))
  (moved / "config.json").write_text(whole)
  (moved / "dataset.json").unlink()
  with pytest.raises(UserError, match="another version of dlm_jax"):
    load(str(moved))
  shutil.rmtree(moved)
  with pytest.raises(UserError, match="there is no run in"):
    load(str(moved))


@pytest.mark.slow
def test_the_data_of_a_model_is_its_own_or_refused(run, tmp_path):
  model = load(str(run[0]))
  assert training_data(model).hash == model.provenance.dataset_hash
  config = model.provenance.config
  corpus = config["data"]["corpus"] | {"train_characters": 3000}
  config = config | {"data": config["data"] | {"corpus": corpus, "directory": str(tmp_path)}}
  other = dataclasses.replace(model.provenance, config=config)
  with pytest.raises(UserError, match="is not what the run in"):
    training_data(dataclasses.replace(model, provenance=other))


@pytest.mark.parametrize(
  ("process", "scored", "changed"),
  [
    ({"name": "block", "inner": "absorbing", "block_size": 4}, {"block_size": 8}, "attention"),
    ({"name": "absorbing"}, {"name": "uniform"}, "network inputs"),
  ],
)
def test_a_process_that_shows_the_network_something_else_cannot_score_it(process, scored, changed):
  config = tiny.config("nowhere", process=process).unlock()
  config.evaluation.process = scored
  with pytest.raises(UserError, match=rf"evaluation\.process sets .* changes the ({changed})"):
    from_config.build(config, 27)


def test_a_process_that_is_scored_with_other_masks_is_built():
  config = tiny.config("nowhere").unlock()
  config.evaluation.process = {"masking": "counted"}
  built = from_config.build(config, 27)
  assert built.evaluation_process.masking == "counted" != built.process.masking


def test_a_network_that_cannot_do_the_pattern_is_refused_before_data_is_prepared(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(Transformer, "patterns", (Full,))
  config = tiny.config(tmp_path / "data", process={"name": "autoregressive"})
  with pytest.raises(UserError, match="needs the attention pattern Causal"):
    experiment.build(config)
  assert not list(tmp_path.rglob("*.tokens"))
