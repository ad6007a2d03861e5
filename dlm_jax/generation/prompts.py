"""A prompt or an infilling as tokens, and which of them are given."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.model.model import Model


@dataclass(frozen=True)
class Prompt:
  """A row to fill in.

  Attributes:
    tokens: int32 `[L]`, or `[N, L]` where each of N sequences has its own; 0 where not given.
    given: bool `[L]`, the positions that stay as they are.
  """

  tokens: np.ndarray
  given: np.ndarray

  @property
  def length(self) -> int:
    return len(self.given)

  @classmethod
  def empty(cls, length: int) -> "Prompt":
    """A row of which nothing is given."""
    return cls(np.zeros(length, np.int32), np.zeros(length, bool))


def read(model: Model, length: int, prompt: str | None = None, infill: str | None = None) -> Prompt:
  """The row of `length` tokens that begins with `prompt`, or holds `infill`.

  Each underscore of `infill` is one token to draw. Where the model was trained on rows between a
  begin and an end symbol, the text comes after a begin symbol.

  Raises:
    UserError: the text is longer than `length`, or holds characters outside the alphabet.
  """
  pieces = [prompt or ""] if infill is None else re.split("(_)", infill)
  ids: list[int | None] = []
  if any(pieces) and model.packing == "wrapped":
    ids.append(model.tokenizer.bos_id)
  ids += _ids(model.tokenizer, pieces, blanks=infill is not None)
  if len(ids) > length:
    name = "--prompt" if infill is None else "--infill"
    raise UserError(f"{name} has {len(ids)} tokens, but the length is {length}: shorten it.")
  ids += [None] * (length - len(ids))
  given = np.array([token is not None for token in ids])
  return Prompt(np.array([token or 0 for token in ids], np.int32), given)


def check_length(model: Model, length: int | None) -> int:
  """The length to draw: `length`, or the one of training if None.

  Raises:
    UserError: it is longer than in training, and the model does not draw block after block.
  """
  trained = model.length
  if length is None:
    return trained
  unlimited = isinstance(model.process.pattern, Blocks)
  if length < 1 or (length > trained and not unlimited):
    limit = "be at least 1" if unlimited else f"lie in 1..{trained} (the model's length)"
    raise UserError(f"--length must {limit}, got {length}.")
  return length


def _ids(tokenizer: Tokenizer, pieces: Iterable[str], *, blanks: bool) -> list[int | None]:
  """The tokens of the pieces; None for each that is an underscore, if these are `blanks`."""
  ids: list[int | None] = []
  for piece in filter(None, pieces):
    is_blank = blanks and piece == "_"
    ids += [None] if is_blank else tokenizer.encode(piece, strict=True).tolist()
  return ids
