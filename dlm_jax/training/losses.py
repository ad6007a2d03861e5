"""Cross-entropy at large vocabularies: never all logits at once, and only where they are scored."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array
Head = Callable[[Array], Array]


def cross_entropy(
  hidden: Array,
  head: Head,
  targets: Array,
  where: Array,
  *,
  forbidden: int | None = None,
  chunks: int = 1,
) -> Array:
  """-log softmax(head(hidden))[target] in nats `[B, L]` at the positions `where`, 0 elsewhere.

  With more than one chunk, logits exist for L / chunks positions of every row at a time and are
  computed again in the backward pass: memory falls from B L V to B L V / chunks floats. Chunks cut
  the length, not the batch, so that a batch sharded over devices stays where it is.

  Args:
    hidden: `[B, L, D]`.
    head: maps `[..., D]` to logits `[..., V]` float32.
    targets: int32 `[B, L]`.
    where: bool `[B, L]`.
    forbidden: a column of the logits that is never predicted.
    chunks: a divisor of L.
  """

  def score(part: tuple[Array, Array]) -> Array:
    hidden, targets = part
    logits = head(hidden)
    if forbidden is not None:
      logits = logits.at[..., forbidden].set(-jnp.inf)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked

  if chunks == 1:
    return jnp.where(where, score((hidden, targets)), 0.0)
  parts = (_cut(hidden, chunks), _cut(targets, chunks))
  losses = jax.lax.map(jax.checkpoint(score), parts)
  return jnp.where(where, jnp.moveaxis(losses, 0, 1).reshape(targets.shape), 0.0)


def _cut(x: Array, chunks: int) -> Array:
  """`[B, L, ...]` to `[chunks, B, L / chunks, ...]`."""
  return jnp.moveaxis(x.reshape(x.shape[0], chunks, -1, *x.shape[2:]), 1, 0)


def gathered_cross_entropy(
  hidden: Array,
  head: Head,
  targets: Array,
  where: Array,
  *,
  capacity: float,
  groups: int = 1,
  forbidden: int | None = None,
  chunks: int = 1,
) -> Array:
  """`cross_entropy`, with the head applied only to the scored positions; always equal to it.

  The scored positions of each group of rows are gathered into a static number of slots. Should one
  group hold more than its slots, the whole batch takes the plain path for this step: nothing is
  dropped. `overflow` counts the positions that did not fit.

  Args:
    capacity: slots as a fraction of all positions, in (0, 1].
    groups: into how many pieces the rows are cut; the number of batch shards, so that no hidden
      state leaves its device.
    hidden, head, targets, where, forbidden, chunks: as in `cross_entropy`.
  """
  batch, length = targets.shape
  slots = _slots(batch, length, capacity, groups)
  chunks_of_slots = chunks if slots % chunks == 0 else 1

  def gathered(hidden: Array) -> Array:
    grouped = where.reshape(groups, -1)
    find = jax.vmap(lambda row: jnp.nonzero(row, size=slots, fill_value=row.size)[0])
    positions = find(grouped)
    take = jax.vmap(lambda rows, index: rows.at[index].get(mode="fill", fill_value=0))
    losses = cross_entropy(
      take(hidden.reshape(groups, -1, hidden.shape[-1]), positions),
      head,
      take(targets.reshape(groups, -1), positions),
      positions < grouped.shape[1],
      forbidden=forbidden,
      chunks=chunks_of_slots,
    )
    put = jax.vmap(lambda index, loss: jnp.zeros(grouped.shape[1]).at[index].set(loss, mode="drop"))
    return put(positions, losses).reshape(batch, length)

  def plain(hidden: Array) -> Array:
    return cross_entropy(hidden, head, targets, where, forbidden=forbidden, chunks=chunks)

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
