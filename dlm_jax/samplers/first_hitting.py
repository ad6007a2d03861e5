"""First-hitting sampling of masked diffusion (Zheng et al. 2024, algorithm 1).

Instead of asking at every time step whether something is revealed, it draws the time at which the
next token is: when n tokens are masked, at masked fraction m, the next one is revealed at fraction
m u^(1/n), and is any of them. One evaluation a masked token, and no discretisation error.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.draws import row_uniform, split_rows
from dlm_jax.processes.facets import RevealsOnce
from dlm_jax.samplers.base import Sampler, State, open_positions


@dataclass(frozen=True, kw_only=True)
class FirstHitting(Sampler):
  """The sampler. Build it with `make`; it has no settings.

  `steps` is the most network evaluations. From one a position on, sampling is exact; below, each
  evaluation serves ceil(L / steps) tokens. The trajectory has a frame for every revealed token.
  """

  needs: ClassVar[type] = RevealsOnce

  def times(self, process: Process, grid: str, steps: int, length: int) -> Array:
    """Of one step a position; what they are is drawn."""
    if grid != "uniform":
      raise UserError(
        f"the sampler 'first_hitting' draws its times and takes no grid, got {grid!r}: leave "
        "--grid out."
      )
    return super().times(process, grid, length, length)

  def memory(self, z: Array, given: Array | None) -> Array:
    """The masked fraction `[B]`."""
    return jnp.ones(len(z))

  def prepare(self, state: State, t: Array, s: Array, process: Process) -> tuple[State, Array]:
    assert isinstance(process, RevealsOnce)
    masked = open_positions(process, state.z, state.given)
    time_key, place_key, _ = split_rows(state.keys, len(state.z), 3)
    fraction = state.memory * largest_of_uniforms(time_key, jnp.sum(masked, axis=-1))
    places = any_one_of(place_key, masked)[:, None]
    times = process.time_of_masked(fraction)
    return dataclasses.replace(state, memory=fraction, places=places), times

  def due(self, state: State, process: Process) -> Array:
    """Where something is masked, for the first of the tokens that share an evaluation."""
    length = state.z.shape[1]
    tokens_an_evaluation = -(-length // min(state.steps, length))
    masked = open_positions(process, state.z, state.given)
    return jnp.any(masked) & (state.index % tokens_an_evaluation == 0)

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    """Reveals one token a row, drawn as if the rest of the time were one step."""
    z, places = state.z, state.places
    _, _, token_key = split_rows(state.keys, len(z), 3)
    here = jnp.take_along_axis(z, places, axis=1)
    token = process.reverse(token_key, prediction, here, t, jnp.zeros_like(t))
    revealed = open_positions(process, z, state.given) & (jnp.arange(z.shape[1]) == places)
    return dataclasses.replace(state, z=jnp.where(revealed, token, z))


def largest_of_uniforms(key: Array, counts: Array) -> Array:
  """The largest of `counts` `[B]` uniform draws: by what the masked fraction shrinks."""
  u = 1.0 - row_uniform(key, counts.shape)  # in (0, 1]
  return u ** (1.0 / jnp.maximum(counts, 1))


def any_one_of(key: Array, allowed: Array) -> Array:
  """A position `[B]` drawn uniformly from those `allowed` `[B, L]`; 0 where there is none."""
  return jnp.argmax(jnp.where(allowed, row_uniform(key, allowed.shape), -1.0), axis=-1)


def make(**fields: object) -> FirstHitting:
  """Builds the sampler. Raises `UserError` for an unknown field."""
  return resolve.build(FirstHitting, fields)
