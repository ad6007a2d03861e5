"""The loop of decoding: blocks from left to right, and steps of a block until every row is done.

Rows go from block to block together, but what is written in one depends on its own prompt and key
alone.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.decoding import input_rows, windows
from dlm_jax.decoding.base import Candidates, WindowProgress
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.decoding_state import DecodingState
from dlm_jax.decoding.input_rows import InputRows
from dlm_jax.decoding.passes import Passes, slots_of
from dlm_jax.decoding.steps import Watch
from dlm_jax.decoding.windows import Here, Windows

# Sets the draws of verification apart from those of drafts, whose blocks are below it.
VERIFIED = 2**32 - 1


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
    watch: who is told of every step, or None.
  """

  decoder: Decoder
  passes: Passes
  windows: Windows
  keys: Array
  end_id: int | None
  copies: int = 1
  watch: Watch | None = None

  @property
  def _mask_id(self) -> int:
    return self.passes.model.mask_id

  @property
  def _exact(self) -> bool:
    return self.decoder.cache.name == "block"

  def begin(self, tokens: Array) -> DecodingState:
    """The rows before the first evaluation; the prompts lie in the cache where it is exact."""
    number, where = len(tokens), self.windows
    column = jnp.zeros((number, 1), jnp.int32)
    cache, causal, evaluations = None, None, column
    if self.decoder.cache.name != "none":
      cache = self.passes.empty()
    prompts = self.passes.inputs(tokens, self.keys).first(where.prompt)
    if self._exact and where.prompt:
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

  def has_ended(self, tokens: Array) -> Array:
    """Whether each row has an end token before which nothing is masked, bool `[B, 1]`."""
    if self.end_id is None or not self.decoder.stop:
      return jnp.zeros((len(tokens), 1), bool)
    answer = self.windows.is_answer
    masked = jnp.cumsum(answer & (tokens == self._mask_id), axis=1)
    return jnp.any(answer & (tokens == self.end_id) & (masked == 0), axis=1, keepdims=True)

  # A block, and a step of it.

  def _block(self, rows: DecodingState) -> DecodingState:
    """All steps of the block at hand, and on to the next."""
    rows = self._enter(rows)
    part = self._verified if self.decoder.revision.is_verified else self._steps
    rows = jax.lax.while_loop(lambda r: jnp.any(r.active), part, rows)
    ended = rows.ended | self.has_ended(rows.tokens)
    return dataclasses.replace(rows, block=rows.block + 1, ended=ended)

  def _enter(self, rows: DecodingState) -> DecodingState:
    """The block at its first step. An exact cache first gets the final tokens of that before."""
    rows = self._anew(rows)
    if not self._exact:
      return rows
    before = self.windows.starts(rows.block) - self.windows.size
    hidden, cache = self.passes.window(self._inputs(rows), before, self.windows.size, rows.cache)
    rows = dataclasses.replace(rows, cache=cache)
    if self.decoder.first:
      rows = self._write_first(rows, hidden[:, -1:])
    count = rows.active & (before >= 0)[:, None]
    return dataclasses.replace(rows, evaluations=rows.evaluations + count)

  def _anew(self, rows: DecodingState) -> DecodingState:
    """The rows before the first step of what is masked of the block."""
    masked = jnp.sum(self._here(rows).masked, axis=-1, keepdims=True)
    none = jnp.zeros_like(masked)
    progress = self._progress(none, masked)
    return dataclasses.replace(rows, progress=progress, done=masked == 0)

  def _steps(self, rows: DecodingState) -> DecodingState:
    """Steps until all rows are done."""
    name = self.decoder.cache.name
    step = {"none": self._full, "block": self._near}.get(name, self._renewed)
    return jax.lax.while_loop(lambda r: jnp.any(r.active), step, rows)

  def _verified(self, rows: DecodingState) -> DecodingState:
    """What a causal evaluation leaves of the block, once its masks are filled in as a draft.

    Position i is judged by the output at i - 1, so that the last token of the block before, which
    may have been written by that evaluation, gets its keys and values from this one.
    """
    drafted = dataclasses.replace(self._anew(self._steps(rows)), done=rows.done)
    start = self.windows.starts(rows.block) - 1
    hidden, causal = self.passes.causal.window(
      self._inputs(drafted), start, self.windows.size, drafted.causal
    )
    # Every evaluation of the block draws with the same noise, so that what it kept it keeps again.
    keys = draws_of(self.keys, VERIFIED, rows.block)
    rows = self._step(dataclasses.replace(drafted, causal=causal), hidden, keys)
    ended = rows.ended | self.has_ended(rows.tokens)
    return dataclasses.replace(self._anew(rows), ended=ended)

  def _full(self, rows: DecodingState) -> DecodingState:
    """A step that evaluates all positions."""
    cache = rows.cache
    if cache is None:
      hidden = self.passes.everything(self._inputs(rows))
    else:
      hidden, cache = self.passes.fill(self._inputs(rows), cache)
    hidden = self.passes.at(hidden, self._slots(rows) - self.passes.model.shift)
    return self._step(dataclasses.replace(rows, cache=cache), hidden)

  def _near(self, rows: DecodingState) -> DecodingState:
    """A step that evaluates the positions near the block, and reads the cache for all others."""
    before, number = self.decoder.cache.span(self.windows.size, self.windows.left)
    shift = self.passes.model.shift
    # Where outputs are shifted, the position before the block is evaluated, but not written.
    unwritten = max(shift - before, 0)
    begin = before + unwritten
    start = self.windows.starts(rows.block) - begin
    number += unwritten
    hidden, cache = self.passes.window(self._inputs(rows), start, number, rows.cache, unwritten)
    hidden = hidden[:, begin - shift :][:, : self.windows.size]
    return self._step(dataclasses.replace(rows, cache=cache), hidden)

  def _renewed(self, rows: DecodingState) -> DecodingState:
    """A step that evaluates all positions, and those after it up to the next one that does."""
    rows, every = self._full(rows), self.decoder.cache.refresh_every
    if every == 1:
      return rows

    def goes_on(carried: tuple[DecodingState, Array]) -> Array:
      rows, since = carried
      return jnp.any(rows.active) & ((every == 0) | (since < every))

    def body(carried: tuple[DecodingState, Array]) -> tuple[DecodingState, Array]:
      return self._near(carried[0]), carried[1] + 1

    return jax.lax.while_loop(goes_on, body, (rows, jnp.int32(1)))[0]

  def _step(self, rows: DecodingState, hidden: Array, keys: Array | None = None) -> DecodingState:
    """The rows after an evaluation that gave the block the hidden states `[B, W, D]`.

    Its draws follow from `keys` `[B]`, or from those of the step.
    """
    here, logits = self._here(rows), self.passes.logits(hidden)
    logits = self.decoder.rule.adjust(logits, rows.progress.memory)
    candidates = self._offer(rows, here, logits, self._keys_of(rows) if keys is None else keys)
    committed, memory = self.decoder.rule.commit(candidates, rows.progress)
    if self.decoder.first:
      first = candidates.masked & (jnp.arange(self.windows.size) == 0)
      begins = (rows.progress.step == 0) & first[:, :1]
      committed = jnp.where(begins, first, committed)
    is_masked = jnp.any(here.masked, axis=-1, keepdims=True)
    after = jnp.where(is_masked, 0, rows.progress.after + 1)
    progress = dataclasses.replace(rows.progress, after=after)
    revised = self.decoder.revision.revise(candidates, committed, progress)
    active = rows.active
    rows = self._write(rows, revised.tokens)
    self._report(rows, candidates, committed, active)
    left = jnp.any(self._here(rows).masked, axis=-1, keepdims=True)
    ended = rows.ended
    if self.decoder.revision.is_final:
      ended = ended | self.has_ended(rows.tokens)
    step = progress.step + active
    return dataclasses.replace(
      rows,
      progress=dataclasses.replace(progress, step=step, memory=memory, of_revision=revised.memory),
      done=rows.done | (~left & revised.settled),
      ended=ended,
      evaluations=rows.evaluations + active,
      has_nan=rows.has_nan | jnp.any(jnp.isnan(logits)),
    )

  def _write_first(self, rows: DecodingState, hidden: Array) -> DecodingState:
    """The rows with the first position of the block committed, from the output before it."""
    here = self._here(rows)
    first = jax.tree.map(lambda a: a[:, :1], here)
    candidates = self._offer(rows, first, self.passes.logits(hidden), self._keys_of(rows))
    tokens = jnp.where(candidates.masked, candidates.token, candidates.here)
    written = self._write(rows, jnp.concatenate([tokens, here.tokens[:, 1:]], axis=1))
    self._report(written, candidates, candidates.masked, rows.active)
    return written

  def _offer(self, rows: DecodingState, here: Here, logits: Array, keys: Array) -> Candidates:
    """The candidates of the positions `here`, drawn with `keys` `[B]`."""
    masked = (here.open if self.decoder.revision.reopens else here.masked) & rows.active
    if self.decoder.sub_block:
      part = jnp.arange(masked.shape[1]) // self.decoder.sub_block
      masked &= part == part[jnp.argmax(masked, axis=-1)][:, None]
    written = here.open & ~here.masked & rows.active
    where, step = (masked, written), rows.progress.step
    return self.decoder.candidates(keys, logits, here.tokens, self._mask_id, where, step)

  # Small things.

  def _keys_of(self, rows: DecodingState) -> Array:
    """The keys `[B]` of the step at hand. They do not depend on what the cache has cost."""
    return draws_of(self.keys, rows.block, rows.progress.step[:, 0])

  def _inputs(self, rows: DecodingState) -> InputRows:
    """The rows as the network is given them."""
    inputs = self.passes.inputs(rows.tokens, self._keys_of(rows))
    likely = self.decoder.revision.likely(rows.progress.of_revision)
    if likely is None:
      return inputs
    tokens = input_rows.mixed(rows.tokens, likely, self._slots(rows), self._mask_id)
    return dataclasses.replace(inputs, tokens=tokens)

  def _report(
    self, rows: DecodingState, candidates: Candidates, committed: Array, active: Array
  ) -> None:
    """Tells whoever watches what became of the rows that were active."""
    if self.watch is not None:
      where = self._slots(rows)[:, : committed.shape[1]]
      after = (rows.tokens, self.windows.answers, active[:, 0])
      self.watch.report(after, where, candidates, committed)

  def _here(self, rows: DecodingState) -> Here:
    where = self._slots(rows)
    return windows.here(rows.tokens, where, self.windows.is_open(where), self._mask_id)

  def _write(self, rows: DecodingState, tokens: Array) -> DecodingState:
    """The rows with `tokens` `[B, W]` at the open positions of the block."""
    where = self._slots(rows)
    return rows.write(tokens, jnp.where(self.windows.is_open(where), where, self.windows.slots))

  def _slots(self, rows: DecodingState) -> Array:
    """The block at hand, int32 `[B, W]`."""
    return slots_of(self.windows.starts(rows.block), self.windows.size)

  def _progress(self, step: Array, masked: Array) -> WindowProgress:
    shape = (len(step), self.windows.size)
    return WindowProgress(
      step=step,
      masked_at_first=masked,
      after=jnp.zeros_like(step),
      memory=self.decoder.rule.memory(shape, self.passes.model.network.vocab_size),
      of_revision=self.decoder.revision.memory(shape),
    )


def draws_of(keys: Array, first: Array | int, second: Array) -> Array:
  """The keys `[B]` of the draws that two numbers name, each of all rows or of each `[B]`."""

  def of_row(key: Array, first: Array, second: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, first), second)

  numbers = (jnp.broadcast_to(jnp.asarray(n, jnp.uint32), len(keys)) for n in (first, second))
  return jax.vmap(of_row)(keys, *numbers)
