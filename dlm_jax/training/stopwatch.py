"""How long training takes, without what interrupts it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
  """Measures seconds since it was last started; pauses do not count."""

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    """Args: now: the clock, in seconds from any moment."""
    self._now = now
    self._start: float | None = None

  @property
  def running(self) -> bool:
    """Whether it has been started."""
    return self._start is not None

  def restart(self) -> None:
    """Starts it at 0."""
    self._start = self._now()

  @property
  def seconds(self) -> float:
    """Since the last start; 0 before the first one."""
    return 0.0 if self._start is None else self._now() - self._start

  @contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out of `seconds` the time that passes inside."""
    entered = self._now()
    try:
      yield
    finally:
      if self._start is not None:
        self._start += self._now() - entered
