import urllib.error
import urllib.request
import zipfile

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora import text8

SIZES = {"train_characters": 6, "validation_characters": 3, "test_characters": 2}


def test_cuts_the_official_split(tmp_path):
  assert (text8.make().train_characters, text8.make().test_characters) == (90_000_000, 5_000_000)
  path = tmp_path / "text8"
  path.write_text("abcdefghijk")
  corpus = text8.make(path=str(path), **SIZES)
  texts = [list(corpus.documents(split)) for split in ("train", "validation", "test")]
  assert texts == [["abcdef"], ["ghi"], ["jk"]]


def test_reads_an_archive_and_finds_damage(tmp_path):
  path = tmp_path / "text8.zip"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("text8", "abcdefghijk")
  corpus = text8.make(path=str(path), **SIZES)
  assert list(corpus.documents("test")) == ["jk"]
  data = path.read_bytes()
  path.write_bytes(data.replace(b"abcdef", b"abcdeg"))
  with pytest.raises(UserError, match="is not text8"):
    list(corpus.documents("test"))


def test_refuses_a_file_of_another_length(tmp_path):
  path = tmp_path / "text8"
  path.write_text("abc")
  with pytest.raises(UserError, match=r"holds 3 characters, but the splits need 100,000,000"):
    list(text8.make(path=str(path)).documents("train"))
  with pytest.raises(UserError, match="there is no file"):
    list(text8.make(path=str(path) + "x").documents("train"))
  with pytest.raises(UserError, match=r"Text8\.test_characters must be at least 1"):
    text8.make(test_characters=0)


def test_a_broken_download_leaves_nothing(tmp_path, monkeypatch):
  archive = tmp_path / "source.zip"
  archive.write_bytes(b"not all of it")
  monkeypatch.setattr(text8, "URL", archive.as_uri())
  cache = tmp_path / "cache"
  corpus = text8.make(cache=str(cache))
  with pytest.raises(UserError, match=r"13 bytes came.*fetch it by hand and set corpus\.path"):
    list(corpus.documents("train"))
  assert list(cache.iterdir()) == []


def test_downloads_once(tmp_path, monkeypatch):
  source = tmp_path / "source.zip"
  with zipfile.ZipFile(source, "w") as archive:
    archive.writestr("text8", "abcdefghijk")
  monkeypatch.setattr(text8, "URL", source.as_uri())
  monkeypatch.setattr(text8, "ZIP_BYTES", source.stat().st_size)
  corpus = text8.make(cache=str(tmp_path / "cache"), **SIZES)
  assert list(corpus.documents("validation")) == ["ghi"]
  source.unlink()
  assert list(corpus.documents("validation")) == ["ghi"]


def test_no_network(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise urllib.error.URLError("no route")

  monkeypatch.setattr(urllib.request, "urlopen", fail)
  with pytest.raises(UserError, match=r"downloading .*no route.*set corpus\.path"):
    list(text8.make(cache=str(tmp_path)).documents("train"))
