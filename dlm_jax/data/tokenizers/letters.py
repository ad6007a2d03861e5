"""The 27 symbols of text8: a space and the letters a to z.

Documents are folded as in Matt Mahoney's script (http://mattmahoney.net/dc/textdata.html): letters
in lower case, digits spelled out, everything else a space, runs of spaces one space.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.tokenizers import base

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
_SYMBOLS = np.frombuffer(ALPHABET.encode(), np.uint8)
_DIGITS = (b"zero", b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"eight", b"nine")


@dataclass(frozen=True, kw_only=True)
class Letters(base.AppendedSpecials):
  """Ids are 0 for the space, 1 to 26 for the letters, then the special symbols asked for."""

  num_symbols: ClassVar[int] = len(ALPHABET)
  separator_id: ClassVar[int] = ALPHABET.index(" ")

  def fit(self, corpus: Corpus) -> Self:
    return self

  def encode(self, text: str, strict: bool = True) -> np.ndarray:
    """Ids of `text` in lower case if `strict`, of the folded text otherwise."""
    if not strict:
      return _ids(fold(text))
    text = text.lower()
    if unknown := set(text) - set(ALPHABET):
      raise base.refuse(unknown, "a to z and the space", "Spell them out or leave them out.")
    return _ids(text.encode())

  def decode(self, ids: np.ndarray) -> str:
    return _SYMBOLS[self.of_text(ids)].tobytes().decode()

  def count_characters(self, ids: np.ndarray) -> int:
    return len(self.of_text(ids))


def make(**fields: object) -> Letters:
  return resolve.build(Letters, fields)


def fold(text: str) -> bytes:
  """The text in the 27 symbols, without a space at its ends.

  A text of the 27 symbols alone is returned as it is, so that text8 itself keeps each character.
  """
  data = text.encode("utf-8", "replace")
  if not data.translate(None, _SYMBOLS.tobytes()):
    return data
  data = data.lower()
  for digit, name in enumerate(_DIGITS):
    data = data.replace(b"%d" % digit, b" " + name + b" ")
  return re.sub(rb"[^a-z]+", b" ", data).strip()


def _ids(data: bytes) -> np.ndarray:
  """Ids of bytes that are symbols: 'a' is 1, and the space 0."""
  ids = np.frombuffer(data, np.uint8).astype(np.int32)
  return np.maximum(ids - (ord("a") - 1), 0)
