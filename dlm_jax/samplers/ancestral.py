"""Ancestral sampling: z_s ~ p(z_s | z_t), step by step along a grid of times.

Each step draws its positions independently, which is exact as the steps become many, and for one
position at a time: then it is the decoding of an autoregressive model. Defined for every process;
of Gaussian noise it is the sampler of DDPM (Ho et al. 2020).
"""

import dataclasses
from dataclasses import dataclass

from jax import Array

from dlm_jax.core import resolve
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.samplers.base import Sampler, State


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
  """The sampler. Build it with `make`; it has no settings."""

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    z = process.reverse(state.keys, prediction, state.z, t, s, state.given)
    return dataclasses.replace(state, z=z)


def make(**fields: object) -> Ancestral:
  """Builds the sampler. Raises `UserError` for an unknown field."""
  return resolve.build(Ancestral, fields)
