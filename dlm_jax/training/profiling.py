"""An xprof trace of some steps of a run, asked for as `--profile=10:15`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import jax

from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree


@dataclass
class Profiler:
  """Traces the steps `first` to `last` of a run, both included, into `directory`.

  A context manager: leaving it ends a trace that is under way. A run that begins after the first of
  them, as a restarted one does, traces those that are left.

  Attributes:
    first, last: numbers of steps, counted from 1.
    directory: TensorBoard with its plugin `xprof` shows it.
  """

  first: int
  last: int
  directory: Path
  _tracing: bool = field(default=False, init=False)

  def before(self, step: int) -> None:
    """To be called before a step is dispatched."""
    if not self._tracing and self.first <= step <= self.last:
      jax.profiler.start_trace(str(self.directory))
      self._tracing = True

  def after(self, step: int, outputs: PyTree) -> None:
    """To be called when a step has been dispatched; waits for the last one that is traced."""
    if self._tracing and step == self.last:
      jax.block_until_ready(outputs)
      self.stop()

  def stop(self) -> None:
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    self.stop()


def parse(steps: str, directory: Path) -> Profiler:
  """The profiler that `--profile=FIRST:LAST` asks for; none of the steps where it is empty.

  Raises:
    UserError: `steps` is neither.
  """
  match = re.fullmatch(r"(\d+):(\d+)|", steps)
  first, last = map(int, match.groups(default=0)) if match else (1, 0)
  if steps and not 1 <= first <= last:
    raise UserError(f"--profile is {steps!r}: give the first and the last step, as in 10:15.")
  return Profiler(first, last, directory)
