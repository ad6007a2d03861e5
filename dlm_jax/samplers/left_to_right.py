"""Autoregressive decoding: one token after the other, each from one network evaluation.

With a denoiser that keeps keys and values (`extend`) an evaluation is of one position, after one of
the whole prompt; the samples are the same without. The loop stops where all rows have ended.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filters, sequential


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
  top_k: int = 0,
  end_id: int = -1,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, except

  Args:
    process: an autoregressive one.
    steps: takes no part: there is one evaluation a token.
    given: a prompt, of any length in each row.
    grid: `uniform` alone: there are no times to choose.
    cache: takes no part: no evaluation is ever repeated.
    trajectory: keep the row before and after every token, `[L + 1, B, L]`.
    top_k: draw from so many most likely tokens; 0 is all.
    end_id: the token that ends a text: what comes after it is filled up with it; -1 is none.

  Raises:
    UserError: an argument is out of range, the process is another, or a token is given to the right
      of an unknown one.
  """
  del cache
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  filters.check_top_k(top_k)
  sequential.require(process, "left_to_right")
  if grid != "uniform":
    raise UserError(f"the sampler 'left_to_right' has no times and takes no grid, got {grid!r}.")
  sequential.check_order(given, 1, "left_to_right")
  prompted = sequential.prompt_length(given)
  rows, length = shape
  first = base.start(key, process, shape, tokens, given)
  given = jnp.zeros(shape, bool) if given is None else jnp.asarray(given)
  kv, extend = sequential.incremental(denoise, rows, length)
  clean, masked = jnp.zeros(rows), jnp.ones(rows)  # times: of the tokens seen, of the one drawn
  nfe = 0
  if kv is not None and 0 < prompted < length:
    (_, kv), nfe = extend(kv, first, clean, 0, prompted), 1

  def body(carry):
    i, z, ended, kv, frames, nfe = carry
    output, kv = extend(kv, z, clean, i, 1)
    here, known = (jax.lax.dynamic_slice_in_dim(a, i, 1, axis=1) for a in (z, given))
    prediction = filters.narrow(process, output, here, clean, temperature, top_p, top_k)
    keys = base.step_keys(key, rows, i + 1)
    token = process.reverse(keys, prediction, here, masked, clean, known)
    if end_id >= 0:
      token = jnp.where(ended, end_id, token)
      ended |= (token == end_id) & ~known
    z = jax.lax.dynamic_update_slice_in_dim(z, token, i, axis=1)
    return i + 1, z, ended, kv, frames.at[i + 1].set(z) if trajectory else None, nfe + 1

  def goes_on(carry):
    i, _, ended, *_ = carry
    return (i < length) & ~jnp.all(ended)

  frames = jnp.broadcast_to(first, (length + 1, *shape)) if trajectory else None
  carry = (jnp.int32(prompted), first, jnp.zeros((rows, 1), bool), kv, frames, jnp.int32(nfe))
  i, z, _, _, frames, nfe = jax.lax.while_loop(goes_on, body, carry)
  if end_id >= 0:
    z = jnp.where(jnp.arange(length) < i, z, end_id)
  if trajectory:
    frames = jnp.where((jnp.arange(length + 1) <= i)[:, None, None], frames, z)
  return base.SampleResult(z, nfe, frames)
