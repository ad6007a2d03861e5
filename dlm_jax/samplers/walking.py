"""The loop of samplers that walk along a grid of times, one network evaluation a step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filters

# (keys [B], prediction, z_t, t [B], s [B], memory) -> (z_s, memory). The prediction is a filtered
# output of the network; the memory is what the sampler keeps beside the state.
Transition = Callable[[Array, Any, Array, Array, Array, Any], tuple[Array, Any]]


def walk(
  key: Array,
  process: Process,
  denoise: Denoise,
  shape: tuple[int, int],
  times: Array,
  transition: Transition,
  *,
  tokens: Array | None,
  given: Array | None,
  temperature: float,
  top_p: float,
  cache: bool,
  trajectory: bool,
  memory: Any = None,
) -> base.SampleResult:
  """Takes a step from each of the times `[steps + 1]` to the next.

  Given positions are put back after each step. The other arguments are those of
  `ancestral.sample`.
  """
  rows = shape[0]
  first = base.start(key, process, shape, tokens, given)

  def step(carry, inputs):
    z, memory, changed, last_output, condition, nfe = carry
    index, t, s = inputs
    t, s = jnp.full(rows, t), jnp.full(rows, s)
    told = base.times(process, t, given)
    if cache:
      needed = changed & jnp.any(base.unknown(process, z, given))
      output, ran = base.evaluate_if(needed, denoise, z, told, last_output)
    else:
      output, ran = denoise(z, told, **condition), 1
    prediction = filters.narrow(process, output, z, told, temperature, top_p)
    z_s, memory = transition(base.step_keys(key, rows, index), prediction, z, t, s, memory)
    z_s = base.hold(z_s, z, given)
    condition = base.next_condition(process, output, z, told)
    carry = (z_s, memory, jnp.any(z_s != z), output if cache else None, condition, nfe + ran)
    return carry, base.visible(process, z_s) if trajectory else None

  blank = base.blank_output(denoise, first, jnp.ones(rows)) if cache else None
  condition = base.first_condition(process, first)
  carry = (first, memory, jnp.array(True), blank, condition, jnp.int32(0))
  inputs = (jnp.arange(1, len(times)), times[:-1], times[1:])
  (z, _, _, _, condition, nfe), rest = jax.lax.scan(step, carry, inputs)
  read, ran = base.finish(process, denoise, z, condition, tokens, given)
  return base.SampleResult(read, nfe + ran, base.frames(base.visible(process, first), rest))
