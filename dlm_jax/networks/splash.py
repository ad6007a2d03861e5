"""Splash attention: a Pallas kernel for TPU, which skips what a pattern does not show."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks, Causal, Full, Pattern
from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.distributed.platform import platform

# Positions of a tile of the kernel.
MULTIPLE = 128


def attend(
  query: Array, key: Array, value: Array, pattern: Pattern, valid: Array | None = None
) -> Array:
  """`attention.attend` by the kernel; elsewhere than on a TPU in Pallas's (slow) interpreter.

  A Pallas call cannot be partitioned by the compiler, so each device runs it on its own rows and
  heads under `shard_map`. The number of positions must be a multiple of `MULTIPLE`.
  """
  # A TPU kernel that other platforms never load.
  from jax.experimental.pallas.ops.tpu import splash_attention  # noqa: PLC0415

  _, length, heads, head_width = query.shape
  if length % MULTIPLE:
    raise UserError(
      f"splash attention needs a length that is a multiple of {MULTIPLE}, got {length}: "
      "set network.attention to 'xla'."
    )
  if key.shape[2] != heads:  # the tensor axis of the mesh must divide the heads of the keys, too
    key, value = (jnp.repeat(a, heads // a.shape[2], axis=2) for a in (key, value))

  class Visible(splash_attention.Mask):
    """The pairs of a pattern with blocks, computed where a tile of them is asked for."""

    shape = (length, length)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
      query, key = (np.arange(length)[part] for part in index)
      if isinstance(pattern, Blocks):
        return pattern.allowed(query[:, None], key, length // 2)
      assert not isinstance(pattern, Full)  # which has a mask of its own
      return key <= pattern.last_seen(query)[:, None]

    def __eq__(self, other: object) -> bool:
      return isinstance(other, Visible)

    def __hash__(self) -> int:
      return hash((pattern, length))

  masks = {Full: splash_attention.FullMask, Causal: splash_attention.CausalMask}

  def local(q: Array, k: Array, v: Array, seen: Array | None = None) -> Array:
    mask = masks[type(pattern)]((length, length)) if type(pattern) in masks else Visible()
    kernel = splash_attention.make_splash_mha_single_device(
      splash_attention.MultiHeadMask([mask] * q.shape[2]),
      interpret=platform() != "tpu",
    )
    q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q * head_width**-0.5, k, v))
    if seen is None:
      return jnp.swapaxes(jax.vmap(kernel)(q, k, v), 1, 2)
    # Queries are all of segment 1, and so are the keys that they may see.
    segments = splash_attention.SegmentIds(jnp.ones_like(seen), seen)
    return jnp.swapaxes(jax.vmap(kernel)(q, k, v, segments), 1, 2)

  arrays = [query, key, value] + ([] if valid is None else [valid.astype(jnp.int32)])
  if jax.sharding.get_abstract_mesh().empty:
    return local(*arrays)
  spec = PartitionSpec(BATCH_AXES, None, "tensor", None)
  in_specs = (spec,) * 3 + (() if valid is None else (PartitionSpec(BATCH_AXES, None),))
  mapped = jax.shard_map(local, in_specs=in_specs, out_specs=spec, check_vma=False)
  return mapped(*arrays)
