"""How far a command has come: a bar on a terminal, a plain line now and then elsewhere.

Process 0 alone shows it, on standard error: standard output holds results.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

from rich import progress
from rich.console import Console

from dlm_jax.distributed import cluster

T = TypeVar("T")

# Seconds between two plain lines, so that what takes less long says nothing, and between two states
# of the bar.
_LINES, _STATES = 10.0, 0.1


class Progress:
  """Shows how much of something is done while it is entered."""

  def __init__(self, title: str, total: int | None = None, unit: str = "batches"):
    """Shows nothing yet.

    Args:
      title: what is done, as in "evaluating".
      total: how many there will be; None where it is not known, as of a stream.
      unit: what is counted.
    """
    self.done = 0
    self._title, self._total, self._unit = title, total, unit
    self._console = Console(stderr=True, highlight=False)
    self._bar = progress.Progress(
      progress.TextColumn("{task.description}"),
      *([] if total is None else [progress.BarColumn(bar_width=24)]),
      *([] if total is None else [progress.TimeRemainingColumn(compact=True)]),
      progress.TimeElapsedColumn(),
      console=self._console,
      transient=True,
      disable=cluster.index() != 0 or not self._console.is_terminal,
    )
    self._task = self._bar.add_task(self._text(), total=total)
    self._interval = _STATES if self._console.is_terminal else _LINES

  def __enter__(self) -> Self:
    self._started = self._shown = time.monotonic()
    self._bar.start()
    return self

  def __exit__(self, *exception: object) -> None:
    self._bar.stop()

  def advance(self, count: int = 1, note: str = "") -> None:
    """To be called when `count` more are done; the note is shown behind their number."""
    self.done += count
    now = time.monotonic()
    if now - self._shown < self._interval:
      return
    self._shown = now
    text = self._text(note)
    self._bar.update(self._task, completed=self.done, description=text)
    if self._console.is_terminal or cluster.index() != 0:
      return
    if self._total is not None:
      text += f", {(self._total - self.done) / self.done * (now - self._started):.0f} s left"
    self._console.print(text, soft_wrap=True)

  @contextmanager
  def paused(self) -> Iterator[None]:
    """Takes the bar off the terminal, so that something else may be printed there."""
    self._bar.stop()
    yield
    self._bar.start()

  def _text(self, note: str = "") -> str:
    total = "" if self._total is None else f" of {self._total:,}"
    return f"{self._title}: {self.done:,}{total} {self._unit}" + (f", {note}" if note else "")


def track(items: Sequence[T], title: str, unit: str = "batches") -> Iterator[T]:
  """The items, one after the other, while it is shown how many of them are done.

  Args:
    items: what is worked on.
    title, unit: as of `Progress`.
  """
  with Progress(title, len(items), unit) as shown:
    for item in items:
      yield item
      shown.advance()
