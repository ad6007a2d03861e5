"""Scaled dot-product attention by the fastest kernel the platform has.

| pattern        | CPU             | GPU, 16 bits   | TPU                       |
|----------------|-----------------|----------------|---------------------------|
| full           | flat            | cuDNN          | splash                    |
| causal         | flat            | cuDNN, causal  | splash, causal            |
| block causal   | flat            | XLA            | splash, the mask in tiles |
| blocks         | flat, in pieces | XLA, in pieces | splash, the mask in tiles |
| with padding   | flat            | XLA            | splash, by segments       |

On TPU a row whose length is no multiple of 128, as of a prompt with an answer, takes XLA as well.

A cache is read by `attend_flat` on every platform. `flat` has the heads before the positions,
`[B, H, L, K]`; all others take `[B, L, H, K]`, see `heads_axis`.

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
from dlm_jax.networks import products, splash

IMPLEMENTATIONS = ("auto", "xla", "flat", "cudnn", "splash")
# The score of a key that is not seen: finite, so that a query without any key gives no NaN.
LEAST = -0.7 * float(np.finfo(np.float32).max)
# Into how many pieces the queries of block diffusion are cut: scores exist for one at a time.
PIECES = 8


def check(implementation: str) -> None:
  """Raises `UserError` if `implementation` is not one of `IMPLEMENTATIONS`."""
  require_known("network.attention", implementation, IMPLEMENTATIONS)


def choose(implementation: str, dtype: jnp.dtype, length: int) -> str:
  """What `auto` stands for here, in rows of `length` positions, see the table above.

  `jax.nn.dot_product_attention` asked for nothing uses XLA everywhere, so it must be asked.
  """
  if implementation != "auto":
    return implementation
  if platform() == "gpu" and jnp.dtype(dtype).itemsize == 2:
    return "cudnn"
  if platform() == "tpu" and length % splash.MULTIPLE == 0:
    return "splash"
  return "flat" if platform() == "cpu" else "xla"


def heads_axis(implementation: str) -> int:
  """Where queries, keys and values have the axis of heads: after the rows, or after positions."""
  return 1 if implementation == "flat" else 2


def attend(
  query: Array,
  key: Array,
  value: Array,
  implementation: str,
  pattern: Pattern = FULL,
  valid: Array | None = None,
  dtype: jnp.dtype = jnp.float32,
) -> Array:
  """softmax(q k^T / sqrt(K)) v over the visible positions, softmax in float32.

  Args:
    query: `[B, L, H, K]`, or `[B, H, L, K]` as `heads_axis` says; with `Blocks` the noisy and then
      the clean tokens, 2 L of them.
    key, value: likewise with G heads, where G divides H: head h reads their head h // (H / G).
    implementation: of `IMPLEMENTATIONS`, but not `auto`.
    pattern: which position sees which.
    valid: bool `[B, L]`, the keys that may be seen; None is all. What a query that sees no key
      returns has no meaning, but is finite.
    dtype: of the operands of both products.
  """
  if implementation != "flat":
    query, key, value = (a.astype(dtype) for a in (query, key, value))
  if implementation == "splash":
    return splash.attend(query, key, value, pattern, valid)
  if isinstance(pattern, Blocks):
    return _two_streams(query, key, value, pattern, valid, implementation, dtype)
  if valid is None and not isinstance(pattern, BlockCausal) and implementation != "flat":
    return jax.nn.dot_product_attention(
      query, key, value, is_causal=isinstance(pattern, Causal), implementation=implementation
    )
  length = query.shape[3 - heads_axis(implementation)]
  mask = None if isinstance(pattern, Full) else _visible(pattern, length)
  return _masked(query, key, value, _and_valid(mask, valid), implementation, dtype)


def write(cache: Array, new: Array, write_positions: Array) -> Array:
  """Cached keys or values `[B G, S, K]` with `new` `[B, G, n, K]` among them, see `Caches.extend`.

  A cache has the shape of the product that reads it. Were there a reshape between the two, XLA
  would write once for each, each into a copy of the whole.
  """
  groups = new.shape[1]
  new = new.reshape(-1, *new.shape[2:]).astype(cache.dtype)
  if jnp.ndim(write_positions) == 0:
    return jax.lax.dynamic_update_slice_in_dim(cache, new, write_positions, axis=1)
  slots = jnp.repeat(write_positions, groups, axis=0)
  return cache.at[jnp.arange(len(new))[:, None], slots].set(new, mode="drop")


def attend_flat(
  query: Array, key: Array, value: Array, mask: Array | None, dtype: jnp.dtype
) -> Array:
  """Two batched products with one exponential between; the division comes last.

  On a CPU it is several times as fast as `jax.nn.dot_product_attention`.

  Args:
    query: `[B, H, n, K]`.
    key, value: `[B G, S, K]`, as a cache holds them.
    mask: bool `[n, S]` or `[B, n or 1, S]`, which key each query sees; None is all.
    dtype: of the operands of both products.
  """
  rows, heads, length, width = query.shape
  size = key.shape[1]
  q = (query * width**-0.5).reshape(len(key), -1, width)
  scores = products.batched(q, key, 2, dtype)
  if mask is not None:
    mask = mask if mask.ndim == 3 else mask[None]
    grouped = scores.reshape(rows, heads, length, size)
    scores = jnp.where(mask[:, None], grouped, LEAST).reshape(scores.shape)
  # The largest score is a constant of the softmax: its gradient is zero.
  largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - largest)
  out = products.batched(weights, value, 1, dtype) / jnp.sum(weights, axis=-1, keepdims=True)
  return out.reshape(query.shape)


def _masked(
  query: Array,
  key: Array,
  value: Array,
  mask: Array | None,
  implementation: str,
  dtype: jnp.dtype,
) -> Array:
  """`attend` with what each query sees as a mask, see `attend_flat`; what is not flat is XLA's."""
  if implementation == "flat":
    key, value = (a.reshape(-1, *a.shape[2:]) for a in (key, value))
    return attend_flat(query, key, value, mask, dtype)
  if mask is not None and mask.ndim == 3:
    mask = mask[:, None]
  return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="xla")


