"""The network with its parameters bound: the callable that processes and samplers are given."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import FULL, BlockCausal, Blocks, Causal, Pattern
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.sharding import Rules, constrain
from dlm_jax.model.head import WHOLE_HEAD, Head
from dlm_jax.networks.base import Cache, Caches, Inputs, Network
from dlm_jax.processes.base import Denoise, Process, Score
from dlm_jax.processes.facets import HasSigma

# In these, no position sees what stands after its block: what is finished can be cached.
CACHED_PATTERNS = (Causal, BlockCausal, Blocks)
# Where the parameters hold what the process learns, beside those of the network.
PROCESS = "process"

SHARDING_RULES: Rules = (
  (rf"{PROCESS}/embeddings$", PartitionSpec("tensor", "fsdp")),
  (rf"{PROCESS}/", PartitionSpec()),
)


@dataclass(frozen=True)
class Denoiser:
  """`denoise(z, t) -> logits`, with `score` for losses that never hold all logits.

  Attributes:
    network: of any kind.
    params: those of the network, and under `process` what the process learns, if anything.
    head: how the head is applied by `score`.
    dropout_keys: keys `[B]`, which switch dropout on.
    pattern: which position sees which, as the process states it.
    labels: int32 `[B]`, bound like the parameters; None is the network's own "no label".
    sigma: of the process, for a network that reads it in place of t; put in place by `bound`.

  The states of a network with `label_shift` move here, between network and head, and nowhere else;
  so does the input under `Causal`, which a network with `label_shift` refuses.

  Conditioning is given by keyword: `clean` `[B, L]` with the pattern `Blocks`, `self_condition`
  `[B, L, W]` with a network that takes it, `positions` and `valid`; see `networks.base.Inputs`.
  """

  network: Network
  params: Params
  head: Head = WHOLE_HEAD
  dropout_keys: Array | None = None
  pattern: Pattern = FULL
  labels: Array | None = None
  sigma: Callable[[Array], Array] | None = None

  def __call__(self, z: Array | SoftTokens, t: Array, /, **conditioning: Array | None) -> Array:
    """Logits `[B, L, V]` float32."""
    return self.network.head(self.network_params, self._hidden(z, t, conditioning))

  def score(
    self,
    z: Array | SoftTokens,
    t: Array,
    score: Score,
    operands: tuple[Array, ...],
    where: Array,
    **conditioning: Array | None,
  ) -> PyTree:
    """`score(logits, *operands)` at the positions `where`, 0 elsewhere; see `Head.score`.

    Args:
      z, t, conditioning: as of a call.
      score: maps `[..., V]` and operands to arrays `[..., *]`, each position by itself.
      operands: `[B, L, ...]` each.
      where: bool `[B, L]`.
    """
    hidden = self._hidden(z, t, conditioning)
    apply = lambda h: self.network.head(self.network_params, h)  # noqa: E731
    return self.head.score(hidden, apply, score, operands, where)

  @property
  def learned(self) -> Params | None:
    """What the process learns, or None."""
    if PROCESS not in self.params:
      return None
    # Whole on every device: rows of a table are gathered from it.
    return jax.tree.map(lambda a: constrain(a, *[None] * a.ndim), self.params[PROCESS])

  @property
  def network_params(self) -> Params:
    return {name: p for name, p in self.params.items() if name != PROCESS}

  def _hidden(
    self, z: Array | SoftTokens, t: Array, conditioning: dict[str, Array | None]
  ) -> Array:
    """The state `[B, L, D]` that each position is predicted from."""
    inputs = self._inputs(z, t, conditioning)
    if not self.network.label_shift:
      return self.network.hidden(self.network_params, inputs)
    return before(self.network.states(self.network_params, inputs), self.pattern)

  def _inputs(
    self, z: Array | SoftTokens, t: Array, conditioning: dict[str, Array | None]
  ) -> Inputs:
    if isinstance(self.pattern, Causal):
      z = self.pattern.shift(z)
    return inputs_of(
      self.network,
      z,
      self._time(t),
      pattern=self.pattern,
      labels=self.labels,
      dropout_keys=self.dropout_keys,
      **conditioning,
    )

  def _time(self, t: Array) -> Array:
    """What the network is given as the time."""
    return t if self.sigma is None else self.sigma(t)


def before(states: Array, pattern: Pattern) -> Array:
  """The states `[B, L, D]` one position before each; the first position keeps its own (Dream).

  With `Blocks` the first position of a block is predicted from the clean token before it, as where
  the block before it is finished and its noisy tokens are the clean ones (Fast-dLLM v2).

  Args:
    states: of `Network.states`.
    pattern: `Full`, `BlockCausal` or `Blocks`; with `Causal` the input has moved already.
  """
  own = states
  if isinstance(pattern, Blocks):
    own, clean = jnp.split(states, 2, axis=1)
    last = (jnp.arange(own.shape[1]) + 1) % pattern.size == 0
    states = jnp.where(last[:, None], clean, own)
  return jnp.concatenate([own[:, :1], states[:, :-1]], axis=1)


def inputs_of(
  network: Network, z: Array | SoftTokens, t: Array, **fields: Array | Pattern | None
) -> Inputs:
  """The inputs of `network` at the state `z`, which is tokens or states as its interface says."""
  if network.interface.state_width is None:
    return Inputs(tokens=z, time=t, **fields)
  return Inputs(states=z, time=t, **fields)


@dataclass(frozen=True)
class CachingDenoiser(Denoiser):
  """A denoiser whose network can cache, with a pattern in which nothing before sees what is new.

  It is what samplers call `samplers.base.Extends`. It is built before the loop that extends it.

  Attributes:
    unstacked: the parameters as the network extends with them.
  """

  unstacked: Params = field(init=False, repr=False)

  def __post_init__(self) -> None:
    if not _can_cache(self.network, self.pattern):
      raise UserError(
        f"the network {type(self.network).__name__} cannot keep keys and values with the pattern "
        f"{type(self.pattern).__name__}: sample without a cache."
      )
    object.__setattr__(self, "unstacked", self.network.unstacked(self.network_params))

  def empty_cache(self, rows: int, length: int) -> Cache:
    """What `extend` starts from, with room for `length` positions."""
    return self.network.empty_cache(rows, length)

  def extend(
    self, cache: Cache, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, Cache]:
    """Logits `[B, size, V]` of the positions of `z` `[B, L]` from `start` on, and the cache.

    They are those of `denoise(z, t)` there, if the cache has seen the final tokens of all positions
    before; and it has now seen those of these positions. `t` is `[B]`.
    """
    if isinstance(self.pattern, Causal):
      z = self.pattern.shift(z)
    if not self.network.label_shift:
      hidden, cache = self._extended(cache, z, t, start, size)
    else:
      # The state before the first of these positions is computed once more.
      first = jnp.maximum(start - 1, 0)
      states, cache = self._extended(cache, z, t, first, min(size + 1, z.shape[1]))
      source = jnp.maximum(start + jnp.arange(size) - 1, 0) - first
      hidden = jnp.take(states, source, axis=1)
    return self.network.head(self.network_params, hidden), cache

  def _extended(
    self, cache: Cache, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, Cache]:
    """The states `[B, size, D]` of the positions from `start` on, and the cache that holds them."""
    tokens = jax.lax.dynamic_slice_in_dim(z, start, size, axis=1)
    positions = start + jnp.arange(size)
    time = self._time(t)
    inputs = inputs_of(self.network, tokens, time, positions=positions, labels=self.labels)
    mask = jnp.arange(cache[0].keys.shape[1]) <= self.pattern.last_seen(positions)[:, None]
    return self.network.extend(self.unstacked, inputs, cache, start, mask)


def with_cache(denoiser: Denoiser) -> Denoiser:
  """The denoiser as a `CachingDenoiser`, where its network and its pattern allow it."""
  if not _can_cache(denoiser.network, denoiser.pattern):
    return denoiser
  return CachingDenoiser(**{f.name: getattr(denoiser, f.name) for f in fields(denoiser) if f.init})


def _can_cache(network: Network, pattern: Pattern) -> bool:
  keeps = isinstance(network, Caches) and not network.rereads_clean_tokens
  return keeps and isinstance(pattern, CACHED_PATTERNS)


def bound(process: Process, denoise: Denoise) -> tuple[Process, Denoise]:
  """The process with what it has learned in place, and the denoiser as the process reads it.

  What is learned stands in `params["process"]` of a `Denoiser`; a process may also scale the
  network's input and add to its output. The denoiser gives sigma to a network that reads it, and
  keeps keys and values where it can, see `CachingDenoiser`. Any other callable is taken as it is.
  """
  if not isinstance(denoise, Denoiser):
    return process, denoise
  if denoise.learned is not None:
    process = process.bind(denoise.learned)
  if denoise.network.reads_sigma:
    assert isinstance(process, HasSigma)  # `from_config.build` has refused any other
    denoise = replace(denoise, sigma=process.sigma)
  return process, process.precondition(with_cache(denoise))
