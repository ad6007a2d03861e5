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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Here:
  """Some slots of each row, such as the block at hand.

  Attributes:
    tokens: int32 `[B, W]`.
    open: bool `[B, W]`, positions that are written, masked or not.
    masked: bool `[B, W]`, those that hold a mask.
  """

  tokens: Array
  open: Array
  masked: Array


@dataclass(frozen=True, kw_only=True)
class Windows:
  """The blocks of a batch.

  Attributes:
    begins: int32 `[B]`, the first slot of each text, below the size of a block.
    answers: int32 `[B]`, the first slot of each answer.
    length: tokens of an answer.
    size: of a block.
    part: W, of the sub-blocks of a block; the size where it has none.
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
  part: int
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

  def slots_of(self, block: Array) -> Array:
    """The slots of a block in each row, int32 `[B, size]`."""
    return self.starts(block)[:, None] + jnp.arange(self.size)

  def is_open(self, where: Array) -> Array:
    """Which of the slots `where` `[B, n]` are written, bool."""
    return (where >= self.answers[:, None]) & (where < self.ends[:, None])

  def here(self, tokens: Array, where: Array, mask_id: int) -> Here:
    """The slots `where` `[B, n]` of the rows `tokens` `[B, S]`; outside of them nothing is open."""
    inside = jnp.clip(where, 0, tokens.shape[1] - 1)
    found, is_open = jnp.take_along_axis(tokens, inside, axis=1), self.is_open(where)
    return Here(tokens=found, open=is_open, masked=is_open & (found == mask_id))

  def has_ended(self, tokens: Array, end_id: int | None, mask_id: int) -> Array:
    """Whether each of the rows `tokens` `[B, S]` has an end token before which nothing is masked,
    bool `[B, 1]`; none has where None ends an answer."""
    if end_id is None:
      return jnp.zeros((len(tokens), 1), bool)
    answer = self.is_answer
    masked = jnp.cumsum(answer & (tokens == mask_id), axis=1)
    return jnp.any(answer & (tokens == end_id) & (masked == 0), axis=1, keepdims=True)


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
    if decoder.cache.is_by_blocks:
      raise UserError(
        f"the cache {decoder.cache.name!r} is of models whose attention is causal over blocks, and "
        "this one sees all positions: use 'dual', 'prefix', 'vicinity' or 'none'."
      )
    size = decoder.block or length
    blocks, slots = length // size, prompt_slots + length
  part = decoder.sub_block or size
  if size % part:
    raise UserError(
      f"a sub-block of {part} does not fit into a block of {size} tokens: choose one that divides "
      "it."
    )
  return Windows(
    begins=begins,
    answers=begins + prompts,
    length=length,
    size=size,
    part=part,
    blocks=blocks,
    slots=slots,
    absolute=absolute,
    prompt=prompt_slots,
  )
