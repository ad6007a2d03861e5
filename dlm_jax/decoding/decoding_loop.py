"""The loop of decoding: blocks from left to right, and steps of a block until every row is done.

Rows go from block to block together, and each by itself through the sub-blocks of one; what is
written in a row depends on its own prompt and key alone.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.decoding.base import Candidates, WindowProgress
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.decoding_state import DecodingState
from dlm_jax.decoding.passes import Passes
from dlm_jax.decoding.windows import Here, Windows


@dataclass(frozen=True)
class DecodingLoop:
  """What does not change while the rows are written.

  Attributes:
    decoder: how they are written.
    passes: of the model over them.
    windows: where the blocks lie.
    keys: `[B]`.
    end_id: the token that ends an answer, or None.
    copies: how many neighbouring rows have the same prompt.
  """

  decoder: Decoder
  passes: Passes
  windows: Windows
  keys: Array
  end_id: int | None
  copies: int = 1

  @property
  def _mask_id(self) -> int:
    return self.passes.model.mask_id

  def begin(self, tokens: Array, trajectory: bool) -> DecodingState:
    """The rows before the first evaluation; the prompts lie in the cache where it is exact."""
    number, where = len(tokens), self.windows
    column = jnp.zeros((number, 1), jnp.int32)
    cache, causal, evaluations = None, None, column
    if self.decoder.cache.name != "none":
      cache = self.passes.empty()
    if self.decoder.cache.is_by_blocks and where.prompt:
      cache = self.passes.filled(tokens[:, : where.prompt], self.copies)
      evaluations += (where.starts(0) > 0)[:, None]
    revision = self.decoder.revision
    if revision.is_verified:
      causal = self.passes.causal.filled(tokens[:, : where.prompt], self.copies)
      evaluations += 1
    of_part = self.decoder.rule.most_steps(where.part) + revision.most_steps_after
    most = where.blocks * revision.most_steps(where.size, of_part * where.size // where.part)
    progress = self._progress(column, column)
    frames = jnp.broadcast_to(tokens, (most + 1, *tokens.shape)) if trajectory else None
    return DecodingState.begin(tokens, (cache, causal), evaluations, progress, frames)

  def run(self, rows: DecodingState) -> DecodingState:
    """All blocks, or as many until every row has ended."""
    goes_on = lambda r: (r.block < self.windows.blocks) & ~jnp.all(r.ended)  # noqa: E731
    return jax.lax.while_loop(goes_on, self._block, rows)

  # A block.

  def _block(self, rows: DecodingState) -> DecodingState:
    """All steps of the block at hand, and on to the next."""
    rows = self.enter(rows)
    part = self._verified if self.decoder.revision.is_verified else self._steps
    rows = jax.lax.while_loop(lambda r: jnp.any(r.active), part, rows)
    ended = rows.ended | self._has_ended(rows.tokens)
    return dataclasses.replace(rows, block=rows.block + 1, ended=ended)

  def enter(self, rows: DecodingState) -> DecodingState:
    """The block at its first step. A cache of blocks first gets the final tokens of that before."""
    rows = self._anew(rows)
    if not self.decoder.cache.is_by_blocks:
      return rows
    before = self.windows.starts(rows.block) - self.windows.size
    hidden, cache = self.passes.window(rows.tokens, before, self.windows.size, rows.cache)
    rows = dataclasses.replace(rows, cache=cache)
    if self.decoder.first:
      rows = self._write_first(rows, hidden[:, -1:])
    count = rows.active & (before >= 0)[:, None]
    return dataclasses.replace(rows, evaluations=rows.evaluations + count)

  def _anew(self, rows: DecodingState) -> DecodingState:
    """The rows before the first step of what is masked of the block: of its first sub-block with a
    mask."""
    block = self.windows.slots_of(rows.block)
    masked = self.windows.here(rows.tokens, block, self._mask_id).masked
    offset = jnp.argmax(masked, axis=-1) // self.windows.part * self.windows.part
    rows = dataclasses.replace(rows, offset=offset.astype(jnp.int32))
    number = jnp.sum(self._here(rows).masked, axis=-1, keepdims=True)
    none = jnp.zeros_like(number)
    done = ~jnp.any(masked, axis=-1, keepdims=True)
    return dataclasses.replace(rows, progress=self._progress(none, number), after=none, done=done)

  def _onward(self, rows: DecodingState, finished: Array) -> DecodingState:
    """Those that have `finished` `[B, 1]` their sub-block, at the next or done with the block."""
    if self.windows.part == self.windows.size:
      return dataclasses.replace(rows, done=rows.done | finished)
    anew = self._anew(rows)

    def of_finished(new: Array, old: Array) -> Array:
      return jnp.where(finished.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return dataclasses.replace(
      rows,
      offset=of_finished(anew.offset, rows.offset),
      progress=jax.tree.map(of_finished, anew.progress, rows.progress),
      after=of_finished(anew.after, rows.after),
      done=rows.done | (finished & anew.done),
    )

  def _steps(self, rows: DecodingState) -> DecodingState:
    """Steps until all rows are done."""
    by_blocks = {"none": self.read_all, "block": self.read_near, "sub_block": self.read_parts}
    read = by_blocks.get(self.decoder.cache.name)
    step = self._renewed if read is None else lambda r: self._step(*read(r))
    return jax.lax.while_loop(lambda r: jnp.any(r.active), step, rows)

  def _verified(self, rows: DecodingState) -> DecodingState:
    """What a causal evaluation leaves of the block, once its masks are filled in as a draft.

    Position i is judged by the output at i - 1, so that the last token of the block before, which
    may have been written by that evaluation, gets its keys and values from this one. The draft is
    judged alone, and not what an evaluation before has left: each leaves at least one token more.
    """
    where = self.windows.slots_of(rows.block)
    draft = self.windows.here(rows.tokens, where, self._mask_id).masked
    drafted = dataclasses.replace(self._steps(rows), done=rows.done)
    start = self.windows.starts(rows.block) - 1
    hidden, causal = self.passes.causal.window(
      drafted.tokens, start, self.windows.size, drafted.causal
    )
    # Every evaluation of the block draws with the same noise, whatever the drafts cost.
    draw = jnp.iinfo(jnp.int32).max - jnp.broadcast_to(rows.block, len(self.keys))
    logits, nothing = self.passes.logits(hidden), jnp.zeros_like(draft)
    here = self.windows.here(drafted.tokens, where, self._mask_id)
    judged = dataclasses.replace(here, open=draft, masked=nothing)
    candidates = self._offer(drafted, judged, logits, draw)
    tokens, _ = self.decoder.revision.revise(candidates, nothing, jnp.ones_like(drafted.after))
    rows = self._write(drafted, tokens, where)
    rows = dataclasses.replace(
      rows,
      causal=causal,
      ended=rows.ended | self._has_ended(rows.tokens),
      evaluations=rows.evaluations + drafted.active,
      has_nan=rows.has_nan | jnp.any(jnp.isnan(logits)),
    )
    return self._anew(rows)

  def _renewed(self, rows: DecodingState) -> DecodingState:
    """A step that evaluates all positions, and those after it up to the next one that does."""
    rows, every = self._step(*self.read_all(rows)), self.decoder.cache.refresh_every
    if every == 1:
      return rows

    def goes_on(carried: tuple[DecodingState, Array]) -> Array:
      rows, since = carried
      return jnp.any(rows.active) & ((every == 0) | (since < every))

    def body(carried: tuple[DecodingState, Array]) -> tuple[DecodingState, Array]:
      return self._step(*self.read_near(carried[0])), carried[1] + 1

    return jax.lax.while_loop(goes_on, body, (rows, jnp.int32(1)))[0]

  # The evaluations of a step: each gives the hidden states of the sub-block at hand `[.., W, D]`.

  def read_all(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """Of all positions."""
    cache = rows.cache
    if cache is None:
      hidden = self.passes.everything(rows.tokens)
    else:
      hidden, cache = self.passes.fill(rows.tokens, cache)
    hidden = self.passes.at(hidden, self._slots(rows) - self.passes.model.shift)
    return dataclasses.replace(rows, cache=cache), hidden

  def read_near(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """Of the positions near the block, from the cache of all others."""
    before, number = self.decoder.cache.span(self.windows.size, self.decoder.length)
    return self._read(rows, self.windows.starts(rows.block) - before, number)

  def read_parts(self, rows: DecodingState) -> tuple[DecodingState, Array]:
    """Of the sub-block, or of the block in the rows whose sub-block begins with a mask or is
    reached anew: a row has a part in one of the two evaluations, whatever its neighbours do."""
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
    hidden, cache = self.passes.predict(rows.tokens, (start, number), self._slots(rows), rows.cache)
    return dataclasses.replace(rows, cache=cache), hidden

  # A step.

  def _step(self, rows: DecodingState, hidden: Array) -> DecodingState:
    """The rows after an evaluation that gave the sub-block the hidden states `[B, W, D]`."""
    here, logits = self._here(rows), self.passes.logits(hidden)
    logits = self.decoder.rule.adjust(logits, rows.progress.memory)
    candidates = self._offer(rows, here, logits, rows.evaluations[:, 0])
    committed, memory = self.decoder.rule.commit(candidates, rows.progress)
    if self.decoder.first:
      places = jnp.arange(self.windows.part) + rows.offset[:, None]
      first = candidates.masked & (places == 0)
      begins = (rows.progress.step == 0) & first[:, :1]
      committed = jnp.where(begins, first, committed)
    is_masked = jnp.any(here.masked, axis=-1, keepdims=True)
    after = jnp.where(is_masked, 0, rows.after + 1)
    tokens, settled = self.decoder.revision.revise(candidates, committed, after)
    active = rows.active
    rows = self._write(rows, tokens, self._slots(rows))
    left = jnp.any(self._here(rows).masked, axis=-1, keepdims=True)
    ended = rows.ended
    if self.decoder.revision.is_final:
      ended = ended | self._has_ended(rows.tokens)
    progress = dataclasses.replace(rows.progress, step=rows.progress.step + active, memory=memory)
    rows = dataclasses.replace(
      rows,
      progress=progress,
      after=after,
      ended=ended,
      evaluations=rows.evaluations + active,
      has_nan=rows.has_nan | jnp.any(jnp.isnan(logits)),
    )
    return self._onward(rows, ~left & settled)

  def _write_first(self, rows: DecodingState, hidden: Array) -> DecodingState:
    """The rows with the first position of the block committed, from the output before it."""
    where = self.windows.starts(rows.block)[:, None]
    first = self.windows.here(rows.tokens, where, self._mask_id)
    candidates = self._offer(rows, first, self.passes.logits(hidden), rows.evaluations[:, 0])
    tokens = jnp.where(candidates.masked, candidates.token, candidates.here)
    return self._write(rows, tokens, where)

  def _offer(self, rows: DecodingState, here: Here, logits: Array, draw: Array) -> Candidates:
    """The candidates of the positions `here`, by the draws of the number `draw` `[B]`."""
    masked = here.masked & rows.active
    written = here.open & ~here.masked & rows.active
    keys = jax.vmap(jax.random.fold_in)(self.keys, draw)
    return self.decoder.candidates(keys, logits, here.tokens, self._mask_id, (masked, written))

  # Small things.

  def _here(self, rows: DecodingState) -> Here:
    """The sub-block at hand."""
    return self.windows.here(rows.tokens, self._slots(rows), self._mask_id)

  def _write(self, rows: DecodingState, tokens: Array, where: Array) -> DecodingState:
    """The rows with `tokens` at those of the slots `where` `[B, n]` that are open."""
    return rows.write(tokens, jnp.where(self.windows.is_open(where), where, self.windows.slots))

  def _slots(self, rows: DecodingState) -> Array:
    """The sub-block at hand of each row, int32 `[B, W]`."""
    return self.windows.slots_of(rows.block)[:, : self.windows.part] + rows.offset[:, None]

  def _has_ended(self, tokens: Array) -> Array:
    return self.windows.has_ended(tokens, self.end_id if self.decoder.stop else None, self._mask_id)

  def _progress(self, step: Array, masked: Array) -> WindowProgress:
    shape = (len(step), self.windows.part)
    memory = self.decoder.rule.memory(shape, self.passes.model.network.vocab_size)
    return WindowProgress(step=step, masked_at_first=masked, memory=memory)
