"""How certain a model is of a position: what decides which masked positions are committed first.

Each score is a pure function in float32, the larger the sooner. `log_probs` `[..., V]` are what the
model says of a position, and `token` `[...]` is the candidate drawn for it.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import require_known
from dlm_jax.processes.draws import row_uniform

# The scores that `score` knows.
SCORES = ("probability", "margin", "negative_entropy", "random", "left_to_right")

Score = Callable[[Array, Array], Array]


def probability(log_probs: Array, token: Array) -> Array:
  """The probability of the candidate (LLaDA, Nie et al. 2025: `low_confidence`)."""
  return jnp.exp(at_token(log_probs.astype(jnp.float32), token))


def margin(log_probs: Array, token: Array) -> Array:
  """The probability of the likeliest token less that of the second (Kim et al. 2025)."""
  del token
  probs = jnp.exp(log_probs.astype(jnp.float32))
  best = jnp.argmax(probs, axis=-1, keepdims=True)
  others = jnp.where(jnp.arange(probs.shape[-1]) == best, -1.0, probs)
  return jnp.max(probs, axis=-1) - jnp.max(others, axis=-1)


def negative_entropy(log_probs: Array, token: Array) -> Array:
  """The sum of p log p, in nats (Dream, Ye et al. 2025: `entropy`)."""
  del token
  log_probs = log_probs.astype(jnp.float32)
  terms = jnp.where(jnp.isneginf(log_probs), 0.0, jnp.exp(log_probs) * log_probs)
  return jnp.sum(terms, axis=-1)


OF_A_PREDICTION: dict[str, Score] = {
  "probability": probability,
  "margin": margin,
  "negative_entropy": negative_entropy,
}


def check(name: str) -> None:
  """Raises `UserError` for a score that is not one of `SCORES`."""
  require_known("score", name, SCORES)


def score(name: str, keys: Array, log_probs: Array, token: Array) -> Array:
  """The score `name` of every position, float32 `[B, L]`.

  Args:
    name: one of `SCORES`.
    keys: `[B]`, which `random` draws with.
    log_probs: `[B, L, V]`.
    token: the candidates, int32 `[B, L]`.
  """
  if name == "random":
    return row_uniform(keys, token.shape)
  if name == "left_to_right":
    return jnp.broadcast_to(-jnp.arange(token.shape[1], dtype=jnp.float32), token.shape)
  return OF_A_PREDICTION[name](log_probs, token)


def ranks(score: Array, allowed: Array) -> Array:
  """The place `[B, L]` of each position among those `allowed` bool `[B, L]`, 0 for the best.

  Of equal scores the leftmost comes first; positions that are not allowed come last.
  """
  order = jnp.argsort(jnp.where(allowed, -score, jnp.inf), axis=-1, stable=True)
  return jnp.argsort(order, axis=-1)
