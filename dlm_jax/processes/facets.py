"""What only some processes have, as protocols that `isinstance` asks for.

A sampler, a guidance or a measure that needs one of them names it here, and refuses a process that
lacks it. A `wrapper.Wrapper` has the facets of the process that it wraps.
"""

import inspect
from typing import Protocol, runtime_checkable

from jax import Array

from dlm_jax.core.types import PyTree
from dlm_jax.processes.base import Denoise, Prediction, Reader


@runtime_checkable
class HasMask(Protocol):
  """A process one of whose symbols stands for a missing token."""

  @property
  def mask_id(self) -> int:
    """The mask; it is the size of the vocabulary where it lies outside the data."""


@runtime_checkable
class RevealsOnce(HasMask, Protocol):
  """A process in which each token is masked until it is revealed, and then stays."""

  def masked(self, t: Array) -> Array:
    """The fraction of tokens that is masked at the time `t`."""

  def time_of_masked(self, masked: Array) -> Array:
    """The time at which the fraction `masked` is masked, the inverse of `masked`."""

  def weight(self, t: Array) -> Array:
    """masked'(t) / masked(t): the rate at which a masked token is revealed."""


@runtime_checkable
class HasSigma(Protocol):
  """A process whose noise is told by the share alpha(t) of the tokens that it has left."""

  def sigma(self, t: Array) -> Array:
    """-log alpha(t), finite, which a network may be given in place of t (SEDD, MDLM)."""


@runtime_checkable
class Renoises(Protocol):
  """A process that noises each token by itself, with a draw that knows nothing of it."""

  def noised(self, t: Array) -> Array:
    """The fraction of tokens that the noise has replaced at the time `t`."""

  def noise(self, key: Array, shape: tuple[int, ...], t: Array) -> Array:
    """Draws of what it replaces them with at the time `t` `[B]` or `[B, L]`, int32 `[B, L]`."""


@runtime_checkable
class ReplacesByAny(Protocol):
  """A process that has no mask: it replaces a token by any, and each is predicted from the others.

  The output of its network is the logits of a token, whatever stands in its place.
  """

  def time_of_noised(self, noised: Array) -> Array:
    """The time at which the fraction `noised` is replaced, the inverse of `Renoises.noised`."""


@runtime_checkable
class HasPosterior(Protocol):
  """A process whose reverse step draws each position from a distribution that it can state."""

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log p(z_s | z_t) `[B, L, num_embeddings]`, normalised."""


@runtime_checkable
class HasJumpRates(Protocol):
  """A process whose reversal in continuous time jumps between tokens at stated rates."""

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """log of the rate to each state `[B, L, V or num_embeddings]`, -inf to `z` itself."""


@runtime_checkable
class Continuous(Protocol):
  """A process whose state is continuous: an embedding of each token, with Gaussian noise.

  The state is float `[B, L, W]`.
  """

  @property
  def width(self) -> int:
    """W."""

  @property
  def embeddings(self) -> Array:
    """The clean state of each token, `[V, W]`."""

  def gamma(self, t: Array) -> Array:
    """log(sigma^2 / alpha^2) at the time `t`."""

  def signal_and_noise(self, t: Array) -> tuple[Array, Array]:
    """alpha and sigma at `t` `[B]` or `[B, L]`, to broadcast against `[B, L, W]`."""

  def hold(self, z: Array, tokens: Array, given: Array | None) -> Array:
    """`z` with the clean embeddings of `tokens` at given positions."""

  def times(self, t: Array, given: Array | None) -> Array:
    """The times of the positions: 0 where they are given, since they are clean."""

  def nearest_tokens(self, z: Array) -> Array:
    """The token whose embedding is nearest to each position of the state, int32 `[B, L]`."""

  def mean(self, prediction: Prediction) -> Array:
    """The expected clean state `[B, L, W]`."""

  def read(
    self,
    denoise: Denoise,
    z: Array,
    t: Array,
    reader: Reader,
    operands: tuple[Array, ...] = (),
  ) -> PyTree:
    """`reader(prediction, *operands)` of each position, from one evaluation of the network."""

  def evaluate(
    self,
    denoise: Denoise,
    z: Array,
    t: Array,
    reader: Reader,
    operands: tuple[Array, ...] = (),
    chosen: Array | None = None,
  ) -> PyTree:
    """`read`, of a prediction made with a first one in hand where the network is self-conditioned,
    in training in the rows `chosen` `[B]`."""


FACETS: tuple[type, ...] = (
  HasMask,
  RevealsOnce,
  HasSigma,
  Renoises,
  ReplacesByAny,
  HasPosterior,
  HasJumpRates,
  Continuous,
)


def members(facet: type) -> tuple[str, ...]:
  """The names that a process must define to have `facet`."""
  bases = [cls for cls in facet.__mro__ if cls not in (Protocol, object)]
  names = {name for cls in bases for name in vars(cls) if not name.startswith("_")}
  return tuple(sorted(names))


def meaning(facet: type) -> str:
  """What a process that has `facet` is, for a sentence: `a process ...`."""
  sentence = inspect.cleandoc(facet.__doc__).partition(".")[0]
  return sentence[0].lower() + sentence[1:]


def of(process: object) -> tuple[type, ...]:
  """The facets that `process` has."""
  return tuple(facet for facet in FACETS if isinstance(process, facet))
