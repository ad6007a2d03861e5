"""Token stores: a corpus as the model reads it, on disk.

A store is a directory, made by `data.preparation`. `<split>.tokens` is an array `[rows, length]` of
the smallest unsigned dtype; `<split>.lengths` (padded rows only), `<split>.labels` (labelled
corpora only) and `<split>.prompts` (pairs only) are arrays `[rows]`. `tokenizer.json` is the
tokenizer as fitted, and `manifest.json` says what is there, with a checksum of every file and of
itself.
"""

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.json_files import digest, read_object, read_sealed
from dlm_jax.core.types import Json, Record
from dlm_jax.data import packing
from dlm_jax.data.positions import TEXT, ScoredPositions
from dlm_jax.data.tokenizers import base
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed import cluster

# Raise it when the same config comes to mean other tokens or another layout.
FORMAT = 2
MANIFEST = "manifest.json"
_FIELDS = {"hash": str, "packing": str, "length": int, "splits": dict, "files": dict}
# Bytes of a file that are read at once, and from where on reading all of it is worth a word.
_CHUNK = 1 << 24
_LARGE = 1 << 31


@dataclass(frozen=True)
class Rows:
  """Random access to the rows of a split.

  `rows[i]` is a row and `rows[a:b]` or `rows[indices]` are rows: a dict of `tokens`, int32 `[L]` or
  `[n, L]`, and where there are such positions `given` and `unscored`, bool of the same shape: those
  that are neither noised nor scored, and those that are noised and not scored. Rows of a labelled
  corpus hold `label` too, an int32 a row.

  Attributes:
    tokens: `[N, L]`.
    lengths: `[N]`, tokens that are no padding, or None.
    labels: `[N]`, or None.
    positions: which positions are noised and scored.
    prompts: `[N]`, tokens of the prompt that a row begins with, or None.
  """

  tokens: np.ndarray
  lengths: np.ndarray | None
  labels: np.ndarray | None = None
  positions: ScoredPositions = TEXT
  prompts: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.tokens)

  @property
  def are_documents(self) -> bool:
    """Whether each row is one document, as where rows are padded; else rows are cut from a stream
    whose documents end anywhere."""
    return self.lengths is not None

  def __getitem__(self, index: int | slice | np.ndarray) -> dict[str, np.ndarray]:
    tokens = self.tokens[index].astype(np.int32)
    lengths = None if self.lengths is None else self.lengths[index]
    prompts = None if self.prompts is None else self.prompts[index]
    masks = self.positions.masks(tokens.shape, lengths, prompts)
    row: dict[str, np.ndarray] = {"tokens": tokens, **masks}
    if self.labels is not None:
      row["label"] = np.asarray(self.labels[index]).astype(np.int32)
    return row

  def first(self, share: float) -> "Rows":
    """The first of the rows: a share of them, rounded up."""
    end = math.ceil(share * len(self))
    arrays = (self.lengths, self.labels, self.prompts)
    lengths, labels, prompts = (None if array is None else array[:end] for array in arrays)
    return Rows(self.tokens[:end], lengths, labels, self.positions, prompts)

  def unpadded(self, index: slice | np.ndarray) -> list[np.ndarray]:
    """The tokens of rows, int32 `[n]` each, without padding."""
    tokens = self.tokens[index].astype(np.int32)
    if self.lengths is None:
      return list(tokens)
    return [row[:end] for row, end in zip(tokens, self.lengths[index], strict=True)]

  def shifted(self, index: np.ndarray, offset: np.ndarray) -> dict[str, np.ndarray]:
    """Windows of the stream that the rows are cut from, `offset` tokens right of row `index`.

    A window that would end beyond the stream is its last one. Nothing else than the tokens of these
    windows is read.

    Args:
      index, offset: int `[n]`, the offset below L.
    """
    length = self.tokens.shape[1]
    start = np.minimum(index * length + offset, len(self) * length - length)
    tokens = self.tokens.reshape(-1)[start[:, None] + np.arange(length)].astype(np.int32)
    return {"tokens": tokens, **self.positions.masks(tokens.shape, None)}


