"""What a noise process is: its contract with defaults, its prediction, and its denoiser.

A process knows nothing of the network. It receives `denoise`, a plain callable with the parameters
already bound, so that a test can pass an exact posterior and a sampler a guided or cached one:

  denoise(z, t, **conditioning) -> output     what the output means is the process's business

What only some processes have (a mask, a posterior, jump rates) is a facet, see `facets`. A process
made of another is a `wrapper.Wrapper`. Random draws are those of `draws`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.entries import at_token
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.patterns import FULL, Pattern
from dlm_jax.core.types import Params, PyTree

# Maps outputs `[..., columns]`, and `[..., *]` for each operand, to one or more arrays `[..., *]`,
# each position by itself.
Score = Callable[..., PyTree]


class Denoise(Protocol):
  """A network with its parameters bound: the state `z` and the time `t` `[B]` or `[B, L]` in."""

  def __call__(self, z: Array, t: Array, /, **conditioning: PyTree) -> Array:
    """The raw output `[B, L, columns]`."""


@runtime_checkable
class ScoresPositions(Protocol):
  """A denoiser that can apply its head to some positions at a time, and never hold all logits."""

  def score(
    self,
    z: Array,
    t: Array,
    score: Score,
    operands: tuple[Array, ...],
    where: Array,
    /,
    **conditioning: PyTree,
  ) -> PyTree:
    """Equal to `score_positions`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prediction:
  """What an output of the network says of the clean tokens.

  Attributes:
    log_probs: log p(x | z), float32 `[B, L, V]`, normalised over the tokens; None where a sampler
      of a continuous process is given the estimate alone.
    estimate: what the process reads beside it, such as a mean embedding `[B, L, W]`; None where
      `log_probs` says all.
    unfiltered: `log_probs` as they were before temperature, top-k, top-p and forbidden tokens; None
      where nothing was filtered.
  """

  log_probs: Array | None
  estimate: Array | None = None
  unfiltered: Array | None = None

  def with_log_probs(self, log_probs: Array) -> "Prediction":
    """Another prediction, such as a filtered one: the estimate then follows from `log_probs`."""
    return Prediction(log_probs)


# Maps a prediction, and `[..., *]` for each operand, to one or more arrays `[..., *]`, each
# position by itself.
Reader = Callable[..., PyTree]


