"""Psi sampling, a predictor and a corrector in one (Deschenaux et al. 2026, "Duality, Chapter II").

Each position takes the reverse step with probability kappa; otherwise its clean token is drawn and
noised again to the time of the step, whatever it was before. Both leave the distribution at each
time as it is, so that mistakes wash out under any noise: kappa = 1 is ancestral sampling, and under
absorbing noise kappa = 1 - sigma / (1 - alpha_s) is ReMDM.
"""

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
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
  kappa: float = 0.98,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, and

  Args:
    process: one that noises each token by itself, with a draw from its prior.
    kappa: of reverse steps, in [0, 1]; the rest are corrections. Each step corrects all of its
      positions at once, so that the law of the samples is kept if few are.

  Raises:
    UserError: an argument is out of range, or the process has no such noise.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require(process, "psi", "noised", "one that noises each token by itself")
  if not 0 <= kappa <= 1:
    raise UserError(f"kappa must lie in [0, 1], got {kappa}.")

  def transition(key, prediction, z, t, s, memory):
    choice_key, reverse_key, clean_key, noise_key, prior_key = noise.split_rows(key, shape[0], 5)
    reversed_ = process.reverse(reverse_key, prediction, z, t, s, given)
    # The reverse step to 0 draws from p(x_i | z), z_i included; a prediction may be without it.
    clean = process.reverse(clean_key, prediction, z, t, jnp.zeros_like(s), given)
    noised = noise.row_uniform(noise_key, shape) < process.noised(s)[:, None]
    corrected = jnp.where(noised, process.prior(prior_key, shape), clean)
    predicts = noise.row_uniform(choice_key, shape) < kappa
    return jnp.where(predicts, reversed_, corrected), memory

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
