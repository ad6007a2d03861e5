"""Scaled dot-product attention on `[B, L, H, K]`, by the fastest kernel the platform has.

| pattern        | CPU            | GPU, 16 bits   | TPU                       |
|----------------|----------------|----------------|---------------------------|
| full           | XLA            | cuDNN          | splash                    |
| causal         | XLA            | cuDNN, causal  | splash, causal            |
| block causal   | XLA            | XLA            | splash, the mask in tiles |
| blocks         | XLA, in pieces | XLA, in pieces | splash, the mask in tiles |
| with padding   | XLA            | XLA            | splash, by segments       |
| cached         | XLA            | XLA            | XLA                       |

On a CPU, XLA's own formula or the `flat` one, which is faster.

No array of the size of all pairs of the 2 L tokens of block diffusion is held anywhere: cuDNN has
no kernel for that pattern, so that XLA works on one piece of the queries and the keys it can see at
a time; splash skips the tiles of the mask that are empty and stores each kind of tile once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.errors import require_known
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal, Full, Pattern
from dlm_jax.distributed.platform import platform
from dlm_jax.networks import splash

IMPLEMENTATIONS = ("auto", "xla", "flat", "cudnn", "splash")
# The score of a key that is not seen: finite, so that a query without any key gives no NaN.
LEAST = -0.7 * float(np.finfo(np.float32).max)
# Into how many pieces the queries of block diffusion are cut: scores exist for one at a time.
PIECES = 8


def check(implementation: str) -> None:
  """Raises `UserError` if `implementation` is not one of `IMPLEMENTATIONS`."""
  require_known("network.attention", implementation, IMPLEMENTATIONS)


def choose(implementation: str, dtype: jnp.dtype, cpu: str = "xla") -> str:
  """What `auto` stands for here: cuDNN on GPU in 16 bits, splash on TPU, `cpu` on CPU, else XLA.

  `jax.nn.dot_product_attention` asked for nothing uses XLA everywhere, so it must be asked.
  """
  if implementation != "auto":
    return implementation
  if platform() == "gpu" and jnp.dtype(dtype).itemsize == 2:
    return "cudnn"
  return {"tpu": "splash", "cpu": cpu}.get(platform(), "xla")


def attend(
  query: Array,
  key: Array,
  value: Array,
  implementation: str = "auto",
  pattern: Pattern = FULL,
  valid: Array | None = None,
) -> Array:
  """softmax(q k^T / sqrt(K)) v over the visible positions, softmax in float32.

  Args:
    query: `[B, L, H, K]`; with `Blocks` the noisy and then the clean tokens, `[B, 2 L, H, K]`.
    key, value: `[B, L, G, K]`, where G divides H: head h reads their head h // (H / G).
    implementation: of `IMPLEMENTATIONS`.
    pattern: which position sees which.
    valid: bool `[B, L]`, the keys that may be seen; None is all. What a query that sees no key
      returns has no meaning, but is finite.
  """
  implementation = choose(implementation, query.dtype)
  if implementation == "splash":
    return splash.attend(query, key, value, pattern, valid)
  if isinstance(pattern, Blocks):
    return _two_streams(query, key, value, pattern, valid, implementation)
  if valid is None and not isinstance(pattern, BlockCausal) and implementation != "flat":
    return jax.nn.dot_product_attention(
      query, key, value, is_causal=isinstance(pattern, Causal), implementation=implementation
    )
  mask = None if isinstance(pattern, Full) else _visible(pattern, query.shape[1])
  return attend_masked(query, key, value, _and_valid(mask, valid), implementation)


def attend_masked(
  query: Array, key: Array, value: Array, mask: Array | None, implementation: str = "xla"
) -> Array:
  """Attention of `query` `[B, n, H, K]` over `key` and `value` `[B, S, G, K]`.

  Args:
    query, key, value: as of `attend`.
    mask: bool `[n, S]` or `[B, n or 1, S]`, which key each query sees; None is all.
    implementation: `flat` for the form that a CPU is fast at; everything else is XLA's.
  """
  if choose(implementation, query.dtype) == "flat":
    return _flat(query, key, value, mask)
  if mask is not None and mask.ndim == 3:
    mask = mask[:, None]
  return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="xla")


def write(cache: Array, new: Array, write_positions: Array) -> Array:
  """Cached keys or values `[B G, S, K]` with `new` `[B, n, G, K]` among them, see `Caches.extend`.

  A cache has the shape of the product that reads it. Were there a reshape between the two, XLA
  would write once for each, each into a copy of the whole.
  """
  _, length, groups, width = new.shape
  new = jnp.swapaxes(new, 1, 2).reshape(-1, length, width)
  if jnp.ndim(write_positions) == 0:
    return jax.lax.dynamic_update_slice_in_dim(cache, new, write_positions, axis=1)
  slots = jnp.repeat(write_positions, groups, axis=0)
  return cache.at[jnp.arange(len(new))[:, None], slots].set(new, mode="drop")


def attend_cached(query: Array, keys: Array, values: Array, mask: Array) -> Array:
  """Attention of `query` `[B, n, H, K]` over cached `keys` and `values` `[B G, S, K]`.

  Args:
    mask: bool `[n, S]` or `[B, n, S]`, which slot each query sees.
  """
  rows, length, heads, width = query.shape
  groups, slots = keys.shape[0] // rows, keys.shape[1]
  q = query.reshape(rows, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
  q = q.reshape(rows * groups, -1, width) * jnp.asarray(width**-0.5, query.dtype)
  scores = jnp.einsum("rqk,rsk->rqs", q, keys, preferred_element_type=jnp.float32)
  scores = scores.reshape(rows, groups, -1, length, slots)
  scores = jnp.where(mask.reshape(-1, 1, 1, length, slots), scores, LEAST)
  weights = jax.nn.softmax(scores).reshape(rows * groups, -1, slots).astype(values.dtype)
  out = jnp.einsum("rqs,rsk->rqk", weights, values).astype(query.dtype)
  out = out.reshape(rows, groups, -1, length, width).transpose(0, 3, 1, 2, 4)
  return out.reshape(query.shape)


def _visible(pattern: Causal | BlockCausal, length: int) -> Array:
  index = jnp.arange(length)
  return index <= pattern.last_seen(index)[:, None]


def _and_valid(mask: Array | None, valid: Array | None) -> Array | None:
  if valid is None:
    return mask
  valid = valid[:, None]
  return valid if mask is None else mask & valid


def _flat(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
  """Two matrix products with one exponential between; the division comes last.

  On a CPU it is several times as fast as `jax.nn.dot_product_attention`. The sum of the weights is
  one more column of the second product.
  """
  rows, length, heads, width = query.shape
  groups, size = key.shape[2], key.shape[1]
  q = query.reshape(rows, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
  q = q.reshape(rows, groups, -1, width) * jnp.asarray(width**-0.5, query.dtype)
  k, v = (jnp.swapaxes(a, 1, 2) for a in (key, value))
  scores = jnp.einsum("bgqk,bgsk->bgqs", q, k, preferred_element_type=jnp.float32)
  if mask is not None:
    mask = jnp.broadcast_to(mask, (mask.shape[0] if mask.ndim == 3 else 1, length, size))
    grouped = scores.reshape(rows, groups, heads // groups, length, size)
    grouped = jnp.where(mask[:, None, None], grouped, LEAST)
    scores = grouped.reshape(scores.shape)
  # The largest score is a constant of the softmax: its gradient is zero.
  largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - largest).astype(value.dtype)
  ones = jnp.ones((*v.shape[:-1], 1), v.dtype)
  summed = jnp.einsum(
    "bgqs,bgsk->bgqk",
    weights,
    jnp.concatenate([v, ones], axis=-1),
    preferred_element_type=jnp.float32,
  )
  out = (summed[..., :-1] / summed[..., -1:]).astype(query.dtype)
  out = out.reshape(rows, groups, heads // groups, length, width).transpose(0, 3, 1, 2, 4)
  return out.reshape(rows, length, heads, width)


def _two_streams(
  query: Array,
  key: Array,
  value: Array,
  blocks: Blocks,
  valid: Array | None,
  implementation: str,
) -> Array:
  """Attention of block diffusion, a piece of the positions (noisy and clean) at a time.

  A piece of P positions that ends at position E sees P noisy and E clean ones, so that its scores
  are `[B, H, 2 P, P + E]`; about a third of all pairs is computed. The backward pass computes them
  again.
  """
  length = query.shape[1] // 2
  step = -(-length // (PIECES * blocks.size)) * blocks.size

  @partial(jax.checkpoint, static_argnums=(3, 4))
  def piece(query: Array, key: Array, value: Array, start: int, end: int) -> Array:
    asking = (slice(start, end), slice(length + start, length + end))
    seen = (slice(start, end), slice(length, length + end))
    mask = blocks.allowed(_indices(asking)[:, None], _indices(seen), length)
    mask = _and_valid(mask, None if valid is None else _take(valid, seen))
    return attend_masked(
      _take(query, asking), _take(key, seen), _take(value, seen), mask, implementation
    )

  bounds = [(start, min(start + step, length)) for start in range(0, length, step)]
  parts = [jnp.split(piece(query, key, value, *bound), 2, axis=1) for bound in bounds]
  return jnp.concatenate([*(noisy for noisy, _ in parts), *(clean for _, clean in parts)], axis=1)


def _take(x: Array, parts: tuple[slice, ...]) -> Array:
  return jnp.concatenate([x[:, part] for part in parts], axis=1)


def _indices(parts: tuple[slice, ...]) -> np.ndarray:
  return np.concatenate([np.arange(part.start, part.stop) for part in parts])
