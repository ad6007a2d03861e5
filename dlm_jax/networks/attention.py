"""Scaled dot-product attention on `[B, L, H, K]`, by the fastest kernel the platform has."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from dlm_jax.distributed.mesh import BATCH_AXES
from dlm_jax.errors import UserError, nearest

Array = jax.Array

IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")


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
  if jax.default_backend() == "gpu" and jnp.dtype(dtype).itemsize == 2:
    return "cudnn"
  return "splash" if jax.default_backend() == "tpu" else "xla"


def attend(query: Array, key: Array, value: Array, implementation: str = "auto") -> Array:
  """softmax(q k^T / sqrt(K)) v over all positions, `[B, L, H, K]` each, softmax in float32."""
  implementation = choose(implementation, query.dtype)
  if implementation == "splash":
    return _splash(query, key, value)
  return jax.nn.dot_product_attention(query, key, value, implementation=implementation)


def _splash(query: Array, key: Array, value: Array) -> Array:
  """Splash attention, a Pallas kernel for TPU; elsewhere it runs in Pallas's (slow) interpreter.

  A Pallas call cannot be partitioned by the compiler, so each device runs it on its own rows and
  heads under `shard_map`. L must be a multiple of 128.
  """
  # A TPU kernel that other platforms never load.
  from jax.experimental.pallas.ops.tpu import splash_attention  # noqa: PLC0415

  _, length, _, head_width = query.shape
  if length % 128:
    raise UserError(
      f"splash attention needs a length that is a multiple of 128, got {length}: "
      "set network.attention to 'xla'."
    )

  def local(q: Array, k: Array, v: Array) -> Array:
    mask = splash_attention.FullMask((length, length))
    kernel = splash_attention.make_splash_mha_single_device(
      splash_attention.MultiHeadMask([mask] * q.shape[2]),
      interpret=jax.default_backend() != "tpu",
    )
    heads_first = (jnp.swapaxes(a, 1, 2) for a in (q * head_width**-0.5, k, v))
    return jnp.swapaxes(jax.vmap(kernel)(*heads_first), 1, 2)

  if jax.sharding.get_abstract_mesh().empty:
    return local(query, key, value)
  spec = PartitionSpec(BATCH_AXES, None, "tensor", None)
  mapped = jax.shard_map(local, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)
  return mapped(query, key, value)
