"""Decoding: every prompt of a batch gets an answer of a masked model.

The whole generation is a pure function, made for one `jax.jit`: it ends when all rows have ended.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.decoding import windows
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.decoding_loop import DecodingLoop
from dlm_jax.decoding.decoding_state import DecodingState
from dlm_jax.decoding.masked_model import MaskedModel
from dlm_jax.decoding.passes import passes_of, slots_of
from dlm_jax.decoding.steps import Watch


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Decoded:
  """What was written.

  Attributes:
    answers: int32 `[B, length]`.
    lengths: int32 `[B]`, tokens of each answer up to the first end token and with it.
    num_evaluations: int32 `[B]`, of the network for each row: two where it is guided.
    has_nan: bool scalar, whether a logit was not a number: the tokens then mean nothing.
  """

  answers: Array
  lengths: Array
  num_evaluations: Array
  has_nan: Array


def decode(
  decoder: Decoder,
  model: MaskedModel,
  prompts: tuple[Array, Array],
  keys: Array,
  *,
  end_id: int | None = None,
  copies: int = 1,
  watch: Watch | None = None,
) -> Decoded:
  """Writes an answer to every prompt.

  Args:
    decoder: how.
    model: which model.
    prompts: int32 `[B, P]`, the tokens of the prompts, each from the left end on with anything
      behind it, and int32 `[B]`, how many there are.
    keys: `[B]`; what row i holds depends on its own key alone.
    end_id: the token that ends an answer; None is no such token.
    copies: how many neighbouring rows have the same prompt; an exact cache is filled once for all.
    watch: who is told of every step while the program runs; None is nobody.

  Raises:
    UserError: the model cannot do the order or the cache.
  """
  tokens, lengths = prompts
  where = windows.of(decoder, model.pattern, lengths, tokens.shape[1])
  passes = passes_of(model, decoder, where)
  positions = jnp.arange(where.slots) - where.begins[:, None]
  rows = jnp.take_along_axis(tokens, jnp.clip(positions, 0, tokens.shape[1] - 1), axis=1)
  rows = jnp.where((positions >= 0) & (positions < lengths[:, None]), rows, model.mask_id)
  loop = DecodingLoop(decoder, passes, where, keys, end_id, copies, watch)
  return _result(loop, loop.run(loop.begin(rows)))


def _result(loop: DecodingLoop, rows: DecodingState) -> Decoded:
  """The answers, filled up with the end."""
  where, tokens, decoder = loop.windows, rows.tokens, loop.decoder
  lengths = jnp.full(len(tokens), decoder.length)
  if loop.end_id is not None:
    is_end = (tokens == loop.end_id) & where.is_answer
    past = jnp.cumsum(is_end, axis=1) - is_end > 0
    lengths = lengths - jnp.sum(past & where.is_answer, axis=1)
    if decoder.stop:
      tokens = jnp.where(past, loop.end_id, tokens)
  slots = slots_of(where.answers, decoder.length)
  return Decoded(
    answers=jnp.take_along_axis(tokens, slots, axis=1),
    lengths=lengths,
    num_evaluations=rows.evaluations[:, 0] * (2 if decoder.guidance else 1),
    has_nan=rows.has_nan,
  )
