"""Scaled dot-product attention on `[B, L, H, K]`, by the fastest kernel the platform has.

| pattern | CPU                | GPU, 16 bits       | TPU                        |
|------------|--------------------|--------------------|----------------------------|
| full       | XLA                | cuDNN              | splash                     |
| causal     | XLA                | cuDNN, causal      | splash, causal             |
| blocks     | XLA, in pieces     | XLA, in pieces     | splash, the mask in tiles  |
| cached     | XLA                | XLA                | XLA                        |

No array of the size of all pairs of the 2 L tokens of block diffusion is held anywhere: cuDNN has
no kernel for that pattern, so that XLA works on one piece of the queries and the keys it can see at
a time; splash skips the tiles of the mask that are empty and stores each kind of tile once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from dlm_jax.core.errors import UserError, nearest
from dlm_jax.core.patterns import FULL, Blocks, Causal, Full, Pattern
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.platform import platform

IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")
# Into how many pieces the queries of block diffusion are cut: scores exist for one at a time.
PIECES = 8


def check(implementation: str) -> None:
  """Raises `UserError` if `implementation` is not one of `IMPLEMENTATIONS`."""
  if implementation not in IMPLEMENTATIONS:
    raise UserError(
      f"there is no attention {implementation!r}: {nearest(implementation, IMPLEMENTATIONS)}"
      f"The known ones are {', '.join(IMPLEMENTATIONS)}."
    )


def choose(implementation: str, dtype: jnp.dtype) -> str:
  """What `auto` stands for here: cuDNN on GPU in 16 bits, splash on TPU, else XLA.

  `jax.nn.dot_product_attention` asked for nothing uses XLA everywhere, so it must be asked.
  """
  if implementation != "auto":
    return implementation
  if platform() == "gpu" and jnp.dtype(dtype).itemsize == 2:
    return "cudnn"
  return "splash" if platform() == "tpu" else "xla"


def attend(
  query: Array,
  key: Array,
  value: Array,
  implementation: str = "auto",
  pattern: Pattern = FULL,
) -> Array:
  """softmax(q k^T / sqrt(K)) v over the visible positions, `[B, L, H, K]` each, softmax in float32.

  With `Blocks` the arrays are `[B, 2 L, H, K]`, the noisy tokens and then the clean ones.
  """
  implementation = choose(implementation, query.dtype)
  if implementation == "splash":
    return _splash(query, key, value, pattern)
  if isinstance(pattern, Blocks):
    return _two_streams(query, key, value, pattern)
  causal = isinstance(pattern, Causal)
  return jax.nn.dot_product_attention(
    query, key, value, is_causal=causal, implementation=implementation
  )


def attend_cached(query: Array, key: Array, value: Array, start: Array, pattern: Pattern) -> Array:
  """Attention of the positions from `start` on, `[B, n, H, K]`, over a cache `[B, S, H, K]`.

  Position `start + i` sees the cache up to `pattern.last_seen(start + i)`.
  """
  last = pattern.last_seen(start + jnp.arange(query.shape[1]))
  mask = jnp.arange(key.shape[1]) <= last[:, None]
  return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="xla")


def _two_streams(query: Array, key: Array, value: Array, blocks: Blocks) -> Array:
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
    return jax.nn.dot_product_attention(
      _take(query, asking), _take(key, seen), _take(value, seen), mask=mask, implementation="xla"
    )

  bounds = [(start, min(start + step, length)) for start in range(0, length, step)]
  parts = [jnp.split(piece(query, key, value, *bound), 2, axis=1) for bound in bounds]
  return jnp.concatenate([*(noisy for noisy, _ in parts), *(clean for _, clean in parts)], axis=1)


def _take(x: Array, parts: tuple[slice, ...]) -> Array:
  return jnp.concatenate([x[:, part] for part in parts], axis=1)


def _indices(parts: tuple[slice, ...]) -> np.ndarray:
  return np.concatenate([np.arange(part.start, part.stop) for part in parts])


def _splash(query: Array, key: Array, value: Array, pattern: Pattern) -> Array:
  """Splash attention, a Pallas kernel for TPU; elsewhere it runs in Pallas's (slow) interpreter.

  A Pallas call cannot be partitioned by the compiler, so each device runs it on its own rows and
  heads under `shard_map`. The number of positions must be a multiple of 128.
  """
  # A TPU kernel that other platforms never load.
  from jax.experimental.pallas.ops.tpu import splash_attention  # noqa: PLC0415

  _, length, _, head_width = query.shape
  if length % 128:
    raise UserError(
      f"splash attention needs a length that is a multiple of 128, got {length}: "
      "set network.attention to 'xla'."
    )

  class TwoStreams(splash_attention.Mask):
    """`Blocks.allowed`, computed where a tile of it is asked for."""

    shape = (length, length)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
      query, key = (np.arange(length)[part] for part in index)
      return pattern.allowed(query[:, None], key, length // 2)

    def __eq__(self, other: object) -> bool:
      return isinstance(other, TwoStreams)

    def __hash__(self) -> int:
      return hash((pattern, length))

  masks = {Full: splash_attention.FullMask, Causal: splash_attention.CausalMask}

  def local(q: Array, k: Array, v: Array) -> Array:
    two_streams = isinstance(pattern, Blocks)
    mask = TwoStreams() if two_streams else masks[type(pattern)]((length, length))
    kernel = splash_attention.make_splash_mha_single_device(
      splash_attention.MultiHeadMask([mask] * q.shape[2]),
      interpret=platform() != "tpu",
    )
    heads_first = (jnp.swapaxes(a, 1, 2) for a in (q * head_width**-0.5, k, v))
    return jnp.swapaxes(jax.vmap(kernel)(*heads_first), 1, 2)

  if jax.sharding.get_abstract_mesh().empty:
    return local(query, key, value)
  spec = PartitionSpec(BATCH_AXES, None, "tensor", None)
  mapped = jax.shard_map(local, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)
  return mapped(query, key, value)
