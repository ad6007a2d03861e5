"""Noise schedules of continuous diffusion: gamma(t) = log(sigma^2 / alpha^2), the noise at `t`.

Time runs from 0 (data) to 1 (prior) and gamma rises from gamma(0) to gamma(1). In continuous time
the bound depends on these two ends alone (Kingma et al. 2021, "Variational diffusion models", eq.
18); what lies between decides its variance, and which noise levels training looks at.

A schedule is a frozen dataclass of pure functions on float32 arrays of any shape. `make` finds it
by its name in snake case without the suffix, so that a new class in this file is a new schedule. A
learned one gives its first parameters by `init`, is used after `bind`, and has a loss of its own,
`fit`.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import ranges, resolve
from dlm_jax.core.errors import UserError
from dlm_jax.core.types import Params
from dlm_jax.schedules import names


@dataclass(frozen=True)
class GammaSchedule:
  """The interface. Subclasses give `gamma`."""

  def gamma(self, t: Array) -> Array:
    """The noise at time `t`, increasing."""
    raise NotImplementedError

  def gamma_derivative(self, t: Array) -> Array:
    """d gamma / dt, above 0 and finite on all of [0, 1]."""
    return jax.jvp(self.gamma, (t,), (jnp.ones_like(t),))[1]


@dataclass(frozen=True)
class LearnedSchedule(GammaSchedule):
  """A schedule with parameters. `gamma` needs them bound."""

  params: Params | None = resolve.runtime()

  def init(self) -> Params:
    """The parameters before training."""
    raise NotImplementedError

  def bind(self, params: Params) -> Self:
    """This schedule with `params` in place."""
    return dataclasses.replace(self, params=params)

  def fit(self, t: Array, nats: Array, cross_entropy: Array) -> Array:
    """What the parameters minimise, `[B]`; its gradient reaches nothing else.

    Args:
      t: the times of the rows, `[B]`.
      nats: the rows' integrand of the bound at these times, nats a token `[B]`.
      cross_entropy: of the rows' tokens at these times, nats a token `[B]`.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class _Ends(GammaSchedule):
  """A schedule between two given ends."""

  gamma_min: ranges.LogNoise = -10.0
  gamma_max: ranges.LogNoise = 10.0

  def __post_init__(self) -> None:
    _require_increasing("gamma_min", self.gamma_min, "gamma_max", self.gamma_max)


@dataclass(frozen=True)
class LinearGamma(_Ends):
  """gamma = gamma_min + (gamma_max - gamma_min) t (VDM; the first state of Plaid's)."""

  def gamma(self, t: Array) -> Array:
    return self.gamma_min + (self.gamma_max - self.gamma_min) * t


@dataclass(frozen=True)
class CosineGamma(_Ends):
  """alpha = cos(pi/2 u) (Nichol and Dhariwal 2021), u running between the two ends."""

  def gamma(self, t: Array) -> Array:
    first, last = (math.atan(math.exp(g / 2)) for g in (self.gamma_min, self.gamma_max))
    return 2.0 * jnp.log(jnp.tan(first + (last - first) * t))


@dataclass(frozen=True)
class SqrtGamma(GammaSchedule):
  """alpha^2 = 1 - sqrt(u + offset) (Diffusion-LM, Li et al. 2022, section 4.3), up to gamma_max."""

  offset: ranges.ProperFraction = 1e-4
  gamma_max: ranges.LogNoise = 8.0

  def __post_init__(self) -> None:
    variance = math.sqrt(self.offset)
    _require_increasing("gamma(0)", math.log(variance / (1 - variance)), "max", self.gamma_max)

  def gamma(self, t: Array) -> Array:
    last = (1.0 + math.exp(-self.gamma_max)) ** -2
    variance = jnp.sqrt(self.offset + (last - self.offset) * t)
    return jnp.log(variance) - jnp.log1p(-variance)


