"""Tokens that were predicted again and again get credit, and pass the threshold sooner."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Fraction, NonNegative, Positive
from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import Candidates, Rule, WindowProgress
from dlm_jax.samplers import scores


@dataclass(frozen=True, kw_only=True)
class Credit(Rule):
  """The rule (CreditDecoding, 2025): candidates and scores are of logits + weight log(1 + trace),
  where the trace of a token decays and gains p^exponent at each step whose candidate it was.

  Attributes:
    threshold: of the score; at least the best one is committed.
    weight: of the credit.
    decay: of the trace a step.
    exponent: of the probability that a trace gains.
  """

  threshold: float = 0.9
  weight: NonNegative = 0.7
  decay: Fraction = 0.8
  exponent: Positive = 0.2

  def memory(self, shape: tuple[int, int], vocab_size: int) -> PyTree:
    """The trace `[B, W, V]`."""
    return jnp.zeros((*shape, vocab_size))

  def adjust(self, logits: Array, memory: PyTree) -> Array:
    return logits + self.weight * jnp.log1p(memory)

  def commit(self, candidates: Candidates, progress: WindowProgress) -> tuple[Array, PyTree]:
    above = candidates.masked & (candidates.score > self.threshold)
    gain = scores.probability(candidates.log_probs, candidates.token) ** self.exponent
    vocab_size = candidates.log_probs.shape[-1]
    gained = gain[..., None] * jax.nn.one_hot(candidates.token, vocab_size)
    return above | candidates.best(jnp.int32(1)), self.decay * progress.memory + gained


def make(**fields: object) -> Credit:
  """Builds the rule from its settings. Raises `UserError`."""
  return resolve.build(Credit, fields)
