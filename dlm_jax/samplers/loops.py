"""The loops of sampling: any sampler over whole rows, or block by block.

The order follows from what the network sees, `process.pattern`. Where all positions see all, the
row is denoised as a whole, see `whole_row`; otherwise from left to right, see `blocks`. The whole
generation runs inside one `jax.jit` of the caller.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.patterns import FULL
from dlm_jax.core.types import PyTree
from dlm_jax.processes.base import Denoise, Process, conditioned
from dlm_jax.processes.facets import Continuous
from dlm_jax.samplers import blocks, guidance
from dlm_jax.samplers.base import Request, Sampler, SampleResult, State, first_state
from dlm_jax.samplers.transition import Carry, Transition


def sample(sampler: Sampler, process: Process, denoise: Denoise, request: Request) -> SampleResult:
  """Draws the rows of `request`.

  Args:
    sampler: the rule of a step.
    process: the noise that is reversed, with what it learns in place.
    denoise: `denoise(z, t) -> output`; one that `base.Extends` keeps keys and values of blocks.
    request: what is drawn.

  Raises:
    UserError: the sampler is not defined for the process, or the request asks for what it cannot.
  """
  sampler.check(process)
  request.filters.check(process.vocab_size)
  transition = Transition(sampler, process, request.filters, request.reuse)
  order = whole_row if process.pattern == FULL else blocks.left_to_right
  result = order(transition, denoise, request)
  evaluations = result.num_evaluations * guidance.evaluations(process)
  return dataclasses.replace(result, num_evaluations=evaluations)


def check_given(process: Process, given: np.ndarray) -> None:
  """Raises `UserError` unless the process can draw what is not `given`, bool `[B, L]`.

  `sample` does so itself where `given` is known when it is compiled.
  """
  if process.pattern != FULL:
    blocks.check_given(given, blocks.block_size(process, given.shape[1]))


def whole_row(transition: Transition, denoise: Denoise, request: Request) -> SampleResult:
  """All positions together, from each time to the next. A continuous state is read at the end."""
  process, (rows, length) = transition.process, request.shape
  times = transition.sampler.times(process, request.grid, request.steps, length)
  first = first_state(process, request)

  def evaluate(cache: PyTree, z: Array, t: Array, **condition: Array) -> tuple[PyTree, PyTree]:
    if isinstance(process, Continuous):
      return transition.read_means(conditioned(denoise, **condition), z, t), cache
    return denoise(z, t, **condition), cache

  def state(z: Array, index: Array | int) -> State:
    keys = request.keys_of_step(index + 1)
    return State(z, request.given, keys, jnp.int32(index), request.steps)

  def body(carried: tuple[Array, Carry], step: tuple[Array, Array, Array]):
    (z, carry), (index, t, s) = carried, step
    t, s = jnp.full(rows, t), jnp.full(rows, s)
    z, carry = transition(carry, state(z, index), t, s, evaluate)
    return (z, carry), tokens_of(process, z) if request.trajectory else None

  carry = transition.begin(state(first, 0), None, evaluate)
  steps = (jnp.arange(len(times) - 1), times[:-1], times[1:])
  (z, carry), frames = jax.lax.scan(body, (first, carry), steps)
  if request.trajectory:
    frames = jnp.concatenate([tokens_of(process, first)[None], frames])
  if not isinstance(process, Continuous):
    return SampleResult(z, carry.num_evaluations, carry.has_nan, frames)
  tokens = most_likely_tokens(transition, denoise, request, z, carry)
  return SampleResult(tokens, carry.num_evaluations + 1, carry.has_nan, frames)


def tokens_of(process: Process, z: Array) -> Array:
  """The state as tokens int32 `[B, L]`: a continuous one is read at the nearest embeddings."""
  return process.nearest_tokens(z) if isinstance(process, Continuous) else z


def most_likely_tokens(
  transition: Transition, denoise: Denoise, request: Request, z: Array, carry: Carry
) -> Array:
  """What the network, evaluated once more, says of the continuous state `z` at t = 0."""
  t = transition.network_times(jnp.zeros(len(z)), request.given)
  process = transition.process
  assert isinstance(process, Continuous)
  likeliest = lambda p: jnp.argmax(p.log_probs, axis=-1).astype(jnp.int32)  # noqa: E731
  tokens = process.read(conditioned(denoise, **carry.condition), z, t, likeliest)
  return tokens if request.given is None else jnp.where(request.given, request.tokens, tokens)
