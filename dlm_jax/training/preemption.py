"""SIGTERM and Ctrl-C end a run between two steps, with everything saved."""

import signal
from types import FrameType
from typing import Self

# EX_TEMPFAIL of sysexits.h: the command may be started again and will resume.
RESUMABLE = 75


class StopRequest:
  """While entered, notes the first SIGTERM or SIGINT instead of dying of it.

  A second SIGINT interrupts at once, as everywhere.
  """

  def __init__(self) -> None:
    self.requested = False
    self._previous = {}

  def __enter__(self) -> Self:
    for number in (signal.SIGTERM, signal.SIGINT):
      self._previous[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *exception: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _note(self, number: int, frame: FrameType | None) -> None:
    del frame
    self.requested = True
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
