"""Absorbing (masked) diffusion: a token is kept with probability alpha(t), else masked.

MDLM (Sahoo et al. 2024), MD4 (Shi et al. 2024), RADD (Ou et al. 2024). The denoiser is read with
the substitution parameterization (SUBS): the mask is never predicted and an unmasked token is
certain of itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import NonNegativeInt, Positive, PositiveInt
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.parts.substitution import substituted
from dlm_jax.schedules import alpha_schedules
from dlm_jax.schedules.alpha_schedules import TINY, Schedule

MASKINGS = ("independent", "counted")
WEIGHTINGS = ("nelbo", "uniform", "min_capped")


@dataclass(frozen=True, kw_only=True)
class Absorbing(Process):
  """The process. Build it with `make`.

  Attributes:
    vocab_size: V, the columns of the network's output.
    mask_id: the absorbing symbol: V (outside the data) or one of 0..V-1 if the tokenizer holds it.
    schedule: alpha(t). Where its ends fall short of 1 and 0 the masked fraction is stretched over
      [0, 1], so that t = 0 is the data and t = 1 the prior exactly and the bound has no constants.
    masking: of `corrupt`: `independent`, each token for itself; `counted`, exactly ceil(F masked)
      of the F tokens of a row, at random (LLaDA, Nie et al. 2025, section 2.4). The continuous-time
      bound is the same number and its estimate far less noisy: how many are masked no longer varies
      at a given time. A network that is given the time has a bound of its own under each.
    timesteps: None for the continuous-time bound, T for the bound of a T-step reverse process.
    weighting: of `loss`: `nelbo`; `uniform`, plain cross-entropy at masked positions; `min_capped`,
      the smaller of the bound's weight and `weight_cap`.
    weight_cap: largest weight under `min_capped`.
  """

  mask_id: NonNegativeInt
  schedule: Schedule
  masking: str = "independent"
  timesteps: PositiveInt | None = None
  weighting: str = "nelbo"
  weight_cap: Positive = 5.0

  def __post_init__(self) -> None:
    if self.mask_id > self.vocab_size:
      raise UserError(
        f"process.mask_id is {self.mask_id}, but must lie in 0..{self.vocab_size}: "
        f"{self.vocab_size} (the size of the vocabulary) places the mask outside the data."
      )
    for field, known in {"masking": MASKINGS, "weighting": WEIGHTINGS}.items():
      value = getattr(self, field)
      require_known(f"process.{field}", value, known)
    if self.masking == "counted" and self.timesteps is not None:
      raise UserError(
        "process.masking 'counted' gives the bound in continuous time only: leave "
        f"process.timesteps open (it is {self.timesteps}), or set masking to 'independent'."
      )

  @property
  def num_embeddings(self) -> int:
    return max(self.vocab_size, self.mask_id + 1)

  @property
  def scored_share(self) -> float:
    return base.mean_over_times(self.masked)

  @property
  def coupled(self) -> bool:
    return True

  @property
  def _forbidden(self) -> int | None:
    return self.mask_id if self.mask_id < self.vocab_size else None

  # The masked fraction and its clock.

  def sigma(self, t: Array) -> Array:
    """-log alpha(t) of the schedule, as a network may be given it."""
    return self.schedule.sigma(t)

  def masked(self, t: Array) -> Array:
    """The fraction of tokens masked at time t: 1 - alpha(t) stretched to [0, 1]."""
    start, end = self._ends()
    return (self.schedule.one_minus_alpha(t) - start) / (end - start)

  noised = masked  # what samplers that noise tokens again ask of every process of tokens

  def time_of_masked(self, masked: Array) -> Array:
    """The time at which the fraction `masked` of the tokens is masked, the inverse of `masked`."""
    start, end = self._ends()
    return self.schedule.inverse(1.0 - (start + masked * (end - start)))

  def weight(self, t: Array) -> Array:
    """masked'(t) / masked(t): the weight -alpha' / (1 - alpha) of the continuous-time bound.

    Finite at t = 0 too, where nothing is masked, so that nothing is scored with it.
    """
    start, end = self._ends()
    slope = -self.schedule.alpha_derivative(t) / (end - start)
    return slope / jnp.maximum(self.masked(t), TINY)

  def _ends(self) -> tuple[Array, Array]:
    noise = self.schedule.one_minus_alpha
    return noise(jnp.float32(0.0)), noise(jnp.float32(1.0))

  def noise(self, key: Array, shape: tuple[int, ...], t: Array) -> Array:
    """What tokens are replaced by: the mask, `[B, L]`."""
    del key, t
    return jnp.full(shape, self.mask_id, jnp.int32)

  # The contract of `Process`.

  def prior(self, key: Array, shape: tuple[int, ...]) -> Array:
    return self.noise(key, shape, jnp.ones(shape[0]))

  def corrupt(self, key: Array, x: Array, t: Array, given: Array | None = None) -> Array:
    free, u = base.free(given, x.shape), draws.row_uniform(key, x.shape)
    if self.masking == "counted":
      rank = jnp.argsort(jnp.argsort(jnp.where(free, u, jnp.inf)))
      noised = rank < jnp.ceil(self._expected_count(t, free))[:, None]
    else:
      noised = u < self.masked(base.per_position(t))
    return jnp.where(noised & free, self.mask_id, x)

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    del t
    logits = output.astype(jnp.float32)
    if self._forbidden is not None:
      logits = logits.at[..., self._forbidden].set(-jnp.inf)
    return Prediction(substituted(logits, z, self.mask_id))

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """MDLM eq. 10: masked'(t) / masked(t) times the cross-entropy at masked positions.

    With `timesteps` T the grid point above t is used, with T (masked_t - masked_s) / masked_t in
    place of the weight (MD4, eq. 6; the KL of one step is the cross-entropy times that fraction).
    """
    t, weight = self._time_and_weight(t, base.free(given, x.shape))
    z = self.corrupt(key, x, t, given)
    return base.per_position(weight) * self._masked_cross_entropy(denoise, x, z, t, given)

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    return self.loss_of(lambda t: self.corrupt(key, x, t, given), denoise, x, t, given)

  def loss_of(
    self,
    corrupt: Callable[[Array], Array],
    denoise: base.Denoise,
    x: Array,
    t: Array,
    given: Array | None,
  ) -> Array:
    """The loss of the state that `corrupt` draws at the time it is given."""
    t, weight = self._time_and_weight(t, base.free(given, x.shape))
    if self.weighting == "uniform":
      weight = jnp.ones_like(weight)
    elif self.weighting == "min_capped":
      weight = jnp.minimum(weight, self.weight_cap)
    return base.per_position(weight) * self._masked_cross_entropy(denoise, x, corrupt(t), t, given)

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """A masked token is revealed with probability (masked_t - masked_s) / masked_t (MDLM eq. 7).

    Whether to reveal and what to reveal are separate draws, each in float32.
    """
    reveal_key, token_key = draws.split_rows(key, z.shape[0], 2)
    masked_t, masked_s = self.masked(base.per_position(t)), self.masked(base.per_position(s))
    reveal = draws.row_uniform(reveal_key, z.shape) < (masked_t - masked_s) / masked_t
    reveal &= (z == self.mask_id) & base.free(given, z.shape)
    return jnp.where(reveal, draws.row_categorical(token_key, prediction.log_probs), z)

  def log_jump_rates(self, prediction: Prediction, z: Array, t: Array) -> Array:
    """Of the reversed process to each token: weight(t) p(token) at masked positions, else none."""
    rates = jnp.log(self.weight(base.per_position(t)))[..., None] + prediction.log_probs
    return jnp.where((z == self.mask_id)[..., None], rates, -jnp.inf)

  def _time_and_weight(self, t: Array, free: Array) -> tuple[Array, Array]:
    """The time the bound is evaluated at and the weight of a masked position's cross-entropy.

    With counted masking the weight masked' F / n, n of F tokens being masked, stands for
    masked' / masked: over the times that mask n tokens it integrates to 1 / n, the weight of the
    order-agnostic bound, whatever the schedule.
    """
    t, weight = self._on_grid(t)
    if self.masking == "counted":
      expected = self._expected_count(t, free)
      weight *= expected / jnp.maximum(jnp.ceil(expected), 1.0)
    return t, weight

  def _expected_count(self, t: Array, free: Array) -> Array:
    """How many of the tokens `free` `[B, L]` of each row are masked on average at `t`, `[B]`."""
    if t.ndim != 1:
      raise UserError(
        "process.masking 'counted' needs one time a row, not one a position: set it to "
        "'independent'."
      )
    return self.masked(t) * jnp.sum(free, axis=1)

  def _on_grid(self, t: Array) -> tuple[Array, Array]:
    """The time and the weight of the bound in continuous or discrete time, as in `nelbo`."""
    if self.timesteps is None:
      return t, self.weight(t)
    step = jnp.clip(jnp.ceil(t * self.timesteps), 1, self.timesteps)
    t, s = step / self.timesteps, (step - 1) / self.timesteps
    return t, self.timesteps * (1.0 - self.masked(s) / self.masked(t))

  def _masked_cross_entropy(
    self, denoise: base.Denoise, x: Array, z: Array, t: Array, given: Array | None
  ) -> Array:
    scored = (z == self.mask_id) & base.free(given, x.shape)
    return base.score_positions(denoise, z, t, base.nll(self._forbidden), (x,), scored)


def make(*, vocab_size: int, mask_id: NonNegativeInt | None = None, **fields: object) -> Absorbing:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    mask_id: defaults to V, outside the data.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), and the other
      attributes of `Absorbing`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = alpha_schedules.make(fields.get("schedule") or {"name": "linear"})
  mask_id = vocab_size if mask_id is None else mask_id
  return resolve.build(Absorbing, {"vocab_size": vocab_size, "mask_id": mask_id, **fields})
