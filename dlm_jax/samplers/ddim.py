"""DDIM (Song et al. 2021, eq. 12, no noise added): the probability flow by Euler steps.

z_s = alpha_s x_hat + sigma_s n_hat, n_hat = (z - alpha x_hat) / sigma. That is an Euler step of
y = z / sigma, for which d y / d sqrt(SNR) = x_hat. Nothing is drawn but the first state.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from jax import Array

from dlm_jax.core import resolve
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.facets import Continuous
from dlm_jax.samplers.base import Sampler, State


@dataclass(frozen=True, kw_only=True)
class Ddim(Sampler):
  """The sampler. Build it with `make`; it has no settings."""

  needs: ClassVar[type] = Continuous

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    assert isinstance(process, Continuous)
    z = towards(process.mean(prediction), state.z, t, s, process)
    return dataclasses.replace(state, z=z)


def towards(x_hat: Array, z: Array, t: Array, s: Array, process: Continuous) -> Array:
  """The state at s, whose signal is `x_hat` and whose noise is what `x_hat` leaves of `z`."""
  alpha_t, sigma_t = process.signal_and_noise(t)
  alpha_s, sigma_s = process.signal_and_noise(s)
  return alpha_s * x_hat + sigma_s / sigma_t * (z - alpha_t * x_hat)


def make(**fields: object) -> Ddim:
  """Builds the sampler. Raises `UserError` for an unknown field."""
  return resolve.build(Ddim, fields)
