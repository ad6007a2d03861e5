"""What the samplers that follow the probability flow share: prediction, movement and the loop."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filters, grids

Condition = dict[str, Array]
Moved = tuple[Array, Condition, int]  # the state at s, what conditions the next step, evaluations
Step = Callable[[Array, Array, Condition, Array, Array], Moved]


@dataclass(frozen=True)
class Walk:
  """A way through the states of a continuous process; `given` positions never move."""

  process: Process
  denoise: Denoise
  given: Array | None
  temperature: float
  top_p: float

  def predict(self, z: Array, t: Array, condition: Condition) -> tuple[Array, Condition]:
    """x_hat `[B, L, W]` of one network evaluation, and what it conditions the next one on."""
    told = base.times(self.process, t, self.given)
    output = self.denoise(z, told, **condition)
    condition = base.next_condition(self.process, output, z, told)
    narrowed = filters.narrow(self.process, output, z, told, self.temperature, self.top_p)
    return self.process.mean(narrowed, z, told), condition

  def towards(self, x_hat: Array, z: Array, t: Array, s: Array) -> Array:
    """The state at s: what is left of `z` is its noise, as `x_hat` tells it."""
    alpha_t, sigma_t = self.process.signal_and_noise(t)
    alpha_s, sigma_s = self.process.signal_and_noise(s)
    moved = alpha_s * x_hat + sigma_s / sigma_t * (z - alpha_t * x_hat)
    return base.hold(moved, z, self.given)

  def run(
    self,
    step: Step,
    key: Array,
    shape: tuple[int, int],
    tokens: Array | None,
    *,
    steps: int,
    grid: str,
    trajectory: bool,
  ) -> base.SampleResult:
    """The whole loop: `step(keys, z, condition, t, s)` from the prior to t = 0, then tokens."""
    rows, times = shape[0], grids.times(grid, steps)
    first = base.start(key, self.process, shape, tokens, self.given)

    def body(carry: tuple, inputs: tuple) -> tuple[tuple, Array | None]:
      z, condition, nfe = carry
      index, t, s = inputs
      keys = base.step_keys(key, rows, index)
      z, condition, ran = step(keys, z, condition, jnp.full(rows, t), jnp.full(rows, s))
      return (z, condition, nfe + ran), base.visible(self.process, z) if trajectory else None

    carry = (first, base.first_condition(self.process, first), jnp.int32(0))
    inputs = (jnp.arange(1, steps + 1), times[:-1], times[1:])
    (z, condition, nfe), rest = jax.lax.scan(body, carry, inputs)
    read, ran = base.finish(self.process, self.denoise, z, condition, tokens, self.given)
    return base.SampleResult(read, nfe + ran, base.frames(base.visible(self.process, first), rest))
