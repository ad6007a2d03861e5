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
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Full
from dlm_jax.core.types import Params
from dlm_jax.decoding.decoders import Decoder
from dlm_jax.decoding.windows import Windows
from dlm_jax.networks.base import Cache, Caches, Inputs, Network
from dlm_jax.processes.base import Process
from dlm_jax.processes.facets import RevealsOnce


@dataclass(frozen=True, kw_only=True)
class MaskedModel:
  """A masked model, as a decoder sees it.

  Attributes:
    network: with its `params`.
    mask_id: the symbol of a missing token.
    pattern: which position sees which: `Full` or `BlockCausal`.
  """

  network: Network
  params: Params
  mask_id: int
  pattern: Full | BlockCausal = FULL

  @property
  def shift(self) -> int:
    """1 where position i is predicted from the state at i - 1, as in Dream, else 0."""
    return int(self.network.label_shift)


def masked_model(process: Process, network: Network, params: Params) -> MaskedModel:
  """What a decoder needs of a model.

  Args:
    process: of masks, on whole rows or in blocks.
    network: that it was trained with.
    params: those of the network alone.

  Raises:
    UserError: the process has no mask, the network is given the time, or reads from left to right.
  """
  if not isinstance(process, RevealsOnce) or not isinstance(process.pattern, Full | Blocks):
    raise UserError(
      f"the process {type(process).__name__} has no masks that a decoder could commit tokens to: "
      "draw from it with dlm_jax.sample."
    )
  if network.knows_time:
    raise UserError(
      "the network is given the time, which decoding by certainty does not have: draw from it with "
      "dlm_jax.sample."
    )
  # Noise stands in the block at hand alone, so that one stream of tokens says what two say.
  pattern = BlockCausal(process.pattern.size) if isinstance(process.pattern, Blocks) else FULL
  return MaskedModel(network=network, params=params, mask_id=process.mask_id, pattern=pattern)


