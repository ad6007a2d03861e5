"""The order from left to right: one block after the other, each denoised given those before it.

Block diffusion (BD3-LM, algorithm 2) with any sampler inside a block. An autoregressive model is
the same with blocks of one token, each of one step, whose network sees clean tokens alone.

With a denoiser that keeps keys and values (`base.Extends`) an evaluation is of one block, and the
samples are the same as without. What later blocks see of a block are its final tokens: one more
evaluation of each finished block, but none in an autoregressive model, which reads its input from
the left. A row may be longer than any that was trained on, and the loop stops where all rows have
ended.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import BlockCausal, Blocks, Causal
from dlm_jax.core.types import PyTree
from dlm_jax.processes.base import Denoise, Process, free
from dlm_jax.samplers.base import Extends, Request, SampleResult, State, first_state
from dlm_jax.samplers.transition import Carry, Evaluate, Transition

# extend(cache, z, t, start, size) -> (output [B, size, columns] of positions from start on, cache)
Extend = Callable[[PyTree, Array, Array, Array | int, int], tuple[Array, PyTree]]

# A cache of more bytes than these does not lie in those of a processor.
LARGE = 32 << 20
STAGES = 4


def left_to_right(transition: Transition, denoise: Denoise, request: Request) -> SampleResult:
  """Draws the rows of `request`, whose steps are shared evenly by the blocks, rounded up.

  Raises:
    UserError: a token is given in a later block than an unknown one, or a grid has no use.
  """
  process, (rows, length) = transition.process, request.shape
  in_blocks = isinstance(process.pattern, Blocks | BlockCausal)
  size = block_size(process, length)
  check_given(request.given, size)
  if not in_blocks and request.grid != "uniform":
    raise UserError(
      f"an autoregressive model has no times, and no grid such as {request.grid!r}: leave --grid "
      "out."
    )
  blocks = -(-length // size)
  steps = -(-request.steps // blocks) if in_blocks else 1
  first, given = whole_blocks(process, request, blocks * size)
  empty, extend = incremental(denoise, rows)
  times = transition.sampler.times(process, request.grid, steps, size)
  loop = _Loop(transition, request, extend, given, times, size, steps)
  prompt, evaluated = prompt_length(request.given) // size, 0
  reaches = stages(empty, blocks, prompt, size)
  cache = empty(reaches[0] * size)
  if cache is not None and 0 < prompt < blocks:
    cache, evaluated = extend(cache, first, jnp.zeros(rows), 0, prompt * size)[1], 1
  progress = loop.begin(first, cache, prompt, evaluated)
  for reach in reaches:
    longer = jax.tree.map(_in_front, empty(reach * size), progress.carry.cache)
    carry = dataclasses.replace(progress.carry, cache=longer)
    progress = loop.run(dataclasses.replace(progress, carry=carry), reach)
  return loop.result(progress)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Progress:
  """How far the rows are.

  Attributes:
    index: int32 scalar, steps taken, of all blocks.
    z: int32 `[B, L]`, whole blocks.
    ended: bool `[B, 1]`, rows whose text has ended.
    carry: of the block at hand.
    frames: the trajectory so far, `[steps + 1, B, L]`, or None.
  """

  index: Array
  z: Array
  ended: Array
  carry: Carry
  frames: Array | None


@dataclass(frozen=True)
class _Loop:
  """What does not change while the rows are drawn.

  Attributes:
    given: bool `[B, L]`, of whole blocks.
    times: `[n + 1]`, of the n steps of each block.
    size: tokens a block.
    steps: network evaluations that are meant for a block.
  """

  transition: Transition
  request: Request
  extend: Extend
  given: Array
  times: Array
  size: int
  steps: int

  @property
  def _steps_a_block(self) -> int:
    return len(self.times) - 1

  def begin(self, z: Array, cache: PyTree, prompt: int, evaluated: int) -> _Progress:
    """The rows before the first step, `prompt` blocks of which are given whole."""
    total = z.shape[1] // self.size * self._steps_a_block
    state = self._state(z, jnp.int32(0))
    carry = self.transition.begin(state, cache, self._evaluate(z, 0))
    return _Progress(
      index=jnp.int32(prompt * self._steps_a_block),
      z=z,
      ended=jnp.zeros((len(z), 1), bool),
      carry=dataclasses.replace(carry, num_evaluations=jnp.int32(evaluated)),
      frames=jnp.broadcast_to(z, (total + 1, *z.shape)) if self.request.trajectory else None,
    )

  def run(self, progress: _Progress, blocks: int) -> _Progress:
    """All steps of all blocks, or as many until every row has ended."""
    total = blocks * self._steps_a_block
    goes_on = lambda p: (p.index < total) & ~jnp.all(p.ended)  # noqa: E731
    return jax.lax.while_loop(goes_on, self._step, progress)

  def result(self, progress: _Progress) -> SampleResult:
    """The rows, filled up with the end from where the loop stopped."""
    z, frames, length = progress.z, progress.frames, self.request.length
    if self.request.end_id is not None:
      reached = progress.index // self._steps_a_block * self.size
      z = jnp.where(jnp.arange(z.shape[1]) < reached, z, self.request.end_id)
    if frames is not None:
      taken = jnp.arange(len(frames)) <= progress.index
      frames = jnp.where(taken[:, None, None], frames, z)[..., :length]
    return SampleResult(
      z[:, :length], progress.carry.num_evaluations, progress.carry.has_nan, frames
    )

  def _step(self, progress: _Progress) -> _Progress:
    """One step of the block at hand, and where it is the last one, the end of the block."""
    index, z = progress.index, progress.z
    state = self._state(z, index)
    start = index // self._steps_a_block * self.size
    # The block's own memory begins with it.
    begins = state.index == 0
    fresh = self.transition.sampler.memory(state.z, state.given)
    memory = jax.tree.map(partial(jnp.where, begins), fresh, progress.carry.memory)
    carry = dataclasses.replace(progress.carry, memory=memory)
    t, s = (jnp.full(len(z), self.times[state.index + ahead]) for ahead in (0, 1))
    moved, carry = self.transition(carry, state, t, s, self._evaluate(z, start))
    z = jax.lax.dynamic_update_slice_in_dim(z, moved, start, axis=1)
    last = state.index == self._steps_a_block - 1
    finish = partial(self._finish, start)
    if self._steps_a_block == 1:
      z, ended, cache, ran = finish(z, progress.ended, carry.cache)
    else:
      same = lambda *arrays: (*arrays, 0)  # noqa: E731
      z, ended, cache, ran = jax.lax.cond(last, finish, same, z, progress.ended, carry.cache)
    carry = dataclasses.replace(
      carry,
      cache=cache,
      stale=carry.stale | last,
      num_evaluations=carry.num_evaluations + ran,
    )
    frames = None if progress.frames is None else progress.frames.at[index + 1].set(z)
    return _Progress(index + 1, z, ended, carry, frames)

  def _state(self, z: Array, index: Array) -> State:
    """The block that is denoised in the step `index`."""
    start = index // self._steps_a_block * self.size
    here, given = (
      jax.lax.dynamic_slice_in_dim(a, start, self.size, axis=1) for a in (z, self.given)
    )
    keys = self.request.keys_of_step(index + 1)
    return State(here, given, keys, index % self._steps_a_block, self.steps)

  def _evaluate(self, row: Array, start: Array | int) -> Evaluate:
    """The network at the block at `start`, which holds other tokens than `row` says there."""

    def evaluate(cache: PyTree, z: Array, t: Array) -> tuple[Array, PyTree]:
      whole = jax.lax.dynamic_update_slice_in_dim(row, z, start, axis=1)
      # Keys and values of tokens that are not final yet stay as well: those of the final ones take
      # their place before any other block sees them, and to restore the old ones is to copy all.
      return self.extend(cache, whole, t, start, self.size)

    return evaluate

  def _finish(
    self, start: Array, z: Array, ended: Array, cache: PyTree
  ) -> tuple[Array, Array, PyTree, int]:
    """Fills up what comes after an end, and puts the finished block into the cache."""
    end_id, position = self.request.end_id, jnp.arange(z.shape[1])
    if end_id is not None:
      inside = (position >= start) & (position < start + self.size)
      ends = (z == end_id) & inside & ~self.given
      past = ended | (jnp.cumsum(ends, axis=1) - ends > 0)
      z = jnp.where(past & inside, end_id, z)
      ended |= jnp.any(ends, axis=1, keepdims=True)
    if cache is None or self._reads_from_the_left:
      return z, ended, cache, 0
    return z, ended, self.extend(cache, z, jnp.zeros(len(z)), start, self.size)[1], 1

  @property
  def _reads_from_the_left(self) -> bool:
    """Whether an evaluation has seen final tokens alone, so that its keys and values are kept."""
    return isinstance(self.transition.process.pattern, Causal)


def stages(empty: Callable[[int], PyTree], blocks: int, prompt: int, size: int) -> list[int]:
  """The blocks that are reached before the cache gets longer, in rising order; the last is all.

  A step reads all slots of the cache, filled or not. Where that is what its time goes to, the cache
  has a quarter of them at first and gets longer three times; each time is a program of its own.
  """
  cache = jax.eval_shape(lambda: empty(blocks * size))
  held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))
  count = STAGES if held > LARGE else 1
  reaches = {-(-blocks * stage // count) for stage in range(1, count + 1)}
  return sorted(reach for reach in reaches if reach > prompt) or [blocks]


def _in_front(longer: Array, cache: Array) -> Array:
  """`cache` with the further slots of `longer` behind its own."""
  return jax.lax.dynamic_update_slice(longer, cache, (0,) * cache.ndim)


def incremental(denoise: Denoise, rows: int) -> tuple[Callable[[int], PyTree], Extend]:
  """An empty cache of so many slots, and how the network is evaluated after what it has seen.

  With a denoiser that keeps nothing the whole row is evaluated, and the cache is None.
  """
  if isinstance(denoise, Extends):
    return partial(denoise.empty_cache, rows), denoise.extend

  def extend(
    cache: PyTree, z: Array, t: Array, start: Array | int, size: int
  ) -> tuple[Array, PyTree]:
    return jax.lax.dynamic_slice_in_dim(denoise(z, t), start, size, axis=1), cache

  return lambda length: None, extend


def whole_blocks(process: Process, request: Request, length: int) -> tuple[Array, Array]:
  """The state at t = 1 and what is given of it, with unknown tokens up to `length`."""
  first = first_state(process, request)
  rows, end = request.shape
  rest = process.prior(request.keys_of_step(0), (rows, length))[:, end:]
  given = jnp.pad(~free(request.given, request.shape), ((0, 0), (0, length - end)))
  return jnp.concatenate([first, rest], axis=1), given


def block_size(process: Process, length: int) -> int:
  """The tokens that are drawn together of a row of `length`: 1 of an autoregressive process."""
  pattern = process.pattern
  return min(pattern.size, length) if isinstance(pattern, Blocks | BlockCausal) else 1


def check_given(given: Array | np.ndarray | None, size: int) -> None:
  """Refuses given tokens that blocks of `size` to their left would be drawn without seeing.

  What exists only when the program runs cannot be checked.

  Raises:
    UserError: a given position lies in a later block than one that is not given.
  """
  if given is None or isinstance(given, jax.core.Tracer):
    return
  where = np.asarray(given)
  last_given = np.max(np.where(where, np.arange(where.shape[1]), -1), axis=1) // size
  first_unknown = np.argmax(~where, axis=1) // size
  if np.any(~where.all(axis=1) & (last_given > first_unknown)):
    raise UserError(
      "a model that writes from left to right cannot see given tokens to the right of unknown "
      "ones: give a prompt, or infill with a process that sees the whole row, such as absorbing."
    )


def prompt_length(given: Array | None) -> int:
  """The number of tokens that every row is given from its left end; 0 if not known beforehand."""
  if given is None or isinstance(given, jax.core.Tracer):
    return 0
  common = np.all(np.asarray(given), axis=0)
  return len(common) if common.all() else int(np.argmin(common))
