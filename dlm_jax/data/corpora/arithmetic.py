"""Sums with carries, such as `0417+0586=01003`: the first digit of a sum needs the last."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Range
from dlm_jax.data.corpora.base import Pair
from dlm_jax.data.corpora.generated import Generated, Puzzle


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Generated):
  """Sums of numbers of equally many digits, leading zeros included.

  Attributes:
    digits: of each number.
    numbers: that are added.
    reverse: whether the answer is written from its last digit to its first.
  """

  digits: Annotated[int, Range(at_least=1, at_most=100)] = 6
  numbers: Annotated[int, Range(at_least=2, at_most=10)] = 2
  reverse: bool = False

  def draw(self) -> Iterator[Puzzle]:
    rng, width = random.Random(self.seed), self.digits + 1
    while True:
      numbers = [rng.randrange(10**self.digits) for _ in range(self.numbers)]
      prompt = "+".join(f"{number:0{self.digits}d}" for number in numbers) + "="
      answer = f"{sum(numbers):0{width}d}"
      yield Puzzle(Pair(prompt, answer[::-1] if self.reverse else answer), group=prompt)


def make(**fields: object) -> Arithmetic:
  return resolve.build(Arithmetic, fields)
