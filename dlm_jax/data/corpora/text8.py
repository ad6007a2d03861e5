"""text8: the first 10^8 characters of a cleaned Wikipedia (http://mattmahoney.net/dc/textdata.html).

Split as in the papers: 90M characters to train on, 5M for validation, 5M for the test.
"""

import os
import shutil
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlm_jax.core import resolve, storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.data import reading
from dlm_jax.data.corpora import base

URL = "http://mattmahoney.net/dc/text8.zip"
ZIP_BYTES = 31_344_016
_MEMBER = "text8"


@dataclass(frozen=True)
class Text8:
  """Each split is one document. The text is checked by its length, an archive by its checksum too.

  Attributes:
    path: the file, plain or zipped; None downloads it into `cache`.
    cache: where the download is kept.
    train_characters, validation_characters, test_characters: of the splits, in this order. They
      must add up to the length of the file; other than the official ones serve other files.
  """

  path: str | None = None
  cache: str = "data/downloads"
  train_characters: PositiveInt = 90_000_000
  validation_characters: PositiveInt = 5_000_000
  test_characters: PositiveInt = 5_000_000

  @property
  def splits(self) -> tuple[str, ...]:
    return tuple(self._sizes())

  @property
  def version(self) -> list[list[str | int]] | None:
    """Of a local file, see `base.file_versions`; the official one does not change."""
    return None if self.path is None else base.file_versions(base.files([self.path]))

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    path = download(storage.expand(self.cache)) if self.path is None else base.files([self.path])[0]
    text = _read(path)
    sizes = self._sizes()
    if len(text) != sum(sizes.values()):
      raise UserError(
        f"{path} holds {len(text):,} characters, but the splits need {sum(sizes.values()):,}: get "
        "the whole file, or set corpus.train_characters, validation_characters and "
        "test_characters to what it holds."
      )
    names = list(sizes)
    start = sum(sizes[name] for name in names[: names.index(split)])
    yield text[start : start + sizes[split]]

  def _sizes(self) -> dict[str, int]:
    return {
      "train": self.train_characters,
      "validation": self.validation_characters,
      "test": self.test_characters,
    }


def make(**fields: object) -> Text8:
  return resolve.build(Text8, fields)


def download(directory: Path) -> Path:
  """The official archive in `directory`, downloaded unless it is there.

  Raises:
    UserError: it cannot be had, or what came is not the archive.
  """
  path = directory / "text8.zip"
  if path.exists():
    return path
  directory.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(f".{os.getpid()}.partial")
  print(f"downloading {URL} ({ZIP_BYTES / 1e6:.0f} MB)")
  try:
    with urllib.request.urlopen(URL, timeout=60) as response, partial.open("wb") as file:
      shutil.copyfileobj(response, file)
    if partial.stat().st_size != ZIP_BYTES:
      raise OSError(f"{partial.stat().st_size} bytes came, not {ZIP_BYTES}")
    partial.rename(path)
  except OSError as error:
    raise UserError(
      f"downloading {URL} failed ({error}): fetch it by hand and set corpus.path to it."
    ) from error
  finally:
    partial.unlink(missing_ok=True)
  return path


def _read(path: Path) -> str:
  """The text of a plain or zipped file. Raises `UserError` if it is damaged."""
  try:
    if not zipfile.is_zipfile(path):
      return "".join(reading.lines(path))
    with zipfile.ZipFile(path) as archive:
      return archive.read(_MEMBER).decode("ascii")
  except (KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} is not text8 ({error}): delete it and get it again.") from error
