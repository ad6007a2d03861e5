"""Candidates are committed together as long as what they may say of each other is bounded."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegative
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class EntropyBound(Rule):
  """The rule (Ben-Hamu et al. 2025): the n best, for the largest n whose entropies but the largest
  sum to no more than the bound; at least one.

  Attributes:
    bound: in nats.
  """

  bound: NonNegative = 0.1

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    entropy = -scores.negative_entropy(candidates.log_probs, candidates.token)
    ranked = candidates.sorted(entropy, jnp.inf)
    largest = jnp.maximum.accumulate(ranked, axis=-1)
    total = jnp.cumsum(jnp.where(jnp.isinf(ranked), 0.0, ranked), axis=-1)
    holds = jnp.where(jnp.isinf(ranked), False, total - largest <= self.bound)
    number = jnp.sum(jnp.cumprod(holds, axis=-1), axis=-1, keepdims=True)
    return candidates.best(jnp.maximum(number, 1)), None


def make(**fields: object) -> EntropyBound:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(EntropyBound, fields)
