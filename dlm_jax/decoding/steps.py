"""What every evaluation offered and what became of it, for whoever watches while rows are written.

The whole generation is one program, so that the host learns of a step by a callback from within it.
A program that nobody watches has none, and pays nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import io_callback

from dlm_jax.decoding.base import Candidates
from dlm_jax.distributed import sharding
from dlm_jax.samplers import scores


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Step:
  """One evaluation of a block of W positions: NumPy arrays, once they are on the host.

  Attributes:
    tokens: int32 `[B, S]`, the rows after it.
    answers: int32 `[B]`, the slot at which the answer of each begins.
    where: int32 `[B, W]`, the slots of the positions; some may lie outside of the answer.
    active: bool `[B]`, the rows that had a part in it; of the others the rest means nothing.
    masked: bool `[B, W]`, the positions that might be committed.
    committed: bool `[B, W]`, those of them that were.
    score: float32 `[B, W]`, how certain each candidate is, in the terms of the decoder.
    certainty: float32 `[B, W]`, the probability of the candidate in the distribution that is
      scored, whatever the score is.
    candidates: int32 `[B, W]`.
    alternatives: int32 `[B, W, K]`, the likeliest tokens of that distribution, best first.
    probabilities: float32 `[B, W, K]`, theirs.
  """

  tokens: Array | np.ndarray
  answers: Array | np.ndarray
  where: Array | np.ndarray
  active: Array | np.ndarray
  masked: Array | np.ndarray
  committed: Array | np.ndarray
  score: Array | np.ndarray
  certainty: Array | np.ndarray
  candidates: Array | np.ndarray
  alternatives: Array | np.ndarray
  probabilities: Array | np.ndarray


@dataclass(frozen=True)
class Watch:
  """Who is told of every step.

  Attributes:
    tell: is called on the host, in order; it must not use JAX.
    alternatives: K, how many tokens it is told of at each position.
  """

  tell: Callable[[Step], None]
  alternatives: int = 0

  def report(
    self, rows: tuple[Array, Array, Array], where: Array, candidates: Candidates, committed: Array
  ) -> None:
    """Sends a step to the host.

    Args:
      rows: the tokens int32 `[B, S]` after it, where their answers begin, and which were active.
      where: int32 `[B, W]`.
      candidates: of the step.
      committed: bool `[B, W]`.
    """
    tokens, answers, active = rows
    log_probs = candidates.log_probs
    best, alternatives = jax.lax.top_k(log_probs, min(self.alternatives, log_probs.shape[-1]))
    step = Step(
      tokens=tokens,
      answers=answers,
      where=where,
      active=active,
      masked=candidates.masked,
      committed=committed,
      score=candidates.score,
      certainty=scores.probability(log_probs, candidates.token),
      candidates=candidates.token,
      alternatives=alternatives,
      probabilities=jnp.exp(best),
    )
    # Whole on every device, of which the first calls the host.
    io_callback(self._tell, None, jax.tree.map(sharding.constrain, step), ordered=True)

  def _tell(self, step: Step) -> None:
    self.tell(jax.tree.map(np.array, step))  # copies: the program writes over its own
