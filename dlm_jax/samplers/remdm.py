"""ReMDM (Wang et al. 2025): masked diffusion that masks again what it has revealed.

A revealed token is masked again with probability sigma, and masked ones are revealed more often, so
that the masked fraction at each time is what it always was (their eq. 7): mistakes of few steps can
be undone, and more steps than tokens are of use.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dlm_jax.core.errors import UserError, nearest
from dlm_jax.processes import base as noise
from dlm_jax.processes.base import Denoise, Process
from dlm_jax.samplers import base, grids, walking
from dlm_jax.schedules.alpha_schedules import TINY

STRATEGIES = ("cap", "rescale", "confidence", "loop")
# While alpha moves less than this in a step, the loop is on.
STANDING = 1e-5
# Above any probability: what has it is not masked again.
SURE = 1e30


def sample(
  key: Array,
  process: Process,
  denoise: Denoise,
  shape: tuple[int, int],
  *,
  steps: int,
  tokens: Array | None = None,
  given: Array | None = None,
  grid: str = "uniform",
  temperature: float = 1.0,
  top_p: float = 1.0,
  cache: bool = False,
  trajectory: bool = False,
  strategy: str = "cap",
  eta: float = 0.02,
  t_on: float = 0.55,
  t_off: float = 0.05,
  alpha_on: float = 0.9,
) -> base.SampleResult:
  """Draws `shape` (B, L) tokens; arguments as for `ancestral.sample`, and

  Args:
    process: one that reveals each token once.
    strategy: what sigma is. With sigma_max = min(1, (1 - alpha_s) / alpha_t), the most it can be:
      `cap`, min(eta, sigma_max); `rescale`, eta sigma_max; `confidence`, sigma_max shared among the
      revealed tokens of a row by softmax(-p), p the probability at which each was revealed; `loop`,
      0 but where alpha stands still, and there that of `cap`. `confidence` trades the law of the
      samples for their quality; the others keep it, if sigma is small enough that few positions
      are drawn together.
    eta: of `cap`, `rescale` and `loop`.
    t_on, t_off, alpha_on: of `loop`. From time 1 to t_on alpha rises to alpha_on, stays there until
      t_off, and then rises to 1.

  Raises:
    UserError: an argument is out of range, or the process does not reveal tokens.
  """
  base.check(steps=steps, tokens=tokens, given=given, temperature=temperature, top_p=top_p)
  base.require_reveals_once(process, "remdm")
  settings = _Settings(strategy, eta, t_on, t_off, alpha_on)
  times = grids.times(grid, steps)
  if strategy == "loop":
    times = process.time_of_masked(_masked_in_loop(times, settings))

  def transition(key, prediction, z, t, s, confidence):
    remask_key, reveal_key, token_key = noise.split_rows(key, shape[0], 3)
    masked_t, masked_s = process.masked(t)[:, None], process.masked(s)[:, None]
    masked = z == process.mask_id
    sigma = _sigma(settings, masked_t, masked_s, masked, confidence)
    log_p = process.log_probs(prediction, z, t)
    token = noise.row_categorical(token_key, log_p)
    chance = (masked_t - masked_s + sigma * (1.0 - masked_t)) / jnp.maximum(masked_t, TINY)
    reveal = masked & (noise.row_uniform(reveal_key, shape) < chance)
    remask = ~masked & (noise.row_uniform(remask_key, shape) < sigma)
    z_s = jnp.where(reveal, token, jnp.where(remask, process.mask_id, z))
    p = jnp.exp(jnp.take_along_axis(log_p, token[..., None], axis=-1)[..., 0])
    return z_s, jnp.where(reveal, p, confidence)

  # What is given is never masked again, and takes no share of the confidence.
  confidence = jnp.zeros(shape) if given is None else jnp.where(given, SURE, 0.0)
  return walking.walk(
    key,
    process,
    denoise,
    shape,
    times,
    transition,
    tokens=tokens,
    given=given,
    temperature=temperature,
    top_p=top_p,
    cache=cache,
    trajectory=trajectory,
    memory=confidence,
  )


@dataclass(frozen=True)
class _Settings:
  strategy: str
  eta: float
  t_on: float
  t_off: float
  alpha_on: float

  def __post_init__(self) -> None:
    if self.strategy not in STRATEGIES:
      raise UserError(
        f"there is no ReMDM strategy {self.strategy!r}: {nearest(self.strategy, STRATEGIES)}"
        f"The known ones are {', '.join(STRATEGIES)}."
      )
    if not 0 <= self.eta <= 1:
      raise UserError(f"eta must lie in [0, 1], got {self.eta}.")
    if not 0 < self.t_off < self.t_on < 1:
      raise UserError(f"t_off and t_on need 0 < t_off < t_on < 1, got {self.t_off}, {self.t_on}.")
    if not 0 < self.alpha_on < 1:
      raise UserError(f"alpha_on must lie in (0, 1), got {self.alpha_on}.")


def _sigma(
  settings: _Settings, masked_t: Array, masked_s: Array, masked: Array, confidence: Array
) -> Array:
  """The probability that a revealed token is masked again, `[B, 1]` or `[B, L]`."""
  largest = jnp.minimum(1.0, masked_s / jnp.maximum(1.0 - masked_t, TINY))
  capped = jnp.minimum(settings.eta, largest)
  if settings.strategy == "cap":
    return capped
  if settings.strategy == "rescale":
    return settings.eta * largest
  if settings.strategy == "loop":
    return jnp.where(masked_t - masked_s < STANDING, capped, 0.0)
  shares = jax.nn.softmax(jnp.where(masked, -SURE, -confidence))
  return largest * jnp.where(masked, 0.0, shares)


def _masked_in_loop(u: Array, settings: _Settings) -> Array:
  """The masked fraction at the times `u` of the grid: it falls, stands at 1 - alpha_on, falls."""
  left = 1.0 - settings.alpha_on
  before = left + settings.alpha_on * (u - settings.t_on) / (1.0 - settings.t_on)
  return jnp.clip(before, left, 1.0) * jnp.minimum(u / settings.t_off, 1.0)
