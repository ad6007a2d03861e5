"""Duo (Sahoo et al. 2025, "The diffusion duality"): uniform diffusion with a Gaussian curriculum.

Uniform diffusion is the argmax of Gaussian diffusion of one-hot rows, w = alpha~ x + sigma~ n with
gamma = log(sigma~^2 / alpha~^2): a token is argmax w with the marginals of uniform noise, where

  alpha = T(gamma) = (V q - 1) / (V - 1),   q = P(argmax w = x) = E_z[Phi(z + e^(-gamma/2))^(V-1)]

For the first steps of training the network is given softmax(w / temperature) in place of argmax w,
which says more of x, and is scored as if it had seen the argmax. After that, in evaluation and in
sampling it is `uniform`.

Of the V - 1 noises that are not at x only the largest few matter at a low temperature. They are
drawn as such, by order statistics, so that no [B, L, V] is ever held.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import LogNoise, NonNegativeInt, Positive, PositiveInt
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.processes import base, draws
from dlm_jax.processes.parts.mixture import Level
from dlm_jax.processes.uniform import Uniform
from dlm_jax.schedules import alpha_schedules

# The curriculum runs over noise that leaves from the first to the second share of the tokens.
ALPHAS = (0.95, 0.05)
# How far from its mean a normal is followed, and into how many steps that is cut.
REACH, STEPS = 9.0, 288


@dataclass(frozen=True, kw_only=True)
class Duo(Uniform):
  """The process. Build it with `make`.

  Attributes:
    curriculum_steps: of training with soft tokens, half of them in the paper.
    temperature: of the softmax.
    candidates: how many noises beside that of x the softmax sees, the largest ones.
    gammas: the first and the last of the curriculum, linear in t between. The paper has (-3.5,
      -1.75) for 30,000 tokens.
    step: of training, put in place by `at_step`; None outside of training.
  """

  curriculum_steps: NonNegativeInt = 0
  temperature: Positive = 1e-3
  candidates: PositiveInt = 4
  gammas: tuple[LogNoise, LogNoise] = (-3.5, -1.75)
  step: Array | None = resolve.runtime()

  def __post_init__(self) -> None:
    if not self.gammas[0] < self.gammas[1]:
      raise UserError(f"process.gammas must be two numbers in rising order, got {self.gammas}.")

  def at_step(self, step: Array) -> Self:
    """The process at a step of training."""
    return dataclasses.replace(self, step=step)

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The curriculum's, and after it the bound."""
    if self.step is None or self.curriculum_steps == 0:
      return self.nelbo(key, denoise, x, t, given)
    return jax.lax.cond(
      self.step < self.curriculum_steps,
      lambda: self.curriculum_loss(key, denoise, x, t, given),
      lambda: self.nelbo(key, denoise, x, t, given),
    )

  def curriculum_loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The integrand of the bound at argmax w, `[B, L]`, where the network sees the soft tokens.

    The time that the network receives is the one at which plain noise leaves as much.
    """
    first, last = self.gammas
    gamma = first + (last - first) * t
    speed = jnp.full_like(gamma, last - first)
    alpha, slope = jax.jvp(lambda g: transformation(g, self.vocab_size), (gamma,), (speed,))
    soft = self.latent(key, x, gamma, given)
    likeliest = jnp.argmax(soft.weights, axis=-1, keepdims=True)
    z = jnp.take_along_axis(soft.tokens, likeliest, axis=-1)[..., 0]
    alpha_BL, rate = (base.per_position(a) for a in (alpha, -slope / alpha))
    level = Level.constant(alpha_BL, 1.0 - alpha_BL, rate, self.uniform_fraction)
    return self.integrand(denoise, (soft, self.time_of_alpha(alpha)), x, z, level, given)

  def latent(self, key: Array, x: Array, gamma: Array, given: Array | None = None) -> SoftTokens:
    """softmax(w / temperature) at the token and the candidates; given positions are certain."""
    own_key, others_key, token_key = draws.split_rows(key, x.shape[0], 3)
    count = min(self.candidates, self.vocab_size - 1)
    gamma = base.per_position(gamma)
    own = jnp.exp(-gamma / 2) + draws.row_normal(own_key, x.shape)
    others = largest_normals(others_key, x.shape, count, self.vocab_size - 1)
    w = jnp.concatenate([own[..., None], others], axis=-1)
    sigma = jnp.sqrt(jax.nn.sigmoid(gamma))[..., None]
    weights = jax.nn.softmax(sigma * w / self.temperature)
    tokens = other_tokens(token_key, x, count, self.vocab_size)
    if given is not None:
      weights = jnp.where(given[..., None], jnp.eye(count + 1)[0], weights)
    return SoftTokens(jnp.concatenate([x[..., None], tokens], axis=-1), weights)

  def time_of_gamma(self, gamma: Array) -> Array:
    """The time at which as many tokens are kept as under Gaussian noise of `gamma`."""
    return self.time_of_alpha(jnp.clip(transformation(gamma, self.vocab_size), 0.0, 1.0))


def transformation(gamma: Array, vocab_size: int) -> Array:
  """T(gamma), the diffusion transformation (Duo, eq. 10), in [0, 1].

  The trapezoid rule, which for a normal density gains digits faster than any power of its steps;
  so that autodiff gives the derivative to as many.
  """
  mean = jnp.exp(-gamma / 2)[..., None]
  away = jnp.linspace(-REACH, REACH, STEPS + 1)
  log_density = -(away**2) / 2 - math.log(2 * math.pi) / 2
  log_others = (vocab_size - 1) * _log_ndtr(mean + away)
  q = jnp.sum(jnp.exp(log_density + log_others), axis=-1) * (2 * REACH / STEPS)
  return (vocab_size * q - 1.0) / (vocab_size - 1)


def _log_ndtr(z: Array) -> Array:
  """log Phi(z), which also close to 0 keeps the digits that its multiple by V needs."""
  above = jnp.log1p(-jax.scipy.special.ndtr(-jnp.maximum(z, 0.0)))
  return jnp.where(z > 0, above, jax.scipy.special.log_ndtr(jnp.minimum(z, 0.0)))


def largest_normals(key: Array, shape: tuple[int, ...], count: int, of: int) -> Array:
  """The largest `count` of `of` standard normals, `[B, L, count]`, in falling order.

  The largest of n uniforms is u^(1/n), and the others are uniform below it.
  """
  u = draws.row_uniform(key, (*shape, count))
  log_u = jnp.cumsum(jnp.log1p(-u) / (of - jnp.arange(count)), axis=-1)
  above = jnp.maximum(-jnp.expm1(log_u), alpha_schedules.TINY)
  return -jax.scipy.special.ndtri(above)


def other_tokens(key: Array, x: Array, count: int, vocab_size: int) -> Array:
  """`count` tokens `[B, L, count]`, uniform, none of them x and no two alike."""
  u = draws.row_uniform(key, (*x.shape, count))
  taken = x[..., None]
  for index in range(count):
    left = vocab_size - 1 - index
    token = jnp.minimum((u[..., index] * left).astype(jnp.int32), left - 1)
    for lower in jnp.moveaxis(jnp.sort(taken), -1, 0):
      token += token >= lower
    taken = jnp.concatenate([taken, token[..., None]], axis=-1)
  return taken[..., 1:]


@functools.cache
def default_gammas(vocab_size: int) -> tuple[float, float]:
  """Where T is each of `ALPHAS`, to two digits."""
  grid = np.round(np.arange(-12.0, 12.0, 0.01), 2)
  alpha = np.asarray(transformation(jnp.asarray(grid, jnp.float32), vocab_size))
  first, last = (float(grid[np.argmin(np.abs(alpha - share))]) for share in ALPHAS)
  return first, last


def make(
  *, vocab_size: int, gammas: tuple[LogNoise, LogNoise] | None = None, **fields: object
) -> Duo:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    gammas: see `Duo`; by default where 0.95 and 0.05 of the tokens are kept.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and the other
      attributes of `Duo`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  fields["gammas"] = default_gammas(vocab_size) if gammas is None else gammas
  return resolve.build(Duo, {"vocab_size": vocab_size, **fields})
