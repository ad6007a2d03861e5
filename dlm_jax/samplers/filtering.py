"""Temperature and nucleus filtering of what the denoiser predicts."""

from typing import Any

import jax
import jax.numpy as jnp

from dlm_jax.errors import UserError
from dlm_jax.processes.base import Process

Array = jax.Array


def check(temperature: float, top_p: float) -> None:
  """Raises `UserError` for a negative temperature or a `top_p` outside (0, 1]."""
  if temperature < 0:
    raise UserError(
      f"temperature must be at least 0 (0 is the most likely token), got {temperature}."
    )
  if not 0 < top_p <= 1:
    raise UserError(f"top_p must lie in (0, 1] (1 keeps every token), got {top_p}.")


def narrow(
  process: Process, output: Any, z: Array, t: Array, temperature: float, top_p: float
) -> Any:
  """The network's output, sharpened: what `process.reverse` draws from.

  Unchanged at temperature 1 and top_p 1; otherwise filtered log-probabilities `[B, L, V]`, which a
  process reads as it does an output, because normalising them again changes nothing. A process
  whose output is something else gives the output that says so, by `output_of`. In a continuous
  process temperature 0 clamps the prediction to the nearest embedding (Diffusion-LM, section 4.2).
  """
  if temperature == 1.0 and top_p == 1.0:
    return output
  narrowed = nucleus(sharpen(process.log_probs(output, z, t), temperature), top_p)
  return process.output_of(narrowed, z, t) if hasattr(process, "output_of") else narrowed


def sharpen(log_probs: Array, temperature: float) -> Array:
  """log softmax(`log_probs` / temperature) over the last axis; at 0 all mass is on the argmax."""
  if temperature == 0.0:
    best = jnp.argmax(log_probs, axis=-1, keepdims=True)
    return jnp.where(jnp.arange(log_probs.shape[-1]) == best, 0.0, -jnp.inf)
  return jax.nn.log_softmax(log_probs / temperature)


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
