"""Psi sampling, a predictor and a corrector in one (Deschenaux et al. 2026, "Duality, Chapter II").

Each position takes the reverse step with probability kappa; otherwise its clean token is drawn and
noised again to the time of the step, whatever it was before. Both leave the distribution at each
time as it is, so that mistakes wash out under any noise: kappa = 1 is ancestral sampling, and under
absorbing noise kappa = 1 - sigma / (1 - alpha_s) is ReMDM.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import Probability
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.draws import row_uniform, split_rows
from dlm_jax.processes.facets import Renoises
from dlm_jax.samplers.base import Sampler, State


@dataclass(frozen=True, kw_only=True)
class Psi(Sampler):
  """The sampler. Build it with `make`.

  Attributes:
    kappa: the share of reverse steps; the rest are corrections. Each step corrects all
      of its positions at once, so that the law of the samples is kept if few are.
  """

  needs: ClassVar[type] = Renoises

  kappa: Probability = 0.98

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    assert isinstance(process, Renoises)
    z, shape, given = state.z, state.z.shape, state.given
    choice_key, reverse_key, clean_key, noise_key, fresh_key = split_rows(state.keys, shape[0], 5)
    reversed_ = process.reverse(reverse_key, prediction, z, t, s, given)
    # The reverse step to 0 draws from p(x_i | z), z_i included; a prediction may be without it.
    clean = process.reverse(clean_key, prediction, z, t, jnp.zeros_like(s), given)
    is_noise = row_uniform(noise_key, shape) < process.noised(s)[:, None]
    corrected = jnp.where(is_noise, process.noise(fresh_key, shape, s), clean)
    predicts = row_uniform(choice_key, shape) < self.kappa
    return dataclasses.replace(state, z=jnp.where(predicts, reversed_, corrected))


def make(**fields: object) -> Psi:
  """Builds the sampler from its settings. Raises `UserError`."""
  return resolve.build(Psi, fields)
