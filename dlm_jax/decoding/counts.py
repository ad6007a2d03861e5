"""How many positions a step commits, when a window is to be done in a number of steps."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core.errors import require_known
from dlm_jax.decoding.base import Candidates, WindowProgress

# Where Dream's time ends (its `eps`).
END = 1e-3


def even(candidates: Candidates, progress: WindowProgress, steps: int) -> Array:
  """As many at each step, and one more at the first ones (LLaDA, `get_num_transfer_tokens`)."""
  del candidates
  each, more = jnp.divmod(progress.masked_at_first, steps)
  return each + (progress.step < more)


def whole(candidates: Candidates, progress: WindowProgress, steps: int) -> Array:
  """The same, as if all of the window had been masked at first (SDAR, LLaDA2)."""
  each, more = divmod(candidates.token.shape[1], steps)
  return each + (progress.step < more)


def linear(candidates: Candidates, progress: WindowProgress, steps: int) -> Array:
  """floor(n (1 - s / t)) of the n masked positions of the row, for times that fall evenly from 1 to
  `END`; all at the last step (Dream, `diffusion_generate`). It may be none."""
  times = jnp.linspace(1.0, END, steps + 1, dtype=jnp.float32)
  step = jnp.minimum(progress.step, steps - 1)
  share = 1.0 - times[step + 1] / times[step]
  return jnp.floor(candidates.count * share).astype(jnp.int32)


def rounded(candidates: Candidates, progress: WindowProgress, steps: int) -> Array:
  """n over the steps that are left, rounded half to even, with the errors of float32 in which dllm
  has the share (1 - s / t): of 4 positions in 3 steps it commits 1, 1, 2."""
  one, times = np.float32(1.0), np.linspace(1.0, 0.0, steps + 1, dtype=np.float32)
  kept = one - (one - times)
  share = jnp.asarray(one - kept[1:] / kept[:-1])[jnp.minimum(progress.step, steps - 1)]
  return jnp.round(candidates.count * share).astype(jnp.int32)


COUNTS = {"even": even, "whole": whole, "linear": linear, "rounded": rounded}


def check(name: str) -> None:
  """Raises `UserError` for a schedule that is not one of `COUNTS`."""
  require_known("schedule of commits", name, COUNTS)


def count(name: str, candidates: Candidates, progress: WindowProgress, steps: int) -> Array:
  """The number of positions int32 `[B, 1]` that the schedule `name` commits at this step.

  Args:
    name: one of `COUNTS`.
    candidates: of the step.
    progress: of the window.
    steps: in which it is to be done; the last takes all that is left.
  """
  number = COUNTS[name](candidates, progress, steps)
  return jnp.where(progress.step >= steps - 1, candidates.count, number)
