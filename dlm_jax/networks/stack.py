"""Layers under one scan: what they share, how they are stacked, and their dropout keys."""

from dataclasses import dataclass

import jax
from flax import linen as nn
from jax import Array

from dlm_jax.core.patterns import FULL, Pattern

REMAT = ("none", "dots", "full")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LayerInputs:
  """What all layers are given beside the hidden states.

  Attributes:
    angles: of rotary embedding, `[L, R]` or `[B, L, R]`.
    pattern: which position sees which.
    condition: `[B, 1 or L, C]`, what modulates the layers; None for nothing.
    valid: bool `[B, L]`, see `Inputs`.
    write_positions, mask: with a cache, see `Caches.extend`.
  """

  angles: Array
  pattern: Pattern = FULL
  condition: Array | None = None
  valid: Array | None = None
  write_positions: Array | None = None
  mask: Array | None = None


def stack(
  block: type[nn.Module], config: object, *, depth: int, unroll: int, remat: str
) -> nn.Module:
  """`depth` layers `block(config)` under one scan: every parameter has a leading layer axis.

  A layer is called with (x `[B, L, D]`, `LayerInputs`, its dropout keys `[2, B]` or None, its cache
  or None) and returns x and its cache.

  Args:
    block, config: the class of a layer, and what it is made from.
    depth: N.
    unroll: layers in one step of the scan; 0 is all of them.
    remat: what the backward pass keeps: `none` recomputes nothing, `dots` keeps the matrix products
      with weights, `full` keeps the input of each layer alone.
  """
  policies = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
  }
  if remat != "none":
    block = nn.remat(block, policy=policies[remat], prevent_cse=False)
  scanned = nn.scan(
    block,
    variable_axes={"params": 0},
    split_rngs={"params": True},
    in_axes=(nn.broadcast, 0, 0),
    length=depth,
    unroll=unroll or depth,
  )
  return scanned(config)


def layer_keys(row_keys: Array | None, depth: int) -> Array | None:
  """Dropout keys `[N, 2, B]`, one for each layer, branch and row, from one a row."""
  if row_keys is None:
    return None
  split = jax.vmap(lambda key: jax.random.split(key, (depth, 2)), out_axes=2)
  return split(row_keys)
