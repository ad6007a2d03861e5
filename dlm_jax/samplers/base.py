"""What a sampler is: a rule that takes one step of the reverse process, and what it is asked for.

A sampler is a frozen dataclass of its own settings, built by `make` of its module; a new module in
this package is a new sampler. It says how the state moves from a time t to an earlier time s, given
what the network predicts. The loops, see `loops`, own all the rest: in which order positions are
denoised, the times, the keys, given positions, the trajectory, and the two ways to save work (the
reuse of an evaluation that cannot have changed, and a cache of keys and values).
"""

import dataclasses
import importlib
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.core.types import PyTree
from dlm_jax.processes import facets
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.facets import Continuous, RevealsOnce
from dlm_jax.processes.wrapper import Wrapper
from dlm_jax.samplers import grids
from dlm_jax.samplers.filters import NO_FILTERS, Filters

PACKAGE = "dlm_jax.samplers"
PROCESSES = "dlm_jax.processes"


@dataclass(frozen=True, kw_only=True)
class Request:
  """What is drawn, and from what: the arguments that all samplers share.

  Attributes:
    keys: `[B]`; row i depends on its own key alone.
    length: L, tokens a row.
    steps: of the time grid, of all blocks together; see the sampler for what it costs.
    tokens: int32 `[B, L]`, read where `given`.
    given: bool `[B, L]`, a prompt or the known part of an infilling: never changed.
    grid: spacing of the times, see `grids`.
    filters: temperature, top-k, top-p and forbidden tokens.
    trajectory: whether the state before the first step and after each is kept.
    end_id: the token that ends a text, where rows are written from left to right: what comes after
      it is filled up with it. None is no such token.
    reuse: do not evaluate the network again while no position has changed, nor when none is left to
      change. Right for a network that takes no notice of time, and wrong for any other.
  """

  keys: Array
  length: int
  steps: PositiveInt
  tokens: Array | None = None
  given: Array | None = None
  grid: str = "uniform"
  filters: Filters = NO_FILTERS
  trajectory: bool = False
  end_id: int | None = None
  reuse: bool = False

  def __post_init__(self) -> None:
    resolve.require_ranges(self)
    if (self.tokens is None) != (self.given is None):
      raise UserError("a prompt or infilling needs both tokens and given, got only one of them.")
    grids.check(self.grid)

  @property
  def shape(self) -> tuple[int, ...]:
    """(B, L)."""
    return len(self.keys), self.length

  def keys_of_step(self, index: Array | int) -> Array:
    """The keys `[B]` of one step; 0 is the draw of the first state."""
    return jax.vmap(jax.random.fold_in, (0, None))(self.keys, index)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SampleResult:
  """What was drawn.

  Attributes:
    tokens: int32 `[B, L]`.
    num_evaluations: int32 scalar, how often the network was evaluated on the batch.
    has_nan: bool scalar, whether a prediction was not a number: the tokens then mean nothing.
    trajectory: int32 `[frames, B, L]`, the state before the first step and after each, or None.
  """

  tokens: Array
  num_evaluations: Array
  has_nan: Array
  trajectory: Array | None


