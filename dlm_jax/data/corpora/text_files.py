"""Your own text: UTF-8 files, plain or compressed, by path or glob."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import Fraction, PositiveInt
from dlm_jax.data import reading
from dlm_jax.data.corpora import base

# What a document may be, from the coarsest to the finest, and where it ends.
_DOCUMENTS = {
  "file": "with its file",
  "blank_lines": "at a blank line",
  "line": "with its line",
  "window": "after data.corpus.window characters",
}


@dataclass(frozen=True)
class TextFiles:
  """Documents of text files, held out by the hash of their text.

  Attributes:
    paths: files and globs (`**` is any depth of folders), read in sorted order. What gzip, bzip2 or
      xz has compressed is read as it is.
    document: what a document is: `blank_lines` (the text between two blank lines), `line`, `file`,
      or `window`: a piece of a file that has no parts of its own.
    window: of `document=window`: the most characters of a piece. It ends where a line does, or else
      a word.
    validation, test: fractions of the documents held out.
  """

  paths: tuple[str, ...]
  document: str = "blank_lines"
  window: PositiveInt = 1000
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
    count, found = 0, False
    for path in base.files(self.paths):
      for document in self._cut(reading.lines(path)):
        count += 1
        if base.split_of(document, self.validation, self.test) == split:
          found = True
          yield document
    if not found:
      raise self._empty(split, count)

  def _cut(self, lines: Iterator[str]) -> Iterator[str]:
    """Documents of the lines of a file, without empty lines at their ends."""
    if self.document == "line":
      documents: Iterable[str] = lines
    elif self.document == "window":
      documents = _windows(lines, self.window)
    elif self.document == "blank_lines":
      documents = _between_blank_lines(lines)
    else:
      documents = ["".join(lines)]
    return (document.strip("\n") for document in documents if document.strip())

  def _empty(self, split: str, count: int) -> UserError:
    """The error for a split that no document is in, of `count` documents."""
    if not count:
      return UserError(f"there is no text in {', '.join(self.paths)}: name other files.")
    names = list(_DOCUMENTS)
    finer = " or ".join(names[names.index(self.document) + 1 :])
    return UserError(
      f"the text is {'one document' if count == 1 else f'{count} documents'} (a document ends "
      f"{_DOCUMENTS[self.document]}), and a document lies in one split as a whole, so that the "
      f"{split} split is empty: "
      + (f"set data.corpus.document to {finer}" if finer else "lower data.corpus.window")
      + ", or give more text."
    )


def make(*, paths: str | Sequence[str] = (), **fields: object) -> TextFiles:
  """Builds the corpus; `paths` is one path or glob, or several."""
  paths = (paths,) if isinstance(paths, str) else tuple(paths)
  return resolve.build(TextFiles, {"paths": paths, **fields})


def _between_blank_lines(lines: Iterable[str]) -> Iterator[str]:
  document: list[str] = []
  for line in lines:
    if line.strip():
      document.append(line)
    elif document:
      yield "".join(document)
      document = []
  yield "".join(document)


def _windows(lines: Iterable[str], size: int) -> Iterator[str]:
  """Pieces of at most `size` characters, cut at the last end of a line, or else the last space.

  What is cut at is left out: packed as a stream, the symbol between two documents stands there.
  """
  rest = ""
  for line in lines:
    rest, start = rest + line, 0
    while len(rest) - start > size:
      stop = start + size
      ends = (rest.rfind(mark, start + 1, stop + 1) for mark in "\n ")
      cut = next((end for end in ends if end > start), None)
      yield rest[start : cut or stop]
      start = stop if cut is None else cut + 1
    rest = rest[start:]
  yield rest
