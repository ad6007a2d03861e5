"""Time grids: at which times the reverse process stops on its way from 1 to 0."""

import math

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import require_known


def uniform(u: Array) -> Array:
  """t = u: equal steps."""
  return u


def cosine(u: Array) -> Array:
  """t = cos(pi/2 (1 - u)) (MD4, section 4): short steps near the prior, where little is known.

  Under a linear schedule few tokens are then drawn together while they have no context, which
  improves samples of few steps.
  """
  return jnp.sin(math.pi / 2 * u)


GRIDS = {"uniform": uniform, "cosine": cosine}


def check(grid: str) -> None:
  """Raises `UserError` for an unknown grid."""
  require_known("time grid", grid, GRIDS)


def times(grid: str, steps: int) -> Array:
  """The times 1 = t_0 > t_1 > ... > t_steps = 0, float32 `[steps + 1]`.

  Raises:
    UserError: the grid is unknown.
  """
  check(grid)
  return GRIDS[grid](jnp.arange(steps, -1, -1) / steps)
