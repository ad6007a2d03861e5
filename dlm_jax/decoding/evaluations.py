"""The evaluation of a step of decoding: of all positions, or of some from a cache of the others."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.decoding import input_rows
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.decoding_state import DecodingState
from dlm_jax.decoding.input_rows import InputRows
from dlm_jax.decoding.passes import Passes
from dlm_jax.decoding.windows import Here, Windows


@dataclass(frozen=True)
class Evaluations:
  """What the network is given of the rows, and what it gives for the sub-block at hand of each.

  Attributes:
    decoder: how the rows are written.
    passes: of the model over them.
    windows: where the blocks lie.
    keys: `[B]`.
  """

  decoder: Decoder
  passes: Passes
  windows: Windows
  keys: Array

  def read_all(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """The hidden states `[.., W, D]` of the sub-block at hand, if all positions are evaluated."""
    cache = rows.cache
    if cache is None:
      hidden = self.passes.everything(self._inputs(rows))
    else:
      hidden, cache = self.passes.fill(self._inputs(rows), cache)
    hidden = self.passes.at(hidden, self._slots(rows) - self.passes.model.shift)
    return dataclasses.replace(rows, cache=cache), hidden

  def read_near(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """The same, if those near the block are evaluated, which read the cache of all others."""
    before, number = self.decoder.cache.span(self.windows.size, self.windows.left)
    return self._read(rows, self.windows.starts(rows.block) - before, number)

  def read_parts(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """The same, if the sub-block is evaluated, or the block in the rows whose sub-block begins with
    a mask or is reached anew: a row has a part in one of the two, whatever its neighbours do."""
    every, step, where = self.decoder.cache.refresh_every, rows.progress.step, self.windows
    whole = (step == 0) | self._here(rows).masked[:, :1]
    if every:
      whole |= step % every == 0
    start = where.starts(rows.block)
    rows, of_block = self._of_those(rows, rows.active & whole, start, where.size)
    begin = start + rows.offset
    rows, of_part = self._of_those(rows, rows.active & ~whole, begin, where.part)
    return rows, jnp.where(self.passes.twice(whole)[..., None], of_block, of_part)

  def _of_those(
    self, rows: DecodingState, those: Array, start: Array, number: int
  ) -> tuple[DecodingState, Array]:
    """The hidden states of the sub-block at hand of `those` rows `[B, 1]`, if there are any, after
    an evaluation of `number` slots from `start` `[B]` on."""
    start = jnp.where(those[:, 0], start, self.windows.slots)  # outside of the rows: not written
    like = jax.eval_shape(lambda: self._read(rows, start, number)[1])
    return jax.lax.cond(
      jnp.any(those),
      lambda rows: self._read(rows, start, number),
      lambda rows: (rows, jnp.zeros(like.shape, like.dtype)),
      rows,
    )

  def _read(self, rows: DecodingState, start: Array, number: int) -> tuple[DecodingState, Array]:
    """The hidden states of the sub-block at hand, after an evaluation of `number` slots from
    `start` `[B]` on."""
    inputs, where = self._inputs(rows), self._slots(rows)
    hidden, cache = self.passes.predict(inputs, (start, number), where, rows.cache)
    return dataclasses.replace(rows, cache=cache), hidden

  @property
  def _mask_id(self) -> int:
    return self.passes.model.mask_id

  def _slots(self, rows: DecodingState) -> Array:
    """The sub-block at hand of each row, int32 `[B, W]`."""
    return self.windows.slots_of(rows.block)[:, : self.windows.part] + rows.offset[:, None]

  def _here(self, rows: DecodingState) -> Here:
    """The sub-block at hand."""
    return self.windows.here(rows.tokens, self._slots(rows), self._mask_id)

  def _keys_of(self, rows: DecodingState) -> Array:
    """The keys `[B]` of the step at hand. They do not depend on what the cache has cost."""
    window = rows.block * self.windows.size + rows.offset
    return draws_of(self.keys, window, rows.progress.step[:, 0])

  def _inputs(self, rows: DecodingState) -> InputRows:
    """The rows as the network is given them."""
    inputs = self.passes.inputs(rows.tokens, self._keys_of(rows))
    likely = self.decoder.revision.likely(rows.progress.of_revision)
    if likely is None:
      return inputs
    tokens = input_rows.mixed(rows.tokens, likely, self._slots(rows), self._mask_id)
    return dataclasses.replace(inputs, tokens=tokens)


def draws_of(keys: Array, first: Array | int, second: Array) -> Array:
  """The keys `[B]` of the draws that two numbers name, each of all rows or of each `[B]`."""

  def of_row(key: Array, first: Array, second: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, first), second)

  numbers = (jnp.broadcast_to(jnp.asarray(n, jnp.uint32), len(keys)) for n in (first, second))
  return jax.vmap(of_row)(keys, *numbers)
