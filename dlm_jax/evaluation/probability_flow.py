"""The bound on -log p of a continuous process through its probability flow (Song et al. 2021).

With y = z / sigma and r = alpha / sigma = sqrt(SNR) the flow is d y / d r = x_hat(y, r), and along
it d log p(y) / d r = -tr(d x_hat / d y) (LangFlow 2026; Chen et al. 2018 for the trace). For
z_0 ~ q(z_0 | x) of D numbers, carried by the flow to y_1 at t = 1, where sigma_1 y_1 ~ N(0, 1),

  -log p(x) <= E[-log p(x | z_0) - log p(z_0) + log q(z_0 | x)]
             = E[-log p(x | z_0) + |sigma_1 y_1|^2 / 2 - |n|^2 / 2 - D log sigma_1 + integral of tr]

n being the noise in z_0. The trace is Hutchinson's estimate with random signs, without bias. The
flow is followed by Heun steps: their error, which vanishes with their number, is the one part of
the result that is not a bound.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import PositiveInt
from dlm_jax.core.types import Params
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.processes.facets import Continuous


@dataclass(frozen=True)
class ProbabilityFlow:
  """A continuous process scored through its flow: stands in for it in `likelihood.evaluator`.

  Attributes:
    process: the process.
    steps: Heun steps, equal in t, so that the schedule decides where they lie.
  """

  process: Process
  steps: PositiveInt

  def __post_init__(self) -> None:
    resolve.require_ranges(self)
    if not isinstance(self.process, Continuous):
      raise UserError(
        f"the process {type(self.process).__name__} has no probability flow: it needs a continuous "
        "one, such as gaussian. Use --bound=variational."
      )

  @property
  def num_evaluations(self) -> int:
    """Network evaluations of one draw; self-conditioning takes two for each prediction."""
    return (2 * self.steps + 1) * self.process.num_evaluations

  def bind(self, params: Params) -> Self:
    return dataclasses.replace(self, process=self.process.bind(params))

  def precondition(self, denoise: Denoise) -> Denoise:
    return self.process.precondition(denoise)

  def constants(self) -> float:
    return 0.0

  def nelbo(
    self, key: Array, denoise: Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """One draw of the bound for each row, nats `[B, 1]`. The times `t` play no part."""
    del t
    process, rows = self.process, x.shape[0]
    assert isinstance(process, Continuous)
    free = base.free(given, x.shape).astype(jnp.float32)
    noise_key, sign_key = draws.split_rows(key, rows, 2)
    start = jnp.zeros(rows)
    z = process.corrupt(noise_key, x, start, given)
    clean = process.times(start, given)
    log_p = lambda prediction, x: at_token(prediction.log_probs, x)  # noqa: E731
    reconstruction = -process.evaluate(denoise, z, clean, log_p, (x,)) * free

    alpha, sigma = process.signal_and_noise(start)
    noise = (z - alpha * process.embeddings[x]) / sigma
    signs = jnp.where(draws.row_uniform(sign_key, z.shape) < 0.5, -1.0, 1.0) * free[..., None]
    y, trace = self._follow(denoise, z / sigma, signs, x, given)
    _, sigma_end = process.signal_and_noise(jnp.ones(rows))
    squares = jnp.sum(((sigma_end * y) ** 2 - noise**2) * free[..., None], axis=(1, 2)) / 2
    volume = process.width * jnp.sum(free, axis=-1) * jnp.log(sigma_end[:, 0, 0])
    return (jnp.sum(reconstruction, axis=-1) + squares - volume + trace)[:, None]

  def _follow(
    self, denoise: Denoise, y: Array, signs: Array, x: Array, given: Array | None
  ) -> tuple[Array, Array]:
    """y at t = 1 from y at t = 0, and the integral of the trace from t = 1 to t = 0, `[B]`."""
    process, rows = self.process, y.shape[0]
    assert isinstance(process, Continuous)

    def prediction(y: Array, t: Array) -> tuple[Array, Array]:
      """x_hat and the estimated trace of its derivative by y."""
      times = process.times(t, given)
      _, sigma = process.signal_and_noise(t)

      def x_hat(y: Array) -> Array:
        z = process.hold(sigma * y, x, given)
        return process.evaluate(denoise, z, times, process.mean)

      value, pullback = jax.vjp(x_hat, y)
      (slope,) = pullback(signs)
      return value, jnp.sum(slope * signs, axis=(1, 2))

    def root_snr(t: Array) -> Array:
      return jnp.exp(-process.gamma(t) / 2)

    def step(carry: tuple[Array, Array], times: Array) -> tuple[tuple[Array, Array], None]:
      y, trace = carry
      t, s = (jnp.full(rows, time) for time in times)
      change = root_snr(s) - root_snr(t)
      x_t, trace_t = prediction(y, t)
      x_s, trace_s = prediction(y + change[:, None, None] * x_t, s)
      y += change[:, None, None] * (x_t + x_s) / 2
      return (y, trace - change * (trace_t + trace_s) / 2), None

    grid = jnp.arange(self.steps + 1) / self.steps
    pairs = jnp.stack([grid[:-1], grid[1:]], axis=-1)
    return jax.lax.scan(step, (y, jnp.zeros(rows)), pairs)[0]
