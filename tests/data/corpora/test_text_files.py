import os

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import text_files


def _write(path, data):
  path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return str(path)


def _all(corpus):
  return sorted(d for split in corpus.splits for d in corpus.documents(split))


def test_documents_end_at_blank_lines(tmp_path):
  path = _write(tmp_path / "a.txt", "\n\none\ntwo\n \t\nthree\r\nfour\r\n\r\n\r\nfive")
  assert _all(text_files.make(paths=path)) == ["five", "one\ntwo", "three\nfour"]


def test_documents_are_files(tmp_path):
  _write(tmp_path / "a.txt", "one\n\ntwo\n")
  _write(tmp_path / "b.txt", "\ufeffthree")
  _write(tmp_path / "c.txt", "\n")
  corpus = text_files.make(paths=[str(tmp_path / "*.txt")], document="file")
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


def test_a_file_written_again_is_another_version(tmp_path):
  path = _write(tmp_path / "a.txt", "one")
  before = text_files.make(paths=path).version
  os.utime(path, (1, 1))
  assert text_files.make(paths=path).version != before


def test_names_what_is_missing(tmp_path):
  for name, message in (("no.txt", "there is no file"), ("*.md", "no file matches")):
    with pytest.raises(UserError, match=message):
      list(text_files.make(paths=str(tmp_path / name)).documents("train"))
  with pytest.raises(UserError, match="paths is empty"):
    text_files.make()
  with pytest.raises(UserError, match="did you mean 'file'"):
    text_files.make(paths="a", document="files")


@pytest.mark.parametrize("document", ["file", "blank_lines"])
def test_names_the_byte_that_is_not_utf8(tmp_path, document):
  path = _write(tmp_path / "latin.txt", "é one\n".encode() + b"caf\xe9\n")
  with pytest.raises(UserError, match=r"latin\.txt is not UTF-8: byte 10 is 0xe9"):
    list(text_files.make(paths=path, document=document).documents("train"))
