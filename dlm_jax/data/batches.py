"""Batches: step -> rows, a pure function of (rows, seed, step).

The rows of step k are entries k*B to (k+1)*B of an endless sequence: the rows in random order, then
the rows in another random order, and so on. So each row is seen exactly once an epoch whatever the
batch size, resuming needs the number of the step alone, and the processes of a run cut the same
global batch among them.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import grain
import numpy as np

from dlm_jax.core.errors import UserError
from dlm_jax.data.store import Rows

Batch = dict[str, np.ndarray]

_PREFETCH = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


@dataclass(frozen=True)
class Batches:
  """`batches(step)` is this process's part of the global batch of a step, counted from 0.

  A batch holds `tokens` int32 `[n, L]`, where rows are padded `given` bool of that shape, and where
  they have labels `label` int32 `[n]`. Other rows are not read.

  Attributes:
    source: the rows of a split.
    batch_size: B, rows of the global batch.
    seed: of the order of the rows, 32 bits.
    part: which rows of the global batch; all B of them if None.

  Raises:
    UserError: the batch is empty, or the seed is out of range.
  """

  source: Rows
  batch_size: int
  seed: int
  part: np.ndarray | None = None

  def __post_init__(self) -> None:
    _check_share(self.batch_size, 0, 1)
    if not 0 <= self.seed < 2**32:
      raise UserError(f"the seed must lie in 0..{2**32 - 1}, got {self.seed}.")

  def __call__(self, step: int) -> Batch:
    part = range(self.batch_size) if self.part is None else self.part
    return self.source[np.array([self._order[step * self.batch_size + int(i)] for i in part])]

  def iterate(self, start_step: int = 0) -> Iterator[Batch]:
    """The batches from a step on, without end, read ahead by threads."""
    steps = grain.MapDataset.range(start_step, sys.maxsize)
    return iter(steps.map(self).to_iter_dataset(_PREFETCH))

  @cached_property
  def _order(self) -> grain.MapDataset:
    return grain.MapDataset.range(len(self.source)).shuffle(seed=self.seed).repeat()


def in_order(
  source: Rows, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
  """This process's shares of global batches that hold each row once, in order, as in validation.

  Every batch has B rows and holds `given`: the last one is filled up with copies of the last row,
  given as a whole, so that they are not scored.

  Raises:
    UserError: the processes do not divide the batch.
  """
  _check_share(batch_size, process_index, process_count)
  share = batch_size // process_count
  for start in range(process_index * share, _round_up(len(source), batch_size), batch_size):
    indices = np.arange(start, start + share)
    rows = source[np.minimum(indices, len(source) - 1)]
    given = rows.get("given", np.zeros(rows["tokens"].shape, bool))
    yield {**rows, "given": given | (indices >= len(source))[:, None]}


def _check_share(batch_size: int, process_index: int, process_count: int) -> None:
  if batch_size < 1 or batch_size % process_count:
    raise UserError(
      f"the batch size must be a multiple of the {process_count} processes, got {batch_size}."
    )
  if not 0 <= process_index < process_count:
    raise UserError(f"process {process_index} is none of 0..{process_count - 1}.")


def _round_up(number: int, multiple: int) -> int:
  return -(-number // multiple) * multiple
