"""Token stores: a corpus as the model reads it, on disk.

A store is a directory, made by `data.preparation`. `<split>.tokens` is an array `[rows, length]` of
the smallest unsigned dtype, `<split>.lengths` (padded rows only) and `<split>.labels` (labelled
corpora only) are arrays `[rows]`, `tokenizer.json` is the tokenizer as fitted, and `manifest.json`
says what is there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.types import Json
from dlm_jax.data.tokenizers import base
from dlm_jax.data.tokenizers.base import Tokenizer

# Raise it when the same config comes to mean other tokens or another layout.
FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Rows:
  """Random access to the rows of a split.

  `rows[i]` is a row and `rows[a:b]` or `rows[indices]` are rows: a dict of `tokens`, int32 `[L]` or
  `[n, L]`, and, where rows are padded, `given`, bool of the same shape: True on padding, which is
  not scored. Rows of a labelled corpus hold `label` too, an int32 a row.
  """

  tokens: np.ndarray
  lengths: np.ndarray | None
  labels: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.tokens)

  @property
  def are_documents(self) -> bool:
    """Whether each row is one document, as where rows are padded; else rows are cut from a stream
    whose documents end anywhere."""
    return self.lengths is not None

  def __getitem__(self, index: int | slice | np.ndarray) -> dict[str, np.ndarray]:
    row: dict[str, np.ndarray] = {"tokens": self.tokens[index].astype(np.int32)}
    if self.lengths is not None:
      lengths = np.asarray(self.lengths[index])
      row["given"] = np.arange(self.tokens.shape[1]) >= lengths[..., None]
    if self.labels is not None:
      row["label"] = np.asarray(self.labels[index]).astype(np.int32)
    return row


@dataclass(frozen=True)
class Store:
  """A prepared corpus. Open it with `open_store` or `prepare`.

  Attributes:
    directory: where it is.
    manifest: what it was made from and what it holds.
    tokenizer: of its tokens.
  """

  directory: Path
  manifest: Mapping[str, Any]
  tokenizer: Tokenizer

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
    counts = self._split(split)
    return counts["characters"] / counts["tokens"]

  def rows(self, split: str) -> Rows:
    """The rows of a split, read from disk as they are asked for."""
    shape = (self.num_rows(split), self.manifest["length"])
    lengths, labels = (
      self._array(name, shape[:1]) if name in self.manifest["files"] else None
      for name in (f"{split}.lengths", f"{split}.labels")
    )
    return Rows(self._array(f"{split}.tokens", shape), lengths, labels)

  def verify(self) -> None:
    """Reads everything. Raises `UserError` if a byte is not what was written."""
    for name, file in self.manifest["files"].items():
      with (self.directory / name).open("rb") as data:
        if hashlib.file_digest(data, "sha256").hexdigest() != file["sha256"]:
          raise damaged(self.directory, f"the hash of {name} is not that of its manifest")

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


def open_store(directory: str | Path) -> Store:
  """Opens a store. Raises `UserError` if there is none, or one whose files have the wrong size."""
  directory = Path(directory)
  try:
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise UserError(
      f"there is no prepared data in {directory}: {MANIFEST} is missing. "
      "Prepare it with python -m dlm_jax.prepare."
    ) from None
  except ValueError:
    raise damaged(directory, f"{MANIFEST} is not JSON") from None
  if manifest["format"] != FORMAT:
    raise UserError(
      f"{directory} has format {manifest['format']} and this version reads {FORMAT}: prepare the "
      "data again."
    )
  for name, file in manifest["files"].items():
    path = directory / name
    size = path.stat().st_size if path.is_file() else None
    if size != file["bytes"]:
      found = "is missing" if size is None else f"has {size} bytes"
      raise damaged(directory, f"{name} {found}, and should have {file['bytes']}")
  return Store(directory, manifest, base.load(directory))


def damaged(directory: Path, what: str) -> UserError:
  """The error for a store that does not hold what was written."""
  return UserError(
    f"the prepared data in {directory} is damaged: {what}. Delete it and prepare it again."
  )
