"""All candidates of a score above a threshold are committed, and at least so many (Fast-dLLM)."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt
from dlm_jax.core.types import PyTree
from dlm_jax.decoding import counts
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress


@dataclass(frozen=True, kw_only=True)
class Threshold(Rule):
  """The rule (Wu et al. 2025, Fast-dLLM, algorithm 1; LLaDA2.0; SDAR).

  Attributes:
    threshold: of the score.
    inclusive: whether a score that equals it is enough, as in Fast-dLLM for LLaDA and Dream.
    steps: evaluations of a window that the least number to commit is meant for, as LLaDA2 and SDAR
      have it; 0 is at least one a step.
  """

  threshold: float = 0.9
  inclusive: bool = False
  steps: NonNegativeInt = 0

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    steps = self.steps or candidates.token.shape[1]
    least = counts.count("whole", candidates, progress, steps)
    above = candidates.score > self.threshold
    if self.inclusive:
      above |= candidates.score == self.threshold
    number = jnp.sum(above & candidates.masked, axis=-1, keepdims=True)
    return candidates.best(jnp.maximum(number, jnp.maximum(least, 1))), None


def make(**fields: object) -> Threshold:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(Threshold, fields)
