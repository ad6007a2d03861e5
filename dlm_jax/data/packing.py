"""How documents become rows of `length` tokens. Rows stream: memory does not grow with the corpus.

- `stream`: documents joined by the separator and cut into windows.
- `wrapped`: the same, each window of `length - 2` tokens between the begin and end symbols, as
  where the papers train on OpenWebText and LM1B (MDLM, Duo).
- `padded`: one document a row, cut off at `length` or filled up with the padding symbol.
- `wrapped_padded`: the same, the document between the begin and end symbols, as where the papers
  train on single sentences of LM1B (MDLM, UDLM, Duo).
- `cropped`: the same, but that of a longer document a window at a random place is kept in place of
  its beginning (GIDD on OpenWebText); each time the data is prepared it is the same window.

The tokens at the end of a stream that do not fill a window are dropped.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.data.grouping import groups
from dlm_jax.data.tokenizers.base import Tokenizer

# The packing of rows that are a prompt and its answer.
PAIRS = "pairs"
# About so many tokens are held and packed at once.
_GROUP_TOKENS = 1 << 20


@dataclass(frozen=True)
class PackedRows:
  """Some rows.

  Attributes:
    tokens: `[N, length]`, of the dtype of the documents.
    lengths: int64 `[N]`, how many tokens of a row are no padding; None where rows have no padding.
  """

  tokens: np.ndarray
  lengths: np.ndarray | None = None


def stream(
  documents: Iterable[np.ndarray], length: int, tokenizer: Tokenizer, *, separated: bool = True
) -> Iterator[PackedRows]:
  """Windows of the joined documents, with the separator between them unless told otherwise."""
  rest = np.zeros(0, np.uint8)
  joined = _joined(documents, tokenizer) if separated else documents
  for group in groups(joined, _GROUP_TOKENS):
    tokens = np.concatenate([rest, *group]) if len(rest) else np.concatenate(group)
    cut = len(tokens) // length * length
    rest = tokens[cut:]
    if cut:
      yield PackedRows(tokens[:cut].reshape(-1, length))


def wrapped(
  documents: Iterable[np.ndarray], length: int, tokenizer: Tokenizer, *, separated: bool = True
) -> Iterator[PackedRows]:
  """Windows of `stream` between begin and end."""
  ends = ((0, 0), (tokenizer.bos_id, tokenizer.eos_id))
  for rows in stream(documents, length - 2, tokenizer, separated=separated):
    yield PackedRows(np.pad(rows.tokens, ((0, 0), (1, 1)), constant_values=ends))


def padded(
  documents: Iterable[np.ndarray], length: int, tokenizer: Tokenizer
) -> Iterator[PackedRows]:
  """A document a row."""
  for group in groups(documents, _GROUP_TOKENS):
    lengths = np.array([min(len(document), length) for document in group])
    tokens = np.full((len(group), length), tokenizer.pad_id, group[0].dtype)
    for row, document in zip(tokens, group, strict=True):
      row[: len(document)] = document[:length]
    yield PackedRows(tokens, lengths)


def wrapped_padded(
  documents: Iterable[np.ndarray], length: int, tokenizer: Tokenizer
) -> Iterator[PackedRows]:
  """A document a row, between begin and end."""
  ends = (tokenizer.bos_id, tokenizer.eos_id)
  cut = (np.pad(document[: length - 2], 1, constant_values=ends) for document in documents)
  return padded(cut, length, tokenizer)


def pairs(
  documents: Iterable[np.ndarray], length: int, tokenizer: Tokenizer
) -> Iterator[PackedRows]:
  """Refuses documents: which part of one is the prompt is not known of it, see `writing`."""
  raise UserError(
    "the packing 'pairs' makes rows of prompts and answers, and this text has none: name a corpus "
    "that has, such as 'pairs' with data.corpus.paths, or choose the packing 'padded'."
  )


@dataclass(frozen=True)
class Packing:
  """A way to pack.

  Attributes:
    name: of it in `PACKINGS`.
    pack: `(documents, length, tokenizer) -> rows`. Documents are arrays `[n]`, n > 0, of a dtype
      that holds every id.
    special: the special symbols it needs.
    overhead: tokens of a row that are no text.
    truncates: whether a row is one document, whose tokens beyond `length` are dropped.
    crops: whether those that are kept begin anywhere in the document.
    separated: whether the separator stands between documents.
  """

  name: str
  pack: Callable[..., Iterator[PackedRows]]
  special: tuple[str, ...] = ()
  overhead: int = 0
  truncates: bool = False
  crops: bool = False
  separated: bool = True

  @property
  def begins(self) -> bool:
    """Whether a row begins with the begin symbol."""
    return "bos" in self.special

  def unseparated(self) -> "Packing":
    """The same without a separator; itself where each row is one document anyway."""
    if self.truncates:
      return self
    return dataclasses.replace(self, pack=partial(self.pack, separated=False), separated=False)

  def check(self, tokenizer: Tokenizer) -> None:
    """Raises `UserError` unless the tokenizer has the special symbols."""
    for name in self.special:
      if getattr(tokenizer, f"{name}_id") is None:
        raise UserError(
          f"packing {self.name!r} needs a {name} symbol, and the tokenizer has none: set "
          f"tokenizer.{name} to one of its symbols, or choose the packing 'stream'."
        )


ALL = (
  Packing("stream", stream),
  Packing("wrapped", wrapped, ("bos", "eos"), overhead=2),
  Packing("padded", padded, ("pad",), truncates=True),
  Packing("wrapped_padded", wrapped_padded, ("bos", "eos", "pad"), overhead=2, truncates=True),
  Packing("cropped", wrapped_padded, ("bos", "eos", "pad"), overhead=2, truncates=True, crops=True),
  Packing(PAIRS, pairs, ("eos",), truncates=True),
)
PACKINGS = {packing.name: packing for packing in ALL}


def find(name: str) -> Packing:
  """The packing called `name`. Raises `UserError` with the known names if there is none."""
  require_known("packing", name, PACKINGS)
  return PACKINGS[name]


def _joined(documents: Iterable[np.ndarray], tokenizer: Tokenizer) -> Iterator[np.ndarray]:
  """The documents with the separator between them."""
  for index, document in enumerate(documents):
    if index:
      if tokenizer.separator_id is None:
        raise UserError(
          "the tokenizer has no symbol to separate the documents of a stream: set one (hf has the "
          "field tokenizer.separator, and in tokenizer.alphabet a newline or a space is one), or "
          "choose the packing 'padded'."
        )
      yield np.array([tokenizer.separator_id], document.dtype)
    yield document
