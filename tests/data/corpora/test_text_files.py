import os

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import text_files


def _write(path, data):
  path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return str(path)


def _all(corpus):
  return sorted(corpus.documents("train"))


def test_documents_end_at_blank_lines(tmp_path):
  path = _write(tmp_path / "a.txt", "\n\none\ntwo\n \t\nthree\r\nfour\r\n\r\n\r\nfive")
  corpus = text_files.make(paths=path, validation=0, test=0)
  assert _all(corpus) == ["five", "one\ntwo", "three\nfour"]


def test_documents_are_files(tmp_path):
  _write(tmp_path / "a.txt", "one\n\ntwo\n")
  _write(tmp_path / "b.txt", "\ufeffthree")
  _write(tmp_path / "c.txt", "\n")
  paths = [str(tmp_path / "*.txt")]
  corpus = text_files.make(paths=paths, document="file", validation=0, test=0)
  assert _all(corpus) == ["one\n\ntwo", "three"]


def test_globs_and_paths_are_sorted_and_read_once(tmp_path):
  (tmp_path / "deep" / "er").mkdir(parents=True)
  b = _write(tmp_path / "b.txt", "b")
  _write(tmp_path / "a.txt", "a")
  _write(tmp_path / "deep" / "er" / "c.txt", "c")
  corpus = text_files.make(paths=(str(tmp_path / "**/*.txt"), b), validation=0, test=0)
  assert list(corpus.documents("train")) == ["a", "b", "c"]


def test_the_same_text_is_in_one_split(tmp_path):
  texts = [f"text {i}" for i in range(300)]
  path = _write(tmp_path / "a.txt", "\n\n".join(texts + texts))
  corpus = text_files.make(paths=path, validation=0.2, test=0.2)
  splits = [set(corpus.documents(split)) for split in corpus.splits]
  assert sum(map(len, splits)) == 300
  assert set.union(*splits) == set(texts)


def test_other_text_is_another_version_also_under_the_same_size_and_time(tmp_path):
  path = _write(tmp_path / "a.txt", "one")
  os.utime(path, (1, 1))
  before = text_files.make(paths=path).version
  os.utime(path, (2, 2))
  assert text_files.make(paths=path).version == before
  _write(tmp_path / "a.txt", "two")
  os.utime(path, (2, 2))
  assert text_files.make(paths=path).version != before


def test_names_what_is_missing(tmp_path):
  for name, message in (("no.txt", "there is no file"), ("*.md", "no file matches")):
    with pytest.raises(UserError, match=message):
      list(text_files.make(paths=str(tmp_path / name)).documents("train"))
  with pytest.raises(UserError, match="paths is empty"):
    text_files.make()
  with pytest.raises(UserError, match="did you mean 'file'"):
    text_files.make(paths="a", document="files")


def _documents(tmp_path, text, **fields):
  path = _write(tmp_path / "a.txt", text)
  return list(text_files.make(paths=path, validation=0, test=0, **fields).documents("train"))


def test_documents_are_lines(tmp_path):
  assert _documents(tmp_path, "one\n\n  two \n\t\nthree", document="line") == [
    "one",
    "  two ",
    "three",
  ]


@pytest.mark.parametrize(
  ("text", "documents"),
  [
    ("one two\nthree\nfour", ["one two", "three\nfour"]),  # at the last end of a line
    ("one two three four", ["one two", "three four"]),  # or the last space
    ("acgtacgtacgtac", ["acgtacgtac", "gtac"]),  # or anywhere
    ("a\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nb", ["a", "b"]),
  ],
)
def test_documents_are_windows(tmp_path, text, documents):
  assert _documents(tmp_path, text, document="window", window=10) == documents


def test_windows_hold_the_whole_text(tmp_path):
  text = "".join(f"line {i} " * (i % 7) + "\n" * (i % 3 == 0) for i in range(300)).strip()
  documents = _documents(tmp_path, text, document="window", window=50)
  assert max(map(len, documents)) <= 50
  assert "".join("".join(documents).split()) == "".join(text.split())


@pytest.mark.parametrize(
  ("text", "fields", "message"),
  [
    (
      "one\ntwo",
      {},
      r"one document \(a document ends at a blank line\).*so that the validation split is empty: "
      r"set data\.corpus\.document to line or window, ",
    ),
    ("one\n\ntwo", {}, "2 documents .*document to line or window, "),
    ("one\n\ntwo", {"document": "file"}, "one document .*to blank_lines or line or window, "),
    ("one", {"document": "window"}, r"lower data\.corpus\.window, or give more text"),
    ("\n \n", {}, "there is no text in .*a.txt"),
  ],
)
def test_an_empty_split_says_what_a_document_is(tmp_path, text, fields, message):
  corpus = text_files.make(paths=_write(tmp_path / "a.txt", text), **fields)
  with pytest.raises(UserError, match=message):
    list(corpus.documents("validation"))
