"""Heun's method on the probability flow (EDM, Karras et al. 2022, algorithm 1).

Each step goes to s as DDIM does, predicts again there, and goes from t with the mean of both
predictions: second order in y = z / sigma against sqrt(SNR). Two network evaluations a step.
"""

import dataclasses
from dataclasses import dataclass

from jax import Array

from dlm_jax.core import resolve
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.facets import Continuous
from dlm_jax.samplers.base import State
from dlm_jax.samplers.ddim import Ddim, towards


@dataclass(frozen=True, kw_only=True)
class Heun(Ddim):
  """The sampler, a `base.Corrects`. Build it with `make`; it has no settings."""

  def correct(
    self,
    state: State,
    predictions: tuple[Prediction, Prediction],
    t: Array,
    s: Array,
    process: Process,
  ) -> State:
    assert isinstance(process, Continuous)
    first, second = (process.mean(prediction) for prediction in predictions)
    z = towards((first + second) / 2, state.z, t, s, process)
    return dataclasses.replace(state, z=z)


def make(**fields: object) -> Heun:
  """Builds the sampler. Raises `UserError` for an unknown field."""
  return resolve.build(Heun, fields)
