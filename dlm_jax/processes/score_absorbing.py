"""Score entropy under absorbing noise (SEDD, Lou et al. 2024): the network gives ratios.

The concrete score of a token y is s_y = q(z with y) / q(z), z being as it is at all positions but
one. The output is its logarithm, up to a factor that depends on the time alone; it need not
normalise. Only masked positions have a score. The reverse step is Tweedie's (section 4.2: exact
where the score is, with all positions independent); the sampler `euler` takes the other one of the
paper. The process `score_uniform` is the same under uniform noise.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts.mixture import Mixture
from dlm_jax.processes.parts.outside_mask import OutsideMask
from dlm_jax.processes.parts.substitution import certain_elsewhere, substituted
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True, kw_only=True)
class ScoreAbsorbing(OutsideMask, Mixture):
  """The process. Build it with `make`.

  The score at a masked position is output_y alpha / (1 - alpha) / V in logarithms: SEDD's scaling
  by sigma and by the number of tokens. So an untrained network, whose output is 0, predicts each
  token alike and normalises; and log p(y) + log V is the output that stands for a prediction p.

  The `estimate` of a prediction is the logarithm `[B, L]` of the sum over y of s_y (1 - alpha) /
  alpha, which is 0 where the scores normalise.
  """

  @property
  def uniform_fraction(self) -> float:
    return 0.0

  @property
  def scored_share(self) -> float:
    return base.mean_over_times(self.masked)

  def masked(self, t: Array) -> Array:
    """The fraction of tokens masked at time t."""
    return self.noised(t)

  def time_of_masked(self, masked: Array) -> Array:
    """The time at which the fraction `masked` of the tokens is masked."""
    one_minus = self.schedule.one_minus_alpha
    start, end = one_minus(jnp.float32(0.0)), one_minus(jnp.float32(1.0))
    return self.schedule.inverse(1.0 - (start + masked * (end - start)))

  def weight(self, t: Array) -> Array:
    """-alpha' / (1 - alpha), the rate times the ratio of a score to a probability."""
    return self.rate(t) * jnp.maximum(self.alpha(t), TINY) / jnp.maximum(self.noised(t), TINY)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """Scores normalised over the tokens; an unmasked position is certain of itself."""
    del t
    total = jax.nn.logsumexp(self._log_scores(output), axis=-1)
    return Prediction(substituted(output, z, self.mask_id), total)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """SEDD, eq. 9: at masked positions sigma' (sum_y s_y - r s_x + r (log r - 1)) of log-scores,
    r = alpha / (1 - alpha). With r taken out and s_y = r e^output / V it is

      -alpha' / (1 - alpha) (sum_y e^output_y / V - 1 - log(e^output_x / V)),

    the cross-entropy where the scores normalise, and more where they do not.
    """
    z = self.corrupt(key, x, t, given)
    where = (z == self.mask_id) & base.free(given, x.shape)
    entropy = base.score_positions(denoise, z, t, self._entropy, (x,), where)
    return self.weight(base.per_position(t)) * entropy

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """Tweedie's step: y is revealed with probability (e^{sigma_t - sigma_s} - 1) s_y.

    Where scores do not normalise these may sum to more than 1: the mask's entry is clamped at 0. At
    s = 0 nothing stays masked.
    """
    reveal_key, token_key = draws.split_rows(key, z.shape[0], 2)
    chance = self._reveal_probability(prediction, t, s)
    reveal = (draws.row_uniform(reveal_key, z.shape) < chance) & (z == self.mask_id)
    reveal &= base.free(given, z.shape)
    return jnp.where(reveal, draws.row_categorical(token_key, prediction.log_probs), z)

  def log_posterior(self, prediction: Prediction, z: Array, t: Array, s: Array) -> Array:
    """log p(z_s | z_t) `[B, L, V + 1]`, of which `reverse` draws."""
    chance = jnp.minimum(self._reveal_probability(prediction, t, s), 1.0)[..., None]
    chance = jnp.broadcast_to(chance, (*z.shape, 1))
    moves = jnp.concatenate([prediction.log_probs + jnp.log(chance), jnp.log1p(-chance)], axis=-1)
    return certain_elsewhere(moves, z, self.mask_id)

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: sigma' s_y at masked positions, else none."""
    log_scores = prediction.log_probs + self._log_total(prediction)[..., None]
    rates = jnp.log(self.weight(base.per_position(t)))[..., None] + log_scores
    return jnp.where((z == self.mask_id)[..., None], rates, -jnp.inf)

  def _log_total(self, prediction: Prediction) -> Array:
    if prediction.estimate is None:
      return jnp.zeros(prediction.log_probs.shape[:-1])
    return prediction.estimate

  def _reveal_probability(self, prediction: Prediction, t: Array, s: Array) -> Array:
    """The probabilities of all tokens together at a masked position, `[B, L]`, perhaps above 1."""
    masked_t, masked_s = self.masked(base.per_position(t)), self.masked(base.per_position(s))
    share = (masked_t - masked_s) / masked_t * jnp.exp(self._log_total(prediction))
    return jnp.where(masked_s == 0.0, 1.0, share)

  def _log_scores(self, output: Array) -> Array:
    """log s_y - log(alpha / (1 - alpha))."""
    return output.astype(jnp.float32) - math.log(self.vocab_size)

  def _entropy(self, output: Array, x: Array) -> Array:
    log_scores = self._log_scores(output)
    of_x = at_token(log_scores, x)
    return jnp.sum(jnp.exp(log_scores), axis=-1) - 1.0 - of_x


def make(*, vocab_size: int, **fields: object) -> ScoreAbsorbing:
  """Builds the process from its config.

  Args:
    vocab_size: V; the mask is V, outside the data.
    **fields: `schedule`, a config such as `{"name": "log_linear"}` (the default, that of the
      paper).

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "log_linear"})
  return resolve.build(ScoreAbsorbing, {"vocab_size": vocab_size, **fields})
