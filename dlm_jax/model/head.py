"""The head applied to some positions: never all logits at once, and only where they are scored."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.processes.base import Score

# Maps hidden states `[..., D]` to logits `[..., V]` float32.
ApplyHead = Callable[[Array], Array]


@dataclass(frozen=True)
class Head:
  """How the head is applied when positions are scored.

  Attributes:
    chunks: pieces of the length for which logits exist one at a time; must divide it.
    capacity: apply the head to the scored positions alone, in this fraction of all as static slots;
      0 applies it everywhere.
    groups: batch shards of the mesh, see `score_gathered`.
  """

  chunks: int = 1
  capacity: float = 0.0
  groups: int = 1

  def score(
    self,
    hidden: Array,
    apply: ApplyHead,
    score: Score,
    operands: tuple[Array, ...],
    where: Array,
  ) -> Array:
    """`score_everywhere` or `score_gathered`, with these settings."""
    if self.capacity == 0.0:
      return score_everywhere(hidden, apply, score, operands, where, chunks=self.chunks)
    return score_gathered(hidden, apply, score, operands, where, settings=self)

  def overflow(self, where: Array) -> Array:
    """How many of the positions `where` `[B, L]` exceed the slots of their group, int32.

    It is 0 for a head without slots.
    """
    if self.capacity == 0.0:
      return jnp.int32(0)
    counts = jnp.sum(where.reshape(self.groups, -1), axis=1)
    return jnp.maximum(counts - self.slots(*where.shape), 0).sum()

  def slots(self, batch: int, length: int) -> int:
    """Slots of one group, rounded up to full rows of the length so that chunks divide them."""
    rows = -(-int(batch * length * self.capacity) // (self.groups * length))
    return min(rows * length, batch * length // self.groups)


@jax.custom_vjp
def with_count(losses: Array, count: Array, counter: Array) -> Array:
  """`losses` as they are, with `count` as their derivative by the scalar `counter`, all float32.

  So a count gets out of a loss that runs under `cond`, `scan` or `checkpoint`: with its gradient.
  """
  del count, counter
  return losses


def _with_count_forward(losses: Array, count: Array, counter: Array) -> tuple[Array, Array]:
  return with_count(losses, count, counter), count


def _with_count_backward(count: Array, cotangent: Array) -> tuple[Array, Array, Array]:
  return cotangent, jnp.zeros_like(count), count


with_count.defvjp(_with_count_forward, _with_count_backward)

# Applied everywhere at once.
WHOLE_HEAD = Head()


def score_everywhere(
  hidden: Array,
  apply: ApplyHead,
  score: Score,
  operands: tuple[Array, ...],
  where: Array,
  *,
  chunks: int = 1,
) -> Array:
  """`score(apply(hidden), *operands)` `[B, L]` at the positions `where`, 0 elsewhere.

  With more than one chunk, logits exist for L / chunks positions of every row at a time and are
  computed again in the backward pass: memory falls from B L V to B L V / chunks floats. Chunks cut
  the length, not the batch, so that a batch sharded over devices stays where it is.

  Args:
    hidden: `[B, L, D]`.
    apply: the head, maps `[..., D]` to logits `[..., V]` float32.
    score: maps `[..., V]` and `[...]` for each operand to `[...]`, each position by itself.
    operands: `[B, L]` each.
    where: bool `[B, L]`.
    chunks: a divisor of L.
  """

  def scored(part: tuple[Array, ...]) -> Array:
    hidden, *operands = part
    return score(apply(hidden), *operands)

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
  apply: ApplyHead,
  score: Score,
  operands: tuple[Array, ...],
  where: Array,
  *,
  settings: Head,
) -> Array:
  """`score_everywhere`, with the head applied only to the positions `where`; always equal to it.

  The scored positions of each group of rows are gathered into a static number of slots. Should one
  group hold more than its slots, the whole batch takes the plain path for this step: nothing is
  dropped. `Head.overflow` counts the positions that did not fit.

  Args:
    settings: `capacity` is the slots as a fraction of all positions, in (0, 1]; `groups` into how
      many pieces the rows are cut: the number of batch shards, so that no hidden state leaves its
      device.
    hidden, apply, score, operands, where: as in `score_everywhere`.
  """
  batch, length = where.shape
  chunks, groups = settings.chunks, settings.groups
  slots = settings.slots(batch, length)
  chunks_of_slots = chunks if slots % chunks == 0 else 1

  def gathered(hidden: Array) -> Array:
    grouped = where.reshape(groups, -1)
    find = jax.vmap(lambda row: jnp.nonzero(row, size=slots, fill_value=row.size)[0])
    positions = find(grouped)
    take = jax.vmap(lambda rows, index: rows.at[index].get(mode="fill", fill_value=0))
    losses = score_everywhere(
      take(hidden.reshape(groups, -1, hidden.shape[-1]), positions),
      apply,
      score,
      tuple(take(operand.reshape(groups, -1), positions) for operand in operands),
      positions < grouped.shape[1],
      chunks=chunks_of_slots,
    )
    put = jax.vmap(lambda index, loss: jnp.zeros(grouped.shape[1]).at[index].set(loss, mode="drop"))
    return put(positions, losses).reshape(batch, length)

  def plain(hidden: Array) -> Array:
    return score_everywhere(hidden, apply, score, operands, where, chunks=chunks)

  fits = settings.overflow(where) == 0
  return jax.lax.cond(fits, gathered, plain, hidden)
