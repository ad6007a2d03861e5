"""At which times a batch is trained or scored: low-discrepancy draws over the global batch."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.patterns import FULL
from dlm_jax.core.ranges import Fraction
from dlm_jax.processes.base import Process
from dlm_jax.processes.draws import row_uniform
from dlm_jax.processes.facets import RevealsOnce

# Some schedules are flat at t = 1: weight 0, density 0. Keeps the product of the two finite there.
SMALLEST_WEIGHT = 1e-6

SAMPLING = ("uniform", "antithetic", "shared_offset")


@dataclass(frozen=True)
class Times:
  """Draws t in (epsilon, 1] for all rows of the *global* batch, so that devices never share times.

  Attributes:
    sampling: `uniform`, independent draws (SEDD); `antithetic`, one independent draw in each of B
      equal strata (MDLM, also where its authors train SEDD); `shared_offset`, the strata of one
      shared draw (MD4, Plaid; VDM, eq. 39).
    epsilon: times closer to 0 than this are not drawn. A bound that is to be a true bound uses 0.
    importance: draw t in proportion to the weight -alpha' / (1 - alpha) of the absorbing bound
      instead of uniformly, and divide by the density: the same mean, with a flat weight.
  """

  sampling: str = "shared_offset"
  epsilon: Fraction = 1e-3
  importance: bool = False

  def __post_init__(self) -> None:
    require_known("time sampling", self.sampling, SAMPLING)
    if self.importance and self.epsilon == 0:
      raise UserError("times.importance needs a times.epsilon above 0, got 0: set it to 1e-3.")

  def check(self, process: Process) -> None:
    """Raises `UserError` where the times of `process` cannot be drawn like this."""
    # With blocks each row has many times, and one density of a row says nothing of theirs.
    has_fraction = isinstance(process, RevealsOnce) and process.pattern == FULL
    if self.importance and not has_fraction:
      raise UserError(
        "times.importance draws the time of a row by its masked fraction, which "
        f"{type(process).__name__} does not have: set it to False."
      )

  def draw(self, key: Array, rows: int, process: Process) -> tuple[Array, Array]:
    """Times and their weights 1 / density, both float32 `[rows]`.

    The mean of weight * f(t) estimates the integral of f over [epsilon, 1], divided by its length
    unless `importance` is set.
    """
    strata = jnp.arange(rows) / rows
    if self.sampling == "shared_offset":
      u = (jax.random.uniform(key) + strata) % 1.0
    elif self.sampling == "antithetic":
      u = (row_uniform(key, (rows,)) / rows + strata) % 1.0
    else:
      u = row_uniform(key, (rows,))
    if self.importance:
      self.check(process)
      return _importance(process, u, self.epsilon)
    return 1.0 - (1.0 - self.epsilon) * u, jnp.ones(rows)


def _importance(process: Process, u: Array, epsilon: float) -> tuple[Array, Array]:
  """Maps u in [0, 1) to times at which log(masked fraction) is uniform, with 1 / density."""
  assert isinstance(process, RevealsOnce)
  log_smallest = jnp.log(process.masked(jnp.float32(epsilon)))
  t = process.time_of_masked(jnp.exp(u * log_smallest))
  return t, -log_smallest / jnp.maximum(process.weight(t), SMALLEST_WEIGHT)
