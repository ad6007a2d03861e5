"""Candidates are committed once the prediction of their position has stopped to change."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegative, PositiveInt, Probability
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class KlStable(Rule):
  """The rule (Kim et al. 2025, KLASS): the KL divergence from the prediction of the step before was
  below `divergence` in the last `steps` steps, and the probability is above `threshold`; where no
  position is so, the best one.

  Attributes:
    divergence: in nats.
    steps: how many in a row.
    threshold: of the probability of the candidate.
  """

  divergence: NonNegative = 0.01
  steps: PositiveInt = 2
  threshold: Probability = 0.9

  def memory(self, shape: tuple[int, int], vocab_size: int) -> PyTree:
    """The last prediction `[B, W, V]`, which is far from any at first, and how often in a row it
    was stable `[B, W]`."""
    return jnp.full((*shape, vocab_size), -jnp.inf), jnp.zeros(shape, jnp.int32)

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    before, stable = progress.memory
    now = candidates.log_probs
    terms = jnp.where(jnp.isneginf(now), 0.0, jnp.exp(now) * (now - before))
    stable = jnp.where(jnp.sum(terms, axis=-1) < self.divergence, stable + 1, 0)
    probability = scores.probability(now, candidates.token)
    ready = candidates.masked & (stable >= self.steps) & (probability > self.threshold)
    none = ~jnp.any(ready, axis=-1, keepdims=True)
    return ready | (none & candidates.best(jnp.int32(1))), (now, stable)


def make(**fields: object) -> KlStable:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(KlStable, fields)
