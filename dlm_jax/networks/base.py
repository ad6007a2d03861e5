"""The contract between a network and everything that calls it.

A network is a frozen dataclass of the fields that a config may set. It is pure: `init` makes
parameters, `hidden` and `head` are functions of parameters and inputs. It knows nothing of
diffusion: what a process needs of it is a `NetworkInterface`, and which position sees which is a
`Pattern` among its inputs.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, Causal, Full, Pattern
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.core.types import Params, PyTree
from dlm_jax.distributed.sharding import Rules

MatrixAxes = tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Inputs:
  """What a network reads, for B rows of L positions.

  Attributes:
    tokens: int32 `[B, L]`, or `SoftTokens`; None where the state is continuous.
    states: float `[B, L, W]`, the state of a continuous process; None where it is tokens.
    time: float32 `[B]`, or `[B, L]` where each position has its own: t, or what the process gives
      in its place.
    positions: int32 `[L]` or `[B, L]`, where each token stands in its text; None is 0..L-1.
    valid: bool `[B, L]`, the positions that may be attended to; None is all of them.
    pattern: which position sees which.
    clean: int32 `[B, L]`, with `Blocks` the tokens that later blocks see; None is `tokens`.
    labels: int32 `[B]`, the label of each row; None is no label.
    self_condition: float `[B, L, W]`, an earlier prediction of the clean state; None is 0.
    dropout_keys: keys `[B]`, which switch dropout on; None switches it off.
  """

  tokens: Array | SoftTokens | None = None
  states: Array | None = None
  time: Array
  positions: Array | None = None
  valid: Array | None = None
  pattern: Pattern = FULL
  clean: Array | None = None
  labels: Array | None = None
  self_condition: Array | None = None
  dropout_keys: Array | None = None

  @property
  def shape(self) -> tuple[int, ...]:
    """(B, L)."""
    state = self.states if self.tokens is None else self.tokens
    if state is None:
      raise ValueError("Inputs needs tokens or states.")
    return state.shape[0], state.shape[1]

  @property
  def positions_or_default(self) -> Array:
    return jnp.arange(self.shape[1]) if self.positions is None else self.positions


def two_streams(inputs: Inputs, clean_time: str = "zero") -> Inputs:
  """The row `[z ; x]` of 2 L tokens of block diffusion, the noisy ones and then the clean ones.

  The clean ones stand at the same positions (BD3-LM, Arriola et al. 2025, section 3.2), at time 0,
  or where `clean_time` is `noisy` at the time of the noisy ones.
  """
  if inputs.tokens is None:
    raise UserError("blocks of noisy and clean tokens are defined for tokens, not for embeddings.")
  t, tokens, shape = inputs.time, inputs.tokens, inputs.shape
  t = jnp.broadcast_to(t[:, None] if t.ndim == 1 else t, shape)
  of_clean = t if clean_time == "noisy" else jnp.zeros_like(t)
  clean = tokens if inputs.clean is None else inputs.clean
  if isinstance(tokens, SoftTokens) and not isinstance(clean, SoftTokens):
    clean = _as_soft(clean, tokens)
  return dataclasses.replace(
    inputs,
    tokens=jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), tokens, clean),
    time=jnp.concatenate([t, of_clean], axis=1),
    positions=jnp.concatenate([inputs.positions_or_default] * 2, axis=-1),
    valid=None if inputs.valid is None else jnp.concatenate([inputs.valid] * 2, axis=1),
    clean=None,
  )


def _as_soft(tokens: Array, like: SoftTokens) -> SoftTokens:
  """`tokens` `[B, L]` as mixtures with all the weight on one token, in as many slots as `like`."""
  first = jnp.zeros_like(like.weights).at[..., 0].set(1.0)
  return SoftTokens(jnp.broadcast_to(tokens[..., None], like.tokens.shape), first)


@dataclass(frozen=True, kw_only=True)
class Network:
  """What every network states and does; a network derives from it and is built by `make`.

  Attributes:
    interface: what the process needs the network to take and to give; set by `make`, not a field
      of a config.
    num_labels: labels a row may have, 0 where there are none; set by `make` as well.
  """

  interface: NetworkInterface = resolve.runtime()
  num_labels: int = resolve.runtime(0)

  # The patterns that the network can do.
  patterns: ClassVar[tuple[type, ...]] = (Full,)
  # How each parameter lies on the mesh, the first match wins: (regular expression, spec).
  sharding_rules: ClassVar[Rules] = ()
  # How often training takes the label of a row away; 0 where the network never does without.
  label_dropout: float = dataclasses.field(default=0.0, init=False, repr=False)
  # Whether a position is predicted from the state before it. The denoiser shifts the states.
  label_shift: bool = dataclasses.field(default=False, init=False, repr=False)

  @property
  def matrix_axes(self) -> MatrixAxes:
    """The hidden matrices, which Muon orthogonalises: (expression, axes summed, axes produced)."""
    return ()

  @property
  def vocab_size(self) -> int:
    """The columns of the output."""
    return self.interface.columns

  @property
  def compute_dtype(self) -> jnp.dtype:
    """The dtype of the hidden states; logits are float32 in any case."""
    return jnp.dtype(jnp.float32)

  @property
  def knows_time(self) -> bool:
    """Whether the output depends on the time."""
    return False

  @property
  def rereads_clean_tokens(self) -> bool:
    """Whether what it makes of clean tokens changes with the time, so that it cannot be kept."""
    return False

  @property
  def reads_sigma(self) -> bool:
    """Whether the time that it is given is sigma = -log alpha(t), see `facets.HasSigma`."""
    return False

  def check_pattern(self, pattern: Pattern) -> None:
    """Raises `UserError` where the network cannot do `pattern`."""
    if not isinstance(pattern, self.patterns):
      possible = ", ".join(p.__name__ for p in self.patterns)
      raise UserError(
        f"the process needs the attention pattern {type(pattern).__name__}, but the network "
        f"{type(self).__name__} can do {possible} alone: choose another network.name, such as "
        "'transformer'."
      )
    if self.label_shift and isinstance(pattern, Causal):
      raise UserError(
        "network.label_shift predicts a position from the state before it, and the input of a "
        "causal process has moved by one already: set network.label_shift to False."
      )

  def init(self, key: Array, inputs: Inputs) -> Params:
    """New parameters, float32, of the shapes that `inputs` need."""
    raise NotImplementedError

  def hidden(self, params: Params, inputs: Inputs) -> Array:
    """The normed output of the last layer `[B, L, D]`, in `compute_dtype`."""
    return self.states(params, inputs)[:, : inputs.shape[1]]

  def states(self, params: Params, inputs: Inputs) -> Array:
    """`hidden`; with `Blocks` those of the noisy and then the clean tokens, `[B, 2 L, D]`."""
    raise NotImplementedError

  def head(self, params: Params, hidden: Array) -> Array:
    """Outputs `[..., columns]` float32 for `hidden` `[..., D]`."""
    raise NotImplementedError

  def flops_per_token(self, length: int, pattern: Pattern = FULL, scored: float = 1.0) -> float:
    """FLOPs of the forward pass for one token of a row of `length`: two for each multiplication.

    Of attention the visible pairs count, and of the head the share `scored` of the positions, to
    which it is applied. `Compiled.cost_analysis()` counts the body of a scan
    once, so the number comes from shapes.
    """
    raise NotImplementedError


class LayerCache(NamedTuple):
  """The keys and the values that one layer keeps, each `[B G, S, K]`: heads of rows, slots, width.

  Arrays of their own, so that a loop which extends them writes in place.
  """

  keys: Array
  values: Array


# One for each layer.
Cache = tuple[LayerCache, ...]


@runtime_checkable
class Caches(Protocol):
  """A network that keeps the keys and values of positions it has seen."""

  def empty_cache(self, rows: int, length: int) -> Cache:
    """A cache with `length` slots S in each row, in the compute dtype."""
    ...

  def unstacked(self, params: Params) -> Params:
    """`params` as `extend` reads them, each layer's apart.

    A loop is given them as they are: in it, the weights would be cut out, and so copied, each time.
    """
    ...

  def extend(
    self, params: Params, inputs: Inputs, cache: Cache, write_positions: Array, mask: Array
  ) -> tuple[Array, Cache]:
    """The hidden states `[B, n, D]` of n more positions, and the cache that holds them as well.

    Args:
      params: of `unstacked`.
      inputs: of n positions; its `positions` are where they stand in the text, its `pattern` and
        `valid` take no part: `mask` says all.
      cache: of `empty_cache`, or what `extend` returned.
      write_positions: int32: the first slot of n neighbours `[]`, the same in each row, or the slot
        of each position `[B, n]`; what is written to a slot that does not exist is dropped.
      mask: bool `[n, length]` or `[B, n, length]`: the slots that each position attends to, after
        the n positions are written.
    """
    ...


class LinenNetwork(Network):
  """A network that is a Flax module with the methods `__call__`, `states` and `head`."""

  @property
  def module(self) -> nn.Module:
    raise NotImplementedError

  def init(self, key: Array, inputs: Inputs) -> Params:
    return self.module.init(key, inputs)["params"]

  def states(self, params: Params, inputs: Inputs) -> Array:
    self.check_pattern(inputs.pattern)
    return self.apply("states", params, inputs)

  def head(self, params: Params, hidden: Array) -> Array:
    return self.apply("head", params, hidden)

  def apply(self, method: str, params: Params, *arguments: PyTree) -> PyTree:
    """What the `method` of the module returns with `params` bound."""
    return self.module.apply({"params": params}, *arguments, method=method)
