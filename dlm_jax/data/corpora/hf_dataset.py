"""Data sets of the `datasets` library: from the hub, or local parquet, JSON lines and Arrow files.

Covers LM1B, OpenWebText, FineWeb, WikiText and TinyStories. The library maps its files into memory
or streams them, so memory stays bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.ranges import NonNegativeInt
from dlm_jax.core.types import Fields
from dlm_jax.data.corpora import base

# A `Dataset` or an `IterableDataset` of a library that is optional here.
Documents: TypeAlias = Any

# What reads a local file, by its suffix.
_READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".arrow": "arrow"}


@dataclass(frozen=True)
class HfDataset:
  """A row is a document; rows without text are left out.

  Attributes:
    dataset: its name on the hub, such as `Skylion007/openwebtext`; None for local `files`.
    files: pairs (split, path or glob or several) of local files, given to `make` as a mapping.
    subset: configuration of a hub data set, such as `wikitext-103-raw-v1`.
    revision: commit, branch or tag on the hub. Only a commit never changes.
    column: that holds the text.
    train, validation, test: what the data set calls these splits; None for one that is not used.
    held_out: so many documents at the end of train are the validation split, where the data set
      has none. The papers hold out the last 100_000 of OpenWebText.
    streaming: read over the network, nothing kept on disk; otherwise the library keeps a copy.
  """

  dataset: str | None = None
  files: tuple[tuple[str, tuple[str, ...]], ...] = ()
  subset: str | None = None
  revision: str | None = None
  column: str = "text"
  train: str = "train"
  validation: str | None = None
  test: str | None = None
  held_out: NonNegativeInt = 0
  streaming: bool = False

  def __post_init__(self) -> None:
    if (self.dataset is None) == (not self.files):
      raise UserError(
        "hf_dataset needs one of corpus.dataset (a name on the hub) and corpus.files (local "
        f"files by split): got {self.dataset!r} and {dict(self.files)}."
      )
    if self.held_out and self.validation:
      raise UserError(
        "corpus.held_out makes a validation split of so many documents where there is none: got "
        f"{self.held_out}, with corpus.validation {self.validation!r}: set one of them alone."
      )

  @property
  def splits(self) -> tuple[str, ...]:
    given = {
      "train": True,
      "validation": self.validation or self.held_out,
      "test": self.test,
    }
    return tuple(name for name, there in given.items() if there)

  @property
  def version(self) -> list[list[str | int]] | None:
    """Of local files, see `base.file_versions`."""
    if not self.files:
      return None
    return base.file_versions(file for _, paths in self.files for file in base.files(paths))

  def documents(self, split: str) -> Iterator[str]:
    base.check_split(self, split)
    for row in self._rows(split):
      text = row[self.column]
      if not isinstance(text, str | None):
        raise UserError(
          f"a row of the column {self.column!r} holds {type(text).__name__} {text!r:.80}, and a "
          "document is text: set corpus.column to one of text."
        )
      if text and not text.isspace():
        yield text

  def _rows(self, split: str) -> Documents:
    if not self.held_out or split == "test":
      return self._load(getattr(self, split))
    rows = self._load(self.train)
    kept = self._count(rows) - self.held_out
    if kept < 1:
      raise UserError(
        f"corpus.held_out is {self.held_out}, and {self.train!r} has only "
        f"{kept + self.held_out} documents: nothing is left to train on, so lower it."
      )
    return rows.take(kept) if split == "train" else rows.skip(kept)

  def _count(self, rows: Documents) -> int:
    if not self.streaming:
      return len(rows)
    known = (rows.info.splits or {}).get(self.train)
    return known.num_examples if known else sum(1 for _ in rows)

  def _load(self, name: str) -> Documents:
    """The rows of a split as the data set calls it. Raises `UserError` if they cannot be had."""
    datasets = _library()
    try:
      rows = datasets.load_dataset(
        **self._source(), split=name, revision=self.revision, streaming=self.streaming
      )
    except UserError:
      raise
    except Exception as error:  # the library raises whatever its readers and the hub raise
      raise UserError(
        f"the split {name!r} of {self.dataset or dict(self.files)} cannot be loaded: "
        f"{type(error).__name__}: {error}"
      ) from error
    columns = rows.column_names or list(next(iter(rows), {}))
    if self.column not in columns:
      raise UserError(
        f"there is no column {self.column!r}: {nearest(self.column, columns)}"
        f"Set corpus.column to one of {', '.join(columns)}."
      )
    return rows

  def _source(self) -> Fields:
    """What the library loads."""
    if self.dataset is not None:
      return {"path": self.dataset, "name": self.subset}
    files = {split: base.files(paths) for split, paths in self.files}
    suffixes = {file.suffix for found in files.values() for file in found}
    if len(suffixes) > 1 or not suffixes <= set(_READERS):
      raise UserError(
        f"corpus.files are {', '.join(sorted(suffixes))}: they must be of one kind, and it must be "
        f"one of {', '.join(_READERS)}."
      )
    names = {split: [str(file) for file in found] for split, found in files.items()}
    return {"path": _READERS[suffixes.pop()], "data_files": names}


def make(*, files: Mapping[str, str | Sequence[str]] | None = None, **fields: object) -> HfDataset:
  """Builds the corpus; `files` maps a split to a path or glob, or to several."""
  pairs = ((split, (p,) if isinstance(p, str) else tuple(p)) for split, p in (files or {}).items())
  return resolve.build(HfDataset, {"files": tuple(sorted(pairs)), **fields})


def _library() -> ModuleType:
  try:
    import datasets  # noqa: PLC0415  optional, and slow to import
  except ImportError as error:
    raise UserError(
      'the corpus hf_dataset needs the datasets library: pip install "dlm_jax[hub]".'
    ) from error
  return datasets
