"""A window is a draft, of which a causal evaluation keeps the longest part that it agrees with."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.decoding.base import Candidates, Revised, Revision, WindowProgress


@dataclass(frozen=True, kw_only=True)
class Verify(Revision):
  """The revision, for a model that reads both ways: it has no settings.

  Once a window is filled, the model reads it from left to right, and draws a token for every
  position from those before it. The tokens before the first that differs stay, that one is written
  over, and all behind it is masked again. Each evaluation so settles at least one token, and what
  is written is what the model would write from left to right: at temperature 0 its greedy answer,
  else a draw from its law.
  """

  @property
  def is_final(self) -> bool:
    return False

  @property
  def is_verified(self) -> bool:
    return True

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    revised = super().revise(candidates, committed, progress)
    differs = candidates.written & (candidates.token != candidates.here)
    differs_before = jnp.cumsum(differs, axis=-1) - differs > 0
    judged = jnp.where(differs, candidates.token, candidates.here)
    judged = jnp.where(candidates.written & differs_before, candidates.mask_id, judged)
    return revised._replace(tokens=jnp.where(progress.after > 0, judged, revised.tokens))


def make(**fields: object) -> Verify:
  """Builds the revision. Raises `UserError` for an unknown field."""
  return resolve.build(Verify, fields)
