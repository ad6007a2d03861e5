"""Euler sampling, or tau-leaping (Campbell et al. 2022; SEDD, Lou et al. 2024, section 4.2).

The reversed process jumps to the token y at rate R_y; over a step of length dt the rates are held,
and a position jumps with probability dt sum_y R_y. Where that is above 1, and so the probability to
stay negative, it is clamped. The last step is the process's own, which leaves no noise.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.draws import row_categorical, row_uniform, split_rows
from dlm_jax.processes.facets import HasJumpRates
from dlm_jax.samplers.base import Sampler, State


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
  """The sampler. Build it with `make`; it has no settings."""

  needs: ClassVar[type] = HasJumpRates

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    assert isinstance(process, HasJumpRates)
    z, shape = state.z, state.z.shape
    jump_key, token_key, last_key = split_rows(state.keys, shape[0], 3)
    log_rates = process.log_jump_rates(prediction, z, t)
    total = jnp.exp(jax.nn.logsumexp(log_rates, axis=-1))
    jumps = row_uniform(jump_key, shape) < (t - s)[:, None] * total
    z_s = jnp.where(jumps, row_categorical(token_key, log_rates), z)
    last = process.reverse(last_key, prediction, z, t, s, state.given)
    return dataclasses.replace(state, z=jnp.where(s[:, None] == 0.0, last, z_s))


def make(**fields: object) -> Euler:
  """Builds the sampler. Raises `UserError` for an unknown field."""
  return resolve.build(Euler, fields)
