"""Documents to tokens, in parallel, in the order of the documents."""

import itertools
import multiprocessing
import os
import signal
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from dlm_jax.data.grouping import groups
from dlm_jax.data.tokenizers.base import Tokenizer

# Characters that go to a worker at once.
_CHUNK = 1 << 20
# Up to so many chunks, starting processes takes longer than it saves.
_FEW = 32
# Beyond so many, reading the corpus is the bottleneck.
_MOST_WORKERS = 16


@dataclass(frozen=True)
class Encoded:
  """Some documents.

  Attributes:
    documents: ids `[n]` of each, n > 0, of the smallest unsigned dtype that holds the vocabulary.
    characters: in the text of all of them, as the tokenizer decodes it.
    truncated: how many of them were cut off.
  """

  documents: list[np.ndarray]
  characters: int
  truncated: int


@dataclass(frozen=True)
class Encoder:
  """Encodes documents and keeps at most `limit` tokens of each (None: all).

  They are the first ones, or with `anywhere` those from a place that follows from the document
  alone, each as likely as any other.
  """

  tokenizer: Tokenizer
  limit: int | None = None
  anywhere: bool = False

  def __call__(self, texts: list[str]) -> Encoded:
    """Encodes the texts; those that hold nothing for the tokenizer are left out."""
    dtype = token_dtype(self.tokenizer.vocab_size)
    whole = [self.tokenizer.encode(text, strict=False) for text in texts]
    kept = [self._part(ids) for ids in whole if len(ids)]
    return Encoded(
      documents=[ids.astype(dtype) for ids in kept],
      characters=sum(self.tokenizer.count_characters(ids) for ids in kept),
      truncated=sum(self.limit is not None and len(ids) > self.limit for ids in whole),
    )

  def _part(self, ids: np.ndarray) -> np.ndarray:
    if self.limit is None or not self.anywhere or len(ids) <= self.limit:
      return ids[: self.limit]
    first = zlib.crc32(ids.tobytes()) % (len(ids) - self.limit + 1)
    return ids[first : first + self.limit]


def token_dtype(vocab_size: int) -> np.dtype:
  """The smallest unsigned dtype that holds the ids 0..vocab_size-1."""
  return np.min_scalar_type(max(vocab_size - 1, 0))


def encode(texts: Iterable[str], encoder: Encoder, workers: int | None = None) -> Iterator[Encoded]:
  """Encodes the texts, chunk by chunk; few chunks are in memory at once.

  Args:
    texts: the documents.
    encoder: what is done to each chunk of them.
    workers: processes; 1 for this one, None for the processors here where that pays off. Changes
      no token.

  Raises:
    UserError: a document cannot be encoded.
  """
  chunks = groups(texts, _CHUNK)
  if workers is None:
    few = list(itertools.islice(chunks, _FEW))
    pays_off = len(few) == _FEW
    workers = min(os.cpu_count() or 1, _MOST_WORKERS) if pays_off else 1
    chunks = itertools.chain(few, chunks)
  if workers == 1:
    yield from map(encoder, chunks)
    return
  # Spawned, because a process with threads (JAX has some) cannot be forked safely.
  context = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(workers, context, _start_worker, (encoder,)) as pool:
    yield from _in_order(pool, chunks, ahead=2 * workers)


def _in_order(
  pool: ProcessPoolExecutor, chunks: Iterable[list[str]], ahead: int
) -> Iterator[Encoded]:
  """Results in the order of the chunks, at most `ahead` of them under way."""
  waiting: deque[Future[Encoded]] = deque()
  for chunk in chunks:
    waiting.append(pool.submit(_work, chunk))
    if len(waiting) > ahead:
      yield waiting.popleft().result()
  while waiting:
    yield waiting.popleft().result()


# In a worker, set once as it starts: the tokenizer may be large.
_encoder: Encoder


def _start_worker(encoder: Encoder) -> None:
  global _encoder
  _encoder = encoder
  os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to it too: its parent ends it
  # A worker does not notice that its parent was killed, and would wait for work for ever.
  threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(chunk: list[str]) -> Encoded:
  return _encoder(chunk)
