"""Subwords, by the `tokenizers` library: from the hub, from a file, or trained on the corpus."""

import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Annotated, Self

import numpy as np
import tokenizers

from dlm_jax.core import resolve, storage
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt, Range
from dlm_jax.core.types import Fields
from dlm_jax.data.corpora.base import Corpus

# What known tokenizers call their special symbols.
_BOS = ("[CLS]", "<s>", "<|begin_of_text|>", "<|endoftext|>")
_EOS = ("[SEP]", "</s>", "<|end_of_text|>", "<|endoftext|>")
_PAD = ("[PAD]", "<pad>", "<|pad|>")
# Of a tokenizer trained here.
_TRAINED_SPECIAL = ["<|endoftext|>", "<|pad|>"]
# Training takes a time quadratic in the length of a word. A run without a space is cut into pieces
# of so many characters there, or a run of spaces; no English word is so long.
_RUN = re.compile(r"(\S{256}|\s{256})")


@dataclass(frozen=True, kw_only=True)
class Hf:
  """One of the first three fields says where it comes from.

  Attributes:
    pretrained: a name on the hub, such as `gpt2` or `bert-base-uncased`.
    file: a local tokenizer.json.
    train_vocab_size: of a byte-level BPE that is trained on the train split.
    bos, eos, pad, separator: symbols of the vocabulary that serve as such; None takes one of the
      usual names if it is there, and for the separator the end symbol.
    model_vocab_size: rows of the embedding of a model, which may have more than the tokenizer has
      symbols; None is as many.
    definition: the tokenizer.json itself, which `fit` finds out.
  """

  pretrained: str | None = None
  file: str | None = None
  train_vocab_size: Annotated[int, Range(at_least=256 + len(_TRAINED_SPECIAL))] | None = None
  bos: str | None = None
  eos: str | None = None
  pad: str | None = None
  separator: str | None = None
  model_vocab_size: PositiveInt | None = None
  definition: str | None = None

  def __post_init__(self) -> None:
    sources = (self.pretrained, self.file, self.train_vocab_size)
    if sum(source is not None for source in sources) != 1:
      raise UserError(
        "the tokenizer hf needs exactly one of tokenizer.pretrained (a name on the hub), "
        "tokenizer.file (a tokenizer.json) and tokenizer.train_vocab_size (a BPE trained on the "
        f"corpus): got {sources}."
      )

  @property
  def version(self) -> str | None:
    """The hash of a local file."""
    return None if self.file is None else hashlib.sha256(_read(self.file).encode()).hexdigest()

  @property
  def vocab_size(self) -> int:
    symbols = self._tokenizer.get_vocab_size()
    if self.model_vocab_size is not None and self.model_vocab_size < symbols:
      raise UserError(
        f"tokenizer.model_vocab_size is {self.model_vocab_size}, and the tokenizer has {symbols} "
        "symbols: it is the tokenizer of another model."
      )
    return self.model_vocab_size or symbols

  @property
  def bos_id(self) -> int | None:
    return self._find("bos", self.bos, _BOS)

  @property
  def eos_id(self) -> int | None:
    return self._find("eos", self.eos, _EOS)

  @property
  def pad_id(self) -> int | None:
    return self._find("pad", self.pad, _PAD)

  @property
  def separator_id(self) -> int | None:
    return self.eos_id if self.separator is None else self._find("separator", self.separator, ())

  def id_of(self, symbol: str | None) -> int | None:
    """The id of a symbol of the vocabulary; None where there is no such symbol."""
    return None if symbol is None else self._tokenizer.token_to_id(symbol)

  def fit(self, corpus: Corpus) -> Self:
    """With its definition: downloaded, read, or trained."""
    if self.definition is not None:
      return self
    if self.train_vocab_size is not None:
      definition = _train(corpus, self.train_vocab_size).to_str()
    elif self.file is not None:
      definition = _read(self.file)
    else:
      definition = _download(self.pretrained).to_str()
    return replace(self, definition=definition)

  def with_special(self, names: tuple[str, ...]) -> Self:
    return self  # its vocabulary is what it is

  def encode(self, text: str, strict: bool = True) -> np.ndarray:
    """Ids without symbols around them; unknown characters are refused if `strict`.

    Text that spells a control symbol, such as `</s>`, is text and not the symbol.
    """
    ids: list[int] = []
    for part, encoding in self._encodings(text):
      ids += encoding.ids
      if strict and self._unknown_id in encoding.ids:
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        raise UserError(
          "the tokenizer does not know "
          f"{', '.join(repr(part[a:b]) for token, (a, b) in pairs if token == self._unknown_id)}: "
          "leave it out of the text."
        )
    return np.array(ids, np.int32)

  def encode_symbols(self, text: str) -> np.ndarray:
    """Ids int32 `[n]` of a text that spells control symbols, as a chat template does: they are
    read as the symbols that they are."""
    ids = self._tokenizer_of_symbols.encode(text, add_special_tokens=False).ids
    return np.array(ids, np.int32)

  def decode(self, ids: np.ndarray) -> str:
    return self._tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=True)

  def count_characters(self, ids: np.ndarray) -> int:
    return len(self.decode(ids))

  @cached_property
  def _tokenizer(self) -> tokenizers.Tokenizer:
    if self.definition is None:
      raise UserError("the tokenizer hf has no definition yet: fit it to a corpus.")
    try:
      tokenizer = tokenizers.Tokenizer.from_str(self.definition)
    except Exception as error:  # the library raises plain Exception
      raise UserError(f"{self.file or 'the tokenizer'} is no tokenizer.json: {error}") from error
    # Rows are the business of packing.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as text; their ids are looked up by name
    return tokenizer

  @cached_property
  def _tokenizer_of_symbols(self) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
    tokenizer.encode_special_tokens = False
    return tokenizer

  def __getstate__(self) -> Fields:
    """The fields alone: a pickled tokenizer of the library would forget some of its settings."""
    return {field.name: getattr(self, field.name) for field in fields(self)}

  @cached_property
  def _unknown_id(self) -> int | None:
    """What stands for unknown text."""
    model = json.loads(self._tokenizer.to_str())["model"]
    if model.get("unk_token") is None:
      return model.get("unk_id")
    return self._tokenizer.token_to_id(model["unk_token"])

  @cached_property
  def _control_ids(self) -> frozenset[int]:
    """The ids that no text may have, those of special symbols."""
    added = self._tokenizer.get_added_tokens_decoder().items()
    return frozenset(i for i, token in added if token.special and i != self._unknown_id)

  def _encodings(self, text: str) -> list[tuple[str, tokenizers.Encoding]]:
    """The parts of a text and what they become: mostly the whole text.

    A model whose vocabulary holds the control symbols among its words (Unigram, word level) reads
    them in a text, whatever it is told. The text is then cut inside of each.
    """
    encode = partial(self._tokenizer.encode, add_special_tokens=False)
    whole = encode(text)
    if self._control_ids.isdisjoint(whole.ids):
      return [(text, whole)]
    spans = zip(whole.ids, whole.offsets, strict=True)
    cuts = [end - 1 for token, (_, end) in spans if token in self._control_ids]
    parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return [(part, encode(part)) for part in parts]

  def _find(self, field: str, chosen: str | None, usual: tuple[str, ...]) -> int | None:
    """The id of the symbol that is chosen, or else of the first usual one that is there."""
    ids = (self._tokenizer.token_to_id(name) for name in ((chosen,) if chosen else usual))
    found = next((i for i in ids if i is not None), None)
    if chosen and found is None:
      raise UserError(
        f"tokenizer.{field} is {chosen!r}, which is no symbol of the tokenizer's vocabulary: set "
        "it to one that is, or leave it open."
      )
    return found


