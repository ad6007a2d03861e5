"""DDIM (Song et al. 2021, eq. 12, no noise added): the probability flow by Euler steps.

z_s = alpha_s x_hat + sigma_s n_hat, n_hat = (z - alpha x_hat) / sigma. That is an Euler step of
y = z / sigma, for which d y / d sqrt(SNR) = x_hat. Nothing is drawn but the first state.
"""

from jax import Array

from dlm_jax.processes.base import Denoise, Process
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
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, except

  Args:
    process: a continuous one.
    cache: changes nothing: the state never stays the same.

  Raises:
    UserError: an argument is out of range, or the process is not continuous.
  """
  del cache
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require_continuous(process, "ddim")
  walk = flow.Walk(process, denoise, given, temperature, top_p)

  def step(key: Array, z: Array, condition: flow.Condition, t: Array, s: Array) -> flow.Moved:
    del key
    x_hat, condition = walk.predict(z, t, condition)
    return walk.towards(x_hat, z, t, s), condition, 1

  return walk.run(step, key, shape, tokens, steps=steps, grid=grid, trajectory=trajectory)
