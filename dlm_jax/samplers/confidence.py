"""Masked diffusion that commits the positions it is most certain of first.

At each step every masked position gets a candidate token and a score, and the best ones are
committed, as many as the time grid says (MaskGIT, Chang et al. 2022; LLaDA, Nie et al. 2025; Kim et
al. 2025). One position at a time in an order that is decided before the candidates are drawn (all
scores but `probability`), an exact model's samples follow its own distribution. `probability`
prefers likely candidates, and positions committed together know nothing of each other: both give
up that law, for quality or speed (see experiments/parallel_commit).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.processes.base import Prediction, Process, free
from dlm_jax.processes.draws import row_categorical, split_rows
from dlm_jax.processes.facets import RevealsOnce
from dlm_jax.samplers import scores
from dlm_jax.samplers.base import Sampler, State, open_positions

# Float32 may put a whole number of masked tokens this far above itself.
SLACK = 1e-3


@dataclass(frozen=True, kw_only=True)
class Confidence(Sampler):
  """The sampler. Build it with `make`.

  `steps` is the number of evaluations. After the step to time s, ceil(masked(s) F) of the F
  positions that were free at first are still masked: one is committed at a time from F steps on.

  Attributes:
    score: which masked positions are committed first: `probability` of the candidate, `margin`
      between the two likeliest tokens, `negative_entropy`, `random`, or `left_to_right`. It is that
      of the prediction before temperature, top-k and top-p, which shape the candidates alone.
  """

  needs: ClassVar[type] = RevealsOnce

  score: str = "probability"

  def __post_init__(self) -> None:
    scores.check(self.score)

  def memory(self, z: Array, given: Array | None) -> Array:
    """F, the free positions of each row, int32 `[B, 1]`."""
    return jnp.sum(free(given, z.shape), axis=-1, keepdims=True)

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    assert isinstance(process, RevealsOnce)
    z, masked = state.z, open_positions(process, state.z, state.given)
    token_key, order_key = split_rows(state.keys, len(z), 2)
    token = row_categorical(token_key, prediction.log_probs)
    unfiltered = prediction.unfiltered
    log_probs = prediction.log_probs if unfiltered is None else unfiltered
    score = scores.score(self.score, order_key, log_probs, token)
    left = jnp.ceil(process.masked(s)[:, None] * state.memory - SLACK)
    count = jnp.sum(masked, axis=-1, keepdims=True) - left
    commit = masked & (scores.ranks(score, masked) < count)
    return dataclasses.replace(state, z=jnp.where(commit, token, z))


def make(**fields: object) -> Confidence:
  """Builds the sampler from its settings. Raises `UserError`."""
  return resolve.build(Confidence, fields)
