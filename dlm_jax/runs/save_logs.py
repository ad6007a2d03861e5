"""Keeps libraries from printing pages of traceback about a save whose failure is raised anyway."""

import functools
import sys
from logging import LogRecord
from types import TracebackType

from absl import logging


@functools.cache
def quiet_failures() -> None:
  """From now on Orbax logs no traceback unless `--verbosity` asks for more than warnings.

  Its threads log a failed save one after the other before it is raised, and TensorStore calls into
  an event loop that Orbax has closed by then, once for each array that was under way, for some time
  after the save has failed.
  """
  previous = sys.excepthook

  def hook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
  ) -> None:
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
      previous(kind, error, traceback)

  sys.excepthook = hook
  logging.get_absl_logger().addFilter(_is_told_nowhere_else)


def _is_told_nowhere_else(record: LogRecord) -> bool:
  if logging.get_verbosity() >= logging.INFO:
    return True
  return not (record.exc_info and "/orbax/checkpoint/" in record.pathname)