def make(**fields: object) -> Hf:
  return resolve.build(Hf, fields)


def _train(corpus: Corpus, vocab_size: int) -> tokenizers.Tokenizer:
  """A byte-level BPE as that of GPT-2, of the train split."""
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=_TRAINED_SPECIAL,
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=sys.stderr.isatty(),
  )
  tokenizer.train_from_iterator(_pieces(corpus.documents("train")), trainer)
  return tokenizer


def _pieces(documents: Iterable[str]) -> Iterator[str]:
  """The documents, those with a very long run cut into pieces."""
  for document in documents:
    yield from filter(None, _RUN.split(document))


def _download(name: str) -> tokenizers.Tokenizer:
  try:
    return tokenizers.Tokenizer.from_pretrained(name)
  except Exception as error:  # the library raises plain Exception
    raise UserError(
      f"the tokenizer {name!r} cannot be had from the hub ({error}): check its name and the "
      "network, or set tokenizer.file to a tokenizer.json."
    ) from error


def _read(name: str) -> str:
  path = storage.expand(name)
  try:
    return path.read_text(encoding="utf-8")
  except OSError as error:
    raise UserError(
      f"tokenizer.file {path} cannot be read ({error.strerror}): correct the path."
    ) from error
  except UnicodeDecodeError as error:
    raise UserError(
      f"tokenizer.file {path} is no tokenizer.json: it is not UTF-8. Name one that is."
    ) from error
