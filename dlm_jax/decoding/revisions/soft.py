"""Where nothing is committed, the network is given a mixture of the mask and likely tokens."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Probability, Range
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Revised, Revision, WindowProgress


@dataclass(frozen=True, kw_only=True)
class Soft(Revision):
  """The revision (Hersche et al. 2025, soft masking): what is committed stays. At every other
  position of the window the embedding of the mask is mixed with those of the k likeliest tokens of
  the step before, each by its probability, and the rest is the mask's.

  The authors train a model for it, with a share that it learns from the entropy of the prediction.

  Attributes:
    candidates: k.
    weight: by what those probabilities are multiplied; 0 is the mask alone.
  """

  candidates: Annotated[int, Range(at_least=1, at_most=16)] = 3
  weight: Probability = 1.0

  def memory(self, shape: tuple[int, int]) -> PyTree:
    """The likeliest tokens and their weights, `[B, W, k]`; the weights are 0 at first."""
    nothing = jnp.zeros((*shape, self.candidates))
    return SoftTokens(nothing.astype(jnp.int32), nothing)

  def likely(self, memory: PyTree) -> SoftTokens | None:
    assert isinstance(memory, SoftTokens)
    return memory

  def revise(self, candidates: Candidates, committed: Array, progress: WindowProgress) -> Revised:
    log_probs, tokens = jax.lax.top_k(candidates.log_probs, self.candidates)
    memory = SoftTokens(tokens, self.weight * jnp.exp(log_probs))
    return super().revise(candidates, committed, progress)._replace(memory=memory)


def make(**fields: object) -> Soft:
  """Builds the revision from its settings. Raises `UserError`."""
  return resolve.build(Soft, fields)
