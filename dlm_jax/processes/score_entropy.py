"""Score entropy (SEDD, Lou et al. 2024): the network gives ratios of probabilities.

The concrete score of a token y is s_y = q(z with y) / q(z), z being as it is at all positions but
one. The output is its logarithm, up to a factor that depends on the time alone; it need not
normalise. Two noises: `absorbing`, where only masked positions have a score, and `uniform`. The
reverse step is Tweedie's (section 4.2: exact where the score is, with all positions independent);
the sampler `euler` takes the other one of the paper.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, nearest
from dlm_jax.processes import base
from dlm_jax.processes.parts.mixture import Mixture
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY


@dataclass(frozen=True)
class AbsorbingScore(Mixture):
  """The process under absorbing noise.

  The score at a masked position is output_y alpha / (1 - alpha) / V in logarithms: SEDD's scaling
  by sigma and by the number of tokens. So an untrained network, whose output is 0, predicts each
  token alike and normalises; and log p(y) + log V is the output that stands for a prediction p.
  """

  @property
  def mask_id(self) -> int:
    return self.vocab_size

  @property
  def num_embeddings(self) -> int:
    return self.vocab_size + 1

  @property
  def uniform_fraction(self) -> float:
    return 0.0

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

  def log_probs(self, output: Array, z: Array, t: Array) -> Array:
    """Scores normalised over the tokens; an unmasked position is certain of itself."""
    del t
    return base.substituted(output, z, self.mask_id)

  def output_of(self, log_probs: Array, z: Array, t: Array) -> Array:
    """The output that stands for a prediction."""
    del z, t
    return log_probs + math.log(self.vocab_size)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """SEDD, eq. 9: at masked positions sigma' (sum_y s_y - r s_x + r (log r - 1)) of log-scores,
    r = alpha / (1 - alpha). With r taken out and s_y = r e^output / V it is

      -alpha' / (1 - alpha) (sum_y e^output_y / V - 1 - log(e^output_x / V)),

    the cross-entropy where the scores normalise, and more where they do not.
    """
    z = self.corrupt(key, x, t, given)
    where = z == self.mask_id
    if given is not None:
      where &= ~given
    entropy = base.score_outputs(denoise, z, t, self._entropy, (x,), where)
    return self.weight(base.per_position(t)) * entropy

  def reverse(
    self, key: Array, output: Any, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    """Tweedie's step: y is revealed with probability (e^{sigma_t - sigma_s} - 1) s_y.

    Where scores do not normalise these may sum to more than 1: the mask's entry is clamped at 0. At
    s = 0 nothing stays masked.
    """
    reveal_key, token_key = base.split_rows(key, z.shape[0], 2)
    log_scores = self._log_scores(output)
    masked_t, masked_s = self.masked(base.per_position(t)), self.masked(base.per_position(s))
    total = jnp.exp(jax.nn.logsumexp(log_scores, axis=-1))
    chance = jnp.where(masked_s == 0.0, 1.0, (masked_t - masked_s) / masked_t * total)
    reveal = (base.row_uniform(reveal_key, z.shape) < chance) & (z == self.mask_id)
    if given is not None:
      reveal &= ~given
    return jnp.where(reveal, base.row_categorical(token_key, log_scores), z)

  def log_jump_rates(self, output: Array, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: sigma' s_y at masked positions, else none."""
    rates = jnp.log(self.weight(base.per_position(t)))[..., None] + self._log_scores(output)
    return jnp.where((z == self.mask_id)[..., None], rates, -jnp.inf)

  def _log_scores(self, output: Array) -> Array:
    """log s_y - log(alpha / (1 - alpha))."""
    return output.astype(jnp.float32) - math.log(self.vocab_size)

  def _entropy(self, output: Array, x: Array) -> Array:
    log_scores = self._log_scores(output)
    of_x = jnp.take_along_axis(log_scores, x[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.exp(log_scores), axis=-1) - 1.0 - of_x


@dataclass(frozen=True)
class UniformScore(Mixture):
  """The process under uniform noise: the output is the log-score, and that of z itself is 0.

  Near the prior all scores are 1 and what they tell of x is alpha times smaller than they are. So
  the schedule must end above 0, and the bound holds the divergence from the prior that is left.
  """

  @property
  def num_embeddings(self) -> int:
    return self.vocab_size

  @property
  def uniform_fraction(self) -> float:
    return 1.0

  def _ends(self) -> tuple[Array, Array]:
    return self.schedule.alpha(jnp.float32(0.0)), jnp.float32(0.0)

  def noised(self, t: Array) -> Array:
    one_minus = self.schedule.one_minus_alpha
    start = one_minus(jnp.float32(0.0))
    return (one_minus(t) - start) / (1.0 - start)

  def log_probs(self, output: Array, z: Array, t: Array) -> Array:
    """log p(x_i | z without z_i): the scores are alpha p + (1 - alpha) / V up to a factor."""
    scores = jax.nn.softmax(self._log_scores(output, z))
    uniform = self.noised(base.per_position(t))[..., None] / self.vocab_size
    p = jnp.maximum(scores - uniform, 0.0)  # negative where no prediction has these scores
    total = p.sum(axis=-1, keepdims=True)
    return jnp.log(jnp.where(total > 0, p / jnp.maximum(total, TINY), scores))

  def output_of(self, log_probs: Array, z: Array, t: Array) -> Array:
    """The output that stands for a prediction."""
    t = base.per_position(t)[..., None]
    log_q = jnp.log(self.alpha(t) * jnp.exp(log_probs) + self.noised(t) / self.vocab_size)
    return log_q - jnp.take_along_axis(log_q, z[..., None], axis=-1)

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """SEDD, eq. 9: sigma' / V sum over y != z of e^s_y - r_y s_y + r_y (log r_y - 1), r the ratios
    q(y | x) / q(z | x), which are 1 but where y or z is x."""
    z = self.corrupt(key, x, t, given)
    where = jnp.ones(x.shape, bool) if given is None else ~given
    t_BL = jnp.broadcast_to(base.per_position(t), x.shape)
    ratio = self.noised(t_BL) / (self.noised(t_BL) + self.vocab_size * self.alpha(t_BL))
    entropy = base.score_outputs(denoise, z, t, self._entropy, (x, z, ratio), where)
    return self.rate(t_BL) / self.vocab_size * entropy

  def constants(self) -> float:
    """KL(q(z_1 | x) || uniform)."""
    alpha = float(self.alpha(jnp.float32(1.0)))
    of_x, other = alpha + (1 - alpha) / self.vocab_size, (1 - alpha) / self.vocab_size
    entropy = of_x * math.log(of_x) + (self.vocab_size - 1) * other * math.log(other)
    return math.log(self.vocab_size) + entropy

  def reverse(
    self, key: Array, output: Any, z: Array, t: Array, s: Array, given: Array | None = None
  ) -> Array:
    """Tweedie's step, a draw from `log_posterior`."""
    drawn = base.row_categorical(key, self.log_posterior(output, z, t, s))
    return drawn if given is None else jnp.where(given, z, drawn)

  def log_posterior(self, output: Array, z: Array, t: Array, s: Array) -> Array:
    """log p(z_s = y): the score carried from t to s, times q(z_t | z_s = y).

    The first may be negative where no distribution has these scores: it is clamped at 0.
    """
    scores = jnp.exp(self._log_scores(output, z))
    kept = self.alpha(base.per_position(t)) / self.alpha(base.per_position(s))
    kept = kept[..., None]
    carried = scores - (1.0 - kept) * jnp.mean(scores, axis=-1, keepdims=True)
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    forward = kept * is_z + (1.0 - kept) / self.vocab_size
    return jax.nn.log_softmax(jnp.log(jnp.maximum(carried, 0.0) * forward))

  def log_jump_rates(self, output: Array, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: sigma' / V s_y, and none to z itself."""
    rate = self.rate(base.per_position(t))[..., None] / self.vocab_size
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    return jnp.where(is_z, -jnp.inf, jnp.log(rate) + output.astype(jnp.float32))

  def _log_scores(self, output: Array, z: Array) -> Array:
    is_z = jnp.arange(self.vocab_size) == z[..., None]
    return jnp.where(is_z, 0.0, output.astype(jnp.float32))

  def _entropy(self, output: Array, x: Array, z: Array, ratio: Array) -> Array:
    """The sum over y != z in `nelbo`; `ratio` is q(y | x) / q(x | x) for y != x."""
    log_scores = self._log_scores(output, z)
    of_x = jnp.take_along_axis(log_scores, x[..., None], axis=-1)[..., 0]
    ratio = jnp.maximum(ratio, TINY)
    r = jnp.where(z == x, ratio, 1.0)[..., None]  # that of all tokens but x
    costs = jnp.exp(log_scores) - r * log_scores + r * (jnp.log(r) - 1.0)
    index = jnp.arange(self.vocab_size)
    counted = (index != z[..., None]) & (index != x[..., None])
    others = jnp.sum(jnp.where(counted, costs, 0.0), axis=-1)
    at_x = jnp.exp(of_x) - of_x / ratio - (jnp.log(ratio) + 1.0) / ratio
    return others + jnp.where(z == x, 0.0, at_x)


NOISES = {"absorbing": (AbsorbingScore, "log_linear"), "uniform": (UniformScore, "geometric")}


def make(*, vocab_size: int, noise: str = "absorbing", **fields: Any) -> Mixture:
  """Builds the process from its config.

  Args:
    vocab_size: V; the mask of absorbing noise is V, outside the data.
    noise: `absorbing` or `uniform`.
    **fields: `schedule`, a config such as `{"name": "geometric"}`: by default that of the paper,
      `log_linear` for absorbing and `geometric` for uniform noise.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  if noise not in NOISES:
    raise UserError(
      f"process.noise is {noise!r}: {nearest(noise, NOISES)}"
      f"The known values are {', '.join(NOISES)}."
    )
  cls, default = NOISES[noise]
  schedule = alpha_schedules.make(fields.get("schedule") or {"name": default})
  if noise == "uniform" and schedule.alpha(1.0) <= 0:
    raise UserError(
      "score entropy of uniform noise needs a schedule that ends above 0: set "
      "process.schedule.name to 'geometric' or 'log_linear'."
    )
  fields["schedule"] = schedule
  return resolve.build(cls, {"vocab_size": vocab_size, **fields})
