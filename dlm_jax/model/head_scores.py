"""Losses at large vocabularies: never all logits at once, and only where they are scored."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Head = Callable[[Array], Array]
Score = Callable[..., Array]


def score_positions(
  hidden: Array,
  head: Head,
  score: Score,
  operands: tuple[Array, ...],
  where: Array,
  *,
  chunks: int = 1,
) -> Array:
  """`score(head(hidden), *operands)` `[B, L]` at the positions `where`, 0 elsewhere.

  With more than one chunk, logits exist for L / chunks positions of every row at a time and are
  computed again in the backward pass: memory falls from B L V to B L V / chunks floats. Chunks cut
  the length, not the batch, so that a batch sharded over devices stays where it is.

  Args:
    hidden: `[B, L, D]`.
    head: maps `[..., D]` to logits `[..., V]` float32.
    score: maps `[..., V]` and `[...]` for each operand to `[...]`, each position by itself.
    operands: `[B, L]` each.
    where: bool `[B, L]`.
    chunks: a divisor of L.
  """

  def scored(part: tuple[Array, ...]) -> Array:
    hidden, *operands = part
    return score(head(hidden), *operands)

  if chunks == 1:
    return jnp.where(where, scored((hidden, *operands)), 0.0)
  parts = tuple(_cut(array, chunks) for array in (hidden, *operands))
  losses = jax.lax.map(jax.checkpoint(scored), parts)
  return jnp.where(where, jnp.moveaxis(losses, 0, 1).reshape(where.shape), 0.0)


def _cut(x: Array, chunks: int) -> Array:
  """`[B, L, ...]` to `[chunks, B, L / chunks, ...]`."""
  return jnp.moveaxis(x.reshape(x.shape[0], chunks, -1, *x.shape[2:]), 1, 0)


def score_gathered(
  hidden: Array,
  head: Head,
  score: Score,
  operands: tuple[Array, ...],
  where: Array,
  *,
  capacity: float,
  groups: int = 1,
  chunks: int = 1,
) -> Array:
  """`score_positions`, with the head applied only to the positions `where`; always equal to it.

  The scored positions of each group of rows are gathered into a static number of slots. Should one
  group hold more than its slots, the whole batch takes the plain path for this step: nothing is
  dropped. `overflow` counts the positions that did not fit.

  Args:
    capacity: slots as a fraction of all positions, in (0, 1].
    groups: into how many pieces the rows are cut; the number of batch shards, so that no hidden
      state leaves its device.
    hidden, head, score, operands, where, chunks: as in `score_positions`.
  """
  batch, length = where.shape
  slots = _slots(batch, length, capacity, groups)
  chunks_of_slots = chunks if slots % chunks == 0 else 1

  def gathered(hidden: Array) -> Array:
    grouped = where.reshape(groups, -1)
    find = jax.vmap(lambda row: jnp.nonzero(row, size=slots, fill_value=row.size)[0])
    positions = find(grouped)
    take = jax.vmap(lambda rows, index: rows.at[index].get(mode="fill", fill_value=0))
    losses = score_positions(
      take(hidden.reshape(groups, -1, hidden.shape[-1]), positions),
      head,
      score,
      tuple(take(operand.reshape(groups, -1), positions) for operand in operands),
      positions < grouped.shape[1],
      chunks=chunks_of_slots,
    )
    put = jax.vmap(lambda index, loss: jnp.zeros(grouped.shape[1]).at[index].set(loss, mode="drop"))
    return put(positions, losses).reshape(batch, length)

  def plain(hidden: Array) -> Array:
    return score_positions(hidden, head, score, operands, where, chunks=chunks)

  fits = overflow(where, capacity=capacity, groups=groups) == 0
  return jax.lax.cond(fits, gathered, plain, hidden)


def overflow(where: Array, *, capacity: float, groups: int = 1) -> Array:
  """How many of the positions `where` [B, L] exceed the slots of their group, int32."""
  slots = _slots(*where.shape, capacity, groups)
  return jnp.maximum(jnp.sum(where.reshape(groups, -1), axis=1) - slots, 0).sum()


def _slots(batch: int, length: int, capacity: float, groups: int) -> int:
  """Slots of one group, rounded up to full rows of the length so that chunks divide them."""
  return min(
    -(-int(batch * length * capacity) // (groups * length)) * length, batch * length // groups
  )