@dataclass(frozen=True)
class Store:
  """A prepared corpus. Open it with `open_store` or `prepare`.

  Attributes:
    directory: where it is.
    manifest: what it was made from and what it holds.
    tokenizer: of its tokens.
    checks: whether a split is held against its checksums before its rows are read.
    positions: which of each row are scored.
  """

  directory: Path
  manifest: Mapping[str, Any]
  tokenizer: Tokenizer
  checks: bool = True
  positions: ScoredPositions = TEXT

  @property
  def hash(self) -> str:
    """Of all that a model can learn from the store: tokens, splits, tokenizer, packing, length."""
    return self.manifest["hash"]

  @property
  def splits(self) -> tuple[str, ...]:
    return tuple(self.manifest["splits"])

  @property
  def num_labels(self) -> int:
    """Labels of rows are 0..num_labels-1; 0 where rows have none."""
    return self.manifest.get("num_labels", 0)

  @property
  def description(self) -> dict[str, Json]:
    """What a model needs of the data when the data is not there, as JSON can hold it."""
    return {
      "hash": self.hash,
      "tokenizer": base.definition(self.tokenizer),
      "packing": self.manifest["packing"],
      "length": self.manifest["length"],
      "num_labels": self.num_labels,
      "characters_per_token": {split: self.characters_per_token(split) for split in self.splits},
    }

  def num_rows(self, split: str) -> int:
    return self._split(split)["rows"]

  def characters_per_token(self, split: str) -> float:
    """Characters of the text as the tokenizer decodes it, over the tokens that are scored.

    So bits/character = nats/token / ln 2 / characters_per_token.
    """
    return self.positions.characters_per_token(
      self._split(split),
      self.manifest["length"],
      begins_with_symbol=packing.find(self.manifest["packing"]).begins,
    )

  def rows(self, split: str) -> Rows:
    """The rows of a split, read from disk as they are asked for.

    Raises:
      UserError: there is no such split, or a byte of it is not what was written.
    """
    shape = (self.num_rows(split), self.manifest["length"])
    if self.checks:
      self.verify(split)
    lengths, labels, prompts = (
      self._array(name, shape[:1]) if name in self.manifest["files"] else None
      for name in (f"{split}.lengths", f"{split}.labels", f"{split}.prompts")
    )
    return Rows(self._array(f"{split}.tokens", shape), lengths, labels, self.positions, prompts)

  def verify(self, split: str | None = None) -> None:
    """Reads the files of a split, or all: once a process, unless they are written again.

    Raises:
      UserError: a byte is not what was written, or a number is out of range.
    """
    limits = {
      "tokens": self.tokenizer.vocab_size,
      "lengths": self.manifest["length"] + 1,
      "labels": self.num_labels,
      "prompts": self.manifest["length"] + 1,
    }
    for name, file in self.manifest["files"].items():
      of_split, _, kind = name.rpartition(".")
      if split in (None, of_split):
        path = self.directory / name
        stat = path.stat()
        sha256, largest = _content(path, file["dtype"], stat.st_size, stat.st_mtime_ns)
        if sha256 != file["sha256"]:
          raise damaged(self.directory, f"the hash of {name} is not that of its manifest")
        if largest >= limits[kind]:
          raise damaged(
            self.directory, f"{name} holds {largest}, which is not below {limits[kind]}"
          )

  def _split(self, split: str) -> Mapping[str, int]:
    if split not in self.splits:
      raise UserError(
        f"the store {self.directory} has no split {split!r}: {nearest(split, self.splits)}"
        f"Its splits are {', '.join(self.splits)}."
      )
    return self.manifest["splits"][split]

  def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = self.manifest["files"][name]["dtype"]
    return np.memmap(self.directory / name, dtype, mode="r", shape=shape)


@functools.cache
def _content(path: Path, dtype: str, size: int, _mtime: int) -> tuple[str, int]:
  """The hash of a file, and the largest number in it."""
  if size >= _LARGE:
    cluster.say(
      f"checking {path} ({size / 1e9:.0f} GB); --config.data.checks=false leaves that out"
    )
  array = np.memmap(path, dtype, mode="r")
  sha256, largest = hashlib.sha256(), 0
  step = _CHUNK // array.itemsize
  for start in range(0, len(array), step):
    chunk = np.asarray(array[start : start + step])
    sha256.update(chunk.data)
    largest = max(largest, int(chunk.max()))
  return sha256.hexdigest(), largest


def content_hash(
  tokenizer: Record, packing_name: str, length: int, files: Mapping[str, Record]
) -> str:
  """The hash of all that a model can learn from a store, `files` being those of its manifest."""
  return digest(
    {
      "tokenizer": tokenizer,
      "packing": packing_name,
      "length": length,
      "files": {name: file["sha256"] for name, file in files.items()},
    }
  )


def open_store(
  directory: str | Path, *, checks: bool = True, positions: ScoredPositions | None = None
) -> Store:
  """Opens a store; its rows are not read yet.

  Args:
    directory: where it is.
    checks: see `Store`.
    positions: see `Store`; None is `ScoredPositions()`.

  Raises:
    UserError: there is none, or its manifest, its tokenizer or the size of a file is not what was
      written.
  """
  directory = Path(directory)
  path = directory / MANIFEST
  if not path.is_file():
    raise UserError(
      f"there is no prepared data in {directory}: {MANIFEST} is missing. "
      "Prepare it with python -m dlm_jax.prepare."
    )
  way_out = f"Delete {directory} and prepare the data again."
  found = read_object(path, {"format": int}, way_out=way_out)["format"]
  if found != FORMAT:
    raise UserError(
      f"{directory} has format {found} and this version reads {FORMAT}: prepare the data again."
    )
  manifest = read_sealed(path, _FIELDS, way_out=way_out)
  tokenizer = base.load_definition(directory)
  if manifest["hash"] != content_hash(
    tokenizer, manifest["packing"], manifest["length"], manifest["files"]
  ):
    raise damaged(directory, f"{MANIFEST} or {base.FILE} was altered after it was written")
  for name, file in manifest["files"].items():
    data = directory / name
    size = data.stat().st_size if data.is_file() else None
    if size != file["bytes"]:
      wrong = "is missing" if size is None else f"has {size} bytes"
      raise damaged(directory, f"{name} {wrong}, and should have {file['bytes']}")
  fitted = base.from_definition(tokenizer)
  return Store(directory, manifest, fitted, checks, positions or ScoredPositions())


def damaged(directory: Path, what: str) -> UserError:
  """The error for a store that does not hold what was written."""
  return UserError(
    f"the prepared data in {directory} is damaged: {what}. Delete it and prepare it again."
  )
