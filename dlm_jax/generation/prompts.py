"""Prompts and infillings as tokens, and which of them are given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks
from dlm_jax.data.tokenizers.base import Tokenizer
from dlm_jax.generation.prompt_text import BLANK, Pieces, pieces
from dlm_jax.model.model import Model


@dataclass(frozen=True)
class Prompt:
  """A row to fill in, or several.

  Attributes:
    tokens: int32 `[L]`, or `[N, L]` where each of N sequences has its own; 0 where not given.
    given: bool `[L]`, the positions that stay as they are, or `[N, L]` where they differ.
  """

  tokens: np.ndarray
  given: np.ndarray

  @property
  def length(self) -> int:
    return self.given.shape[-1]


def read(
  model: Model,
  length: int,
  prompt: str | None = None,
  infill: str | None = None,
  blank: str = BLANK,
) -> Prompt:
  """The row of `length` tokens that begins with `prompt`, or holds `infill`.

  Each `blank` of `infill` is one token to draw.

  Raises:
    UserError: as `row`.
  """
  if infill is None:
    return row(model, length, [prompt or ""], "the prompt")
  return row(model, length, pieces(infill, blank), "the infilling")


def row(model: Model, length: int, text: Pieces, name: str) -> Prompt:
  """The row of `length` tokens that begins with `text`.

  Where rows begin with a begin symbol in training, the text comes after one; a row without text is
  left open, unless the model was never scored on its first token.

  Raises:
    UserError: the text, called `name`, is longer than `length`, or holds characters outside the
      alphabet.
  """
  ids: list[int | None] = []
  if any(piece != "" for piece in text) or model.positions.scored == "after_first":
    ids += [] if model.begin_id is None else [model.begin_id]
  ids += _ids(model.tokenizer, text)
  if len(ids) > length:
    raise UserError(f"{name} has {len(ids)} tokens, but the length is {length}: shorten it.")
  ids += [None] * (length - len(ids))
  given = np.array([token is not None for token in ids])
  return Prompt(np.array([token or 0 for token in ids], np.int32), given)


def rows(prompts: Sequence[Prompt], num: int) -> Prompt:
  """`num` rows of each prompt, one prompt after the other; a single one as it is."""
  if len(prompts) == 1:
    return prompts[0]
  tokens, given = (
    np.repeat(np.stack(arrays), num, axis=0)
    for arrays in zip(*((prompt.tokens, prompt.given) for prompt in prompts), strict=True)
  )
  return Prompt(tokens, given)


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


def _ids(tokenizer: Tokenizer, text: Pieces) -> list[int | None]:
  """The tokens of the pieces; None for each that is to be drawn."""
  ids: list[int | None] = []
  for piece in text:
    ids += [None] if piece is None else tokenizer.encode(piece, strict=True).tolist()
  return ids
