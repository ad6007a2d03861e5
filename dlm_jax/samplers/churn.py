"""Stochastic sampling by going back: noise is added before each deterministic step.

EDM's churn (Karras et al. 2022, algorithm 2) with the amount given in time: from t the state is
noised back to t + back_off (t - s), and from there a DDIM step leads to s. Errors of earlier steps
are forgotten with the noise. `back_off` 0 is DDIM.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.ranges import NonNegative
from dlm_jax.processes.base import Process
from dlm_jax.processes.draws import row_normal
from dlm_jax.processes.facets import Continuous
from dlm_jax.samplers.base import State
from dlm_jax.samplers.ddim import Ddim


@dataclass(frozen=True, kw_only=True)
class Churn(Ddim):
  """The sampler. Build it with `make`.

  Attributes:
    back_off: how far each step first goes back, in lengths of the step.
  """

  back_off: NonNegative = 1.0

  def prepare(self, state: State, t: Array, s: Array, process: Process) -> tuple[State, Array]:
    assert isinstance(process, Continuous)
    back = jnp.minimum(t + self.back_off * (t - s), 1.0)
    return dataclasses.replace(state, z=noised(state.keys, process, state.z, t, back)), back


def noised(keys: Array, process: Continuous, z: Array, t: Array, back: Array) -> Array:
  """A draw of q(z_back | z_t): the state noised further, from t to a later time."""
  alpha, sigma = process.signal_and_noise(t)
  alpha_back, sigma_back = process.signal_and_noise(back)
  signal_left = alpha_back / alpha
  added = jnp.maximum(sigma_back**2 - (signal_left * sigma) ** 2, 0.0)
  return signal_left * z + jnp.sqrt(added) * row_normal(keys, z.shape)


def make(**fields: object) -> Churn:
  """Builds the sampler from its settings. Raises `UserError`."""
  return resolve.build(Churn, fields)
