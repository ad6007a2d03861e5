"""Your own text: UTF-8 files, plain or compressed, by path or glob."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.data import reading
from dlm_jax.data.corpora import base, local_files
from dlm_jax.data.corpora.local_files import LocalFiles

# What a document may be, from the coarsest to the finest, and where it ends.
_DOCUMENTS = {
  "file": "with its file",
  "blank_lines": "at a blank line",
  "line": "with its line",
  "window": "after data.corpus.window characters",
}


@dataclass(frozen=True, kw_only=True)
class TextFiles(LocalFiles):
  """Documents of text files, held out by the hash of their text.

  Attributes:
    document: what a document is: `blank_lines` (the text between two blank lines), `line`, `file`,
      or `window`: a piece of a file that has no parts of its own.
    window: of `document=window`: the most characters of a piece. It ends where a line does, or else
      a word.
    validation, test: fractions of the documents held out.
  """

  document: str = "blank_lines"
  window: PositiveInt = 1000

  def __post_init__(self) -> None:
    super().__post_init__()
    require_known("corpus.document", self.document, _DOCUMENTS)

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    count, found = 0, False
    for path in self.files():
      for document in self._cut(reading.lines(path)):
        count += 1
        if self.split_of(document) == split:
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
  return local_files.build(TextFiles, paths, **fields)


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
