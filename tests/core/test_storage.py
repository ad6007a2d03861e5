"""Runs and prepared data in a bucket, which here is fsspec's own, in memory or on disk."""

import errno
import json
import os
import shutil

import fsspec
import numpy as np
import pytest

from dlm_jax import configuration
from dlm_jax.core import storage
from dlm_jax.core.errors import UserError
from dlm_jax.data import preparation, zero_shot
from dlm_jax.data.corpora import text8, text_files
from dlm_jax.data.store import MANIFEST
from dlm_jax.data.tokenizers import hf
from dlm_jax.evaluation import assess
from dlm_jax.evaluation.assess import JudgeSettings
from dlm_jax.evaluation.bound import EvaluateSettings, evaluate
from dlm_jax.generation.output import SampleSettings
from dlm_jax.reporting.report_files import ReportSettings, write_report
from dlm_jax.runs import workdir
from dlm_jax.runs.metrics import read_rows
from dlm_jax.training.run import train
from tests import tiny


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """An empty cache, as on a new machine."""
  monkeypatch.setenv("DLM_JAX_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


@pytest.fixture
def bucket():
  """An empty bucket."""
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  memory.pseudo_dirs[:] = [""]
  return memory


def test_local_paths_stay_where_they_are(cache):
  assert str(storage.local("runs/a")) == "runs/a"
  assert storage.local("gs://bucket/runs/a/") == cache / "gs" / "bucket" / "runs" / "a"
  storage.Mirror("runs/a").pull()
  storage.Mirror("runs/a").push()


def test_a_tilde_is_the_home_directory(monkeypatch):
  monkeypatch.setenv("HOME", "/home/someone")
  assert str(storage.local("~/runs/a")) == "/home/someone/runs/a"
  assert str(storage.local("runs/~a")) == "runs/~a"
  with pytest.raises(UserError, match="home directory of ~nobody-here/runs is not known"):
    storage.local("~nobody-here/runs")


def test_every_path_that_a_person_writes_may_begin_at_home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "text.txt").write_text("one")
  (tmp_path / "broken.json").write_text("{}")
  settings = SampleSettings(workdir="~/run", output="~/x.jsonl", prompt_file="~/text.txt")
  assert settings.path == tmp_path / "x.jsonl"
  assert settings.texts() == [("--prompt_file", ["one"])]
  assert workdir.checkpoints("~/run") == f"{tmp_path}/run/checkpoints"
  corpus = text_files.make(paths="~/*.txt", validation=0, test=0)
  assert list(corpus.documents("train")) == ["one"]
  assert zero_shot.protocol("~/text.txt").corpus["paths"] == ("~/text.txt",)
  assert assess.record_path(JudgeSettings(samples="~/x.jsonl")) == tmp_path / "x.judged.json"
  for missing in (
    lambda: configuration.read("~/text.txt"),
    lambda: workdir.read_config("~/text.txt"),
    lambda: hf.make(file="~/broken.json").fit(corpus).vocab_size,
    lambda: list(text8.make(path="~/text.txt").documents("train")),
    lambda: write_report(ReportSettings(runs=("~",), results=("~",), output="~/report")),
  ):
    with pytest.raises(UserError, match=r"no Python|no run|no tokenizer|holds 3|nothing to report"):
      missing()


def test_what_is_pushed_is_pulled_but_for_what_is_left_out(bucket, cache):
  mirror = storage.Mirror("memory://bucket/run", left_out=("checkpoints",))
  for name in ("a.txt", "deep/b.txt", "checkpoints/1/c.txt"):
    path = mirror.local / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
  mirror.push()
  assert sorted(bucket.find("/bucket/run")) == ["/bucket/run/a.txt", "/bucket/run/deep/b.txt"]
  bucket.pipe_file("/bucket/run/checkpoints/2", b"large")
  shutil.rmtree(cache)
  mirror.pull()
  found = {p.relative_to(mirror.local).as_posix() for p in mirror.local.rglob("*") if p.is_file()}
  assert found == {"a.txt", "deep/b.txt"}
  shutil.rmtree(cache)
  assert mirror.get("a.txt").read_text() == "a.txt" and not mirror.get("c.txt").exists()
  assert len(list(mirror.local.rglob("*"))) == 1


def test_only_what_changed_is_pushed_again(bucket):
  mirror = storage.Mirror("memory://bucket/run")
  mirror.local.mkdir(parents=True)
  for name in ("a", "b"):
    (mirror.local / name).write_text(name)
  mirror.push()
  bucket.rm("/bucket/run", recursive=True)
  (mirror.local / "b").write_text("more")
  mirror.push()
  assert bucket.find("/bucket/run") == ["/bucket/run/b"]