def _visible(pattern: Causal | BlockCausal, length: int) -> Array:
  index = jnp.arange(length)
  return index <= pattern.last_seen(index)[:, None]


def _and_valid(mask: Array | None, valid: Array | None) -> Array | None:
  if valid is None:
    return mask
  valid = valid[:, None]
  return valid if mask is None else mask & valid


def _two_streams(
  query: Array,
  key: Array,
  value: Array,
  blocks: Blocks,
  valid: Array | None,
  implementation: str,
  dtype: jnp.dtype,
) -> Array:
  """Attention of block diffusion, a piece of the positions (noisy and clean) at a time.

  A piece of P positions that ends at position E sees P noisy and E clean ones, so that its scores
  are `[B, H, 2 P, P + E]`; about a third of all pairs is computed. The backward pass computes them
  again.
  """
  axis = 3 - heads_axis(implementation)
  length = query.shape[axis] // 2
  step = -(-length // (PIECES * blocks.size)) * blocks.size

  @partial(jax.checkpoint, static_argnums=(3, 4))
  def piece(query: Array, key: Array, value: Array, start: int, end: int) -> Array:
    asking = (slice(start, end), slice(length + start, length + end))
    seen = (slice(start, end), slice(length, length + end))
    mask = blocks.allowed(_indices(asking)[:, None], _indices(seen), length)
    mask = _and_valid(mask, None if valid is None else _take(valid, seen, 1))
    query = _take(query, asking, axis)
    key, value = (_take(a, seen, axis) for a in (key, value))
    return _masked(query, key, value, mask, implementation, dtype)

  bounds = [(start, min(start + step, length)) for start in range(0, length, step)]
  parts = [jnp.split(piece(query, key, value, *bound), 2, axis) for bound in bounds]
  return jnp.concatenate([*(noisy for noisy, _ in parts), *(clean for _, clean in parts)], axis)


def _take(x: Array, parts: tuple[slice, ...], axis: int) -> Array:
  before = (slice(None),) * axis
  return jnp.concatenate([x[(*before, part)] for part in parts], axis)


def _indices(parts: tuple[slice, ...]) -> np.ndarray:
  return np.concatenate([np.arange(part.start, part.stop) for part in parts])
