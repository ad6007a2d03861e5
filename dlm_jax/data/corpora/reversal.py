"""Facts that were read in one direction and are asked in the other (Berglund et al. 2023).

Each fact joins two random names. The training split states all of them forwards, `>abc=xyz`, and
those that are not held out backwards too, `<xyz=abc`, which shows what backwards means. A question
of the other splits is `<xyz=`, and its answer `abc`: the same fact, never seen in this direction.
"""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Fraction, NonNegativeInt, Range
from dlm_jax.data.corpora import base
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.corpora.split_by_hash import SplitByHash

LETTERS = len(string.ascii_lowercase)


@dataclass(frozen=True, kw_only=True)
class Reversal(SplitByHash):
  """Facts about random names. What a statement begins with is its prompt, and all else is learned.

  Attributes:
    facts: so many, with two names each that no other fact has.
    letters: of a name.
    seed: of the names.
    validation, test: fractions of the facts that are held out backwards.
  """

  facts: Annotated[int, Range(at_least=10)] = 1000
  letters: Annotated[int, Range(at_least=1, at_most=20)] = 4
  seed: NonNegativeInt = 0
  validation: Fraction = 0.1
  test: Fraction = 0.2

  version = None

  def __post_init__(self) -> None:
    super().__post_init__()
    if 2 * self.facts > LETTERS**self.letters:
      raise UserError(
        f"corpus.facts {self.facts} needs {2 * self.facts} names, and there are "
        f"{LETTERS**self.letters} of corpus.letters {self.letters}: raise it, or have fewer facts."
      )

  def pairs(self, split: str) -> Iterator[Pair]:
    base.check_split(self, split)
    for first, second in self._facts():
      is_here = self.split_of(first) == split
      if split == "train":
        yield Pair(">", f"{first}={second}")
        if is_here:
          yield Pair("<", f"{second}={first}")
      elif is_here:
        yield Pair(f"<{second}=", first)

  def documents(self, split: str) -> Iterator[str]:
    return (pair.prompt + pair.answer for pair in self.pairs(split))

  def _facts(self) -> list[tuple[str, str]]:
    rng, names = random.Random(self.seed), dict[str, None]()
    while len(names) < 2 * self.facts:
      names["".join(rng.choices(string.ascii_lowercase, k=self.letters))] = None
    both = list(names)
    return list(zip(both[: self.facts], both[self.facts :], strict=True))


def make(**fields: object) -> Reversal:
  return resolve.build(Reversal, fields)