@dataclass(frozen=True)
class EdmGamma(GammaSchedule):
  """Noise from noise_min to noise_max on data of size `scale` (EDM, Karras et al. 2022, eq. 5).

  sigma / alpha = (noise_min^(1/rho) + t (noise_max^(1/rho) - noise_min^(1/rho)))^rho / scale. With
  the defaults the times of CDCD (Dieleman et al. 2022, section 3.4): its embeddings have the size
  sqrt(256); ours, of unit size, need `scale` 16.
  """

  noise_min: ranges.Positive = 2.0
  noise_max: ranges.Positive = 300.0
  rho: ranges.AtLeastOne = 1.0
  scale: ranges.Positive = 16.0

  def __post_init__(self) -> None:
    _require_increasing("noise_min", self.noise_min, "noise_max", self.noise_max)

  def gamma(self, t: Array) -> Array:
    first, last = (noise ** (1.0 / self.rho) for noise in (self.noise_min, self.noise_max))
    return 2.0 * (self.rho * jnp.log(first + (last - first) * t) - math.log(self.scale))


@dataclass(frozen=True)
class LogitNormalGamma(GammaSchedule):
  """sigma / alpha = u / (1 - u), logit u ~ Normal(mean, std) (Esser et al. 2024, section 3.1).

  gamma is twice that logit. The tails beyond `cutoff` are cut off.
  """

  mean: ranges.LogNoise = 0.0
  std: ranges.Positive = 1.0
  cutoff: ranges.Tail = 1e-5

  def gamma(self, t: Array) -> Array:
    quantile = self.cutoff + (1.0 - 2.0 * self.cutoff) * t
    return 2.0 * (self.mean + self.std * jax.scipy.special.ndtri(quantile))


@dataclass(frozen=True)
class MonotoneGamma(LearnedSchedule, _Ends):
  """gamma_min + (gamma_max - gamma_min) u(t), u learned and monotone (Plaid; VDM, appendix H).

  u(t) = (f(t) - f(0)) / (f(1) - f(0)) with f(t) = t + sum of `bumps` learned sigmoids. The ends are
  learned with the bound, by its gradient. u does not change the bound but its variance, and is
  learned to make that small.

  With L = gamma' h(gamma) the integrand, E[L^2] is the integral of h^2 / p over gamma, p the
  density of gamma(t). So its gradient needs no derivative of h, and none of the network:
  E[(L^2 / gamma') (d gamma' - (gamma'' / gamma') d gamma)], d being the change with the parameters.
  """

  gamma_min: ranges.LogNoise = -3.0
  gamma_max: ranges.LogNoise = 6.0
  bumps: ranges.PositiveInt = 32

  def init(self) -> Params:
    return {
      "ends": jnp.float32([self.gamma_min, self.gamma_max]),
      "height": jnp.full(self.bumps, -3.0, jnp.float32),
      "slope": jnp.full(self.bumps, 2.0, jnp.float32),
      "place": (jnp.arange(self.bumps, dtype=jnp.float32) + 0.5) / self.bumps,
    }

  def gamma(self, t: Array) -> Array:
    first, last = self.params["ends"]
    return first + (last - first) * _interior(jax.lax.stop_gradient(self.params), t)

  def fit(self, t: Array, nats: Array, cross_entropy: Array) -> Array:
    del cross_entropy
    ends = jax.lax.stop_gradient(self.params["ends"])

    def gamma(t: Array) -> Array:
      return ends[0] + (ends[1] - ends[0]) * _interior(self.params, t)

    def slope(t: Array) -> Array:
      return jax.jvp(gamma, (t,), (jnp.ones_like(t),))[1]

    first, second = jax.jvp(slope, (t,), (jnp.ones_like(t),))
    fixed = jax.lax.stop_gradient
    return fixed(nats**2 / first) * (first - fixed(second / first) * gamma(t))


def _interior(params: Params, t: Array) -> Array:
  """u(t) of `MonotoneGamma`: rises from 0 to 1."""

  def f(t: Array) -> Array:
    rise = jax.nn.sigmoid(jnp.exp(params["slope"]) * (t[..., None] - params["place"]))
    return t + jnp.sum(jax.nn.softplus(params["height"]) * rise, axis=-1)

  first, last = f(jnp.zeros(())), f(jnp.ones(()))
  return (f(t) - first) / (last - first)


