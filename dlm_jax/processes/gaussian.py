"""Gaussian diffusion of token embeddings: z = alpha e(x) + sigma n, alpha^2 + sigma^2 = 1.

The noise is gamma(t) = log(sigma^2 / alpha^2). With the choice of schedule, objective and
parameterization it is Diffusion-LM (Li et al. 2022), CDCD (Dieleman et al. 2022), Plaid (Gulrajani
and Hashimoto 2023) or LangFlow (2026). Embeddings are learned; their rows have a fixed size, since
a bound could otherwise be won by making them large. z and the embeddings have W numbers a token.

The bound is that of variational diffusion models (Kingma et al. 2021, eq. 11 and 18), a token:

  E[-log p(x | z_0)]  +  KL(q(z_1 | x) || N(0, 1))  +  1/2 E_t[gamma'(t) e^-gamma |e(x) - x_hat|^2]
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.interface import NetworkInterface
from dlm_jax.core.ranges import NonNegativeInt, Probability
from dlm_jax.core.types import PyTree
from dlm_jax.processes import base, draws
from dlm_jax.processes.base import Prediction
from dlm_jax.processes.parts import parameterizations, preconditioning
from dlm_jax.processes.parts.embeddings import NoisyEmbeddings
from dlm_jax.schedules import gamma_schedules
from dlm_jax.schedules.gamma_schedules import LearnedSchedule

OBJECTIVES = ("vlb", "cross_entropy", "mse")


@dataclass(frozen=True, kw_only=True)
class Gaussian(NoisyEmbeddings):
  """The process. Build it with `make`; what it learns is put in place by `bind`.

  Attributes:
    parameterization: what the network's output means, see `parameterizations`.
    objective: of `loss`: `vlb`, the bound; `cross_entropy` of x given z_t, unweighted (CDCD,
      LangFlow); `mse`, |e(x) - x_hat|^2 with the first two terms of the bound (Diffusion-LM).
    output_prior: add (alpha / sigma^2) z e^T to the logits: what z says of each token by itself
      (Plaid, section 3).
    prior_warmup_steps: of training, over which what `output_prior` adds is scaled up to its size.
    shared_head: the network's output is multiplied by the embeddings to give the logits.
    self_conditioning: how often a training row is given the network's own first prediction (Chen et
      al. 2022); 0 builds the network without that input. Bound and samples always use it.
    reconstruction_share: the part of the times that is spent on E[-log p(x | z_0)], which needs the
      network at t = 0, when the output is logits.
    step: of training, put in place by `at_step`; None outside of training.
  """

  parameterization: str = "categorical"
  objective: str = "vlb"
  output_prior: bool = True
  prior_warmup_steps: NonNegativeInt = 0
  shared_head: bool = False
  self_conditioning: Probability = 0.0
  reconstruction_share: Probability = 0.0625
  step: Array | None = resolve.runtime()

  def __post_init__(self) -> None:
    super().__post_init__()
    parameterizations.check(self.parameterization)
    require_known("process.objective", self.objective, OBJECTIVES)
    if self._predicts_tokens and self.reconstruction_share in (0.0, 1.0):
      raise UserError(
        "process.reconstruction_share must lie between 0 and 1 where the network predicts tokens, "
        f"got {self.reconstruction_share}: set it to a number such as 0.0625."
      )
    needs_tokens = {
      "objective 'cross_entropy'": self.objective == "cross_entropy",
      "shared_head": self.shared_head,
      "schedule 'gumbel'": isinstance(self.schedule, gamma_schedules.GumbelGamma),
      "schedule 'warped'": isinstance(self.schedule, gamma_schedules.WarpedGamma),
    }
    for name, is_set in needs_tokens.items():
      if is_set and not self._predicts_tokens:
        raise UserError(
          f"process.{name} needs logits: set process.parameterization to 'categorical' "
          f"(it is {self.parameterization!r})."
        )

  @property
  def _predicts_tokens(self) -> bool:
    return self.parameterization == "categorical"

  # The network around it.

  @property
  def interface(self) -> NetworkInterface:
    predicts_logits = self._predicts_tokens and not self.shared_head
    return NetworkInterface(
      columns=self.vocab_size if predicts_logits else self.width,
      num_embeddings=self.num_embeddings,
      state_width=self.width,
      self_conditioned=self.self_conditioning > 0,
    )

  @property
  def num_evaluations(self) -> int:
    return 2 if self.self_conditioning else 1

  def at_step(self, step: Array) -> Self:
    """The process at a step of training, while its output prior is scaled up."""
    return dataclasses.replace(self, step=step) if self.prior_warmup_steps else self

  def precondition(self, denoise: base.Denoise) -> base.Denoise:
    """The network with its input brought to unit size, its noise level as time, and its logits."""
    return preconditioning.precondition(self, denoise)

  def output(self, output: Array, z: Array, t: Array) -> Array:
    """What `predict` reads, from the network's output `[B, L, columns]` at (z, t)."""
    if self.shared_head:
      output = output @ self.embeddings.T
    if self._predicts_tokens and self.output_prior:
      alpha, sigma = self.signal_and_noise(t)
      scale = 1.0 if self.step is None else jnp.minimum(self.step / self.prior_warmup_steps, 1.0)
      output += scale * alpha / sigma**2 * (z @ self.embeddings.T)
    return output

  # What the network's output says.

  def predict(self, output: Array, z: Array, t: Array) -> Prediction:
    """The prediction, whose `estimate` is x_hat, the expected clean embedding.

    For outputs that are not logits: p(x | x_hat) as if x_hat was e(x) plus noise of e^gamma.
    """
    if self._predicts_tokens:
      logits = output.astype(jnp.float32)
      return Prediction(jax.nn.log_softmax(logits), jax.nn.softmax(logits) @ self.embeddings)
    x = parameterizations.to_x(self.parameterization, output, z, *self.signal_and_noise(t))
    return Prediction(self.log_bayes(x, t), x)

  def mean(self, prediction: Prediction) -> Array:
    """x_hat `[B, L, W]`."""
    if prediction.estimate is not None:
      return prediction.estimate
    return jnp.exp(prediction.log_probs) @ self.embeddings

  def evaluate(
    self,
    denoise: base.Denoise,
    z: Array,
    t: Array,
    reader: base.Reader,
    operands: tuple[Array, ...] = (),
    chosen: Array | None = None,
  ) -> PyTree:
    """`read`, of a prediction made with a first one in hand where the network is self-conditioned.

    In training that happens in the rows `chosen` `[B]`, and no gradient flows through the first.
    """
    if self.self_conditioning:
      first = self.read(denoise, z, t, self.mean)
      if chosen is not None:
        first = jax.lax.stop_gradient(jnp.where(chosen[:, None, None], first, 0.0))
      denoise = base.conditioned(denoise, self_condition=first)
    return self.read(denoise, z, t, reader, operands)

  # The bound and the losses.

  def nelbo(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    """The bound above. Times below `reconstruction_share` are spent on its first term."""
    decodes, t = self._divide(t)
    terms = self._terms(key, denoise, x, t, given, 1.0)
    return self._bound(terms, decodes)

  def loss(
    self, key: Array, denoise: base.Denoise, x: Array, t: Array, given: Array | None = None
  ) -> Array:
    decodes = jnp.zeros(t.shape, bool)
    if self.objective != "cross_entropy":
      decodes, t = self._divide(t)
    terms = self._terms(key, denoise, x, t, given, self.self_conditioning)
    if self.objective == "cross_entropy":
      loss = terms.cross_entropy
    elif self.objective == "mse":
      loss = self._bound(terms._replace(diffusion=terms.squared_error), decodes)
    else:
      loss = self._bound(terms, decodes)
    if isinstance(self.schedule, LearnedSchedule):
      loss += self._schedule_gradient(terms, t, decodes)
    return loss

  def reverse(
    self,
    key: Array,
    prediction: Prediction,
    z: Array,
    t: Array,
    s: Array,
    given: Array | None = None,
  ) -> Array:
    """q(z_s | z_t, x := x_hat) (VDM, eq. 32): one step of ancestral (DDPM) sampling."""
    alpha_t, _ = self.signal_and_noise(t)
    alpha_s, sigma_s = self.signal_and_noise(s)
    c = -jnp.expm1(base.per_position(self.schedule.gamma(s) - self.schedule.gamma(t)))[..., None]
    mean = (1 - c) * alpha_s / alpha_t * z + c * alpha_s * self.mean(prediction)
    z_s = mean + jnp.sqrt(c) * sigma_s * draws.row_normal(key, z.shape)
    return jnp.where(base.free(given, z.shape[:2])[..., None], z_s, z)

  def _divide(self, t: Array) -> tuple[Array, Array]:
    """Which of the times in [0, 1] stand for t = 0, and the times the others stand for."""
    if not self._predicts_tokens:
      return jnp.zeros(t.shape, bool), t
    share = self.reconstruction_share
    return t < share, jnp.maximum(t - share, 0.0) / (1.0 - share)

  def _bound(self, terms: "_Terms", decodes: Array) -> Array:
    """The terms weighted so that their mean over all times is the bound."""
    if self._predicts_tokens:
      share = self.reconstruction_share
      drawn = jnp.where(
        base.per_position(decodes),
        terms.cross_entropy / share,
        terms.diffusion / (1.0 - share),
      )
    else:
      drawn = terms.diffusion + terms.cross_entropy
    return drawn + terms.prior

  def _terms(
    self,
    key: Array,
    denoise: base.Denoise,
    x: Array,
    t: Array,
    given: Array | None,
    self_conditioning: float,
  ) -> "_Terms":
    """Each term at the positions that are not given, from one noise at the times `t`."""
    noise_key, coin_key, decoder_key = draws.split_rows(key, x.shape[0], 3)
    chosen = draws.row_uniform(coin_key, x.shape[:1]) < self_conditioning
    times = self.times(t, given)
    z = self.corrupt(noise_key, x, t, given)
    log_p, x_hat = self.evaluate(denoise, z, times, self._log_p_and_mean, (x,), chosen)
    if not self._predicts_tokens:
      log_p = self.log_p_at_start(decoder_key, x)
    clean = self.embeddings[x]
    squared_error = jnp.sum((clean - x_hat) ** 2, axis=-1)
    weight = 0.5 * self.schedule.gamma_derivative(t) * jnp.exp(-self.schedule.gamma(t))
    scored = base.free(given, x.shape).astype(jnp.float32)
    return _Terms(
      scored=scored,
      cross_entropy=-log_p * scored,
      prior=self.prior_divergence(clean) * scored,
      squared_error=squared_error * scored,
      diffusion=base.per_position(weight) * squared_error * scored,
    )

  def _log_p_and_mean(self, prediction: Prediction, x: Array) -> tuple[Array, Array]:
    return at_token(prediction.log_probs, x), self.mean(prediction)

  def _schedule_gradient(self, terms: "_Terms", t: Array, decodes: Array) -> Array:
    """0 `[B, L]`, with the gradient of the schedule's own loss."""
    assert isinstance(self.schedule, LearnedSchedule)
    count = jnp.maximum(jnp.sum(terms.scored, axis=-1), 1.0)
    nats, cross_entropy = (
      jax.lax.stop_gradient(jnp.sum(term, axis=-1) / count)
      for term in (terms.diffusion, terms.cross_entropy)
    )
    fit = jnp.where(decodes, 0.0, self.schedule.fit(t, nats, cross_entropy))
    return (fit - jax.lax.stop_gradient(fit))[:, None] * terms.scored


class _Terms(NamedTuple):
  """The parts of bound and losses, each `[B, L]`, 0 at given positions."""

  scored: Array  # 1 at all other positions
  cross_entropy: Array  # -log p(x | z_t) if the output is logits, else -log p(x | z_0)
  prior: Array
  squared_error: Array  # |e(x) - x_hat|^2
  diffusion: Array  # the squared error with the weight of the bound


def make(*, vocab_size: int, **fields: object) -> Gaussian:
  """Builds the process from its config.

  Args:
    vocab_size: V.
    **fields: `schedule`, a config such as `{"name": "linear"}` (the default), see
      `gamma_schedules`; and the other attributes of `Gaussian` but `embeddings`.

  Raises:
    UserError: a field is unknown or a value out of range.
  """
  fields["schedule"] = gamma_schedules.make(fields.get("schedule") or {"name": "linear"})
  return resolve.build(Gaussian, {"vocab_size": vocab_size, **fields})
