"""The more candidates are committed together, the more certain the last of them must be."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Positive
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress


@dataclass(frozen=True, kw_only=True)
class Factor(Rule):
  """The rule (Wu et al. 2025, Fast-dLLM, theorem 1): the n best, for the largest n such that
  (m + 1) (1 - score of the m-th) <= factor for all m up to n; at least one.

  Attributes:
    factor: of the bound.
  """

  factor: Positive = 1.0

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    best = candidates.sorted(candidates.score, -jnp.inf)
    m = jnp.arange(1, best.shape[1] + 1)
    holds = jnp.cumprod(best >= 1.0 - self.factor / (m + 1), axis=-1)
    number = jnp.sum(holds, axis=-1, keepdims=True)
    return candidates.best(jnp.maximum(number, 1)), None


def make(**fields: object) -> Factor:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(Factor, fields)