@dataclass(frozen=True, kw_only=True)
class Process:
  """A noise process: `q(z_t | x)`, the bound it gives and the reverse transition.

  Shapes: `x` int32 `[B, L]`; `z` int32 `[B, L]`, or float `[B, L, W]` if the process is
  `facets.Continuous`; `t` and `s < t` float32 `[B]` or `[B, L]`; `given` bool `[B, L]` or None. A
  given position (a prompt, the known part of an infilling, padding) is never noised, never scored
  and never changed. `key` is one key or `[B]` keys, see `draws`.

  Attributes:
    vocab_size: V, the tokens that the data can hold, the mask excluded unless it is one of them.
  """

  vocab_size: int

  # What the network must take, give and see.

  @property
  def num_embeddings(self) -> int:
    """States of one position, and rows of the network's input embedding; 0 if states are float."""
    return self.vocab_size

  @property
  def interface(self) -> NetworkInterface:
    """What the network must take and give."""
    return NetworkInterface(columns=self.vocab_size, num_embeddings=self.num_embeddings)

  @property
  def pattern(self) -> Pattern:
    """Which position of the network's input sees which."""
    return FULL

  # What the process states of itself.

  @property
  def exact(self) -> bool:
    """Whether `nelbo` is -log p(x) itself, not a bound, and draws nothing."""
    return False

  @property
  def num_evaluations(self) -> int:
    """Network evaluations of one draw of the bound."""
    return 1

  @property
  def scored_share(self) -> float:
    """The mean share of the positions whose outputs the bound reads, over times and noise."""
    return 1.0

  @property
  def coupled(self) -> bool:
    """Whether `corrupt` with one key and rising t gives one path, along which noise only grows."""
    return False

  # What it learns, and how training moves it on.

  def init(self, key: Array) -> Params:
    """The first values of what the process learns beside the network; empty if nothing."""
    del key
    return {}

  def bind(self, params: Params) -> Self:
    """The process with learned parameters, of the form of `init`, in place."""
    del params
    return self

  def precondition(self, denoise: Denoise) -> Denoise:
    """The network as the process reads it: its input scaled, something added to its output."""
    return denoise

  def at_step(self, step: Array) -> Self:
    """The process at a step of training, for one whose loss changes on the way."""
    del step
    return self

  # The noise, the bound and the reverse transition.

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    """z at t = 1 for `shape` (B, L)."""
    raise NotImplementedError

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    """Draws z_t ~ q(z_t | x)."""
    raise NotImplementedError

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """What the raw `output` `[B, L, columns]` of the network at (z, t) says of the tokens."""
    raise NotImplementedError

  def nelbo(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The integrand of the bound at `t`, `[B, L]` nats, 0 at given positions.

    Its mean over t ~ U[0, 1] and noise, plus `constants()` a scored position, summed over L, is at
    least -log p(x), with equality for the exact denoiser.
    """
    raise NotImplementedError

  def constants(self) -> float:
    """What the bound adds a scored position in nats, whatever the network."""
    return 0.0

  def loss(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """What training minimises, `[B, L]`: `nelbo` unless the config asks for another weighting."""
    return self.nelbo(key, denoise, x, t, given)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Draws z_s ~ p(z_s | z_t)."""
    raise NotImplementedError


def per_position(t: Array) -> Array:
  """`t` of shape `[B]` or `[B, L]` as an array that broadcasts against `[B, L]`."""
  return t[:, None] if t.ndim == 1 else t


def free(given: Array | None, shape: tuple[int, ...]) -> Array:
  """The positions that are not given, bool `[B, L]`: those that are noised, scored and changed."""
  return jnp.ones(shape, bool) if given is None else ~given


def nll(forbidden: int | None = None) -> Score:
  """The score -log softmax(logits)[target] in nats, with the column `forbidden` taken out."""

  def score(logits: Array, targets: Array) -> Array:
    logits = logits.astype(jnp.float32)
    if forbidden is not None:
      logits = logits.at[..., forbidden].set(-jnp.inf)
    return jax.nn.logsumexp(logits, axis=-1) - at_token(logits, targets)

  return score


def score_positions(
  denoise: Denoise,
  z: Array,
  t: Array,
  score: Score,
  operands: tuple[Array, ...],
  where: Array,
) -> PyTree:
  """`score(output, *operands)` at the positions `where` bool `[B, L]`, 0 elsewhere.

  `score` takes `[..., columns]` and `operands` `[..., *]`, gives one or more arrays `[..., *]`, and
  treats every position by itself, so that a denoiser that `ScoresPositions` never holds all outputs
  at once.
  """
  if isinstance(denoise, ScoresPositions):
    return denoise.score(z, t, score, operands, where)
  return only_at(where, score(denoise(z, t), *operands))


def only_at(where: Array, values: PyTree) -> PyTree:
  """Arrays `[B, L, ...]` as they are at the positions `where` bool `[B, L]`, and 0 elsewhere."""

  def one(array: Array) -> Array:
    chosen = jnp.expand_dims(where, range(where.ndim, array.ndim))
    return jnp.where(chosen, array, jnp.zeros((), array.dtype))

  return jax.tree.map(one, values)


def mean_over_times(share: Callable[[Array], Array]) -> float:
  """The mean of `share(t)` over t ~ U[0, 1], such as that of the masked positions."""
  with jax.ensure_compile_time_eval():
    return float(jnp.mean(share((jnp.arange(256) + 0.5) / 256)))


def conditioned(denoise: Denoise, **conditioning: PyTree) -> Denoise:
  """`denoise` with more arguments bound, such as the clean tokens of `block`."""
  cls = _ScoringConditioned if isinstance(denoise, ScoresPositions) else _Conditioned
  return cls(denoise, conditioning)


@dataclass(frozen=True)
class _Conditioned:
  """A denoiser with conditioning bound."""

  denoise: Denoise
  conditioning: dict[str, PyTree]

  def __call__(self, z: Array, t: Array, /, **conditioning: PyTree) -> Array:
    return self.denoise(z, t, **self.conditioning, **conditioning)


class _ScoringConditioned(_Conditioned):
  """The same of one that scores positions."""

  def score(self, *arguments: PyTree, **conditioning: PyTree) -> PyTree:
    assert isinstance(self.denoise, ScoresPositions)
    return self.denoise.score(*arguments, **self.conditioning, **conditioning)
