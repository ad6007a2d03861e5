"""Masks whose share of each block lies in an interval (BD3-LM, Arriola et al. 2025, section 5.2).

The authors draw the masks of a block again until their share does. What that gives is drawn here at
once: how many are masked, from the binomial distribution cut to the interval, and then which.
"""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln, xlog1py, xlogy

from dlm_jax.processes import draws

# Of a token: a share is not held against rounding.
TOLERANCE = 1e-3


def draw(
  key: Array,
  probability: Array,
  free: Array,
  size: int,
  interval: tuple[float, float] | Array,
) -> Array:
  """Which positions are masked, bool `[B, L]`.

  Args:
    key: one key or `[B]` keys.
    probability: `[B, L]`, that a position is masked; the same for all of a block.
    free: bool `[B, L]`, those that can be. A block of which no share of these lies in the interval
      is masked as if there were none.
    size: of a block. The last one may be shorter.
    interval: the smallest and the largest share of the free positions of a block.
  """
  count_key, place_key = draws.split_rows(key, free.shape[0], 2)
  length = free.shape[1]
  in_blocks = lambda a: jnp.pad(a, ((0, 0), (0, -length % size))).reshape(len(a), -1, size)  # noqa: E731
  free_of_block = in_blocks(free)
  total, masked = jnp.sum(free_of_block, axis=-1)[..., None], jnp.arange(size + 1)
  left, p = jnp.maximum(total - masked, 0), in_blocks(probability)[..., :1]
  log_count = xlogy(masked, p) + xlog1py(left, -p) - gammaln(masked + 1) - gammaln(left + 1)
  possible = masked <= total
  within = possible & (masked >= interval[0] * total - TOLERANCE)
  within &= masked <= interval[1] * total + TOLERANCE
  allowed = jnp.where(jnp.any(within, axis=-1, keepdims=True), within, possible)
  count = draws.row_categorical(count_key, jnp.where(allowed, log_count, -jnp.inf))
  u = jnp.where(free_of_block, draws.row_uniform(place_key, free_of_block.shape), jnp.inf)
  rank = jnp.argsort(jnp.argsort(u, axis=-1), axis=-1)
  return (rank < count[..., None]).reshape(len(free), -1)[:, :length]
