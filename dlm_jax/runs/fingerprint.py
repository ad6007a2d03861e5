"""An integer hash of the bits of an array that does not depend on how the array is sharded."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


def fingerprints(leaves: Mapping[str, jax.Array]) -> dict[str, int]:
  """A 32-bit hash of the bits of every array, under the same names.

  Every element is mixed with its position and the results are added modulo 2^32. Integer addition
  is exact and commutes, so that any sharding over any number of devices gives the same value; the
  mixing is a bijection of the element, so that a change of one element is always seen. Shapes and
  dtypes are not part of it.
  """
  # One small program per leaf rather than a large one: leaves can live on different devices, and
  # the parameters, their averages and their moments share programs. Each is waited for: a crowd of
  # programs with collectives starves the few threads of a host that plays many devices.
  return {name: int(_hash(leaf)) for name, leaf in leaves.items()}


@jax.jit
def _hash(leaf: jax.Array) -> jax.Array:
  bits = _as_uint32(leaf)
  index = jnp.zeros((), jnp.uint32)
  for axis, size in enumerate(bits.shape):
    # The position comes from the axes: flattening a sharded array would gather it first.
    index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
  return jnp.sum(_mix(bits ^ _mix(index)), dtype=jnp.uint32)


def _as_uint32(leaf: jax.Array) -> jax.Array:
  if leaf.dtype == jnp.bool_:
    return leaf.astype(jnp.uint32)
  width = min(leaf.dtype.itemsize, 4)  # 8 bytes become a trailing axis of two words
  words = jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{8 * width}"))
  return words.astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
  """The finalizer of MurmurHash3: a bijection of 32-bit words in which every bit moves the rest."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
