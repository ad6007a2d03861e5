"""A token a byte of UTF-8: every text has an encoding."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.tokenizers import base


@dataclass(frozen=True, kw_only=True)
class Byte(base.AppendedSpecials):
  """Ids are the bytes, then the special symbols asked for. Documents are separated by a newline."""

  num_symbols: ClassVar[int] = 256
  separator_id: ClassVar[int] = ord("\n")

  def fit(self, corpus: Corpus) -> Self:
    return self

  def encode(self, text: str, strict: bool = True) -> np.ndarray:
    """Its bytes, strict or not."""
    return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32)

  def decode(self, ids: np.ndarray) -> str:
    """The text; bytes that are no character, such as one cut in half, show as U+FFFD."""
    return self.of_text(ids).astype(np.uint8).tobytes().decode("utf-8", "replace")

  def count_characters(self, ids: np.ndarray) -> int:
    """All bytes but those that continue a character (10xxxxxx)."""
    return int(np.count_nonzero(self.of_text(ids) & 0xC0 != 0x80))


def make(**fields: object) -> Byte:
  return resolve.build(Byte, fields)
