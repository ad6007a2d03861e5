"""Which position sees which: plain values that a process hands to a network.

A process that reads all positions together needs none of them (`FULL`). They are static: hashable,
without arrays, and part of what is compiled.
"""

from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

# Positions in a row, or what is computed from them elementwise.
Indices = TypeVar("Indices", jax.Array, np.ndarray, int)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Full:
  """Every position sees every position."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Causal:
  """The output at a position follows from the tokens before it alone.

  The network's input moves one to the right, so that attention to itself shows a position the token
  before it.

  Attributes:
    begin: the token that stands before the first.
    unrevealed: what stands for a token that is not there yet, where the network has no embedding of
      it; it is shown `begin`, and no output that is used sees it.
  """

  begin: int
  unrevealed: int | None = None

  def last_seen(self, index: Indices) -> Indices:
    """The last index that the input `index` sees; it sees all up to there."""
    return index

  def shift(self, z: jax.Array) -> jax.Array:
    """The input of the network `[B, L]` for the tokens `z` `[B, L]`, moved one to the right."""
    z = jnp.pad(z, ((0, 0), (1, 0)), constant_values=self.begin)[:, :-1]
    return z if self.unrevealed is None else jnp.where(z == self.unrevealed, self.begin, z)


@jax.tree_util.register_static
@dataclass(frozen=True)
class BlockCausal:
  """Every position sees its own block and the blocks before it, in one stream of tokens.

  What block diffusion comes to where noise stands in the last block alone (SDAR, LLaDA2).

  Attributes:
    size: tokens a block.
  """

  size: int

  def last_seen(self, index: Indices) -> Indices:
    """The last index that the input `index` sees; it sees all up to there."""
    return (index // self.size + 1) * self.size - 1


@jax.tree_util.register_static
@dataclass(frozen=True)
class Blocks:
  """Blocks of noisy tokens that see themselves and the clean tokens of the blocks before them.

  Block diffusion (BD3-LM, Arriola et al. 2025, section 3.2): a row `[z ; x]` of 2 L tokens, the
  noisy and then the clean ones, each with positions 0..L-1. A clean block sees itself and the clean
  blocks before it. The last block is shorter where L is no multiple of `size`.

  Attributes:
    size: tokens a block.
  """

  size: int

  def last_seen(self, index: Indices) -> Indices:
    """The last index that the clean token `index` sees; it sees all clean tokens up to there."""
    return (index // self.size + 1) * self.size - 1

  def allowed(self, query: Indices, key: Indices, length: int) -> Indices:
    """Whether `query` sees `key`, both indices in 0..2 length - 1, of arrays that broadcast."""
    query_block, key_block = query % length // self.size, key % length // self.size
    query_clean, key_clean = query >= length, key >= length
    same = (query_block == key_block) & (query_clean == key_clean)
    earlier = (query_block > key_block) & key_clean
    return same | earlier


Pattern = Full | Causal | BlockCausal | Blocks
FULL = Full()
