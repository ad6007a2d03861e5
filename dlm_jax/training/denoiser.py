"""The network with its parameters bound: the callable that processes and samplers are given."""

from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import PartitionSpec

from dlm_jax.distributed.sharding import Rules, constrain
from dlm_jax.networks.transformer import Transformer
from dlm_jax.training import losses

Array = jax.Array

# Where the parameters hold what the process learns, beside those of the network.
PROCESS = "process"

SHARDING_RULES: Rules = (
  (rf"{PROCESS}/embeddings$", PartitionSpec("tensor", "fsdp")),
  (rf"{PROCESS}/", PartitionSpec()),
)


@dataclass(frozen=True)
class Head:
  """How the head is applied when tokens are scored.

  Attributes:
    chunks: pieces of the length for which logits exist one at a time; must divide it.
    capacity: score only the positions asked for, in this fraction of all as static slots; 0 applies
      the head everywhere.
    groups: batch shards of the mesh, see `losses.gathered_cross_entropy`.
  """

  chunks: int = 1
  capacity: float = 0.0
  groups: int = 1


@dataclass(frozen=True)
class Denoiser:
  """`denoise(z, t) -> logits`, with `denoise.cross_entropy` for losses that save memory.

  `params` are those of the network, and under `process` what the process learns, if anything.
  """

  network: Transformer
  params: Any
  head: Head = Head()
  dropout_keys: Array | None = None

  def __call__(self, z: Array, t: Array, self_condition: Array | None = None) -> Array:
    """Logits `[B, L, V]` float32."""
    return self.network.apply(self._variables, z, t, self.dropout_keys, self_condition)

  @property
  def learned(self) -> Any:
    """What the process learns, see `processes.base.bind`, or None."""
    if PROCESS not in self.params:
      return None
    # Whole on every device: rows of a table are gathered from it.
    return jax.tree.map(lambda a: constrain(a, *[None] * a.ndim), self.params[PROCESS])

  @property
  def _variables(self) -> dict[str, Any]:
    return {"params": {name: p for name, p in self.params.items() if name != PROCESS}}

  def cross_entropy(
    self, z: Array, t: Array, targets: Array, where: Array, forbidden: int | None
  ) -> Array:
    """See `processes.base.cross_entropy`."""
    variables = self._variables
    hidden = self.network.apply(variables, z, t, self.dropout_keys, method="hidden")

    def head(h: Array) -> Array:
      return self.network.apply(variables, h, method="head")

    if self.head.capacity == 0.0:
      return losses.cross_entropy(
        hidden, head, targets, where, forbidden=forbidden, chunks=self.head.chunks
      )
    return losses.gathered_cross_entropy(
      hidden,
      head,
      targets,
      where,
      forbidden=forbidden,
      chunks=self.head.chunks,
      capacity=self.head.capacity,
      groups=self.head.groups,
    )