@dataclass(frozen=True)
class State:
  """The positions that a step moves: a whole row, or one block of it.

  Attributes:
    z: the noisy state, int32 `[B, l]`, or float `[B, l, W]` of a continuous process.
    given: bool `[B, l]`, positions that do not change; None is no such position.
    keys: `[B]`, of this step alone.
    index: int32 scalar, how many steps these positions have taken.
    steps: network evaluations that are meant for these positions.
    memory: what the sampler carries from step to step beside `z`, see `Sampler.memory`.
    places: int32 `[B, n]`, the positions that the step reads the prediction of; None is all.
  """

  z: Array
  given: Array | None
  keys: Array
  index: Array
  steps: int
  memory: PyTree = None
  places: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Sampler:
  """A rule for one step of the reverse process. The fields of a subclass are its settings.

  A setting out of range is refused when the sampler is built. All but `step` have defaults, which
  do nothing.
  """

  # The facet that a process must have.
  needs: ClassVar[type | None] = None

  @property
  def name(self) -> str:
    """As in a config."""
    return resolve.name_of(self)

  def check(self, process: Process) -> None:
    """Raises `UserError`, naming processes that do, if `process` lacks what the sampler needs."""
    if self.needs is not None and not isinstance(process, self.needs):
      names = ", ".join(processes_with(self.needs))
      blocks = "" if self.needs is Continuous else " (or block around one of these)"
      raise UserError(
        f"the sampler {self.name!r} is not defined for the process {type(process).__name__}: it "
        f"needs {facets.meaning(self.needs)}: {names}{blocks}."
      )

  def times(self, process: Process, grid: str, steps: int, length: int) -> Array:
    """The times `[n + 1]` of n steps of `length` positions, from 1 down to 0."""
    del process, length
    return grids.times(grid, steps)

  def memory(self, z: Array, given: Array | None) -> PyTree:
    """What `State.memory` is before the first step of the positions `z`."""
    del z, given
    return None

  def prepare(self, state: State, t: Array, s: Array, process: Process) -> tuple[State, Array]:
    """The state and the times `[B]` at which the network is evaluated in the step from t to s."""
    del s, process
    return state, t

  def due(self, state: State, process: Process) -> Array | None:
    """Whether the network must be evaluated now, bool scalar; None is always."""
    del state, process
    return None

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    """The state at the time s.

    Args:
      state: at the time t, as `prepare` left it.
      prediction: what the network says of the clean tokens, filtered; of `state.places` alone where
        these are set.
      t: `[B]`, the time of the state.
      s: `[B]`, the earlier time.
      process: the noise; its methods may be applied to the positions of the state.
    """
    raise NotImplementedError


@runtime_checkable
class Corrects(Protocol):
  """A sampler that predicts at both ends of a step: the network is evaluated twice."""

  def correct(
    self,
    state: State,
    predictions: tuple[Prediction, Prediction],
    t: Array,
    s: Array,
    process: Process,
  ) -> State:
    """The state at s, from the `state` at t and the predictions at both ends."""


@runtime_checkable
class Extends(Protocol):
  """A denoiser that keeps keys and values of positions whose tokens are final."""

  def empty_cache(self, rows: int, length: int) -> PyTree:
    """What `extend` starts from."""

  def extend(
    self, cache: PyTree, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, PyTree]:
    """The output `[B, size, columns]` of the positions of `z` `[B, L]` from `start` on, equal to
    that of the whole row, and the cache, which has now seen their tokens."""


def processes_with(facet: type) -> list[str]:
  """The names of the processes that have `facet`. A wrapper has those of what it wraps."""
  return [name for name in resolve.names(PROCESSES) if _offers(name, facet)]


def _offers(name: str, facet: type) -> bool:
  module = importlib.import_module(f"{PROCESSES}.{name}")
  return any(
    isinstance(cls, type)
    and cls.__module__ == module.__name__
    and issubclass(cls, Process)
    and not issubclass(cls, Wrapper)
    and set(facets.members(facet)) <= {*dir(cls), *(f.name for f in dataclasses.fields(cls))}
    for cls in vars(module).values()
  )


def hold(moved: Array, z: Array, given: Array | None) -> Array:
  """`moved`, but at given positions the state `z`, `[B, L]` or `[B, L, W]`."""
  if given is None:
    return moved
  return jnp.where(jnp.expand_dims(given, range(2, z.ndim)), z, moved)


def first_state(process: Process, request: Request) -> Array:
  """The state at t = 1: the prior, with what is given in its place. The draw of step 0."""
  z = process.prior(request.keys_of_step(0), request.shape)
  if isinstance(process, Continuous):
    return process.hold(z, request.tokens, request.given)
  return z if request.given is None else jnp.where(request.given, request.tokens, z)


def open_positions(process: Process, z: Array, given: Array | None) -> Array:
  """The positions bool `[B, L]` that later steps may change."""
  open_ = jnp.ones(z.shape[:2], bool) if given is None else ~given
  if isinstance(process, RevealsOnce):
    return open_ & (z == process.mask_id)
  return open_
