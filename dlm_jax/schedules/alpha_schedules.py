"""Noise schedules: how much of the signal, `alpha(t)`, is left at time `t`.

Time runs from 0 (data) to 1 (prior) and `alpha` falls from 1 to 0. Two schedules of the papers stop
just short of their ends (`Geometric`, `LogLinear`); a process that needs the ends stretches them.

A schedule is a frozen dataclass of pure functions on float32 arrays of any shape. `make` finds it
by its name in snake case, so that a new class in this file is a new schedule.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Fraction, Positive
from dlm_jax.schedules import names

# Stands for t = 0 where a power or logarithm of t has no finite value there.
TINY = 1e-30
# The signal that sigma = -log alpha counts at t = 1, where it would be infinite: MDLM, UDLM and Duo
# give their networks the sigma of a schedule that ends there.
LEAST_SIGNAL = 1e-3


@dataclass(frozen=True)
class Schedule:
  """The interface. Subclasses give `alpha`, `alpha_derivative` and `inverse` in closed form."""

  def alpha(self, t: Array) -> Array:
    """The signal kept at time `t`, decreasing."""
    raise NotImplementedError

  def alpha_derivative(self, t: Array) -> Array:
    """d alpha / dt, at most 0 and finite on all of [0, 1]."""
    raise NotImplementedError

  def inverse(self, alpha: Array) -> Array:
    """The time in [0, 1] at which the signal is `alpha`."""
    raise NotImplementedError

  def one_minus_alpha(self, t: Array) -> Array:
    """1 - alpha(t). Subclasses override it where the subtraction would lose digits near t = 0."""
    return 1.0 - self.alpha(t)

  def sigma(self, t: Array) -> Array:
    """-log alpha(t), finite: where alpha falls to 0, that of the schedule that ends at 1e-3."""
    return -jnp.log1p(-(1.0 - LEAST_SIGNAL) * self.one_minus_alpha(t))


@dataclass(frozen=True)
class Linear(Schedule):
  """alpha = 1 - t (MDLM, MD4, LLaDA)."""

  def alpha(self, t: Array) -> Array:
    return 1.0 - t

  def alpha_derivative(self, t: Array) -> Array:
    return -jnp.ones_like(t)

  def inverse(self, alpha: Array) -> Array:
    return 1.0 - alpha

  def one_minus_alpha(self, t: Array) -> Array:
    return jnp.asarray(t)


@dataclass(frozen=True)
class Cosine(Schedule):
  """alpha = 1 - cos(pi/2 (1 - t)) (MD4, table 4), written with half angles to keep its digits."""

  def alpha(self, t: Array) -> Array:
    return 2.0 * jnp.sin(math.pi / 4 * (1.0 - t)) ** 2

  def alpha_derivative(self, t: Array) -> Array:
    return -math.pi / 2 * jnp.sin(math.pi / 2 * (1.0 - t))

  def inverse(self, alpha: Array) -> Array:
    return 1.0 - 4.0 / math.pi * jnp.arcsin(jnp.sqrt(alpha / 2))

  def one_minus_alpha(self, t: Array) -> Array:
    return jnp.sin(math.pi / 2 * t)


@dataclass(frozen=True)
class CosineSquared(Schedule):
  """alpha = cos(pi/2 t)^2 (MDLM, appendix)."""

  def alpha(self, t: Array) -> Array:
    return jnp.sin(math.pi / 2 * (1.0 - t)) ** 2

  def alpha_derivative(self, t: Array) -> Array:
    return -math.pi * jnp.sin(math.pi / 2 * t) * jnp.sin(math.pi / 2 * (1.0 - t))

  def inverse(self, alpha: Array) -> Array:
    return 2.0 / math.pi * jnp.arctan2(jnp.sqrt(1.0 - alpha), jnp.sqrt(alpha))

  def one_minus_alpha(self, t: Array) -> Array:
    return jnp.sin(math.pi / 2 * t) ** 2


@dataclass(frozen=True)
class Polynomial(Schedule):
  """alpha = 1 - t^exponent (MD4, table 4). Below exponent 1 the slope at t = 0 is infinite: it is
  evaluated at t = 1e-30 there."""

  exponent: Positive = 2.0

  def alpha(self, t: Array) -> Array:
    return -jnp.expm1(self.exponent * jnp.log(jnp.maximum(t, TINY)))

  def alpha_derivative(self, t: Array) -> Array:
    return -self.exponent * jnp.maximum(t, TINY) ** (self.exponent - 1.0)

  def inverse(self, alpha: Array) -> Array:
    return jnp.exp(jnp.log1p(-alpha) / self.exponent)

  def one_minus_alpha(self, t: Array) -> Array:
    return jnp.maximum(t, 0.0) ** self.exponent


@dataclass(frozen=True)
class SquareRoot(Polynomial):
  """alpha = 1 - sqrt(t) (MDLM, appendix)."""

  exponent: Positive = 0.5


@dataclass(frozen=True)
class Log2(Schedule):
  """alpha = 1 - log2(1 + t)."""

  def alpha(self, t: Array) -> Array:
    return -jnp.log1p((t - 1.0) / 2) / math.log(2)

  def alpha_derivative(self, t: Array) -> Array:
    return -1.0 / (math.log(2) * (1.0 + t))

  def inverse(self, alpha: Array) -> Array:
    return jnp.expm1(math.log(2) * (1.0 - alpha))

  def one_minus_alpha(self, t: Array) -> Array:
    return jnp.log1p(t) / math.log(2)


@dataclass(frozen=True)
class Geometric(Schedule):
  """alpha = exp(-sigma), sigma = sigma_min^(1-t) sigma_max^t (SEDD, section 5).

  Its ends are alpha(0) = exp(-sigma_min) and alpha(1) = exp(-sigma_max), close to 1 and 0.
  """

  sigma_min: Positive = 1e-4
  sigma_max: Positive = 20.0

  def __post_init__(self) -> None:
    if not self.sigma_min < self.sigma_max:
      raise UserError(
        "a geometric schedule needs sigma_min < sigma_max, "
        f"got {self.sigma_min} and {self.sigma_max}."
      )

  @property
  def _log_ratio(self) -> float:
    return math.log(self.sigma_max / self.sigma_min)

  def sigma(self, t: Array) -> Array:
    return self.sigma_min * jnp.exp(self._log_ratio * t)

  def alpha(self, t: Array) -> Array:
    return jnp.exp(-self.sigma(t))

  def alpha_derivative(self, t: Array) -> Array:
    sigma = self.sigma(t)
    return -self._log_ratio * sigma * jnp.exp(-sigma)

  def inverse(self, alpha: Array) -> Array:
    sigma = jnp.clip(-jnp.log(alpha), self.sigma_min, self.sigma_max)
    return jnp.log(sigma / self.sigma_min) / self._log_ratio

  def one_minus_alpha(self, t: Array) -> Array:
    return -jnp.expm1(-self.sigma(t))


@dataclass(frozen=True)
class LogLinear(Schedule):
  """alpha = exp(-sigma), sigma = -log(1 - (1 - epsilon) t): linear down to epsilon (SEDD, MDLM)."""

  epsilon: Fraction = 1e-3

  def alpha(self, t: Array) -> Array:
    return (1.0 - t) + self.epsilon * t

  def alpha_derivative(self, t: Array) -> Array:
    return -(1.0 - self.epsilon) * jnp.ones_like(t)

  def inverse(self, alpha: Array) -> Array:
    return jnp.clip((1.0 - alpha) / (1.0 - self.epsilon), 0.0, 1.0)

  def one_minus_alpha(self, t: Array) -> Array:
    return (1.0 - self.epsilon) * t

  def sigma(self, t: Array) -> Array:
    return -jnp.log1p(-(1.0 - max(self.epsilon, LEAST_SIGNAL)) * t)


def classes() -> dict[str, type[Schedule]]:
  """The schedules of this file by name: `CosineSquared` is `cosine_squared`."""
  return names.by_name(globals(), Schedule)


def make(config: object) -> Schedule:
  """Builds the schedule that a config such as `{"name": "polynomial", "exponent": 3.0}` describes.

  Raises:
    UserError: the name or a field is unknown, or a value is out of range.
  """
  return names.build("schedule", config, classes())
