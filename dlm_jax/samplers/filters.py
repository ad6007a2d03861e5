"""Temperature, top-k, top-p and forbidden tokens: maps from predictions to predictions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import NonNegative, NonNegativeInt, TopP
from dlm_jax.processes.base import Prediction


@dataclass(frozen=True, kw_only=True)
class Filters:
  """What is drawn from, in place of what the network predicts; applied in the order of the fields.

  In a continuous process temperature 0 clamps the prediction to the nearest embedding
  (Diffusion-LM, section 4.2).

  Attributes:
    forbidden: tokens that are not drawn.
    temperature: divides the log-probabilities; 0 takes the most likely token, 1 changes nothing.
    top_k: keep so many most likely tokens; 0 keeps all.
    top_p: keep the fewest most likely tokens whose probabilities reach so much; 1 keeps all.
  """

  forbidden: tuple[int, ...] = ()
  temperature: NonNegative = 1.0
  top_k: NonNegativeInt = 0
  top_p: TopP = 1.0

  def __post_init__(self) -> None:
    resolve.require_ranges(self)

  def check(self, vocab_size: int) -> None:
    """Raises `UserError` if a forbidden token is outside the vocabulary, or all tokens are."""
    for token in self.forbidden:
      if not 0 <= token < vocab_size:
        raise UserError(f"a forbidden token must lie in 0..{vocab_size - 1}, got {token}.")
    if len(set(self.forbidden)) == vocab_size:
      raise UserError("every token is forbidden: leave at least one that can be drawn.")

  def __call__(self, prediction: Prediction) -> Prediction:
    """The filtered prediction; the same object if there is nothing to filter."""
    if self == NO_FILTERS:
      return prediction
    log_probs = without(prediction.log_probs, self.forbidden)
    log_probs = most_likely(sharpen(log_probs, self.temperature), self.top_k)
    return Prediction(nucleus(log_probs, self.top_p), unfiltered=prediction.log_probs)


NO_FILTERS = Filters()


def without(log_probs: Array, forbidden: tuple[int, ...]) -> Array:
  """Takes the tokens `forbidden` out and renormalises; a position certain of one keeps it."""
  if not forbidden:
    return log_probs
  left = log_probs.at[..., jnp.array(forbidden)].set(-jnp.inf)
  certain = jnp.all(jnp.isneginf(left), axis=-1, keepdims=True)
  return jax.nn.log_softmax(jnp.where(certain, log_probs, left))


def sharpen(log_probs: Array, temperature: float) -> Array:
  """log softmax(`log_probs` / temperature) over the last axis; at 0 all mass is on the argmax."""
  if temperature == 0.0:
    best = jnp.argmax(log_probs, axis=-1, keepdims=True)
    return jnp.where(jnp.arange(log_probs.shape[-1]) == best, 0.0, -jnp.inf)
  return jax.nn.log_softmax(log_probs / temperature)


def most_likely(log_probs: Array, top_k: int) -> Array:
  """Keeps the `top_k` most likely tokens (Fan et al. 2018), and renormalises; 0 keeps all."""
  if top_k == 0 or top_k >= log_probs.shape[-1]:
    return log_probs
  # Ranks rather than a threshold: of equally likely tokens no more than top_k stay.
  rank = jnp.argsort(jnp.argsort(-log_probs, axis=-1), axis=-1)
  return jax.nn.log_softmax(jnp.where(rank < top_k, log_probs, -jnp.inf))


def nucleus(log_probs: Array, top_p: float) -> Array:
  """Keeps the fewest most likely tokens whose probabilities reach `top_p`, and renormalises.

  The token that crosses `top_p` is kept (Holtzman et al. 2020): .5, .25, .15, .1 at .8 becomes
  .556, .278, .167, 0.
  """
  if top_p == 1.0:
    return log_probs
  order = jnp.argsort(-log_probs, axis=-1)
  probs = jnp.exp(jnp.take_along_axis(log_probs, order, axis=-1))
  before = jnp.cumsum(probs, axis=-1) - probs
  rank = jnp.argsort(order, axis=-1)
  kept = jnp.take_along_axis(before < top_p, rank, axis=-1)
  return jax.nn.log_softmax(jnp.where(kept, log_probs, -jnp.inf))
