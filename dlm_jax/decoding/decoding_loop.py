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
from dlm_jax.decoding.decoding_state import DecodingState
from dlm_jax.decoding.evaluations import Evaluations, draws_of
from dlm_jax.decoding.steps import Watch
from dlm_jax.decoding.windows import Here

# Sets the draws of verification apart from those of drafts, whose blocks are below it.
VERIFIED = 2**32 - 1


@dataclass(frozen=True)
class DecodingLoop(Evaluations):
  """What does not change while the rows are written.

  Attributes:
    end_id: the token that ends an answer, or None.
    copies: how many neighbouring rows have the same prompt.
    watch: who is told of every step, or None.
  """

  end_id: int | None
  copies: int = 1
  watch: Watch | None = None

  def begin(self, tokens: Array) -> DecodingState:
    """The rows before the first evaluation; the prompts lie in the cache where it is exact."""
    number, where = len(tokens), self.windows
    column = jnp.zeros((number, 1), jnp.int32)
    cache, causal, evaluations = None, None, column
    if self.decoder.cache.name != "none":
      cache = self.passes.empty()
    prompts = self.passes.inputs(tokens, self.keys).first(where.prompt)
    if self.decoder.cache.is_by_blocks and where.prompt:
      cache = self.passes.filled(prompts, self.copies)
      evaluations += (where.starts(0) > 0)[:, None]
    if self.decoder.revision.is_verified:
      causal = self.passes.causal.filled(prompts, self.copies)
      evaluations += 1
    return DecodingState(
      tokens=tokens,
      cache=cache,
      causal=causal,
      block=jnp.int32(0),
      offset=column[:, 0],
      progress=self._progress(column, column),
      done=column > 0,
      ended=column > 0,
      evaluations=evaluations,
      has_nan=jnp.array(False),
    )

  def run(self, rows: DecodingState) -> DecodingState:
    """All blocks, or as many until every row has ended."""
    for begin, end in self.decoder.cache.stages(self.windows.blocks):
      stage = dataclasses.replace(self, windows=dataclasses.replace(self.windows, first=begin))
      goes_on = lambda r, end=end: (r.block < end) & jnp.any(self.windows.has(r.block) & ~r.ended)  # noqa: E731
      rows = jax.lax.while_loop(goes_on, stage._block, rows)
    return rows

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
    hidden, cache = self.passes.window(self._inputs(rows), before, self.windows.size, rows.cache)
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
    return dataclasses.replace(rows, progress=self._progress(none, number), done=done)

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
      self._inputs(drafted), start, self.windows.size, drafted.causal
    )
    # Every evaluation of the block draws with the same noise, whatever the drafts cost.
    keys = draws_of(self.keys, VERIFIED, rows.block)
    logits, nothing = self.passes.logits(hidden), jnp.zeros_like(draft)
    here = self.windows.here(drafted.tokens, where, self._mask_id)
    judged = dataclasses.replace(here, open=draft, masked=nothing)
    candidates = self._offer(drafted, judged, logits, keys)
    after = jnp.ones_like(drafted.progress.after)
    progress = dataclasses.replace(drafted.progress, after=after)
    revised = self.decoder.revision.revise(candidates, nothing, progress)
    rows = self._write(drafted, revised.tokens, where)
    self._report(rows, candidates, nothing, (where, drafted.active))
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

  # A step.

  def _step(self, rows: DecodingState, hidden: Array) -> DecodingState:
    """The rows after an evaluation that gave the sub-block the hidden states `[B, W, D]`."""
    here, logits = self._here(rows), self.passes.logits(hidden)
    logits = self.decoder.rule.adjust(logits, rows.progress.memory)
    candidates = self._offer(rows, here, logits, self._keys_of(rows))
    committed, memory = self.decoder.rule.commit(candidates, rows.progress)
    if self.decoder.first:
      places = jnp.arange(self.windows.part) + rows.offset[:, None]
      first = candidates.masked & (places == 0)
      begins = (rows.progress.step == 0) & first[:, :1]
      committed = jnp.where(begins, first, committed)
    is_masked = jnp.any(here.masked, axis=-1, keepdims=True)
    after = jnp.where(is_masked, 0, rows.progress.after + 1)
    progress = dataclasses.replace(rows.progress, after=after)
    revised = self.decoder.revision.revise(candidates, committed, progress)
    active = rows.active
    rows = self._write(rows, revised.tokens, self._slots(rows))
    self._report(rows, candidates, committed, (self._slots(rows), active))
    left = jnp.any(self._here(rows).masked, axis=-1, keepdims=True)
    ended = rows.ended
    if self.decoder.revision.is_final:
      ended = ended | self._has_ended(rows.tokens)
    step = progress.step + active
    rows = dataclasses.replace(
      rows,
      progress=dataclasses.replace(progress, step=step, memory=memory, of_revision=revised.memory),
      ended=ended,
      evaluations=rows.evaluations + active,
      has_nan=rows.has_nan | jnp.any(jnp.isnan(logits)),
    )
    return self._onward(rows, ~left & revised.settled)

  def _write_first(self, rows: DecodingState, hidden: Array) -> DecodingState:
    """The rows with the first position of the block committed, from the output before it."""
    where = self.windows.starts(rows.block)[:, None]
    first = self.windows.here(rows.tokens, where, self._mask_id)
    candidates = self._offer(rows, first, self.passes.logits(hidden), self._keys_of(rows))
    tokens = jnp.where(candidates.masked, candidates.token, candidates.here)
    written = self._write(rows, tokens, where)
    self._report(written, candidates, candidates.masked, (where, rows.active))
    return written

  def _offer(self, rows: DecodingState, here: Here, logits: Array, keys: Array) -> Candidates:
    """The candidates of the positions `here`, drawn with `keys` `[B]`."""
    masked = (here.open if self.decoder.revision.reopens else here.masked) & rows.active
    written = here.open & ~here.masked & rows.active
    where, step = (masked, written), rows.progress.step
    return self.decoder.candidates(keys, logits, here.tokens, self._mask_id, where, step)

  # Small things.

  def _report(
    self, rows: DecodingState, candidates: Candidates, committed: Array, part: tuple[Array, Array]
  ) -> None:
    """Tells whoever watches what became of the slots `part[0]` of the rows that were active,
    `part[1]`."""
    if self.watch is not None:
      where, active = part
      after = (rows.tokens, self.windows.answers, active[:, 0])
      self.watch.report(after, where, candidates, committed)

  def _write(self, rows: DecodingState, tokens: Array, where: Array) -> DecodingState:
    """The rows with `tokens` at those of the slots `where` `[B, n]` that are open."""
    return rows.write(tokens, jnp.where(self.windows.is_open(where), where, self.windows.slots))

  def _has_ended(self, tokens: Array) -> Array:
    return self.windows.has_ended(tokens, self.end_id if self.decoder.stop else None, self._mask_id)

  def _progress(self, step: Array, masked: Array) -> WindowProgress:
    shape = (len(step), self.windows.part)
    return WindowProgress(
      step=step,
      masked_at_first=masked,
      after=jnp.zeros_like(step),
      memory=self.decoder.rule.memory(shape, self.passes.model.network.vocab_size),
      of_revision=self.decoder.revision.memory(shape),
    )
