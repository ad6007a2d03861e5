"""What cannot work is one sentence at the start: before data, a workdir or a compile."""

import importlib.util

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.processes.absorbing import Absorbing
from dlm_jax.runs import checkpoint
from dlm_jax.runs.workdir import plain
from dlm_jax.training.run import train
from tests import tiny

LABELLED = {"name": "synthetic_labelled", "train_documents": 64}
UNVALIDATED = {"name": "stdlib_docs", "validation": 0.0}


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"process": {"name": "absorbing", "mask_id": 5}}, r"mask_id is 5, .* for the text 'e'"),
    ({"process": {"name": "absorbing", "mask_id": 28}}, r"mask_id is 28, but must lie in 0\.\.27"),
    ({"process": {"name": "block", "block_size": 32}}, "block_size is 32, .* data.length 16"),
    ({"process": {"name": "block"}, "times.importance": True}, "fraction, which Block does not"),
    ({"data.corpus": UNVALIDATED}, "needs a validation split, .* only train, test"),
    ({"data.corpus": LABELLED, "data.packing": "padded", "network.conditioning": "none"}, "adaln"),
    ({"training.weights": "nowhere"}, "no run in nowhere"),
    ({"training.clip_batches": 3}, r"clip_batches is 3, and Absorbing has no process\.clip"),
    ({"training.clip_batches": 1}, "a variance needs at least 2"),
    ({"distillation.teacher": "nowhere"}, "no run in nowhere"),
    ({"wandb_project": "mine"}, "the package wandb is not installed: pip install"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_before_data_is_prepared(tmp_path, monkeypatch, fields, sentence):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match=sentence):
    train(tiny.config(tmp_path / "data", **fields), str(tmp_path / "run"))
  assert not (tmp_path / "run").exists() and not list((tmp_path / "data").glob("*"))


def test_a_run_of_another_config_is_refused_before_data_is_prepared(tmp_path, monkeypatch):
  saved = {"step": 4, "config": plain(tiny.config(tmp_path / "data"))}
  monkeypatch.setattr(checkpoint, "steps", lambda directory: [4])
  monkeypatch.setattr(checkpoint, "newest_metadata", lambda directory, step=None: saved)
  with pytest.raises(UserError, match=r"has another config: data\.length: 16 -> 8\. Undo"):
    train(tiny.config(tmp_path / "data", **{"data.length": 8}), str(tmp_path / "run"))
  assert not list(tmp_path.iterdir())


def test_directories_that_cannot_be_made(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"cannot write to the workdir .*/file is a file\)"):
    train(tiny.config(tmp_path / "data"), str(tmp_path / "file" / "run"))
  with pytest.raises(UserError, match=r"data\.directory .* cannot be written \(Not a directory\)"):
    train(tiny.config(tmp_path / "file" / "data"), str(tmp_path / "run"))
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_before_a_step_is_taken(tmp_path, monkeypatch):
  one_row = {"data.corpus.validation_characters": 20}
  with pytest.raises(UserError, match="has 1 row, and a standard error needs 2"):
    train(tiny.config(tmp_path / "data", **one_row), str(tmp_path / "run"))

  def refuse(self, key, denoise, x, t, given=None):
    raise UserError("no bound of this kind.")

  monkeypatch.setattr(Absorbing, "nelbo", refuse)
  with pytest.raises(UserError, match="no bound of this kind"):
    train(tiny.config(tmp_path / "data"), str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()
