"""Matrix products of rows that lie in groups, each group with a matrix of its own.

On accelerators it is `jax.lax.ragged_dot`. What JAX compiles that to on a CPU multiplies every row
with every matrix, so that there a loop takes the rows in tiles, each of one group: it does the work
of the rows alone, up to the last tile of each group. The gradients of the loop are written out.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.distributed.platform import platform
from dlm_jax.networks import products

# The least and the largest number of rows in a tile.
TILE = 8, 128


def grouped(rows: Array, kernels: Array, sizes: Array, dtype: jnp.dtype) -> Array:
  """Each row times the kernel of its group, `[M, O]`, summed in float32.

  Args:
    rows: `[M, I]`, those of a group beside one another, in the order of the groups. What comes of
      rows after the last group, in value and gradient, has no meaning.
    kernels: float32 `[E, I, O]`.
    sizes: int32 `[E]`, the rows of each group; together at most M.
    dtype: what both are rounded to; and that of the result, which on a CPU is float32.
  """
  if platform() != "cpu":
    return jax.lax.ragged_dot(rows.astype(dtype), kernels.astype(dtype), sizes)
  return _tiled(rows, kernels, sizes, jnp.dtype(dtype))


class _Tiles(NamedTuple):
  """Where the rows of each tile lie.

  Attributes:
    height: rows in a tile, T.
    number: int32 `[]`, the tiles that there are.
    groups, starts, ends: int32 `[most]`, of each tile its group, its first row, and the row after
      the last one of its group. A tile reaches into the rows of the groups that follow.
  """

  height: int
  number: Array
  groups: Array
  starts: Array
  ends: Array


def _tiles(num_rows: int, sizes: Array) -> _Tiles:
  num_groups = len(sizes)
  height = TILE[0]
  while height < TILE[1] and 4 * height * num_groups <= num_rows:
    height *= 2
  tiles = -(-sizes // height)
  last_tiles, ends = jnp.cumsum(tiles), jnp.cumsum(sizes)
  index = jnp.arange(num_rows // height + num_groups)
  groups = jnp.minimum(jnp.searchsorted(last_tiles, index, side="right"), num_groups - 1)
  starts = (ends - sizes)[groups] + height * (index - (last_tiles - tiles)[groups])
  return _Tiles(height, last_tiles[-1], groups, starts, ends[groups])


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _tiled(rows: Array, kernels: Array, sizes: Array, dtype: jnp.dtype) -> Array:
  tiles = _tiles(len(rows), sizes)
  padded = _padded(rows.astype(dtype), tiles)

  def multiply(index: Array, out: Array) -> Array:
    kernel = _of_group(kernels, tiles.groups[index]).astype(dtype)
    product = products.dot(_take(padded, tiles, index), kernel, ((1,), (0,)))
    # What it writes beyond its group is overwritten by the tiles that follow.
    return jax.lax.dynamic_update_slice_in_dim(out, product, tiles.starts[index], 0)

  out = jnp.zeros((len(padded), kernels.shape[2]), jnp.float32)
  return jax.lax.fori_loop(0, tiles.number, multiply, out)[: len(rows)]


def _tiled_forward(
  rows: Array, kernels: Array, sizes: Array, dtype: jnp.dtype
) -> tuple[Array, tuple]:
  rounded = rows.astype(dtype)
  return _tiled(rounded, kernels, sizes, dtype), (
    rounded,
    kernels,
    sizes,
    jnp.zeros((), rows.dtype),
  )


def _tiled_backward(dtype: jnp.dtype, kept: tuple, gradient: Array) -> tuple[Array, Array, None]:
  rows, kernels, sizes, like = kept
  tiles = _tiles(len(rows), sizes)
  padded, gradients = _padded(rows, tiles), _padded(gradient.astype(dtype), tiles)

  def add(index: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    of_rows, of_kernels, of_group = sums
    group, start, end = tiles.groups[index], tiles.starts[index], tiles.ends[index]
    slope = _take(gradients, tiles, index)
    product = products.dot(slope, _of_group(kernels, group).astype(dtype), ((1,), (1,)))
    of_rows = jax.lax.dynamic_update_slice_in_dim(of_rows, product, start, 0)
    own = (start + jnp.arange(tiles.height) < end)[:, None]
    more = products.outer(jnp.where(own, _take(padded, tiles, index), 0), slope)
    # The sum is carried: one that were read out of `of_kernels` would have all of it copied.
    begins = (index == 0) | (group != tiles.groups[index - 1])
    of_group = jnp.where(begins, more, of_group + more)
    of_kernels = jax.lax.dynamic_update_index_in_dim(of_kernels, of_group, group, 0)
    return of_rows, of_kernels, of_group

  shapes = padded.shape, kernels.shape, kernels.shape[1:]
  zeros = tuple(jnp.zeros(shape, jnp.float32) for shape in shapes)
  of_rows, of_kernels, _ = jax.lax.fori_loop(0, tiles.number, add, zeros)
  return of_rows[: len(rows)].astype(like.dtype), of_kernels.astype(kernels.dtype), None


_tiled.defvjp(_tiled_forward, _tiled_backward)


def _padded(rows: Array, tiles: _Tiles) -> Array:
  """`rows` and a tile of zeros, into which the last tile reaches."""
  return jnp.pad(rows, ((0, tiles.height), (0, 0)))


def _take(padded: Array, tiles: _Tiles, index: Array) -> Array:
  return jax.lax.dynamic_slice_in_dim(padded, tiles.starts[index], tiles.height, 0)


def _of_group(kernels: Array, group: Array) -> Array:
  return jax.lax.dynamic_index_in_dim(kernels, group, 0, keepdims=False)
