"""SIGTERM and Ctrl-C end a run between two steps, on all processes, with everything saved."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self, TypeAlias

from jax.experimental import multihost_utils

from dlm_jax.distributed import cluster

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class StopRequest:
  """While entered, the first SIGTERM or SIGINT to any process asks all of them to stop.

  Of several processes JAX's runtime takes SIGTERM, tells all of them, and has them agree on a step
  that none has passed; SIGINT is handed on as SIGTERM. One process has nobody to tell: this class
  notes both, at once and without the warnings of the runtime. A second SIGINT interrupts at once,
  as everywhere. Only the main thread gets signals: a run in another one, as of a notebook's server,
  goes on to its end.
  """

  def __init__(self) -> None:
    self._noted = False
    self._previous: dict[signal.Signals, Handler] = {}

  def __enter__(self) -> Self:
    if not _in_main_thread():
      return self
    numbers = (signal.SIGINT,) if cluster.count() > 1 else (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
      self._previous[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *exception: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def at(self, step: int) -> bool:
    """Whether this step is the last one, for all processes. To be asked after every step."""
    return self._noted or multihost_utils.reached_preemption_sync_point(step)

  def _note(self, number: int, frame: FrameType | None) -> None:
    del frame
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, self._previous[signal.SIGINT] or signal.default_int_handler)
    if cluster.count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)
    else:
      self._noted = True


@contextmanager
def interruptible() -> Iterator[None]:
  """SIGTERM interrupts like Ctrl-C while no `StopRequest` is entered and nothing is to be saved.

  Several processes never stop one by one: they stop together, after their first step.
  """
  if cluster.count() > 1:
    with StopRequest():
      yield
  elif _in_main_thread():
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
      yield
    finally:
      signal.signal(signal.SIGTERM, previous)
  else:
    yield


def _in_main_thread() -> bool:
  """Where handlers of signals can be set and are run."""
  return threading.current_thread() is threading.main_thread()
