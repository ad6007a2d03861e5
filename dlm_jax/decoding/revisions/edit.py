"""Tokens that the model would now write otherwise are overwritten (LLaDA2.1)."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegativeInt, Probability
from dlm_jax.decoding.base import Candidates, Revised, Revision, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class Edit(Revision):
  """The revision: in the window at hand, not in the prompt.

  Attributes:
    threshold: of the probability of the new token; it must be above.
    most_after: evaluations after the last mask of a window; a window is done sooner where one
      changes nothing.
  """

  threshold: Probability = 0.9
  most_after: NonNegativeInt = 16

  @property
  def is_final(self) -> bool:
    return False

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    tokens, after = super().revise(candidates, committed, progress).tokens, progress.after
    certain = scores.probability(candidates.log_probs, candidates.token) > self.threshold
    edits = candidates.written & certain & (candidates.token != candidates.here)
    stable = (after > 0) & ~jnp.any(edits, axis=-1, keepdims=True)
    tokens = jnp.where(edits, candidates.token, tokens)
    return Revised(tokens, stable | (after >= self.most_after))


def make(**fields: object) -> Edit:
  """Builds the revision from its settings. Raises `UserError`."""
  return resolve.build(Edit, fields)
