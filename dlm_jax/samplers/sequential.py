"""Which processes are sampled from left to right; what their samplers share: cache and order."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.patterns import Blocks, Causal
from dlm_jax.processes.base import Denoise, Process, pattern

# extend(cache, z, t, start, size) -> (output [B, size, V] of positions from start on, cache)
Extend = Callable[..., tuple[Any, Any]]


def incremental(denoise: Denoise, rows: int, length: int) -> tuple[Any, Extend]:
  """An empty cache, and how the network is evaluated at a few positions after those it has seen.

  A denoiser that keeps keys and values offers `empty_cache` and `extend`, which must equal
  `denoise` at these positions. With any other the whole row is evaluated.
  """
  if hasattr(denoise, "extend"):
    return denoise.empty_cache(rows, length), denoise.extend

  def extend(cache: None, z: Array, t: Array, start: Array, size: int) -> tuple[Array, None]:
    output = jax.lax.dynamic_slice_in_dim(denoise(z, t), start, size, axis=1)
    return output, cache

  return None, extend


def check_order(given: Array | None, size: int, sampler: str) -> None:
  """Refuses known tokens that blocks of `size` to their left would have to be drawn without seeing.

  What is known only when the program runs cannot be checked.

  Raises:
    UserError: a given position lies in a later block than one that is not given.
  """
  if given is None or isinstance(given, jax.core.Tracer):
    return
  given = np.asarray(given)
  last_given = np.max(np.where(given, np.arange(given.shape[1]), -1), axis=1) // size
  first_unknown = np.argmax(~given, axis=1) // size
  if np.any(~given.all(axis=1) & (last_given > first_unknown)):
    raise UserError(
      f"the sampler {sampler!r} draws from left to right and cannot see known tokens to the right "
      "of unknown ones: give a prompt, or infill with a process that sees the whole row, such as "
      "absorbing."
    )


def sampler_of(process: Process) -> str:
  """The name of the sampler that is defined for every process of this kind."""
  names = {Causal: "left_to_right", Blocks: "block_by_block"}
  return names.get(type(pattern(process)), "ancestral")


def require(process: Process, sampler: str) -> None:
  """Raises `UserError` unless `sampler` is the one that `sampler_of` names."""
  defined = sampler_of(process)
  if defined != sampler:
    raise UserError(
      f"the sampler {sampler!r} is not defined for the process {type(process).__name__}: "
      f"use {defined}."
    )


def prompt_length(given: Array | None) -> int:
  """The number of tokens that every row is given from its left end; 0 if not known beforehand."""
  if given is None or isinstance(given, jax.core.Tracer):
    return 0
  common = np.all(np.asarray(given), axis=0)
  return len(common) if common.all() else int(np.argmin(common))
