"""The passes of a masked model over a batch of texts: all positions, or a few with a cache.

Every row is a text, its prompt and its answer, in slots that follow from itself alone, whatever its
neighbours are. A window is as many slots of each row, from a start of its own on.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import BlockCausal
from dlm_jax.core.types import Params
from dlm_jax.decoding import input_rows
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.input_rows import InputRows
from dlm_jax.decoding.masked_model import MaskedModel
from dlm_jax.decoding.windows import Windows
from dlm_jax.distributed.platform import platform
from dlm_jax.networks.base import Cache, Caches, Inputs


@dataclass(frozen=True, kw_only=True)
class Passes:
  """The passes over a batch, with guidance of every row twice: as it is, and without its prompt.

  Attributes:
    model: whose they are.
    unstacked: its parameters as `extend` reads them; None where nothing is extended.
    windows: where rows begin and end.
    guidance: see `Decoder.guidance`.
  """

  model: MaskedModel
  unstacked: Params | None
  windows: Windows
  guidance: float

  @property
  def _ends(self) -> Array:
    """The slot after the last that is attended to."""
    return self.twice(self.windows.ends)

  @property
  def _begins(self) -> Array:
    """The slot of the first token."""
    return self.twice(self.windows.begins)

  @property
  def causal(self) -> "Passes":
    """The passes in which every position sees itself and those before it."""
    return dataclasses.replace(self, model=dataclasses.replace(self.model, pattern=BlockCausal(1)))

  def inputs(self, tokens: Array, keys: Array) -> InputRows:
    """The rows `tokens` `[B, S]` as the network is given them.

    Args:
      tokens: with masks where none is committed.
      keys: `[B]`, of the step of each row, for noise.
    """
    model, where, missing = self.model, self.windows, tokens == self.model.mask_id
    if model.has_noise:
      # By places in the answer, whose slots depend on the room of the prompts.
      number = where.length + where.size
      noise = input_rows.noise(keys, number, model.network.vocab_size)
      place = jnp.clip(jnp.arange(where.slots) - where.answers[:, None], 0, number - 1)
      tokens = jnp.where(missing, jnp.take_along_axis(noise, place, axis=1), tokens)
    if model.clock is None:
      return InputRows(tokens=tokens, time=jnp.zeros(len(tokens)))
    fraction = jnp.sum(missing & where.is_answer, axis=1) / where.length
    return InputRows(tokens=tokens, time=model.clock(fraction))

  def empty(self) -> Cache:
    """A cache for the rows."""
    assert isinstance(self.model.network, Caches)
    return self.model.network.empty_cache(len(self._ends), self.windows.slots)

  def everything(self, rows: InputRows) -> Array:
    """The hidden states `[.., S, D]` of all positions of `[B, S]`, without a cache."""
    if self.unstacked is not None:
      return self.fill(rows, self.empty())[0]
    guided = self._guided(rows)
    inputs = Inputs(
      tokens=guided.tokens,
      time=guided.time,
      positions=self._positions(jnp.arange(self.windows.slots)),
      valid=self._exists(jnp.arange(self.windows.slots)),
      pattern=self.model.pattern,
    )
    return self.model.network.hidden(self.model.params, inputs)

  def fill(self, rows: InputRows, cache: Cache) -> tuple[Array, Cache]:
    """The same, and the cache with their keys and values: the first so many slots, as `rows`
    `[B, n]` has."""
    guided = self._guided(rows)
    where = jnp.broadcast_to(jnp.arange(guided.tokens.shape[1]), guided.tokens.shape)
    return self._extend(guided, where, cache, jnp.int32(0))

  def filled(self, rows: InputRows, copies: int) -> Cache:
    """A cache that holds `rows` `[B, n]`, of which `copies` neighbouring rows are the same."""
    where = dataclasses.replace(
      self.windows, begins=self.windows.begins[::copies], answers=self.windows.answers[::copies]
    )
    distinct = dataclasses.replace(self, windows=where)
    cache = distinct.fill(rows.every(copies), distinct.empty())[1]
    number = len(distinct._ends)

    def repeat(array: Array) -> Array:
      """Of the heads of each row."""
      of_rows = array.reshape(number, -1, *array.shape[1:])
      return jnp.repeat(of_rows, copies, axis=0).reshape(-1, *array.shape[1:])

    return cache if copies == 1 else jax.tree.map(repeat, cache)

  def window(
    self, rows: InputRows, start: Array, number: int, cache: Cache, unwritten: int = 0
  ) -> tuple[Array, Cache]:
    """The hidden states `[.., number, D]` of the slots from `start` `[B]` on, and the cache.

    Args:
      rows: all their slots.
      start: of each row; slots that are not in the row give what has no meaning.
      number: of slots.
      cache: which the keys and values of these slots are written to.
      unwritten: how many of the first slots are not written, but only read it.
    """
    slots = self.windows.slots
    where = self.twice(slots_of(start, number))
    outside = ~self._exists(where) | (jnp.arange(number) < unwritten)
    inside = jnp.clip(where, 0, slots - 1)
    return self._extend(
      self._guided(rows).at(inside), inside, cache, jnp.where(outside, slots, where)
    )

  def predict(
    self, rows: InputRows, span: tuple[Array, int], where: Array, cache: Cache
  ) -> tuple[Array, Cache]:
    """The hidden states that predict the slots `where` `[B, W]`, and the cache, after an evaluation
    of the slots `span`: from `[B]` on, and how many."""
    (start, number), shift = span, self.model.shift
    # Where outputs are shifted, the position before them is evaluated, but not written.
    hidden, cache = self.window(rows, start - shift, number + shift, cache, shift)
    return self.at(hidden, where - start[:, None]), cache

  def at(self, hidden: Array, where: Array) -> Array:
    """The hidden states at the places `where` `[B, W]` of `hidden` alone; the nearest, where it has
    no such place."""
    where = jnp.clip(self.twice(where), 0, hidden.shape[1] - 1)
    return jnp.take_along_axis(hidden, where[..., None], axis=1)

  def logits(self, hidden: Array) -> Array:
    """Float32 `[B, W, V]`, guided."""
    logits = self.model.network.head(self.model.params, hidden)
    if not self.guidance:
      return logits
    with_prompt, without = jnp.split(logits, 2)
    return without + (self.guidance + 1.0) * (with_prompt - without)

  def _extend(
    self, guided: InputRows, where: Array, cache: Cache, write: Array
  ) -> tuple[Array, Cache]:
    """The hidden states of the tokens `[.., n]`, which stand at `where` `[.., n]`."""
    network, pattern = self.model.network, self.model.pattern
    assert isinstance(network, Caches) and self.unstacked is not None
    slots = jnp.arange(self.windows.slots)
    mask = self._exists(slots)[:, None]
    if isinstance(pattern, BlockCausal):
      mask = mask & (slots <= jnp.asarray(pattern.last_seen(where))[..., None])
    inputs = Inputs(tokens=guided.tokens, time=guided.time, positions=self._positions(where))
    return network.extend(self.unstacked, inputs, cache, write, mask)

  def _exists(self, where: Array) -> Array:
    """Whether the rows have the slots `where` `[S]` or `[.., n]`, bool."""
    return (where >= self._begins[:, None]) & (where < self._ends[:, None])

  def _positions(self, where: Array) -> Array:
    """Where in its text each of the slots `where` `[S]` or `[.., n]` stands."""
    return jnp.maximum(where - self._begins[:, None], 0)

  def _guided(self, rows: InputRows) -> InputRows:
    """Where there is guidance, every row twice."""
    if not self.guidance:
      return rows
    is_prompt = jnp.arange(rows.tokens.shape[1]) < self.windows.answers[:, None]
    return rows.with_unconditional(is_prompt, self.model.mask_id)

  def twice(self, array: Array) -> Array:
    """What is of each row `[B, ..]`, for the rows that the network is given."""
    return jnp.concatenate([array, array]) if self.guidance else array


def slots_of(start: Array, number: int) -> Array:
  """The slots int32 `[B, number]` from `start` `[B]` on."""
  return start[:, None] + jnp.arange(number)


def passes_of(model: MaskedModel, decoder: Decoder, where: Windows) -> Passes:
  """The passes of `model` over rows with the blocks `where`.

  Raises:
    UserError: the decoder is meant for models of other noise, keys and values are to be kept, and
      the network cannot, it is meant for models whose outputs are shifted, and the model is none,
      or it names a token that is none.
  """
  _check_noise(model, decoder)
  for token in (*decoder.suppressed, *decoder.doubted):
    if not 0 <= token < model.network.vocab_size:
      raise UserError(
        f"a suppressed or doubted token must lie in 0..{model.network.vocab_size - 1}, got {token}."
      )
  if decoder.first and not model.shift:
    raise UserError(
      "of this model no output before a block says what it begins with, so that `first` has no "
      "use: set it to false."
    )
  network, unstacked = model.network, None
  if decoder.revision.is_verified and model.clock is not None:
    raise UserError(
      "the network is given the time, and reading from left to right has none: choose a revision "
      "that does not verify."
    )
  keeps = decoder.cache.name != "none" or decoder.revision.is_verified
  # A CPU would copy the weights of every layer out of stacked ones in each pass over all positions.
  if keeps or (platform() == "cpu" and isinstance(network, Caches)):
    if not isinstance(network, Caches):
      raise UserError(
        f"the network {type(network).__name__} cannot keep keys and values: use the cache 'none', "
        "and a revision that does not verify."
      )
    unstacked = network.unstacked(model.params)
  return Passes(model=model, unstacked=unstacked, windows=where, guidance=decoder.guidance)


def _check_noise(model: MaskedModel, decoder: Decoder) -> None:
  """Raises `UserError` where the decoder does not give the model the noise that it learned."""
  revision = decoder.revision
  if model.has_noise and not revision.has_noise:
    raise UserError(
      f"this model was trained with random tokens and has no mask, which the revision "
      f"{revision.name!r} needs: choose 'renoise' or 'canvas'."
    )
  if revision.has_noise and not model.has_noise:
    raise UserError(
      f"the revision {revision.name!r} puts random tokens where nothing is committed, and this "
      "model was trained with masks: choose a revision such as 'keep'."
    )
  if model.has_noise and decoder.guidance:
    raise UserError("guidance masks the prompt, and this model has no mask: set guidance to 0.")