@dataclass(frozen=True)
class GumbelGamma(LearnedSchedule):
  """gamma ~ Gumbel(location, scale), so that the information lost is uniform in t (LangFlow 2026).

  The cross-entropy at gamma is modelled as H exp(-exp(-(gamma - location) / scale)), fitted by
  least squares; gamma(t) is the quantile of that curve. The defaults are the paper's first values,
  for rows of size sqrt(768) and 50k tokens. The tails beyond `cutoff` are cut off.
  """

  location: ranges.LogNoise = 4.723
  scale: ranges.Positive = 0.852
  entropy: ranges.Positive = 10.8
  cutoff: ranges.Tail = 1e-5

  def init(self) -> Params:
    return {
      "location": jnp.float32(self.location),
      "log_scale": jnp.log(jnp.float32(self.scale)),
      "log_entropy": jnp.log(jnp.float32(self.entropy)),
    }

  def gamma(self, t: Array) -> Array:
    params = jax.lax.stop_gradient(self.params)
    # -log of the quantile, written so that it keeps its digits where the quantile is close to 1.
    exponent = -jnp.log1p(-(self.cutoff + (1.0 - 2.0 * self.cutoff) * (1.0 - t)))
    return params["location"] - jnp.exp(params["log_scale"]) * jnp.log(exponent)

  def fit(self, t: Array, nats: Array, cross_entropy: Array) -> Array:
    del nats
    params = self.params
    distance = (self.gamma(t) - params["location"]) / jnp.exp(params["log_scale"])
    curve = jnp.exp(params["log_entropy"] - jnp.exp(-distance))
    return (curve - jax.lax.stop_gradient(cross_entropy)) ** 2


@dataclass(frozen=True)
class WarpedGamma(LearnedSchedule, _Ends):
  """Time warping (CDCD, Dieleman et al. 2022, section 3.3): cross-entropy rises linearly in t.

  The cross-entropy at gamma is modelled as a piecewise linear curve over `bins` equal pieces of
  [gamma_min, gamma_max], fitted by least squares; gamma(t) is the inverse of that curve. `floor` is
  the part of the times that stays spread evenly over gamma. `entropy` is the curve's first height.
  """

  gamma_min: ranges.LogNoise = -4.16
  gamma_max: ranges.LogNoise = 5.86
  bins: ranges.PositiveInt = 100
  floor: ranges.Probability = 0.05
  entropy: ranges.Positive = 10.8

  @property
  def _edges(self) -> Array:
    return jnp.linspace(self.gamma_min, self.gamma_max, self.bins + 1)

  def init(self) -> Params:
    return {"log_rise": jnp.full(self.bins, math.log(self.entropy / self.bins), jnp.float32)}

  def gamma(self, t: Array) -> Array:
    share = jax.nn.softmax(jax.lax.stop_gradient(self.params["log_rise"]))
    share = self.floor / self.bins + (1.0 - self.floor) * share
    reached = _from_zero(share)
    return jnp.interp(t, reached / reached[-1], self._edges)

  def fit(self, t: Array, nats: Array, cross_entropy: Array) -> Array:
    del nats
    curve = _from_zero(jnp.exp(self.params["log_rise"]))
    fitted = jnp.interp(self.gamma(t), self._edges, curve)
    return (fitted - jax.lax.stop_gradient(cross_entropy)) ** 2


def _from_zero(parts: Array) -> Array:
  """The running sum of `parts` [K], starting with 0: `[K + 1]`."""
  return jnp.concatenate([jnp.zeros(1), jnp.cumsum(parts)])


def _require_increasing(low_name: str, low: float, high_name: str, high: float) -> None:
  if not low < high:
    raise UserError(f"a gamma schedule needs {low_name} < {high_name}, got {low} and {high}.")


def classes() -> dict[str, type[GammaSchedule]]:
  """The schedules of this file by name: `LogitNormalGamma` is `logit_normal`."""
  hidden = (LearnedSchedule, _Ends)
  return names.by_name(globals(), GammaSchedule, hidden, suffix="Gamma")


def make(config: object) -> GammaSchedule:
  """Builds the schedule that a config such as `{"name": "linear", "gamma_min": -5.0}` describes.

  Raises:
    UserError: the name or a field is unknown, or a value is out of range.
  """
  return names.build("gamma schedule", config, classes())
