"""Token stores: a corpus as the model reads it, on disk, prepared once.

A store is a directory. Its name ends in a hash of what it was made from, so another config is
another directory. `<split>.tokens` is an array `[rows, length]` of the smallest unsigned dtype,
`<split>.lengths` (padded rows only) and `<split>.labels` (labelled corpora only) arrays `[rows]`,
`tokenizer.json` the tokenizer as fitted, and `manifest.json` says what is there. It is written
beside its place and moved there at the end: a directory of that name is complete.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlm_jax.core import resolve, storage
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.data import packing, writing
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.document_progress import Progress
from dlm_jax.data.tokenizers import base as tokenizers
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed import cluster

# Raise it when the same config comes to mean other tokens or another layout.
FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class DataConfig:
  """Fields of `config.data`.

  Attributes:
    corpus: `name`, one of `dlm_jax.data.corpora`, and its fields.
    tokenizer: `name`, one of `dlm_jax.data.tokenizers`, and its fields.
    packing: `stream`, `wrapped` or `padded`, see `dlm_jax.data.packing`.
    length: tokens of a row.
    directory: where stores are kept; may be remote, see `dlm_jax.core.storage`.
    workers: processes that encode; None for as many as pay off. Changes no byte.
  """

  corpus: Mapping[str, Any] = resolve.part("dlm_jax.data.corpora")
  tokenizer: Mapping[str, Any] = resolve.part("dlm_jax.data.tokenizers")
  packing: str
  length: int
  directory: str = "data"
  workers: int | None = None

  def __post_init__(self) -> None:
    if self.workers is not None and self.workers < 1:
      raise UserError(f"data.workers must be at least 1 (or None), got {self.workers}.")


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

  def __getitem__(self, index: int | slice | np.ndarray) -> dict[str, np.ndarray]:
    row = {"tokens": self.tokens[index].astype(np.int32)}
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
          raise _damaged(self.directory, f"the hash of {name} is not that of its manifest")

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


def prepare(config: Mapping[str, Any]) -> Store:
  """The store of `config.data`: the one that is there, or made now.

  Args:
    config: fields of `DataConfig`.

  Raises:
    UserError: the config is wrong, the corpus cannot be read, a split gives no row, or the store
      that is there is damaged.
  """
  spec = resolve.build(DataConfig, config)
  corpus, tokenizer = _parts(spec)
  identity = _identity(spec, corpus, tokenizer)
  mirror = storage.Mirror(f"{spec.directory}/{_name(spec, identity)}")
  target = mirror.local
  if target.exists():
    cluster.say(f"reusing the prepared data in {target}")
    return open_store(target)
  shared = storage.is_remote(mirror.path) and storage.exists(f"{mirror.path}/{MANIFEST}")
  partial = _partial(target)
  try:
    if shared:
      print(f"copying the prepared data of {mirror.path} to {target}")
      _fetch(mirror, partial)
    else:
      _write(partial, spec, corpus, tokenizer, identity)
    _move(partial, target)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  if not shared:
    mirror.push(last=[MANIFEST])
  return open_store(target)


def _fetch(mirror: storage.Mirror, directory: Path) -> None:
  """Copies a remote store to a local directory. Raises `UserError` if a byte is not as written."""
  mirror.pull(directory)
  open_store(directory).verify()


def fitted_tokenizer(config: Mapping[str, Any]) -> Tokenizer:
  """The tokenizer of `config.data` without its store: reads the corpus only where it must.

  Raises:
    UserError: as `prepare`.
  """
  corpus, tokenizer = _parts(resolve.build(DataConfig, config))
  return tokenizer.fit(corpus)


def _parts(spec: DataConfig) -> tuple[Corpus, Tokenizer]:
  """The corpus, and the tokenizer before it is fitted."""
  corpus = resolve.make("dlm_jax.data.corpora", spec.corpus)
  tokenizer = resolve.make("dlm_jax.data.tokenizers", spec.tokenizer)
  packer = packing.find(spec.packing)
  if spec.length <= packer.overhead:
    raise UserError(f"data.length must be above {packer.overhead}, got {spec.length}.")
  if hasattr(corpus, "labels") and spec.packing != "padded":
    raise UserError(
      f"a row of the labelled corpus {spec.corpus['name']!r} must be one document: set "
      f"data.packing to 'padded', got {spec.packing!r}."
    )
  return corpus, tokenizer.with_special(packer.special)


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
    raise _damaged(directory, f"{MANIFEST} is not JSON") from None
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
      raise _damaged(directory, f"{name} {found}, and should have {file['bytes']}")
  return Store(directory, manifest, tokenizers.load(directory))


def _damaged(directory: Path, what: str) -> UserError:
  return UserError(
    f"the prepared data in {directory} is damaged: {what}. Delete it and prepare it again."
  )


def _identity(spec: DataConfig, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
  """All that the tokens depend on, defaults included, as JSON."""
  identity = {
    "format": FORMAT,
    "corpus": {"name": spec.corpus["name"], **dataclasses.asdict(corpus)},
    "corpus_version": corpus.version,
    "tokenizer": tokenizers.definition(tokenizer),
    "tokenizer_version": tokenizer.version,
    "packing": spec.packing,
    "length": spec.length,
  }
  return json.loads(json.dumps(identity))


def _name(spec: DataConfig, identity: Mapping[str, Any]) -> str:
  parts = (spec.corpus["name"], spec.tokenizer["name"], spec.packing, spec.length)
  return "-".join(map(str, (*parts, _digest(identity)[:12])))


def _digest(value: Any) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _partial(target: Path) -> Path:
  """A new directory beside the target; those of processes of this host that are gone are removed.

  Each process writes its own, so that several may prepare the same data at once.
  """
  prefix = f".{target.name}.{socket.gethostname()}."
  for old in target.parent.glob(f"{prefix}*"):
    if not _is_running(int(old.name.removeprefix(prefix))):
      shutil.rmtree(old, ignore_errors=True)
  partial = target.parent / f"{prefix}{os.getpid()}"
  partial.mkdir(parents=True)
  return partial


def _is_running(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  return True


def _move(partial: Path, target: Path) -> None:
  try:
    partial.rename(target)
  except OSError:
    if not target.exists():
      raise
    # Another process was faster, with the same data.


def _write(
  directory: Path,
  spec: DataConfig,
  corpus: Corpus,
  tokenizer: Tokenizer,
  identity: Mapping[str, Any],
) -> None:
  """Writes all files of a store, the manifest last."""
  packer = packing.find(spec.packing)
  tokenizer = tokenizer.fit(corpus)
  packer.check(tokenizer)
  tokenizers.save(tokenizer, directory)
  files, splits = {}, {}
  for split in corpus.splits:
    with Progress(f"preparing {split}") as progress:
      texts = progress.watch(corpus.documents(split))
      written = writing.write_split(
        directory, split, texts, spec.length, tokenizer, packer, spec.workers
      )
    splits[split] = dataclasses.asdict(written.counts)
    files |= written.files
    if hasattr(corpus, "labels"):
      files |= writing.write_labels(
        directory, split, corpus.labels(split), corpus.num_labels, written.counts.rows
      )
  learned = {
    "tokenizer": tokenizers.definition(tokenizer),
    "packing": spec.packing,
    "length": spec.length,
    "files": {name: file["sha256"] for name, file in files.items()},
  }
  manifest = {**identity, "hash": _digest(learned), "splits": splits, "files": files}
  if hasattr(corpus, "labels"):
    manifest["num_labels"] = corpus.num_labels
  (directory / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
