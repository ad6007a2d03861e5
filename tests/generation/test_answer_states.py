"""How an answer is written, from steps made by hand: two rows, of which the second is watched."""

import dataclasses
import io
import re

import numpy as np
from rich.console import Console

from dlm_jax.decoding.steps import Step
from dlm_jax.generation import alternatives, answer_states
from dlm_jax.generation.answer_states import FirstAnswer
from dlm_jax.generation.live_picture import LivePicture

MASK = 26
TEXT = [[5, 6, MASK, MASK, MASK, MASK], [5, MASK, MASK, MASK, MASK, MASK]]
# The answer of the first row begins at slot 2, that of the second at slot 1; a block of two.
ANSWERS = np.array([2, 1], np.int32)


def step(tokens, certainty, *, start=0, active=True):
  """A step that leaves the answer of the first row as `tokens`, with its block from `start` on."""
  rows = np.array(TEXT, np.int32)
  rows[0, 2:] = tokens
  shape = (2, 2)
  return Step(
    tokens=rows,
    answers=ANSWERS,
    where=ANSWERS[:, None] + start + np.arange(2),
    active=np.array([active, True]),
    masked=np.ones(shape, bool),
    committed=np.zeros(shape, bool),
    score=np.zeros(shape, np.float32),
    certainty=np.array([certainty, [0, 0]], np.float32),
    candidates=np.zeros(shape, np.int32),
    alternatives=np.zeros((*shape, 0), np.int32),
    probabilities=np.zeros((*shape, 0), np.float32),
  )


STEPS = [
  step([3, MASK, MASK, MASK], [0.95, 0.1]),
  step([3, 4, MASK, MASK], [0.3, 0.6]),
  step([9, 9, 9, 9], [0, 0], active=False),  # the row waits for the other
  step([3, 7, MASK, MASK], [0.3, 0.2]),
  step([3, MASK, 8, MASK], [0.4, 0.5], start=1),
]


def test_states_follow_from_the_steps_of_the_row():
  first = FirstAnswer(answer_states.start(4, MASK))
  first.begin([(0, 0), (1, 0)])
  for told in STEPS:
    first.tell(told)
  first.begin([(2, 0)])
  first.tell(STEPS[0])  # of another batch
  assert [state.tokens.tolist() for state in first.states] == [
    [MASK] * 4,
    [3, MASK, MASK, MASK],
    [3, 4, MASK, MASK],
    [3, 7, MASK, MASK],
    [3, MASK, 8, MASK],
  ]
  np.testing.assert_allclose(first.states[2].certainty, [0.95, 0.6, np.nan, np.nan])
  # The token that was masked again has none.
  np.testing.assert_allclose(first.states[4].certainty, [0.95, np.nan, 0.5, np.nan])
  assert first.states[2].revised.tolist() == [False] * 4
  assert first.states[4].revised.tolist() == [False, True, False, False]


def letters(tokens):
  return "".join(chr(ord("a") + token) for token in tokens)


def terminal(height):
  return Console(
    file=io.StringIO(), force_terminal=True, width=70, height=height, legacy_windows=False
  )


def picture(length, height):
  made = LivePicture(terminal(height), letters, answer_states.start(length, MASK), total=5)
  made.begin([(0, 0), (1, 0)])
  return made


def lines_of(made):
  """What is on the terminal now, styles and all."""
  other = terminal(24)
  other.print(made._render())
  return other.file.getvalue().splitlines()


def test_the_picture_shows_masks_certainty_and_what_was_revised():
  made = picture(4, 24)
  with made:
    assert "answer 1 (with those to 2) of 5: compiling" in lines_of(made)[0]
    for told in STEPS[:3]:
      made.tell(told)
    rule, text, legend = lines_of(made)
    assert "step 2, 2 of 4 tokens" in rule
    # The block at hand alone: one token is certain, one less so, and both are new.
    assert text == "\x1b[1;32md\x1b[0m\x1b[1;33me\x1b[0m"
    assert "certainty" in legend
    for told in STEPS[3:]:
      made.tell(told)
    assert lines_of(made)[1] == ("\x1b[32md\x1b[0m\x1b[2;4m·\x1b[0m\x1b[1;33mi\x1b[0m")
  assert not made._live.is_started


def test_the_picture_follows_the_text_that_is_final():
  """An answer of ten lines and its block, of which the terminal has room for four."""
  made = picture(1400, 8)
  row = np.full(1402, MASK, np.int32)
  row[2 : 2 + 700] = np.arange(700) // 70
  told = dataclasses.replace(STEPS[0], tokens=np.stack([row, row]), where=STEPS[0].where + 1398)
  with made:
    made.tell(told)
    _, *shown, _ = lines_of(made)
  letters_shown = [next(c for c in line if c in "abcdefghij·") for line in map(plain, shown)]
  assert letters_shown == ["i", "j", "·", "·"]


def plain(line):
  return re.sub(r"\x1b\[[0-9;]*m", "", line)


FOURTH = '4 · "c" "a" 0.950 -0.500 committed "b" 0.700 · 0.250'


def test_the_table_of_a_step():
  told = dataclasses.replace(
    answer_states.of_row(step([3, MASK, MASK, MASK], [0.95, 0.1], start=3), 0),
    score=np.array([-0.5, -2]),
    alternatives=np.array([[1, MASK], [25, 2]]),
    probabilities=np.array([[0.7, 0.25], [0.5, 0.125]]),
  )
  before = answer_states.start(4, MASK).after(answer_states.of_row(STEPS[1], 0))
  after = before.after(answer_states.of_row(step([3, 7, MASK, 2], [0, 0]), 0))

  def table(where):
    moved = dataclasses.replace(told, where=where)
    return list(alternatives.table(moved, (before, after), letters))

  head, fourth = table(np.array([5, 6]))  # the second is not of the answer
  assert fourth.split() == FOURTH.split()
  assert head.index("alternatives") == fourth.index('"b"')
  _, first, second = table(np.array([2, 3]))
  assert "written over" in second and "committed" not in first
  assert alternatives.token_text(3, MASK, lambda tokens: "") == "<3>"