@dataclass(frozen=True, kw_only=True)
class Passes:
  """The passes over a batch, with guidance of every row twice: as it is, and without its prompt.

  Attributes:
    model: whose they are.
    unstacked: its parameters as `extend` reads them; None without a cache.
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

  def empty(self) -> Cache:
    """A cache for the rows."""
    assert isinstance(self.model.network, Caches)
    return self.model.network.empty_cache(len(self._ends), self.windows.slots)

  def everything(self, tokens: Array) -> Array:
    """The hidden states `[.., S, D]` of all positions of `tokens` `[B, S]`, without a cache."""
    seen = self._seen(tokens)
    inputs = Inputs(
      tokens=seen,
      time=jnp.zeros(len(seen)),
      positions=self._positions(jnp.arange(self.windows.slots)),
      valid=self._exists(jnp.arange(self.windows.slots)),
      pattern=self.model.pattern,
    )
    return self.model.network.hidden(self.model.params, inputs)

  def fill(self, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
    """The same, and the cache with their keys and values: the first so many slots, as `tokens`
    `[B, n]` has."""
    seen = self._seen(tokens)
    where = jnp.broadcast_to(jnp.arange(tokens.shape[1]), seen.shape)
    return self._extend(seen, where, cache, jnp.int32(0))

  def filled(self, tokens: Array, copies: int) -> Cache:
    """A cache that has seen `tokens` `[B, n]`, of which `copies` neighbouring rows are the same."""
    where = dataclasses.replace(
      self.windows, begins=self.windows.begins[::copies], answers=self.windows.answers[::copies]
    )
    distinct = dataclasses.replace(self, windows=where)
    cache = distinct.fill(tokens[::copies], distinct.empty())[1]
    rows = len(distinct._ends)

    def repeat(array: Array) -> Array:
      """Of the heads of each row."""
      of_rows = array.reshape(rows, -1, *array.shape[1:])
      return jnp.repeat(of_rows, copies, axis=0).reshape(-1, *array.shape[1:])

    return cache if copies == 1 else jax.tree.map(repeat, cache)

  def window(
    self, tokens: Array, start: Array, number: int, cache: Cache, unwritten: int = 0
  ) -> tuple[Array, Cache]:
    """The hidden states `[.., number, D]` of the slots from `start` `[B]` on, and the cache.

    Args:
      tokens: int32 `[B, S]`.
      start: of each row; slots that are not in the row give what has no meaning.
      number: of slots.
      cache: which the keys and values of these slots are written to.
      unwritten: how many of the first slots are not written, but only read it.
    """
    slots = self.windows.slots
    where = self.twice(slots_of(start, number))
    outside = ~self._exists(where) | (jnp.arange(number) < unwritten)
    inside = jnp.clip(where, 0, slots - 1)
    seen = jnp.take_along_axis(self._seen(tokens), inside, axis=1)
    return self._extend(seen, inside, cache, jnp.where(outside, slots, where))

  def predict(
    self, tokens: Array, span: tuple[Array, int], where: Array, cache: Cache
  ) -> tuple[Array, Cache]:
    """The hidden states that predict the slots `where` `[B, W]`, and the cache, after an evaluation
    of the slots `span`: from `[B]` on, and how many."""
    (start, number), shift = span, self.model.shift
    # Where outputs are shifted, the position before them is evaluated, but not written.
    hidden, cache = self.window(tokens, start - shift, number + shift, cache, shift)
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

  def _extend(self, tokens: Array, where: Array, cache: Cache, write: Array) -> tuple[Array, Cache]:
    """The hidden states of `tokens` `[.., n]`, which stand at `where` `[.., n]`."""
    network, pattern = self.model.network, self.model.pattern
    assert isinstance(network, Caches) and self.unstacked is not None
    slots = jnp.arange(self.windows.slots)
    mask = self._exists(slots)[:, None]
    if isinstance(pattern, BlockCausal):
      mask = mask & (slots <= jnp.asarray(pattern.last_seen(where))[..., None])
    inputs = Inputs(tokens=tokens, time=jnp.zeros(len(tokens)), positions=self._positions(where))
    return network.extend(self.unstacked, inputs, cache, write, mask)

  def _exists(self, where: Array) -> Array:
    """Whether the rows have the slots `where` `[S]` or `[.., n]`, bool."""
    return (where >= self._begins[:, None]) & (where < self._ends[:, None])

  def _positions(self, where: Array) -> Array:
    """Where in its text each of the slots `where` `[S]` or `[.., n]` stands."""
    return jnp.maximum(where - self._begins[:, None], 0)

  def _seen(self, tokens: Array) -> Array:
    """The rows `[B, n]` as the network is given them."""
    if not self.guidance:
      return tokens
    is_prompt = jnp.arange(tokens.shape[1]) < self.windows.answers[:, None]
    return jnp.concatenate([tokens, jnp.where(is_prompt, self.model.mask_id, tokens)])

  def twice(self, array: Array) -> Array:
    """What is of each row `[B, ..]`, for the rows that the network is given."""
    return jnp.concatenate([array, array]) if self.guidance else array


def slots_of(start: Array, number: int) -> Array:
  """The slots int32 `[B, number]` from `start` `[B]` on."""
  return start[:, None] + jnp.arange(number)


def passes_of(model: MaskedModel, decoder: Decoder, where: Windows) -> Passes:
  """The passes of `model` over rows with the blocks `where`.

  Raises:
    UserError: keys and values are to be kept, and the network cannot, the decoder is meant for
      models whose outputs are shifted, and the model is none, or it names a token that is none.
  """
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
  if decoder.cache.name != "none" or decoder.revision.is_verified:
    if not isinstance(network, Caches):
      raise UserError(
        f"the network {type(network).__name__} cannot keep keys and values: use the cache 'none', "
        "and a revision that does not verify."
      )
    unstacked = network.unstacked(model.params)
  return Passes(model=model, unstacked=unstacked, windows=where, guidance=decoder.guidance)
