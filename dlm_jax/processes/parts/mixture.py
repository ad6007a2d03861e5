"""What uniform, hybrid and GIDD's noise share: a token is kept, or replaced by a mask or any token.

  q(z_t | x) = alpha(t) x + (1 - alpha(t)) pi_t,    pi_t = p_u(t) uniform + (1 - p_u(t)) mask

Everything follows from this (GIDD, von Rutte et al. 2025; for p_u = 1 UDLM, Schiff et al. 2024).
Which noise it is, is a `Level` at each time: by default that of one p_u at all times.
The network predicts x from the other positions, p(x_i | z without z_i): the noisy token itself
enters through Bayes' rule, with q known. So a prediction is never certain of what it sees.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.entries import at_token
from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.schedules.alpha_schedules import TINY, Schedule


class Level(NamedTuple):
  """The noise of some time: floats, or arrays that broadcast to `[B, L]`."""

  alpha: Array  # the fraction of tokens that is kept
  noise: Array  # the fraction that is not
  p_u: Array | float  # the share of uniform tokens in the noise; the rest is the mask
  uniform_rate: Array  # how often a token is replaced by a uniform one a unit of time
  mask_rate: Array  # how often it is masked

  @classmethod
  def constant(cls, alpha: Array, noise: Array, rate: Array, p_u: float) -> "Level":
    """That of a mixture which is the same at all times; `rate` is -alpha' / alpha."""
    return cls(alpha, noise, p_u, rate * p_u, rate * (1.0 - p_u))


