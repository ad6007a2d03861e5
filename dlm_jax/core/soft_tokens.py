"""Mixtures of tokens: what a network is given in place of tokens while a curriculum lasts."""

from dataclasses import dataclass

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SoftTokens:
  """At each position a few tokens with weights: the network sees the mean of their embeddings.

  Attributes:
    tokens: int32 `[B, L, K]`.
    weights: float32 `[B, L, K]`, summing to 1.
  """

  tokens: Array
  weights: Array

  @property
  def shape(self) -> tuple[int, ...]:
    """(B, L), as of tokens."""
    return self.weights.shape[:2]
