"""Block diffusion: one block after the other, each denoised given those before (BD3-LM, alg. 2).

With a denoiser that keeps keys and values (`extend`) an evaluation is of one block, and one more of
each finished block puts it into the cache; the samples are the same without. A row may be longer
than any that was trained on, and the loop stops where all rows have ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, filters, grids, sequential


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
    process: block diffusion.
    steps: of all blocks together, shared evenly and rounded up: each takes at least one.
    given: a prompt of any length, or the known part of an infilling within the first block that is
      not known.
    cache: within a block, as for `ancestral`. Keys and values of blocks are kept in any case.
    trajectory: keep the row before the first step and after each, `[blocks * steps a block + 1, B,
      L]`.
    top_k: draw from so many most likely tokens; 0 is all.
    end_id: the token that ends a text: what comes after it is filled up with it; -1 is none.

  Raises:
    UserError: an argument is out of range, the process is another, or a token is given in a later
      block than an unknown one.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  filters.check_top_k(top_k)
  sequential.require(process, "block_by_block")
  (rows, length), size = shape, min(process.block_size, shape[1])
  sequential.check_order(given, size, "block_by_block")
  blocks = -(-length // size)
  steps = -(-steps // blocks)
  times = grids.times(grid, steps)
  first, known = _whole_blocks(key, process, shape, blocks * size, tokens, given)
  kv, extend = sequential.incremental(denoise, rows, blocks * size)
  narrow = partial(filters.narrow, temperature=temperature, top_p=top_p, top_k=top_k)
  decoder = _Decoder(key, process, extend, narrow, known, size, cache, end_id)
  prompted, nfe = sequential.prompt_length(given) // size, 0
  if kv is not None and 0 < prompted < blocks:
    (_, kv), nfe = extend(kv, first, jnp.zeros(rows), 0, prompted * size), 1

  def body(carry: tuple) -> tuple:
    i, z, ended, last, kv, frames, nfe = carry
    block, k = i // steps, i % steps
    z, last, ran = decoder.step(i + 1, z, times[k], times[k + 1], block * size, kv, last)
    finished = k == steps - 1
    z, ended, kv, more = jax.lax.cond(
      finished, partial(decoder.finish, block), lambda *state: (*state, 0), z, ended, kv
    )
    last = None if last is None else (last[0], last[1] | finished)
    return (
      i + 1,
      z,
      ended,
      last,
      kv,
      frames.at[i + 1].set(z) if trajectory else None,
      nfe + ran + more,
    )

  def goes_on(carry: tuple) -> Array:
    return (carry[0] < blocks * steps) & ~jnp.all(carry[2])

  frames = jnp.broadcast_to(first, (blocks * steps + 1, *first.shape)) if trajectory else None
  last = decoder.nothing_yet(first, kv) if cache else None
  ended = jnp.zeros((rows, 1), bool)
  carry = (jnp.int32(prompted * steps), first, ended, last, kv, frames, jnp.int32(nfe))
  i, z, _, _, _, frames, nfe = jax.lax.while_loop(goes_on, body, carry)
  if end_id >= 0:
    z = jnp.where(jnp.arange(blocks * size) < i // steps * size, z, end_id)
  if trajectory:
    frames = jnp.where((jnp.arange(len(frames)) <= i)[:, None, None], frames, z)[..., :length]
  return base.SampleResult(z[:, :length], nfe, frames)


def _whole_blocks(
  key: Array,
  process: Process,
  shape: tuple[int, int],
  length: int,
  tokens: Array | None,
  given: Array | None,
) -> tuple[Array, Array]:
  """The state at t = 1 and what is known of it, with unknown tokens up to `length`."""
  first = base.start(key, process, shape, tokens, given)
  rest = process.prior(base.step_keys(key, shape[0], 0), (shape[0], length))[:, shape[1] :]
  known = jnp.zeros(shape, bool) if given is None else jnp.asarray(given)
  known = jnp.pad(known, ((0, 0), (0, length - shape[1])))
  return jnp.concatenate([first, rest], axis=1), known


@dataclass(frozen=True)
class _Decoder:
  """The two things that are done to a block: a step of its reverse process, and its end.

  Attributes:
    known: bool `[B, L]`.
    narrow: filters what the network predicts.
    The others are as in `sample` and `sequential.incremental`.
  """

  key: Array
  process: Process
  extend: sequential.Extend
  narrow: Callable[..., Any]
  known: Array
  size: int
  cache: bool
  end_id: int

  def nothing_yet(self, z: Array, kv: Any) -> tuple[Any, Array]:
    """The last output and whether it is out of date, before there is one."""
    evaluate = self._evaluate(0, kv)
    return base.blank_output(evaluate, z, jnp.ones(len(z))), jnp.array(True)

  def step(
    self, index: Array, z: Array, t: Array, s: Array, start: Array, kv: Any, last: Any
  ) -> tuple[Array, Any, Array | int]:
    """The row `z` `[B, L]` with the block at `start` taken from t to s; 1 or 0 evaluations."""
    rows, evaluate = len(z), self._evaluate(start, kv)
    t, s = jnp.full(rows, t), jnp.full(rows, s)
    here, known = (
      jax.lax.dynamic_slice_in_dim(a, start, self.size, axis=1) for a in (z, self.known)
    )
    if last is None:
      output, ran = evaluate(z, t), 1
    else:
      needed = last[1] & jnp.any(base.unknown(self.process.inner, here, known))
      output, ran = base.evaluate_if(needed, evaluate, z, t, last[0])
    prediction = self.narrow(self.process, output, here, t)
    keys = base.step_keys(self.key, rows, index)
    drawn = self.process.reverse(keys, prediction, here, t, s, known)
    z = jax.lax.dynamic_update_slice_in_dim(z, drawn, start, axis=1)
    return z, None if last is None else (output, jnp.any(drawn != here)), ran

  def finish(self, block: Array, z: Array, ended: Array, kv: Any) -> tuple[Array, Array, Any, int]:
    """Fills up what comes after an end, and puts the finished block into the cache."""
    start, position = block * self.size, jnp.arange(z.shape[1])
    if self.end_id >= 0:
      inside = (position >= start) & (position < start + self.size)
      ends = (z == self.end_id) & inside & ~self.known
      past = ended | (jnp.cumsum(ends, axis=1) - ends > 0)
      z = jnp.where(past & inside, self.end_id, z)
      ended |= jnp.any(ends, axis=1, keepdims=True)
    if kv is None:
      return z, ended, kv, 0
    return z, ended, self.extend(kv, z, jnp.zeros(len(z)), start, self.size)[1], 1

  def _evaluate(self, start: Array | int, kv: Any) -> Denoise:
    return lambda z, t: self.extend(kv, z, t, start, self.size)[0]
