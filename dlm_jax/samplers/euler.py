"""Euler sampling, or tau-leaping (Campbell et al. 2022; SEDD, Lou et al. 2024, section 4.2).

The reversed process jumps to the token y at rate R_y; over a step of length dt the rates are held,
and a position jumps with probability dt sum_y R_y. Where that is above 1, and so the probability to
stay negative, it is clamped. The last step is the process's own, which leaves no noise.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.processes import base as noise
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, grids, walking


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
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, except

  Args:
    process: one whose reversed process has known rates, `log_jump_rates`.

  Raises:
    UserError: an argument is out of range, or the process has no rates.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require(process, "euler", "log_jump_rates", "one whose reversed process has known rates")

  def transition(key, prediction, z, t, s, memory):
    jump_key, token_key, last_key = noise.split_rows(key, shape[0], 3)
    log_rates = process.log_jump_rates(prediction, z, t)
    total = jnp.exp(jax.nn.logsumexp(log_rates, axis=-1))
    jumps = noise.row_uniform(jump_key, shape) < (t - s)[:, None] * total
    z_s = jnp.where(jumps, noise.row_categorical(token_key, log_rates), z)
    last = process.reverse(last_key, prediction, z, t, s, given)
    return jnp.where(s[:, None] == 0.0, last, z_s), memory

  return walking.walk(
    key,
    process,
    denoise,
    shape,
    grids.times(grid, steps),
    transition,
    tokens=tokens,
    given=given,
    temperature=temperature,
    top_p=top_p,
    cache=cache,
    trajectory=trajectory,
  )
