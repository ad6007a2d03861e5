"""Absorbing diffusion in which each token has a schedule of its own, and learns it.

GenMD4 (Shi et al. 2024, section 6): token v is masked by time t with probability t^{w_v}. Tokens of
a large w stay hidden for long when the noise is reversed, so that the order in which kinds of
tokens are revealed follows the data. That a token is still masked then says something about it: the
prediction depends on the time, so give it to the network (`network.time_conditioned`).
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import UserError
from dlm_jax.core.ranges import Fraction
from dlm_jax.core.types import Params
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts.outside_mask import OutsideMask
from dlm_jax.processes.parts.substitution import certain_elsewhere, substituted
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True, kw_only=True)
class GeneralizedAbsorbing(OutsideMask):
  """The process. Build it with `make`; what it learns is put in place by `bind`.

  Attributes:
    vocab_size: V, the columns of the network's output; the mask is V, outside the data.
    schedule: of all tokens before training.
    start: the bound integrates over [start, 1], because its variance near t = 0 knows no limit
      where a w is at most 1. What is masked at `start` is reconstructed as Bayes' rule has it
      without its neighbours; samplers ask the network to the end.
    learned: w, `[V]`; None before `bind`.
  """

  schedule: alpha_schedules.Polynomial
  start: Fraction = 1e-4
  learned: Array | None = resolve.runtime()

  def __post_init__(self) -> None:
    if not isinstance(self.schedule, alpha_schedules.Polynomial):
      raise UserError(
        "process.schedule is where the learned exponents begin: set its name to 'polynomial', "
        f"got {type(self.schedule).__name__}."
      )

  @property
  def scored_share(self) -> float:
    """Before training: the mean of t^w."""
    return 1.0 / (1.0 + self.schedule.exponent)

  @property
  def exponents(self) -> Array:
    """w, `[V]`: where nothing is learned yet, that of the schedule for all."""
    if self.learned is None:
      return jnp.full(self.vocab_size, self.schedule.exponent)
    return self.learned

  def init(self, key: Array) -> Params:
    """The first parameters: w is the softplus of them."""
    del key
    first = math.log(math.expm1(self.schedule.exponent))
    return {"schedule": {"exponents": jnp.full(self.vocab_size, first)}}

  def bind(self, params: Params) -> Self:
    """The process with `params` in place."""
    return dataclasses.replace(self, learned=jax.nn.softplus(params["schedule"]["exponents"]))

  def masked_probability(self, x: Array, t: Array) -> Array:
    """The probability t^{w_x} that a token `x` is masked at time t."""
    masked = jnp.exp(self.exponents[x] * jnp.log(jnp.maximum(t, TINY)))
    return jnp.where(t > 0, masked, 0.0)

  # The contract of `Process`.

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    del key  # every position is masked
    return jnp.full(shape, self.mask_id, jnp.int32)

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    noised = draws.row_uniform(key, x.shape) < self.masked_probability(x, base.per_position(t))
    return jnp.where(noised & base.free(given, x.shape), self.mask_id, x)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    del t
    return Prediction(substituted(output, z, self.mask_id))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """MD4, eq. 11: at masked positions 1 / t (sum_v w_v p_v - w_x - w_x log p_x), and the
    reconstruction at `start`, at all times alike.

    It is the divergence of two jump processes: token v is revealed at the rate w_v / t if it is x,
    and p_v times that by the model.
    """
    t = self._from_start(t)
    return self._integrand(denoise, self.corrupt(key, x, t, given), x, t, given)

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The mean of the integrand over two draws of z; in value no more than that.

    z depends on w, which autodiff does not see: E[f grad log q(z | x)] is missing in the gradient.
    It is added by the leave-one-out estimate, in which the other draw is the baseline (Kool et al.
    2019; MD4, section 6), without bias.
    """
    t = self._from_start(t)
    states = [self.corrupt(k, x, t, given) for k in draws.split_rows(key, x.shape[0], 2)]
    one, other = (self._integrand(denoise, z, x, t, given) for z in states)
    log_q, log_q_other = (self._log_q(z, x, t, given) for z in states)
    advantage = jax.lax.stop_gradient(jnp.sum(one - other, axis=-1, keepdims=True)) / 2
    missing = advantage * (log_q - log_q_other) / x.shape[1]
    return (one + other) / 2 + missing - jax.lax.stop_gradient(missing)

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log p(z_s | z_t) `[B, L, V + 1]`: a masked token v stays masked with probability
    (s / t)^{w_v}."""
    log_p = prediction.log_probs
    t, s = base.per_position(t)[..., None], base.per_position(s)[..., None]
    ratio = jnp.log(jnp.maximum(s, TINY) / t)
    stays = jnp.where(s > 0, self.exponents * ratio, -jnp.inf)
    revealed = log_p + jnp.log(-jnp.expm1(stays))
    hidden = jax.nn.logsumexp(log_p + stays, axis=-1, keepdims=True)
    moves = jnp.concatenate([revealed, hidden], axis=-1)
    return certain_elsewhere(moves, z, self.mask_id)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    drawn = draws.row_categorical(key, self.log_posterior(prediction, z, t, s))
    return jnp.where(base.free(given, z.shape), drawn, z)

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: w_v / t p_v at masked positions, else none."""
    rates = prediction.log_probs + jnp.log(self.exponents)
    rates -= jnp.log(base.per_position(t))[..., None]
    return jnp.where((z == self.mask_id)[..., None], rates, -jnp.inf)

  def _from_start(self, t: Array) -> Array:
    return self.start + (1.0 - self.start) * t

  def _integrand(
    self, denoise: base.Denoise, z: Array, x: Array, t: Array, given: Array | None
  ) -> Array:
    """What `nelbo` says, of the state `z`, `[B, L]`."""
    free = base.free(given, x.shape)

    def divergence(output: Array, x: Array) -> Array:
      log_p = jax.nn.log_softmax(output.astype(jnp.float32))
      log_p_x = at_token(log_p, x)
      w = self.exponents[x]
      faster = jnp.sum((self.exponents - w[..., None]) * jnp.exp(log_p), axis=-1)
      return faster - w * log_p_x

    where = (z == self.mask_id) & free
    nats = base.score_positions(denoise, z, t, divergence, (x,), where)
    slope = (1.0 - self.start) / jnp.maximum(base.per_position(t), TINY)
    return slope * nats + jnp.where(free, self._reconstruction(x), 0.0)

  def _reconstruction(self, x: Array) -> Array:
    """-log p(x | mask at `start`) times the probability of that mask, where p follows from the
    schedules alone: p(v) is in the ratio of start^{w_v}."""
    if self.start == 0:
      return jnp.zeros(x.shape)
    log_masked = self.exponents * math.log(self.start)
    nats = jax.nn.logsumexp(log_masked) - log_masked
    return (jnp.exp(log_masked) * nats)[x]

  def _log_q(self, z: Array, x: Array, t: Array, given: Array | None) -> Array:
    """log q(z | x) of the rows, `[B, 1]`."""
    log_masked = self.exponents[x] * jnp.log(jnp.maximum(base.per_position(t), TINY))
    is_masked = z == self.mask_id
    kept = jnp.where(is_masked, -1.0, log_masked)  # the branch not taken has a gradient too
    log_q = jnp.where(is_masked, log_masked, jnp.log(-jnp.expm1(kept)))
    return jnp.sum(log_q, axis=-1, keepdims=True, where=base.free(given, x.shape))


def make(*, vocab_size: int, **fields: object) -> GeneralizedAbsorbing:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, `{"name": "polynomial", "exponent": 1.0}` by default, and `start`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  first = {"name": "polynomial", "exponent": 1.0}
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or first)
  return resolve.build(GeneralizedAbsorbing, {"vocab_size": vocab_size, **fields})
