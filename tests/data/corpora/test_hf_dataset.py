import json
import sys

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import hf_dataset

TEXTS = [f"text {i}" for i in range(10)]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  datasets = pytest.importorskip("datasets")
  monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
  datasets.disable_progress_bars()


def _jsonl(path, texts, column="text"):
  path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts))
  return str(path)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow"])
def test_reads_local_files(tmp_path, kind, streaming):
  datasets = pytest.importorskip("datasets")
  path = tmp_path / f"a.{kind}"
  rows = datasets.Dataset.from_dict({"text": [*TEXTS, " \n"], "other": range(11)})
  if kind == "parquet":
    rows.to_parquet(path)
  elif kind == "jsonl":
    rows.to_json(path)
  else:
    rows.save_to_disk(tmp_path / "saved")
    path = next((tmp_path / "saved").glob("*.arrow"))
  corpus = hf_dataset.make(files={"train": str(path)}, streaming=streaming)
  assert list(corpus.documents("train")) == TEXTS
  assert corpus.splits == ("train",)


def test_rows_without_text_are_left_out_and_what_is_no_text_is_named(tmp_path):
  rows = hf_dataset.make(files={"train": _jsonl(tmp_path / "a.jsonl", ["one", None, " ", "two"])})
  assert list(rows.documents("train")) == ["one", "two"]
  rows = hf_dataset.make(files={"train": _jsonl(tmp_path / "b.jsonl", [["one", "two"]])})
  with pytest.raises(UserError, match=r"'text' holds list \['one', 'two'\]"):
    list(rows.documents("train"))


@pytest.mark.parametrize("streaming", [False, True])
def test_holds_out_the_end_of_train(tmp_path, streaming):
  path = _jsonl(tmp_path / "a.jsonl", TEXTS)
  corpus = hf_dataset.make(files={"train": path}, held_out=3, streaming=streaming)
  assert corpus.splits == ("train", "validation")
  assert list(corpus.documents("train")) == TEXTS[:7]
  assert list(corpus.documents("validation")) == TEXTS[7:]
  with pytest.raises(UserError, match="held_out is 10, and 'train' has only 10 documents"):
    corpus = hf_dataset.make(files={"train": path}, held_out=10, streaming=streaming)
    list(corpus.documents("train"))


def test_splits_have_the_names_of_the_data_set(tmp_path):
  files = {
    "train": [_jsonl(tmp_path / "a0.jsonl", TEXTS[:3]), _jsonl(tmp_path / "a1.jsonl", TEXTS[3:5])],
    "heldout": _jsonl(tmp_path / "b.jsonl", TEXTS[5:]),
  }
  corpus = hf_dataset.make(files=files, test="heldout")
  assert corpus.splits == ("train", "test")
  assert list(corpus.documents("train")) == TEXTS[:5]
  assert list(corpus.documents("test")) == TEXTS[5:]


def test_a_changed_file_is_another_version(tmp_path):
  corpus = hf_dataset.make(files={"train": _jsonl(tmp_path / "a.jsonl", TEXTS)})
  before = corpus.version
  _jsonl(tmp_path / "a.jsonl", TEXTS[1:])
  assert corpus.version != before
  assert hf_dataset.make(dataset="x").version is None


def test_names_the_column(tmp_path):
  path = _jsonl(tmp_path / "a.jsonl", TEXTS, column="texts")
  for streaming in (False, True):
    corpus = hf_dataset.make(files={"train": path}, streaming=streaming)
    with pytest.raises(UserError, match="no column 'text': did you mean 'texts'"):
      list(corpus.documents("train"))


def test_errors_of_the_source(tmp_path):
  path = _jsonl(tmp_path / "a.jsonl", TEXTS)
  with pytest.raises(UserError, match="needs one of"):
    hf_dataset.make()
  with pytest.raises(UserError, match="needs one of"):
    hf_dataset.make(dataset="x", files={"train": path})
  with pytest.raises(UserError, match="held_out"):
    hf_dataset.make(files={"train": path}, held_out=2, validation="dev")
  with pytest.raises(UserError, match="there is no file"):
    list(hf_dataset.make(files={"train": path + "x"}).documents("train"))
  with pytest.raises(UserError, match=r"'no' of .*cannot be loaded"):
    list(hf_dataset.make(files={"train": path}, test="no").documents("test"))
  (tmp_path / "a.csv").write_text("text\n")
  with pytest.raises(UserError, match=r"corpus\.files are \.csv"):
    list(hf_dataset.make(files={"train": str(tmp_path / "a.csv")}).documents("train"))


def test_says_how_to_install_the_library(tmp_path, monkeypatch):
  path = _jsonl(tmp_path / "a.jsonl", TEXTS)
  monkeypatch.setitem(sys.modules, "datasets", None)
  with pytest.raises(UserError, match=r'pip install "dlm_jax\[hub\]"'):
    list(hf_dataset.make(files={"train": path}).documents("train"))
