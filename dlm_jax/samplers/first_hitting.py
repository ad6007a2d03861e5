"""First-hitting sampling of masked diffusion (Zheng et al. 2024, algorithm 1).

Instead of asking at every time step whether something is revealed, it draws the time at which the
next token is: when n tokens are masked, at masked fraction m, the next one is revealed at fraction
m u^(1/n), and is any of them. One evaluation a masked token, and no discretisation error.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Denoise, Process, row_uniform, split_rows
from dlm_jax.samplers import base, filters


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
    process: one that reveals each token once: it has `mask_id` and `time_of_masked`.
    steps: at most so many network evaluations. From L on, sampling is exact; below, each
      evaluation serves ceil(L / steps) tokens.
    grid: `uniform` alone: the times are drawn, not chosen.
    cache: changes nothing: every step reveals a token, so that no output is current twice.
    trajectory: keep the state after every revealed token, `[L + 1, B, L]`.

  Raises:
    UserError: an argument is out of range, or the process reveals no tokens.
  """
  del cache
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require_reveals_once(process, "first_hitting")
  if grid != "uniform":
    raise UserError(f"the sampler 'first_hitting' draws its times and takes no grid, got {grid!r}.")
  rows, length = shape
  tokens_an_evaluation = -(-length // min(steps, length))
  first = base.start(key, process, shape, tokens, given)

  def step(carry, index):
    z, masked_fraction, output, nfe = carry
    masked = base.unknown(process, z, given)
    time_key, place_key, token_key = split_rows(base.step_keys(key, rows, index + 1), rows, 3)
    masked_fraction *= _largest_of_uniforms(time_key, jnp.sum(masked, axis=-1))
    t = process.time_of_masked(masked_fraction)
    due = jnp.any(masked) & (index % tokens_an_evaluation == 0)
    output, ran = base.evaluate_if(due, denoise, z, t, output)
    place = _any_one_of(place_key, masked)
    revealed = _reveal(token_key, process, output, z, t, place, temperature, top_p)
    z = jnp.where(masked & (jnp.arange(length) == place[:, None]), revealed, z)
    return (z, masked_fraction, output, nfe + ran), z if trajectory else None

  blank = base.blank_output(denoise, first, jnp.ones(rows))
  carry = (first, jnp.ones(rows), blank, jnp.int32(0))
  (z, _, _, nfe), rest = jax.lax.scan(step, carry, jnp.arange(length))
  return base.SampleResult(z, nfe, base.frames(first, rest))


def _largest_of_uniforms(key: Array, counts: Array) -> Array:
  """The largest of `counts` `[B]` uniform draws: by what the masked fraction shrinks."""
  u = 1.0 - row_uniform(key, counts.shape)  # in (0, 1]
  return u ** (1.0 / jnp.maximum(counts, 1))


def _any_one_of(key: Array, allowed: Array) -> Array:
  """A position `[B]` drawn uniformly from those `allowed` `[B, L]`; 0 where there is none."""
  return jnp.argmax(jnp.where(allowed, row_uniform(key, allowed.shape), -1.0), axis=-1)


def _reveal(
  key: Array,
  process: Process,
  output: Array,
  z: Array,
  t: Array,
  place: Array,
  temperature: float,
  top_p: float,
) -> Array:
  """The token at `place` `[B]`, drawn by the process as if the rest of the time were one step."""
  at_place = place[:, None]
  output = jnp.take_along_axis(output, at_place[..., None], axis=1)
  z = jnp.take_along_axis(z, at_place, axis=1)
  prediction = filters.narrow(process, output, z, t, temperature, top_p)
  return process.reverse(key, prediction, z, t, jnp.zeros_like(t))
