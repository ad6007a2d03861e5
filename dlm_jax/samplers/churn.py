"""Stochastic sampling by going back: noise is added before each deterministic step.

EDM's churn (Karras et al. 2022, algorithm 2) with the amount given in time: from t the state is
noised back to t + back_off (t - s), and from there a DDIM step leads to s. Errors of earlier steps
are forgotten with the noise. `back_off` 0 is DDIM.
"""

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Denoise, Process, row_normal
from dlm_jax.samplers import base, flow


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
  back_off: float = 1.0,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, except

  Args:
    process: a continuous one.
    cache: changes nothing: the state never stays the same.
    back_off: how far each step first goes back, in lengths of the step.

  Raises:
    UserError: an argument is out of range, or the process is not continuous.
  """
  del cache
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require_continuous(process, "churn")
  if back_off < 0:
    raise UserError(f"back_off must be at least 0, got {back_off}.")
  walk = flow.Walk(process, denoise, given, temperature, top_p)

  def step(key: Array, z: Array, condition: flow.Condition, t: Array, s: Array) -> flow.Moved:
    back = jnp.minimum(t + back_off * (t - s), 1.0)
    z = base.hold(_noised(key, process, z, t, back), z, given)
    x_hat, condition = walk.predict(z, back, condition)
    return walk.towards(x_hat, z, back, s), condition, 1

  return walk.run(step, key, shape, tokens, steps=steps, grid=grid, trajectory=trajectory)


def _noised(key: Array, process: Process, z: Array, t: Array, back: Array) -> Array:
  """A draw of q(z_back | z_t): the state noised further, from t to a later time."""
  alpha, sigma = process.signal_and_noise(t)
  alpha_back, sigma_back = process.signal_and_noise(back)
  kept = alpha_back / alpha
  added = jnp.maximum(sigma_back**2 - (kept * sigma) ** 2, 0.0)
  return kept * z + jnp.sqrt(added) * row_normal(key, z.shape)
