"""One step of a decoder as a table: what every position of the block could have become."""

import json
from collections.abc import Iterator

import numpy as np
from rich.cells import set_cell_size

from dlm_jax.decoding.steps import Step
from dlm_jax.generation.answer_states import AnswerState
from dlm_jax.generation.rendering import MASK, Decode

# Columns of a token in the table, and how many alternatives a position has.
_WIDTH, ALTERNATIVES = 14, 5


def table(step: Step, states: tuple[AnswerState, AnswerState], decode: Decode) -> Iterator[str]:
  """The lines of the table: a head, and one for every position of the block in the answer.

  A line has the number of the position in the answer, from 1, what stood there and what stands
  there after the step, the score of its candidate, what the step did to it, and the likeliest
  tokens with their probabilities.

  Args:
    step: of the row alone.
    states: before and after it.
    decode: ids to text.
  """
  before, after = states
  yield _line("token", "before", "after", "score", "", "alternatives")
  for index, slot in enumerate(step.where):
    place = int(slot - step.answers)
    if not 0 <= place < len(before.tokens):
      continue
    pairs = zip(step.alternatives[index], step.probabilities[index], strict=True)
    yield _line(
      str(place + 1),
      token_text(before.tokens[place], before.mask_id, decode),
      token_text(after.tokens[place], before.mask_id, decode),
      f"{step.score[index]:.3f}",
      _change(before, after, place),
      "  ".join(f"{token_text(token, before.mask_id, decode)} {p:.3f}" for token, p in pairs),
    )


def token_text(token: int, mask_id: int, decode: Decode) -> str:
  """A token in quotes, the mask as a dot; the id of one that has no text, such as an end."""
  if token == mask_id:
    return MASK
  text = decode(np.array([token]))
  return json.dumps(text, ensure_ascii=False) if text else f"<{token}>"


def _change(before: AnswerState, after: AnswerState, place: int) -> str:
  """What a step did to a position."""
  if before.tokens[place] == after.tokens[place]:
    return ""
  if before.masked[place]:
    return "committed"
  return "masked again" if after.masked[place] else "written over"


def _line(number: str, before: str, after: str, score: str, change: str, rest: str) -> str:
  before, after = (set_cell_size(text, _WIDTH) for text in (before, after))
  return f"{number:>5}  {before} {after}{score:>7}  {change:<{_WIDTH}}{rest}"
