"""The points that `decode` measures: who decodes what, and which passes of the network it takes."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.benchmarks.decode_shapes import Pass

AUTOREGRESSIVE = "autoregressive"
# A model that writes one token after the other, with a cache, and masked models with those of
# `dlm_jax.decoding.caches`.
CACHES = (AUTOREGRESSIVE, "none", "prefix", "dual", "vicinity", "block")
NEIGHBOURS = 16


@dataclass(frozen=True, kw_only=True)
class Point:
  """What is decoded.

  Attributes:
    cache: of `CACHES`.
    rows: B.
    prompt: tokens of each prompt.
    length: tokens of each answer.
    block: tokens of a block, 1 for an autoregressive model; without a cache, all of the answer.
    commits: n, tokens that a step commits.
  """

  cache: str
  rows: int
  prompt: int
  length: int
  block: int
  commits: int

  @staticmethod
  def names() -> list[str]:
    """Of the attributes."""
    return [each.name for each in dataclasses.fields(Point)]

  @property
  def slots(self) -> int:
    """Tokens of prompt and answer."""
    return self.prompt + self.length

  @property
  def steps(self) -> int:
    """Evaluations of a block that commit."""
    return -(-self.block // self.commits)

  def passes(self, shift: int = 0) -> list[Pass]:
    """The evaluations of an answer, without that of the prompt before it.

    Args:
      shift: 1 where position i is predicted from the state at i - 1, else 0.
    """
    starts = range(self.prompt, self.slots, self.block)
    return [each for first in starts for each in self.passes_of_block(first, shift)]

  def passes_of_block(self, first: int, shift: int = 0) -> list[Pass]:
    """The evaluations of the block that begins at the slot `first`."""
    size, last = self.block, first + self.block
    if self.cache == AUTOREGRESSIVE:
      return [Pass(first - 1, 1, last, 1)]
    full = Pass(0, self.slots, self.slots, size)
    if self.cache == "none":
      return [full] * self.steps
    if self.cache == "block":
      before = Pass(first - size, size, first, 0)
      return [before, *[Pass(first, size, last, size)] * self.steps]
    if self.cache == "vicinity":
      first, last = max(first - NEIGHBOURS, 0), min(last + NEIGHBOURS, self.slots)
    else:
      first -= shift
    if self.cache == "prefix":
      last = self.slots
    return [full, *[Pass(first, last - first, self.slots, size)] * (self.steps - 1)]


@dataclass(frozen=True)
class Contender:
  """What is timed at a point.

  Attributes:
    answer: writes all answers, from the prompts on, and returns how many evaluations of the network
      it took, that of the prompts with them.
    prompt: evaluates the prompts alone, where the passes of an answer do not do so.
  """

  answer: Callable[[], int]
  prompt: Callable[[], object]


def seconds_of(run: Callable[[], object]) -> float:
  """The seconds that a call takes."""
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def grid(
  caches: tuple[str, ...],
  batches: tuple[int, ...],
  prompts: tuple[int, ...],
  blocks: tuple[int, ...],
  commits: int,
  length: int,
) -> Iterator[Point]:
  """All points; without a cache the block is the whole answer, and without a mask one token."""
  for prompt, rows, cache in itertools.product(prompts, batches, caches):
    sizes = {AUTOREGRESSIVE: (1,), "none": (length,)}.get(cache, blocks)
    for block in sizes:
      yield Point(
        cache=cache,
        rows=rows,
        prompt=prompt,
        length=length,
        block=block,
        commits=min(commits, block),
      )
