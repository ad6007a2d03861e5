"""Faults of the system under a program, such as a full disk, told to a person in one sentence."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from dlm_jax.core.errors import UserError

# What a person can do about each of them.
_WAYS_OUT = {
  errno.ENOSPC: "make room on that disk",
  errno.EDQUOT: "make room within your quota",
  errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or use another file system",
  errno.EROFS: "use another place, or have it mounted for writing",
  errno.EACCES: "use another place, or get permission for this one",
  errno.EPERM: "use another place, or get permission for this one",
  errno.EMFILE: "raise the limit on open files (ulimit -n)",
  errno.ENFILE: "close files of other programs, or raise the system's limit on open files",
  errno.EIO: "see to that disk",
}
# Those that say nothing about what is on the disk.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)
# How TensorStore, which Orbax writes arrays with, says in its text what the system told it.
_IN_TEXT = re.compile(r"os_error_code='(\d+)'")


class SystemFault(UserError):
  """The system refuses what the program needs: the message says what, and the way out."""


def explain(error: BaseException) -> str | None:
  """The fault of the system behind an error and the way out; None where there is no such fault."""
  number, file = _fault(error)
  if number not in _WAYS_OUT:
    return None
  return f"{f'{file}: ' if file else ''}{os.strerror(number)}; {_WAYS_OUT[number]}."


def _fault(error: BaseException) -> tuple[int | None, object]:
  """The number of the system's error behind an error, and the file that it names; None is none."""
  cause: BaseException | None = error
  while cause is not None:
    match = _IN_TEXT.search(str(cause))
    if isinstance(cause, OSError):
      return cause.errno, cause.filename
    if match:
      return int(match[1]), None
    cause = cause.__cause__
  return None, None


@contextmanager
def writing(what: object) -> Iterator[None]:
  """Raises `SystemFault`, naming `what`, where the system refuses to have it written."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    fault = explain(error)
    if fault is None:
      raise
    raise SystemFault(f"{what} cannot be written: {fault}") from error


@contextmanager
def reading(what: object) -> Iterator[None]:
  """Raises `SystemFault`, naming `what`, where it may be whole, but the system refuses to open it.

  Any other error passes, such as that of a disk that has lost some of it.
  """
  try:
    yield
  except Exception as error:
    if isinstance(error, UserError) or _fault(error)[0] not in _REFUSALS:
      raise
    raise SystemFault(f"{what} cannot be read: {explain(error)}") from error
