"""The network with its parameters bound: the callable that processes and samplers are given."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from dlm_jax.core.patterns import FULL, Causal, Pattern
from dlm_jax.distributed.sharding import Rules, constrain
from dlm_jax.model import head_scores
from dlm_jax.networks.transformer import Transformer
from dlm_jax.processes.base import Denoise, Process

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
  """`denoise(z, t) -> logits`, with `score` for losses that save memory.

  Attributes:
    params: those of the network, and under `process` what the process learns, if anything.
    pattern: which position sees which, as the process states it.
    labels: int32 `[B]`, bound like the parameters; None is the network's own "no label".

  With `pattern` `Blocks` both take `clean` `[B, L]`, and with a network that is
  self-conditioned `denoise` takes `self_condition` `[B, L, W]`, see `Transformer.hidden`.
  """

  network: Transformer
  params: Any
  head: Head = Head()
  dropout_keys: Array | None = None
  pattern: Pattern = FULL
  labels: Array | None = None

  def __call__(
    self, z: Array, t: Array, clean: Array | None = None, self_condition: Array | None = None
  ) -> Array:
    """Logits `[B, L, V]` float32."""
    return self.network.apply(
      self._variables,
      z,
      t,
      self.dropout_keys,
      self_condition=self_condition,
      pattern=self.pattern,
      clean=clean,
      labels=self.labels,
    )

  @property
  def learned(self) -> Any:
    """What the process learns, see `bound`, or None."""
    if PROCESS not in self.params:
      return None
    # Whole on every device: rows of a table are gathered from it.
    return jax.tree.map(lambda a: constrain(a, *[None] * a.ndim), self.params[PROCESS])

  @property
  def _variables(self) -> dict[str, Any]:
    return {"params": {name: p for name, p in self.params.items() if name != PROCESS}}

  def empty_cache(self, rows: int, length: int) -> Array:
    """What `extend` starts from."""
    return self.network.empty_cache(rows, length)

  def extend(
    self, cache: Array, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, Array]:
    """Logits `[B, size, V]` of the positions of `z` `[B, L]` from `start` on, and the cache.

    They are those of `denoise(z, t)` there, if the cache has seen the final tokens of all positions
    before; and it has now seen those of these positions. `t` is `[B]`.
    """
    if isinstance(self.pattern, Causal):
      z = jnp.pad(z, ((0, 0), (1, 0)), constant_values=self.pattern.begin)
    inputs = jax.lax.dynamic_slice_in_dim(z, start, size, axis=1)
    return self.network.apply(
      self._variables,
      inputs,
      t,
      start,
      cache,
      self.pattern,
      self.labels,
      method="extend",
    )

  def score(
    self,
    z: Array,
    t: Array,
    score: Callable[..., Array],
    operands: tuple[Array, ...],
    where: Array,
    clean: Array | None = None,
  ) -> Array:
    """See `processes.base.score_positions`."""
    hidden, head = self._halves(z, t, clean)
    if self.head.capacity == 0.0:
      apply = partial(head_scores.score_positions, chunks=self.head.chunks)
    else:
      apply = partial(
        head_scores.score_gathered,
        chunks=self.head.chunks,
        capacity=self.head.capacity,
        groups=self.head.groups,
      )
    return apply(hidden, head, score, operands, where)

  def _halves(self, z: Array, t: Array, clean: Array | None) -> tuple[Array, head_scores.Head]:
    """The hidden states `[B, L, D]` and the head, which maps some of them to logits."""
    variables = self._variables
    hidden = self.network.apply(
      variables,
      z,
      t,
      self.dropout_keys,
      pattern=self.pattern,
      clean=clean,
      labels=self.labels,
      method="hidden",
    )
    return hidden, lambda h: self.network.apply(variables, h, method="head")


def bound(process: Process, denoise: Denoise) -> tuple[Process, Denoise]:
  """The process with what it has learned in place, and the denoiser as the process reads it.

  What is learned stands in `params["process"]` of a `Denoiser`; a process may also scale the
  network's input and add to its output. Any other callable is taken as it is.
  """
  if not isinstance(denoise, Denoiser):
    return process, denoise
  if denoise.learned is not None:
    process = process.bind(denoise.learned)
  return process, process.precondition(denoise)