@dataclass(frozen=True, kw_only=True)
class Mixture(Process):
  """The maths. Each process that derives from it says what p_u is, or what `level` is.

  Attributes:
    vocab_size: V, the tokens 0..V-1; the mask, where there is one, is V.
    schedule: alpha(t). Where its ends fall short of 1 and 0 it is stretched, so that t = 0 is the
      data and t = 1 the prior exactly and the bound has no constants.
  """

  schedule: Schedule

  @property
  def coupled(self) -> bool:
    return True

  @property
  def uniform_fraction(self) -> float:
    """p_u: the share of uniform tokens in the noise; the rest is the mask."""
    raise NotImplementedError

  def sigma(self, t: Array) -> Array:
    """-log alpha(t) of the schedule, as a network may be given it."""
    return self.schedule.sigma(t)

  # The signal, stretched over [0, 1].

  def signal(self, t: Array) -> Array:
    """What the schedule leaves at time t, 1 at t = 0 and 0 at t = 1."""
    first, last = self._ends()
    return (self.schedule.alpha(t) - last) / (first - last)

  def lost(self, t: Array) -> Array:
    """1 - signal(t), with all its digits near t = 0."""
    one_minus = self.schedule.one_minus_alpha
    start, end = one_minus(jnp.float32(0.0)), one_minus(jnp.float32(1.0))
    return (one_minus(t) - start) / (end - start)

  def rate(self, t: Array) -> Array:
    """-signal'(t) / signal(t), finite at t = 1 too."""
    first, last = self._ends()
    slope = -self.schedule.alpha_derivative(t) / (first - last)
    return slope / jnp.maximum(self.signal(t), TINY)

  def _ends(self) -> tuple[Array, Array]:
    return self.schedule.alpha(jnp.float32(0.0)), self.schedule.alpha(jnp.float32(1.0))

  # The noise.

  def level(self, t: Array) -> Level:
    """The noise at time t."""
    return Level.constant(self.signal(t), self.lost(t), self.rate(t), self.uniform_fraction)

  def alpha(self, t: Array) -> Array:
    """The fraction of tokens kept at time t."""
    return self.level(t).alpha

  def noised(self, t: Array) -> Array:
    """1 - alpha(t): the fraction replaced at time t, with all its digits near t = 0."""
    return self.level(t).noise

  def noise(self, key: Array, shape: tuple[int, ...], t: Array) -> Array:
    """Draws of pi_t `[B, L]`: what tokens are replaced by, if they are."""
    kind_key, token_key = draws.split_rows(key, shape[0], 2)
    draw = jax.vmap(lambda k: jax.random.randint(k, shape[1:], 0, self.vocab_size))
    masked = draws.row_uniform(kind_key, shape) >= self.level(base.per_position(t)).p_u
    return jnp.where(masked, self.vocab_size, draw(token_key))

  def noise_prob(self, z: Array, p_u: Array | float) -> Array:
    """pi(z), where the share of uniform tokens is `p_u`."""
    return jnp.where(z == self.vocab_size, 1.0 - p_u, p_u / self.vocab_size)

  # The contract of `Process`.

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    return self.noise(key, shape, jnp.ones(shape[0]))

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    keep_key, noise_key = draws.split_rows(key, x.shape[0], 2)
    noised = draws.row_uniform(keep_key, x.shape) < self.noised(base.per_position(t))
    return jnp.where(noised & base.free(given, x.shape), self.noise(noise_key, x.shape, t), x)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """log p(x_i | z without z_i), see above."""
    del z, t
    return Prediction(jax.nn.log_softmax(output.astype(jnp.float32)))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """GIDD, theorem 1: r(z) / q(z | x) (KL(q(. | x) || q(. | x-hat)) + IS(q(z | x), ...)), r(z)
    being the rate at which tokens are replaced by z.

    For p_u = 1 it equals UDLM's integrand (eq. 18) and Duo's (Sahoo et al. 2025) draw by draw; like
    the latter it holds no one-hot `[B, L, V]`.
    """
    z = self.corrupt(key, x, t, given)
    level = self.level(base.per_position(t))
    return self.integrand(denoise, (z, t), x, z, level, given)

  def integrand(
    self,
    denoise: base.Denoise,
    inputs: tuple[Array | SoftTokens, Array],
    x: Array,
    z: Array,
    level: Level,
    given: Array | None,
  ) -> Array:
    """The integrand of `nelbo`, `[B, L]`, at the state `z` `[B, L]` of the noise `level`.

    `inputs` is the state and the time that the network receives.
    """
    return self.bound_weight(x, z, level) * self.divergence(denoise, inputs, x, z, level, given)

  def bound_weight(self, x: Array, z: Array, level: Level) -> Array:
    """r(z) / q(z | x) `[B, L]`: what the bound weighs the divergence by."""
    each_token = level.uniform_rate / self.vocab_size
    rate = jnp.where(z == self.vocab_size, level.mask_rate, each_token)
    noise = level.noise * self.noise_prob(z, level.p_u)
    q = jnp.where(z == x, jnp.maximum(level.alpha, TINY) + noise, jnp.maximum(noise, TINY))
    return rate / q

  def divergence(
    self,
    denoise: base.Denoise,
    inputs: tuple[Array | SoftTokens, Array],
    x: Array,
    z: Array,
    level: Level,
    given: Array | None,
  ) -> Array:
    """KL(q(. | x) || q(. | x-hat)) + IS(q(z | x), q(z | x-hat)), `[B, L]`, 0 at given positions."""
    alpha = jnp.broadcast_to(jnp.maximum(level.alpha, TINY), x.shape)
    floor = jnp.broadcast_to(level.noise * level.p_u / self.vocab_size, x.shape)
    where = base.free(given, x.shape)
    return base.score_positions(denoise, *inputs, self._divergence, (x, z, alpha, floor), where)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Draws from q(z_s | z_t, x := x-hat), a mixture of three: z_t itself, x-hat and the noise.

    q(z_s | z_t, x) is q(z_t | z_s) q(z_s | x) / q(z_t | x), and q(z_t | z_s) is alpha_t / alpha_s
    for a token kept and the same for any that was replaced (UDLM, eq. 15; GIDD, eq. 6). Which of
    the three, and which token, are separate draws, each in float32.
    """
    choice_key, token_key, noise_key = draws.split_rows(key, z.shape[0], 3)
    log_p = prediction.log_probs
    level = self.level(base.per_position(s))
    kept, replaced = self._step(z, t, s)
    at_s = level.alpha * jnp.exp(self._at(log_p, z))
    at_s += level.noise * self.noise_prob(z, level.p_u)
    u = draws.row_uniform(choice_key, z.shape) * (kept * at_s + replaced)
    token = draws.row_categorical(token_key, log_p)
    drawn = jnp.where(u < replaced * level.noise, self.noise(noise_key, z.shape, s), token)
    return jnp.where((u < replaced) & base.free(given, z.shape), drawn, z)

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log q(z_s | z_t, x := x-hat) `[B, L, states]`, of which `reverse` draws, as a whole."""
    kept, replaced = self._step(z, t, s)
    states = jnp.arange(self.num_embeddings)
    forward = kept[..., None] * (states == z[..., None]) + replaced[..., None]
    at_s = self._noised_prediction(prediction.log_probs, self.level(base.per_position(s)))
    return jax.nn.log_softmax(jnp.log(forward) + jnp.log(at_s))

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each state y but z, `[B, L, states]`, -inf to z itself: the rate
    at which noise goes from y to z times q(y | x-hat) / q(z | x-hat)."""
    level = self.level(base.per_position(t))
    level = level._replace(alpha=jnp.maximum(level.alpha, TINY))
    log_q = jnp.log(self._noised_prediction(prediction.log_probs, level))
    at_z = jnp.maximum(jnp.take_along_axis(log_q, z[..., None], axis=-1), jnp.log(TINY))
    each_token = level.uniform_rate / self.vocab_size
    log_rate = jnp.log(jnp.where(z == self.vocab_size, level.mask_rate, each_token))[..., None]
    is_z = jnp.arange(self.num_embeddings) == z[..., None]
    return jnp.where(is_z, -jnp.inf, log_rate + log_q - at_z)

  def _step(self, z: Array, t: Array, s: Array) -> tuple[Array, Array]:
    """q(z_t | z_s): the probability that z_s is kept, and that it is replaced by `z` `[B, L]`."""
    at_t, at_s = self.level(base.per_position(t)), self.level(base.per_position(s))
    kept = at_t.alpha / jnp.maximum(at_s.alpha, TINY)
    noise_t, noise_s = (each.noise * self.noise_prob(z, each.p_u) for each in (at_t, at_s))
    return kept, jnp.maximum(noise_t - kept * noise_s, 0.0)

  def _noised_prediction(self, log_p: Array, level: Level) -> Array:
    """q(. | x-hat) = alpha x-hat + noise pi, `[B, L, states]`."""
    beyond = self.num_embeddings - self.vocab_size  # the mask is never predicted
    p = jnp.pad(jnp.exp(log_p), ((0, 0), (0, 0), (0, beyond)))
    alpha, noise, p_u = (jnp.asarray(a)[..., None] for a in level[:3])
    return alpha * p + noise * self.noise_prob(jnp.arange(self.num_embeddings), p_u)

  def _at(self, log_p: Array, z: Array) -> Array:
    """log p(x = z) `[...]`, and -inf where z is the mask."""
    picked = at_token(log_p, z)
    return jnp.where(z == self.vocab_size, -jnp.inf, picked)

  def _divergence(self, output: Array, x: Array, z: Array, alpha: Array, floor: Array) -> Array:
    """KL(q(. | x) || q(. | x-hat)) + v - 1 - log v with v = q(z | x) / q(z | x-hat), `[...]`.

    `floor` is what noise adds to every token. Both vanish like alpha^2 near t = 1, where `nelbo`
    divides by alpha. So the first is summed as q (u - 1 - log u), whose terms are positive, and
    each with as many digits as its size allows.
    """
    log_p = jax.nn.log_softmax(output.astype(jnp.float32))
    log_p_x, log_p_z = self._at(log_p, x), self._at(log_p, z)
    safe_floor = jnp.maximum(floor, TINY)

    gain = alpha[..., None] * jnp.exp(log_p)
    terms = gain - floor[..., None] * jnp.log1p(gain / safe_floor[..., None])
    is_x = jnp.arange(self.vocab_size) == x[..., None]  # a comparison inside the sum, never stored
    others = jnp.sum(jnp.where(is_x, 0.0, terms), axis=-1)

    missing = -alpha * jnp.expm1(log_p_x)  # alpha (1 - p(x))
    at_x = -missing - (alpha + floor) * log_ratio(missing, alpha, floor, log_p_x)

    wrong = alpha * jnp.exp(log_p_z) / safe_floor
    noisy = jnp.log1p(wrong) - wrong / (1.0 + wrong)
    lacking = -alpha * jnp.expm1(log_p_z) / jnp.maximum(alpha * jnp.exp(log_p_z) + floor, TINY)
    return others + at_x + jnp.where(z == x, lacking - jnp.log1p(lacking), noisy)


def log_ratio(missing: Array, alpha: Array, floor: Array, log_p: Array) -> Array:
  """log((alpha p + floor) / (alpha + floor)), where `missing` is alpha (1 - p)."""
  fraction = missing / (alpha + floor)
  small = fraction < 0.5
  direct = jnp.logaddexp(jnp.log(alpha) + log_p, jnp.log(floor))
  direct -= jnp.log(alpha + floor)
  return jnp.where(small, jnp.log1p(-jnp.where(small, fraction, 0.0)), direct)
