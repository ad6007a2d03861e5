"""All positions are judged anew at each step; what is not accepted is noise (DiffusionGemma)."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegative, PositiveInt, Probability
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Revised, Revision, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class Canvas(Revision):
  """The revision, for models of uniform noise (DiffusionGemma, 2026: its `EntropyBoundSampler`).

  At each step the rule chooses among all positions of the window, those that it chose before
  included. Those that it does not choose are random tokens for the next evaluation. In the end the
  likeliest token of every position is written.

  Attributes:
    steps: the most evaluations of a window.
    cooling: by which share the temperature falls from the first step to the end of the last, in
      equal parts: 0.5 is from 0.8 to 0.4.
    certain: a window is done sooner where the likeliest tokens are those of the step before and the
      mean entropy of its positions is below so many nats.
  """

  steps: PositiveInt = 48
  cooling: Probability = 0.5
  certain: NonNegative = 0.005

  @property
  def has_noise(self) -> bool:
    return True

  @property
  def reopens(self) -> bool:
    return True

  @property
  def is_final(self) -> bool:
    return False

  def memory(self, shape: tuple[int, int]) -> PyTree:
    """The likeliest tokens int32 `[B, W]` of the step before; none at first."""
    return jnp.full(shape, -1)

  def heat(self, step: Array) -> Array | None:
    return 1.0 - self.cooling * step / self.steps

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    opened, likeliest = candidates.masked, candidates.likeliest
    entropy = -scores.negative_entropy(candidates.log_probs, candidates.token)
    mean = jnp.mean(entropy, axis=-1, keepdims=True, where=opened)
    changes = jnp.any(opened & (likeliest != progress.of_revision), axis=-1, keepdims=True)
    settled = (progress.step >= self.steps - 1) | (~changes & (mean < self.certain))
    accepted = jnp.where(committed, candidates.token, candidates.mask_id)
    tokens = jnp.where(opened, jnp.where(settled, likeliest, accepted), candidates.here)
    return Revised(tokens, settled, likeliest)


def make(**fields: object) -> Canvas:
  """Builds the revision from its settings. Raises `UserError`."""
  return resolve.build(Canvas, fields)
