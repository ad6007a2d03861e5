"""What uniform and hybrid noise share: a token is kept, or replaced by a draw from a fixed prior.

  q(z_t | x) = alpha(t) x + (1 - alpha(t)) pi,    pi = p_u uniform + (1 - p_u) mask

Everything follows from this (GIDD, von Rutte et al. 2025; for p_u = 1 UDLM, Schiff et al. 2024).
The network predicts x from the other positions, p(x_i | z without z_i): the noisy token itself
enters through Bayes' rule, with q known. So a prediction is never certain of what it sees.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.soft_tokens import SoftTokens
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.schedules.alpha_schedules import TINY, Schedule


class Level(NamedTuple):
  """How much is left of the tokens at some time: floats, or arrays that broadcast to `[B, L]`."""

  alpha: Array  # the fraction that is kept, above 0
  noise: Array  # the fraction that is not
  rate: Array  # how often a token is replaced a unit of time


@dataclass(frozen=True, kw_only=True)
class Mixture(Process):
  """The maths. Each process that derives from it says what p_u is.

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

  def alpha(self, t: Array) -> Array:
    """The fraction of tokens kept at time t."""
    first, last = self._ends()
    return (self.schedule.alpha(t) - last) / (first - last)

  def noised(self, t: Array) -> Array:
    """1 - alpha(t): the fraction replaced at time t, with all its digits near t = 0."""
    one_minus = self.schedule.one_minus_alpha
    start, end = one_minus(jnp.float32(0.0)), one_minus(jnp.float32(1.0))
    return (one_minus(t) - start) / (end - start)

  def rate(self, t: Array) -> Array:
    """-alpha'(t) / alpha(t): how often a token is replaced, finite at t = 1 too."""
    first, last = self._ends()
    slope = -self.schedule.alpha_derivative(t) / (first - last)
    return slope / jnp.maximum(self.alpha(t), TINY)

  def _ends(self) -> tuple[Array, Array]:
    return self.schedule.alpha(jnp.float32(0.0)), self.schedule.alpha(jnp.float32(1.0))

  def prior_prob(self, z: Array) -> Array:
    """pi(z)."""
    each_token = self.uniform_fraction / self.vocab_size
    return jnp.where(z == self.vocab_size, 1.0 - self.uniform_fraction, each_token)

  # The contract of `Process`.

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    kind_key, token_key = draws.split_rows(key, shape[0], 2)
    draw = jax.vmap(lambda k: jax.random.randint(k, shape[1:], 0, self.vocab_size))
    masked = draws.row_uniform(kind_key, shape) >= self.uniform_fraction
    return jnp.where(masked, self.vocab_size, draw(token_key))

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    keep_key, noise_key = draws.split_rows(key, x.shape[0], 2)
    noised = draws.row_uniform(keep_key, x.shape) < self.noised(base.per_position(t))
    return jnp.where(noised & base.free(given, x.shape), self.prior(noise_key, x.shape), x)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """log p(x_i | z without z_i), see above."""
    del z, t
    return Prediction(jax.nn.log_softmax(output.astype(jnp.float32)))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """GIDD, theorem 1: pi(z) rate / q(z | x) (KL(q(. | x) || q(. | x-hat)) + IS(q(z | x), ...)).

    For p_u = 1 it equals UDLM's integrand (eq. 18) and Duo's (Sahoo et al. 2025) draw by draw; like
    the latter it holds no one-hot `[B, L, V]`.
    """
    z = self.corrupt(key, x, t, given)
    t_BL = base.per_position(t)
    alpha = jnp.maximum(self.alpha(t_BL), TINY)
    level = Level(alpha, self.noised(t_BL), self.rate(t_BL))
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
    alpha, noise, rate = (jnp.broadcast_to(a, x.shape) for a in level)
    where, operands = base.free(given, x.shape), (x, z, alpha, noise)
    divergence = base.score_positions(denoise, *inputs, self._divergence, operands, where)
    pi = self.prior_prob(z)
    # pi / q(z | x), in which pi cancels where z is noise; not so where it is or may be the token.
    inverse = jnp.where(z == x, pi / (alpha + noise * pi), 1.0 / jnp.maximum(noise, TINY))
    return rate * inverse * divergence

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Draws from q(z_s | z_t, x := x-hat), a mixture of three: z_t itself, x-hat and the prior.

    q(z_s | z_t, x) is q(z_t | z_s) q(z_s | x) / q(z_t | x), and q(z_t | z_s) is alpha_t / alpha_s
    for a token kept and pi(z_t) times the rest for any that was replaced (UDLM, eq. 15). Which of
    the three, and which token, are separate draws, each in float32.
    """
    choice_key, token_key, prior_key = draws.split_rows(key, z.shape[0], 3)
    log_p = prediction.log_probs
    t, s = base.per_position(t), base.per_position(s)
    alpha_s = jnp.maximum(self.alpha(s), TINY)
    kept, pi = self.alpha(t) / alpha_s, self.prior_prob(z)
    stays = kept * (alpha_s * jnp.exp(self._at(log_p, z)) + self.noised(s) * pi)
    replaced = (self.noised(t) - self.noised(s)) / alpha_s * pi
    u = draws.row_uniform(choice_key, z.shape) * (stays + replaced)
    token = draws.row_categorical(token_key, log_p)
    drawn = jnp.where(u < replaced * self.noised(s), self.prior(prior_key, z.shape), token)
    return jnp.where((u < replaced) & base.free(given, z.shape), drawn, z)

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log q(z_s | z_t, x := x-hat) `[B, L, states]`, of which `reverse` draws, as a whole."""
    alpha_t, noise_t = self.alpha(base.per_position(t)), self.noised(base.per_position(t))
    alpha_s, noise_s = self.alpha(base.per_position(s)), self.noised(base.per_position(s))
    states = jnp.arange(self.num_embeddings)
    replaced = ((noise_t - noise_s) * self.prior_prob(z))[..., None]
    forward = alpha_t[..., None] * (states == z[..., None]) + replaced  # times alpha_s
    at_s = self._noised_prediction(prediction.log_probs, alpha_s, noise_s)
    return jax.nn.log_softmax(jnp.log(forward) + jnp.log(at_s))

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each state y but z, `[B, L, states]`, -inf to z itself: the rate
    at which noise goes from y to z, rate(t) pi(z), times q(y | x-hat) / q(z | x-hat)."""
    t = base.per_position(t)
    alpha = jnp.maximum(self.alpha(t), TINY)
    log_q = jnp.log(self._noised_prediction(prediction.log_probs, alpha, self.noised(t)))
    at_z = jnp.maximum(jnp.take_along_axis(log_q, z[..., None], axis=-1), jnp.log(TINY))
    log_rate = jnp.log(self.rate(t) * self.prior_prob(z))[..., None]
    is_z = jnp.arange(self.num_embeddings) == z[..., None]
    return jnp.where(is_z, -jnp.inf, log_rate + log_q - at_z)

  def _noised_prediction(self, log_p: Array, alpha: Array, noise: Array) -> Array:
    """q(. | x-hat) = alpha x-hat + noise pi, `[B, L, states]`."""
    beyond = self.num_embeddings - self.vocab_size  # the mask is never predicted
    p = jnp.pad(jnp.exp(log_p), ((0, 0), (0, 0), (0, beyond)))
    pi = self.prior_prob(jnp.arange(self.num_embeddings))
    return alpha[..., None] * p + noise[..., None] * pi

  def _at(self, log_p: Array, z: Array) -> Array:
    """log p(x = z) `[...]`, and -inf where z is the mask."""
    index = jnp.minimum(z, self.vocab_size - 1)[..., None]
    picked = jnp.take_along_axis(log_p, index, axis=-1)[..., 0]
    return jnp.where(z == self.vocab_size, -jnp.inf, picked)

  def _divergence(self, output: Array, x: Array, z: Array, alpha: Array, noise: Array) -> Array:
    """KL(q(. | x) || q(. | x-hat)) + v - 1 - log v with v = q(z | x) / q(z | x-hat), `[...]`.

    Both vanish like alpha^2 near t = 1, where `nelbo` divides by alpha. So the first is summed as
    q (u - 1 - log u), whose terms are positive, and each with as many digits as its size allows.
    """
    log_p = jax.nn.log_softmax(output.astype(jnp.float32))
    log_p_x, log_p_z = self._at(log_p, x), self._at(log_p, z)
    floor = noise * self.uniform_fraction / self.vocab_size  # what noise adds to every token
    safe_floor = jnp.maximum(floor, TINY)

    gain = alpha[..., None] * jnp.exp(log_p)
    terms = gain - floor[..., None] * jnp.log1p(gain / safe_floor[..., None])
    is_x = jnp.arange(self.vocab_size) == x[..., None]  # a comparison inside the sum, never stored
    others = jnp.sum(jnp.where(is_x, 0.0, terms), axis=-1)

    missing = -alpha * jnp.expm1(log_p_x)  # alpha (1 - p(x))
    at_x = -missing - (alpha + floor) * _log_ratio(missing, alpha, floor, log_p_x)

    wrong = alpha * jnp.exp(log_p_z) / safe_floor
    noisy = jnp.log1p(wrong) - wrong / (1.0 + wrong)
    lacking = -alpha * jnp.expm1(log_p_z) / jnp.maximum(alpha * jnp.exp(log_p_z) + floor, TINY)
    return others + at_x + jnp.where(z == x, lacking - jnp.log1p(lacking), noisy)


def _log_ratio(missing: Array, alpha: Array, floor: Array, log_p: Array) -> Array:
  """log((alpha p + floor) / (alpha + floor)), where `missing` is alpha (1 - p)."""
  fraction = missing / (alpha + floor)
  small = fraction < 0.5
  direct = jnp.logaddexp(jnp.log(alpha) + log_p, jnp.log(floor))
  direct -= jnp.log(alpha + floor)
  return jnp.where(small, jnp.log1p(-jnp.where(small, fraction, 0.0)), direct)
