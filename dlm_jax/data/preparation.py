"""Prepares token stores: encodes and packs a corpus, once.

The name of a store ends in a hash of what it was made from, so another config is another directory.
It is written beside its place and moved there at the end: a directory of that name is complete.
"""

import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlm_jax.core import faults, resolve, storage
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.json_files import digest, seal
from dlm_jax.core.ranges import PositiveInt, Share
from dlm_jax.core.types import Fields, Json
from dlm_jax.data import packing, summary, writing
from dlm_jax.data.batches import WINDOWS
from dlm_jax.data.corpora.base import Corpus, Labelled, Paired
from dlm_jax.data.positions import ScoredPositions
from dlm_jax.data.prepare_settings import PrepareSettings
from dlm_jax.data.store import FORMAT, MANIFEST, Store, content_hash, open_store
from dlm_jax.data.tokenizers import base
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.distributed import cluster


@dataclass(frozen=True)
class DataConfig:
  """Fields of `config.data`.

  Attributes:
    corpus: `name`, one of `dlm_jax.data.corpora`, and its fields.
    tokenizer: `name`, one of `dlm_jax.data.tokenizers`, and its fields.
    packing: `stream`, `wrapped`, `padded`, `wrapped_padded`, `cropped` or `pairs`, see
      `dlm_jax.data.packing`.
    length: tokens of a row.
    scored: which tokens of a row count: `all`, or those `after_first`, which is given.
    padding: `ignored`, `noised_unscored` or `scored`, of pairs `ignored` or `end_learned`, see
      `dlm_jax.data.positions`.
    windows: rows of training: `disjoint`, or `random`: from anywhere in a stream.
    share: of the rows of training that are trained on, the first of them: few data, many epochs.
    directory: where stores are kept; may be remote, see `dlm_jax.core.storage`.
    workers: processes that encode; None for as many as pay off. Changes no byte.
    checks: whether each process reads all of a split before it uses it, to hold it against its
      checksum; false leaves that out, for data of terabytes.
  """

  corpus: Fields = resolve.part("dlm_jax.data.corpora")
  tokenizer: Fields = resolve.part("dlm_jax.data.tokenizers")
  packing: str  # type: ignore[misc]  # a part has no default
  length: PositiveInt  # type: ignore[misc]
  scored: str = "all"
  padding: str = "ignored"
  windows: str = "disjoint"
  share: Share = 1.0
  directory: str = "data"
  workers: PositiveInt | None = None
  checks: bool = True

  def __post_init__(self) -> None:
    require_known("data.windows", self.windows, WINDOWS)
    if self.windows == "random" and self.packing != "stream":
      raise UserError(
        f"data.windows 'random' cuts rows anywhere out of a stream, and data.packing is "
        f"{self.packing!r}: set data.windows to 'disjoint' or data.packing to 'stream'."
      )
    ScoredPositions(self.scored, self.padding)  # names what is unknown
    are_pairs = self.packing == packing.PAIRS
    if self.padding != "ignored" and are_pairs != (self.padding == "end_learned"):
      raise UserError(
        f"data.padding {self.padding!r} does not go with data.packing {self.packing!r}: rows of "
        "pairs are filled up with the end symbol, which is 'ignored' or 'end_learned', and padding "
        "of other rows is 'ignored', 'noised_unscored' or 'scored'."
      )

  @property
  def positions(self) -> ScoredPositions:
    """Which positions of a row are noised and scored."""
    return ScoredPositions(self.scored, self.padding)


# Called with the corpus and, once it is fitted, the tokenizer, which is None before.
Check = Callable[[Corpus, Tokenizer | None], object]


def prepare(config: Fields, check: Check | None = None) -> Store:
  """The store of `config.data`: the one that is there, or made now.

  Args:
    config: fields of `DataConfig`.
    check: called if there is work to do, before it begins and before the first token is written.

  Raises:
    UserError: the config is wrong, the corpus cannot be read, a split gives no row, or the store
      that is there is damaged.
  """
  spec = resolve.build(DataConfig, config)
  corpus, tokenizer = parts(spec)
  identity = _identity(spec, corpus, tokenizer)
  mirror = storage.Mirror(f"{spec.directory}/{_name(spec, identity)}")
  target = mirror.local
  if target.exists():
    cluster.say(f"reusing the prepared data in {target}")
    return open_store(target, checks=spec.checks, positions=spec.positions)
  check = check or (lambda corpus, tokenizer: None)
  check(corpus, None)
  shared = storage.is_remote(mirror.path) and storage.exists(f"{mirror.path}/{MANIFEST}")
  with faults.writing(f"the prepared data in {target}"):
    unfinished = _unfinished(target)
    try:
      if shared:
        print(f"copying the prepared data of {mirror.path} to {target}")
        _fetch(mirror, unfinished)
      else:
        tokenizer = tokenizer.fit(corpus)
        packing.find(spec.packing).check(tokenizer)
        check(corpus, tokenizer)
        _write(unfinished, spec, corpus, tokenizer, identity)
      _move(unfinished, target)
    except KeyboardInterrupt:
      raise KeyboardInterrupt(
        "the data is not prepared, and the next start begins it anew"
      ) from None
    finally:
      shutil.rmtree(unfinished, ignore_errors=True)
  if not shared:
    mirror.push(last=[MANIFEST])
  store = open_store(target, checks=spec.checks, positions=spec.positions)
  cluster.say(summary.in_one_line(store))
  return store