def test_an_unknown_scheme_is_a_mistake():
  with pytest.raises(UserError, match="nowhere://bucket cannot be opened"):
    storage.Mirror("nowhere://bucket").pull()


def test_a_store_is_prepared_once_and_copied_by_other_machines(bucket, cache, capsys):
  config = tiny.config("memory://bucket/data").data
  first = preparation.prepare(config)
  rows = first.rows("train")[:]["tokens"]
  shutil.rmtree(cache)
  again = preparation.prepare(config)
  assert "copying the prepared data of memory://bucket/data/" in capsys.readouterr().out
  assert again.hash == first.hash and again.directory.is_relative_to(cache)
  np.testing.assert_array_equal(again.rows("train")[:]["tokens"], rows)
  preparation.prepare(config)
  assert "reusing the prepared data" in capsys.readouterr().out


def test_a_store_that_was_damaged_on_the_way_is_refused(bucket, cache):
  config = tiny.config("memory://bucket/data").data
  preparation.prepare(config)
  (tokens,) = (name for name in bucket.find("/bucket/data") if name.endswith("train.tokens"))
  data = bytearray(bucket.cat_file(tokens))
  data[len(data) // 2] ^= 1
  bucket.pipe_file(tokens, bytes(data))
  shutil.rmtree(cache)
  with pytest.raises(UserError, match=r"train\.tokens is not that of its manifest"):
    preparation.prepare(config)
  assert not list(cache.rglob("*.tokens"))


def test_a_store_without_its_manifest_is_not_there_yet(bucket, cache):
  """Its files are copied before its manifest: another machine may look in between."""
  config = tiny.config("memory://bucket/data").data
  first = preparation.prepare(config)
  bucket.rm(next(n for n in bucket.find("/bucket/data") if n.endswith(MANIFEST)))
  shutil.rmtree(cache)
  assert preparation.prepare(config).hash == first.hash
  assert any(name.endswith(MANIFEST) for name in bucket.find("/bucket/data"))


def test_a_run_under_way_keeps_its_record(tmp_path):
  """A second start on its machine is refused before it copies anything over the record."""
  url = f"file://{tmp_path}/bucket/run"
  with workdir.open_workdir(url, {}, dataset={"hash": "d"}) as opened:
    (opened.path / "metrics.jsonl").write_text("old")
    opened.publish()
    (opened.path / "metrics.jsonl").write_text("new")
    with pytest.raises(UserError, match="is in use"):
      workdir.open_workdir(url, {}, dataset={"hash": "d"})
    assert (opened.path / "metrics.jsonl").read_text() == "new"
  assert (tmp_path / "bucket" / "run" / "metrics.jsonl").read_text() == "old"


def test_a_run_moves_to_another_machine(tmp_path, cache):
  """Resumed where nothing is cached, it ends as the run that was not interrupted."""
  data = {"directory": tmp_path / "data"}
  url = f"file://{tmp_path}/bucket/run"
  assert train(tiny.config(**data, **{"training.steps": 4}), url) == 0
  assert (tmp_path / "bucket" / "run" / "checkpoints" / "4").is_dir()
  assert not list(cache.rglob("checkpoints"))
  shutil.rmtree(cache)
  assert train(tiny.config(**data, **{"training.steps": 8}), url) == 0
  rows = read_rows(tmp_path / "bucket" / "run")
  assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8]
  shutil.rmtree(cache)
  evaluate(EvaluateSettings(workdir=url, samples=1))
  assert list((tmp_path / "bucket" / "run" / "evaluations").glob("step8-*.json"))
  assert len(read_rows(tmp_path / "bucket" / "run")) == len(rows)


def test_write_json_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
  path = tmp_path / "x.json"
  storage.write_json(path, {"a": 1})

  def crash(*_):
    raise OSError("crash")

  monkeypatch.setattr(storage.os, "fsync", crash)
  with pytest.raises(OSError, match="crash"):
    storage.write_json(path, {"a": 2})
  assert json.loads(path.read_text()) == {"a": 1}


def test_a_result_is_printed_where_it_cannot_be_written(tmp_path, monkeypatch, capsys):
  path = tmp_path / "new" / "result.json"
  assert storage.write_or_print(path, {"value": 1}, "the place")
  assert json.loads(path.read_text()) == {"value": 1}
  assert capsys.readouterr().out == "written to the place\n"

  def refuse(_):
    raise OSError(errno.ENOSPC, "full")

  monkeypatch.setattr(os, "fsync", refuse)
  assert not storage.write_or_print(path, {"value": 2})
  out, err = capsys.readouterr()
  assert json.loads(out) == {"value": 2}
  assert err.startswith(f"warning: {path} cannot be written: No space left")
  assert [file.name for file in path.parent.iterdir()] == ["result.json"]
  assert json.loads(path.read_text()) == {"value": 1}
