"""A token a character, of the alphabet that the corpus turns out to have."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.data.corpora.base import Corpus
from dlm_jax.data.tokenizers import base


@dataclass(frozen=True, kw_only=True)
class Character(base.AppendedSpecials):
  """Ids are places in the alphabet, then the special symbols asked for.

  Documents are separated by a newline, or by a space where the alphabet has no newline.

  Attributes:
    alphabet: characters in the order of their code points; None takes those of the corpus, and a
      newline where there are documents to separate.
  """

  alphabet: str | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.alphabet is not None and self.alphabet != "".join(sorted(set(self.alphabet))):
      raise UserError(
        f"tokenizer.alphabet is {self.alphabet!r}: its characters must be sorted, each there once."
      )

  @property
  def num_symbols(self) -> int:
    return len(self._known())

  @property
  def separator_id(self) -> int | None:
    alphabet = self._known()
    return next((alphabet.index(c) for c in "\n " if c in alphabet), None)

  def fit(self, corpus: Corpus) -> Self:
    """With the characters of all splits: which there are is no statistic of held-out text."""
    if self.alphabet is not None:
      return self
    found: set[str] = set()
    for split in corpus.splits:
      for number, document in enumerate(corpus.documents(split)):
        found.update(document, "\n" * (number > 0))
    return replace(self, alphabet="".join(sorted(found)))

  def encode(self, text: str, strict: bool = True) -> np.ndarray:
    """Its characters, strict or not. Raises `UserError` if the alphabet lacks some."""
    alphabet, points = _points(self._known()), _points(text)
    if len(alphabet) == 0:
      raise base.refuse(text, "the empty alphabet", "Give the corpus some text.")
    ids = np.minimum(np.searchsorted(alphabet, points), len(alphabet) - 1)
    if unknown := {chr(point) for point in points[alphabet[ids] != points]}:
      raise base.refuse(
        unknown,
        f"the {len(alphabet)} of its alphabet",
        "Leave them out, or set tokenizer.alphabet and prepare the data again.",
      )
    return ids.astype(np.int32)

  def decode(self, ids: np.ndarray) -> str:
    points = _points(self._known())[self.of_text(ids)]
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

  def count_characters(self, ids: np.ndarray) -> int:
    return len(self.of_text(ids))

  def _known(self) -> str:
    if self.alphabet is None:
      raise UserError("the character tokenizer has no alphabet yet: fit it to a corpus.")
    return self.alphabet


def make(**fields: object) -> Character:
  return resolve.build(Character, fields)


def _points(text: str) -> np.ndarray:
  """Code points uint32 `[n]`."""
  return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
