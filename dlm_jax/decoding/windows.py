"""Where the blocks of each row lie, as slots of a batch.

A text begins at slot 0, and blocks of an answer are counted from the end of the prompt. Where
attention is causal over blocks, they are counted from the start of the text, so that the first
holds the end of the prompt; or the text begins some slots later, so that its prompt ends a block.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import BlockCausal, Full
from dlm_jax.decoding.decoders import Decoder


@dataclass(frozen=True, kw_only=True)
class Windows:
  """The blocks of a batch.

  Attributes:
    begins: int32 `[B]`, the first slot of each text, below the size of a block.
    answers: int32 `[B]`, the first slot of each answer.
    length: tokens of an answer.
    size: W, of a block.
    blocks: how many there are, at most.
    slots: S, of a row, to the end of the last block.
    absolute: whether blocks are those of the slots.
    prompt: slots that hold a prompt in some row.
    first: the block from which on the loop at hand goes, see `Cache.stages`.
  """

  begins: Array
  answers: Array
  length: int
  size: int
  blocks: int
  slots: int
  absolute: bool
  prompt: int
  first: int = 0

  @property
  def left(self) -> int:
    """Positions from the block `first` to the end of the last."""
    return (self.blocks - self.first) * self.size

  @property
  def answer_ends(self) -> Array:
    """The slot after the answer of each row, int32 `[B]`."""
    return self.answers + self.length

  @property
  def ends(self) -> Array:
    """The slot after the last block of each row, int32 `[B]`."""
    ends = self.answer_ends
    return -(-ends // self.size) * self.size if self.absolute else ends

  @property
  def is_answer(self) -> Array:
    """The slots of the answer of each row, bool `[B, S]`."""
    slots = jnp.arange(self.slots)
    return (slots >= self.answers[:, None]) & (slots < self.answer_ends[:, None])

  def starts(self, block: Array | int) -> Array:
    """The first slot of a block in each row, int32 `[B]`; past its end where it has no such."""
    if self.absolute:
      return (self.answers // self.size + block) * self.size
    return self.answers + block * self.size

  def has(self, block: Array | int) -> Array:
    """Whether the answer of each row reaches into a block, bool `[B, 1]`."""
    return (self.starts(block) < self.answer_ends)[:, None]

  def is_open(self, where: Array) -> Array:
    """Which of the slots `where` `[B, n]` are written, bool."""
    return (where >= self.answers[:, None]) & (where < self.ends[:, None])


def of(decoder: Decoder, pattern: Full | BlockCausal, prompts: Array, prompt_slots: int) -> Windows:
  """The blocks in which `decoder` answers prompts of `prompts` `[B]` tokens.

  Raises:
    UserError: the decoder asks for other blocks than the model has, or a cache that it cannot use.
  """
  length, absolute = decoder.length, isinstance(pattern, BlockCausal)
  begins = jnp.zeros_like(prompts)
  if isinstance(pattern, BlockCausal):
    size = pattern.size
    if decoder.block not in (0, size):
      raise UserError(
        f"the attention of this model is causal over blocks of {size} tokens, so that it cannot be "
        f"decoded in blocks of {decoder.block}: leave the block open."
      )
    if decoder.blocks_from == "answer":
      begins, prompt_slots = -prompts % size, prompt_slots + size - 1
    blocks = -(-(length + size - 1) // size)
    slots = -(-(prompt_slots + length) // size) * size
  else:
    if decoder.cache.name == "block":
      raise UserError(
        "the cache 'block' is of models whose attention is causal over blocks, and this one sees "
        "all positions: use 'dual', 'prefix', 'vicinity' or 'none'."
      )
    size = decoder.block or length
    blocks, slots = length // size, prompt_slots + length
  return Windows(
    begins=begins,
    answers=begins + prompts,
    length=length,
    size=size,
    blocks=blocks,
    slots=slots,
    absolute=absolute,
    prompt=prompt_slots,
  )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Here:
  """The block at hand in each row.

  Attributes:
    tokens: int32 `[B, W]`.
    open: bool `[B, W]`, positions that are written, masked or not.
    masked: bool `[B, W]`, those that hold a mask.
  """

  tokens: Array
  open: Array
  masked: Array


def here(tokens: Array, where: Array, is_open: Array, mask_id: int) -> Here:
  """The slots `where` `[B, W]` of the rows `tokens` `[B, S]`; outside of them nothing is open."""
  inside = jnp.clip(where, 0, tokens.shape[1] - 1)
  found = jnp.take_along_axis(tokens, inside, axis=1)
  return Here(tokens=found, open=is_open, masked=is_open & (found == mask_id))
