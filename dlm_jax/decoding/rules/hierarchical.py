"""Candidates above a threshold are committed, and the best of each run of masked neighbours."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress


@dataclass(frozen=True, kw_only=True)
class Hierarchical(Rule):
  """The rule (dInfer, 2025): positions far apart say little of each other. At least the best one.

  Attributes:
    threshold: of the score, for any position.
    low_threshold: of the score, for the best position of each run.
  """

  threshold: float = 0.9
  low_threshold: float = 0.4

  def __post_init__(self) -> None:
    if self.low_threshold > self.threshold:
      raise UserError(
        f"low_threshold {self.low_threshold} must not be above threshold {self.threshold}."
      )

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    masked, window = candidates.masked, candidates.token.shape[1]
    score = jnp.where(masked, candidates.score, -jnp.inf)
    # The number of a run is that of the positions before it that are not masked.
    run = jnp.cumsum(~masked, axis=-1)
    best = jax.vmap(lambda s, r: jax.ops.segment_max(s, r, window + 1))(score, run)
    is_best = masked & (score == jnp.take_along_axis(best, run, axis=-1))
    commit = masked & (score > self.threshold) | (is_best & (score > self.low_threshold))
    return commit | candidates.best(jnp.int32(1)), None


def make(**fields: object) -> Hierarchical:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(Hierarchical, fields)
