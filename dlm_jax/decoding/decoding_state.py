"""The rows of a batch while they are written, and how far each is."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import PyTree
from dlm_jax.decoding.base import WindowProgress


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DecodingState:
  """How far the rows are.

  Attributes:
    tokens: int32 `[B, S]`.
    cache: keys and values, or None.
    causal: those of the causal evaluations that verify, or None.
    block: int32 scalar, the block at hand.
    offset: int32 `[B]`, from the start of the block to the sub-block at hand of each row.
    progress: of the rule and the revision in it.
    done: bool `[B, 1]`, rows that are done with the block.
    ended: bool `[B, 1]`, rows that are done.
    evaluations: int32 `[B, 1]`, passes so far that the row had a part in.
    has_nan: bool scalar.
  """

  tokens: Array
  cache: PyTree
  causal: PyTree
  block: Array
  offset: Array
  progress: WindowProgress
  done: Array
  ended: Array
  evaluations: Array
  has_nan: Array

  @property
  def active(self) -> Array:
    """Rows that the block at hand is not done for, bool `[B, 1]`."""
    return ~self.done & ~self.ended

  def write(self, tokens: Array, where: Array) -> "DecodingState":
    """The rows with `tokens` `[B, W]` in the slots `where` `[B, W]`, in active rows alone."""
    slots = self.tokens.shape[1]
    row, where = jnp.arange(len(tokens))[:, None], jnp.where(self.active, where, slots)
    written = self.tokens.at[row, where].set(tokens, mode="drop")
    return dataclasses.replace(self, tokens=written)
