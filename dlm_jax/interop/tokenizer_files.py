"""The tokenizer of a checkpoint: its `tokenizer.json`, or its `vocab.json` and `merges.txt`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from dlm_jax.core.errors import UserError
from dlm_jax.core.json_files import read_object
from dlm_jax.core.types import Json, Record
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.data.tokenizers.hf import Hf

_WAY_OUT = "Fetch the checkpoint again."
# How Qwen2 cuts text into words, for a checkpoint that has no tokenizer.json, which would say it.
_QWEN2_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# By the beginning of `tokenizer_class`.
_QWEN2, _GPT2 = ("Qwen2", "Dream", "FastdLLM", "Fast_dLLM"), ("GPT2",)


@dataclass(frozen=True)
class NoTokenizer:
  """In place of the tokenizer of a checkpoint that has none: only its logits can be had.

  Attributes:
    path: of the checkpoint.
    vocab_size: of the model.
  """

  path: str
  vocab_size: int

  version: None = None
  separator_id: None = None
  eos_id: None = None
  pad_id: None = None

  @property
  def bos_id(self) -> NoReturn:
    raise self._missing()

  def fit(self, corpus: Corpus) -> Self:
    del corpus
    return self

  def with_special(self, names: tuple[str, ...]) -> Self:
    del names
    return self

  def encode(self, text: str, strict: bool = True) -> NoReturn:
    del text, strict
    raise self._missing()

  def decode(self, ids: np.ndarray) -> NoReturn:
    del ids
    raise self._missing()

  def count_characters(self, ids: np.ndarray) -> NoReturn:
    del ids
    raise self._missing()

  def _missing(self) -> UserError:
    return UserError(
      f"{self.path} has no tokenizer, so that text cannot be read or written: put its "
      "tokenizer.json, or its vocab.json and merges.txt, there."
    )


def read(directory: Path, vocab_size: int) -> Tokenizer:
  """The tokenizer whose files lie in `directory`; `NoTokenizer` where there are none.

  Args:
    directory: of the checkpoint.
    vocab_size: rows of the model's embedding, at least as many as the tokenizer has symbols.

  Raises:
    UserError: a file is damaged, or the tokenizer is one of another model.
  """
  whole, vocabulary = directory / "tokenizer.json", directory / "vocab.json"
  settings = _settings(directory)
  if whole.is_file():
    file, definition = whole, whole.read_text(encoding="utf-8")
  elif vocabulary.is_file():
    file, definition = vocabulary, _byte_pairs(directory, settings).to_str()
  else:
    return NoTokenizer(str(directory), vocab_size)
  found = Hf(file=str(file), definition=definition)
  symbols = (_symbol(settings, f"{name}_token") for name in ("bos", "eos", "pad"))
  bos, eos, pad = (text if found.id_of(text) is not None else None for text in symbols)
  if found.vocab_size > vocab_size:
    raise UserError(
      f"the tokenizer in {directory} has {found.vocab_size} symbols, and the model an embedding of "
      f"{vocab_size}: it is the tokenizer of another model, so put its own there."
    )
  return dataclasses.replace(found, bos=bos, eos=eos, pad=pad, model_vocab_size=vocab_size)


def mask_id(directory: Path, tokenizer: Tokenizer, usual: tuple[str, ...]) -> int:
  """The id of the mask in the tokenizer: of its `mask_token`, or the first of the usual ones.

  Raises:
    UserError: it has none.
  """
  names = [_symbol(_settings(directory), "mask_token"), *usual]
  ids = [tokenizer.id_of(name) for name in names] if isinstance(tokenizer, Hf) else []
  found = next((i for i in ids if i is not None), None)
  if found is None:
    raise UserError(
      f"neither config.json nor the tokenizer in {directory} says which token is the mask (its "
      f'name would be {" or ".join(usual)}): write "mask_token_id" with its id into config.json.'
    )
  return found


def _settings(directory: Path) -> Record:
  """What the small files beside the vocabulary say."""
  names = ("special_tokens_map.json", "tokenizer_config.json")
  files = [directory / name for name in names if (directory / name).is_file()]
  return {k: v for file in files for k, v in read_object(file, way_out=_WAY_OUT).items()}


def _symbol(settings: Mapping[str, Json], name: str) -> str | None:
  """The text of a symbol, which stands there alone or with how it is read."""
  value = settings.get(name)
  value = value.get("content") if isinstance(value, Mapping) else value
  return value if isinstance(value, str) else None


def _byte_pairs(directory: Path, settings: Record) -> tokenizers.Tokenizer:
  """Byte-level BPE of a vocabulary and merges.

  Raises:
    UserError: how it cuts text into words is not known, or an added token has another id than said.
  """
  kind = settings.get("tokenizer_class") or "none"
  merges = directory / "merges.txt"
  if not kind.startswith((*_QWEN2, *_GPT2)) or not merges.is_file():
    raise UserError(
      f"{directory} has vocab.json without tokenizer.json, and its tokenizer_class is {kind}: of "
      "those that can be built, GPT2 and Qwen2 (with merges.txt), it is none. Put the "
      "tokenizer.json there."
    )
  try:
    model = models.BPE.from_file(str(directory / "vocab.json"), str(merges))
  except Exception as error:  # the library raises plain Exception
    raise UserError(
      f"the tokenizer in {directory} cannot be read ({error}): fetch it again."
    ) from error
  made = tokenizers.Tokenizer(model)
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = tokenizers.decoders.ByteLevel()
  if kind.startswith(_QWEN2):
    words = pre_tokenizers.Split(tokenizers.Regex(_QWEN2_WORDS), "isolated")
    inside = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, inside])
    made.normalizer = normalizers.NFC()
  _add_tokens(directory, settings, made)
  return made


def _add_tokens(directory: Path, settings: Record, made: tokenizers.Tokenizer) -> None:
  path = directory / "added_tokens.json"
  plain = read_object(path, way_out=_WAY_OUT) if path.is_file() else {}
  added: dict[int, Record] = {}
  added |= {int(i): {"content": text, "special": True} for text, i in plain.items()}
  added |= {int(i): token for i, token in (settings.get("added_tokens_decoder") or {}).items()}
  for i, token in sorted(added.items()):
    text = token["content"]
    made.add_tokens([tokenizers.AddedToken(text, special=bool(token.get("special")))])
    if made.token_to_id(text) != i:
      raise UserError(
        f"the tokenizer in {directory} says that {text!r} is {i}, and it is "
        f"{made.token_to_id(text)}: put the tokenizer.json there."
      )
