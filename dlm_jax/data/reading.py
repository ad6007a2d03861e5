"""The lines of text files: UTF-8, plain or compressed, by what they hold and not by their names."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from dlm_jax.core.errors import UserError

# By the bytes that a file begins with: what opens it,
_COMPRESSED: dict[bytes, Callable[[Path], object]] = {
  b"\x1f\x8b": gzip.open,
  b"BZh": bz2.open,
  b"\xfd7zXZ\x00": lzma.open,
}
# or what it is, and what makes text of it.
_NO_TEXT = {
  b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it with zstd -d"),
  b"PK\x03\x04": ("a zip archive", "unpack it with unzip"),
  b"%PDF": ("a PDF", "convert it with pdftotext"),
  b"PAR1": ("a parquet file", "read it with the corpus hf_dataset"),
  b"\xff\xfe": ("text in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
  b"\xfe\xff": ("text in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
}
_LONGEST = max(map(len, (*_COMPRESSED, *_NO_TEXT)))


def lines(path: Path) -> Iterator[str]:
  """The lines of a text file, each with its newline, without a byte order mark.

  What gzip, bzip2 or xz has compressed is read as the text that it was.

  Raises:
    UserError: the file cannot be read, is damaged, or holds something else.
  """
  offset = 0
  try:
    with open_file(path) as file:
      for line in file:
        yield _decoded(line, path, offset).replace("\r\n", "\n")
        offset += len(line)
  except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    raise UserError(f"{path} cannot be read ({reason}): see to it, or get it again.") from error


def open_file(path: Path) -> BinaryIO:
  """The bytes of a file as they were before gzip, bzip2 or xz compressed them.

  Raises:
    UserError: the file is known not to be text; it says what it is and how to make text of it.
  """
  with path.open("rb") as file:
    head = file.read(_LONGEST)
  for magic, (what, way_out) in _NO_TEXT.items():
    if head.startswith(magic):
      raise UserError(f"{path} is {what}, and text is needed: {way_out}.")
  opener = next((o for magic, o in _COMPRESSED.items() if head.startswith(magic)), None)
  return path.open("rb") if opener is None else cast(BinaryIO, opener(path))


def _decoded(line: bytes, path: Path, offset: int) -> str:
  """A line that begins at the byte `offset`. Raises `UserError` where it is no text."""
  zero = line.find(b"\0")
  if zero >= 0:
    raise UserError(
      f"{path} is no text: byte {offset + zero} is 0x00. Name a text file, or remove such bytes."
    )
  try:
    return line.decode("utf-8" if offset else "utf-8-sig")
  except UnicodeDecodeError as error:
    raise UserError(
      f"{path} is not UTF-8: byte {offset + error.start} is {line[error.start]:#04x}. Convert it, "
      "for instance with iconv."
    ) from None
