"""An answer on a terminal while it is written: masks, tokens by certainty, and how far it is."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from dlm_jax.decoding.steps import Step
from dlm_jax.generation import answer_states, rendering
from dlm_jax.generation.answer_states import AnswerState
from dlm_jax.generation.rendering import CERTAINTIES, MASK, Decode

# Lines of the terminal that are not the answer's: a rule above it, the legend, and one to spare.
_OTHER_LINES = 4
# Texts of a few neighbouring tokens that are kept from one picture to the next.
_PIECES = 2**16


class LivePicture:
  """Shows the first answer of every batch as far as it is written, a few times a second.

  The committed tokens at its beginning are its text as it will stand, unless they are revised; the
  picture ends with the block at hand, and follows that text where it has more lines than the
  terminal. It goes when the answer is printed.
  """

  alternatives = 0

  def __init__(self, console: Console, decode: Decode, start: AnswerState, total: int):
    """Shows nothing yet.

    Args:
      console: a terminal.
      decode: ids to text.
      start: an answer before its first step.
      total: answers that there will be.
    """
    cached = functools.lru_cache(_PIECES)(lambda ids: decode(np.array(ids, np.int32)))
    self._console, self._decode = console, lambda tokens: cached(tuple(tokens.tolist()))
    self._start = self._previous = self._state = start
    self._total, self._done, self._step, self._end, self._rows = total, 0, 0, 0, 0
    self._live = Live(
      console=console, get_renderable=self._render, transient=True, refresh_per_second=8
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    self._live.stop()

  def begin(self, batch: Sequence[tuple[int, int]]) -> None:
    """Before a batch."""
    self._rows, self._step = len(batch), 0
    self._previous = self._state = self._start
    self._live.start()

  def tell(self, step: Step) -> None:
    """At every step."""
    if step.active[0]:
      row = answer_states.of_row(step, 0)
      self._end = int(np.max(row.where - row.answers)) + 1
      self._state, self._step = self._state.after(row), self._step + 1

  def advance(self, count: int = 1) -> None:
    """To be called when `count` more answers are there."""
    self._done += count

  @contextmanager
  def paused(self) -> Iterator[None]:
    """Takes the picture off the terminal until the next batch, so that answers may be printed."""
    self._live.stop()
    yield

  def _render(self) -> RenderableType:
    """The picture as it is now."""
    state = self._state
    written = len(state.tokens) - int(np.sum(state.masked))
    first, last = self._done + 1, self._done + self._rows
    which = f"answer {first}" if first == last else f"answer {first} (with those to {last})"
    far = f"step {self._step}, {written} of {len(state.tokens)} tokens"
    if not self._step:
      far = "compiling, or reading the prompt"
    rule = Rule(Text(f"{which} of {self._total}: {far}"), style="dim")
    text = self._answer(state)
    self._previous = state
    return Group(rule, text, _legend()) if self._step else rule

  def _answer(self, state: AnswerState) -> Text:
    """The lines of the answer that the terminal has room for."""
    end = self._end
    text = rendering.state_text(
      state.tokens[:end],
      self._decode,
      mask_id=state.mask_id,
      previous=self._previous.tokens[:end],
      certainty=state.certainty[:end],
      revised=state.revised[:end],
    )
    lines = text.wrap(self._console, self._console.width)
    room = max(self._console.height - _OTHER_LINES, 1)
    leading = int(np.argmax(np.append(state.masked[:end], True)))
    beginning = Text(self._decode(state.tokens[:leading])).wrap(self._console, self._console.width)
    first = max(min(len(beginning) - room // 2, len(lines) - room), 0)
    return Text("\n").join(lines[first : first + room])


def _legend() -> Text:
  """What the styles mean."""
  text = Text("certainty ", "dim")
  for least, colour in CERTAINTIES.items():
    text.append(f"{least:g}+ ", colour)
  text.append("new ", "bold").append("revised", "underline")
  return text.append(f" {MASK} mask", "dim")
