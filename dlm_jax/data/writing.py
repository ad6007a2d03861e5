"""Writes the files of one split of a token store, and counts what goes into them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.encoding import Encoded, Encoder, encode, token_dtype
from dlm_jax.data.packing import Packing
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed.progress import Progress

# `dtype`, `bytes` and `sha256` of a file, as JSON.
FileEntry: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Counts:
  """Of a split.

  Attributes:
    rows: of `length` tokens.
    tokens: in the rows, without padding.
    characters: of the text in the rows, as the tokenizer decodes it.
    documents: with any text in them.
    truncated: documents that were cut off at the end of their row.
    prompt_tokens: of the prompts that rows begin with; `tokens` and `characters` are then those of
      the answers.
  """

  rows: int
  tokens: int
  characters: int
  documents: int
  truncated: int
  prompt_tokens: int = 0


@dataclass(frozen=True)
class Written:
  """The counts of a split, and `{name: {dtype, bytes, sha256}}` of its files."""

  counts: Counts
  files: dict[str, FileEntry]


def write_split(
  directory: Path,
  split: str,
  texts: Iterable[str],
  length: int,
  tokenizer: Tokenizer,
  packer: Packing,
  workers: int | None,
) -> Written:
  """Encodes, packs and writes the documents of a split.

  Raises:
    UserError: a document cannot be encoded or packed, or they give no row.
  """
  limit = length - packer.overhead if packer.truncates else None
  encoder = Encoder(tokenizer, limit, anywhere=packer.crops)
  tally = _Tally()
  tokens = _File(directory / f"{split}.tokens", token_dtype(tokenizer.vocab_size))
  lengths = _File(directory / f"{split}.lengths", token_dtype(length + 1))
  rows, scored = 0, 0
  with tokens, lengths, Progress(f"preparing {split}", unit="characters") as progress:
    documents = tally.watch(encode(_counted(texts, progress), encoder, workers))
    for packed in packer.pack(documents, length, tokenizer):
      tokens.write(packed.tokens)
      rows += len(packed.tokens)
      if packed.lengths is None:
        scored += packed.tokens.size
      else:
        lengths.write(packed.lengths)
        scored += int(packed.lengths.sum())
  if not tally.documents:
    raise UserError(
      f"the {split} split has no document that holds text for the tokenizer: give it text."
    )
  if not rows:
    raise UserError(
      f"the {split} split has {tally.tokens} tokens in {tally.documents} documents, which do not "
      f"fill one row of {length}: lower data.length, or give the split more text."
    )
  characters = tally.characters
  if not lengths.size:
    # Separators are text, unless they are special symbols; tokens at the end were dropped.
    separators = tally.documents - 1 if packer.separated else 0
    if separators:
      characters += separators * tokenizer.count_characters(np.array([tokenizer.separator_id]))
    kept = rows * (length - packer.overhead)
    characters = round(characters * kept / (tally.tokens + separators))
  counts = Counts(rows, scored, characters, tally.documents, tally.truncated)
  return Written(counts, {f.path.name: f.entry for f in (tokens, lengths) if f.size})


def write_pairs(
  directory: Path, split: str, pairs: Iterable[Pair], length: int, tokenizer: Tokenizer
) -> Written:
  """Encodes and writes the pairs of a split: a prompt, its answer and the end symbol in a row.

  Raises:
    UserError: a pair cannot be encoded, is longer than the row or lacks a part, or there is none.
  """
  tokens = _File(directory / f"{split}.tokens", token_dtype(tokenizer.vocab_size))
  lengths, prompts = (
    _File(directory / f"{split}.{name}", token_dtype(length + 1)) for name in ("lengths", "prompts")
  )
  rows = answered = prompted = characters = 0
  with tokens, lengths, prompts, Progress(f"preparing {split}", unit="pairs") as progress:
    for number, pair in enumerate(pairs, start=1):
      prompt, answer = (tokenizer.encode(text, strict=False) for text in pair)
      _check_pair(f"pair {number} of the {split} split", len(prompt), len(answer), length)
      row = np.full(length, tokenizer.eos_id)
      end = len(prompt) + len(answer)
      row[:end] = np.concatenate([prompt, answer])
      for file, value in ((tokens, row), (lengths, end), (prompts, len(prompt))):
        file.write(np.asarray(value))
      rows, answered, prompted = rows + 1, answered + len(answer), prompted + len(prompt)
      characters += tokenizer.count_characters(answer)
      progress.advance(1)
  if not rows:
    raise UserError(f"the {split} split has no pair: give it more text.")
  counts = Counts(rows, answered, characters, rows, truncated=0, prompt_tokens=prompted)
  return Written(counts, {f.path.name: f.entry for f in (tokens, lengths, prompts)})


def _check_pair(name: str, prompt: int, answer: int, length: int) -> None:
  """Raises `UserError` unless both parts have tokens and fit a row together."""
  if not prompt or not answer:
    empty = "answer" if prompt else "prompt"
    raise UserError(f"{name} has an {empty} without text: give it one, or leave the pair out.")
  if prompt + answer > length:
    raise UserError(
      f"{name} has a prompt of {prompt} tokens and an answer of {answer}, which do not fit a row "
      f"of {length}: set data.length to {prompt + answer} or more."
    )


def write_labels(
  directory: Path, split: str, labels: Iterable[int], num_labels: int, rows: int
) -> dict[str, FileEntry]:
  """Writes the labels of a split, one a row, and returns `{name: {dtype, bytes, sha256}}`.

  Raises:
    UserError: there are not as many labels as rows, or one is out of range.
  """
  array = np.fromiter(labels, np.int64)
  if len(array) != rows or not np.all((array >= 0) & (array < num_labels)):
    raise UserError(
      f"the {split} split has {len(array)} labels for {rows} documents that hold text: each needs "
      f"one in 0..{num_labels - 1}."
    )
  with _File(directory / f"{split}.labels", token_dtype(num_labels)) as file:
    file.write(array)
  return {file.path.name: file.entry}


def _counted(texts: Iterable[str], progress: Progress) -> Iterator[str]:
  """The texts, while it is shown how many have passed."""
  for number, text in enumerate(texts, start=1):
    yield text
    progress.advance(len(text), f"{number:,} documents")


@dataclass
class _Tally:
  """Counts encoded documents as they pass."""

  documents: int = 0
  tokens: int = 0
  characters: int = 0
  truncated: int = 0

  def watch(self, encoded: Iterable[Encoded]) -> Iterator[np.ndarray]:
    for chunk in encoded:
      self.documents += len(chunk.documents)
      self.tokens += sum(map(len, chunk.documents))
      self.characters += chunk.characters
      self.truncated += chunk.truncated
      yield from chunk.documents


@dataclass
class _File:
  """An array on disk that grows, hashed as it is written; no file if nothing is."""

  path: Path
  dtype: np.dtype
  size: int = 0
  _sha256: Any = field(default_factory=hashlib.sha256)

  def __enter__(self) -> Self:
    self._file = self.path.open("wb")
    return self

  def __exit__(self, *exception: object) -> None:
    self._file.close()
    if not self.size:
      self.path.unlink()

  def write(self, array: np.ndarray) -> None:
    data = np.ascontiguousarray(array, self.dtype).data.cast("B")
    self._file.write(data)
    self._sha256.update(data)
    self.size += len(data)

  @property
  def entry(self) -> FileEntry:
    return {"dtype": self.dtype.name, "bytes": self.size, "sha256": self._sha256.hexdigest()}
