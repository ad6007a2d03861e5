"""Positions that are worked on in pieces, so that what one position needs is held for few of them.

Logits take V numbers a position, more than all else together where the vocabulary is large.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.types import PyTree

# At most so many float32 numbers of one array are held at once: a gigabyte.
MOST_NUMBERS = 2**28
# An array of more numbers than this is worked on in pieces, of which there are then at least EIGHT:
# enough to be small beside the rest of a training step, few enough for large matrix products.
WHOLE = 2**26
EIGHT = 8


def number(positions: int, columns: int, whole: int = WHOLE) -> int:
  """Into how many pieces of equal size `positions` with `columns` numbers each are cut.

  Args:
    positions: those of one device.
    columns: float32 numbers that each position needs.
    whole: how many numbers in all are not cut.
  """
  numbers = positions * columns
  if numbers <= whole:
    return 1
  least = max(EIGHT, -(-numbers // MOST_NUMBERS))
  return next(n for n in range(min(least, positions), positions + 1) if positions % n == 0)


def cut(arrays: PyTree, pieces: int) -> PyTree:
  """`[G, N, ...]` each as `[pieces, G, N / pieces, ...]`."""

  def one(x: Array) -> Array:
    return jnp.moveaxis(x.reshape(x.shape[0], pieces, -1, *x.shape[2:]), 1, 0)

  return jax.tree.map(one, arrays)


def joined(arrays: PyTree) -> PyTree:
  """`[pieces, G, n, ...]` each as `[G, pieces n, ...]`: undoes `cut`."""

  def one(x: Array) -> Array:
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])

  return jax.tree.map(one, arrays)


def map_in_pieces(
  function: Callable[..., PyTree], arrays: tuple[Array, ...], pieces: int
) -> PyTree:
  """`function(*arrays)`, of `[G, N, ...]` each, one piece of N after the other.

  The backward pass computes what it needs of a piece again, so that never more than one is held.

  Args:
    function: works on each position by itself; may return several arrays.
    arrays: what it takes.
    pieces: a divisor of N.
  """
  if pieces == 1:
    return function(*arrays)
  work = jax.checkpoint(lambda part: function(*part))
  return joined(jax.lax.map(work, cut(arrays, pieces)))


def map_first_pieces(
  function: Callable[..., PyTree], arrays: tuple[Array, ...], pieces: int, first: Array
) -> PyTree:
  """`map_in_pieces` of the `first` pieces alone, an int32 scalar; the result is 0 at all others.

  The others cost nothing, forwards or backwards. It has no derivative in forward mode.
  """
  parts = cut(arrays, pieces)
  is_float = [jnp.issubdtype(part.dtype, jnp.floating) for part in parts]
  of_part, constants = jax.closure_convert(lambda part: function(*part), _piece(parts, 0))

  def work(moving: tuple[Array, ...], fixed: tuple[Array, ...], constants: list[Array]) -> PyTree:
    """Of one piece, whose arrays of floats, `moving`, have gradients, and `fixed` have none."""
    floats, others = iter(moving), iter(fixed)
    return of_part(tuple(next(floats if is_ else others) for is_ in is_float), *constants)

  moving = tuple(part for part, is_ in zip(parts, is_float, strict=True) if is_)
  fixed = tuple(part for part, is_ in zip(parts, is_float, strict=True) if not is_)
  return joined(_differentiable_loop(work)(first, moving, fixed, constants))


def _piece(parts: PyTree, index: Array | int) -> PyTree:
  return jax.tree.map(lambda part: part[index], parts)


def _differentiable_loop(work: Callable[..., PyTree]) -> Callable[..., PyTree]:
  """`work` on the first pieces, in a loop whose length is known when it runs, both ways."""

  def put(whole: PyTree, index: Array, piece: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a.at[index].set(b), whole, piece)

  @jax.custom_vjp
  def run(first: Array, moving: PyTree, fixed: PyTree, constants: list[Array]) -> PyTree:
    def body(i: Array, results: PyTree) -> PyTree:
      return put(results, i, work(_piece(moving, i), _piece(fixed, i), constants))

    one = jax.eval_shape(work, _piece(moving, 0), _piece(fixed, 0), constants)
    pieces = len(jax.tree.leaves(moving)[0])
    none = jax.tree.map(lambda s: jnp.zeros((pieces, *s.shape), s.dtype), one)
    return jax.lax.fori_loop(0, first, body, none)

  def forward(*arguments: PyTree) -> tuple[PyTree, tuple[PyTree, ...]]:
    return run(*arguments), arguments

  def backward(arguments: tuple[PyTree, ...], cotangents: PyTree) -> tuple[PyTree, ...]:
    first, moving, fixed, constants = arguments

    def body(i: Array, slopes: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
      of_piece = lambda part, constants: work(part, _piece(fixed, i), constants)  # noqa: E731
      _, pull = jax.vjp(of_piece, _piece(moving, i), constants)
      of_part, of_constants = pull(_piece(cotangents, i))
      return put(slopes[0], i, of_part), jax.tree.map(jnp.add, slopes[1], of_constants)

    zeros = jax.tree.map(jnp.zeros_like, (moving, constants))
    of_moving, of_constants = jax.lax.fori_loop(0, first, body, zeros)
    return None, of_moving, None, of_constants

  run.defvjp(forward, backward)
  return run
