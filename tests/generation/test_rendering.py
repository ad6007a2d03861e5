import io

import numpy as np
from rich.console import Console

from dlm_jax.generation import rendering

MASK_ID = 26


def decode(ids):
  return "".join(chr(ord("a") + i) for i in ids)


def styles(text):
  return [(text.plain[span.start : span.end], span.style) for span in text.spans]


def test_a_state_shows_what_each_position_is():
  tokens = np.array([0, 1, 2, MASK_ID, MASK_ID, 3])
  previous = np.array([0, 1, MASK_ID, MASK_ID, MASK_ID, 3])
  text = rendering.state_text(
    tokens, decode, mask_id=MASK_ID, given=np.array([True] + [False] * 5), previous=previous
  )
  assert text.plain == "abc··d"
  found = [s for s in styles(text) if s[1]]
  assert found == [("a", "cyan"), ("c", "bold green"), ("··", "dim")]


def test_tokens_that_are_parts_of_words_and_characters_join_whatever_their_styles():
  """A tokenizer that leaves out the space before a first word, and has bytes as tokens."""
  parts = {0: b" the", 1: b" caf", 2: b"\xc3", 3: b"\xa9", 4: b"s", 5: b"\xff"}

  def words(ids):
    return b"".join(parts[i] for i in ids).decode(errors="replace").removeprefix(" ")

  row = np.array([0, 1, 2, 3, 4, MASK_ID, 0, 5])
  certainty = np.array([0.9, 0.6, 0.1, 0.9, 0.1, np.nan, 0.9, 0.1])
  text = rendering.state_text(row, words, mask_id=MASK_ID, certainty=certainty)
  assert text.plain == "the cafés·the\ufffd"
  assert styles(text)[:3] == [("the", "green"), (" caf", "yellow"), ("é", "green")]
  assert rendering.state_text(row[:5], words).plain == "the cafés"


def test_a_process_without_a_mask_shows_every_token():
  assert rendering.state_text(np.array([0, 25]), decode).plain == "az"


def test_frames_are_evenly_spaced_and_never_repeat():
  moving = np.arange(101)[:, None]
  assert rendering.chosen_frames(moving, 5) == [0, 25, 50, 75, 100]
  assert rendering.chosen_frames(moving // 60, 5) == [0, 75]
  assert rendering.chosen_frames(moving[:3], 12) == [0, 1, 2]


def render(terminal):
  console = Console(file=io.StringIO(), force_terminal=terminal, width=40, _environ={})
  trajectory = np.array([[0, MASK_ID, MASK_ID], [0, 1, MASK_ID], [0, 1, 2]])
  given = np.array([True, False, False])
  rendering.print_trajectory(console, trajectory, decode, mask_id=MASK_ID, given=given)
  rendering.print_samples(console, trajectory[-1:], decode, given=given[None])
  return console.file.getvalue()


def test_plain_text_where_there_is_no_terminal():
  lines = render(terminal=False).splitlines()
  assert "\x1b" not in "".join(lines)
  assert lines[1::2] == ["a··", "ab·", "abc", "abc"]
  assert "step 0 of 2" in lines[0] and "step 2 of 2" in lines[4] and "sample 1" in lines[6]


def test_colour_on_a_terminal():
  assert "\x1b[36ma\x1b[0m\x1b[1;32mb\x1b[0m\x1b[2m·\x1b[0m" in render(terminal=True)


def test_brackets_are_text_and_long_lines_stay_whole_off_a_terminal():
  console = Console(file=io.StringIO(), width=10, _environ={})
  rendering.print_samples(console, np.zeros((1, 30), int), lambda ids: "[red]" * 6)
  assert console.file.getvalue().splitlines()[1] == "[red]" * 6
