"""Ancestral sampling: z_s ~ p(z_s | z_t), step by step along a grid of times.

Each step draws its positions independently, which is exact as the steps become many.
"""

import jax
import jax.numpy as jnp

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filtering, grids, sequential

Array = jax.Array


def sample(
  key: Array,
  process: Process,
  denoise: Denoise,
  shape: tuple[int, int],
  *,
  steps: int,
  tokens: Array | None = None,
  given: Array | None = None,
  grid: str = "uniform",
  temperature: float = 1.0,
  top_p: float = 1.0,
  cache: bool = False,
  trajectory: bool = False,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens.

  Args:
    key: one key, or `[B]` keys; row i depends on its own key alone.
    process: any process. A continuous one is read by one more evaluation at the end.
    denoise: `denoise(z, t) -> output`.
    shape: (B, L).
    steps: steps of the grid, and network evaluations unless `cache` saves some.
    tokens: int32 `[B, L]`, read where `given`.
    given: bool `[B, L]`, the prompt or the known part of an infilling: never changed.
    grid: `uniform` or `cosine`, see `grids`.
    temperature: of the prediction; 0 takes the most likely token.
    top_p: nucleus filtering of the prediction; 1 keeps all of it.
    cache: do not run the network again while no position has changed, nor when all are known: at
      most L evaluations of one sequence. Right for a network that takes no notice of time, and
      wrong for any other.
    trajectory: keep the state after every step as tokens, `[steps + 1, B, L]`.

  Raises:
    UserError: an argument is out of range, or the grid is unknown.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  sequential.require(process, "ancestral")
  rows = shape[0]
  times = grids.times(grid, steps)
  first = base.start(key, process, shape, tokens, given)

  def step(carry, inputs):
    z, changed, last_output, condition, nfe = carry
    index, t, s = inputs
    t, s = jnp.full(rows, t), jnp.full(rows, s)
    told = base.times(process, t, given)
    if cache:
      needed = changed & jnp.any(base.unknown(process, z, given))
      output, ran = base.evaluate_if(needed, denoise, z, told, last_output)
    else:
      output, ran = denoise(z, told, **condition), 1
    prediction = filtering.narrow(process, output, z, told, temperature, top_p)
    z_s = process.reverse(base.step_keys(key, rows, index), prediction, z, t, s, given)
    condition = base.next_condition(process, output, z, told)
    carry = (z_s, jnp.any(z_s != z), output if cache else None, condition, nfe + ran)
    return carry, base.visible(process, z_s) if trajectory else None

  blank = base.blank_output(denoise, first, jnp.ones(rows)) if cache else None
  condition = base.first_condition(process, first)
  carry = (first, jnp.array(True), blank, condition, jnp.int32(0))
  inputs = (jnp.arange(1, steps + 1), times[:-1], times[1:])
  (z, _, _, condition, nfe), rest = jax.lax.scan(step, carry, inputs)
  read, ran = base.finish(process, denoise, z, condition, tokens, given)
  return base.SampleResult(read, nfe + ran, base.frames(base.visible(process, first), rest))
