"""One step of a decoder as a table: what every position of the block could have become."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import set_cell_size

from dlm_jax.decoding.steps import Step
from dlm_jax.generation.answer_states import AnswerState
from dlm_jax.generation.rendering import MASK, Decode

# Columns of a token in the table, and how many alternatives a position has.
_WIDTH, ALTERNATIVES = 13, 5


def table(step: Step, states: tuple[AnswerState, AnswerState], decode: Decode) -> Iterator[str]:
  """The lines of the table: a head, and one for every position of the block in the answer.

  A line has the number of the position in the answer, from 1, what stood there and what stands
  there after the step, the candidate with its probability p and its score, what the step did to
  the position, and the likeliest tokens with their probabilities. The candidate is one of those,
  or, at a temperature, another that was drawn.

  Args:
    step: of the row alone.
    states: before and after it.
    decode: ids to text.
  """
  before, after = states
  text = lambda token: token_text(token, before.mask_id, decode)  # noqa: E731
  yield _line("token", ("before", "after", "candidate"), ("p", "score"), ("", "alternatives by p"))
  for index, slot in enumerate(step.where):
    place = int(slot - step.answers)
    if not 0 <= place < len(before.tokens):
      continue
    pairs = zip(step.alternatives[index], step.probabilities[index], strict=True)
    tokens = (before.tokens[place], after.tokens[place], step.candidates[index])
    numbers = (step.certainty[index], step.score[index])
    yield _line(
      str(place + 1),
      tuple(map(text, tokens)),
      tuple(f"{number:.3f}" for number in numbers),
      (_change(before, after, place), "  ".join(f"{text(token)} {p:.3f}" for token, p in pairs)),
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


def _line(
  number: str, tokens: Sequence[str], numbers: Sequence[str], words: tuple[str, str]
) -> str:
  columns = " ".join(set_cell_size(token, _WIDTH) for token in tokens)
  change, rest = words
  return f"{number:>5}  {columns}{numbers[0]:>6}{numbers[1]:>8}  {change:<{_WIDTH}}{rest}"
