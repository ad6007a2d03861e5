"""Which code a number comes from."""

import pathlib
import shutil
import subprocess

import pytest

from dlm_jax.runs import provenance
from tests import tiny


def test_the_protocol_of_a_model_says_what_a_number_depends_on():
  model = tiny.model({"name": "absorbing", "masking": "counted"})
  found = provenance.protocol(model.provenance)
  assert (found["step"], found["weights"], found["dtype"]) == (7, "ema", "float32")
  assert found["process"]["masking"] == "counted"
  assert found["trained_at_git_revision"] == "of the training"
  assert found["environment"]["dataset_hash"] == "of the data"
  assert found["environment"]["git_revision"] == provenance.git_revision()


def test_git_revision_is_of_this_code_and_unknown_without_a_checkout(tmp_path, monkeypatch):
  if shutil.which("git") is None:
    pytest.skip("needs git")
  source = pathlib.Path(provenance.__file__)
  copy = tmp_path / "installed" / source.name
  copy.parent.mkdir()
  shutil.copy(source, copy)
  monkeypatch.setattr(provenance, "__file__", str(copy))
  assert provenance.git_revision() == "unknown"

  def git(*arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    return done.stdout.strip()

  git("init")
  git("commit", "--allow-empty", "-m", "empty")
  assert provenance.git_revision() == "unknown"  # a checkout of something else
  git("add", "installed")
  git("commit", "-m", "code")
  assert provenance.git_revision() == git("rev-parse", "HEAD")
  assert provenance.environment("d")["git_dirty"] is False
  copy.write_text("changed")
  assert provenance.environment("d")["git_dirty"] is True