def prepare_together(config: Fields, check: Check | None = None) -> Store:
  """`prepare` by all processes: one works where the others see the same disk, else each of them.

  Args:
    config: fields of `DataConfig`.
    check: as of `prepare`, whose work may take hours: it raises what is wrong elsewhere.
  """
  action = partial(prepare, config, check)
  return cluster.on_first(action, "preparing the data", cluster.LONG) or action()


def _fetch(mirror: storage.Mirror, directory: Path) -> None:
  """Copies a remote store to a local directory. Raises `UserError` if a byte is not as written."""
  mirror.pull(directory)
  open_store(directory).verify()


def fitted_tokenizer(config: Fields) -> Tokenizer:
  """The tokenizer of `config.data` without its store: reads the corpus only where it must.

  Raises:
    UserError: as `prepare`.
  """
  corpus, tokenizer = parts(resolve.build(DataConfig, config))
  return tokenizer.fit(corpus)


def parts(spec: DataConfig) -> tuple[Corpus, Tokenizer]:
  """The corpus, and the tokenizer before it is fitted. Raises `UserError`; reads no text."""
  corpus = resolve.make("dlm_jax.data.corpora", spec.corpus)
  tokenizer = resolve.make("dlm_jax.data.tokenizers", spec.tokenizer)
  packer = packing.find(spec.packing)
  if spec.length <= packer.overhead:
    raise UserError(f"data.length must be above {packer.overhead}, got {spec.length}.")
  if isinstance(corpus, Labelled) and not packer.truncates:
    raise UserError(
      f"a row of the labelled corpus {spec.corpus['name']!r} must be one document: set "
      f"data.packing to 'padded', got {spec.packing!r}."
    )
  if isinstance(corpus, Paired) and spec.packing != packing.PAIRS:
    raise UserError(
      f"a row of the corpus {spec.corpus['name']!r} is a prompt and its answer: set data.packing "
      f"to 'pairs', got {spec.packing!r}."
    )
  return corpus, tokenizer.with_special(packer.special)


def _identity(spec: DataConfig, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Json]:
  """All that the tokens depend on, defaults included, as JSON."""
  identity = {
    "format": FORMAT,
    "corpus": {"name": spec.corpus["name"], **dataclasses.asdict(corpus)},
    "corpus_version": corpus.version,
    "tokenizer": base.definition(tokenizer),
    "tokenizer_version": tokenizer.version,
    "packing": spec.packing,
    "length": spec.length,
  }
  return json.loads(json.dumps(identity))


def _name(spec: DataConfig, identity: Mapping[str, Json]) -> str:
  parts = (spec.corpus["name"], spec.tokenizer["name"], spec.packing, spec.length)
  return "-".join(map(str, (*parts, digest(identity)[:12])))


def _unfinished(target: Path) -> Path:
  """A new directory beside the target; those of processes of this host that are gone are removed.

  Each process writes its own, so that several may prepare the same data at once.
  """
  prefix = f".{target.name}.{socket.gethostname()}."
  for old in target.parent.glob(f"{prefix}*"):
    if not _is_running(int(old.name.removeprefix(prefix))):
      shutil.rmtree(old, ignore_errors=True)
  unfinished = target.parent / f"{prefix}{os.getpid()}"
  try:
    unfinished.mkdir(parents=True)
  except OSError as error:
    raise UserError(
      f"data.directory {target.parent} cannot be written ({error.strerror}): set another one."
    ) from error
  return unfinished


def _is_running(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  return True


def _move(unfinished: Path, target: Path) -> None:
  try:
    unfinished.rename(target)
  except OSError:
    if not target.exists():
      raise
    # Another process was faster, with the same data.


def _write(
  directory: Path,
  spec: DataConfig,
  corpus: Corpus,
  tokenizer: Tokenizer,
  identity: Mapping[str, Json],
) -> None:
  """Writes all files of a store, the manifest last; the tokenizer has been fitted."""
  packer = packing.find(spec.packing)
  base.save(tokenizer, directory)
  files: dict[str, writing.FileEntry] = {}
  splits: dict[str, dict[str, int]] = {}
  for split in corpus.splits:
    if isinstance(corpus, Paired):
      pairs = corpus.pairs(split)
      written = writing.write_pairs(directory, split, pairs, spec.length, tokenizer)
    else:
      texts = corpus.documents(split)
      written = writing.write_split(
        directory, split, texts, spec.length, tokenizer, packer, spec.workers
      )
    splits[split] = dataclasses.asdict(written.counts)
    files |= written.files
    if isinstance(corpus, Labelled):
      files |= writing.write_labels(
        directory, split, corpus.labels(split), corpus.num_labels, written.counts.rows
      )
  definition = base.definition(tokenizer)
  identifier = content_hash(definition, spec.packing, spec.length, files)
  manifest = {**identity, "hash": identifier, "splits": splits, "files": files}
  if isinstance(corpus, Labelled):
    manifest["num_labels"] = corpus.num_labels
  (directory / MANIFEST).write_text(json.dumps(seal(manifest), indent=1), encoding="utf-8")


def main(settings: PrepareSettings) -> None:
  """The command `prepare`."""
  print(summary.of_splits(prepare(settings.config.data)))
