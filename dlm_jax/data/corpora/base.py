"""What a corpus is: named splits of documents, streamed as text."""

import glob
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import Field
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from dlm_jax.core import storage
from dlm_jax.core.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
# Bytes of a corpus up to which a change of its files is known by their content.
HASHED = 256 << 20


class Corpus(Protocol):
  """A frozen dataclass; its fields are those of `config.data.corpus`. Build it with `make`."""

  __dataclass_fields__: ClassVar[dict[str, Field]]

  @property
  def splits(self) -> tuple[str, ...]:
    """Names among `train`, `validation` and `test`; `train` is always there."""
    ...

  @property
  def version(self) -> object:
    """What else the text depends on, as JSON: a changed version is a changed corpus."""
    ...

  def documents(self, split: str) -> Iterator[str]:
    """Streams the documents of `split`, in the same order each time.

    Raises:
      UserError: there is no such split, or its text cannot be read.
    """
    ...


@runtime_checkable
class Labelled(Protocol):
  """A corpus whose documents have labels."""

  @property
  def num_labels(self) -> int:
    """Labels are 0..num_labels-1."""
    ...

  def labels(self, split: str) -> Iterator[int]:
    """The labels of the documents of `split`, in their order."""
    ...


class Pair(NamedTuple):
  """A prompt, which a model is given, and the answer that it learns. Neither is empty."""

  prompt: str
  answer: str


@runtime_checkable
class Paired(Protocol):
  """A corpus whose documents are a prompt and its answer, one after the other."""

  def pairs(self, split: str) -> Iterator[Pair]:
    """The pairs of `split`, in the order of its documents."""
    ...


def check_split(corpus: Corpus, split: str) -> None:
  """Raises `UserError` unless the corpus has the split."""
  if split not in corpus.splits:
    name = type(corpus).__name__
    raise UserError(
      f"{name} has no split {split!r}: {nearest(split, corpus.splits)}"
      f"Its splits are {', '.join(corpus.splits)}."
    )


def split_of(name: str, validation: float, test: float) -> str:
  """The split of the thing called `name`, by its hash: the others do not matter, nor the order."""
  digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
  u = int.from_bytes(digest[:8], "big") / 2**64
  if u < validation:
    return "validation"
  return "test" if u < validation + test else "train"


def file_versions(paths: Iterable[str | Path]) -> list[list[str | int]]:
  """`[path, hash of the content]` of each file where all of them together are at most `HASHED`.

  Of larger ones `[path, size, time of the last change in ns]`: reading them takes too long for each
  start, and a change that keeps size and time goes unnoticed.
  """
  stats = {str(path): Path(path).stat() for path in paths}
  if sum(stat.st_size for stat in stats.values()) > HASHED:
    return [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()]
  return [[path, hashlib.sha256(Path(path).read_bytes()).hexdigest()] for path in stats]


def files(patterns: Iterable[str]) -> list[Path]:
  """The files of paths and globs, sorted. Raises `UserError` if one of them is no file."""
  found: set[str] = set()
  for pattern in patterns:
    pattern = str(storage.expand(pattern))
    matches = {name for name in glob.glob(pattern, recursive=True) if Path(name).is_file()}
    if not matches and glob.has_magic(pattern):
      raise UserError(f"no file matches {pattern!r}, seen from {Path.cwd()}: correct the glob.")
    if not matches:
      raise UserError(f"there is no file {pattern!r}, seen from {Path.cwd()}: correct the path.")
    found |= matches
  return [Path(name) for name in sorted(found)]
