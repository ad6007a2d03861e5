"""Files as lines of text, whatever they are called."""

import bz2
import gzip
import lzma

import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.data import reading

TEXT = "\ufeffé one\r\ntwo\n\nthree"


def _written(tmp_path, data):
  path = tmp_path / "text"
  path.write_bytes(data)
  return path


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_file_is_opened_by_what_it_holds(tmp_path, compress):
  path = _written(tmp_path, compress(TEXT.encode()))
  assert list(reading.lines(path)) == ["é one\n", "two\n", "\n", "three"]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"\x28\xb5\x2f\xfd rest", r"compressed by zstd, .*unpack it with zstd -d\."),
    (b"PK\x03\x04 rest", "a zip archive, .*unzip"),
    (b"%PDF-1.7", "a PDF, .*pdftotext"),
    ("one".encode("utf-16"), "text in UTF-16, .*iconv -f UTF-16"),
    ("one".encode("utf-16-le"), "no text: byte 1 is 0x00"),
    ("é one\n".encode() + b"caf\xe9\n", "not UTF-8: byte 10 is 0xe9"),
    (gzip.compress(b"one\n" * 1000)[:-9], "cannot be read .*get it again"),
    (lzma.compress(b"one\n" * 1000)[:-9], "cannot be read .*get it again"),
  ],
  ids=["zstd", "zip", "pdf", "utf16", "utf16_without_mark", "latin1", "gzip_cut", "xz_cut"],
)
def test_what_is_no_text_is_named(tmp_path, data, message):
  with pytest.raises(UserError, match=message):
    list(reading.lines(_written(tmp_path, data)))
