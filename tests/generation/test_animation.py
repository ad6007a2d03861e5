"""The animation shows every state at its time, as text, in a file that XML can read."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from dlm_jax.generation import animation
from dlm_jax.generation.rendering import MASK

SVG = "{http://www.w3.org/2000/svg}"
FRAMES = [
  [MASK, MASK, MASK, MASK],
  ["<b>", MASK, MASK, "&"],
  ["<b>", " it", MASK, "&"],
  ["<i>", " it", '"', "&"],
]


def groups(text):
  root = ElementTree.fromstring(text)
  return [group for group in root.iter(f"{SVG}g") if "data-first" in group.attrib]


def shown(text, frame):
  """The texts and the number of masks that are visible in a frame."""
  words, masks = [], 0
  for group in groups(text):
    if int(group.get("data-first")) <= frame < int(group.get("data-last")):
      masks += len(list(group.iter(f"{SVG}rect")))
      words += [e.text for e in group.iter(f"{SVG}text") if e.get("class") != "step"]
  return sorted(words), masks


def test_each_frame_shows_the_state_of_its_step():
  text = animation.svg(FRAMES)
  for frame, state in enumerate(FRAMES):
    words = sorted(token for token in state if token != MASK)
    assert shown(text, frame) == (words, state.count(MASK))


def test_every_group_has_its_keyframes_and_every_frame_its_step():
  text = animation.svg(FRAMES)
  texts = ElementTree.fromstring(text).iter(f"{SVG}text")
  steps = [element.text for element in texts if element.get("class") == "step"]
  assert steps == [f"step {i} of 3" for i in range(4)]
  defined = set(re.findall(r"@keyframes ([\w]+)\{", text))
  assert set(re.findall(r"animation:(\w+) ", text)) <= defined
  assert "<script" not in text and "<b>" not in text


def test_lines_break_between_words_and_where_the_text_does():
  frames = [[MASK] * 12, list("ab cde fg\nhi")]
  places = animation._layout(frames, columns=7)
  lines = ["", "", "", ""]
  for place, token in zip(places, frames[1], strict=True):
    lines[place.line] += token
  assert lines == ["ab cde ", "fg\n", "hi", ""]


def test_given_tokens_have_a_class_of_their_own_and_many_steps_are_thinned():
  many = [[MASK] * i + ["a"] * (200 - i) for i in range(200, -1, -1)]
  text = animation.svg(many, given=np.arange(200) < 0)
  assert len([g for g in groups(text) if g.find(f"{SVG}text[@class='step']") is not None]) == 64
  assert len(text) < 60_000
  assert 'class="g"' in animation.svg(FRAMES, given=np.array([False, False, False, True]))
