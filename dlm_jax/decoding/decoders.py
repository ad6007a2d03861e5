"""A decoder: the choices that a preset names, in one object."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import NonNegative, NonNegativeInt, PositiveInt, TopP
from dlm_jax.core.types import Fields
from dlm_jax.decoding import base, caches
from dlm_jax.decoding.base import Candidates, Revision, Rule
from dlm_jax.decoding.caches import Cache
from dlm_jax.processes.draws import row_categorical, split_rows
from dlm_jax.samplers import filters, scores

STARTS = ("text", "answer")


@dataclass(frozen=True, kw_only=True)
class Decoder:
  """How a masked model writes an answer. Build it with `make`.

  Attributes:
    rule: which candidates are committed at a step.
    revision: what becomes of tokens after that.
    cache: which keys and values are kept from step to step.
    length: tokens of an answer.
    block: tokens that are decoded before any to their right are; 0 is all of them. A model whose
      attention is causal over blocks has blocks of its own size, which are counted from the start
      of the text.
    blocks_from: where those are counted from in place of that: `text`, or `answer`, in which the
      prompt ends with a block (A2D).
    sub_block: within a block, likewise, without an effect on the cache; 0 is the whole block.
    first: whether the first position of a block is committed at its first step in any case, as
      Fast-dLLM does for models whose outputs are shifted.
    score: how certain a candidate is, see `samplers.scores`.
    score_of_draw: whether the score is of the distribution that the candidate is drawn from, after
      temperature, top-k and top-p (Dream, SDAR, LLaDA2), or of the model's own (LLaDA).
    temperature: of the draw; 0 takes the likeliest token.
    top_k, top_p: filters of the draw; 0 and 1 keep all.
    suppressed: tokens that are never written: their logits are -inf.
    doubted: tokens whose score is the lowest, so that they are written last: in the distribution
      that is scored their logits are -inf.
    guidance: w in u + (w + 1) (l - u), l the logits and u those with the prompt masked.
    stop: whether a row ends at the first end token before which all is committed; what comes after
      it is filled up with it.
  """

  rule: Rule
  revision: Revision
  cache: Cache
  length: PositiveInt = 128
  block: NonNegativeInt = 0
  blocks_from: str = "text"
  sub_block: NonNegativeInt = 0
  first: bool = False
  score: str = "probability"
  score_of_draw: bool = False
  temperature: NonNegative = 0.0
  top_k: NonNegativeInt = 0
  top_p: TopP = 1.0
  suppressed: tuple[int, ...] = ()
  doubted: tuple[int, ...] = ()
  guidance: NonNegative = 0.0
  stop: bool = True

  def __post_init__(self) -> None:
    scores.check(self.score)
    require_known("start of blocks", self.blocks_from, STARTS)
    if self.block and self.length % self.block:
      raise UserError(
        f"a block of {self.block} does not fit into an answer of {self.length} tokens: choose a "
        "length that is a multiple of it."
      )
    if self.cache.name == "sub_block" and not self.sub_block:
      raise UserError(
        "the cache 'sub_block' is of decoders with sub-blocks: set sub_block, as to 8."
      )
    if self.revision.reopens and (self.sub_block or self.first):
      raise UserError(
        f"the revision {self.revision.name!r} judges all positions of a block at each step: set "
        "sub_block to 0 and first to false."
      )

  def candidates(
    self,
    keys: Array,
    logits: Array,
    here: Array,
    mask_id: int,
    where: tuple[Array, Array],
    step: Array,
  ) -> Candidates:
    """The candidate of every position of the window and its score.

    Args:
      keys: `[B]`, of this step of each row.
      logits: float32 `[B, W, V]`.
      here: int32 `[B, W]`, the tokens that stand there now.
      mask_id: the mask, which is never a candidate, but counts in the scores.
      where: bool `[B, W]`, the positions that may be committed, and those already written.
      step: int32 `[B, 1]`, evaluations so far of the window.
    """
    token_key, order_key = split_rows(keys, len(keys), 2)
    logits = self._without(logits, self.suppressed)
    drawn_from = self._without(logits, (mask_id,))
    likeliest = token = jnp.argmax(drawn_from, axis=-1).astype(jnp.int32)
    if self.temperature != 0.0:
      token = row_categorical(token_key, self._filtered(drawn_from, step))
    scored = self._without(logits, self.doubted)
    if self.score_of_draw and self.temperature != 0.0:
      log_probs = self._filtered(scored, step)
    else:
      log_probs = filters.sharpen(scored, 1.0)
    score = scores.score(self.score, order_key, log_probs, token)
    if self.doubted:
      doubted = jnp.isin(token, jnp.array(self.doubted))
      score = jnp.where(doubted, jnp.min(score, axis=-1, keepdims=True), score)
    masked, written = where
    return Candidates(
      token=token,
      likeliest=likeliest,
      score=score,
      log_probs=log_probs,
      here=here,
      masked=masked,
      written=written,
      mask_id=mask_id,
    )

  def _filtered(self, logits: Array, step: Array) -> Array:
    heat = self.revision.heat(step)
    if heat is not None:
      logits = logits / heat[..., None]
    log_probs = filters.sharpen(logits, self.temperature)
    return filters.nucleus(filters.most_likely(log_probs, self.top_k), self.top_p)

  def _without(self, logits: Array, tokens: tuple[int, ...]) -> Array:
    return logits.at[..., jnp.array(tokens)].set(-jnp.inf) if tokens else logits


def make(
  *,
  rule: Fields | None = None,
  revision: Fields | None = None,
  cache: Fields | None = None,
  **fields: object,
) -> Decoder:
  """Builds a decoder.

  Args:
    rule: its `name` and settings, such as `{"name": "threshold", "threshold": 0.9}`; the default is
      `top_n`.
    revision: likewise; the default is `keep`.
    cache: likewise; the default is `none`.
    **fields: the other attributes of `Decoder`.

  Raises:
    UserError: a name or a field is unknown, or a value is out of range.
  """
  parts = {
    "rule": resolve.make(base.RULES, rule or {"name": "top_n"}),
    "revision": resolve.make(base.REVISIONS, revision or {"name": "keep"}),
    "cache": caches.make(**(cache or {})),
  }
  return resolve.build(Decoder, {**parts, **fields})
