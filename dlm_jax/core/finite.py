"""Whether arrays hold numbers."""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import PyTree


def all_finite(tree: PyTree) -> Array:
  """Whether every element of every float array of a pytree is finite, bool scalar."""
  leaves = (leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact))
  finite = (jnp.all(jnp.isfinite(leaf)) for leaf in leaves)
  return functools.reduce(operator.and_, finite, jnp.array(True))


def is_finite(tree: PyTree) -> bool:
  """`all_finite` of arrays that may be spread over the devices of several processes."""
  return bool(jax.jit(all_finite)(tree))
