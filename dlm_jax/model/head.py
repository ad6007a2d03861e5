"""The head applied to some positions: never all logits at once, and only where they are scored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from dlm_jax.core import pieces
from dlm_jax.core.types import PyTree
from dlm_jax.distributed.mesh import batch_shards
from dlm_jax.processes.base import Process, Score, only_at

# Maps hidden states `[..., D]` to the network's outputs `[..., columns]` float32.
ApplyHead = Callable[[Array], Array]
# Where few positions are scored, outputs of more numbers than this in all are made in pieces, since
# pieces that nothing is scored in are left out.
WHOLE_IF_FEW = 2**24


@dataclass(frozen=True)
class Head:
  """How the head is applied when positions are scored.

  Attributes:
    columns: numbers that a score needs a position: the size of the vocabulary.
    few: whether the process scores some of the positions only. The scored ones are then worked on
      first, and what is left costs nothing.
    groups: batch shards of the mesh: no hidden state leaves its device.
    chunks: pieces of the positions for which logits exist one at a time; None is as many as
      `core.pieces` finds right for `columns`.
  """

  columns: int = 0
  few: bool = False
  groups: int = 1
  chunks: int | None = None

  @classmethod
  def of(cls, process: Process, mesh: Mesh | None, chunks: int | None = None) -> Self:
    """The head for the scores of `process`, with batches spread over `mesh`."""
    groups = 1 if mesh is None else batch_shards(mesh)
    return cls(process.vocab_size, process.scored_share < 1.0, groups, chunks)

  def score(
    self,
    hidden: Array,
    apply: ApplyHead,
    score: Score,
    operands: tuple[Array, ...],
    where: Array,
  ) -> PyTree:
    """`score(apply(hidden), *operands)` at the positions `where`, 0 elsewhere.

    In more than one piece, outputs exist for one piece at a time and are computed again in the
    backward pass: memory falls from B L V to B L V / pieces floats.

    Args:
      hidden: `[B, L, D]`.
      apply: the head.
      score: maps outputs `[..., columns]` and operands to arrays `[..., *]`, each position by
        itself.
      operands: `[B, L, ...]` each.
      where: bool `[B, L]`.
    """

    def scored(hidden: Array, *operands: Array) -> PyTree:
      return score(apply(hidden), *operands)

    number = self.pieces(*where.shape)
    if number == 1:
      return only_at(where, scored(hidden, *operands))
    groups = self._groups(len(where))
    grouped = tuple(a.reshape(groups, -1, *a.shape[2:]) for a in (hidden, *operands))
    if self.few:
      results = _scored_first(scored, grouped, where.reshape(groups, -1), number)
    else:
      results = pieces.map_in_pieces(scored, grouped, number)
    return only_at(where, jax.tree.map(lambda a: a.reshape(*where.shape, *a.shape[2:]), results))

  def pieces(self, batch: int, length: int) -> int:
    """How many pieces the positions of each group are cut into."""
    if self.chunks is not None:
      return self.chunks
    positions = batch * length // self._groups(batch)
    whole = WHOLE_IF_FEW if self.few else pieces.WHOLE
    return pieces.number(positions, self.columns, whole)

  def _groups(self, batch: int) -> int:
    """Batches that the shards do not divide, such as a few samples, lie on every device."""
    return 1 if batch % self.groups else self.groups


# Applied everywhere at once.
WHOLE_HEAD = Head()


def _scored_first(
  scored: Callable[..., PyTree], grouped: tuple[Array, ...], where: Array, number: int
) -> PyTree:
  """`scored(*grouped)`, `[G, N, ...]`, right at the positions `where` `[G, N]`.

  The positions of each group are put in order, those that are scored first; pieces after the last
  of these are not computed.
  """
  order = jnp.argsort(~where, axis=1, stable=True)

  def take(array: Array) -> Array:
    return jax.vmap(lambda rows, index: rows.at[index].get(unique_indices=True))(array, order)

  def put_back(array: Array) -> Array:
    put = lambda rows, index: jnp.zeros_like(rows).at[index].set(rows, unique_indices=True)  # noqa: E731
    return jax.vmap(put)(array, order)

  most = jnp.max(jnp.sum(where, axis=1))
  size = where.shape[1] // number
  results = pieces.map_first_pieces(
    scored, tuple(map(take, grouped)), number, first=-(-most // size)
  )
  return jax.tree.map(put_back, results)
