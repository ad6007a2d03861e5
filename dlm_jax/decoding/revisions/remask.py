"""Written tokens compete with the candidates: the best of all stay, the others are masked again."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Positive
from dlm_jax.decoding.base import Candidates, Revised, Revision, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class Remask(Revision):
  """The revision (P2, Peng et al. 2025): after a step as many positions of the window are written
  as the rule has it, but those whose tokens the model now finds the most probable.

  Attributes:
    favour: by what the probability of a token that is written is multiplied.
  """

  favour: Positive = 1.0

  @property
  def is_final(self) -> bool:
    return False

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    masked, written, here = candidates.masked, candidates.written, candidates.here
    there = jnp.where(masked, 0, here)  # the mask may be no token
    stays = self.favour * scores.probability(candidates.log_probs, there)
    comes = scores.probability(candidates.log_probs, candidates.token)
    number = jnp.sum(written | committed, axis=-1, keepdims=True)
    best = scores.ranks(jnp.where(masked, comes, stays), masked | written) < number
    tokens = jnp.where(masked & best, candidates.token, here)
    tokens = jnp.where(written & ~best, candidates.mask_id, tokens)
    return Revised(tokens, jnp.ones_like(progress.step, bool))


def make(**fields: object) -> Remask:
  """Builds the revision from its settings. Raises `UserError`."""
  return resolve.build(Remask, fields)
