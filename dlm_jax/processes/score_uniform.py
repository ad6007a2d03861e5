"""Score entropy under uniform noise (SEDD, Lou et al. 2024): the network gives ratios.

The concrete score of a token y is s_y = q(z with y) / q(z), z being as it is at all positions but
one. The reverse step is Tweedie's (section 4.2: exact where the score is, with all positions
independent); the sampler `euler` takes the other one of the paper. The process `score_absorbing` is
the same under absorbing noise.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import UserError
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts.mixture import Mixture
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True, kw_only=True)
class ScoreUniform(Mixture):
  """The process: the output is the log-score, and that of z itself is 0. Build it with `make`.

  Near the prior all scores are 1 and what they tell of x is alpha times smaller than they are. So
  the schedule must end above 0, and the bound holds the divergence from the prior that is left.

  The `estimate` of a prediction is the log-scores `[B, L, V]`.
  """

  @property
  def uniform_fraction(self) -> float:
    return 1.0

  def _ends(self) -> tuple[Array, Array]:
    return self.schedule.alpha(jnp.float32(0.0)), jnp.float32(0.0)

  def lost(self, t: Array) -> Array:
    one_minus = self.schedule.one_minus_alpha
    start = one_minus(jnp.float32(0.0))
    return (one_minus(t) - start) / (1.0 - start)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """log p(x_i | z without z_i): the scores are alpha p + (1 - alpha) / V up to a factor."""
    log_scores = self._log_scores(output, z)
    scores = jax.nn.softmax(log_scores)
    uniform = self.noised(base.per_position(t))[..., None] / self.vocab_size
    p = jnp.maximum(scores - uniform, 0.0)  # negative where no prediction has these scores
    total = p.sum(axis=-1, keepdims=True)
    log_probs = jnp.log(jnp.where(total > 0, p / jnp.maximum(total, TINY), scores))
    return Prediction(log_probs, log_scores)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """SEDD, eq. 9: sigma' / V sum over y != z of e^s_y - r_y s_y + r_y (log r_y - 1), r the ratios
    q(y | x) / q(z | x), which are 1 but where y or z is x."""
    z = self.corrupt(key, x, t, given)
    where = base.free(given, x.shape)
    t_BL = jnp.broadcast_to(base.per_position(t), x.shape)
    ratio = self.noised(t_BL) / (self.noised(t_BL) + self.vocab_size * self.alpha(t_BL))
    entropy = base.score_positions(denoise, z, t, self._entropy, (x, z, ratio), where)
    return self.rate(t_BL) / self.vocab_size * entropy

  def constants(self) -> float:
    """KL(q(z_1 | x) || uniform)."""
    with jax.ensure_compile_time_eval():
      alpha = float(self.alpha(jnp.float32(1.0)))
    of_x, other = alpha + (1 - alpha) / self.vocab_size, (1 - alpha) / self.vocab_size
    entropy = of_x * math.log(of_x) + (self.vocab_size - 1) * other * math.log(other)
    return math.log(self.vocab_size) + entropy

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Tweedie's step, a draw from `log_posterior`."""
    drawn = draws.row_categorical(key, self.log_posterior(prediction, z, t, s))
    return jnp.where(base.free(given, z.shape), drawn, z)

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log p(z_s = y): the score carried from t to s, times q(z_t | z_s = y).

    The first may be negative where no distribution has these scores: it is clamped at 0.
    """
    scores = jnp.exp(self._scores_of(prediction, z, t))
    kept = self.alpha(base.per_position(t)) / self.alpha(base.per_position(s))
    kept = kept[..., None]
    carried = scores - (1.0 - kept) * jnp.mean(scores, axis=-1, keepdims=True)
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    forward = kept * is_z + (1.0 - kept) / self.vocab_size
    return jax.nn.log_softmax(jnp.log(jnp.maximum(carried, 0.0) * forward))

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: sigma' / V s_y, and none to z itself."""
    rate = self.rate(base.per_position(t))[..., None] / self.vocab_size
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    return jnp.where(is_z, -jnp.inf, jnp.log(rate) + self._scores_of(prediction, z, t))

  def _scores_of(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """The log-scores `[B, L, V]` of a prediction: alpha p + (1 - alpha) / V over that of z."""
    if prediction.estimate is not None:
      return prediction.estimate
    t = base.per_position(t)[..., None]
    p = jnp.exp(prediction.log_probs)
    log_q = jnp.log(self.alpha(t) * p + self.noised(t) / self.vocab_size)
    return log_q - jnp.take_along_axis(log_q, z[..., None], axis=-1)

  def _log_scores(self, output: Array, z: Array) -> Array:
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    return jnp.where(is_z, 0.0, output.astype(jnp.float32))

  def _entropy(self, output: Array, x: Array, z: Array, ratio: Array) -> Array:
    """The sum over y != z in `nelbo`; `ratio` is q(y | x) / q(x | x) for y != x."""
    log_scores = self._log_scores(output, z)
    of_x = at_token(log_scores, x)
    ratio = jnp.maximum(ratio, TINY)
    r = jnp.where(z == x, ratio, 1.0)[..., None]  # that of all tokens but x
    costs = jnp.exp(log_scores) - r * log_scores + r * (jnp.log(r) - 1.0)
    index = jnp.arange(self.vocab_size)
    counted = (index != z[..., None]) & (index != x[..., None])
    others = jnp.sum(jnp.where(counted, costs, 0.0), axis=-1)
    at_x = jnp.exp(of_x) - of_x / ratio - (jnp.log(ratio) + 1.0) / ratio
    return others + jnp.where(z == x, 0.0, at_x)


def make(*, vocab_size: int, **fields: object) -> ScoreUniform:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "geometric"}` (the default, that of the paper).

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  schedule = alpha_schedules.make(fields.get("schedule") or {"name": "geometric"})
  if schedule.alpha(jnp.float32(1.0)) <= 0:
    raise UserError(
      "score entropy of uniform noise needs a schedule that ends above 0: set "
      "process.schedule.name to 'geometric' or 'log_linear'."
    )
  fields["schedule"] = schedule
  return resolve.build(ScoreUniform, {"vocab_size": vocab_size, **fields})
