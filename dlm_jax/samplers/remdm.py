"""ReMDM (Wang et al. 2025): masked diffusion that masks again what it has revealed.

A revealed token is masked again with probability sigma, and masked ones are revealed more often, so
that the masked fraction at each time is what it always was (their eq. 7): mistakes of few steps can
be undone, and more steps than tokens are of use. The forward-backward corrector (Campbell et al.
2022) and that of discrete flow matching (Gat et al. 2024) are such samplers too.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core import resolve
from dlm_jax.core.entries import at_token
from dlm_jax.core.errors import UserError, require_known
from dlm_jax.core.ranges import NonNegative, Probability, ProperFraction
from dlm_jax.processes.base import Prediction, Process
from dlm_jax.processes.draws import row_categorical, row_uniform, split_rows
from dlm_jax.processes.facets import RevealsOnce
from dlm_jax.samplers.base import Sampler, State
from dlm_jax.schedules.alpha_schedules import TINY

STRATEGIES = ("cap", "rescale", "confidence", "loop", "corrector")
# The settings of the scripts of ReMDM's authors, for 1024 tokens of OpenWebText and top-p 0.9. The
# loop has another eta where there are fewer steps than tokens.
LOOP = {"strategy": "loop", "t_on": 0.55, "t_off": 0.05, "alpha_on": 0.9}
PRESETS: dict[str, dict[str, object]] = {
  "paper_cap": {"strategy": "cap", "eta": 0.008},
  "paper_loop": LOOP | {"eta": 0.02},
  "paper_loop_few_steps": LOOP | {"eta": 0.04},
  "forward_backward": {"strategy": "corrector", "scale": 1.0, "exponent": 0.0},
  "discrete_flow_matching": {"strategy": "corrector", "scale": 10.0, "exponent": 0.25},
}
# While alpha moves less than this in a step, the loop is on.
STANDING = 1e-5
# Above any probability: a token of this confidence is not masked again.
CERTAIN = 1e30


@dataclass(frozen=True, kw_only=True)
class Remdm(Sampler):
  """The sampler. Build it with `make`.

  Attributes:
    strategy: what sigma is. With sigma_max = min(1, (1 - alpha_s) / alpha_t), the most it can be:
      `cap`, min(eta, sigma_max); `rescale`, eta sigma_max; `confidence`, sigma_max shared among the
      revealed tokens of a row by softmax(-p), p the probability at which each was revealed; `loop`,
      0 but where alpha stands still, and there that of `cap`; `corrector`, min(sigma_max,
      beta (alpha_s - alpha_t) / alpha_t), where beta = 1 is the rate at which the noise masks.
      `confidence` trades the law of the samples for their quality; the others keep it, if sigma is
      small enough that few positions are drawn together.
    eta: of `cap`, `rescale` and `loop`.
    t_on, t_off, alpha_on: of `loop`. From time 1 to t_on alpha rises to alpha_on, stays there until
      t_off, and then rises to 1.
    scale, exponent: of `corrector`, whose beta is scale (alpha (1 - alpha))^exponent: 1 and 0 are
      the forward-backward corrector, 10 and 1/4 that of discrete flow matching (Gat et al. 2024,
      appendix D).
  """

  needs: ClassVar[type] = RevealsOnce

  strategy: str = "cap"
  eta: Probability = 0.02
  t_on: ProperFraction = 0.55
  t_off: ProperFraction = 0.05
  alpha_on: ProperFraction = 0.9
  scale: NonNegative = 1.0
  exponent: NonNegative = 0.0

  def __post_init__(self) -> None:
    require_known("ReMDM strategy", self.strategy, STRATEGIES)
    if not self.t_off < self.t_on:
      raise UserError(
        f"sampler.t_off must be below sampler.t_on, got {self.t_off} and {self.t_on}."
      )

  def times(self, process: Process, grid: str, steps: int, length: int) -> Array:
    times = super().times(process, grid, steps, length)
    if self.strategy != "loop":
      return times
    assert isinstance(process, RevealsOnce)
    return process.time_of_masked(self.masked_in_loop(times))

  def memory(self, z: Array, given: Array | None) -> Array:
    """The confidence `[B, L]`: what is given is never masked again, and takes no share of it."""
    return jnp.zeros(z.shape) if given is None else jnp.where(given, CERTAIN, 0.0)

  def step(
    self, state: State, prediction: Prediction, t: Array, s: Array, process: Process
  ) -> State:
    assert isinstance(process, RevealsOnce)
    z, shape, confidence = state.z, state.z.shape, state.memory
    remask_key, reveal_key, token_key = split_rows(state.keys, shape[0], 3)
    masked_t, masked_s = process.masked(t)[:, None], process.masked(s)[:, None]
    masked = z == process.mask_id
    sigma = self.sigma(masked_t, masked_s, masked, confidence)
    token = row_categorical(token_key, prediction.log_probs)
    chance = (masked_t - masked_s + sigma * (1.0 - masked_t)) / jnp.maximum(masked_t, TINY)
    reveal = masked & (row_uniform(reveal_key, shape) < chance)
    remask = ~masked & (row_uniform(remask_key, shape) < sigma)
    z_s = jnp.where(reveal, token, jnp.where(remask, process.mask_id, z))
    log_p = at_token(prediction.log_probs, token)
    confidence = jnp.where(reveal, jnp.exp(log_p), confidence)
    return dataclasses.replace(state, z=z_s, memory=confidence)

  def sigma(self, masked_t: Array, masked_s: Array, masked: Array, confidence: Array) -> Array:
    """The probability that a revealed token is masked again, `[B, 1]` or `[B, L]`."""
    largest = jnp.minimum(1.0, masked_s / jnp.maximum(1.0 - masked_t, TINY))
    capped = jnp.minimum(self.eta, largest)
    if self.strategy == "cap":
      return capped
    if self.strategy == "corrector":
      alpha_t = 1.0 - masked_t
      beta = self.scale * (alpha_t * masked_t) ** self.exponent
      return jnp.minimum(beta * (masked_t - masked_s) / jnp.maximum(alpha_t, TINY), largest)
    if self.strategy == "rescale":
      return self.eta * largest
    if self.strategy == "loop":
      return jnp.where(masked_t - masked_s < STANDING, capped, 0.0)
    shares = jax.nn.softmax(jnp.where(masked, -CERTAIN, -confidence))
    return largest * jnp.where(masked, 0.0, shares)

  def masked_in_loop(self, u: Array) -> Array:
    """The masked fraction at the times `u` of the grid: it falls, stands at 1 - alpha_on, falls."""
    left = 1.0 - self.alpha_on
    before = left + self.alpha_on * (u - self.t_on) / (1.0 - self.t_on)
    return jnp.clip(before, left, 1.0) * jnp.minimum(u / self.t_off, 1.0)


def make(*, preset: str | None = None, **fields: object) -> Remdm:
  """Builds the sampler from its settings.

  Args:
    preset: settings by name, of which those that are given are replaced: `paper_cap`, `paper_loop`,
      `paper_loop_few_steps`, `forward_backward` or `discrete_flow_matching`.
    **fields: the attributes of `Remdm`.

  Raises:
    UserError: the preset or a setting is unknown, or a value out of range.
  """
  if preset is not None:
    require_known("preset of ReMDM", preset, PRESETS)
    fields = PRESETS[preset] | fields
  return resolve.build(Remdm, fields)
