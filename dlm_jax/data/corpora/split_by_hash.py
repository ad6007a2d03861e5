"""What corpora share whose splits are fractions of what they hold, by its hash."""

from dataclasses import dataclass

from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Fraction
from dlm_jax.data.corpora import base


@dataclass(frozen=True, kw_only=True)
class SplitByHash:
  """The splits of a corpus.

  Attributes:
    validation, test: fractions that are held out.

  Raises:
    UserError: they leave nothing to train on.
  """

  validation: Fraction = 0.05
  test: Fraction = 0.05

  def __post_init__(self) -> None:
    if self.validation + self.test >= 1:
      raise UserError(
        f"corpus.validation {self.validation} and corpus.test {self.test} leave nothing to train "
        "on: their sum must be below 1."
      )

  @property
  def splits(self) -> tuple[str, ...]:
    fractions = {"train": 1.0, "validation": self.validation, "test": self.test}
    return tuple(name for name, fraction in fractions.items() if fraction > 0)

  def split_of(self, name: str) -> str:
    """The split of the thing called `name`, see `base.split_of`."""
    return base.split_of(name, self.validation, self.test)
