"""What generated corpora of prompts and answers share: splits that are disjoint by construction.

A subclass draws puzzles without end. Each lies in the split that the hash of its `group` names, so
that nothing of a group is in two splits, and no puzzle is there twice.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import NonNegativeInt, PositiveInt
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.base import Pair

# The least share of groups that is held out for a split, so that small splits find their puzzles.
_HELD_OUT = 1 / 8
# A corpus is exhausted after so many draws in a row, times the pairs found, without a new one.
_PATIENCE = 10


class Puzzle(NamedTuple):
  """A pair, and what of it no two splits may share: its prompt, or what its answer follows from."""

  pair: Pair
  group: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
  """The corpus of the puzzles that `draw` gives.

  Attributes:
    seed: of the puzzles.
    train_pairs, validation_pairs, test_pairs: of the splits.
  """

  seed: NonNegativeInt = 0
  train_pairs: PositiveInt = 100_000
  validation_pairs: PositiveInt = 1000
  test_pairs: PositiveInt = 1000

  version = None

  @property
  def splits(self) -> tuple[str, ...]:
    return base.SPLITS

  def draw(self) -> Iterator[Puzzle]:
    """Random puzzles without end, the same ones each time; one may come again."""
    raise NotImplementedError

  def pairs(self, split: str) -> Iterator[Pair]:
    """The pairs of `split`. Raises `UserError` if there are not as many."""
    base.check_split(self, split)
    yield from _dealt(self)[split]

  def documents(self, split: str) -> Iterator[str]:
    return (pair.prompt + pair.answer for pair in self.pairs(split))

  def _wanted(self) -> dict[str, int]:
    counts = (self.train_pairs, self.validation_pairs, self.test_pairs)
    return dict(zip(base.SPLITS, counts, strict=True))


@functools.lru_cache(maxsize=1)  # a corpus is read several times in a row while it is prepared
def _dealt(corpus: Generated) -> dict[str, tuple[Pair, ...]]:
  """The pairs of each split."""
  wanted = corpus._wanted()
  total = sum(wanted.values())
  held_out = [max(wanted[name] / total, _HELD_OUT) for name in ("validation", "test")]
  held_out = [share * min(1.0, 0.5 / sum(held_out)) for share in held_out]
  found: dict[str, dict[Pair, None]] = {name: {} for name in wanted}
  missing, fruitless = total, 0
  for puzzle in corpus.draw():
    split = base.split_of(puzzle.group, *held_out)
    if len(found[split]) < wanted[split] and puzzle.pair not in found[split]:
      found[split][puzzle.pair] = None
      missing, fruitless = missing - 1, 0
      if not missing:
        break
    fruitless += 1
    if fruitless > _PATIENCE * (100 + total - missing):
      raise _exhausted(corpus, found, wanted)
  return {name: tuple(pairs) for name, pairs in found.items()}


def _exhausted(
  corpus: Generated, found: dict[str, dict[Pair, None]], wanted: dict[str, int]
) -> UserError:
  split = next(name for name in wanted if len(found[name]) < wanted[name])
  own = {f.name for f in dataclasses.fields(corpus)} - {
    f.name for f in dataclasses.fields(Generated)
  }
  settings = ", ".join(f"{name} {vars(corpus)[name]}" for name in sorted(own))
  return UserError(
    f"{type(corpus).__name__} with {settings} has no more than {len(found[split]):,} distinct "
    f"puzzles for its {split} split, and corpus.{split}_pairs is {wanted[split]:,}: lower it, or "
    "make the puzzles larger."
  )
