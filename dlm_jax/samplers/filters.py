"""Temperature, top-k and nucleus filtering of what the denoiser predicts."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Process


def check(temperature: float, top_p: float) -> None:
  """Raises `UserError` for a negative temperature or a `top_p` outside (0, 1]."""
  if temperature < 0:
    raise UserError(
      f"temperature must be at least 0 (0 is the most likely token), got {temperature}."
    )
  if not 0 < top_p <= 1:
    raise UserError(f"top_p must lie in (0, 1] (1 keeps every token), got {top_p}.")


def check_top_k(top_k: int) -> None:
  """Raises `UserError` for a negative `top_k`."""
  if top_k < 0:
    raise UserError(f"top_k must be at least 0 (0 keeps every token), got {top_k}.")


def narrow(
  process: Process,
  output: Any,
  z: Array,
  t: Array,
  temperature: float,
  top_p: float,
  top_k: int = 0,
) -> Any:
  """The network's output, sharpened: what `process.reverse` draws from.

  Unchanged at temperature 1, top_p 1 and top_k 0; otherwise that of filtered log-probabilities
  `[B, L, V]`. In a continuous process temperature 0 clamps the prediction to the nearest embedding
  (Diffusion-LM, section 4.2).
  """
  if temperature == 1.0 and top_p == 1.0 and top_k == 0:
    return output
  sharpened = sharpen(process.log_probs(output, z, t), temperature)
  return output_of(process, nucleus(most_likely(sharpened, top_k), top_p), z, t)


def output_of(process: Process, log_probs: Array, z: Array, t: Array) -> Any:
  """What the network would have put out to predict `log_probs` `[B, L, V]`.

  For most processes these themselves, because normalising them again changes nothing; a process
  that reads its output otherwise has a method `output_of`.
  """
  if hasattr(process, "output_of"):
    return process.output_of(log_probs, z, t)
  return log_probs


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
