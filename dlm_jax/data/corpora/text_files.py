"""Your own text: UTF-8 files, by path or glob."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import Fraction
from dlm_jax.data.corpora import base

_DOCUMENTS = ("blank_lines", "file")


@dataclass(frozen=True)
class TextFiles:
  """Documents of text files, held out by the hash of their text.

  Attributes:
    paths: files and globs (`**` is any depth of folders), read in sorted order.
    document: what ends a document: `blank_lines`, or `file`.
    validation, test: fractions of the documents held out.
  """

  paths: tuple[str, ...]
  document: str = "blank_lines"
  validation: Fraction = 0.05
  test: Fraction = 0.05

  def __post_init__(self) -> None:
    base.check_fractions(self.validation, self.test)
    if not self.paths:
      raise UserError("corpus.paths is empty: give it files or globs.")
    require_known("corpus.document", self.document, _DOCUMENTS)

  @property
  def splits(self) -> tuple[str, ...]:
    return base.split_names(self.validation, self.test)

  @property
  def version(self) -> list[list[str | int]]:
    """Of each file, see `base.file_versions`: a file with other text is another corpus."""
    return base.file_versions(base.files(self.paths))

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    for path in base.files(self.paths):
      for document in self._cut(_lines(path)):
        if base.split_of(document, self.validation, self.test) == split:
          yield document

  def _cut(self, lines: Iterator[str]) -> Iterator[str]:
    """Documents of the lines of a file, without empty lines at their ends."""
    if self.document == "file":
      if text := "".join(lines).strip("\n"):
        yield text
      return
    document = []
    for line in lines:
      if line.strip():
        document.append(line)
      elif document:
        yield "".join(document).strip("\n")
        document = []
    if document:
      yield "".join(document).strip("\n")


def make(*, paths: str | Sequence[str] = (), **fields: object) -> TextFiles:
  """Builds the corpus; `paths` is one path or glob, or several."""
  paths = (paths,) if isinstance(paths, str) else tuple(paths)
  return resolve.build(TextFiles, {"paths": paths, **fields})


def _lines(path: Path) -> Iterator[str]:
  """The lines of a file, each with its "\\n". Raises `UserError` if it is not UTF-8."""
  offset = 0
  with path.open("rb") as file:
    for line in file:
      try:
        text = line.decode("utf-8-sig" if offset == 0 else "utf-8")
      except UnicodeDecodeError as error:
        raise UserError(
          f"{path} is not UTF-8: byte {offset + error.start} is {line[error.start]:#04x}. Convert "
          "it, for instance with iconv."
        ) from None
      yield text.replace("\r\n", "\n")
      offset += len(line)
