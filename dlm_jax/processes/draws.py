"""Random draws of a batch, in which row i depends on its own key alone.

So a batch that is cut into micro-batches, or spread over any number of devices, sees the same
noise, and a sample does not depend on its neighbours. `key` is one key or `[B]` keys throughout.
"""

import jax
import jax.numpy as jnp
from jax import Array


def row_keys(key: Array, rows: int) -> Array:
  """One key a row, `[rows]`: a single key is split, `[rows]` keys are taken as they are."""
  return jax.random.split(key, rows) if key.ndim == 0 else key


def split_rows(key: Array, rows: int, num: int) -> Array:
  """`[num, rows]` independent row keys, for a process that draws more than once."""
  return jax.vmap(lambda k: jax.random.split(k, num), out_axes=1)(row_keys(key, rows))


def row_uniform(key: Array, shape: tuple[int, ...]) -> Array:
  """U[0, 1) draws of `shape`, float32."""
  draw = jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))
  return draw(row_keys(key, shape[0]))


def row_normal(key: Array, shape: tuple[int, ...]) -> Array:
  """Standard normal draws of `shape`, float32."""
  draw = jax.vmap(lambda k: jax.random.normal(k, shape[1:]))
  return draw(row_keys(key, shape[0]))


def row_categorical(key: Array, logits: Array) -> Array:
  """Draws from softmax(`logits` [B, ..., V]) in float32 with high-precision Gumbel noise, int32.

  Plain float32 Gumbel noise is capped near 16, bf16 noise far below: both cut the tail off, and
  flatter generative perplexity (Zheng et al. 2024, "Masked diffusion models are secretly ...").
  """
  draw = jax.vmap(lambda k, row: jax.random.categorical(k, row, mode="high"))
  return draw(row_keys(key, logits.shape[0]), logits.astype(jnp.float32))
