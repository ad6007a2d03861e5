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

from dlm_jax.core import resolve
from dlm_jax.core.errors import require_known
from dlm_jax.core.ranges import PositiveInt, Seed
from dlm_jax.data.store import Rows

Batch = dict[str, np.ndarray]

WINDOWS = ("disjoint", "random")
_PREFETCH = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


@dataclass(frozen=True)
class Batches:
  """`batches(step)` is this process's part of the global batch of a step, counted from 0.

  A batch holds `tokens` int32 `[n, L]`, and what else `Rows` gives: `given`, `unscored`, `label`.
  Other rows are not read.

  Attributes:
    source: the rows of a split.
    batch_size: B, rows of the global batch.
    seed: of the order of the rows, 32 bits.
    part: which rows of the global batch; all B of them if None.
    windows: `disjoint`, the rows as they are; or `random`: each is moved to the right by a random
      number of tokens below L, another in each epoch, so that it may begin anywhere in the text.

  Raises:
    UserError: the batch is empty, or the seed is out of range.
  """

  source: Rows
  batch_size: PositiveInt
  seed: Seed
  part: np.ndarray | None = None
  windows: str = "disjoint"

  def __post_init__(self) -> None:
    resolve.require_ranges(self)
    require_known("data.windows", self.windows, WINDOWS)

  def __call__(self, step: int) -> Batch:
    part = np.arange(self.batch_size) if self.part is None else self.part
    rows = np.array([self._order[step * self.batch_size + int(i)] for i in part])
    if self.windows == "disjoint":
      return self.source[rows]
    length = self.source.tokens.shape[1]
    offsets = np.random.default_rng([self.seed, step]).integers(length, size=self.batch_size)
    return self.source.shifted(rows, offsets[part])

  def iterate(self, start_step: int = 0) -> Iterator[Batch]:
    """The batches from a step on, without end, read ahead by threads."""
    steps = grain.MapDataset.range(start_step, sys.maxsize)
    return iter(steps.map(self).to_iter_dataset(_PREFETCH))

  @cached_property
  def _order(self) -> grain.MapDataset:
    return grain.MapDataset.range(len(self.source)).shuffle(seed=self.seed).repeat()
