"""The n best candidates are committed, n by a schedule of so many steps a window."""

from dataclasses import dataclass

from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt
from dlm_jax.core.types import PyTree
from dlm_jax.decoding import counts
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress


@dataclass(frozen=True, kw_only=True)
class TopN(Rule):
  """The rule.

  Attributes:
    steps: evaluations of a window; 0 is one for each of its positions.
    schedule: how they share the positions: `even`, that of LLaDA; `whole`, that of SDAR and
      LLaDA2, which leaves out of account what is given of a window; `linear`, that of Dream, by the
      masked positions of each row; `rounded`, half to even.
  """

  steps: NonNegativeInt = 0
  schedule: str = "even"

  def __post_init__(self) -> None:
    counts.check(self.schedule)

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    steps = self.steps or candidates.token.shape[1]
    number = counts.count(self.schedule, candidates, progress, steps)
    return candidates.best(number), None


def make(**fields: object) -> TopN:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(TopN, fields)
