"""The range of a number, stated beside its default: `beta1: Fraction = 0.9`.

The annotation of a field carries it, `Annotated[float, Range(at_least=0, below=1)]`. It is checked
wherever a field is read or a part is built (`parsing.read`), and shown with the field.
"""

import math
from dataclasses import dataclass
from typing import Annotated

# The largest integer of 32 bits, which is what shapes and steps are on a device.
INT32 = 2**31 - 1


class OutOfRange(ValueError):
  """A number of the right type that a field does not take: what it must do instead, in words."""


@dataclass(frozen=True)
class Range:
  """The numbers that a field takes; without bounds, all finite ones, and integers of 32 bits.

  Attributes:
    at_least, above: the lower bound, itself in the range or not; None is no bound.
    at_most, below: the upper bound, itself in the range or not; None is no bound.
  """

  at_least: float | None = None
  above: float | None = None
  at_most: float | None = None
  below: float | None = None

  def check(self, value: float) -> None:
    """Raises `OutOfRange` for a number outside; NaN and infinity always are."""
    if not math.isfinite(value):
      raise OutOfRange("be finite")
    if isinstance(value, int) and value > INT32 and self.at_most is None:
      raise OutOfRange(f"be at most {INT32}")
    if not (
      (self.at_least is None or value >= self.at_least)
      and (self.above is None or value > self.above)
      and (self.at_most is None or value <= self.at_most)
      and (self.below is None or value < self.below)
    ):
      raise OutOfRange(self.words)

  @property
  def words(self) -> str:
    """What a number must do: `be at least 1`, `lie in [0, 1)`."""
    return f"{'lie' if str(self).startswith('in ') else 'be'} {self}"

  def __str__(self) -> str:
    lower = self.above if self.at_least is None else self.at_least
    upper = self.below if self.at_most is None else self.at_most
    if lower is None and upper is None:
      return "finite"
    if upper is None:
      return f"above {lower}" if self.at_least is None else f"at least {lower}"
    if lower is None:
      return f"below {upper}" if self.at_most is None else f"at most {upper}"
    opening, closing = "(" if self.at_least is None else "[", ")" if self.at_most is None else "]"
    return f"in {opening}{lower}, {upper}{closing}"


FINITE = Range()

PositiveInt = Annotated[int, Range(at_least=1)]
NonNegativeInt = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Probability = Annotated[float, Range(at_least=0, at_most=1)]
# A share that is not the whole.
Fraction = Annotated[float, Range(at_least=0, below=1)]
# A sum of probabilities that some tokens reach.
TopP = Annotated[float, Range(above=0, at_most=1)]
# A share that is not nothing.
Share = Annotated[float, Range(above=0, at_most=1)]
# Strictly between nothing and the whole.
ProperFraction = Annotated[float, Range(above=0, below=1)]
AtLeastOne = Annotated[float, Range(at_least=1)]
# The share of a distribution that is cut off at each end.
Tail = Annotated[float, Range(above=0, below=0.5)]
# What a random key is made from: 32 bits.
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
# gamma = log(sigma^2 / alpha^2): e^-2 gamma, which a learned schedule is fitted with, is a float32.
LogNoise = Annotated[float, Range(at_least=-40, at_most=40)]
