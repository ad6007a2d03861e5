"""One step of a loop: the network is evaluated, its prediction filtered, and the sampler moves.

The same for a whole row and for a block of it. Here given positions are put back, evaluations are
counted and reused, and a prediction conditions the next one.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.patterns import Causal
from dlm_jax.core.types import PyTree
from dlm_jax.processes.base import Denoise, Prediction, Process
from dlm_jax.processes.facets import Continuous
from dlm_jax.samplers.base import Corrects, Sampler, State, hold, open_positions
from dlm_jax.samplers.filters import Filters

# (cache, z, t, **conditioning) -> (output, cache): the network at the positions of a state. Of a
# continuous process the output is what `Transition.read_means` says.
Evaluate = Callable[..., tuple[PyTree, PyTree]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Carry:
  """What goes from step to step beside the state.

  Attributes:
    memory: of the sampler, see `State.memory`.
    cache: keys and values of final tokens; None where there are none.
    condition: what `denoise` receives beside state and time: the last prediction, in a network that
      is self-conditioned (Chen et al. 2022).
    output: the last output of the network, if evaluations may be reused, else None.
    stale: bool scalar, whether `output` may differ from that of the present state.
    num_evaluations: int32 scalar, those so far.
    has_nan: bool scalar, whether a prediction so far was not a number.
  """

  memory: PyTree
  cache: PyTree
  condition: dict[str, Array]
  output: Array | None
  stale: Array
  num_evaluations: Array
  has_nan: Array


@dataclass(frozen=True)
class Transition:
  """A sampler's step from one time to the next with all that the loops add to it.

  Attributes:
    reuse: see `Request.reuse`.
  """

  sampler: Sampler
  process: Process
  filters: Filters
  reuse: bool

  def begin(self, state: State, cache: PyTree, evaluate: Evaluate) -> Carry:
    """What is carried into the first step."""
    output = None
    if self._reuses(state):
      shape = jax.eval_shape(lambda: evaluate(cache, state.z, jnp.ones(len(state.z)))[0])
      output = jnp.zeros(shape.shape, shape.dtype)
    conditioned = self.process.interface.self_conditioned
    return Carry(
      memory=self.sampler.memory(state.z, state.given),
      cache=cache,
      condition={"self_condition": jnp.zeros_like(state.z)} if conditioned else {},
      output=output,
      stale=jnp.array(True),
      num_evaluations=jnp.int32(0),
      has_nan=jnp.array(False),
    )

  def __call__(
    self, carry: Carry, state: State, t: Array, s: Array, evaluate: Evaluate
  ) -> tuple[Array, Carry]:
    """The positions of `state` at the time s `[B]`, from those at t `[B]`."""
    start = dataclasses.replace(state, memory=carry.memory)
    start, t = self.sampler.prepare(start, t, s, self.process)
    start = dataclasses.replace(start, z=hold(start.z, state.z, state.given))
    prediction, carry = self._predict(carry, start, t, evaluate)
    after = self.sampler.step(start, prediction, t, s, self.process)
    if isinstance(self.sampler, Corrects):
      end = dataclasses.replace(start, z=hold(after.z, state.z, state.given))
      second, carry = self._predict(carry, end, s, evaluate)
      after = self.sampler.correct(start, (prediction, second), t, s, self.process)
    z = hold(after.z, state.z, state.given)
    stale = jnp.any(z != state.z) if self._reuses(state) else carry.stale
    return z, dataclasses.replace(carry, memory=after.memory, stale=stale)

  def network_times(self, t: Array, given: Array | None) -> Array:
    """The times `[B]` or `[B, L]` that the network receives: 0 where it sees clean tokens alone."""
    if isinstance(self.process, Continuous):
      return self.process.times(t, given)
    return jnp.zeros_like(t) if isinstance(self.process.pattern, Causal) else t

  def _predict(
    self, carry: Carry, state: State, t: Array, evaluate: Evaluate
  ) -> tuple[Prediction, Carry]:
    """The filtered prediction from the state at the times `t`."""
    t = self.network_times(t, state.given)
    output, cache, ran = self._evaluate(carry, state, t, evaluate)
    if isinstance(self.process, Continuous):
      return self._predict_mean(carry, output)
    prediction = self._read(output, state, t)
    carry = dataclasses.replace(
      carry,
      cache=cache,
      output=output if self._reuses(state) else None,
      num_evaluations=carry.num_evaluations + ran,
      has_nan=carry.has_nan | jnp.any(jnp.isnan(prediction.log_probs)),
    )
    return self.filters(prediction), carry

  def read_means(self, denoise: Denoise, z: Array, t: Array) -> tuple[Array, Array]:
    """The expected clean state of a continuous process `[B, L, W]`, and the same after the filters.

    All that a step needs of its predictions: they are V numbers a position, never held at once.
    """
    process = self.process
    assert isinstance(process, Continuous)
    means = lambda p: (process.mean(p), process.mean(self.filters(p)))  # noqa: E731
    return process.read(denoise, z, t, means)

  def _predict_mean(self, carry: Carry, means: tuple[Array, Array]) -> tuple[Prediction, Carry]:
    """What `read_means` gave, as a prediction that has no more than its estimate."""
    mean, filtered = means
    condition = {"self_condition": mean} if self.process.interface.self_conditioned else {}
    carry = dataclasses.replace(
      carry,
      condition=condition,
      num_evaluations=carry.num_evaluations + 1,
      has_nan=carry.has_nan | jnp.any(jnp.isnan(mean)),
    )
    return Prediction(None, filtered), carry

  def _evaluate(
    self, carry: Carry, state: State, t: Array, evaluate: Evaluate
  ) -> tuple[PyTree, PyTree, Array | int]:
    """The output, the cache and 1 or 0 evaluations."""
    if not self._reuses(state):
      return *evaluate(carry.cache, state.z, t, **carry.condition), 1
    needed = self.sampler.due(state, self.process)
    if needed is None:
      needed = carry.stale & jnp.any(open_positions(self.process, state.z, state.given))
    fresh = lambda cache: evaluate(cache, state.z, t)  # noqa: E731
    output, cache = jax.lax.cond(needed, fresh, lambda cache: (carry.output, cache), carry.cache)
    return output, cache, needed.astype(jnp.int32)

  def _read(self, output: Array, state: State, t: Array) -> Prediction:
    """The prediction of the positions that the sampler reads."""
    z = state.z
    if state.places is not None:
      output = jnp.take_along_axis(output, state.places[..., None], axis=1)
      z = jnp.take_along_axis(z, state.places, axis=1)
    return self.process.predict(output, z, t)

  def _reuses(self, state: State) -> bool:
    """Whether there are steps without an evaluation; never in an order of one step a position."""
    if isinstance(self.process, Continuous) or isinstance(self.process.pattern, Causal):
      return False
    return self.reuse or self.sampler.due(state, self.process) is not None
